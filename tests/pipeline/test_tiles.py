"""Tiling is exact: tiled results equal whole-image results, for a network NumPy can check."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.pipeline.tiles import (
    covered,
    scaled,
    scaled_blocks,
    spans,
    tiles,
)


def network(image: np.ndarray, radius: int, seed: int = 0) -> np.ndarray:
    """Zero-padded layers of radius 1 with a non-linearity between: position matters at edges."""
    rng = np.random.default_rng(seed)
    x = image.astype(np.float64)
    for _ in range(radius):
        kernel, bias = rng.normal(size=(3, 3)), rng.normal()
        padded = np.pad(x, 1)
        y = sum(kernel[i, j] * padded[i:i + x.shape[0], j:j + x.shape[1]]
                for i in range(3) for j in range(3))
        x = np.maximum(y + bias, 0.1 * y)
    return x


def strided_network(image: np.ndarray, stride: int) -> np.ndarray:
    """Pool by `stride`, radius 1 at the coarse grid, back up: needs aligned windows."""
    h, w = image.shape
    coarse = image.reshape(h // stride, stride, w // stride, stride).mean((1, 3))
    return image + np.kron(network(coarse, 1), np.ones((stride, stride)))


def by_tiles(image, plan, run):
    out = np.full(image.shape, np.nan)
    for tile in plan:
        assert np.isnan(out[tile.keep]).all(), "tiles overlap in what they keep"
        out[tile.keep] = run(image[tile.read])[tile.inner]
    assert not np.isnan(out).any(), "tiles leave holes"
    return out


SIZES = [(1, 1), (1, 40), (37, 1), (7, 9), (16, 16), (33, 47), (64, 31), (61, 83)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("tile", [1, 5, 16, 17, 200])
@pytest.mark.parametrize("radius", [0, 1, 4])
def test_tiled_equals_whole(shape, tile, radius):
    image = np.random.default_rng(1).normal(size=shape)
    plan = tiles(*shape, tile, radius)
    whole = network(image, radius)
    np.testing.assert_array_equal(by_tiles(image, plan, lambda x: network(x, radius)), whole)


def test_a_halo_one_too_small_is_seen_by_the_test_network():
    image = np.random.default_rng(1).normal(size=(40, 40))
    plan = tiles(40, 40, 8, 3)
    wrong = by_tiles(image, plan, lambda x: network(x, 4))
    assert np.abs(wrong - network(image, 4)).max() > 1e-3


@pytest.mark.parametrize("shape", [(8, 8), (24, 64), (104, 40)])
@pytest.mark.parametrize("tile", [1, 8, 20, 500])
def test_aligned_tiles_are_exact_for_a_strided_network(shape, tile):
    image = np.random.default_rng(2).normal(size=shape)
    plan = tiles(*shape, tile, halo=9, align=8)
    assert all(start % 8 == 0 for t in plan for start in (t.y.read[0], t.x.read[0]))
    np.testing.assert_array_equal(
        by_tiles(image, plan, lambda x: strided_network(x, 8)), strided_network(image, 8))


@pytest.mark.parametrize("length", range(1, 70))
def test_windows_have_one_size_stay_inside_and_partition(length):
    for tile in (1, 2, 7, 16, 64):
        for halo in (0, 1, 5, 20):
            plan = spans(length, tile, halo)
            assert {b - a for a, b in (s.read for s in plan)} == {min(length, tile + 2 * halo)}
            assert [s.keep[0] for s in plan] == [0] + [s.keep[1] for s in plan[:-1]]
            assert plan[-1].keep[1] == length
            for span in plan:
                assert 0 <= span.read[0] <= span.keep[0] < span.keep[1] <= span.read[1] <= length
                assert span.read[0] == 0 or span.keep[0] - span.read[0] >= halo
                assert span.read[1] == length or span.read[1] - span.keep[1] >= halo


def test_edge_halos_are_not_wasted():
    assert len(spans(3 * 10 + 2 * 4, tile=10, halo=4)) == 3
    assert len(spans(3 * 10 + 2 * 4 + 1, tile=10, halo=4)) == 4


def test_tile_may_differ_by_axis():
    assert {(t.y.read[1] - t.y.read[0], t.x.read[1] - t.x.read[0])
            for t in tiles(50, 50, (10, 20), 2)} == {(14, 24)}


def test_impossible_plans_are_refused():
    for bad in (dict(length=0, tile=4, halo=1), dict(length=4, tile=0, halo=1),
                dict(length=4, tile=4, halo=-1), dict(length=10, tile=4, halo=1, align=4)):
        with pytest.raises(ValueError):
            spans(**bad)
    with pytest.raises(ValueError):
        scaled(4, 0, 4, 1, 2)


def ensemble(features: np.ndarray, length: int, size: int, window, origin: int) -> np.ndarray:
    """A one-axis decoder like LIIF's: 3-tap unfolding, then the two nearest samples blended.

    Coordinates come from the global integers; only then is the window's origin subtracted.
    """
    unfolded = np.convolve(np.pad(features, 1), [0.3, 1.0, -0.2], "valid")
    out = []
    for i in range(*window):
        numerator = (2 * i + 1) * length - size
        low = numerator // (2 * size)
        at = numerator / (2 * size)
        weight = at - low
        a, b = (min(max(k, 0), length - 1) - origin for k in (low, low + 1))
        out.append((1 - weight) * unfolded[a] + weight * unfolded[b])
    return np.array(out)


def encoder(x: np.ndarray, radius: int) -> np.ndarray:
    for step in range(radius):
        x = np.tanh(np.convolve(np.pad(x, 1), [0.5, 1.0 + step, -0.7], "valid") + 0.3)
    return x


@pytest.mark.parametrize("length,size", [(1, 1), (1, 9), (7, 7), (13, 31), (40, 91), (33, 100),
                                         (64, 480), (50, 75), (20, 20), (97, 728)])
@pytest.mark.parametrize("tile", [1, 8, 13, 1000])
@pytest.mark.parametrize("group", [1, 3])
def test_scaled_plan_is_exact(length, size, tile, group):
    radius = 4
    x = np.random.default_rng(3).normal(size=length)
    whole = ensemble(encoder(x, radius), length, size, (0, size), 0)
    plan = scaled(length, size, tile, group, radius + 2)
    out = np.full(size, np.nan)
    for block in plan:
        features = encoder(x[slice(*block.read)], radius)
        for cell in block.cells:
            part = features[cell.read[0] - block.read[0]:cell.read[1] - block.read[0]]
            assert len(part) == cell.read[1] - cell.read[0]
            rendered = ensemble(part, length, size, cell.out, cell.read[0])
            assert np.isnan(out[slice(*cell.keep)]).all()
            out[slice(*cell.keep)] = rendered[cell.inner]
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-12)


def test_a_radius_one_too_small_is_seen_by_the_scaled_test():
    x = np.random.default_rng(3).normal(size=60)
    whole = ensemble(encoder(x, 4), 60, 150, (0, 150), 0)
    worst = 0.0
    for block in scaled(60, 150, 10, 1, 5):
        features = encoder(x[slice(*block.read)], 4)
        got = ensemble(features, 60, 150, block.keep, block.read[0])
        worst = max(worst, np.abs(got - whole[slice(*block.keep)]).max())
    assert worst > 1e-6  # against the 1e-12 of the test above


@pytest.mark.parametrize("length", [1, 2, 3, 17, 64, 101])
@pytest.mark.parametrize("size", [1, 17, 64, 129, 301, 1000])
def test_scaled_sizes_are_constant_and_keeps_partition(length, size):
    for tile, group, radius in ((1, 1, 0), (16, 2, 6), (50, 3, 36), (5000, 1, 2)):
        plan = scaled(length, size, tile, group, radius)
        cells = [cell for block in plan for cell in block.cells]
        assert len({b - a for a, b in (block.read for block in plan)}) == 1
        assert len({b - a for a, b in (cell.read for cell in cells)}) == 1
        assert {b - a for a, b in (cell.out for cell in cells)} == {min(tile, size)}
        assert [c.keep[0] for c in cells] == [0] + [c.keep[1] for c in cells[:-1]]
        assert cells[-1].keep[1] == size
        for block in plan:
            assert 0 <= block.read[0] and block.read[1] <= length
            for cell in block.cells:
                assert block.read[0] <= cell.read[0] and cell.read[1] <= block.read[1]
                assert cell.out[0] <= cell.keep[0] and cell.keep[1] <= cell.out[1]
                first, last = covered(*cell.out, length, size)
                assert cell.read[0] <= max(0, first - 2)
                assert cell.read[1] >= min(length, last + 2)


def test_covered_samples_hold_every_index_a_decoder_may_take():
    for length, size in ((7, 7), (10, 23), (31, 310), (640, 4800), (3, 1000)):
        for i in range(size):
            first, last = covered(i, i + 1, length, size)
            low = ((2 * i + 1) * length - size) // (2 * size)
            assert first - 1 <= low and low + 1 <= last      # ensemble neighbours: within one
            assert first <= i * length // size < last        # MetaSR's sample
            assert first <= (2 * i + 1) * length // (2 * size) < last  # nearest sample


def test_scaled_blocks_cover_the_plane_once():
    seen = np.zeros((75, 62), int)
    for block in scaled_blocks((30, 25), (75, 62), (16, 20), (2, 1), 6):
        for tile in block.tiles():
            seen[tile.keep] += 1
    assert (seen == 1).all()
