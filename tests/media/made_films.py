"""Small films that the tests make with the ffmpeg program alone, and ways to look into them."""

from __future__ import annotations

import subprocess
from fractions import Fraction

import av
import numpy as np

from restore_cli.media.video_ffmpeg import executable

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,500\nHello\n\n2\n00:00:00,600 --> 00:00:00,900\nWorld\n"
CHAPTERS = (";FFMETADATA1\ntitle=A film\nartist=Some; one = two\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=First\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Second\n")


def ffmpeg(*arguments, data=None):
    """Runs ffmpeg; its standard output."""
    done = subprocess.run([executable(), "-v", "error", "-y", *map(str, arguments)], input=data,
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def picture(seconds="1", size="64x48", rate="10"):
    """ffmpeg's arguments for a moving test picture as an input."""
    return ["-f", "lavfi", "-i", f"testsrc2=d={seconds}:s={size}:r={rate}"]


def film(path, *options, seconds="1", size="64x48", rate="10"):
    """A silent film of a moving test picture."""
    options = options or ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    ffmpeg(*picture(seconds, size, rate), "-threads", "1", *options, path)
    return path


def rich(folder, name="rich.mkv"):
    """A film with two sounds, subtitles, chapters and tags."""
    (folder / "words.srt").write_text(SUBTITLES)
    (folder / "tags.txt").write_text(CHAPTERS)
    path = folder / name
    text = "mov_text" if path.suffix in (".mp4", ".mov") else "srt"
    ffmpeg(*picture(), "-f", "lavfi", "-i", "sine=440:d=1", "-f", "lavfi", "-i", "sine=880:d=1",
           "-i", folder / "words.srt", "-i", folder / "tags.txt",
           "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4",
           "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac",
           "-c:s", text, "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra",
           "-metadata:s:s:0", "language=deu", path)
    return path


def times(path, index=None):
    """Seconds at which each decoded frame of a video stream is shown, as fractions."""
    with av.open(str(path)) as container:
        stream = (container.streams.video[0] if index is None else container.streams[index])
        return [frame.pts * Fraction(frame.time_base) for frame in container.decode(stream)]


def decoded(path, form="rgb24", index=0):
    """The frames of a video stream as ffmpeg's own program decodes them, without rotation."""
    with av.open(str(path)) as container:
        stream = container.streams.video[index]
        height, width = stream.codec_context.height, stream.codec_context.width
    data = ffmpeg("-noautorotate", "-i", path, "-map", f"0:v:{index}", "-fps_mode",
                  "passthrough", "-f", "rawvideo", "-pix_fmt", form, "-")
    depth = "<u2" if form.endswith("le") else "u1"
    channels = () if form == "gray" else (3,)
    return np.frombuffer(data, depth).reshape(-1, height, width, *channels)


def kinds(path):
    """(type, codec) of each stream."""
    with av.open(str(path)) as container:
        return [(one.type, one.codec_context.name if one.codec_context else "")
                for one in container.streams]


def packets(path, kind, number=0):
    """Seconds and bytes of every packet of a stream."""
    with av.open(str(path)) as container:
        stream = [one for one in container.streams if one.type == kind][number]
        return [(packet.pts * Fraction(packet.time_base), bytes(packet))
                for packet in container.demux(stream) if packet.size]
