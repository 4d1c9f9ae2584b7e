"""The shipped network, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ExitStatus
from restore_cli.evaluation import metrics, video_baseline
from restore_cli.media import raw, video
from restore_cli.weights.store import SHIPPED, Store

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = EXAMPLES / "photos"
LARGEST = {"upscale": 2_000_000, "denoise": 2_000_000, "denoise-raw": 4_000_000,
           "vsr": 6_000_000}


def test_shipped_files_are_small_and_as_the_manifest_says(tmp_path):
    for name, entry in Store(tmp_path).manifest.entries.items():
        if entry.shipped:
            path = SHIPPED / entry.shipped
            assert path.stat().st_size <= LARGEST[entry.task], name
            assert len(entry.sha256) == 64, name
            assert path.with_suffix(".md").is_file(), f"{name} has no model card"
            (checked,) = Store(tmp_path).verify([name])
            assert (checked.state, checked.detail) == ("shipped", "")


@pytest.mark.parametrize("scale, gain", [(2, 2.5), (3, 1.5), (4, 1.0)])
def test_photograph_is_enlarged_better_than_by_bicubic(engine, restore, tmp_path, scale, gain):
    photo = Image.open(PHOTOS / "astronaut.png").convert("RGB").crop((130, 20, 322, 212))
    small = photo.resize((192 // scale, 192 // scale), Image.BICUBIC)
    small.save(tmp_path / "small.png")
    status, _, err = restore("upscale", tmp_path / "small.png", "--scale", scale, "-o",
                             tmp_path / "large.png", "--device", "cpu")
    assert status == ExitStatus.OK, err
    true, ours, plain = (np.asarray(p, np.float64) / 255 for p in (
        photo, Image.open(tmp_path / "large.png"), small.resize((192, 192), Image.BICUBIC)))
    assert metrics.psnr(ours, true) > metrics.psnr(plain, true) + gain
    # No colour cast: each channel keeps its mean.
    np.testing.assert_allclose(ours.mean((0, 1)), plain.mean((0, 1)), atol=2 / 255)


@pytest.mark.parametrize("name, gain", [("camera.png", 7.0), ("astronaut.png", 7.5)])
def test_noise_is_removed_without_training(engine, restore, tmp_path, name, gain):
    photo = Image.open(PHOTOS / name).crop((130, 20, 322, 212))
    true = np.asarray(photo, np.float64)
    noisy = true + np.random.default_rng(0).normal(0, 25, true.shape)
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    status, _, err = restore("denoise", tmp_path / "noisy.png", "--quick", "-o",
                             tmp_path / "clean.png", "--device", "cpu")
    assert status == ExitStatus.OK, err
    before, after = (np.asarray(Image.open(tmp_path / f"{p}.png"), np.float64) / 255
                     for p in ("noisy", "clean"))
    assert metrics.psnr(after, true / 255) > metrics.psnr(before, true / 255) + gain
    np.testing.assert_allclose(after.mean((0, 1)), before.mean((0, 1)), atol=2 / 255)


def test_training_goes_on_from_there(engine, restore, tmp_path):
    """A few steps on the image itself do not undo what the shipped weights know."""
    true = np.asarray(Image.open(PHOTOS / "camera.png").crop((130, 20, 322, 212)), np.float64)
    noisy = true + np.random.default_rng(0).normal(0, 25, true.shape)
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    scores = {}
    for how in (("--quick",), ("--steps", 60), ("--steps", 60, "--cold")):
        target = tmp_path / f"{'_'.join(map(str, how))}.png"
        status, _, err = restore("denoise", tmp_path / "noisy.png", *how, "-o", target,
                                 "--device", "cpu")
        assert status == ExitStatus.OK, err
        scores[how] = metrics.psnr(np.asarray(Image.open(target), np.float64) / 255, true / 255)
    quick, warm, cold = scores.values()
    assert warm > quick - 0.2 and warm > cold + 1


def test_the_example_taken_in_the_dark_becomes_clean(engine, restore, tmp_path, monkeypatch):
    """At least 5 dB of the mosaic's PSNR, and the brightness of every plane within 1 %."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "raw"))
    import make_dark

    source = EXAMPLES / "raw" / "dark.dng"
    status, _, err = restore("denoise-raw", source, "--ratio", make_dark.RATIO, "-o",
                             tmp_path / "clean.dng", "--device", "cpu")
    assert status == ExitStatus.OK, err
    true = make_dark.clean_planes()
    noisy = np.clip(raw.read(source).planes() * make_dark.RATIO, 0, 1)
    found = raw.read(tmp_path / "clean.dng").planes()
    assert metrics.psnr(found, true) > metrics.psnr(noisy, true) + 5
    np.testing.assert_allclose(found.mean((1, 2)), true.mean((1, 2)), rtol=0.01)


def test_the_example_film_is_enlarged_better_than_by_bicubic(engine, restore, tmp_path,
                                                             monkeypatch):
    """Over all frames, the outer ones too; no cast, and no frame much worse than the others."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "films"))
    import make_film

    source = EXAMPLES / "films" / "coffee.mp4"
    status, _, err = restore("vsr", source, "--frames", 7, "-o", tmp_path / "%02d.png",
                             "--device", "cpu")
    assert status == ExitStatus.OK, err
    true, gains = make_film.scene().frames(), []
    for number, small in enumerate(video.decode(source, end=7)):
        frame = true[number]
        found = np.asarray(Image.open(tmp_path / f"{number + 1:02d}.png"))
        plain = video_baseline.enlarge(small.rgb / 255, 4)
        gains.append(metrics.psnr(found / 255, frame / 255) - metrics.psnr(plain, frame / 255))
        np.testing.assert_allclose(found.mean((0, 1)), frame.mean((0, 1)), rtol=0.02)
    assert np.mean(gains) > 1.3 and min(gains) > 1, gains
