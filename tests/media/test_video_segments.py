"""Segments: joined without loss, at the right times, and the same after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import made_films as made
import numpy as np
import pytest

from restore_cli.errors import OutputError
from restore_cli.media.video import Segment, choose, decode, join, probe, write_segment

UNEVEN = ("-vf", "settb=1/90000,setpts='N*9000+mod(N\\,3)*1234'", "-fps_mode", "passthrough",
          "-enc_time_base", "1/90000", "-video_track_timescale", "90000", "-c:v", "libx264",
          "-preset", "ultrafast", "-pix_fmt", "yuv420p")
CUTS = (0, 7, 8, 15, 20)


def split(source, folder, encoding, cuts=CUTS, name="part", extension=".mov"):
    """One segment for each pair of neighbouring cuts."""
    return [write_segment(folder / f"{name}{first}{extension}",
                          decode(source, start=first, end=last), encoding)
            for first, last in zip(cuts, cuts[1:])]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    return made.film(tmp_path_factory.mktemp("uneven") / "source.mp4", *UNEVEN, seconds="2")


@pytest.mark.parametrize("codec, arguments, extension", [
    ("x264", ("-bf", "3", "-preset", "veryfast"), ".mp4"),
    ("x264", ("-bf", "3", "-preset", "veryfast"), ".mkv"),
    ("x265", ("-preset", "ultrafast", "-bf", "3"), ".mp4"), ("prores", (), ".mov"),
    ("ffv1", (), ".mkv"), ("vp9", ("-deadline", "realtime", "-cpu-used", "8"), ".webm")])
def test_joined_frames_are_those_of_the_segments(tmp_path, uneven, codec, arguments, extension):
    info = probe(uneven)
    encoding, _ = choose(info, info.width, info.height, codec=codec, arguments=arguments)
    parts = split(uneven, tmp_path, encoding)
    assert [(one.frames, one.first, one.last) for one in parts] == [
        (last - first, first * 9000 + first % 3 * 1234, (last - 1) * 9000 + (last - 1) % 3 * 1234)
        for first, last in zip(CUTS, CUTS[1:])]
    target = tmp_path / f"film{extension}"
    assert join(parts, target, encoding, info) == ()
    np.testing.assert_array_equal(
        made.decoded(target), np.concatenate([made.decoded(one.path) for one in parts]))
    exact = extension in (".mp4", ".mov")
    for found, expected in zip(made.times(target), made.times(uneven), strict=True):
        assert abs(found - expected) <= (0 if exact else Fraction(1, 2000))
    if exact:  # the last frame's duration too
        assert probe(target).duration == probe(uneven).duration


def test_the_same_frames_give_the_same_bytes(tmp_path, uneven):
    info = probe(uneven)
    for codec in ("x264", "x265", "vp9"):
        encoding, _ = choose(info, info.width, info.height, codec=codec)
        first, second = (split(uneven, tmp_path, encoding, (0, 8), name, ".mp4")[0]
                         for name in ("a", "b"))
        assert made.packets(first.path, "video") == made.packets(second.path, "video"), codec


def test_a_continued_film_equals_an_uninterrupted_one(tmp_path, uneven):
    info = probe(uneven)
    encoding, _ = choose(info, info.width, info.height, arguments=("-preset", "veryfast"))
    whole = split(uneven, tmp_path, encoding, name="whole")
    journal = [json.dumps(one.record()) for one in split(uneven, tmp_path, encoding, CUTS[:3])]
    # Another run: the journal and the time of the first missing frame are all that is known.
    parts = [Segment(**json.loads(line)) for line in journal]
    start = CUTS[2]
    times = [frame.pts for frame in decode(uneven)]
    for first, last in zip(CUTS[2:], CUTS[3:]):
        frames = decode(uneven, start=first, end=last, first=times[first])
        parts.append(write_segment(tmp_path / f"more{first}.mov", frames, encoding))
    assert start == 8
    join(whole, tmp_path / "whole.mp4", encoding, info)
    join(parts, tmp_path / "continued.mp4", encoding, info)
    assert (made.packets(tmp_path / "whole.mp4", "video")
            == made.packets(tmp_path / "continued.mp4", "video"))


def test_many_segments_keep_exact_times(tmp_path):
    source = made.film(tmp_path / "source.mp4", rate="30000/1001", seconds="1", size="16x16")
    info = probe(source)
    encoding, _ = choose(info, 16, 16, codec="ffv1")
    cuts = (*range(0, 30, 2), 30)
    parts = split(source, tmp_path, encoding, cuts)
    join(parts, tmp_path / "film.mov", encoding, info)
    assert made.times(tmp_path / "film.mov") == [Fraction(n * 1001, 30000) for n in range(30)]


def test_a_part_has_its_own_sound_chapters_and_zero(tmp_path):
    source = made.rich(tmp_path)
    info = probe(source)
    encoding, _ = choose(info, info.width, info.height)
    parts = split(source, tmp_path, encoding, (3, 5, 8))
    target = tmp_path / "film.mkv"
    join(parts, target, encoding, info, whole=False)
    assert made.times(target)[0] == 0
    assert len(made.times(target)) == 5
    found = probe(target)
    assert [(one.start, one.end) for one in found.chapters] == [
        (0, Fraction(1, 10)), (Fraction(1, 10), Fraction(1, 2))]
    sound = made.packets(target, "audio")
    whole = {data: time for time, data in made.packets(source, "audio")}
    assert len(sound) >= 20
    for time, data in sound:  # the same sound at the same picture
        assert abs(whole[data] - Fraction(3, 10) - time) < Fraction(1, 400)
    assert sound[-1][0] < Fraction(6, 10)
    words = [data for _, data in made.packets(target, "subtitle")]
    assert b"World" in words


def test_segments_of_different_settings_are_refused(tmp_path, uneven):
    info = probe(uneven)
    parts = []
    for number, form in enumerate(("yuv420p", "yuv444p")):
        encoding, _ = choose(info, info.width, info.height, pixel_format=form)
        parts += split(uneven, tmp_path, encoding, (number * 4, number * 4 + 4), f"{form}")
    with pytest.raises(OutputError, match="different settings"):
        join(parts, tmp_path / "film.mp4", encoding, info)
    assert not (tmp_path / "film.mp4").exists()


def test_segments_out_of_order_missing_or_short_are_refused(tmp_path, uneven):
    info = probe(uneven)
    encoding, _ = choose(info, info.width, info.height)
    parts = split(uneven, tmp_path, encoding, (0, 4, 8))
    target = tmp_path / "film.mp4"
    with pytest.raises(OutputError, match="begins before the end"):
        join(parts[::-1], target, encoding, info)
    with pytest.raises(OutputError, match="no segments"):
        join([], target, encoding, info)
    with pytest.raises(OutputError, match="has 4 frames and should have 5"):
        join([parts[0], replace(parts[1], frames=5)], target, encoding, info)
    with pytest.raises(OutputError, match="cannot be read"):
        join([parts[0], replace(parts[1], path=str(tmp_path / "gone.mov"))], target, encoding,
             info)
    assert not target.exists()


def test_a_segment_appears_whole_or_not_at_all(tmp_path, uneven):
    info = probe(uneven)
    encoding, _ = choose(info, info.width, info.height)

    def broken():
        yield next(decode(uneven))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_segment(tmp_path / "part.mov", broken(), encoding)
    assert list(tmp_path.iterdir()) == []


def test_names_with_quotes_and_spaces(tmp_path, uneven):
    folder = tmp_path / "it's a \\ film %d"
    folder.mkdir()
    info = probe(uneven)
    encoding, _ = choose(info, info.width, info.height)
    parts = split(uneven, folder, encoding, (0, 4, 8))
    join(parts, folder / "a 'b'.mp4", encoding, info)
    assert len(made.times(folder / "a 'b'.mp4")) == 8
