"""A new stack like an open one: same axes, metadata and compression, other samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from restore_cli.errors import ShapeError, UsageError
from restore_cli.media import axes as axis_rules
from restore_cli.media import ifd, stack_npy, stack_ome, stack_probe, stack_tiff, stack_write
from restore_cli.media.atomic import atomic_path
from restore_cli.media.axes import Plan

if TYPE_CHECKING:
    from restore_cli.media.stacks import Stack

EXTENSIONS = {".tif": "TIFF", ".tiff": "TIFF", ".btf": "TIFF", ".npy": "NPY"}
_DESCRIPTION = 270
# Of a source whose form cannot be repeated: dates, authors, resolution, profile.
_GENERAL = {271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34675}


class StackWriter:
    """Takes the planes of a new stack, each once, in any order (in order is fastest).

    Attributes:
        dtype: what planes must have.
        axes: of the new file; those of the source unless a note says otherwise.
        notes: what the new file cannot keep of the old, one sentence each.
    """

    def __init__(self, like: Stack, dtype: np.dtype, sink: _TiffSink | _ArraySink) -> None:
        self._plan, self.dtype, self._sink = like.plan, dtype, sink
        self._done = np.zeros(like.count, bool)
        self.axes, self.notes = sink.plan.axes, sink.notes

    def write(self, number: int, plane: np.ndarray) -> None:
        """Writes plane `number`, (C, Y, X) of `dtype`, native byte order.

        Raises:
            ShapeError, TypeError: another shape or dtype.
            ValueError: the plane is written already.
            OSError: disk full and the like; `create_stack` makes it an OutputError.
        """
        if plane.shape != self._plan.plane_shape:
            raise ShapeError("plane", str(self._plan.plane_shape), plane.shape)
        if plane.dtype != self.dtype:
            raise TypeError(f"the plane is {plane.dtype}, the stack {self.dtype}")
        where = self._plan.where(number)
        if self._done[number]:
            raise ValueError(f"plane {number} is written already")
        self._sink.store(where, plane)
        self._done[number] = True

    def write_volume(self, number: int, volume: np.ndarray) -> None:
        """Writes all planes of volume `number`, (C, Z, Y, X)."""
        numbers = self._plan.planes_of(number)
        channels, height, width = self._plan.plane_shape
        if volume.shape != (channels, len(numbers), height, width):
            raise ShapeError("volume", str((channels, len(numbers), height, width)), volume.shape)
        for z, plane in enumerate(numbers):
            self.write(plane, volume[:, z])

    def finish(self) -> None:
        """Completes the file; `create_stack` calls it.

        Raises:
            ValueError: planes are missing.
        """
        missing = np.flatnonzero(~self._done)
        if len(missing):
            raise ValueError(f"{len(missing)} of {len(self._done)} planes were never written, "
                             f"the first is {missing[0]}")
        self._sink.finish()


@contextmanager
def create_stack(target: str | Path, like: Stack, dtype: np.dtype | type | str | None = None,
                 *, overwrite: bool = False) -> Iterator[StackWriter]:
    """Writes a stack; the file appears whole when the block ends well, or not at all.

    A TIFF made from an OME-TIFF, an ImageJ hyperstack, a tifffile or a plain TIFF is of the same
    form, and keeps axes, texts, resolution, colour meaning, tags of each page, byte order and
    compression (lossy ones become deflate). Other kinds become OME-TIFF. It is a BigTIFF when the
    source is one or it may pass 3.9 GB. Tiles become strips; smaller versions are left out.

    Args:
        target: name ending in .tif, .tiff, .btf or .npy.
        like: the open stack, which must stay open until the block ends.
        dtype: of the new samples, any integer or floating type; None is the source's (so 16-bit
            and 64-bit floating point stay what they are).
        overwrite: replace an existing file.

    Raises:
        UsageError: the name tells no stack format.
        OutputError: existing file, full disk, ...
        ValueError: the block ended with planes missing.
    """
    target = Path(target)
    form = EXTENSIONS.get(target.suffix.lower())
    if form is None:
        raise UsageError(f"a stack cannot be written as {target.suffix or 'a file without type'}",
                         path=target, hint="Use one of " + ", ".join(EXTENSIONS))
    dtype = like.dtype if dtype is None else np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise TypeError(f"a stack cannot hold {dtype}")
    with atomic_path(target, overwrite=overwrite) as temporary:
        if form == "NPY":
            sink = _ArraySink(temporary, like.plan, dtype, like.frames is not None)
            try:
                writer = StackWriter(like, dtype, sink)
                yield writer
                writer.finish()
            finally:
                sink.close()
            return
        with open(temporary, "r+b") as stream:
            writer = StackWriter(like, dtype, _tiff_sink(stream, like, dtype))
            yield writer
            writer.finish()


class _ArraySink:
    """A .npy file."""

    def __init__(self, path: Path, plan: Plan, dtype: np.dtype, tagged: bool) -> None:
        self.plan = plan
        self._array: np.memmap | None = stack_npy.create_array(path, plan.shape, dtype)
        self.notes = ("a .npy file holds no metadata",) if tagged else ()

    def store(self, where: dict[str, int], plane: np.ndarray) -> None:
        self._array[self.plan.key(where)] = self.plan.restore(plane)

    def finish(self) -> None:
        self._array.flush()

    def close(self) -> None:
        self._array = None


@dataclass
class _TiffSink:
    """A TIFF: planes become pages.

    Attributes:
        plan: axes of the new file.
        inside: how many of them lie in a page.
        stack: the file.
        tags: directory of the source for a page of the new file.
    """

    plan: Plan
    inside: int
    stack: stack_write.TiffStack
    look: stack_write.Look
    tags: object
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._open: dict[int, tuple[np.ndarray, int]] = {}
        self._lead = self.plan.shape[:-self.inside]
        # Planes that share a page, when a page's samples are depth or time.
        self._shared = prod(self.plan.sizes[letter] for letter in self.plan.axes[-self.inside:]
                            if letter in self.plan.outer)

    def store(self, where: dict[str, int], plane: np.ndarray) -> None:
        key = self.plan.key(where)
        part = self.plan.restore(plane)
        at = len(self._lead)
        numbers, along = axis_rules.frames_of(key[:at], self._lead)
        for i, number in enumerate(numbers):
            self._part(number, key[at:], part[i] if along else part)

    def _part(self, number: int, inside: tuple[int | slice, ...], part: np.ndarray) -> None:
        if self._shared == 1:
            self.stack.put(number, part.reshape(self.look.shape))
            return
        frame, left = self._open.pop(number, (None, self._shared))
        if frame is None:
            frame = np.empty(self.plan.shape[-self.inside:], self.look.dtype)
        frame[inside] = part
        if left > 1:
            self._open[number] = (frame, left - 1)
        else:
            self.stack.put(number, frame.reshape(self.look.shape))

    def finish(self) -> None:
        self.stack.finish(self.tags)


def _tiff_sink(stream: BinaryIO, like: Stack, dtype: np.dtype) -> _TiffSink:
    frames = like.frames
    if frames is not None and like.form in stack_probe.COPIED and frames.first.shaped[1] == 1:
        xml = None
        if like.form == "OME":
            xml = stack_ome.corrected(frames.xml() or "", frames.count, dtype,
                                      dtype == like.dtype)
        if like.form != "OME" or xml is not None:
            return _copy(stream, like, frames, dtype, xml)
    return _fresh(stream, like, frames, dtype)


def _storage(frames: stack_tiff.TiffFrames | None, dtype: np.dtype) -> dict:
    if frames is None:
        return {}
    page = frames.first
    compression, predictor = stack_write.repeatable(int(page.compression), int(page.predictor),
                                                    dtype)
    photometric = int(page.photometric)
    return {"compression": compression, "predictor": predictor, "order": frames.order,
            "big": frames.big, "photometric": 2 if photometric == 6 else photometric}


def _copy(stream: BinaryIO, like: Stack, frames: stack_tiff.TiffFrames, dtype: np.dtype,
          xml: str | None) -> _TiffSink:
    """A file of the source's own form: page for page, with the source's tags."""
    separate, _, height, width, samples = frames.first.shaped
    shape = (separate, height, width) if separate > 1 else (height, width) + (samples,) * (
        samples > 1)
    axes = "SYX" if separate > 1 else "YXS"[:len(shape)]
    look = stack_write.Look(frames.count, shape, axes, dtype, **_storage(frames, dtype))

    def tags(number: int) -> ifd.Directory | None:
        found = frames.tags(number)
        if xml is not None and number == 0:
            found = found or ifd.Directory(frames.order)
            found.entries[_DESCRIPTION] = _text(xml)
        elif found is not None and xml is not None and found.text(_DESCRIPTION)[:4] in (
                "<?xm", "<OME"):
            del found.entries[_DESCRIPTION]
        elif found is not None and like.form == "tifffile" and _DESCRIPTION in found.entries:
            found.entries[_DESCRIPTION] = _text(
                stack_ome.whole_shaped(found.text(_DESCRIPTION)))
        return found

    return _TiffSink(like.plan, len(frames.shape), stack_write.TiffStack(stream, look), look, tags,
                     _lossless(like))


def _fresh(stream: BinaryIO, like: Stack, frames: stack_tiff.TiffFrames | None, dtype: np.dtype
           ) -> _TiffSink:
    """An OME-TIFF that says the axes of a source whose own way of saying them is not written."""
    plan = like.plan
    sizes = dict(plan.sizes)
    axes = "".join(letter for letter in plan.axes if letter not in "YXS") + "YX"
    rgb = like.kind == "rgb"
    if rgb and plan.channel == "C":
        axes, sizes["S"] = axes.replace("C", ""), sizes["C"]
    if "S" in sizes:
        axes += "S"
    shape = tuple(sizes[letter] for letter in axes)
    inside = 3 if "S" in sizes else 2
    storage = {**_storage(frames, dtype), "photometric": 2 if rgb else 1}
    look = stack_write.Look(prod(shape[:-inside]), shape[-inside:], axes[-inside:], dtype,
                            **storage)
    text = stack_ome.fresh(axes, shape, dtype)

    def tags(number: int) -> ifd.Directory | None:
        if number:
            return None
        found = frames.tags(0) if frames else None
        kept = {tag: entry for tag, entry in found.entries.items() if tag in _GENERAL} \
            if found else {}
        return ifd.Directory(look.order, {**kept, _DESCRIPTION: _text(text)})

    notes = (f"a {like.form} file is written as OME-TIFF with axes {axes}",)
    notes += _lossless(like)
    return _TiffSink(Plan(axes, shape), inside, stack_write.TiffStack(stream, look), look, tags,
                     notes)


def _lossless(like: Stack) -> tuple[str, ...]:
    return (f"its {like.lossy} compression is not repeated: deflate",) if like.lossy else ()


def _text(words: str) -> ifd.Entry:
    raw = words.encode("utf-8") + b"\0"
    return ifd.Entry(2, len(raw), raw)
