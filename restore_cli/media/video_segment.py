"""Segments: runs of frames encoded into files of their own, to be joined without loss.

Each segment starts a new encoder, so a film continued from its finished segments has the same
decoded frames as one that was never interrupted, provided it is cut at the same frames.
"""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from restore_cli.errors import OutputError
from restore_cli.media.atomic import atomic_path
from restore_cli.media.video_codecs import CODECS, Encoding
from restore_cli.media.video_ffmpeg import Process, local
from restore_cli.media.video_model import Frame
from restore_cli.media.video_nut import NutWriter


@dataclass(frozen=True)
class Segment:
    """A finished segment.

    Attributes:
        path: its file, without sound; its times start at 0.
        frames: how many.
        first, last: pts of its first and last frame, in ticks of the encoding's time base.
        duration: ticks that the last frame stands, 0 when unknown.
    """

    path: str
    frames: int
    first: int
    last: int
    duration: int = 0

    def record(self) -> dict[str, Any]:
        """The same as values that JSON can hold; ``Segment(**record)`` makes it again."""
        return asdict(self)


@dataclass(frozen=True)
class Content:
    """What is in the file of a segment.

    Attributes:
        header: what has to be the same in all segments of a film.
        base: seconds a tick.
        ticks: at which its frames are shown, rising.
    """

    header: tuple[object, ...]
    base: Fraction
    ticks: array


class SegmentWriter:
    """A context manager that encodes frames into one segment file.

    The file appears whole when the block ends well, and not at all otherwise.

    Args:
        target: file name; an existing file is replaced.
        encoding: how.
        shown: the file that errors name, when the segment is only a part of its making.

    Attributes:
        segment: what was written, once the block has ended.
        content: what was found in the file then.

    Raises:
        OutputError: the encoder fails, with its words; no frame was given; full disk.
    """

    def __init__(self, target: str | Path, encoding: Encoding, *,
                 shown: str | Path | None = None):
        self._target, self._encoding = Path(target), encoding
        self._shown = shown if shown is not None else self._target
        self._stack = ExitStack()
        self._process: Process | None = None
        self._count = self._first = self._last = self._duration = 0
        self.segment: Segment | None = None
        self.content: Content | None = None

    def __enter__(self) -> SegmentWriter:
        encoding = self._encoding
        try:
            self._part = self._stack.enter_context(atomic_path(self._target, overwrite=True))
            base = encoding.time_base
            kind = CODECS[encoding.codec].segment
            scale = ["-video_track_timescale", str(base.denominator)]
            self._process = Process(
                ["-f", "nut", "-i", "pipe:0", "-map", "0:v:0", *encoding.encoder_arguments(),
                 *scale, "-f", kind, local(self._part)], stdin=subprocess.PIPE)
            assert self._process.stdin is not None
            self._nut = NutWriter(self._process.stdin, encoding.width, encoding.height,
                                  deep=encoding.deep, time_base=base, rate=encoding.rate)
        except BaseException:
            if self._process is not None:
                self._process.kill()
            self._stack.close()
            raise
        return self

    def write(self, rgb: np.ndarray, pts: int, duration: int = 0) -> None:
        """Encodes a frame.

        Args:
            rgb: (H, W, 3), uint8 or uint16 as the encoding says.
            pts: time in ticks of the encoding's time base, rising.
            duration: ticks it stands, 0 when unknown.

        Raises:
            OutputError: the encoder has ended, with its words.
        """
        if not self._count:
            self._first = pts
        elif pts <= self._last:
            raise OutputError(f"time {pts} does not follow {self._last}", path=self._shown)
        try:
            self._nut.write(rgb, pts - self._first)
        except OSError as error:
            self._fail(error)
        self._count += 1
        self._last, self._duration = pts, duration

    def _fail(self, error: OSError) -> None:
        assert self._process is not None
        self._process.wait(self._shown)  # raises with the encoder's words
        raise OutputError("the encoder stopped reading before the end",
                          path=self._shown) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self._process is not None
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._process.kill()
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._process.kill()
        self._stack.__exit__(kind, error, trace)  # names the file, or removes it
        if error is None:
            self.segment = Segment(str(self._target), self._count, self._first, self._last,
                                   self._duration)

    def _finish(self) -> None:
        assert self._process is not None
        if not self._count:
            raise OutputError("there are no frames to encode", path=self._shown)
        try:
            self._nut.close()
        except OSError as error:
            self._fail(error)
        self._process.wait(self._shown)
        self.content = content(self._part, self._shown)
        found = len(self.content.ticks)
        if found != self._count:
            raise OutputError(f"the encoder wrote {found} of {self._count} frames",
                              path=self._shown, hint="Check --ffmpeg-args")


def write_segment(target: str | Path, frames: Iterable[Frame], encoding: Encoding) -> Segment:
    """Encodes frames into one segment file; see `SegmentWriter`."""
    writer = SegmentWriter(target, encoding)
    with writer:
        for frame in frames:
            writer.write(frame.rgb, frame.pts, frame.duration)
    assert writer.segment is not None
    return writer.segment


def content(path: str | Path, target: str | Path) -> Content:
    """What is in the first video stream of a written file.

    Raises:
        OutputError: it cannot be read; named is `target`, the film it is for.
    """
    import av

    try:
        with av.open(local(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            header = (context.name, context.width, context.height, context.pix_fmt,
                      bytes(context.extradata or b""))
            base = Fraction(stream.time_base)
            ticks = sorted(packet.pts for packet in container.demux(stream)
                           if packet.size and packet.pts is not None)
    except (OSError, ValueError, IndexError, av.FFmpegError) as error:
        raise OutputError("what the encoder wrote cannot be read back: "
                          f"{getattr(error, 'strerror', None) or error}",
                          path=target) from error
    return Content(header, base, array("q", ticks))
