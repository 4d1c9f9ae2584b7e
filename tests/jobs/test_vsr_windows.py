"""Windows of a run that goes on: those of a run in one go."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from restore_cli.jobs.vsr_windows import Place, Windows
from restore_cli.media.video_model import Frame

RNG = np.random.default_rng(5)
SCENES = [RNG.random((16, 16, 3)).repeat(4, 0).repeat(4, 1) for _ in range(6)]


def picture(shot, moved, noise):
    """A frame of a shot; shots 8 and 9 are black and white."""
    if shot in (8, 9):
        return np.full((48, 48, 3), 255 * (shot - 8), np.uint8)
    found = SCENES[shot][moved:moved + 48, 8:56] + noise * RNG.random((48, 48, 3))
    return (found / (1 + noise) * 255).astype(np.uint8)


# Long and short shots, flashes of one and two frames, black between and at the start.
FILM = [8, 8, 8, *[0] * 9, 9, *[0] * 4, 1, 2, 2, *[3] * 3, *[8] * 9, *[3] * 2, *[4] * 7, 5, 5,
        *[4] * 5, *[8] * 3, *[1] * 4, 9, 9, *[2] * 6]
FRAMES = [Frame(100 + i, 7 * i, Fraction(1, 25), 1, picture(shot, i % 8, 0.05))
          for i, shot in enumerate(FILM)]


def run(frames, threshold, place=None):
    """For each window the numbers of its frames, of shots so far, and where to go on after it."""
    seen = Windows(frames, 5, threshold, place)
    found = []
    for window in seen:
        after = seen.place()
        found.append(([one.frame.index for one in window], seen.shots,
                      after and json.loads(json.dumps(after.record()))))
    return found


@pytest.mark.parametrize("threshold", [0.35, None])
def test_going_on_after_any_frame_gives_the_same_windows(threshold):
    whole = run(FRAMES, threshold)
    assert len(whole) == len(FRAMES) and (whole[-1][1] > 6) == (threshold is not None)
    near = tried = 0
    for done in range(1, len(FRAMES), 3):
        place = Place.from_record(whole[done - 1][2])
        if place is None:
            continue
        assert place.number <= done and place.frame == 100 + place.number
        tried, near = tried + 1, near + (done - place.number <= 2)
        assert place.matches(FRAMES[place.number:place.number + len(place.seen)])
        more = run(FRAMES[place.number:done + 12], threshold, place)[done - place.number:]
        kept = len(more) if done + 12 >= len(FRAMES) else 7  # the others end with what was given
        assert [one[:2] for one in more[:kept]] == [one[:2] for one in whole[done:done + kept]]
    assert tried > 16 and near > 12


def test_a_place_is_known_by_its_frames():
    place = Place.from_record(run(FRAMES, None)[20][2])
    assert (place.number, place.pts, len(place.seen)) == (19, 133, 4)
    frames = FRAMES[19:23]
    assert place.matches(frames)
    assert not place.matches(frames[:-1]) and not place.matches(FRAMES[20:24])
    other = Frame(**{**vars(frames[0]), "rgb": 255 - frames[0].rgb})
    assert not place.matches([other, *frames[1:]])


@pytest.mark.parametrize("record", [
    None, 3, {}, {"frame": 1}, {"frame": 3, "number": 4, "shots": 1, "pts": 0, "seen": ["a"]},
    {"frame": 3, "number": 2, "shots": 0, "pts": 0, "seen": ["a"]},
    {"frame": 3, "number": "2", "shots": 1, "pts": 0, "seen": ["a"]},
    {"frame": 3, "number": 2, "shots": 1, "pts": 0, "seen": []}])
def test_records_that_describe_no_place(record):
    assert Place.from_record(record) is None
