"""Films through standard input and output: any streamable form in, y4m or NUT out."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.media.video_codecs import RAW, choose
from restore_cli.media.video_color import MATRICES, assumed_matrix
from restore_cli.media.video_decode import Decoder
from restore_cli.media.video_ffmpeg import Process
from restore_cli.media.video_model import VideoInfo
from restore_cli.media.video_nut import NutWriter

KINDS = {"y4m": "yuv4mpegpipe", "nut": "nut"}


def read_pipe(stream: BinaryIO, *, start: int | None = None, end: int | None = None,
              threads: int = 0) -> Decoder:
    """Frames of a film that comes through a pipe: y4m, NUT, or any form that needs no seeking.

    Raises:
        InputError: nothing comes, or no film.
    """
    source = _Source(stream)
    try:
        return Decoder(source, start=start, end=end, threads=threads)
    except InputError as error:
        if not source.amount:
            raise InputError("nothing came through standard input", path="-") from error
        raise


class _Source:
    """A stream that only reads: PyAV would otherwise try to seek in a pipe."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.amount = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size) or b""
        self.amount += len(data)
        return data


class PipeWriter:
    """A context manager that writes frames to a stream as y4m or NUT.

    y4m is YUV in the chroma layout and depth of `like`, at a constant rate; NUT is RGB with
    exact times. Sound and the rest do not go through pipes.

    Args:
        stream: where to, usually standard output; it is flushed, not closed.
        like: the film that is restored.
        size: (width, height) of the frames.
        kind: "y4m" or "nut".

    Attributes:
        notes: what is not kept, one sentence each.

    Raises:
        UsageError: another kind.
        BrokenPipeError: the reader is gone.
        OutputError: the stream cannot be written, or ffmpeg fails.
    """

    def __init__(self, stream: BinaryIO, like: VideoInfo, size: tuple[int, int],
                 kind: str = "y4m"):
        if kind not in KINDS:
            raise UsageError(f"{kind} cannot be written to standard output",
                             hint="Use y4m or nut")
        self._stream, self._kind = stream, kind
        rgb = ("rgb48le" if like.deep else "rgb24") if kind == "nut" else None
        self.encoding, notes = choose(like, *size, codec=RAW, pixel_format=rgb)
        lost = [one.kind for one in like.streams if one.index != like.index]
        if lost:
            notes += (f"standard output carries the picture alone, not {len(lost)} other "
                      "streams",)
        colour = self.encoding.colour
        if kind == "y4m" and colour.matrix in MATRICES and colour.matrix != assumed_matrix(*size):
            notes += (f"y4m cannot say that its colour matrix is {MATRICES[colour.matrix]}: "
                      "tell the program that reads it",)
        self.notes = notes
        self._step = 1 / self.encoding.rate / like.time_base
        self._count, self._uneven = 0, False
        self._failure: OSError | None = None
        self._first: int | None = None

    def __enter__(self) -> PipeWriter:
        encoding = self.encoding
        strict = ["-strict", "-1"] if self._kind == "y4m" else []  # allows more than 8 bits
        rate = encoding.rate.limit_denominator(1 << 20)
        timing = ["-r", f"{rate.numerator}/{rate.denominator}"] if self._kind == "y4m" else []
        arguments = encoding.encoder_arguments()
        if timing:  # y4m has no times, only a rate
            place = arguments.index("-fps_mode")
            arguments[place:place + 4] = []
        self._process = Process(
            [*timing, "-f", "nut", "-i", "pipe:0", "-map", "0:v:0", *arguments, *strict,
             "-flush_packets", "1", "-f", KINDS[self._kind], "pipe:1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pump = threading.Thread(target=self._copy, name="pipe", daemon=True)
        self._pump.start()
        assert self._process.stdin is not None
        self._nut = NutWriter(self._process.stdin, encoding.width, encoding.height,
                              deep=encoding.deep, time_base=encoding.time_base,
                              rate=rate)
        return self

    def _copy(self) -> None:
        source = self._process.stdout
        assert source is not None
        try:
            with source:
                while data := source.read1(1 << 20):
                    self._stream.write(data)
                self._stream.flush()
        except OSError as error:
            self._failure = error

    def write(self, rgb: np.ndarray, pts: int, duration: int = 0) -> None:
        """Writes a frame.

        Args:
            rgb: (H, W, 3), uint8, or uint16 for a film of more than 8 bits.
            pts: time in ticks of the film's time base, rising.
            duration: ticks it stands; neither form holds it.
        """
        if self._first is None:
            self._first = pts if self._kind == "y4m" else 0
        if self._kind == "y4m" and not self._uneven and (
                abs(pts - self._first - self._count * self._step) > self._step / 2 + 1):
            self._uneven = True
            self.notes += ("its frames stand for unequal times, which y4m cannot hold: "
                           "use NUT to keep them",)
        self._count += 1
        try:
            self._nut.write(rgb, pts - self._first)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._pump.join(10)
        self._check()
        self._process.wait("-")  # raises with ffmpeg's words
        raise OutputError("ffmpeg stopped reading before the end", path="-") from error

    def _check(self) -> None:
        """Raises what has gone wrong with the stream."""
        if isinstance(self._failure, BrokenPipeError):
            raise self._failure
        if self._failure is not None:
            why = self._failure.strerror or str(self._failure)
            raise OutputError(f"standard output cannot be written: {why}", path="-"
                              ) from self._failure

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if error is None:
                try:
                    self._nut.close()
                except OSError as failure:
                    self._fail(failure)
                if self._process.stdin is not None:
                    with suppress(OSError):
                        self._process.stdin.close()
                self._pump.join()
                self._check()
                self._process.wait("-")
        finally:
            self._process.kill()
            self._pump.join(10)
