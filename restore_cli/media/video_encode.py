"""Writes a whole film in one go: one segment, then sound and the rest joined to it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from restore_cli.media.atomic import check_target
from restore_cli.media.video_codecs import CODECS, choose, split_arguments
from restore_cli.media.video_join import join
from restore_cli.media.video_model import VideoInfo
from restore_cli.media.video_segment import SegmentWriter
from restore_cli.media.video_streams import container_for


class Encoder:
    """A context manager that takes restored frames and leaves a film.

    The film appears whole when the block ends well, and not at all otherwise.

    Args:
        target: the film; its extension (.mp4, .m4v, .mov, .mkv, .webm) names the container.
        like: the film that is restored: times, aspect, colour, depth, tags.
        size: (width, height) of the restored frames.
        codec: a key of `video_codecs.CODECS`.
        crf: quality, None for the codec's default.
        pixel_format: ffmpeg's name of another pixel format than the film's.
        carry: carry sound, subtitles, chapters and tags over from the file ``like.path``.
        whole: the frames are the whole of `like`; see `video_join.join`.
        arguments: further ffmpeg arguments.
        overwrite: replace an existing film.

    Attributes:
        encoding: what was chosen.
        notes: what is converted or left out; complete once the block has ended.

    Raises:
        UsageError: impossible options, or an output that exists.
        OutputError: encoder or disk fail; the message has ffmpeg's words.
    """

    def __init__(self, target: str | Path, like: VideoInfo, size: tuple[int, int], *,
                 codec: str = "x264", crf: float | None = None, pixel_format: str | None = None,
                 carry: bool = True, whole: bool = True, arguments: Sequence[str] = (),
                 overwrite: bool = False):
        self._target, self._overwrite, self._whole = Path(target), overwrite, whole
        self._source = like if carry and os.path.isfile(like.path) else None
        picture, self._rest = split_arguments(tuple(arguments))
        self.encoding, self.notes = choose(like, *size, codec=codec, crf=crf,
                                           pixel_format=pixel_format, arguments=picture)
        container_for(self._target, codec)
        check_target(self._target, overwrite=overwrite)
        hidden = f".restore-{secrets.token_hex(6)}.{CODECS[codec].segment}"
        self._segment = self._target.parent / hidden
        self._writer = SegmentWriter(self._segment, self.encoding, shown=self._target)

    def __enter__(self) -> Encoder:
        self._writer.__enter__()
        return self

    def write(self, rgb: np.ndarray, pts: int, duration: int = 0) -> None:
        """Encodes a frame; arguments as `SegmentWriter.write`."""
        self._writer.write(rgb, pts, duration)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
            if error is None and self._writer.segment is not None:
                self.notes += join([self._writer.segment], self._target, self.encoding,
                                   self._source, whole=self._whole, overwrite=self._overwrite,
                                   arguments=self._rest)
        finally:
            self._segment.unlink(missing_ok=True)
