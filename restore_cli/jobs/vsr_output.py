"""Where enlarged frames go: segments of a film, pictures in a folder, or a pipe."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.jobs.vsr_journal import Journal
from restore_cli.jobs.vsr_windows import Place
from restore_cli.media import frames, video
from restore_cli.media.frames import FrameWriter
from restore_cli.media.video_codecs import CODECS, Encoding
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.media.video_segment import Content, Segment, SegmentWriter
from restore_cli.pipeline.overlap import Aside

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Made:
    """An enlarged frame on its way out.

    Attributes:
        source: the frame, without its pixels.
        rgb: the enlarged one.
        place: where a run may begin that is to make the frames after this one.
        begins: it begins a shot.
        notes: for the record of its segment.
    """

    source: Frame
    rgb: np.ndarray
    place: Place | None = None
    begins: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


class Output(ABC):
    """Takes frames in their order; groups of `length` of them are finished together.

    Args:
        length: frames of a group.
        tell: told of each finished group.
    """

    def __init__(self, length: int, tell: Tell):
        self._length, self._tell = length, tell
        self._count = self._group = self._in_group = 0
        self._since = time.perf_counter()
        self._place: Place | None = None
        self._record: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()

    def go_to(self, group: int) -> None:
        """The next frame is the first of this group."""
        self._group, self._count = group, group * self._length

    def use(self, made: Made) -> None:
        """Writes one frame."""
        if not self._in_group:
            self._open(self._group)
            self._record = {"segment": self._group, "shots": 0}
        self._write(made)
        self._place = made.place
        self._record["shots"] += made.begins
        self._record.update(made.notes)
        self._in_group += 1
        self._count += 1
        if self._in_group == self._length:
            self._end_group()

    def _end_group(self) -> None:
        self._close(self._group, self._count - self._in_group, self._in_group)
        self._group += 1
        self._in_group = 0

    def _told(self, number: int, first: int, frames: int, **more: Any) -> None:
        """Tells of a finished group."""
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        self._tell({"segment": number, "first": first, "frames": frames,
                    "seconds": round(seconds, 3), "fps": round(frames / max(seconds, 1e-6), 3),
                    **more})

    def end(self) -> None:
        """Ends the group in progress; all are safe then."""
        if self._in_group:
            self._end_group()

    @abstractmethod
    def _open(self, number: int) -> None:
        """Begins group `number`."""

    @abstractmethod
    def _write(self, made: Made) -> None:
        """Writes a frame of it."""

    @abstractmethod
    def _close(self, number: int, first: int, frames: int) -> None:
        """Ends it, with so many frames from number `first` on, and tells of it once it is safe."""

    @abstractmethod
    def complete(self) -> None:
        """Makes the output of all groups."""

    @abstractmethod
    def abandon(self) -> None:
        """Drops the group in progress."""


class Film(Output):
    """Segments in the journal's folder, joined at the end.

    An encoder works longest on what it has when it is told that no more comes. So a segment ends
    in a thread of its own, beside the frames of the next one, unless memory is short (`lean`).
    """

    def __init__(self, target: Path, encoding: Encoding, journal: Journal, *, source: VideoInfo,
                 carry: bool, whole: bool, arguments: tuple[str, ...], overwrite: bool,
                 length: int, tell: Tell, lean: bool = False):
        super().__init__(length, tell)
        self._target, self._encoding, self._journal = target, encoding, journal
        self._lean = lean
        self._source, self._whole = source if carry else None, whole
        self._arguments, self._overwrite = arguments, overwrite
        self._writer: SegmentWriter | None = None
        self._ending = Aside()
        self._known: dict[str, Content] = {}

    def _open(self, number: int) -> None:
        name = f"segment_{number:05d}.{CODECS[self._encoding.codec].segment}"
        writer = SegmentWriter(self._journal.folder / name, self._encoding, shown=self._target)
        writer.__enter__()
        self._writer = writer

    def _write(self, made: Made) -> None:
        assert self._writer is not None
        self._ending.check()
        self._writer.write(made.rgb, made.source.pts, made.source.duration)

    def _close(self, number: int, first: int, frames: int) -> None:
        writer, self._writer = self._writer, None
        noted, place = self._record, self._place
        assert writer is not None

        def end() -> None:
            writer.__exit__(None, None, None)
            assert writer.segment is not None and writer.content is not None
            record = writer.segment.record()
            path = Path(record.pop("path"))
            self._known[str(path)] = writer.content
            record.update(noted, file=path.name, bytes=path.stat().st_size)
            self._journal.add(record, place)
            self._told(number, first, frames, bytes=record["bytes"])

        try:
            self._ending.do(end)
        except BaseException:  # the segment before it has failed
            _stop(writer)
            raise
        if self._lean:
            self._ending.wait()

    def end(self) -> None:
        super().end()
        self._ending.wait()

    def complete(self) -> None:
        segments = []
        for record in self._journal.segments:
            facts = {one.name: record[one.name] for one in fields(Segment) if one.name != "path"}
            segments.append(Segment(str(self._journal.folder / record["file"]), **facts))
        self.notes += video.join(segments, self._target, self._encoding, self._source,
                                 whole=self._whole, overwrite=self._overwrite,
                                 arguments=self._arguments, known=self._known)
        self._journal.remove()

    def abandon(self) -> None:
        """Drops the segment in progress; one that is ending is kept if it ends well."""
        writer, self._writer = self._writer, None
        _stop(writer)
        with suppress(Exception):  # what has failed before is what counts
            self._ending.wait()


class Pictures(Output):
    """Pictures in a folder or by a pattern; the journal counts them."""

    def __init__(self, target: Path, journal: Journal, *, names: Callable[[int], str] | None,
                 overwrite: bool, length: int, tell: Tell, png_level: int | None = None):
        super().__init__(length, tell)
        # Pictures of no finished group may be there from the run that is continued.
        self._goes_on = journal.plan is not None
        self._target, self._journal, self._names = target, journal, names
        self._options = {"overwrite": overwrite or self._goes_on, "png_level": png_level}
        self._made_folder = not frames.is_pattern(target) and not target.exists()
        self._loose: list[Path] = []  # pictures of no finished group
        self.go_to(0)

    def go_to(self, group: int) -> None:
        super().go_to(group)
        begin, names = self._count, self._names
        shifted = None if names is None else (lambda number: names(number + begin))
        self._writer = FrameWriter(self._target, names=shifted, first=1 + begin, **self._options)
        self._begun_at = begin

    def _open(self, number: int) -> None:
        """Pictures are whole one by one."""

    def _write(self, made: Made) -> None:
        path = self._writer.path(self._count - self._begun_at)
        if self._goes_on or not path.exists():
            self._loose.append(path)
        self._writer.write(made.rgb, made.source.pts, made.source.duration)
        self.notes += tuple(one for one in self._writer.notes if one not in self.notes)

    def _close(self, number: int, first: int, frames: int) -> None:
        self._journal.add({"frames": frames, **self._record}, self._place)
        self._loose = []
        self._told(number, first, frames)

    def complete(self) -> None:
        self._journal.remove()

    def abandon(self) -> None:
        """No picture of the group in progress stays, but what has replaced another one."""
        with suppress(OSError):
            for path in self._loose:
                path.unlink(missing_ok=True)
            if self._made_folder:
                self._target.rmdir()  # unless something is in it


class Pipe(Output):
    """Standard output; nothing of it can be continued."""

    def __init__(self, writer: video.PipeWriter, *, length: int, tell: Tell):
        super().__init__(length, tell)
        self._writer: video.PipeWriter | None = None
        self._ready = writer

    def _open(self, number: int) -> None:
        if self._writer is None:
            self._writer = self._ready.__enter__()

    def _write(self, made: Made) -> None:
        assert self._writer is not None
        self._writer.write(made.rgb, made.source.pts, made.source.duration)

    def _close(self, number: int, first: int, frames: int) -> None:
        self._told(number, first, frames)

    def complete(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(None, None, None)
            self.notes += writer.notes

    def abandon(self) -> None:
        writer, self._writer = self._writer, None
        _stop(writer)


def _stop(writer: SegmentWriter | video.PipeWriter | None) -> None:
    """Ends a writer as Ctrl-C does: nothing is left of what it had begun."""
    if writer is not None:
        with suppress(KeyboardInterrupt):
            writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
