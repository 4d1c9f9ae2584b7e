"""`restore vsr` when films, disks, pipes or the encoder fail: what is said, what is left."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from vsr_films import film, films, small, two_shots

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.jobs.vsr_stream import Stream
from restore_cli.media.frames import FrameFolder, FrameWriter
from restore_cli.media.video_decode import Decoder
from restore_cli.media.video_segment import SegmentWriter


class Result:
    def __init__(self, status, console):
        self.status, self.console = status, console
        self.stderr, self.lines = console.stderr.getvalue(), console.stderr.getvalue().splitlines()
        self.errors = [one for one in self.lines if one.startswith("error:")]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small.weights(tmp_path_factory.mktemp("vsr-weights"))


@pytest.fixture
def vsr(tmp_path, monkeypatch, network):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def go(*arguments, stdin=None, stdout=None):
        console = Console(stdin or io.BytesIO(), stdout or io.BytesIO(), io.StringIO(),
                          environ={})
        words = ["vsr", *map(str, arguments), "-w", str(network), "--device", "cpu"]
        return Result(main(words, console), console)

    return go


def enlarging(monkeypatch, before):
    """Calls `before` with its number ahead of each frame of a film (not of the warm-up)."""
    genuine, made = Stream.enlarge, []

    def enlarge(self, window):
        if window[0].frame.time_base != 1:
            before(len(made))
            made.append(1)
        return genuine(self, window)

    monkeypatch.setattr(Stream, "enlarge", enlarge)


def stopping(monkeypatch, frame):
    def before(number):
        if number == frame:
            raise KeyboardInterrupt

    enlarging(monkeypatch, before)


def interrupted(vsr, *arguments, frame=5):
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, frame)
        found = vsr(*arguments)
    assert found.status == 130, found.stderr
    return found


def journal(target):
    """Its lines: what was asked for, then the finished groups (those in flight are dropped)."""
    return [json.loads(one) for one in
            Path(f"{target}.parts/journal.jsonl").read_text().splitlines()]


def cut_short(path, share):
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * share)])


def test_films_that_end_early_or_hold_no_picture(vsr):
    film(Path("a.mp4"), 30)
    Path("index.mp4").write_bytes(Path("a.mp4").read_bytes())
    cut_short(Path("index.mp4"), 0.6)
    films.ffmpeg("-f", "lavfi", "-i", "sine=d=1", "sound.m4a")
    Path("none.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
    Path("empty.mp4").write_bytes(b"")
    Path("text.mp4").write_text("hello")
    names = ["index.mp4", "sound.m4a", "none.y4m", "empty.mp4", "text.mp4"]
    found = vsr(*names, "-o", "out")
    assert found.status == 3 and len(found.errors) == 5, found.stderr
    for name, said in zip(names, ("truncated", "only sound", "no frames", "is empty",
                                  "not a film"), strict=True):
        assert any(name in one and said in one for one in found.errors), found.stderr
    assert sorted(os.listdir()) == sorted(["a.mp4", *names])
    films.ffmpeg("-i", "a.mp4", "-c", "copy", "-movflags", "+faststart", "fast.mp4")
    cut_short(Path("fast.mp4"), 0.7)
    found = vsr("fast.mp4", "-o", "o.mp4")
    assert found.status == 0 and "the file ends early" in found.stderr
    assert 0 < len(films.times("o.mp4")) < 30


def test_damage_and_other_sizes_are_told(vsr):
    for number, size in enumerate(("32x24", "48x40")):
        film(Path(f"{number}.ts"), 5, size=size)
    Path("a.ts").write_bytes(b"".join(Path(f"{n}.ts").read_bytes() for n in (0, 1)))
    found = vsr("a.ts", "-o", "a.mp4")
    assert found.status == 0 and "5 frames of another size" in found.stderr, found.stderr
    assert films.decoded("a.mp4").shape == (10, 96, 128, 3)


@pytest.mark.parametrize("target", ["new/deep/o.mp4", "new/deep/frames"])
def test_a_run_that_fails_leaves_no_folders(vsr, monkeypatch, target):
    film(Path("a.mp4"), 4)
    genuine = FrameWriter.write

    def write(self, *rest):
        if self._count == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return genuine(self, *rest)

    monkeypatch.setattr(FrameWriter, "write", write)
    found = vsr("a.mp4", "-o", target, "--ffmpeg-args", "-preset nonsense")
    assert found.status == 3 and len(found.lines) == 1, found.stderr
    assert os.listdir() == ["a.mp4"]


def test_pictures_that_were_there_are_left_by_a_run_that_fails(vsr, monkeypatch):
    two_shots(Path("in"), 3)
    Path("out").mkdir()
    Path("out/mine.txt").write_text("kept")
    interrupted(vsr, "in", "-o", "out", "--overwrite", "--segment", 2, frame=3)
    assert sorted(os.listdir("out")) == ["mine.txt", "shot000.png", "shot001.png"]
    assert vsr("in", "-o", "out", "--resume", "--segment", 2).status == 0
    assert len(os.listdir("out")) == 7 and not Path("out.parts").exists()


def test_an_encoder_killed_from_outside(vsr, monkeypatch):
    film(Path("a.mp4"), 12)
    genuine = SegmentWriter.write

    def write(self, rgb, pts, duration=0):
        if pts >= 6 * 1024:
            self._process._process.kill()
            self._process._process.wait()
        genuine(self, rgb, pts, duration)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentWriter, "write", write)
        found = vsr("a.mp4", "-o", "o.mp4", "--segment", 4)
    assert found.status == 3 and found.errors == ["error: o.mp4: ffmpeg was killed by signal 9"]
    assert "4 frames are kept in o.mp4.parts" in found.stderr
    assert sorted(os.listdir("o.mp4.parts")) == ["journal.jsonl", "segment_00000.mov"]
    assert vsr("a.mp4", "-o", "o.mp4", "--segment", 4, "--resume").status == 0
    assert vsr("a.mp4", "-o", "whole.mp4", "--segment", 4).status == 0
    assert (films.decoded("o.mp4") == films.decoded("whole.mp4")).all()


def test_another_run_is_kept_out(vsr):
    film(Path("a.mp4"), 12)
    interrupted(vsr, "a.mp4", "-o", "o.mp4", "--segment", 2)
    before = sorted(os.listdir("o.mp4.parts"))
    for option in ("--resume", "--overwrite"):
        with FileLock("o.mp4.parts/.restore-lock"):
            found = vsr("a.mp4", "-o", "o.mp4", "--segment", 2, option)
        assert found.status == 3 and len(found.lines) == 1, found.stderr
        assert "another run is at work" in found.stderr
    Path("o.mp4.parts/.restore-lock").touch()  # as a run leaves it that was killed
    assert [one for one in sorted(os.listdir("o.mp4.parts")) if one != ".restore-lock"] == before
    assert vsr("a.mp4", "-o", "o.mp4", "--segment", 2, "--resume").status == 0
    assert sorted(os.listdir()) == ["a.mp4", "o.mp4"]


def test_a_damaged_journal_is_refused(vsr):
    film(Path("a.mp4"), 8)
    interrupted(vsr, "a.mp4", "--segment", 2)
    parts = sorted(os.listdir("a_x4.mp4.parts"))
    for text in ("", "hello", "[]", '{"version": 1}',
                 '{"version": 1, "facts": {}, "plan": {"tile": [0, 1]}}'):
        Path("a_x4.mp4.parts/journal.jsonl").write_text(text)
        found = vsr("a.mp4", "--segment", 2, "--resume")
        assert found.status == 2 and len(found.lines) == 1 and "is damaged" in found.stderr
        assert sorted(os.listdir("a_x4.mp4.parts")) == parts


@pytest.mark.parametrize("line", ["[1]", '{"frames": 2, "file": 3}'])
def test_records_that_make_no_sense_do_not_count(vsr, line):
    film(Path("a.mp4"), 8)
    interrupted(vsr, "a.mp4", "--segment", 2)
    done = sum(one["frames"] for one in journal("a_x4.mp4")[1:])
    with open("a_x4.mp4.parts/journal.jsonl", "a") as file:
        file.write(line + "\n")
    found = vsr("a.mp4", "--segment", 2, "--resume")
    assert found.status == 0 and f"going on after {done} finished frames" in found.stderr
    assert len(films.times("a_x4.mp4")) == 8


def begins_at(monkeypatch):
    """The numbers of the frames at which films are read again."""
    begun = []
    for kind in (Decoder, FrameFolder):
        def go_on(self, start, first=None, genuine=kind.go_on):
            begun.append(start)
            return genuine(self, start, first)

        monkeypatch.setattr(kind, "go_on", go_on)
    return begun


@pytest.mark.parametrize("options", [("--scene-threshold", "off"), ("--start", "0.5"),
                                     ("--start", "5f", "--end", "25f")])
def test_going_on_reads_the_film_from_near_there(vsr, monkeypatch, options):
    films.film(Path("a.mp4"), "-c:v", "libx264", "-g", "6", "-bf", "2", "-pix_fmt", "yuv420p",
               seconds="3", size="32x24")
    words = ("a.mp4", "-o", "o.mkv", "--segment", 4, "--codec", "ffv1", *options)
    interrupted(vsr, *words, frame=14)
    done = 4 * len(journal("o.mkv")[1:])
    begun = begins_at(monkeypatch)
    found = vsr(*words, "--resume")
    assert done >= 8 and begun == [done - 2 + 5 * ("--start" in options)], found.stderr
    assert found.status == 0 and f"going on after {done}" in found.stderr
    assert vsr("a.mp4", "-o", "whole.mkv", "--segment", 4, "--codec", "ffv1", *options).status == 0
    assert (films.decoded("o.mkv") == films.decoded("whole.mkv")).all()
    assert films.times("o.mkv") == films.times("whole.mkv")


def test_going_on_where_times_are_no_guide_reads_from_the_start(vsr, monkeypatch):
    for number in (0, 1):  # the second half's times begin anew
        film(Path(f"{number}.ts"), 8)
    Path("a.ts").write_bytes(b"".join(Path(f"{n}.ts").read_bytes() for n in (0, 1)))
    words = ("a.ts", "-o", "o.mp4", "--segment", 4)
    interrupted(vsr, *words, frame=15)
    head, first, *others = journal("o.mp4")
    assert len(others) >= 1 and "place" not in others[-1]
    # A place that leads elsewhere is noticed too.
    first["place"] = {"frame": 2, "number": 2, "shots": 1, "pts": first["last"], "seen": ["0"]}
    Path("o.mp4.parts/journal.jsonl").write_text(f"{json.dumps(head)}\n{json.dumps(first)}\n")
    begun = begins_at(monkeypatch)
    assert vsr(*words, "--resume").status == 0 and begun == [2, 0]
    assert vsr("a.ts", "-o", "whole.mp4", "--segment", 4).status == 0
    assert (films.decoded("o.mp4") == films.decoded("whole.mp4")).all()
    assert films.times("o.mp4") == films.times("whole.mp4")


class Full(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_pipes_that_are_closed_or_full(vsr, monkeypatch):
    film(Path("a.mp4"), 3)
    found = vsr("a.mp4", "-o", "-", stdout=Full())
    assert found.status == 3 and "standard output cannot be written" in found.errors[0]
    assert vsr("-", "-o", "o.mp4").status == 3
    for name, words in (("stdin", ("-", "-o", "o.mp4")), ("stdout", ("a.mp4", "-o", "-"))):
        with monkeypatch.context() as patch:
            patch.setattr(Console, name, None, raising=False)
            patch.setattr(Console, "__setattr__", lambda self, key, value, name=name: (
                object.__setattr__(self, key, None if key == name else value)))
            patch.setattr("sys.stdin", None)
            found = vsr(*words)
        assert found.status == 3 and len(found.lines) == 1 and "is closed" in found.stderr
    assert os.listdir() == ["a.mp4"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="POSIX permissions bind")
def test_a_folder_without_permission(vsr):
    film(Path("a.mp4"), 3)
    Path("closed").mkdir()
    Path("closed").chmod(stat.S_IRUSR | stat.S_IXUSR)
    found = vsr("a.mp4", "-o", "closed/o.mp4")
    assert found.status == 3 and "permission denied" in found.stderr and len(found.lines) == 1
    assert os.listdir("closed") == []


def test_frames_of_a_film_that_is_damaged_are_all_there(vsr):
    films.film(Path("a.mp4"), "-c:v", "libx264", "-g", "6", "-pix_fmt", "yuv420p", seconds="2",
               size="64x48")
    import av

    with av.open("a.mp4") as container:
        places = [(one.pos, one.size) for one in container.demux(video=0) if one.size]
    data, (position, size) = bytearray(Path("a.mp4").read_bytes()), places[6]
    part = slice(position + size // 3, position + size)
    data[part] = (np.frombuffer(data[part], np.uint8) ^ 0x5a).tobytes()
    Path("a.mp4").write_bytes(data)
    found = vsr("a.mp4", "-o", "o.mp4")
    assert found.status == 0 and "1 damaged frames were patched up" in found.stderr, found.stderr
    assert len(films.times("o.mp4")) == 20
