"""The integer sampling grid against upstream's float coordinates (golden 01)."""

from __future__ import annotations

import numpy as np
import pytest

PAIRS = [(5, 10), (5, 38), (7, 7), (9, 27), (10, 7), (10, 15), (1, 4), (48, 111), (48, 360),
         (339, 1356)]


@pytest.fixture(scope="module")
def case(golden):
    return golden("01_coords")


def _dense(n, corners):
    """Interpolation matrix (outputs, n) of weighted neighbours."""
    matrix = np.zeros((len(corners[0][0]), n))
    for index, weight in corners:
        np.add.at(matrix, (np.arange(len(index)), index), weight)
    return matrix


def test_pairs_are_those_of_the_case(case):
    assert [tuple(pair) for pair in case["meta"]["pairs"]] == PAIRS


def test_make_coord(engine, case):
    from restore_cli.nets.liif.grid import make_coord

    for number, item in enumerate(case["meta"]["shapes"]):
        ranges = item["ranges"] or [(-1, 1)] * len(item["shape"])
        axes = [low + (high - low) * (make_coord(n) + 1) / 2
                for n, (low, high) in zip(item["shape"], ranges, strict=True)]
        expected = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        if item["flatten"]:
            expected = expected.reshape(-1, len(axes))
        np.testing.assert_allclose(expected, case[f"make_coord_{number}"], atol=1e-6)


@pytest.mark.parametrize("n,count", PAIRS)
def test_ensemble_corners(engine, case, n, count):
    from restore_cli.nets.liif import grid

    told = {name: case[f"{n}to{count}/{name}"] for name in
            ("idx_lo", "idx_hi", "rel_lo", "rel_hi", "w_lo", "ill_ensemble")}
    low, high = grid.corners(n, count, 0, count, True)
    keep = ~told["ill_ensemble"]
    assert keep.any()
    # A neighbour of weight 0 is never evaluated, so only those that count need to agree.
    for corner, side in ((low, "lo"), (high, "hi")):
        used = keep & (corner.weight > 0)
        np.testing.assert_array_equal(corner.index[used], told[f"idx_{side}"][used])
        np.testing.assert_allclose(corner.offset[used], told[f"rel_{side}"][used],
                                   atol=1e-4 + 2e-7 * n)
    ours = _dense(n, [(low.index, low.weight), (high.index, high.weight)])
    upstream = _dense(n, [(told["idx_lo"], told["w_lo"]), (told["idx_hi"], 1 - told["w_lo"])])
    np.testing.assert_allclose(ours[keep], upstream[keep], atol=1e-4 + 2e-7 * n)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-7)


@pytest.mark.parametrize("n,count", PAIRS)
def test_nearest_corner(engine, case, n, count):
    from restore_cli.nets.liif import grid

    (only,) = grid.corners(n, count, 0, count, False)
    keep = ~case[f"{n}to{count}/tie_near"]
    np.testing.assert_array_equal(only.index[keep], case[f"{n}to{count}/idx_near"][keep])
    np.testing.assert_allclose(only.offset[keep], case[f"{n}to{count}/rel_near"][keep],
                               atol=1e-4 + 2e-7 * n)
    assert (only.weight == 1).all()


@pytest.mark.parametrize("n,count", PAIRS)
def test_metasr_phases(engine, case, n, count):
    from restore_cli.nets.liif import grid

    index, offset = grid.phases(n, count, 0, count)
    np.testing.assert_array_equal(index, case[f"{n}to{count}/meta_idx"])
    np.testing.assert_allclose(offset, case[f"{n}to{count}/meta_rel"], atol=1e-4 + 2e-7 * n)
    np.testing.assert_allclose(n / count, case[f"{n}to{count}/meta_rrev"], rtol=1e-5)


@pytest.mark.parametrize("ensemble", [True, False])
def test_part_of_an_axis_equals_the_whole(engine, ensemble):
    from restore_cli.nets.liif import grid

    whole = grid.corners(13, 101, 0, 101, ensemble)
    part = grid.corners(13, 101, 37, 64, ensemble)
    for a, b in zip(whole, part, strict=True):
        for name in ("index", "offset", "weight"):
            np.testing.assert_array_equal(getattr(a, name)[37:64], getattr(b, name))


def test_float_nearest_agrees_with_integers(engine):
    import jittor as jt

    from restore_cli.nets.liif import grid

    for n, count in PAIRS:
        integer = grid.corners(n, count, 0, count, False)[0].index
        position = ((2 * np.arange(count) + 1) * n / count - 1) / 2
        untied = np.abs(position - np.floor(position) - 0.5) > 1e-4
        got = grid.nearest(jt.array(grid.make_coord(count)), n).numpy()
        np.testing.assert_array_equal(got[untied], integer[untied])
