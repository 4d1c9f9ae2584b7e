"""Windows of frames: the published lists, short shots, streams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import UsageError
from restore_cli.pipeline import scenes, windows

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "data" / "vsr" / "windows.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_published_windows(name):
    rule, _, count = name.partition("_n")
    found = [list(window) for window in windows.of_shot(int(count), border=rule == "border")]
    if name == "border_n1":  # of a single frame the published program makes nothing
        assert found == [[0] * 5]
    else:
        assert found == GOLDEN[name]


@pytest.mark.parametrize("length", [1, 3, 5, 7])
def test_every_frame_has_a_window_about_itself(length):
    for count in range(12):
        found = windows.of_shot(count, length=length)
        assert len(found) == count
        for index, window in enumerate(found):
            assert len(window) == length and window[length // 2] == index
            assert min(window) >= 0 and max(window) < count


def test_windows_never_cross_a_cut():
    found = windows.of_shots([3, 4], 9)
    assert len(found) == 9
    assert found[2] == (0, 1, 2, 1, 2) and found[3] == (3,) * 5 and found[4] == (4, 5, 4, 5, 6)
    plain = windows.of_shots([3, 4], 9, border=False)
    assert plain == [(4, 5, 6, 7, 8)]
    assert windows.of_shots([], 0) == []
    with pytest.raises(UsageError):
        windows.of_shots([10], 9)


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("length", [3, 5, 7])
def test_a_stream_gives_the_same_windows(border, length):
    for starts in ([], [1], [2, 5], [1, 2, 3, 9], [7], list(range(14))):
        stream = [(number, number in (0, *starts)) for number in range(14)]
        found = list(windows.sliding(stream, border=border, length=length))
        assert found == windows.of_shots(starts, 14, border=border, length=length)
    assert list(windows.sliding([], border=border, length=length)) == []
    assert next(windows.sliding([("x", False)] * length, length=length)) == ("x",) * length


def test_a_stream_is_read_no_further_than_needed():
    read = []

    def frames():
        for number in range(100):
            read.append(number)
            yield number, number == 0

    stream = windows.sliding(frames())
    assert next(stream) == (0, 1, 0, 1, 2) and len(read) == 3
    assert next(stream) == (1, 0, 1, 2, 3) and len(read) == 4


def test_windows_of_a_film_with_cuts():
    film = [np.random.default_rng(number // 3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
            .repeat(12, 0).repeat(12, 1) for number in range(7)]
    marked = scenes.marked(range(7), film.__getitem__)
    assert list(windows.sliding(marked)) == windows.of_shots([3, 6], 7)


def test_even_windows_are_refused():
    with pytest.raises(UsageError):
        windows.of_shot(9, length=4)
    with pytest.raises(UsageError):
        list(windows.sliding([], length=0))
