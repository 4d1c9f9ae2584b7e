"""Unprocessing and its forward direction, against reference outputs and each other."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.media import unprocess as un


def near(actual, expected, tolerance=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.fixture
def case(golden):
    return golden("isp_unprocess", "led")


def development_of(case, i):
    return un.Development(case["ccm"][i].astype(np.float64), float(case["rgb_gain"][i]),
                          float(case["red_gain"][i]), float(case["blue_gain"][i]))


@pytest.mark.parametrize("i", [0, 1])
def test_development_is_the_reference_one(case, i):
    development, raw = development_of(case, i), case["raw"][i]
    near(un.demosaic(raw), case["out_demosaic_rgbg"][i])
    near(un.process(raw, development).transpose(2, 0, 1), case["out_isp_rgbg"][i])
    near(un.process(raw, development, half=True).transpose(2, 0, 1), case["out_isp_half_rgbg"][i])


@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize("order", ["rgbg", "rggb"])
def test_unprocessing_is_the_reference_one(case, i, order):
    development, srgb = development_of(case, i), case["srgb"][i].transpose(1, 2, 0)
    planes = [0, 1, 2, 3] if order == "rgbg" else [0, 1, 3, 2]
    plain = un.unprocess(srgb, development, safe=False)
    near(plain[planes], case[f"out_reverse_{order}"][i])
    safe = un.unprocess(srgb, development, safe=True)
    near(safe[planes], case[f"out_reverse_safe_{order}"][i])


def test_tone_curves_are_the_reference_ones(case):
    near(un.smoothstep(case["srgb"]), case["out_smoothstep"])
    near(un.inverse_smoothstep(case["srgb"]), case["out_inverse_smoothstep"])


def test_bytes_and_floats_give_the_same():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    development = un.random_development(rng)
    near(un.unprocess(picture, development),
         un.unprocess(picture.astype(np.float32) / 255, development), 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_developing_what_was_unprocessed_gives_the_picture_back(seed):
    rng = np.random.default_rng(seed)
    # Smooth and not saturated, so that neither demosaicking nor clipping changes it.
    colour = rng.uniform(0.35, 0.6, 3).astype(np.float32)
    picture = np.broadcast_to(colour, (8, 8, 3))
    development = un.random_development(rng)
    planes = un.unprocess(picture, development)
    assert planes.min() > 0 and planes.max() < 1
    near(un.process(planes, development), picture, 1e-4)


def test_white_stays_white_only_if_asked():
    white = np.full((4, 4, 3), 255, np.uint8)
    development = un.random_development(np.random.default_rng(3))
    assert un.unprocess(white, development) == pytest.approx(1.0, abs=1e-5)
    grey = un.unprocess(white, development, safe=False)
    assert grey[0] == pytest.approx(1 / development.gains[0], rel=1e-4)
    assert grey[2] == pytest.approx(1 / development.gains[2], rel=1e-4)


def test_without_the_tone_curve_only_gamma_is_undone():
    identity = un.Development(np.eye(3))
    picture = np.full((2, 2, 3), 0.5, np.float32)
    assert un.unprocess(picture, identity, tone=False) == pytest.approx(0.5**2.2, rel=1e-5)


def test_planes_come_from_their_places_in_the_mosaic():
    picture = np.zeros((5, 7, 3), np.float32)  # odd: the last row and column are dropped
    picture[0, 0, 0], picture[0, 3, 1], picture[3, 3, 2], picture[1, 2, 1] = 0.2, 0.3, 0.4, 0.5
    planes = un.unprocess(picture, un.Development(np.eye(3)), tone=False, safe=False)
    assert planes.shape == (4, 2, 3)
    found = {tuple(map(int, place)): float(planes[tuple(place)])
             for place in np.argwhere(planes > 1e-3)}
    expected = {(0, 0, 0): 0.2, (1, 0, 1): 0.3, (2, 1, 1): 0.4, (3, 0, 1): 0.5}
    assert found == {place: pytest.approx(v**2.2, rel=1e-4) for place, v in expected.items()}


def test_random_developments_are_in_the_stated_ranges():
    rng = np.random.default_rng(0)
    found = [un.random_development(rng) for _ in range(500)]
    assert all(np.allclose(d.to_srgb.sum(axis=1), 1) for d in found)
    assert all(1.9 <= d.red_gain <= 2.4 and 1.5 <= d.blue_gain <= 1.9 for d in found)
    dimming = np.array([1 / d.rgb_gain for d in found])
    assert abs(dimming.mean() - 0.8) < 0.02 and abs(dimming.std() - 0.1) < 0.015
    assert np.std([d.to_srgb[0, 0] for d in found]) > 0.03


def test_wrong_shapes_are_refused():
    development = un.Development(np.eye(3))
    for shape in ((4, 4), (4, 4, 4), (1, 4, 3)):
        with pytest.raises(ShapeError):
            un.unprocess(np.zeros(shape, np.float32), development)
    with pytest.raises(ShapeError):
        un.process(np.zeros((3, 4, 4), np.float32), development)
