from __future__ import annotations

import made
import numpy as np
import pytest

from restore_cli.media import samples


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_survives_the_way_to_float_and_back(dtype):
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 1, 1)
    values = samples.to_float(every)
    assert values.dtype == np.float32 and values.min() == 0 and values.max() == 1
    assert np.array_equal(samples.from_float(values, dtype), every)


def test_rounding_is_half_up_after_clamping():
    values = np.array([-1, 0.5 / 255, 1.4999 / 255, 1.5 / 255, 254.5 / 255, 2, np.nan, np.inf],
                      np.float32)
    assert samples.from_float(values, "uint8").tolist() == [0, 1, 1, 2, 255, 255, 0, 255]


def test_float_is_never_clamped():
    values = np.array([[-3.5, 7.25]], np.float32)
    assert np.array_equal(samples.from_float(values, np.float32), values)
    assert np.array_equal(samples.to_float(values), values)


def test_results_go_into_a_given_array():
    pixels = made.noise("uint16", 3)
    out = np.empty(pixels.shape, np.float32)
    assert samples.to_float(pixels, out) is out
    back = np.empty_like(pixels)
    assert samples.from_float(out, np.uint16, back) is back
    assert np.array_equal(back, pixels)


def test_from_float_accepts_double_and_discontiguous_input():
    values = np.linspace(0, 1, 256)[::-1].reshape(16, 16).T
    expected = np.arange(255, -1, -1, np.uint8).reshape(16, 16).T
    assert np.array_equal(samples.from_float(values, np.uint8), expected)


def test_depth_changes_round_to_nearest():
    every = np.arange(65536, dtype=np.uint16).reshape(-1, 1, 1)
    assert np.array_equal(samples.to_depth(every, np.uint8),
                          np.floor(every / 257 + 0.5).astype(np.uint8))
    small = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1)
    assert np.array_equal(samples.to_depth(samples.to_depth(small, np.uint16), np.uint8), small)
    assert samples.to_depth(small, np.uint16).max() == 65535


@pytest.mark.parametrize("shape", [(1, 1), (7, 5, 3), (1000, 3), (0, 4)])
def test_windows_partition_the_rows(shape):
    windows = samples.row_windows(shape, samples=11)
    rows = [row for part in windows for row in range(shape[0])[part]]
    assert rows == list(range(shape[0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_agrees_with_pillow(orientation):
    from PIL import Image as Pillow
    from PIL import ImageOps

    pixels = made.noise("uint8", 3, (4, 6))
    picture = Pillow.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(samples.turn(pixels, orientation), expected)


def test_compositing_on_white_by_hand():
    pixels = np.array([[[100, 200, 0, 0], [100, 200, 0, 255], [100, 200, 0, 51]]], np.uint8)
    assert samples.on_white(pixels)[0].tolist() == [[255, 255, 255], [100, 200, 0], [224, 244, 204]]
