"""A film over several processes is the film of one process."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import vsr_shared
from PIL import Image
from vsr_shared import Died, crew_of

from restore_cli.console import Console
from restore_cli.jobs import vsr_divide, vsr_journal, vsr_pieces, vsr_windows
from restore_cli.media import video
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import Failure

_spec = importlib.util.spec_from_file_location(
    "made_films_for_division", Path(__file__).parents[1] / "media" / "made_films.py")
films = importlib.util.module_from_spec(_spec)
sys.modules["made_films_for_division"] = films
_spec.loader.exec_module(films)


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return vsr_shared.play(monkeypatch)


@pytest.fixture
def short(monkeypatch):
    """Pieces begin a few frames before their own."""
    monkeypatch.setattr(vsr_windows, "LEAD", 6)


RNG = np.random.default_rng(7)
SCENES = [RNG.random((12, 16, 3)).repeat(4, 0).repeat(4, 1) for _ in range(3)]


def pictures(shots):
    """A folder of frames, each of a shot that moves; -1 is black."""
    Path("in").mkdir()
    for number, shot in enumerate(shots):
        rgb = np.zeros((24, 32, 3)) if shot < 0 else SCENES[shot][number % 3:][:24, 8:40]
        noisy = rgb + 0.03 * np.random.default_rng(number).random(rgb.shape)
        Image.fromarray((noisy * 240).astype(np.uint8)).save(f"in/{number:03d}.png")


def bytes_of(folder):
    return [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]


def done(found):
    """The last record, without what may differ."""
    assert found.status == 0, found.stderr
    return {key: value for key, value in found.records[-1].items()
            if key not in ("output", "seconds")}


CUTS = {
    "before a border": [0] * 7 + [1] * 14, "at a border": [0] * 8 + [1] * 13,
    "after a border": [0] * 9 + [1] * 12, "on both sides": [0] * 7 + [1, 1] + [2] * 12,
    "flash": [0] * 8 + [1] + [0] * 12, "black": [0] * 3 + [-1] * 12 + [1] * 8,
    "black to the end": [0] * 2 + [-1] * 18}


@pytest.mark.parametrize("name", CUTS)
def test_cuts_near_borders(go, short, name):
    """Wherever shots begin, and even where nothing to begin from can be seen."""
    pictures(CUTS[name])
    one = done(go("in", "one"))
    for jobs in (2, 3):
        crew = crew_of(last_first=jobs == 3)
        several = go("in", f"several{jobs}", crew, jobs=jobs)
        assert done(several) == one and bytes_of(f"several{jobs}") == bytes_of("one")
        led = [task for task in crew.seen if task.get("piece", {}).get("lead")]
        assert len(led) == jobs - 1
        # What cannot be confirmed is made again.
        assert (len(crew.seen) > 1 + jobs) == name.startswith("black"), crew.seen


def same_films(one, two):
    for kind in ("video", "audio"):
        assert films.packets(one, kind) == films.packets(two, kind)
    before, after = video.probe(one), video.probe(two)
    assert (before.chapters, before.tags, before.turn, before.bits) == (
        after.chapters, after.tags, after.turn, after.bits)


UNEVEN = ("-vf", "settb=1/90000,setpts='N*9000+mod(N\\,3)*1234'", "-fps_mode", "passthrough",
          "-enc_time_base", "1/90000", "-video_track_timescale", "90000", "-bf", "2")


@pytest.mark.parametrize("options,fields", [
    ((*UNEVEN, "-g", "5", "-pix_fmt", "yuv420p10le"), {}),
    (("-g", "250", "-pix_fmt", "yuv420p"), {"start": "0.5", "end": "2.1"})])
def test_films(go, short, options, fields):
    """Uneven times, 10 bits, sound, B-frames, key frames near and far, a part, and turned."""
    films.ffmpeg(*films.picture("2.4", "32x24"), "-f", "lavfi", "-i", "sine=d=2.4", *options,
                 "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "flat.mp4")
    films.ffmpeg("-display_rotation", "90", "-i", "flat.mp4", "-c", "copy", "a.mp4")
    fields["ffmpeg_args"] = "-preset ultrafast"
    one = done(go("a.mp4", "one.mp4", **fields))
    crew = crew_of(last_first=True)
    several = go("a.mp4", "several.mp4", crew, jobs=3, **fields)
    assert done(several) == one and len(crew.seen) == 4
    same_films("one.mp4", "several.mp4")
    segments = [one["segment"] for one in several.records if one["status"] == "segment"]
    assert sorted(segments) == list(range(len(segments))) and segments[0] > 0
    assert sorted(os.listdir()) == ["a.mp4", "flat.mp4", "net.safetensors", "one.mp4",
                                    "several.mp4"]


def dying(times, after=0):
    """What kills the process that tells of a segment, `times` times, after some others."""
    left = [after, times]

    def before(item, facts):
        if "record" not in facts:
            return
        if left[0]:
            left[0] -= 1
        elif left[1]:
            left[1] -= 1
            raise Died

    return before


def test_a_killed_process(go, short):
    """Another one makes what it has not told of; after a second time the film has failed."""
    pictures(CUTS["after a border"])
    go("in", "one")
    crew = crew_of(dying(1, after=1))
    found = go("in", "out", crew, jobs=2)
    assert found.status == 0 and "a process was killed" in found.stderr
    assert [task.get("lost") for task in crew.seen] == [None, False, False, True]
    assert crew.seen[-1]["piece"]["first"] == 1 and bytes_of("out") == bytes_of("one")
    found = go("in", "other", crew_of(dying(3, after=1)), jobs=2)
    assert found.status == 3 and found.records[-1]["status"] == "failed"
    assert found.stderr.splitlines()[-2].endswith("--resume goes on after them")
    assert found.stderr.splitlines()[-1] == "error: its process was killed"
    for jobs in (1, 3):
        found = go("in", "other", crew_of(), jobs=jobs, resume=True, overwrite=jobs == 3)
        assert found.status == 0 and bytes_of("other") == bytes_of("one"), found.stderr


class Stopped(BaseException):
    """The run itself is killed."""


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("told", [1, 4])
def test_a_killed_run_goes_on_wherever_it_was(go, short, jobs, told):
    """In one process too, though segments are missing between others; nothing is made twice."""
    pictures(CUTS["black"] if told == 4 else CUTS["on both sides"])
    one = done(go("in", "one"))
    left = [told]

    def before(item, facts):
        left[0] -= "record" in facts
        if left[0] < 0:
            raise Stopped

    with pytest.raises(Stopped):
        go("in", "out", crew_of(before, last_first=True), jobs=3)
    lines = Path("out.parts/journal.jsonl").read_text().splitlines()
    kept = [json.loads(line)["segment"] for line in lines[1:]]
    assert len(kept) == told and kept[0] > 2
    found = go("in", "out", crew_of(), jobs=jobs, resume=True)
    assert done(found) == one and bytes_of("out") == bytes_of("one")
    made = [one["segment"] for one in found.records if one["status"] == "segment"]
    if told == 1:
        assert sorted(made + kept) == list(range(6))


def test_damage_and_what_cannot_be_divided(go, short):
    films.film("a.ts", "-c:v", "libx264", "-pix_fmt", "yuv420p", seconds="2", size="32x24")
    found = go("a.ts", "a.mp4", crew_of(), jobs=2)
    assert found.status == 0 and "cannot be divided among processes" in found.stderr
    films.film("b.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5", seconds="2.4",
               size="32x24")
    data = bytearray(Path("b.mkv").read_bytes())
    middle = len(data) // 2
    data[middle:middle + 60] = bytes(60)
    Path("b.mkv").write_bytes(data)
    one = done(go("b.mkv", "one.mkv"))
    assert one["problems"]
    several = go("b.mkv", "several.mkv", crew_of(), jobs=3)
    assert done(several) == one and films.packets("one.mkv", "video") == films.packets(
        "several.mkv", "video")


def test_another_run_waits_for_the_processes_of_a_killed_one(go, monkeypatch):
    monkeypatch.setattr(vsr_journal, "_PATIENCE", 0.1)
    pictures([0] * 5)
    Path("out.parts").mkdir()
    with vsr_journal.helping(Path("out.parts")):
        found = go("in", "out", resume=True)
        assert found.status == 3 and "of a killed run is still at work" in found.stderr
    assert go("in", "out", resume=True).status == 0 and not Path("out.parts").exists()


@pytest.mark.parametrize("kept", [True, False])
def test_a_film_of_several_whose_process_is_killed(tmp_path, kept):
    """What is left of it is not lost, and the error says so."""
    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
    folder = vsr_journal.folder_of(tmp_path / "b.mp4")
    if kept:
        folder.mkdir()
        (folder / "journal.jsonl").touch()
    vsr_divide.FilmReport(console, str, None).lost(
        Item(tmp_path / "a.mp4", tmp_path / "b.mp4"), Failure(3, "a.mp4: its process was killed"))
    assert console.stderr.getvalue() == "error: a.mp4: its process was killed" + (
        ". --resume goes on after the frames that are finished\n" if kept else "\n")


def test_pieces_of_what_is_missing():
    part = vsr_pieces.Part(100, vsr_pieces.array("q", range(0, 3 * 95, 3)))
    records = [{"segment": number} for number in (0, 1, 5)]
    whole = vsr_pieces.divided([], part, 10, 3, 0.35)
    assert [(one.first, one.end) for one in whole] == [(0, 3), (3, 6), (6, None)]
    assert [one.lead for one in whole] == [None, (100, 0, 0), (112, 12, 36)]
    rest = vsr_pieces.divided(records, part, 10, 2, None)
    assert [(one.first, one.end) for one in rest] == [(2, 5), (6, None)]
    assert [one.lead for one in rest] == [None, None]
    assert [(one.first, one.end) for one in vsr_pieces.missing(records)] == [(2, 5), (6, None)]
    assert vsr_pieces.missing(records[:2], ended=True) == []
