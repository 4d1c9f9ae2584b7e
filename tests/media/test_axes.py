"""Axes: what users type, and the arithmetic of planes and volumes for every order."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.media import axes
from restore_cli.media.axes import Plan

SIZES = {"S": 3, "C": 2, "T": 4, "Z": 5, "Y": 6, "X": 7}
SETS = ["YX" + "".join(extra) for count in range(5) for extra in combinations("SCTZ", count)]


def counted(order):
    shape = tuple(SIZES[letter] for letter in order)
    return np.arange(np.prod(shape)).reshape(shape), Plan(order, shape)


@pytest.mark.parametrize("text, expected", [("zyx", "ZYX"), (" TCZYX ", "TCZYX"), ("YXC", "YXC"),
                                            ("yx", "YX"), ("tzcyx", "TZCYX"), ("XYZ", "XYZ")])
def test_what_users_type(text, expected):
    assert axes.parse(text) == expected


@pytest.mark.parametrize("text, words", [("QYX", "Q is no axis"), ("ZZYX", "Z appears twice"),
                                         ("ZTY", "Y and X are needed"), ("", "needed"),
                                         ("Z,YX", ", is no axis")])
def test_nonsense_is_a_usage_error(text, words):
    with pytest.raises(UsageError, match=words):
        axes.parse(text)


def test_user_axes_are_laid_over_the_shape():
    assert axes.fit("TYX", "IYX", (9, 6, 7)) == ("TYX", (9, 6, 7))
    # The colour samples of a page and axes of length 1 need not be typed.
    assert axes.fit("TYX", "IYXS", (9, 6, 7, 3)) == ("TYXS", (9, 6, 7, 3))
    assert axes.fit("TYX", "ISYX", (9, 3, 6, 7)) == ("TSYX", (9, 3, 6, 7))
    assert axes.fit("TYXC", "IYXS", (9, 6, 7, 3)) == ("TYXC", (9, 6, 7, 3))
    assert axes.fit("ZYX", "TZCYX", (1, 9, 1, 6, 7)) == ("ZYX", (9, 6, 7))
    assert axes.fit("YX", "TZCYX", (1, 1, 1, 1, 7)) == ("YX", (1, 7))
    assert axes.fit("TZCYX", "ZYX", (9, 6, 7)) == ("TZCYX", (1, 9, 1, 6, 7))


@pytest.mark.parametrize("typed, known, shape", [("TZYX", "IYX", (9, 6, 7)),
                                                 ("YX", "IYX", (9, 6, 7)),
                                                 ("TYXC", "IYX", (9, 6, 7)),
                                                 ("ZYX", "TCYX", (2, 3, 6, 7)),
                                                 ("CTZYX", "TCYX", (2, 3, 6, 7))])
def test_axes_that_do_not_fit_show_both(typed, known, shape):
    with pytest.raises(UsageError) as caught:
        axes.fit(typed, known, shape, "a.tif")
    assert typed in str(caught.value) and axes.show(shape) in str(caught.value)
    assert str(caught.value).startswith("a.tif: ")


@pytest.mark.parametrize("known, expected", [("YX", "YX"), ("IYX", "ZYX"), ("QQYX", "TZYX"),
                                             ("QYXS", "ZYXS"), ("IZYX", "TZYX"),
                                             ("ITZYX", "CTZYX"), ("QZQYX", "TZCYX"),
                                             ("HTYX", "HTYX")])
def test_axes_without_names_get_some(known, expected):
    assert axes.named(known, tuple(range(2, 2 + len(known)))) == expected


def test_three_axes_without_names_must_be_named():
    with pytest.raises(InputError, match="2 x 3 x 4 x 5 x 6.*--axes"):
        axes.named("QQQYX", (2, 3, 4, 5, 6))


@pytest.mark.parametrize("letters", SETS)
def test_planes_of_any_order_cover_the_array_once(letters):
    for order in permutations(letters):
        array, plan = counted("".join(order))
        seen = np.zeros(array.size, int)
        rebuilt = np.full_like(array, -1)
        for number in range(plan.count):
            place = plan.where(number)
            assert plan.number(place) == number
            plane = plan.arrange(array[plan.key(place)])
            assert plane.shape == plan.plane_shape
            # By hand: name every axis, then read one pixel by its letters.
            for pixel in ({**place, plan.channel: plan.channels - 1, "Y": 2, "X": 5},
                          {**place, plan.channel: 0, "Y": 0, "X": 6}):
                at = tuple(pixel[letter] for letter in order)
                assert plane[pixel[plan.channel], pixel["Y"], pixel["X"]] == array[at]
            seen[plane.ravel()] += 1
            rebuilt[plan.key(place)] = plan.restore(plane)
        assert (seen == 1).all() and np.array_equal(rebuilt, array)


@pytest.mark.parametrize("letters", SETS)
def test_volumes_of_any_order_cover_the_planes_once(letters):
    for order in permutations(letters):
        _, plan = counted("".join(order))
        found = [plan.planes_of(volume) for volume in range(plan.volumes)]
        assert sorted(sum(found, [])) == list(range(plan.count))
        for numbers in found:
            places = [plan.where(number) for number in numbers]
            assert [place.get("Z", 0) for place in places] == list(range(plan.depth))
            others = [{k: v for k, v in place.items() if k != "Z"} for place in places]
            assert all(other == others[0] for other in others)


def test_planes_are_numbered_in_the_files_order():
    plan = Plan("TCZYX", (2, 3, 4, 5, 6))
    assert (plan.outer, plan.channel, plan.count, plan.volumes) == ("TZ", "C", 8, 2)
    assert plan.where(5) == {"T": 1, "Z": 1} and plan.planes_of(1) == [4, 5, 6, 7]
    assert plan.words(5) == "T 2 of 2, Z 2 of 4"
    assert Plan("ZTYX", (3, 2, 5, 6)).planes_of(1) == [1, 3, 5]


def test_colour_samples_go_before_channels():
    plan = Plan("CZYXS", (2, 3, 4, 5, 3))
    assert plan.channel == "S" and plan.outer == "CZ" and plan.count == 6
    assert plan.interleaved and Plan("YXC", (4, 5, 3)).interleaved
    assert not Plan("CYX", (3, 4, 5)).interleaved and not Plan("YX", (4, 5)).interleaved


@pytest.mark.parametrize("number", [-1, 8])
def test_planes_and_volumes_out_of_range(number):
    plan = Plan("TZYX", (2, 4, 5, 6))
    with pytest.raises(IndexError, match="plane"):
        plan.where(number)
    with pytest.raises(IndexError, match="volume"):
        plan.planes_of(number)


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4)])
def test_impossible_plans(shape):
    with pytest.raises(ShapeError):
        Plan("ZYX", shape)


def test_pages_that_an_index_means():
    everything = slice(None)
    assert axes.frames_of((), ()) == ([0], False)
    assert axes.frames_of((1, 2), (2, 3)) == ([5], False)
    assert axes.frames_of((1, everything), (2, 3)) == ([3, 4, 5], True)
    assert axes.frames_of((everything, 1), (2, 3)) == ([1, 4], True)
