"""Films through pipes."""

from __future__ import annotations

import io
import os
import subprocess
import threading

import made_films as made
import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.media.video import PipeWriter, decode, open_source, open_target, read_pipe
from restore_cli.media.video_ffmpeg import executable

UNEVEN = ("-vf", "settb=1/90000,setpts='N*9000+mod(N\\,3)*1234',setsar=4/3", "-fps_mode",
          "passthrough", "-enc_time_base", "1/90000", "-video_track_timescale", "90000", "-c:v",
          "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


class Pipe(io.BytesIO):
    """Bytes that come as from a pipe: in order, once, a little at a time."""

    def seekable(self):
        return False

    def seek(self, *place):
        raise OSError("a pipe cannot seek")

    tell = seek

    def read(self, size=-1):
        return super().read(min(size, 1000) if size >= 0 else size)


def written(source, kind):
    film = decode(source)
    stream = io.BytesIO()
    with PipeWriter(stream, film.info, (film.info.width, film.info.height), kind) as writer:
        frames = list(film)
        for frame in frames:
            writer.write(frame.rgb, frame.pts, frame.duration)
    return stream.getvalue(), frames, writer


@pytest.mark.parametrize("form", ["yuv420p", "gbrp10le"])
def test_nut_keeps_pixels_depth_times_and_aspect(tmp_path, form):
    source = made.film(tmp_path / "a.mp4", *UNEVEN[:-6], "-c:v",
                       "libx264" if form == "yuv420p" else "ffv1", "-pix_fmt", form)
    data, frames, writer = written(source, "nut")
    assert writer.notes == ()
    film = read_pipe(Pipe(data))
    found = list(film)
    assert film.info.sample_aspect == decode(source).info.sample_aspect
    assert [one.seconds for one in found] == [one.seconds for one in frames]
    assert found[0].rgb.dtype == frames[0].rgb.dtype
    np.testing.assert_array_equal([one.rgb for one in found], [one.rgb for one in frames])


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p10le", "yuv444p", "gray"])
def test_y4m_keeps_every_frame_rate_and_depth(tmp_path, form):
    source = made.film(tmp_path / "a.mkv", "-vf", "scale=65:47,setsar=4/3", "-c:v", "ffv1",
                       "-pix_fmt", form, rate="30000/1001", seconds="0.4")
    data, frames, _ = written(source, "y4m")
    assert data.startswith(b"YUV4MPEG2 W65 H47 F30000:1001")
    film = read_pipe(Pipe(data))
    found = list(film)
    assert len(found) == len(frames) == 12
    assert str(film.info.rate) == "30000/1001"
    assert str(film.info.sample_aspect) == "4/3"
    assert film.info.bits == (10 if "10" in form else 8)
    # ffmpeg reads the same number of frames from it.
    raw = made.ffmpeg("-f", "yuv4mpegpipe", "-i", "pipe:0", "-f", "rawvideo", "-pix_fmt", "gray",
                      "-", data=data)
    assert len(raw) == 12 * 65 * 47


def test_uneven_times_in_y4m_are_told(tmp_path):
    even = written(made.film(tmp_path / "a.mp4"), "y4m")[2]
    assert even.notes == ()
    data, frames, writer = written(
        made.film(tmp_path / "b.mp4", "-vf", "settb=1/90000,setpts='N*9000+gt(N\\,4)*90000'",
                  *UNEVEN[2:]), "y4m")
    assert any("unequal times" in note for note in writer.notes)
    assert len(list(read_pipe(Pipe(data)))) == len(frames) == 10


def test_what_pipes_cannot_carry_is_told(tmp_path):
    _, _, writer = written(made.rich(tmp_path), "nut")
    assert any("3 other streams" in note for note in writer.notes)


def test_other_streamable_films_come_through_standard_input(tmp_path):
    data = made.rich(tmp_path).read_bytes()
    film = open_source("-", stdin=Pipe(data), start=2, end=5)
    assert [one.index for one in film] == [2, 3, 4]


@pytest.mark.parametrize("data, words", [(b"", "nothing came"), (b"no film" * 999, "not a film"),
                                         (b"YUV4MPEG2 W64 H48 F10:1 C420jpeg\n", "no frames")])
def test_pipes_without_a_film(data, words):
    with pytest.raises(InputError, match=words):
        read_pipe(Pipe(data))


def test_a_pipe_that_ends_early_gives_the_whole_frames(tmp_path):
    data = written(made.film(tmp_path / "a.mp4"), "y4m")[0]
    found = list(read_pipe(Pipe(data[:len(data) // 2])))
    assert 3 <= len(found) <= 5


def test_a_real_pipe_between_two_programs(tmp_path):
    film = decode(made.film(tmp_path / "a.mp4", seconds="3"))
    process = subprocess.Popen([executable(), "-v", "error", "-i", "pipe:0", "-fps_mode",
                                "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    got = []
    reader = threading.Thread(target=lambda: got.append(process.stdout.read()),
                              daemon=True)
    reader.start()
    with open_target("-", film.info, (64, 48), stdout=process.stdin, kind="nut") as writer:
        frames = list(film)
        for frame in frames:
            writer.write(frame.rgb, frame.pts)
    process.stdin.close()
    reader.join()
    assert process.wait() == 0
    assert got[0] == b"".join(one.rgb.tobytes() for one in frames)


def test_a_reader_that_goes_away(tmp_path):
    film = decode(made.film(tmp_path / "a.mp4", size="320x240"))
    frames = list(film)
    end, start = os.pipe()
    os.close(end)
    with open(start, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        with PipeWriter(stream, film.info, (320, 240), "y4m") as writer:
            for number in range(300):
                writer.write(frames[0].rgb, number * 1024)


def test_other_forms_are_refused(tmp_path):
    info = decode(made.film(tmp_path / "a.mp4")).info
    with pytest.raises(UsageError, match="y4m or nut"):
        PipeWriter(io.BytesIO(), info, (64, 48), "mp4")
    with pytest.raises(UsageError, match="for standard output"):
        open_target(tmp_path / "a.mkv", info, (64, 48), kind="nut")
