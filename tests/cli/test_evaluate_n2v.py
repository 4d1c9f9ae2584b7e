"""`restore evaluate n2v` from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.media import images
from restore_cli.nets.layout import layout
from restore_cli.weights.files import Weights, write

CONFIG = {"conv_dims": 2, "depth": 2, "num_channels_init": 4, "in_channels": 1, "num_classes": 1,
          "use_batch_norm": False, "independent_channels": False}


def _picture(seed: int, height: int = 48, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = 0.5 + 0.45 * np.sin(x / (4 + seed) + y / 7) * np.cos(y / (5 + seed))
    return np.round(wave * 255).astype(np.uint8)


@pytest.fixture
def clean(tmp_path):
    """A folder of three clean pictures, one of them in colour."""
    folder = tmp_path / "Tiny Set"
    folder.mkdir()
    for i in range(3):
        pixels = _picture(i)
        Image.fromarray(np.stack([pixels] * 2 + [255 - pixels], -1) if i == 2 else pixels).save(
            folder / f"{i}.png")
    return folder


@pytest.fixture
def pairs(tmp_path):
    """A folder of two pairs, contrast of the noisy ones halved."""
    folder = tmp_path / "cells"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = _picture(i)
        noisy = pixels / 2 + 40 + rng.normal(0, 10, pixels.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"noisy_{i}.png")
        Image.fromarray(pixels).save(folder / f"target_{i}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A weight file of a small random network of 1 channel."""
    rng = np.random.default_rng(3)
    tensors = {key: (rng.normal(size=shape) * (1 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
               for key, shape in layout("n2v-field", CONFIG).shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write(path, Weights("n2v-field", CONFIG, tensors, {"normalisation": '{"kind": "image"}'}))
    return path


def _records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_noisy_images_alone_need_no_network(restore, clean):
    status, out, err = restore("evaluate", "n2v", "--data", clean, "--sigma", "10,25", "--sigma",
                               "10", "--identity")
    assert (status, err) == (0, "")
    header, ten, twenty_five, *rest = out.splitlines()
    assert header.split() == ["data", "noise", "images", "noisy", "SSIM"]
    assert ten.split()[2:5] == ["sigma", "10", "3"] and float(ten.split()[5]) == pytest.approx(
        28.13, abs=0.15)
    assert float(twenty_five.split()[5]) == pytest.approx(20.17, abs=0.15)
    # What was done stands under the table, and why nothing published compares.
    remarks = "\n".join(rest)
    assert "Protocol bsd68:" in remarks and "peak 255" in remarks
    assert "not the 68 images of BSD68" in remarks and "Published" not in remarks


def test_json_has_images_means_and_the_protocol(restore, clean):
    status, out, _ = restore("evaluate", "n2v", "-d", clean, "--photons", 40, "--identity",
                             "--json", "--limit", 2)
    *scored, mean, protocol = _records(out)
    assert status == 0 and [record["image"] for record in scored] == ["0", "1"]
    assert mean["noise"] == "poisson" and mean["level"] == 40 and mean["model"] == "noisy"
    assert mean["noisy_psnr"] == pytest.approx(
        np.mean([record["noisy_psnr"] for record in scored]))
    assert "psnr" not in mean
    assert protocol["type"] == "protocol" and any("photons" in note for note in protocol["notes"])


def test_noise_is_the_same_again_and_another_with_another_seed(restore, clean):
    command = ["evaluate", "n2v", "-d", clean, "--identity", "--json"]
    one, two, other = (_records(restore(*command, *more)[1])[0]["noisy_psnr"]
                       for more in ([], [], ["--noise-seed", 1]))
    assert one == two != other


def test_pairs_are_scored_after_the_best_gain_too(restore, pairs):
    status, out, err = restore("evaluate", "n2v", "-d", pairs, "-p", "pairs", "--identity")
    assert (status, err) == (0, "")
    header, line = out.splitlines()[:2]
    assert header.split() == ["data", "noise", "images", "noisy", "SSIM", "affine"]
    assert float(line.split()[-1]) > float(line.split()[-3]) + 3


def test_a_reference_folder_and_missing_counterparts(restore, pairs, tmp_path):
    for path in list(pairs.glob("target_*")):
        (tmp_path / "gt").mkdir(exist_ok=True)
        path.rename(tmp_path / "gt" / path.name.replace("target", "noisy"))
    (tmp_path / "gt" / "noisy_1.png").unlink()
    status, out, err = restore("evaluate", "n2v", "-d", pairs, "--clean", tmp_path / "gt", "-p",
                               "pairs", "--identity", "--json")
    assert status == 3 and "noisy_1.png" in err and "no counterpart" in err
    assert [record["type"] for record in _records(out)] == ["image", "mean", "protocol"]


def test_csv_plots_and_saved_images(restore, clean, tmp_path):
    pytest.importorskip("matplotlib")
    command = ["evaluate", "n2v", "-d", clean, "-p", "colour", "--identity", "--csv",
               tmp_path / "out" / "scores.csv", "--plots", tmp_path / "plots", "--save",
               tmp_path / "saved"]
    assert restore(*command)[0] == 0
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["image"] for row in rows] == ["0", "1", "2", "mean"]
    assert (tmp_path / "plots" / "psnr.png").stat().st_size > 1000
    with Image.open(tmp_path / "saved" / "Tiny Set" / "sigma25" / "2.png") as picture:
        assert picture.size == (60, 48) and picture.mode == "RGB"
    status, out, err = restore(*command)
    assert status == 2 and out == "" and "exists already" in err
    assert restore(*command, "--overwrite")[0] == 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--protocol", "best"], "bsd68, colour, source, pairs"),
    (["--noise", "salt"], "gaussian, poisson"),
    (["--sigma", "nan"], "--sigma nan"),
    (["--sigma", "25,"], "--sigma nothing"),
    (["--sigma", "-3"], "--sigma -3"),
    (["--photons", "5", "--sigma", "25"], "two kinds of noise"),
    (["--noise", "poisson", "--sigma", "25"], "poisson noise takes --photons"),
    (["--protocol", "pairs", "--sigma", "25"], "bring their noise"),
    (["--protocol", "pairs", "--noise", "poisson"], "bring their noise"),
    (["--clean", "x"], "--protocol pairs"),
    (["--peak", "100"], "--peak belongs to --protocol pairs"),
    (["--model", "a", "--weights", "b"], "--model and --weights exclude each other"),
    (["--quick", "--identity"], "--quick and --identity exclude each other"),
    (["--steps", "10"], "Add --self-train"),
    (["--self-train", "--steps", "10", "--time", "5"], "either --time or --steps"),
    (["--self-train", "--network", "alexnet"], "alexnet"),
    (["--self-train", "--time", "-1"], "--time -1"),
    (["--memory", "much"], "much"),
])
def test_usage_errors(restore, clean, arguments, expected):
    status, out, err = restore("evaluate", "n2v", "--data", clean, *arguments)
    assert status == 2 and out == "" and expected in err


def test_missing_data_is_named(restore, tmp_path):
    status, _, err = restore("evaluate", "n2v", "-d", tmp_path / "none", "--identity")
    assert status == 3 and str(tmp_path / "none") in err


def test_unknown_model_and_weights_of_another_task_are_weights_errors(restore, clean, tmp_path):
    status, _, err = restore("evaluate", "n2v", "-d", clean, "--model", "no-such-network")
    assert status == 4 and "no-such-network" in err
    config = {"n_resblocks": 1, "n_feats": 4, "scale": 2}
    tensors = {key: np.zeros(shape, np.float32)
               for key, shape in layout("edsr-baseline", config).shapes.items()}
    write(tmp_path / "up.safetensors", Weights("edsr-baseline", config, tensors, {}))
    status, _, err = restore("evaluate", "n2v", "-d", clean, "-w", tmp_path / "up.safetensors")
    assert status == 4 and "up.safetensors" in err


def test_without_shipped_weights_the_default_says_what_to_give(restore, clean, engine, monkeypatch):
    from restore_cli.jobs import denoise_network

    monkeypatch.setattr(denoise_network, "generic", lambda channels, console: None)
    status, out, err = restore("evaluate", "n2v", "-d", clean)
    assert status == 4 and out == "" and "add --self-train" in err


def test_weights_score_what_restore_denoise_writes(restore, pairs, network, tmp_path, engine):
    """The same pixels as the command writes, whole, in tiles, and as a mean over turns."""
    for more in ([], ["--tile", 16], ["--tta"]):
        saved, made = tmp_path / f"saved{len(more)}{more[:1]}", tmp_path / f"made{more[:1]}"
        status, out, err = restore("evaluate", "n2v", "-d", pairs, "-p", "pairs", "-w", network,
                                   "--save", saved, "--json", *more)
        assert status == 0, err
        scored = _records(out)
        assert scored[-2]["model"] == "tiny" and scored[-2]["seconds"] > 0
        status, _, err = restore("denoise", pairs / "noisy_1.png", "-w", network, "-o",
                                 made / "1.png", *more)
        assert status == 0, err
        one, two = (images.read(path).pixels.astype(int)
                    for path in (saved / "cells" / "1.png", made / "1.png"))
        np.testing.assert_array_equal(one, two)
        # And the score is that of the file.
        status, out, _ = restore("evaluate", "pair", made / "1.png", pairs / "target_1.png",
                                 "--affine", "--json")
        pair, = _records(out)
        assert scored[1]["psnr"] == pytest.approx(pair["psnr"], abs=1e-6)
        assert scored[1]["ssim"] == pytest.approx(pair["ssim"], abs=1e-6)
        assert scored[1]["affine_psnr"] == pytest.approx(pair["affine_psnr"], abs=1e-6)


def test_grey_weights_restore_colour_channel_by_channel(restore, clean, network, engine):
    status, out, err = restore("evaluate", "n2v", "-d", clean, "-p", "colour", "-w", network,
                               "--tta", "--json")
    assert status == 0, err
    *_, mean, protocol = _records(out)
    assert mean["images"] == 3 and any("flips and turns" in note for note in protocol["notes"])


def test_self_training_scores_what_restore_denoise_writes(restore, pairs, tmp_path, engine):
    """In colour too, where channels that share their noise are told by measuring."""
    grey = images.read(pairs / "noisy_1.png").pixels[..., 0].astype(int)
    extra = np.random.default_rng(1).integers(-2, 3, (*grey.shape, 3))
    Image.fromarray(np.clip(grey[..., None] + extra, 0, 255).astype(np.uint8)).save(
        pairs / "noisy_1.png")
    Image.fromarray(np.stack([_picture(1), _picture(1), 255 - _picture(1)], -1)).save(
        pairs / "target_1.png")
    how = ["--cold", "--steps", 2, "--seed", 5]
    status, _, err = restore("evaluate", "n2v", "-d", pairs, "-p", "pairs", "--self-train",
                             "--save", tmp_path / "saved", *how)
    assert status == 0, err
    for i in range(2):
        made = tmp_path / f"{i}.png"
        status, _, err = restore("denoise", pairs / f"noisy_{i}.png", "-o", made, *how)
        assert status == 0, err
        np.testing.assert_array_equal(images.read(made).pixels,
                                      images.read(tmp_path / "saved" / "cells" / f"{i}.png").pixels)


def test_self_training_is_repeatable_and_says_how_it_was_done(restore, clean, engine):
    command = ["evaluate", "n2v", "-d", clean, "--limit", 1, "--self-train", "--cold", "--steps",
               3, "--json"]
    first, again, other = (_records(restore(*command, *more)[1])
                           for more in ([], [], ["--seed", 1]))
    assert first[0]["psnr"] == again[0]["psnr"] != other[0]["psnr"]
    assert first[-2]["model"] == "self-trained"
    assert any("random weights, 3 steps, seed 0" in note for note in first[-1]["notes"])


def test_images_beyond_the_memory_are_named(restore, clean, network, engine, monkeypatch):
    from restore_cli.pipeline import memory

    monkeypatch.setattr(memory, "budget", lambda asked, **more: memory.Budget(1 << 20, 0))
    status, out, err = restore("evaluate", "n2v", "-d", clean, "-w", network, "--memory", "1M")
    assert status == 5 and out == ""
    assert len(err.splitlines()) == 3 and all(f"{i}.png" in err for i in range(3))


def test_published_weights_repeat_their_table(restore, shared_data, engine):
    """The source document's network at sigma 25 on three of its own test images."""
    weights = Path(shared_data).parent / "golden" / "n2v" / "weights" / "best_N2V_Unet_[25].pth"
    folder = shared_data / "images" / "bsd68_gray"
    if not weights.is_file() or not folder.is_dir():
        pytest.skip("no published weights, or no BSD68")
    status, out, err = restore("evaluate", "n2v", "-d", folder, "-p", "source", "-w", weights,
                               "--limit", 3, "--json")
    assert status == 0, err
    mean = _records(out)[-2]
    assert mean["images"] == 3 and mean["model"] == weights.stem
    assert mean["noisy_psnr"] == pytest.approx(20.17, abs=0.03)
    assert mean["psnr"] == pytest.approx(23.89, abs=0.4)
    assert mean["ssim"] == pytest.approx(0.5086, abs=0.1)


def test_micrographs_score_as_others_measured_them(restore, shared_data):
    folder = shared_data / "micro" / "w2s"
    if not folder.is_dir():
        pytest.skip("no micrographs")
    status, out, _ = restore("evaluate", "n2v", "-d", folder, "-p", "pairs", "--identity",
                             "--json")
    mean = _records(out)[-2]
    assert status == 0 and mean["images"] == 10
    assert mean["noisy_affine_psnr"] == pytest.approx(18.72, abs=0.006)
    assert mean["noisy_psnr"] == pytest.approx(17.70, abs=0.006)
