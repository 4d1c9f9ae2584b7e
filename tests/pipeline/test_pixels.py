"""Values to [0, 1] and back without loss; colour under transparency."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import InputError
from restore_cli.pipeline.pixels import bleed, levels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_integer_survives_the_round_trip(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[:, None]
    found, note = levels(values)
    unit = found.to_unit(values)
    assert unit.dtype == np.float32 and unit.min() == 0 and unit.max() <= 1
    np.testing.assert_array_equal(found.from_unit(unit), values)
    assert note is None


def test_sixteen_bits_take_no_detour_through_eight():
    values = np.array([[1000, 1001, 1002]], np.uint16)
    found, _ = levels(values)
    assert len(np.unique(found.to_unit(values))) == 3


def test_rounding_is_half_up_and_truncation_is_an_option():
    found, _ = levels(np.zeros((1, 1), np.uint8))
    values = np.array([0.0, 0.49, 0.51, 99.5, 254.4, 254.6, 255], np.float32) / 255
    assert found.from_unit(values).tolist() == [0, 0, 1, 100, 254, 255, 255]
    assert found.from_unit(values + 1e-7, truncate=True).tolist() == [0, 0, 0, 99, 254, 254, 255]


def test_overshoot_is_clamped():
    found, _ = levels(np.zeros((1, 1), np.uint16))
    assert found.from_unit(np.array([-0.3, 1.7], np.float32)).tolist() == [0, 65535]


def test_floats_in_range_are_untouched():
    values = np.random.default_rng(0).random((5, 4, 3), np.float32)
    found, note = levels(values)
    assert note is None
    np.testing.assert_array_equal(found.from_unit(found.to_unit(values)), values)


@pytest.mark.parametrize("low,high", [(-0.5, 1.0), (0.0, 3.0), (0.0, 5000.0), (-2.0, 40.0)])
def test_floats_out_of_range_come_back(low, high):
    values = np.random.default_rng(0).uniform(low, high, (50, 4, 3)).astype(np.float32)
    values[0, 0] = low, high, (low + high) / 2
    found, note = levels(values)
    assert "mapped" in note
    unit = found.to_unit(values)
    assert unit.dtype == np.float32 and unit.min() >= 0 and unit.max() <= 1 + 1e-6
    np.testing.assert_allclose(found.from_unit(unit), values, rtol=2e-5, atol=2e-6)


def test_high_dynamic_range_keeps_dark_tones_apart():
    values = np.array([[0.1, 0.2, 60000.0]], np.float32)
    found, _ = levels(values)
    assert found.logarithmic
    assert np.diff(found.to_unit(values))[0, 0] > 5e-3


def test_values_that_are_no_numbers_are_replaced_and_told():
    values = np.array([[np.nan, np.inf, -np.inf, 0.25]], np.float32)
    found, note = levels(values)
    assert "NaN" in note and np.isfinite(found.to_unit(values)).all()
    with pytest.raises(InputError, match="finite"):
        levels(np.full((2, 2), np.nan, np.float32))


def test_other_types_are_refused():
    with pytest.raises(InputError, match="int32"):
        levels(np.zeros((1, 1), np.int32))


def test_colour_bleeds_under_transparency_only():
    colour = np.zeros((9, 40, 3), np.float32)
    colour[:, :5] = 0.8, 0.4, 0.2
    alpha = np.zeros((9, 40), np.uint8)
    alpha[:, :5] = 255
    out = bleed(colour, alpha, steps=10)
    np.testing.assert_array_equal(out[:, :5], colour[:, :5])
    np.testing.assert_allclose(out[:, 5:15], np.broadcast_to([0.8, 0.4, 0.2], (9, 10, 3)),
                               rtol=1e-5)
    np.testing.assert_array_equal(out[:, 15:], colour[:, 15:])


def test_opaque_and_empty_images_are_left_alone():
    colour = np.random.default_rng(0).random((4, 4, 3), np.float32)
    assert bleed(colour, np.ones((4, 4))) is colour
    assert bleed(colour, np.zeros((4, 4))) is colour


def test_bleeding_a_window_with_margin_equals_bleeding_the_whole():
    rng = np.random.default_rng(1)
    colour = rng.random((60, 60, 3), np.float32)
    alpha = (rng.random((60, 60)) < 0.02).astype(np.uint8)
    whole = bleed(colour, alpha, steps=6)
    part = bleed(colour[10:50, 10:50], alpha[10:50, 10:50], steps=6)
    np.testing.assert_array_equal(part[6:-6, 6:-6], whole[16:44, 16:44])
