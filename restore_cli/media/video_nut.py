"""Raw RGB frames with exact times as a NUT stream, the form in which ffmpeg is fed."""

from __future__ import annotations

from fractions import Fraction
from typing import IO, Any

import numpy as np

from restore_cli.errors import ShapeError


class NutWriter:
    """Writes raw frames to a binary stream that need not be seekable.

    Args:
        stream: where to.
        width, height: pixels of every frame.
        deep: frames are uint16 (written as rgb48le), else uint8 (rgb24).
        time_base: seconds a tick of the times given to `write`.
        rate: frames a second as a hint to the reader; variable rates have an average.
    """

    def __init__(self, stream: IO[bytes], width: int, height: int, *, deep: bool,
                 time_base: Fraction, rate: Fraction):
        import av

        self.shape = (height, width, 3)
        self.dtype = np.dtype("<u2" if deep else "u1")
        self._time_base = time_base
        self._container: Any = av.open(_Sink(stream), "w", format="nut", buffer_size=1 << 20)
        # A rate of hours a frame or millions a second only confuses readers.
        self._stream: Any = self._container.add_stream(
            "rawvideo", rate=min(max(rate, Fraction(1, 100)), Fraction(1000))
            .limit_denominator(1 << 20))
        context = self._stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = "rgb48le" if deep else "rgb24"
        self._stream.time_base = time_base

    def write(self, rgb: np.ndarray, pts: int) -> None:
        """Adds a frame.

        Args:
            rgb: (H, W, 3) of the dtype and size given at the start.
            pts: time in ticks, from 0, rising.

        Raises:
            ShapeError: another size.
            BrokenPipeError: nobody reads any more.
        """
        import av

        if rgb.shape != self.shape:
            raise ShapeError("rgb", str(self.shape), rgb.shape)
        if rgb.dtype != self.dtype:
            raise TypeError(f"rgb is {rgb.dtype}, expected {self.dtype}")
        packet = av.Packet(np.ascontiguousarray(rgb).tobytes())
        packet.stream = self._stream
        packet.time_base = self._time_base
        packet.pts = packet.dts = pts
        packet.is_keyframe = True
        self._container.mux_one(packet)

    def close(self) -> None:
        """Writes what ends the stream; does not close it."""
        self._container.close()


class _Sink:
    """A stream that only writes: PyAV would otherwise try to seek in it or close it."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        return len(data)
