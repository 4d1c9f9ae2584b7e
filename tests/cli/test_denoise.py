"""`restore denoise` through the command line: training on the images themselves."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from denoise_weights import noisy
from pictures import load, save

from restore_cli.media import images


def test_one_image_trains_on_itself(denoise):
    save("a.png", noisy(48, 40))
    found = denoise("a.png", "--steps", 5)
    assert found.status == 0, found.stderr
    assert load("a_denoised.png").shape == (48, 40, 1)
    assert "a.png: trained 5 steps" in found.stderr and "--steps 5 --seed 0" in found.stderr
    assert "a.png -> a_denoised.png  40x48  5 steps" in found.stderr
    assert found.stdout == b"" and sorted(os.listdir()) == ["a.png", "a_denoised.png"]


def test_training_learns_to_remove_noise(denoise):
    clean = noisy(96, 96, dtype=np.float32, sigma=0)
    save("a.tif", noisy(96, 96, dtype=np.float32))
    assert denoise("a.tif", "--steps", 150).status == 0
    before = float(np.square(load("a.tif") - clean).mean())
    after = float(np.square(load("a_denoised.tif") - clean).mean())
    assert after < before / 3


def test_a_repeated_run_gives_the_same_bytes_and_another_seed_others(denoise):
    save("a.tif", noisy(40, 40, dtype=np.float32))
    for name, seed in (("b", 1), ("c", 1), ("d", 2)):
        assert denoise("a.tif", "-o", f"{name}.tif", "--steps", 6, "--seed", seed).status == 0
    np.testing.assert_array_equal(load("b.tif"), load("c.tif"))
    assert np.abs(load("b.tif") - load("d.tif")).max() > 1e-3


def test_a_time_is_turned_into_steps_that_can_be_asked_for(denoise):
    save("a.tif", noisy(40, 40, dtype=np.float32))
    found = denoise("a.tif", "--time", 0.01, "--json")
    assert found.status == 0, found.stderr
    training = found.records[0]["training"]
    assert training["steps"] >= 2 and training["start"] == "random"
    if training["repeatable"]:  # else the machine slowed down meanwhile
        assert denoise("a.tif", "-o", "b.tif", "--steps", training["steps"]).status == 0
        np.testing.assert_array_equal(load("b.tif"), load("a_denoised.tif"))


def test_the_record(denoise):
    save("a.png", noisy(64, 64))
    found = denoise("a.png", "--steps", 4, "--seed", 3, "--json")
    record = found.records[0]
    assert record["status"] == "done" and record["size"] == [64, 64]
    assert record["network"] == "field" and record["format"] == "PNG"
    training = record["training"]
    assert (training["steps"], training["seed"], training["repeatable"]) == (4, 3, True)
    assert training["loss"] > 0
    noise = record["noise"]
    assert noise["sigma"][0] == pytest.approx(0.08 * 255, rel=0.3)
    assert not noise["clean"] and "0x1" in noise["correlation"]
    assert noise["residual"]["kept"] >= 0


def test_several_files_train_once(denoise):
    for i in range(3):
        save(f"{i}.png", noisy(40, 44, seed=i))
    found = denoise("0.png", "1.png", "2.png", "--steps", 4, "-o", "out")
    assert found.status == 0, found.stderr
    assert found.stderr.count("trained 4 steps") == 1 and "3 files: trained" in found.stderr
    assert sorted(os.listdir("out")) == ["0.png", "1.png", "2.png"]


def test_each_trains_one_by_one_as_if_alone(denoise):
    for i in range(2):
        save(f"{i}.png", noisy(40, 44, seed=i))
    found = denoise("0.png", "1.png", "--each", "--steps", 4)
    assert found.status == 0 and found.stderr.count("trained 4 steps") == 2
    assert denoise("1.png", "-o", "alone.png", "--steps", 4).status == 0
    np.testing.assert_array_equal(load("1_denoised.png"), load("alone.png"))


def test_grey_and_colour_train_two_networks(denoise):
    save("a.png", noisy(40, 40))
    save("b.png", noisy(40, 40, 3))
    found = denoise("a.png", "b.png", "--steps", 3)
    assert found.status == 0 and found.stderr.count("trained 3 steps") == 2


def test_shards_train_on_all_files_and_give_what_one_run_gives(denoise):
    for i in range(3):
        save(f"in/{i}.png", noisy(36, 36, seed=i))
    assert denoise("in", "-o", "whole", "--steps", 4).status == 0
    for part in (1, 2):
        assert denoise("in", "-o", "parts", "--steps", 4, "--shard", f"{part}/2").status == 0
    for i in range(3):
        assert Path(f"whole/{i}.png").read_bytes() == Path(f"parts/{i}.png").read_bytes()


def test_a_broken_file_does_not_stop_the_others(denoise):
    save("in/a.png", noisy(40, 40))
    save("in/b.png", noisy(40, 40, seed=1))
    Path("in/cut.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    Path("in/text.png").write_text("not a picture\n")
    Path("in/empty.tif").write_bytes(b"")
    found = denoise("in", "-o", "out", "--steps", 3)
    assert found.status == 3 and "2 done, 3 failed" in found.stderr
    assert found.stderr.count("error:") == 3
    assert sorted(os.listdir("out")) == ["a.png", "b.png"]


def test_kept_weights_predict_the_same_without_training(denoise):
    save("a.tif", noisy(44, 40, dtype=np.float32))
    found = denoise("a.tif", "--steps", 5, "--model-out", "own.safetensors")
    assert found.status == 0, found.stderr
    found = denoise("a.tif", "-o", "b.tif", "-w", "own.safetensors", "--json")
    assert found.status == 0 and "training" not in found.records[0]
    assert found.records[0]["network"] == "own"
    np.testing.assert_allclose(load("b.tif"), load("a_denoised.tif"), rtol=0, atol=1e-6)


def test_weights_of_many_images_keep_their_common_scale(denoise):
    for i in range(2):
        save(f"{i}.tif", noisy(40, 40, dtype=np.uint16, seed=i))
    assert denoise("0.tif", "1.tif", "--steps", 4, "--model-out", "own.safetensors").status == 0
    from restore_cli.weights import files

    kept = json.loads(files.read("own.safetensors").metadata["normalisation"])
    both = np.concatenate((load("0.tif"), load("1.tif"))).astype(float)
    assert kept["kind"] == "fixed"
    assert kept["mean"] == pytest.approx([both.mean()]) and kept["std"] == pytest.approx(
        [both.std()])
    assert denoise("0.tif", "-o", "b.tif", "-w", "own.safetensors").status == 0
    assert np.abs(load("b.tif").astype(int) - load("0_denoised.tif")).max() <= 1


def test_quick_uses_the_generic_weights_of_each_kind(denoise, denoisers):
    save("a.png", noisy(40, 40))
    save("b.png", noisy(40, 40, 3))
    assert denoise("a.png", "--quick").status == 4  # none are installed
    denoise.generic.update({1: denoisers("grey"), 3: denoisers("colour")})
    found = denoise("a.png", "b.png", "--quick", "--json")
    assert [record["network"] for record in found.records] == ["grey", "colour"]
    assert denoise("a.png", "-o", "c.png", "-w", denoisers("grey")).status == 0
    np.testing.assert_array_equal(load("a_denoised.png"), load("c.png"))


def test_training_starts_from_the_generic_weights_unless_cold(denoise, denoisers, monkeypatch):
    from restore_cli.jobs import denoise_network

    small = dict(denoise_network._FIELD, num_channels_init=4)
    monkeypatch.setitem(denoise_network._CHOICES, "field", ("n2v-field", small))
    denoise.generic[1] = denoisers("grey")
    save("a.tif", noisy(40, 40, dtype=np.float32))
    starts, outs = [], []
    for options in ([], ["--cold"], ["--network", "n2v2"]):
        found = denoise("a.tif", "--overwrite", "--steps", 1, "--json", *options)
        starts.append(found.records[0]["training"]["start"])
        outs.append(load("a_denoised.tif"))
    assert starts == ["grey", "random", "random"]
    assert np.abs(outs[0] - outs[1]).max() > 1e-3


@pytest.mark.parametrize("network", ["n2v2", "n2v-unet", "rednet10"])
def test_other_networks_train_too(denoise, network):
    save("a.png", noisy(64, 64))
    found = denoise("a.png", "--steps", 2, "--network", network, "--json", "--percent", 3,
                    "--manipulator", "median")
    assert found.status == 0, found.stderr
    assert found.records[0]["network"] == network


def test_directional_noise(denoise):
    save("a.tif", noisy(64, 64, dtype=np.float32))
    found = denoise("a.tif", "--steps", 3, "--struct", "horizontal:7", "--tta", "--model-out",
                    "own.safetensors")
    assert found.status == 0, found.stderr
    from restore_cli.weights import files

    assert files.read("own.safetensors").metadata["struct"] == "horizontal:7"
    # Turning would turn the noise: only the four flips are averaged.
    assert denoise("a.tif", "-o", "b.tif", "--tta", "-w", "own.safetensors").status == 0
    np.testing.assert_allclose(load("b.tif"), load("a_denoised.tif"), rtol=0, atol=1e-6)


def test_images_smaller_than_a_patch(denoise):
    for number, shape in enumerate(((1, 9), (5, 5), (12, 40))):
        save(f"{number}.png", noisy(*shape))
        assert denoise(f"{number}.png", "--steps", 2).status == 0
        assert load(f"{number}_denoised.png").shape == (*shape, 1)


def test_stdin_to_stdout(denoise):
    save("a.png", noisy(40, 40))
    data = Path("a.png").read_bytes()
    found = denoise("-", "-o", "-", "--steps", 3, stdin=data)
    assert found.status == 0, found.stderr
    assert denoise("a.png", "--steps", 3).status == 0
    np.testing.assert_array_equal(images.read(io.BytesIO(found.stdout)).pixels,
                                  load("a_denoised.png"))


def test_stdin_among_files_that_train_together(denoise):
    save("a.png", noisy(40, 40))
    save("b.png", noisy(40, 40, seed=1))
    found = denoise("-", "b.png", "-o", "out", "--steps", 3, stdin=Path("a.png").read_bytes())
    assert found.status == 0, found.stderr
    assert "2 files: trained" in found.stderr
    assert sorted(os.listdir("out")) == ["b.png", "stdin.png"]


def test_existing_outputs(denoise):
    save("a.png", noisy(36, 36))
    save("b.png", noisy(36, 36, seed=1))
    save("a_denoised.png", noisy(4, 4))
    before = Path("a_denoised.png").read_bytes()
    assert denoise("a.png", "b.png", "--steps", 2).status == 2
    found = denoise("a.png", "b.png", "--steps", 2, "--skip-existing")
    assert found.status == 0 and "1 done, 1 skipped" in found.stderr
    assert Path("a_denoised.png").read_bytes() == before
    assert denoise("a.png", "b.png", "--steps", 2, "--skip-existing").status == 0
    assert denoise("a.png", "--steps", 2, "--overwrite").status == 0
    assert load("a_denoised.png").shape == (36, 36, 1)


def test_dry_run_trains_nothing(denoise):
    save("a.png", noisy(20, 20))
    found = denoise("a.png", "gone.png", "--dry-run", "--model-out", "own.safetensors")
    assert found.status == 0
    assert found.stdout.decode().splitlines() == [
        "a.png -> a_denoised.png", "gone.png -> gone_denoised.png (will fail: no such file)"]
    assert os.listdir() == ["a.png"]


def test_quiet_says_nothing_on_success(denoise):
    save("a.png", noisy(64, 64))
    found = denoise("a.png", "--steps", 2, "--quiet", "--no-progress")
    assert found.status == 0 and found.stderr == "" and found.stdout == b""
