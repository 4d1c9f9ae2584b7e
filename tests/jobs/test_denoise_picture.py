"""Mean, deviation and limits of a picture's channels, whichever way they lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.jobs import denoise_picture
from restore_cli.jobs.denoise_picture import Moments, merged


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(denoise_picture, "_PIECE", 500)


def drawn(dtype: str) -> np.ndarray:
    """(50, 40, 3)."""
    return np.random.default_rng(0).gamma(2, 30, (50, 40, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("interleaved", [True, False])
def test_moments(dtype, interleaved):
    planes = drawn(dtype).transpose(2, 0, 1)
    found = Moments(3)
    found.add(planes if interleaved else np.ascontiguousarray(planes))
    flat = planes.reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.std, flat.std(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.low, flat.min(axis=1))
    np.testing.assert_array_equal(found.high, flat.max(axis=1))


@pytest.mark.parametrize("masked", [True, False])
def test_what_is_invalid_or_masked_does_not_count(masked):
    planes = drawn("float32").transpose(2, 0, 1)
    bad = np.zeros(planes.shape[1:], bool)
    bad[0, 0] = bad[30, 7] = bad[31] = True
    planes[1, bad] = np.inf if not masked else 1e9
    found = Moments(3)
    found.add(planes, page=2, keep=bad if masked else None)
    good = planes[:, ~bad].astype(np.float64)
    np.testing.assert_array_equal(found.count, np.full(3, good.shape[1]))
    np.testing.assert_allclose(found.mean, good.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.std, good.std(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.high, good.max(axis=1))
    assert (found.invalid, found.first) == ((0, None) if masked else (42, (2, 0, 0)))


def test_equal_channels_are_one_even_if_they_differ_late_only():
    planes = np.repeat(drawn("float32")[None, ..., 0], 3, axis=0)
    planes[:, 3, 3] = np.nan
    found = Moments(3)
    found.add(planes)
    assert merged(planes, found) == ((0, 1, 2),)
    planes[2, -1, -1] += 1
    assert merged(planes, found) == ((0,), (1,), (2,))
