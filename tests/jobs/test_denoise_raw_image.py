"""Mosaics as the network sees them, and its results as mosaics: pure arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.jobs import denoise_raw_image
from restore_cli.jobs.denoise_raw_image import Levels, Picture, Result, Style, levels
from restore_cli.media import bayer

BLACK = np.array([512.0, 500, 520, 508])
WHITE = np.array([16383.0, 16000, 16383, 16383])
SIZE = 24, 30  # packed


def mosaic_of(planes: np.ndarray, pattern: str, odd: bool = False) -> np.ndarray:
    height, width = 2 * planes.shape[1] + odd, 2 * planes.shape[2] + odd
    stored = np.rint(planes * (WHITE - BLACK)[:, None, None] + BLACK[:, None, None])
    mosaic = np.full((height, width), 7, np.uint16)
    return bayer.unpack(np.clip(stored, 0, 65535).astype(np.uint16), bayer.PATTERNS[pattern],
                        mosaic)


def picture(planes: np.ndarray, ratio: float = 1.0, pattern: str = "RGGB", odd: bool = False):
    return Picture(mosaic_of(planes, pattern, odd), bayer.PATTERNS[pattern], BLACK, WHITE, ratio)


def planes_of(mosaic: np.ndarray, scale: Levels, pattern: str = "RGGB") -> np.ndarray:
    """Stored values as 0 at black and 1 at white."""
    packed = bayer.pack(mosaic, bayer.PATTERNS[pattern]).astype(np.float64)
    return (packed - scale.black[:, None, None]) / (scale.white - scale.black)[:, None, None]


def finished(noisy: Picture, clean: np.ndarray, style: Style = Style(), **options) -> tuple:
    scale = levels(BLACK, WHITE, **options)
    result = Result(noisy, scale, style)
    result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), clean)
    return planes_of(result.finish(), scale, noisy.pattern.name), scale


def random_planes(low: float = -0.001, high: float = 0.02, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (4, *SIZE))


@pytest.mark.parametrize("pattern", sorted(bayer.PATTERNS))
def test_planes_are_amplified_and_clipped_at_white_only(pattern):
    planes = random_planes(high=0.05)
    noisy = picture(planes, 40, pattern)
    found = noisy.amplified(slice(0, SIZE[0]), slice(0, SIZE[1]))
    np.testing.assert_allclose(found, planes * 40, atol=40 * 0.6 / 15000)
    assert found.dtype == np.float32 and found.max() > 1 and found.min() < 0
    clipped = noisy.network(slice(0, SIZE[0]), slice(0, SIZE[1]))
    np.testing.assert_array_equal(clipped, np.minimum(found, 1))


def test_windows_are_cut_and_mirrored():
    noisy = picture(random_planes(), 10)
    whole = noisy.amplified(slice(0, SIZE[0]), slice(0, SIZE[1]))
    np.testing.assert_array_equal(noisy.amplified(slice(3, 9), slice(5, 20)), whole[:, 3:9, 5:20])
    rows, columns = np.array([2, 1, 0, 1, 2]), np.array([28, 29, 28, 27])
    np.testing.assert_array_equal(noisy.amplified(rows, columns),
                                  whole[:, rows[:, None], columns])


@pytest.mark.parametrize("top,shrink,factor", [
    (255, 1, 64), (4095, 1, 4), (16383, 1, 1), (15520, 1, 1), (65535, 1, 1),
    (4095, 100, 16), (16383, 100, 4), (15520, 100, 4), (65535, 100, 1)])
def test_levels_are_raised_by_powers_of_two(top, shrink, factor):
    black, white = np.full(4, top / 64), np.full(4, float(top))
    found = levels(black, white, shrink=shrink)
    assert found.factor == factor and found.white.max() <= 65535
    np.testing.assert_array_equal(found.black, black * factor)
    if shrink == 1:
        assert found.white.max() > (1 << 13)
    else:
        assert found.white.max() * 2 > 65535


def test_the_result_is_stored_where_it_belongs_in_at_least_14_bits():
    noisy, clean = picture(np.zeros((4, *SIZE))), random_planes(0, 1, seed=2).astype(np.float32)
    found, scale = finished(noisy, clean)
    np.testing.assert_allclose(found, clean, atol=0.51 / 15000)
    assert not scale.dither


def test_results_are_clipped_to_black_and_white():
    noisy = picture(np.zeros((4, *SIZE)))
    found, _ = finished(noisy, np.where(random_planes() > 0.01, 1.7, -0.4).astype(np.float32))
    assert set(np.unique(found)) == {0.0, 1.0}


def test_pieces_give_what_the_whole_gives():
    noisy = picture(random_planes(0, 0.03), 50)
    clean = random_planes(0, 1, seed=4).astype(np.float32)
    for style in (Style(), Style(keep_exposure=True), Style(True, 0.4)):
        scale = levels(BLACK, WHITE, shrink=50)
        whole, parts = Result(noisy, scale, style), Result(noisy, scale, style)
        whole.put(slice(0, SIZE[0]), slice(0, SIZE[1]), clean)
        for rows in (slice(0, 7), slice(7, 8), slice(8, SIZE[0])):
            for columns in (slice(0, 1), slice(1, 17), slice(17, SIZE[1])):
                parts.put(rows, columns, clean[:, rows, columns])
        np.testing.assert_array_equal(whole.finish(), parts.finish())


@pytest.mark.parametrize("style", [Style(), Style(True), Style(False, 0.4), Style(True, 0.4)])
def test_blocks_give_what_one_block_gives(monkeypatch, style):
    """Some blocks are far from white, some hold a highlight, some border on one."""
    planes = random_planes(0, 0.015)
    planes[:, 14:19, 8:22] = 0.03
    planes[2, 3, 5] = 0.03
    noisy, clean = picture(planes, 50), random_planes(-0.1, 1.1, seed=4).astype(np.float32)
    columns = np.r_[3:0:-1, 0:SIZE[1], SIZE[1] - 2:SIZE[1] - 5:-1]
    rows = np.r_[2:0:-1, 0:SIZE[0], SIZE[0] - 2]
    made = []
    for block in (1 << 14, 1):
        monkeypatch.setattr(denoise_raw_image, "_BLOCK", block)
        result = Result(noisy, levels(BLACK, WHITE, shrink=50), style)
        result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), clean)
        made.append((result.finish(), noisy.network(rows, columns)))
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])
    whole = np.minimum(noisy.amplified(slice(0, SIZE[0]), slice(0, SIZE[1])), 1)
    np.testing.assert_array_equal(made[0][1], whole[:, rows[:, None], columns])


def test_where_no_sample_is_bright_is_known():
    planes = np.full((4, *SIZE), 0.009)
    planes[1, 10, 10] = 0.011
    noisy = picture(planes, 100)
    assert noisy.above(slice(8, 12), slice(8, 12), 1.0)
    assert not noisy.above(slice(8, 12), slice(8, 12), 1.2)
    assert not noisy.above(slice(8, 10), slice(0, SIZE[1]), 1.0)


def test_highlights_come_back_from_the_original_when_the_exposure_is_kept():
    planes = np.full((4, *SIZE), 0.002)
    planes[:, 8:16, 10:20] = np.array([0.3, 0.5, 0.2, 0.5])[:, None, None]
    noisy = picture(planes, 100)
    clean = np.clip(planes * 100, 0, 1).astype(np.float32)
    found, _ = finished(noisy, clean, Style(keep_exposure=True), shrink=100)
    np.testing.assert_allclose(found, planes, atol=1e-4)


def test_a_highlight_in_one_colour_keeps_its_colour():
    """Red alone clips: without one weight for all planes its border would change colour."""
    planes = np.full((4, *SIZE), 0.001)
    planes[0, :, 15:] = 0.02  # twice white after amplification
    noisy = picture(planes, 100)
    clean = np.clip(planes * 100, 0, 1).astype(np.float32)
    clean[1:, :, 15:] += 0.05  # the network errs in the other planes
    found, _ = finished(noisy, clean, Style(keep_exposure=True), shrink=100)
    np.testing.assert_allclose(found[:, :, 17:], planes[:, :, 17:], atol=1e-4)
    assert (np.diff(found[0, 12], axis=-1) > -1e-4).all()  # red only rises, no dark seam


def test_the_way_into_highlights_is_smooth():
    ramp = np.linspace(0, 0.03, SIZE[1])
    planes = np.broadcast_to(ramp, (4, *SIZE))
    noisy = picture(planes, 100)
    found, _ = finished(noisy, np.minimum(planes * 100, 1).astype(np.float32),
                        Style(keep_exposure=True), shrink=100)
    np.testing.assert_allclose(found, planes, atol=0.0015)
    steps = np.diff(found[:, 12], axis=-1)
    assert steps.min() > -1e-4 and steps.max() < 3 * ramp[1]


def test_below_the_highlights_nothing_comes_back():
    noisy = picture(random_planes(0, 0.007), 100)
    clean = np.full((4, *SIZE), 0.5, np.float32)
    found, _ = finished(noisy, clean, Style(keep_exposure=True), shrink=100)
    np.testing.assert_allclose(found, 0.005, atol=1e-4)


def test_a_defect_of_one_pixel_is_no_highlight_but_a_star_is():
    planes = np.full((4, *SIZE), 0.002)
    planes[1, 6, 6] = 0.9  # one sample
    planes[:, 18, 20] = 0.3  # every colour at one place
    noisy = picture(planes, 100)
    found, _ = finished(noisy, np.full((4, *SIZE), 0.2, np.float32), Style(keep_exposure=True),
                        shrink=100)
    np.testing.assert_allclose(found[:, 6, 6], 0.002, atol=1e-4)
    np.testing.assert_allclose(found[:, 18, 20], 0.3, atol=1e-4)


def test_highlights_are_white_when_brightened_each_plane_for_itself():
    planes = np.full((4, *SIZE), 0.004)
    planes[1::2, 8:16, 10:20] = 0.02
    noisy = picture(planes, 100)
    clean = np.minimum(planes * 100, 0.97).astype(np.float32)  # networks miss white by a little
    found, _ = finished(noisy, clean)
    np.testing.assert_array_equal(found[1::2, 10:14, 12:18], 1.0)
    np.testing.assert_allclose(found[::2], 0.4, atol=1e-4)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_mixes_the_noise_back_in(keep, strength):
    planes = random_planes(0, 0.007)
    noisy = picture(planes, 100)
    amplified = noisy.amplified(slice(0, SIZE[0]), slice(0, SIZE[1])).astype(np.float64)
    found, _ = finished(noisy, np.full((4, *SIZE), 0.5, np.float32), Style(keep, strength),
                        shrink=100 if keep else 1)
    expected = strength * 0.5 + (1 - strength) * amplified
    np.testing.assert_allclose(found, expected / (100 if keep else 1), atol=1e-4)


def test_no_strength_and_the_same_exposure_give_the_file_back():
    rng = np.random.default_rng(1)
    mosaic = rng.integers(0, 16384, (2 * SIZE[0], 2 * SIZE[1])).astype(np.uint16)
    noisy = Picture(mosaic, bayer.PATTERNS["GBRG"], BLACK, WHITE, 250)
    scale = levels(BLACK, WHITE, shrink=250)
    result = Result(noisy, scale, Style(True, 0.0))
    result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), np.zeros((4, *SIZE), np.float32))
    found = result.finish().astype(int)
    np.testing.assert_allclose(found, np.minimum(mosaic.astype(int) * scale.factor, 65535), atol=1)


def test_few_steps_are_dithered_so_that_means_stay():
    """A smooth surface 300 times darker again: rounded it would show terraces."""
    clean = np.broadcast_to(np.linspace(0.50, 0.52, SIZE[1], dtype=np.float32), (4, *SIZE))
    noisy = picture(np.zeros((4, *SIZE)), 300)
    found, scale = finished(noisy, clean, Style(keep_exposure=True), shrink=300)
    assert scale.dither
    step = 1 / (scale.white - scale.black).min()
    assert np.abs(found - clean / 300).max() < 1.01 * step
    columns = found.mean((0, 1))  # 96 samples each
    assert np.abs(columns - clean[0, 0] / 300).max() < 0.25 * step


def test_an_odd_last_row_and_column_repeat_their_colours():
    noisy = picture(random_planes(), 10, "GRBG", odd=True)
    clean = random_planes(0, 1, seed=5).astype(np.float32)
    result = Result(noisy, levels(BLACK, WHITE))
    result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), clean)
    mosaic = result.finish()
    assert mosaic.shape == (2 * SIZE[0] + 1, 2 * SIZE[1] + 1)
    np.testing.assert_array_equal(mosaic[-1, :-1], mosaic[-3, :-1])
    np.testing.assert_array_equal(mosaic[:, -1], mosaic[:, -3])


@pytest.mark.parametrize("keep", [False, True])
def test_threads_put_the_same_in(monkeypatch, keep):
    monkeypatch.setattr(denoise_raw_image, "_BLOCK", 8 * SIZE[1])
    noisy, clean = picture(random_planes(), 60.0), random_planes(-0.1, 1.2).astype(np.float32)
    scale = levels(BLACK, WHITE, shrink=60.0 if keep else 1.0)
    made = []
    for threads in (1, 3):
        result = Result(noisy, scale, Style(keep), threads)
        result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), clean)
        made.append(result.finish())
    np.testing.assert_array_equal(*made)


def test_a_failure_in_a_thread_is_told(monkeypatch):
    monkeypatch.setattr(denoise_raw_image, "_BLOCK", 8 * SIZE[1])
    noisy = picture(random_planes())
    result = Result(noisy, levels(BLACK, WHITE), threads=2)
    with pytest.raises(ValueError):
        result.put(slice(0, SIZE[0]), slice(0, SIZE[1]), np.zeros((4, SIZE[0], 3), np.float32))
