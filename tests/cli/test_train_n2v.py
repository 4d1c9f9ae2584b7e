"""`restore train n2v` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore_cli.errors import ExitStatus, UsageError
from restore_cli.jobs.train_n2v import N2VTraining, architecture
from restore_cli.weights import files

SMALL = ["--patch", "16", "--batch", "2", "--features", "4", "--depth", "1", "--device", "cpu",
         "--checkpoint-every", "2", "--validate-every", "2"]


def _folder(path, count, shape, dtype=np.uint8, suffix="png"):
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(30, 200, shape).astype(dtype)
        if suffix == "tif":
            tifffile.imwrite(path / f"{index:02}.tif", pixels)
        else:
            Image.fromarray(pixels).save(path / f"{index:02}.{suffix}")
    return path


@pytest.fixture
def grey(tmp_path):
    return _folder(tmp_path / "grey", 3, (40, 48))


def test_trains_on_noisy_images_and_resumes(restore, engine, tmp_path, grey):
    run = tmp_path / "run"
    common = ["train", "n2v", "-o", run, "--data", grey, *SMALL, "--licence", "CC0-1.0"]
    status, out, err = restore(*common, "--steps", 3, "--json")
    assert status == ExitStatus.OK, err
    assert "measured on training images" in err
    record = json.loads(out)
    assert record["step"] == 3 and np.isfinite(record["blind_mse"]) and "psnr" not in record
    weights = files.read(run / "weights.safetensors")
    assert weights.arch == "n2v-field"
    assert (weights.config["in_channels"], weights.config["num_channels_init"],
            weights.config["depth"]) == (1, 4, 1)
    assert json.loads(weights.metadata["normalisation"]) == {"kind": "image"}
    assert weights.metadata["task"] == "denoise" and weights.metadata["licence"] == "CC0-1.0"

    status, _, err = restore(*common, "--steps", 5)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = restore(*common, "--steps", 5, "--resume", "--percent", 4)
    assert status == ExitStatus.USAGE and "percent" in err
    status, _, err = restore(*common, "--steps", 5, "--resume")
    assert status == ExitStatus.OK and "continuing at step 3 of 5" in err


def test_generated_images_and_photographs_with_mixed_noise(restore, engine, tmp_path, monkeypatch):
    monkeypatch.setattr("restore_cli.jobs.train_n2v.VALIDATION_IMAGES", 2)
    photos = _folder(tmp_path / "photos", 2, (256, 260, 3))
    status, out, err = restore(
        "train", "n2v", "-o", tmp_path / "run", "--data", "synthetic", "--synthetic-count", 2,
        "--photos", photos, "--photo-share", 0.5, "--target", "clean", "--noise", "mixed",
        "--channels", 1, "--blind-share", 0.5, *SMALL, "--steps", 2, "--json")
    assert status == ExitStatus.OK, err
    assert "to validate on have" in err
    assert np.isfinite(json.loads(out)["psnr"])


def test_colour_by_the_training_sets_own_statistics(restore, engine, tmp_path):
    """The weights say by which mean and spread, in units of the 16-bit files."""
    folder = _folder(tmp_path / "deep", 3, (40, 40, 3), np.uint16, "tif")
    status, _, err = restore("train", "n2v", "-o", tmp_path / "run", "--data", folder,
                             "--normalise", "fixed", *SMALL, "--steps", 1)
    assert status == ExitStatus.OK, err
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    found = json.loads(weights.metadata["normalisation"])
    pixels = np.stack([tifffile.imread(path) for path in sorted(folder.iterdir())]).reshape(-1, 3)
    assert found["kind"] == "fixed" and weights.config["in_channels"] == 3
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["std"], pixels.std(axis=0), rtol=1e-3)


def test_some_of_many_images_are_kept_apart(restore, engine, tmp_path):
    folder = _folder(tmp_path / "many", 11, (40, 40))
    status, out, err = restore("train", "n2v", "-o", tmp_path / "run", "--data", folder,
                               "--noise", "gaussian:25", *SMALL, "--steps", 1, "--json")
    assert status == ExitStatus.OK and "training images" not in err
    record = json.loads(out)
    assert np.isfinite(record["psnr"]) and np.isfinite(record["blind_mse"])


def test_a_folder_to_validate_on_and_jpeg_is_warned_of(restore, engine, tmp_path, grey):
    jpegs = _folder(tmp_path / "jpegs", 2, (40, 40), suffix="jpg")
    status, _, err = restore("train", "n2v", "-o", tmp_path / "run", "--data", jpegs,
                             "--validation", grey, *SMALL, "--steps", 1)
    assert status == ExitStatus.OK, err
    assert "JPEG" in err and "training images" not in err


def test_grey_among_noisy_colour_images_is_left_out(restore, engine, tmp_path, grey):
    colour = _folder(tmp_path / "colour", 2, (40, 40, 3))
    (grey / "00.png").rename(colour / "zz.png")
    status, _, err = restore("train", "n2v", "-o", tmp_path / "run", "--data", colour, *SMALL,
                             "--steps", 2)
    assert status == ExitStatus.OK and "zz.png" in err and "--channels 1" in err
    status, _, err = restore("train", "n2v", "-o", tmp_path / "one", "--data", colour, *SMALL,
                             "--steps", 2, "--channels", 1)
    assert status == ExitStatus.OK and "zz.png" not in err


def test_init_starts_from_weights(restore, engine, tmp_path, grey):
    first, second = tmp_path / "first", tmp_path / "second"
    command = ["train", "n2v", "--data", grey, *SMALL, "--steps", 2]
    assert restore(*command, "-o", first)[0] == ExitStatus.OK
    status, _, err = restore(*command, "-o", second, "--init", first / "weights.safetensors",
                             "--seed", 1, "--lr", 1e-12)
    assert status == ExitStatus.OK, err
    ours, theirs = (files.read(run / "weights.safetensors").tensors for run in (second, first))
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, atol=1e-9, err_msg=key)


def test_a_rednet_is_trained_without_its_global_skip(restore, engine, tmp_path, grey):
    status, _, err = restore("train", "n2v", "-o", tmp_path / "run", "--data", grey, "--model",
                             "rednet10", "--features", 4, "--patch", 16, "--batch", 1,
                             "--device", "cpu", "--steps", 1, "--struct", "horizontal:3",
                             "--manipulator", "median", "--radius", 3, "--loss", "mae")
    assert status == ExitStatus.OK, err
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.arch == "rednet10" and weights.config["residual"] is False


def _options(**values):
    return N2VTraining(out=None, data=[], **values)


def test_networks_by_name():
    name, config = architecture(_options(), 3)
    assert name == "n2v-field" and config == {
        "conv_dims": 2, "depth": 2, "num_channels_init": 32, "in_channels": 3, "num_classes": 3,
        "n2v2": False, "use_batch_norm": False, "independent_channels": False}
    _, config = architecture(_options(model="n2v2", depth=3, features=16, batch_norm=True), 1)
    assert config["n2v2"] and config["use_batch_norm"] and config["depth"] == 3
    assert architecture(_options(model="n2v-unet"), 1) == (
        "n2v-unet", {"in_channels": 1, "out_channels": 1})
    assert architecture(_options(model="rednet30", features=32), 3) == (
        "rednet30", {"in_channels": 3, "out_channels": 3, "residual": False, "num_features": 32})
    for values in ({"model": "n2v-unet", "features": 8}, {"model": "rednet10", "depth": 2},
                   {"model": "rednet20", "batch_norm": True}):
        with pytest.raises(UsageError, match="has no --"):
            architecture(_options(**values), 1)


@pytest.mark.parametrize("extra, words", [
    (["--model", "fild"], "Did you mean field"),
    (["--target", "blurred"], "noisy, clean"),
    (["--target", "clean"], "--noise mixed"),
    (["--noise", "salt"], "unknown noise"),
    (["--noise", "gaussian:9", "--noise-draw", "never"], "fixed, fresh"),
    (["--noise-draw", "fresh"], "--noise adds"),
    (["--data", "synthetic"], "are clean"),
    (["--photo-share", "0.5"], "are clean"),
    (["--channels", "2"], "1 or 3"),
    (["--normalise", "batch"], "unknown --normalise"),
    (["--percent", "0"], "% of the pixels"),
    (["--manipulator", "mode"], "median"),
    (["--struct", "ring"], "unknown structure"),
    (["--loss", "l2"], "unknown --loss"),
    (["--schedule", "halving"], "unknown --schedule"),
    (["--lr", "nan"], "--lr"),
    (["--minutes", "0"], "--minutes"),
    (["--blind-share", "0.5"], "--target clean"),
    (["--tones"], "--tones"),
    (["--patch", "15"], "multiple of 2"),
    (["--patch", "64"], "at least 64x64"),
])
def test_contradictions_are_usage_errors(restore, tmp_path, grey, extra, words):
    run = tmp_path / "deep" / "run"
    status, _, err = restore("train", "n2v", "-o", run, "--data", grey, *SMALL, *extra)
    assert status in (ExitStatus.USAGE, ExitStatus.SOME_FAILED)
    assert words in err
    assert not run.parent.exists()


def test_help_names_every_group(restore, capsys):
    status, _, _ = restore("train", "n2v", "--help")
    assert status == ExitStatus.OK
    text = capsys.readouterr().out
    for word in ("Blind spots", "--manipulator", "--noise", "--tones"):
        assert word in text
