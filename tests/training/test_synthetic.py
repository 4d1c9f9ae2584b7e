"""Generated images: reproducible, varied, cached safely."""

from __future__ import annotations

import io
import multiprocessing
import time

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import OutputError, UsageError
from restore_cli.training.datasets import palettes, synthetic, textures


def test_a_picture_depends_only_on_seed_and_index():
    first = synthetic.dead_leaf(3, 7, 64)
    synthetic.dead_leaf(3, 8, 64)  # drawing another one in between changes nothing
    assert np.array_equal(first, synthetic.dead_leaf(3, 7, 64))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8


def test_seed_and_index_both_matter():
    pictures = [synthetic.dead_leaf(s, i, 64) for s, i in ((0, 0), (0, 1), (1, 0))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(pictures[a], pictures[b])


def test_pictures_have_contrast_and_edges_in_all_directions():
    pictures = np.stack([synthetic.dead_leaf(5, i, 96) for i in range(12)]).astype(float)
    assert pictures.std((1, 2)).mean() > 15
    grey = pictures.mean(-1)
    gy, gx = np.gradient(grey, axis=(1, 2))
    strong = np.hypot(gx, gy) > 15
    directions = np.histogram(np.arctan2(gy, gx)[strong] % np.pi, 8, (0, np.pi))[0]
    assert directions.min() > 0.04 * directions.sum()


def test_spectrum_falls_like_that_of_photographs():
    pictures = np.stack([synthetic.dead_leaf(6, i, 128) for i in range(12)]).mean(-1)
    window = np.hanning(128)[:, None] * np.hanning(128)
    power = np.abs(np.fft.rfft2((pictures - pictures.mean((1, 2), keepdims=True)) * window)) ** 2
    power = power.mean(0)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None]) * 128
    rings = np.array([4, 8, 16, 32])
    level = [power[(radius >= r) & (radius < 1.5 * r)].mean() for r in rings]
    slope = np.polyfit(np.log(rings), np.log(level), 1)[0]
    assert -3.2 < slope < -1.3  # photographs: about -2


def test_own_palettes_are_used():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert np.array_equal(palettes.of_image(red, 4, np.random.default_rng(0)),
                          np.tile([200.0, 0, 0], (4, 1)))
    differs = [not np.array_equal(synthetic.dead_leaf(0, i, 32, [red]),
                                  synthetic.dead_leaf(0, i, 32)) for i in range(6)]
    assert any(differs)


def test_textures_keep_shape_and_range():
    rng = np.random.default_rng(0)
    for height, width in ((7, 9), (40, 31), (128, 20), (1, 1), (3, 90)):
        for _ in range(40):
            field = textures.any_texture(height, width, rng)
            assert field.shape == (height, width) and np.isfinite(field).all()
            assert np.abs(field).max() <= 1.6
            assert np.isfinite(textures.shading(height, width, rng)).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_holds_the_single_pictures(tmp_path, workers):
    images = synthetic.generate(17, 4, 32, cache_folder=tmp_path, workers=workers)
    assert images.shape == (17, 32, 32, 3)
    for index in (0, 16):
        assert np.array_equal(images[index], synthetic.dead_leaf(4, index, 32))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_finished_set_is_found_again(tmp_path, monkeypatch):
    first = synthetic.generate(3, 4, 32, cache_folder=tmp_path, workers=1)

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(synthetic, "dead_leaf", fail)
    assert np.array_equal(first, synthetic.generate(3, 4, 32, cache_folder=tmp_path, workers=1))
    with pytest.raises(AssertionError):
        synthetic.generate(3, 5, 32, cache_folder=tmp_path, workers=1)


def test_a_damaged_or_interrupted_set_is_made_again(tmp_path, monkeypatch):
    synthetic.generate(2, 4, 32, cache_folder=tmp_path, workers=1)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    again = synthetic.generate(2, 4, 32, cache_folder=tmp_path, workers=1)
    assert np.array_equal(again[1], synthetic.dead_leaf(4, 1, 32))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "dead_leaf", interrupt)
    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(2, 9, 32, cache_folder=tmp_path, workers=1)
    assert len(list(tmp_path.iterdir())) == 1


def test_workers_that_cannot_start_are_done_without(monkeypatch):
    def broken(*_):
        yield synthetic.dead_leaf(4, 0, 32)
        raise synthetic.BrokenProcessPool

    monkeypatch.setattr(synthetic, "_parallel", broken)
    stderr = io.StringIO()
    console = Console(io.BytesIO(), io.BytesIO(), stderr, {})
    console.show_progress = True
    images = synthetic.generate(16, 4, 32, workers=2, console=console)
    assert np.array_equal(images[0], synthetic.dead_leaf(4, 0, 32))
    assert np.array_equal(images[15], synthetic.dead_leaf(4, 15, 32))
    assert "drawing images" in stderr.getvalue()


def test_stopping_early_ends_the_workers():
    drawing = synthetic._parallel(400, (4, 64, None), 2)
    next(drawing)
    begin = time.monotonic()
    drawing.close()
    assert time.monotonic() - begin < 5
    assert not multiprocessing.active_children()


def test_bad_requests(tmp_path):
    with pytest.raises(UsageError):
        synthetic.dead_leaf(0, 0, 8)
    with pytest.raises(UsageError):
        synthetic.generate(0, 0, 32)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError):
        synthetic.generate(1, 0, 32, cache_folder=blocked / "sub", workers=1)
