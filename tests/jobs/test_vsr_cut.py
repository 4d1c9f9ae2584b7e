"""Where a part of a film begins: found by looking it up as by counting from the start."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from restore_cli.jobs import vsr_cut
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.media import video

_spec = importlib.util.spec_from_file_location(
    "made_films_of_cuts", Path(__file__).parents[1] / "media" / "made_films.py")
films = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(films)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """30 frames at uneven times, the first not at 0, with key frames and frames out of order."""
    return films.film(
        tmp_path_factory.mktemp("cut") / "a.mkv", "-vf",
        "settb=1/1000,setpts='700+N*100+mod(N\\,3)*13'", "-fps_mode", "passthrough",
        "-enc_time_base", "1/1000", "-c:v", "libx264", "-bf", "2", "-g", "8", "-pix_fmt",
        "yuv420p", seconds="3", size="32x24")


@pytest.mark.parametrize("start, end", [("1.2", None), ("1.213", "2.4"), ("1.214", "20f"),
                                        ("17f", None), ("17f", "2.5"), ("2.9", None)])
def test_the_same_frames_as_by_counting(uneven, monkeypatch, start, end):
    cut = Cut.of(start, end, None)
    found = []
    for far in (1000, 1):
        monkeypatch.setattr(vsr_cut, "_FAR", far)
        with video.open_source(uneven, start=cut.first, end=cut.stop) as film:
            place = cut.place(film.info)
            assert (place is None) == (far == 1000)
            if place is not None:
                film.go_on(*place)
            found.append([(one.index, one.pts, one.rgb) for one in cut.of_film(film, film.info)])
    counted, looked_up = found
    assert counted and [one[:2] for one in counted] == [one[:2] for one in looked_up]
    np.testing.assert_array_equal([one[2] for one in counted], [one[2] for one in looked_up])


def test_no_place_where_there_is_none_to_look_up(uneven, monkeypatch):
    info = video.probe(uneven)
    assert Cut.of("1", None, None).place(info) is None  # near
    monkeypatch.setattr(vsr_cut, "_FAR", Fraction(1, 10))
    assert Cut.of("99", None, None).place(info) is None
    assert Cut.of(None, "2", None).place(info) is None
    plain = films.film(uneven.with_name("a.h264"), size="32x24")
    assert Cut.of("0.5", None, None).place(video.probe(plain)) is None
