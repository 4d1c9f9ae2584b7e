"""Films in and out, whatever they are kept in: files, pipes, folders of pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import InputError, UsageError
from restore_cli.media import frames
from restore_cli.media.frames import FrameFolder, FrameWriter
from restore_cli.media.video_codecs import CODECS, Encoding, choose, split_arguments
from restore_cli.media.video_decode import Decoder, decode
from restore_cli.media.video_encode import Encoder
from restore_cli.media.video_join import join
from restore_cli.media.video_model import Chapter, Colour, Frame, StreamInfo, VideoInfo
from restore_cli.media.video_pipes import PipeWriter, read_pipe
from restore_cli.media.video_probe import probe
from restore_cli.media.video_segment import Segment, SegmentWriter, write_segment
from restore_cli.media.video_streams import CONTAINERS, container_for, extension_for

__all__ = ["CODECS", "CONTAINERS", "Chapter", "Colour", "Decoder", "Encoder", "Encoding", "Frame",
           "FrameFolder", "FrameWriter", "PipeWriter", "Segment", "SegmentWriter", "StreamInfo",
           "VideoInfo", "choose", "container_for", "decode", "extension_for", "join",
           "open_source", "open_target", "probe", "read_pipe", "split_arguments",
           "write_segment"]

Source = Decoder | FrameFolder
Target = Encoder | FrameWriter | PipeWriter


def open_source(source: str | Path | Sequence[str | Path], *, stdin: BinaryIO | None = None,
                rate: Fraction | None = None, start: int | None = None, end: int | None = None,
                first: int | None = None, threads: int = 0) -> Source:
    """The frames of a film: an iterator and context manager with `info` and `problems`.

    Args:
        source: a film; "-" for a pipe; a folder, a pattern or a list of files for pictures.
        stdin: the pipe, standard input when left out.
        rate: frames a second of pictures, 25 when left out.
        start, end: numbers of the first frame wanted and of the one after the last.
        first: pts of frame `start`, if known; see `Decoder`.
        threads: of the decoder; 0 takes all cores.

    Raises:
        InputError: it cannot be read.
    """
    if source == "-":
        pipe = stdin or getattr(sys.stdin, "buffer", None)
        if pipe is None:
            raise InputError("standard input is closed", path="-")
        return read_pipe(pipe, start=start, end=end, threads=threads)
    if not isinstance(source, (str, Path)) or is_pictures(source):
        return FrameFolder(source, rate=rate or frames.RATE, start=start, end=end)
    return Decoder(source, start=start, end=end, first=first, threads=threads)


def open_target(target: str | Path, like: VideoInfo, size: tuple[int, int], *,
                stdout: BinaryIO | None = None, kind: str | None = None, codec: str = "x264",
                crf: float | None = None, pixel_format: str | None = None,
                arguments: Sequence[str] = (), whole: bool = True,
                overwrite: bool = False) -> Target:
    """A writer of restored frames: a context manager with ``write(rgb, pts, duration)``.

    Args:
        target: a film; "-" for a pipe; a folder (one that exists, or a name without
            extension) or a pattern for pictures.
        like: the film that is restored.
        size: (width, height) of the restored frames.
        stdout: the pipe, standard output when left out.
        kind: "y4m" or "nut" for a pipe, y4m when left out.
        codec, crf, pixel_format, arguments, whole, overwrite: see `Encoder`.

    Raises:
        UsageError: impossible options, or an output that exists.
    """
    if str(target) == "-":
        return PipeWriter(stdout or sys.stdout.buffer, like, size, kind or "y4m")
    if kind is not None:
        raise UsageError(f"the form {kind} is for standard output", path=target,
                         hint=f"Name one of {', '.join(CONTAINERS)} by its extension")
    if is_pictures(target) or (not Path(target).suffix and not Path(target).is_file()):
        return FrameWriter(target, overwrite=overwrite)
    return Encoder(target, like, size, codec=codec, crf=crf, pixel_format=pixel_format,
                   arguments=arguments, whole=whole, overwrite=overwrite)


def is_pictures(name: str | Path) -> bool:
    """Whether a name means pictures in files: a folder, or a pattern that is no file's name."""
    path = Path(name)
    return path.is_dir() or (frames.is_pattern(path) and not path.is_file())
