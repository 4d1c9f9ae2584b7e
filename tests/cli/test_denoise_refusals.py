"""What `restore denoise` refuses, what it warns of, and what it does when memory runs out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from denoise_weights import noisy
from pictures import load, save


@pytest.mark.parametrize("arguments", [
    ["--steps", "5", "--time", "3"], ["--steps", "0"], ["--time", "0"], ["--time", "-2"],
    ["--time", "nan"], ["--quick", "--weights", "x"], ["--quick", "--model", "n2v-grey"],
    ["--quick", "--steps", "5"], ["--weights", "x", "--struct", "horizontal"],
    ["--weights", "x", "--model-out", "y"], ["--quick", "--cold"], ["--quick", "--each"],
    ["--struct", "diagonal"], ["--struct", "horizontal:4"], ["--struct", "vertical:x"],
    ["--percent", "0"], ["--percent", "80"], ["--manipulator", "max"], ["--network", "resnet"],
    ["--network", "rednet10", "--volume"], ["--strength", "2"], ["--axes", "ZZYX"],
    ["--axes", "ZY"], ["--axes", "ABYX"], ["--memory", "lots"], ["--format", "docx"],
    ["-o", "b.docx"], ["-o", "-", "--json"], ["--shard", "3/2"], ["--model-out", "a.png"],
    ["--model-out", "a_denoised.png"], ["--overwrite", "--skip-existing"], ["--seed", "-1"]])
def test_contradictions_and_nonsense_are_usage_errors(denoise, arguments):
    save("a.png", noisy(20, 20))
    found = denoise("a.png", *arguments)
    assert found.status == 2, found.stderr
    assert os.listdir() == ["a.png"]
    assert found.stdout == b""


def test_model_out_of_many_trainings(denoise):
    save("a.png", noisy(36, 36))
    save("b.png", noisy(36, 36))
    found = denoise("a.png", "b.png", "--each", "--model-out", "own.safetensors")
    assert found.status == 2 and sorted(os.listdir()) == ["a.png", "b.png"]
    save("c.png", noisy(36, 36, 3))
    found = denoise("a.png", "c.png", "--steps", 1, "--model-out", "own.safetensors")
    assert found.status == 2 and "--model-out takes one" in found.stderr


def test_an_existing_model_is_not_replaced(denoise):
    save("a.png", noisy(36, 36))
    Path("own.safetensors").write_bytes(b"mine")
    assert denoise("a.png", "--steps", 1, "--model-out", "own.safetensors").status == 2
    assert Path("own.safetensors").read_bytes() == b"mine"
    assert denoise("a.png", "--steps", 1, "--model-out", "own.safetensors",
                   "--overwrite").status == 0
    assert Path("own.safetensors").read_bytes() != b"mine"


def test_no_input_at_all(denoise):
    assert denoise("--steps", 2).status == 2
    Path("empty").mkdir()
    assert denoise("empty").status == 2


@pytest.mark.parametrize("content", [b"", b"not a picture\n", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_unreadable_inputs_leave_nothing(denoise, content):
    Path("a.png").write_bytes(content)
    found = denoise("a.png", "--steps", 2)
    assert found.status == 3 and found.stderr.count("error: a.png") == 1
    assert os.listdir() == ["a.png"]


def test_invalid_pixels_are_refused_with_their_place(denoise):
    pixels = noisy(30, 40, 1, np.float32)
    pixels[7, 5] = np.nan
    pixels[9, 1] = np.inf
    save("a.tif", pixels)
    found = denoise("a.tif", "--steps", 2)
    assert found.status == 3 and os.listdir() == ["a.tif"]
    assert "2 pixels that are NaN or infinite, the first at row 8, column 6" in found.stderr
    assert "--mask-invalid" in found.stderr


def test_masked_invalid_pixels_stay_and_do_no_harm(denoise):
    clean = noisy(48, 48, 1, np.float32)
    spoilt = clean.copy()
    spoilt[7:9, 5:20] = np.nan
    spoilt[30, 31] = -np.inf
    save("a.tif", spoilt)
    found = denoise("a.tif", "--steps", 5, "--mask-invalid")
    assert found.status == 0, found.stderr
    assert "31 NaN or infinite pixels stay as they are" in found.stderr
    out = load("a_denoised.tif")
    bad = ~np.isfinite(spoilt)
    np.testing.assert_array_equal(out[bad], spoilt[bad])
    assert np.isfinite(out[~bad]).all() and (out[~bad] != spoilt[~bad]).mean() > 0.9


def test_an_image_of_nothing_but_nan(denoise):
    save("a.tif", np.full((12, 12, 1), np.nan, np.float32))
    found = denoise("a.tif", "--steps", 2, "--mask-invalid")
    assert found.status == 0 and np.isnan(load("a_denoised.tif")).all()


def test_clean_input_is_said_and_done_all_the_same(denoise):
    y, x = np.mgrid[:96, :96] / 30.0
    save("a.tif", (0.5 + 0.3 * np.sin(x) * np.cos(y)).astype(np.float32)[:, :, None])
    found = denoise("a.tif", "--steps", 2, "--json")
    assert found.status == 0 and "already clean" in found.stderr
    record = found.records[0]
    assert record["noise"]["clean"] and any("clean" in line for line in record["warnings"])
    assert Path("a_denoised.tif").exists()


def test_noise_that_neighbours_share_is_warned_of(denoise):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] / 30.0
    rows = np.repeat(rng.normal(0, 0.1, (128, 43)), 3, axis=1)[:, :128]
    save("a.tif", (0.5 + 0.2 * np.sin(x + y) + rows).astype(np.float32)[:, :, None])
    found = denoise("a.tif", "--steps", 2, "--json")
    assert found.status == 0
    assert found.records[0]["noise"]["directional"] == "horizontal"
    assert "--struct horizontal" in found.stderr
    told = denoise("a.tif", "-o", "b.tif", "--steps", 2, "--struct", "horizontal")
    assert "use --struct horizontal" not in told.stderr


def test_noise_that_channels_share_is_hidden_in_all_of_them(denoise, monkeypatch):
    from restore_cli.training import fit

    seen = []
    real = fit.fit
    monkeypatch.setattr(fit, "fit", lambda network, source, settings, **rest: (
        seen.append(settings.masking.shared), real(network, source, settings, **rest))[1])
    rng = np.random.default_rng(0)
    grey = rng.normal(0, 0.1, (64, 64, 1))
    for name, noise in (("same", np.repeat(grey, 3, 2) + rng.normal(0, 0.01, (64, 64, 3))),
                        ("own", rng.normal(0, 0.1, (64, 64, 3)))):
        save(f"{name}.tif", (0.5 + noise).astype(np.float32))
        assert denoise(f"{name}.tif", "--steps", 1).status == 0
    assert [shared for shared in seen if shared is not None][1::2] == [True, False]


def test_jpeg_input_is_warned_of(denoise, denoisers):
    save("a.jpg", noisy(96, 96))
    found = denoise("a.jpg", network="grey")
    assert found.status == 0 and "JPEG" in found.stderr


def test_weights_of_another_task(denoise, weights):
    save("a.png", noisy(20, 20))
    found = denoise("a.png", "-w", weights("liif"))
    assert found.status == 4 and "does not denoise" in found.stderr
    assert denoise("a.png", "-w", "gone.safetensors").status == 4
    assert denoise("a.png", "--model", "edsr-baseline-liif").status == 4
    assert os.listdir() == ["a.png"]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="needs a user whom permissions stop")
def test_an_unwritable_folder(denoise):
    save("a.png", noisy(20, 20))
    Path("locked").mkdir(mode=0o500)
    assert denoise("a.png", "-o", "locked/b.png", "--steps", 1).status == 3


def test_running_out_of_memory_halves_the_tile(denoise, monkeypatch):
    from restore_cli.jobs.denoise_image import Denoiser

    save("a.tif", noisy(150, 140, dtype=np.float32))
    assert denoise("a.tif", "-o", "whole.tif", network="grey").status == 0
    real, tried = Denoiser.run, []

    def run(self, read, write, axes, *rest):
        tried.append(axes[0].window)
        if len(tried) < 3:
            raise MemoryError
        return real(self, read, write, axes, *rest)

    monkeypatch.setattr(Denoiser, "run", run)
    found = denoise("a.tif", network="grey")
    assert found.status == 0 and "again with tiles" in found.stderr
    assert tried[-1] < tried[0]
    np.testing.assert_allclose(load("a_denoised.tif"), load("whole.tif"), rtol=0, atol=1e-4)


def test_memory_below_what_is_needed(denoise):
    save("a.png", noisy(20, 20))
    assert denoise("a.png", "--steps", 2, "--memory", "20M").status == 5


def test_training_that_does_not_fit_is_refused(denoise, monkeypatch):
    from restore_cli.jobs import denoise_plan

    save("a.png", noisy(20, 20))
    monkeypatch.setattr(denoise_plan.Cost, "training", lambda *_: 1 << 50)
    found = denoise("a.png", "--steps", 2)
    assert found.status == 5 and "--quick" in found.stderr and os.listdir() == ["a.png"]


def test_a_result_larger_than_the_memory_goes_through_the_disk(denoise, monkeypatch):
    from restore_cli.jobs import files

    save("a.png", noisy(50, 60))
    assert denoise("a.png", "-o", "whole.png", network="grey").status == 0
    monkeypatch.setattr(files.buffers, "encoding", lambda *_: 1 << 60)
    found = denoise("a.png", network="grey")
    assert found.status == 0, found.stderr
    np.testing.assert_array_equal(load("a_denoised.png"), load("whole.png"))
    assert sorted(os.listdir()) == ["a.png", "a_denoised.png", "whole.png"]
