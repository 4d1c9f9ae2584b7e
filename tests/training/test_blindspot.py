"""Blind-spot masking: the published coordinates, windows and medians, and what must not happen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import ShapeError, UsageError
from restore_cli.training.degradations import blindspot
from restore_cli.training.degradations.blindspot import MANIPULATORS, Masking, Struct

DATA = Path(__file__).parents[1] / "data" / "n2v"


def test_stratified_coordinates_are_the_published_ones(golden):
    case = golden("stratified_coords", "n2v")
    for i in range(int(case["n"])):
        shape = case[f"shape_{i}"]
        uniforms = case[f"uniforms_{i}"].reshape(-1, len(shape))
        found = blindspot.stratified(shape, float(case[f"box_{i}"]), uniforms)
        np.testing.assert_array_equal(found, case[f"coords_{i}"])


@pytest.mark.parametrize("shape, percent", [((64, 64), 0.198), ((64, 64), 6), ((50, 70), 10),
                                            ((12, 40, 40), 6), ((3, 7), 5)])
def test_as_many_pixels_as_asked_for_in_any_number_of_dimensions(shape, percent):
    rng = np.random.default_rng(0)
    counts = [len(blindspot.coordinates(shape, percent, rng)) for _ in range(400)]
    expected = np.prod(shape) * percent / 100
    assert np.mean(counts) == pytest.approx(expected, rel=0.06)
    assert all((blindspot.coordinates(shape, percent, rng) < shape).all() for _ in range(20))


@pytest.mark.parametrize("name, radii", [("manipulators_2d", (1, 2, 5)), ("manipulators_3d", (2,))])
def test_medians_means_and_windows_are_the_published_ones(golden, name, radii):
    case = golden(name, "n2v")
    patch, coords = case["patch"], case["coords"]
    where = np.concatenate([np.zeros((len(coords), 1), int), coords], axis=1)
    for radius in radii:
        median = blindspot.replacements(patch[None], where, Masking(6, "median", radius))
        np.testing.assert_array_equal(median, case[f"median_r{radius}"])
        mean = blindspot.replacements(patch[None], where, Masking(6, "mean", radius))
        np.testing.assert_allclose(mean, case[f"mean_r{radius}"], rtol=1e-5)
        for kind in ("uniform", "uniform-with-centre"):
            _check_window(patch.shape, where, Masking(6, kind, radius), case[f"window_r{radius}"])


def _check_window(shape, where, masking, windows):
    """Each pixel of the window is drawn equally often, and no other."""
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rng, draws = np.random.default_rng(7), 4000
    repeated = np.repeat(where, draws, axis=0)
    drawn = blindspot.replacements(numbers[None], repeated, masking, rng).reshape(-1, draws)
    for point, (low, high), found in zip(where, windows, drawn):
        inside = numbers[tuple(slice(a, b) for a, b in zip(low, high))].ravel()
        if masking.manipulator == "uniform":
            inside = inside[inside != numbers[tuple(point[1:])]]
        seen, counts = np.unique(found, return_counts=True)
        assert set(seen) <= set(inside)
        expected = draws / len(inside)
        assert abs(counts - expected).max() < 6 * np.sqrt(expected) + 6
        assert len(seen) == len(inside) or expected < 12


def test_careamics_median(golden):
    case = golden("care_median", "n2v")
    found = blindspot.replacements(case["patch"], case["coords"], Masking(1, "median", 5),
                                   clamp=True)
    np.testing.assert_array_equal(found, case["medians"])
    output = case["patch"].copy()
    output[tuple(case["coords"].T)] = found
    np.testing.assert_array_equal(output, case["output"])


def test_careamics_median_leaves_out_what_shares_the_noise(golden):
    case = golden("care_median_struct_horizontal", "n2v")
    struct = Struct("horizontal", 5)
    found = blindspot.replacements(case["patch"], case["coords"],
                                   Masking(1, "median", 5, struct), clamp=True)
    np.testing.assert_array_equal(found, case["medians"])
    wanted = {(y - 2, x - 2) for y, x in np.argwhere(case["struct_pattern"])} - {(0, 0)}
    assert struct.offsets() == wanted
    inputs = np.full_like(case["patch"], np.nan)
    blindspot._overwrite(inputs, case["patch"], case["coords"], struct, np.random.default_rng(0))
    inputs[tuple(case["coords"].T)] = np.nan
    np.testing.assert_array_equal(~np.isnan(inputs), case["struct_replaced"].astype(bool))


def test_neighbours_are_weighted_by_distance():
    plane = np.random.default_rng(0).random((1, 5, 6), np.float32)
    masking = Masking(6, "neighbours")
    p = plane[0]
    beside = p[1, 3] + p[3, 3] + p[2, 2] + p[2, 4]
    inner = (2 * beside + p[1, 2] + p[1, 4] + p[3, 2] + p[3, 4]) / 12
    corner = (2 * (p[0, 1] + p[1, 0]) + p[1, 1]) / 5
    found = blindspot.replacements(plane, np.array([[0, 2, 3], [0, 0, 0]]), masking)
    np.testing.assert_allclose(found, [inner, corner], rtol=1e-6)
    space = np.random.default_rng(1).random((1, 3, 3, 3), np.float32)
    weights = np.array([1, 2, 1])[:, None, None] * np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    weights[1, 1, 1] = 0
    found = blindspot.replacements(space, np.array([[0, 1, 1, 1]]), masking)
    assert found[0] == pytest.approx((space[0] * weights).sum() / 56, rel=1e-6)


@pytest.mark.parametrize("manipulator", MANIPULATORS)
@pytest.mark.parametrize("struct, shape", [
    *itertools.product([None, Struct("horizontal", 5), Struct("vertical", 3), Struct("cross", 7),
                        Struct("square", 3)], [(3, 2, 24, 20), (2, 1, 6, 16, 12)]),
    (None, (1, 1, 1, 9)), (Struct("vertical", 3), (1, 1, 1, 9))])
def test_a_replacement_does_not_depend_on_what_it_hides(manipulator, struct, shape):
    """Changing a hidden value changes no input at the blind pixels, only the target."""
    masking = Masking(4, manipulator, 3, struct)
    patches = np.random.default_rng(0).random(shape, np.float32)
    masked = blindspot.manipulate(patches, masking, np.random.default_rng(1))
    blind = masked.mask > 0
    assert blind.any()
    np.testing.assert_array_equal(masked.targets, patches)
    b, c, *at = (int(axis[0]) for axis in np.nonzero(blind))
    changed = patches.copy()
    changed[(b, c, *at)] = 0.5  # within the extremes, so that a structure's draws stay
    again = blindspot.manipulate(changed, masking, np.random.default_rng(1))
    np.testing.assert_array_equal(again.mask, masked.mask)
    if manipulator != "uniform-with-centre":
        assert again.inputs[(b, c, *at)] == masked.inputs[(b, c, *at)]
    if struct is None:
        np.testing.assert_array_equal(masked.inputs[~blind], patches[~blind])


def test_pixels_of_a_structure_are_hidden_and_not_in_the_loss():
    patches = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    masked = blindspot.manipulate(patches, Masking(0.5, "median", 4, Struct("horizontal", 5)),
                                  np.random.default_rng(2))
    blind = np.argwhere(masked.mask[0, 0])
    changed = (masked.inputs != patches)[0, 0]
    for y, x in blind:
        for dx in (-2, -1, 1, 2):
            assert not 0 <= x + dx < 32 or changed[y, x + dx]
    assert masked.mask.sum() == len(blind) < changed.sum()
    assert patches.min() <= masked.inputs.min() and masked.inputs.max() <= patches.max()


def test_channels_have_their_own_blind_pixels_unless_shared():
    patches = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    own = blindspot.manipulate(patches, Masking(6), np.random.default_rng(1)).mask
    assert (own[:, 0] != own[:, 1]).any() and (own[:, 1] != own[:, 2]).any()
    shared = blindspot.manipulate(patches, Masking(6, shared=True), np.random.default_rng(1))
    np.testing.assert_array_equal(shared.mask, shared.mask[:, :1].repeat(3, axis=1))
    assert (shared.mask[0] != shared.mask[1]).any()
    assert shared.mask.mean() == pytest.approx(0.06, rel=0.1)


def test_equal_values_stay_in_the_mask():
    masked = blindspot.manipulate(np.ones((1, 1, 32, 32), np.float32), Masking(6),
                                  np.random.default_rng(0))
    assert masked.mask.sum() > 40
    np.testing.assert_array_equal(masked.inputs, 1)


def test_a_patch_too_small_for_a_box_still_has_a_blind_pixel():
    patch = np.random.default_rng(0).random((1, 1, 4, 4), np.float32)
    for seed in range(20):
        masked = blindspot.manipulate(patch, Masking(0.05), np.random.default_rng(seed))
        assert masked.mask.sum() == 1


def test_the_loss_looks_at_blind_pixels_only_unlike_the_seeds():
    """The seed turns a patch after hiding its "centre" and looks at the same place as before."""
    cases = json.loads((DATA / "seed_blindspot_leak.json").read_text())
    leaks = sum(case["blind"] != case["loss_at"] for case in cases)
    assert leaks == 6
    patch = np.random.default_rng(0).random((64, 64), np.float32)
    masking = Masking(2, "median")
    for h, v, r in itertools.product((0, 1), repeat=3):
        turned = np.rot90(patch[::-1 if v else 1, ::-1 if h else 1], r)
        masked = blindspot.manipulate(turned[None, None], masking, np.random.default_rng(3))
        changed = masked.inputs != masked.targets
        np.testing.assert_array_equal(changed, masked.mask > 0)
        np.testing.assert_array_equal(masked.targets[0, 0], turned)


def test_equal_seeds_give_equal_masks():
    patches = np.random.default_rng(0).random((2, 1, 16, 16), np.float32)
    for manipulator in MANIPULATORS:
        one, two, other = (blindspot.manipulate(patches, Masking(6, manipulator),
                                                np.random.default_rng(seed)) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one.inputs, two.inputs)
        assert (one.mask != other.mask).any()


@pytest.mark.parametrize("make, words", [
    (lambda: Masking(0), "0 to 50"),
    (lambda: Masking(60), "0 to 50"),
    (lambda: Masking(float("nan")), "0 to 50"),
    (lambda: Masking(manipulator="medain"), "median"),
    (lambda: Masking(radius=0), "radius"),
    (lambda: Masking(manipulator="median", radius=2, struct=Struct("square", 5)), "radius of 3"),
    (lambda: Struct("diagonal"), "unknown structure"),
    (lambda: Struct("cross", 4), "odd"),
    (lambda: Struct("cross", 17), "3 to 15"),
    (lambda: Struct.parse("cross:x"), "number"),
])
def test_refusals(make, words):
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)


def test_structures_are_read_from_text():
    assert Struct.parse("none") is None
    assert Struct.parse("Horizontal") == Struct("horizontal", 5)
    assert Struct.parse("square:7") == Struct("square", 7)


def test_wrong_shapes():
    for shape in ((4, 4), (1, 1, 0, 4)):
        with pytest.raises(ShapeError):
            blindspot.manipulate(np.zeros(shape, np.float32), Masking(), np.random.default_rng(0))
