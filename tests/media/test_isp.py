"""The ELD development against reference outputs."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.media import isp


def develop(case, i, **options):
    return isp.develop_planes(case["raw"][i], case["wb"][i], case["ccm"][i], **options)


@pytest.mark.parametrize("i", [0, 1])
def test_development_is_the_reference_one(golden, i):
    case = golden("isp_eld", "led")
    response = case["crf_E"], case["crf_f"]
    for name, options in (("gamma", {}), ("crf", {"response": response})):
        found = develop(case, i, **options).transpose(2, 0, 1)
        assert found.dtype == np.float32
        assert np.abs(found - case[f"out_{name}_float"][i]).max() <= 1e-5
        steps = isp.to_bytes(found).astype(int)
        away = np.abs(steps - np.rint(case[f"out_{name}_u8"][i] * 255))
        assert away.max() <= 1 and np.mean(away > 0) < 0.005


def test_only_ratios_of_the_balance_count(golden):
    case = golden("isp_eld", "led")
    once = develop(case, 0)
    twice = isp.develop_planes(case["raw"][0], 2 * case["wb"][0], case["ccm"][0])
    assert np.allclose(once, twice, atol=1e-6)


def test_one_response_curve_serves_all_colours():
    planes = np.random.default_rng(0).random((4, 3, 5))
    curve = np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.8, 0.9])
    found = isp.develop_planes(planes, np.ones(4), np.eye(3), response=curve)
    assert np.allclose(found[..., 0], np.interp(planes[0], *curve), atol=1e-6)
    assert np.allclose(found[..., 2], np.interp(planes[2], *curve), atol=1e-6)


def test_bytes_are_cut_off():
    assert isp.to_bytes(np.float32([-1, 0.99 / 255, 1.01 / 255, 0.999, 1, 2])).tolist() == [
        0, 0, 1, 254, 255, 255]


def test_wrong_shapes_are_refused():
    planes, balance, matrix = np.zeros((4, 2, 2)), np.ones(4), np.eye(3)
    for wrong in ((planes[:3], balance, matrix), (planes, balance[:3], matrix),
                  (planes, balance, matrix[:2])):
        with pytest.raises(ShapeError):
            isp.develop_planes(*wrong)
    with pytest.raises(ShapeError, match="response"):
        isp.develop_planes(planes, balance, matrix, response=(np.arange(3), np.arange(4)))
