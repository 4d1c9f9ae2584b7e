"""`restore vsr` through the command line, in process, with a small network."""

from __future__ import annotations

import io
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from vsr_films import film, films, small, two_shots

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.media import images, video


class Result:
    def __init__(self, status, console):
        self.status, self.stderr = status, console.stderr.getvalue()
        self.stdout = console.stdout.getvalue()

    @property
    def records(self):
        return [json.loads(line) for line in self.stdout.decode().splitlines()]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small.weights(tmp_path_factory.mktemp("vsr-weights"))


@pytest.fixture(scope="module")
def loaded(network):
    """Read and built once for all runs; those of other files read their own."""
    from restore_cli.jobs import vsr_network

    return vsr_network.load(network, device="cpu")


@pytest.fixture
def vsr(tmp_path, monkeypatch, network, loaded):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("restore_cli.jobs.vsr_network.load", lambda *_, **__: loaded)
    monkeypatch.setattr("restore_cli.jobs.vsr_film.Film._warm_up", lambda self: None)

    def go(*arguments, stdin=b""):
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        words = ["vsr", *map(str, arguments), "-w", str(network), "--device", "cpu"]
        return Result(main(words, console), console)

    return go


def expected(network, pictures, shots=None):
    """The plain network by the border rule, rounded: (N, 4H, 4W, 3) uint8."""
    import jittor as jt

    from restore_cli.jobs import vsr_network
    from restore_cli.pipeline import windows

    loaded = vsr_network.load(network, device="cpu")
    made = []
    with jt.no_grad():
        for window in windows.of_shots(shots or [0], len(pictures)):
            stack = np.stack([pictures[i] for i in window]).transpose(0, 3, 1, 2)[None]
            out = loaded.network(jt.array(stack.astype(np.float32) * np.float32(1 / 255)))
            made.append(out.numpy()[0].transpose(1, 2, 0))
    return np.clip(np.rint(np.stack(made) * np.float32(255)), 0, 255).astype(np.uint8)


def close(found, wanted):
    """Equal but for single steps of rounding."""
    off = np.abs(found.astype(int) - wanted)
    return found.shape == wanted.shape and off.max() <= 1 and (off > 0).mean() < 1e-3


def test_a_film_keeps_everything(vsr, network):
    source = films.rich(Path("."))
    found = vsr(source, "--codec", "ffv1", "--segment", 4, "--json", "--pixel-format", "bgr0")
    assert found.status == 0, found.stderr
    segments = [one for one in found.records if one["status"] == "segment"]
    assert [(one["first"], one["frames"]) for one in segments] == [(0, 4), (4, 4), (8, 2)]
    assert all(one["fps"] > 0 for one in segments)
    (done,) = [one for one in found.records if one["status"] == "done"]
    assert done["frames"] == 10 and done["size"] == [256, 192] and done["shots"] == 1
    assert sorted(os.listdir()) == ["rich.mkv", "rich_x4.mkv", "tags.txt", "words.srt"]
    before, after = video.probe("rich.mkv"), video.probe("rich_x4.mkv")
    assert [one.kind for one in after.streams] == [one.kind for one in before.streams]
    assert after.chapters == before.chapters and after.tags["title"] == "A film"
    assert films.times("rich_x4.mkv") == pytest.approx(films.times("rich.mkv"), abs=1e-3)
    with video.decode("rich.mkv") as frames:
        pictures = np.stack([one.rgb for one in frames])
    assert close(films.decoded("rich_x4.mkv"), expected(network, pictures))


def test_shots_are_not_mixed(vsr, network):
    pictures = two_shots(Path("in"))
    found = vsr("in", "--json", "--segment", 5)
    assert found.status == 0 and found.records[-1]["shots"] == 2, found.stderr
    names = sorted(os.listdir("in_x4"))
    assert names == sorted(os.listdir("in")) and sorted(os.listdir()) == ["in", "in_x4"]
    made = np.stack([images.read(Path("in_x4", name)).pixels for name in names])
    assert close(made, expected(network, pictures, [0, 6]))
    assert vsr("in", "-o", "one", "--scene-threshold", "off", "--json").records[-1]["shots"] == 1
    other = np.stack([images.read(Path("one", name)).pixels for name in names])
    assert close(other, expected(network, pictures)) and (other[5] != made[5]).any()
    assert (other[3] == made[3]).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_short_films(vsr, count):
    film("a.mp4", count)
    assert vsr("a.mp4").status == 0
    assert films.decoded("a_x4.mp4").shape == (count, 96, 128, 3)


@pytest.mark.parametrize("scale", [2, 3])
def test_scales(vsr, scale):
    film("a.mp4", 5)
    assert vsr("a.mp4", "--scale", scale, "-o", "b.mkv").status == 0
    assert films.decoded("b.mkv").shape == (5, 24 * scale, 32 * scale, 3)


@pytest.mark.parametrize("options,wanted", [
    (["--start", "0.3", "--end", "0.7"], [3, 4, 5, 6]), (["--start", "3f", "--frames", 2], [3, 4]),
    (["--end", "2f"], [0, 1]), (["--start", "0.75"], [8, 9]),
    (["--start", "0.25", "--frames", 1], [3])])
def test_a_part(vsr, network, options, wanted):
    film("a.mp4")
    found = vsr("a.mp4", "--json", "-o", "b.mkv", "--codec", "ffv1", "--pixel-format", "bgr0",
                *options)
    assert found.status == 0 and found.records[-1]["frames"] == len(wanted), found.stderr
    assert films.times("b.mkv") == [Fraction(i, 10) for i in range(len(wanted))]
    with video.decode("a.mp4") as frames:
        pictures = np.stack([one.rgb for one in frames])
    assert close(films.decoded("b.mkv"), expected(network, pictures[wanted]))


def test_pipes(vsr):
    film("a.mp4", 5)
    data = Path("a.mp4").read_bytes()
    for form in ("y4m", "nut"):
        found = vsr("a.mp4", "-o", "-", "--format", form)
        assert found.status == 0, found.stderr
        Path("out").write_bytes(found.stdout)
        assert films.decoded("out").shape == (5, 96, 128, 3)
    piped = films.ffmpeg("-i", "pipe:0", "-f", "nut", "-c:v", "rawvideo", "-", data=data)
    found = vsr("-", "-o", "b.mkv", stdin=piped)
    assert found.status == 0, found.stderr
    assert films.decoded("b.mkv").shape == (5, 96, 128, 3)
    assert vsr("-", "-o", "c.mkv", "--resume", stdin=piped).status == 2


def test_one_bad_film_does_not_stop_the_others(vsr):
    film("a.mp4", 3)
    Path("b.mp4").write_bytes(Path("a.mp4").read_bytes()[:200])
    film("c.mp4", 3)
    found = vsr("a.mp4", "b.mp4", "c.mp4", "gone.mp4", "--json")
    assert found.status == 3
    ends = {one["source"]: one["status"] for one in found.records if one["status"] != "segment"}
    assert ends == {"a.mp4": "done", "b.mp4": "failed", "c.mp4": "done", "gone.mp4": "failed"}
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4", "b.mp4", "c.mp4", "c_x4.mp4"]
    again = vsr("a.mp4", "c.mp4", "--skip-existing", "--json")
    assert again.status == 0 and {one["status"] for one in again.records} == {"skipped"}
    assert vsr("a.mp4").status == 2
    assert vsr("a.mp4", "--overwrite").status == 0


@pytest.mark.parametrize("words,said", [
    (["--scale", "5"], "Use 2, 3 or 4"), (["--start", "x"], "no time"),
    (["--codec", "h264"], "unknown"),
    (["--crf", "99"], "not possible"), (["--scene-threshold", "-1"], "impossible"),
    (["--scene-threshold", "no"], "no number"), (["--rate", "0"], "frames a second"),
    (["--ffmpeg-args", "out.mp4"], "belongs to no option"), (["--start", "2", "--end", "1"],
                                                             "is not after"),
    (["-o", "a.xyz"], "no film format"), (["--format", "avi", "-o", "-"], "standard output"),
    (["-o", "b.webm"], "does not hold")])
def test_refusals(vsr, words, said):
    film("a.mp4", 2)
    found = vsr("a.mp4", *words)
    assert found.status == 2 and said in found.stderr and os.listdir() == ["a.mp4"]


def test_the_encoder_fails_with_its_words(vsr):
    film("a.mp4", 3)
    found = vsr("a.mp4", "--ffmpeg-args", "-preset nonsense")
    assert found.status == 3 and "nonsense" in found.stderr
    assert os.listdir() == ["a.mp4"]


def test_dry_run_and_folders(vsr):
    Path("films").mkdir()
    film("films/a.mp4", 2)
    two_shots(Path("pictures"), 2)
    found = vsr("films", "pictures", "-o", "out", "--dry-run")
    assert found.status == 0
    assert found.stdout.decode().splitlines() == [
        "films/a.mp4 -> out/a.mp4", "pictures -> out/pictures"]
    assert vsr("films", "pictures", "-o", "out").status == 0
    assert sorted(os.listdir("out")) == ["a.mp4", "pictures"]
    found = vsr("pictures/shot%03d.png", "-o", "b/f_%03d.png", "--frames", 2, "--png-level", 0)
    assert found.status == 0 and sorted(os.listdir("b")) == ["f_001.png", "f_002.png"]
    packed = min(os.listdir("out/pictures"))
    assert os.path.getsize(f"out/pictures/{packed}") < os.path.getsize("b/f_001.png")
    found = vsr("films/a.mp4", "--png-level", 3)
    assert found.status == 2 and "--png-level belongs to pictures" in found.stderr


def stop_after(monkeypatch, frames, error=KeyboardInterrupt):
    """The run ends while frame `frames` is made."""
    from restore_cli.jobs.vsr_stream import Stream

    genuine, made = Stream.enlarge, []

    def enlarge(self, window):
        if len(window[0].frame.rgb) != 24 or window[0].frame.time_base == 1:
            return genuine(self, window)  # the warm-up
        made.append(1)
        if len(made) > frames:
            raise error
        return genuine(self, window)

    monkeypatch.setattr(Stream, "enlarge", enlarge)


@pytest.mark.parametrize("target", ["out.mp4", "out"])
def test_interrupted_and_resumed(vsr, monkeypatch, target):
    two_shots(Path("in"), 8)
    options = ("in", "-o", target, "--segment", 3)
    with monkeypatch.context() as patch:
        stop_after(patch, 11)
        found = vsr(*options)
    assert found.status == 130 and "9 frames are kept" in found.stderr
    assert Path(f"{target}.parts").is_dir() and not Path("out.mp4").exists()
    if target == "out.mp4":
        found = vsr(*options)
        assert (found.status, "--resume goes on" in found.stderr) == (2, True), found.stderr
    changed = vsr(*options, "--resume", "--scale", 2)
    assert changed.status == 2 and "scale: 4, now 2" in changed.stderr
    kept = Path("in/shot004.png").read_bytes()
    shutil.copy("in/shot005.png", "in/shot004.png")
    changed = vsr(*options, "--resume")
    assert changed.status == 2 and "input:" in changed.stderr
    Path("in/shot004.png").write_bytes(kept)
    # A torn line and a segment that was under way do not count.
    with open(f"{target}.parts/journal.jsonl", "a") as file:
        file.write('{"frames": 3, "fi')
    Path(f"{target}.parts/segment_00003.mov").write_bytes(b"torn")
    found = vsr(*options, "--resume", "--json")
    assert found.status == 0, found.stderr
    assert [one["segment"] for one in found.records[:-1]] == [3, 4, 5]
    assert sorted(os.listdir()) == sorted(["in", target])
    whole = "whole.mp4" if target == "out.mp4" else "whole"
    assert vsr("in", "-o", whole, "--segment", 3).status == 0
    if target == "out.mp4":
        assert (films.decoded(target) == films.decoded(whole)).all()
        assert films.times(target) == films.times(whole)
    else:
        for name in sorted(os.listdir("in")):
            assert Path(target, name).read_bytes() == Path(whole, name).read_bytes()


def test_overwrite_begins_anew(vsr, monkeypatch):
    film("a.mp4")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert vsr("a.mp4", "--segment", 2).status == 130
    found = vsr("a.mp4", "--segment", 3, "--overwrite", "--json")
    assert found.status == 0 and len(found.records) == 5
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4"]


def test_nothing_finished_leaves_nothing(vsr, monkeypatch):
    film("a.mp4")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        assert vsr("a.mp4").status == 130
    assert os.listdir() == ["a.mp4"]
    assert vsr("a.mp4", "--resume").status == 0


@pytest.mark.parametrize("target", ["pictures", "film.mkv"])
def test_where_memory_is_short_frames_and_segments_follow_one_by_one(vsr, network, monkeypatch,
                                                                     target):
    """A lean plan: the same frames; an encoder begins after the one before it has ended."""
    from restore_cli.jobs import vsr_film
    from restore_cli.jobs.vsr_plan import Plan
    from restore_cli.media.video_segment import SegmentWriter

    pictures, open_writers, most = two_shots(Path("in"), 3), [], [0]
    begin, end = SegmentWriter.__enter__, SegmentWriter.__exit__

    def entered(self):
        open_writers.append(self)
        most[0] = max(most[0], len(open_writers))
        return begin(self)

    def left(self, *error):
        found = end(self, *error)
        open_writers.remove(self)
        return found

    monkeypatch.setattr(SegmentWriter, "__enter__", entered)
    monkeypatch.setattr(SegmentWriter, "__exit__", left)
    monkeypatch.setattr(vsr_film, "Behind", lambda *_: pytest.fail("a frame waits"))
    monkeypatch.setattr(vsr_film.Film, "_plan",
                        lambda *_: Plan((24, 32), 4, release=True, lean=True))
    found = vsr("in", "-o", target, "--segment", 2, *(
        ("--codec", "ffv1", "--pixel-format", "gbrp") if target == "film.mkv" else ()))
    assert found.status == 0, found.stderr
    if target == "pictures":
        made = np.stack([images.read(path).pixels for path in sorted(Path(target).iterdir())])
    else:
        made = films.decoded(Path(target))
        assert most[0] == 1
    assert close(made, expected(network, pictures, [0, 3]))
    assert not list(Path().glob("*.parts"))


def test_memory_that_runs_out_after_all(vsr, network, monkeypatch):
    from restore_cli.jobs.vsr_stream import Stream

    pictures, genuine = two_shots(Path("in"), 3), Stream._tile

    def tile(self, window, flows, tile):
        if self._size == (24, 32) and tile.y.read[1] - tile.y.read[0] > 23:
            raise RuntimeError("CUDA error: out of memory")
        return genuine(self, window, flows, tile)

    monkeypatch.setattr(Stream, "_tile", tile)
    monkeypatch.setattr("restore_cli.jobs.vsr_plan.SMALLEST_TILE", 4)
    found = vsr("in", "-o", "out")
    assert found.status == 0 and "again with tiles of 8 pixels" in found.stderr, found.stderr
    made = np.stack([images.read(path).pixels for path in sorted(Path("out").iterdir())])
    assert close(made, expected(network, pictures, [0, 3]))
    assert vsr("in", "-o", "other", "--tile", 32).status == 5
    assert not Path("other.parts").exists()
