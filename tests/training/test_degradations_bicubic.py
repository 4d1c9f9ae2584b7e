"""Bicubic resize against the recorded Pillow results."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.training.degradations import bicubic


def test_golden_8_bit_and_float_are_bit_exact(golden):
    case = golden("15_pil_resize")
    for kind, entries in (("u8", case["meta"]["uint8"]), ("f", case["meta"]["float"])):
        assert entries
        for i, entry in enumerate(entries):
            result = bicubic.resize(case[f"{kind}_in_{i}"], tuple(entry["out"]))
            assert result.dtype == case[f"{kind}_out_{i}"].dtype
            assert np.array_equal(result, case[f"{kind}_out_{i}"]), (kind, i)


def test_size_is_height_then_width():
    assert bicubic.resize(np.zeros((6, 8, 3), np.uint8), (3, 5)).shape == (3, 5, 3)
    assert bicubic.resize(np.zeros((6, 8, 2), np.float32), (12, 4)).shape == (12, 4, 2)


def test_four_planes_are_independent():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 10, 4), dtype=np.uint8)
    image[..., 3] = 0  # Pillow's own RGBA resize would lose all colour here
    result = bicubic.resize(image, (5, 6))
    assert np.array_equal(result[..., :3], bicubic.resize(image[..., :3], (5, 6)))


def test_rows_before_columns_for_strongly_anisotropic_reductions():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (400, 12, 3), dtype=np.uint8)
    rows_first = bicubic.resize(bicubic.resize(image, (400, 9)), (3, 9))
    assert np.array_equal(bicubic.resize(image, (3, 9)), rows_first)


def test_bad_shapes():
    for image in (np.zeros((0, 4, 3), np.uint8), np.zeros(5, np.uint8)):
        with pytest.raises(ShapeError):
            bicubic.resize(image, (2, 2))
    with pytest.raises(ShapeError):
        bicubic.resize(np.zeros((4, 4, 3), np.uint8), (0, 2))
