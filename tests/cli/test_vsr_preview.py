"""`restore vsr --preview`: the sheet of frames before and after."""

from __future__ import annotations

import io
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from vsr_films import film, films, small, two_shots

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.evaluation import video_baseline
from restore_cli.jobs import vsr_preview
from restore_cli.jobs.files import PictureRequest
from restore_cli.media import images, video, video_index
from restore_cli.pipeline.naming import Item

HEAD, GAP, COLUMN = 39, 12, 320  # of a row: text above, space around, width of a small frame


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small.weights(tmp_path_factory.mktemp("vsr-weights"))


@pytest.fixture
def vsr(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)

    def go(*arguments, stdin=b""):
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        words = ["vsr", *map(str, arguments), "-w", str(network), "--device", "cpu"]
        status = main(words, console)
        records = [json.loads(line) for line in console.stdout.getvalue().decode().splitlines()
                   if line.startswith("{")]
        return status, records, console.stderr.getvalue()

    return go


def frames(sheet, rows, size):
    """What a sheet of small frames shows at their own size: pairs, plain and enlarged."""
    page = images.read(sheet).pixels
    width, height = size
    whole = COLUMN // width
    step, found = len(page) // rows, []
    for top in range(HEAD, len(page), step):
        pair = [page[top:top + whole * height, left:left + whole * width]
                for left in (GAP, 2 * GAP + COLUMN)]
        found.append([one[whole // 2::whole, whole // 2::whole] for one in pair])
    return found


@pytest.mark.parametrize("lead", [48, 3])
def test_the_frames_are_those_of_the_film(vsr, monkeypatch, lead):
    """Beside a cut too, and where decoding begins in the middle."""
    monkeypatch.setattr(vsr_preview, "LEAD", lead)
    two_shots(Path("in"), 7)
    _, (planned,), _ = vsr("in", "--preview", 3, "--json", "--dry-run")
    assert Path(planned["preview"]).name == "in_x4_preview.png" and os.listdir() == ["in"]
    status, records, errors = vsr("in", "--preview", 3, "--json", "--start", "1f")
    assert status == 0, errors
    (told,) = [one for one in records if one["status"] == "preview"]
    assert Path(told["preview"]).name == "in_x4_preview.png" and told["shown"] == [3, 7, 11]
    assert records[0] == told and records[-1]["frames"] == 13
    shown = frames("in_x4_preview.png", 3, (128, 96))
    for number, (before, after) in zip(told["shown"], shown, strict=True):
        name = f"shot{number:03d}.png"
        assert (after == images.read(Path("in_x4", name)).pixels).all()
        plain = video_baseline.enlarge(images.read(Path("in", name)).pixels)
        assert (before == np.clip(np.rint(plain), 0, 255)).all()


def test_a_film_file(vsr, monkeypatch):
    """Found by seeking, and of a smaller scale."""
    monkeypatch.setattr(vsr_preview, "LEAD", 4)
    films.film("a.mkv", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g",
               "5", seconds="4", size="32x24")
    begun, genuine = [], video.open_source

    def open_source(*arguments, **options):
        if options.get("first") is not None:
            begun.append(options["start"])
        return genuine(*arguments, **options)

    monkeypatch.setattr(video, "open_source", open_source)
    status, records, errors = vsr("a.mkv", "--preview", 2, "--scale", 2, "--codec", "ffv1",
                                  "--pixel-format", "bgr0", "-o", "out/b.mkv", "--json",
                                  "--start", "1.5")
    assert status == 0, errors
    assert records[0]["shown"] == [21, 33] and begun == [17, 29]
    made = films.decoded("out/b.mkv")
    shown = frames("out/b_preview.png", 2, (64, 48))
    for number, (_, after) in zip([21, 33], shown, strict=True):
        assert (after == made[number - 15]).all()


def test_existing_sheets(vsr):
    film("a.mp4", 2)
    Path("a_x4_preview.png").write_bytes(b"mine")
    status, _, errors = vsr("a.mp4", "--preview", 9)
    assert status == 2 and "exists" in errors and len(os.listdir()) == 2
    for option in ("--resume", "--skip-existing"):
        status, _, errors = vsr("a.mp4", "--preview", 9, option)
        assert status == 0 and Path("a_x4_preview.png").read_bytes() == b"mine", errors
        os.remove("a_x4.mp4")
    status, _, errors = vsr("a.mp4", "--preview", 9, "--overwrite")
    assert status == 0 and "a_x4_preview.png: 2 frames" in errors
    assert images.read("a_x4_preview.png").width == 2 * (COLUMN + GAP) + GAP
    os.remove("a_x4_preview.png")
    status, records, _ = vsr("a.mp4", "--preview", 9, "--skip-existing", "--json")
    assert [one["status"] for one in records] == ["skipped"]
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4"]


@pytest.mark.parametrize("words,said", [
    (["a.mp4", "-o", "-", "--preview", "2"], "pipes"),
    (["-", "-o", "b.mp4", "--preview", "2"], "pipes"),
    (["a.mp4", "--preview", "25"], "Use 1 to 24")])
def test_refusals(vsr, words, said):
    film("a.mp4", 2)
    status, _, errors = vsr(*words)
    assert status == 2 and said in errors and os.listdir() == ["a.mp4"]


def test_an_interrupt_keeps_the_sheet_alone(vsr, monkeypatch):
    from restore_cli.jobs.vsr_output import Film

    film("a.mp4", 3)
    monkeypatch.setattr(Film, "use", lambda self, made: (_ for _ in ()).throw(KeyboardInterrupt))
    assert vsr("a.mp4", "--preview", 1)[0] == 130
    assert sorted(os.listdir()) == ["a.mp4", "a_x4_preview.png"]


def test_large_frames_have_a_detail():
    """Where the two differ most, at its own size; 16 bits as 8."""
    frame = small.frames(1, 200, 250, np.uint16)[0]
    made = vsr_preview.plain(frame.rgb, 4)
    made[500:600, 700:800] //= 2
    preview = vsr_preview.Preview("a", video.VideoInfo(
        "a", "frames", -1, "", 250, 200, None, Fraction(1, 25), 1, Fraction(25), 0, None,
        Fraction(0), "rgb48le", 16, "rgb"), vsr_preview.Cut(), None, None, 5, 4, "net")
    row = preview._row(frame, made)
    detail = row[-GAP - 428:-GAP, -GAP - 640:-GAP]
    other = row[-GAP - 428:-GAP, GAP:GAP + 640]
    assert row.shape[1] == 2 * (640 + GAP) + GAP
    assert 9500 < (detail != other).any(-1).sum() <= 10000


@pytest.mark.parametrize("aspect,shape", [
    (None, (20, 12)), (Fraction(1), (20, 12)), (Fraction(3, 2), (20, 18)),
    (Fraction(1, 2), (40, 12))])
def test_the_shape_of_pixels(aspect, shape):
    """A bright half stays a half, on the same side; 16 bits as 8."""
    rgb = np.zeros((20, 12, 3), np.uint16)
    rgb[:10] = 65535
    shown = vsr_preview.squared(rgb, aspect)
    assert shown.shape == (*shape, 3)
    white = np.iinfo(shown.dtype).max
    assert (shown[:shape[0] // 2 - 3] == white).all() and (shown[shape[0] // 2 + 3:] == 0).all()


@pytest.mark.parametrize("count,wanted", [(1, [5]), (3, [1, 5, 8]), (10, list(range(10))),
                                          (99, list(range(10)))])
def test_spread(count, wanted):
    assert vsr_preview.spread(10, count) == wanted and vsr_preview.spread(0, count) == []


def test_bands_are_the_whole(monkeypatch):
    frame = small.frames(1, 19, 13, np.uint16)[0].rgb
    whole = np.clip(np.rint(video_baseline.enlarge(frame, 3)), 0, 65535)
    for band in (1, 3 * 9 * 13 * 4, 1 << 20):
        monkeypatch.setattr(vsr_preview, "_BAND", band)
        assert (vsr_preview.plain(frame, 3) == whole).all()


@pytest.mark.parametrize("pattern,wanted", [
    ("b/f_%03d.png", "b/f_preview.png"), ("%05d.png", "preview.png"), ("out", "out_preview.png"),
    ("clip_x4.tar.mp4", "clip_x4.tar_preview.png")])
def test_names(pattern, wanted):
    assert vsr_preview._beside(Path(pattern)) == Path(wanted)


def test_two_outputs_of_one_stem():
    items = [Item(Path("a.mp4"), Path("o/a.mp4")), Item(Path("a.mkv"), Path("o/a.mkv"))]
    assert vsr_preview.plan(2, PictureRequest(), False, items) == {
        "o/a.mp4": Path("o/a.mp4_preview.png"), "o/a.mkv": Path("o/a.mkv_preview.png")}
    assert vsr_preview.plan(None, PictureRequest(), False, items) == {}


def test_times_without_decoding(tmp_path):
    """B-frames come out of order; AVI does not tell."""
    options = ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p")
    for name in ("a.mp4", "a.mkv", "a.avi"):
        path = films.film(tmp_path / name, *options, seconds="3", size="32x24")
        with video.decode(path) as decoder:
            wanted = [one.pts for one in decoder]
        found = video_index.times(video.probe(path))
        assert found == (wanted if name != "a.avi" else None)
