"""Stacks: files of many planes, read and written a plane at a time.

OME-TIFF, ImageJ hyperstacks, tifffile's own, LSM and the like, plain TIFF of many pages, and
NumPy's .npy. Samples are native: nothing is scaled, stretched or turned.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError, RestoreError
from restore_cli.media import axes as axis_rules
from restore_cli.media import stack_npy, stack_probe, stack_tiff
from restore_cli.media.axes import Plan
from restore_cli.media.formats import sniff
from restore_cli.media.metadata import Metadata
from restore_cli.media.stack_create import StackWriter, create_stack

__all__ = ["Stack", "StackWriter", "create_stack", "is_stack", "open_stack"]



class Stack:
    """An open stack. Planes may be read in any order, from several threads.

    Attributes:
        path: its name; None for a stream.
        form: "OME", "ImageJ", "tifffile", "pages" (plain TIFF), "NPY", or another kind's name.
        axes, shape: one letter and size a dimension, as in the file.
        dtype: of the samples, native byte order: any integer or floating type.
        plan: the arithmetic of axes, planes and volumes.
        kind: "grey", "rgb" (3 channels, or 4 with alpha) or "channels" without colour meaning.
        alpha: index of the channel that is opacity, or None.
        bits: bits a sample has in the file; 12-bit samples keep their values in 16.
        lossy: name of the lossy compression of its pages, "" when there is none.
        metadata: profile, resolution and texts of the first page.
        pages_note: one sentence on what the stack is understood to be.
        notes: what was left out or assumed, one sentence each.
    """

    def __init__(self, path: Path | None, form: str, plan: Plan, source: _TiffSource | _Array,
                 *, kind: str, alpha: int | None = None, bits: int = 0, lossy: str = "",
                 metadata: Metadata | None = None, notes: tuple[str, ...] = ()) -> None:
        self.path, self.form, self.plan, self._source = path, form, plan, source
        self.axes, self.shape, self.dtype = plan.axes, plan.shape, source.dtype
        self.kind, self.alpha, self.lossy, self.notes = kind, alpha, lossy, notes
        self.bits = bits or self.dtype.itemsize * 8
        self.metadata = metadata or Metadata()
        self._lock = threading.Lock()

    @property
    def frames(self) -> stack_tiff.TiffFrames | None:
        """The pages of a TIFF, for `create_stack`; None for an array."""
        return getattr(self._source, "frames", None)

    @property
    def channels(self) -> int:
        """Channels of a plane, alpha included."""
        return self.plan.channels

    @property
    def count(self) -> int:
        """Number of planes: the product of all axes but the channel, Y and X."""
        return self.plan.count

    @property
    def depth(self) -> int:
        """Planes of a volume, 1 without Z."""
        return self.plan.depth

    @property
    def has_z(self) -> bool:
        """Whether there is depth: more than one plane along Z."""
        return self.depth > 1

    @property
    def volumes(self) -> int:
        """Number of volumes: `count` / `depth`."""
        return self.plan.volumes

    @property
    def plane_shape(self) -> tuple[int, int, int]:
        """(C, Y, X)."""
        return self.plan.plane_shape

    @property
    def pages_note(self) -> str:
        """What the stack is understood to be, for people."""
        channels, height, width = self.plane_shape
        planes = f"{self.count} plane{'s' * (self.count > 1)} of {width}x{height}"
        if channels > 1:
            planes += f" with {channels} channels"
        return f"{planes}, axes {self.axes} of {axis_rules.show(self.shape)} ({self.form})"

    def plane(self, number: int) -> np.ndarray:
        """One plane, (C, Y, X) of the file's dtype, in memory of its own.

        Args:
            number: 0 to `count` - 1, row-major over the outer axes (see `Plan`).

        Raises:
            IndexError: no such plane.
            InputError: damaged.
        """
        key = self.plan.key(self.plan.where(number))
        with self._lock:
            part = self.plan.arrange(self._source.fetch(key))
        return np.array(part, self.dtype, order="C")

    def planes(self) -> Iterator[np.ndarray]:
        """All planes in order, one at a time."""
        return (self.plane(number) for number in range(self.count))

    def volume(self, number: int) -> np.ndarray:
        """One volume, (C, Z, Y, X) of the file's dtype.

        Args:
            number: 0 to `volumes` - 1, row-major over the outer axes without Z. Its planes are
                `plan.planes_of(number)`.

        Raises:
            IndexError: no such volume.
            InputError: damaged.
        """
        numbers = self.plan.planes_of(number)
        channels, height, width = self.plane_shape
        out = np.empty((channels, len(numbers), height, width), self.dtype)
        for z, plane in enumerate(numbers):
            out[:, z] = self.plane(plane)
        return out

    def close(self) -> None:
        """Closes the file; harmless when it is closed already."""
        self._source.close()

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Array:
    """A source that is one array."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.dtype = array.dtype.newbyteorder("=")

    def fetch(self, key: tuple[int | slice, ...]) -> np.ndarray:
        return self._array[key]

    def close(self) -> None:
        self._array = self._array[:0]


class _TiffSource:
    """A source that is the pages of a TIFF; one page stays decoded for the next plane."""

    def __init__(self, frames: stack_tiff.TiffFrames, stream: BinaryIO) -> None:
        self.frames, self._stream = frames, stream
        self.dtype = frames.dtype
        self._last: tuple[int, np.ndarray] | None = None

    def fetch(self, key: tuple[int | slice, ...]) -> np.ndarray:
        lead = len(self.frames.lead)
        numbers, along = axis_rules.frames_of(key[:lead], self.frames.lead)
        inside = key[lead:]
        parts = [self._frame(number, inside)[inside] for number in numbers]
        return np.stack(parts) if along else parts[0]

    def _frame(self, number: int, inside: tuple[int | slice, ...]) -> np.ndarray:
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        frame = self.frames.read(number)
        # Only worth keeping where a page holds several planes.
        shared = any(isinstance(part, int) for part in inside)
        self._last = (number, frame) if shared else None
        return frame

    def close(self) -> None:
        self._last = None
        self.frames.close()
        self._stream.close()


def is_stack(path: str | Path) -> bool:
    """Whether a file is for `open_stack` rather than `images.read`.

    True for a TIFF of more than one full-size page, with axes beyond Y, X and S, or with more
    samples a pixel than colour and transparency, and for every .npy file. Thumbnails, smaller
    versions and camera RAW do not count. Reads a few hundred bytes of most files; a missing or
    damaged one, and anything that is no regular file, is no stack.
    """
    try:
        if not Path(path).is_file():  # what is read from a pipe would be lost
            return False
        with Path(path).open("rb") as stream:
            head = stream.read(64)
            if head.startswith(stack_npy.MAGIC):
                return True
            return sniff(head) == "TIFF" and stack_probe.is_stack(stream, Path(path))
    except (OSError, ValueError, RestoreError):
        return False
    except Exception:  # noqa: BLE001 - tifffile raises anything on hostile files
        return False


def open_stack(source: str | Path | BinaryIO, axes: str | None = None) -> Stack:
    """Opens a stack without reading its planes.

    Args:
        source: file name, or a binary stream (read whole when it is not seekable; closed with
            the stack).
        axes: what the dimensions mean, such as "ZYX" or "tcyx", where the file does not say it or
            says it wrong. Left out: the file's own; pages without metadata are Z.

    Raises:
        UsageError: `axes` is nonsense or does not fit the shape; both are shown.
        InputError: missing, no stack format, truncated, pages of different kinds, a palette, ...
    """
    wanted = axis_rules.parse(axes) if axes else None
    stream = _opened(source)
    named = isinstance(source, (str, Path)) and not isinstance(stream, io.BytesIO)
    path = Path(source) if named else None
    try:
        head = stream.read(64)
        stream.seek(0)
        if head.startswith(stack_npy.MAGIC):
            return _open_npy(stream, path, wanted)
        if sniff(head) != "TIFF":
            raise InputError("is no TIFF and no .npy file, so it holds no stack", path=path,
                             hint="Leave out --axes for an ordinary picture" if axes else None)
        return _open_tiff(stream, path, wanted)
    except BaseException as error:
        stream.close()
        if isinstance(error, RestoreError):
            error.path = error.path or path or "-"
            raise
        if isinstance(error, MemoryError):
            raise InputError("does not fit into memory", path=path or "-") from None
        if not isinstance(error, Exception):
            raise
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"is damaged: {why}", path=path or "-") from error


def _opened(source: str | Path | BinaryIO) -> BinaryIO:
    if not isinstance(source, (str, Path)):
        return source if source.seekable() else io.BytesIO(source.read())
    path = Path(source)
    try:
        stream = path.open("rb")
        return stream if stream.seekable() else io.BytesIO(stream.read())
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except IsADirectoryError:
        raise InputError("is a folder", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be opened: {error.strerror or error}", path=path) from error


def _letters(known: str, shape: tuple[int, ...], wanted: str | None, path: Path | None,
             notes: list[str]) -> tuple[str, tuple[int, ...]]:
    """Final axes and shape, with a note on what was assumed."""
    if wanted is not None:
        return axis_rules.fit(wanted, known, shape, path)
    axes = axis_rules.named(known, shape, path)
    assumed = [letter for letter, was in zip(axes, known) if was in axis_rules.UNNAMED]
    if assumed:
        notes.append(f"the file does not name its axes: taken as {axes} "
                     f"({axis_rules.show(shape)}); --axes says otherwise")
    return axes, shape


def _open_npy(stream: BinaryIO, path: Path | None, wanted: str | None) -> Stack:
    if path is None:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    else:
        array = stack_npy.open_array(path)
    stream.close()
    notes: list[str] = []
    known = "Q" * (array.ndim - 2) + "YX"
    axes, shape = _letters(known, array.shape, wanted, path, notes)
    plan = Plan(axes, shape)
    rgb = plan.interleaved and plan.channels == 3
    kind = "rgb" if rgb else "grey" if plan.channels == 1 else "channels"
    return Stack(path, "NPY", plan, _Array(array.reshape(shape)), kind=kind, notes=tuple(notes))


def _open_tiff(stream: BinaryIO, path: Path | None, wanted: str | None) -> Stack:
    found = stack_probe.probe(stream, path)
    axes, shape = _letters(found.axes, found.shape, wanted, path, found.notes)
    frames = stack_tiff.TiffFrames(stream, path, found, axes, shape)
    try:
        plan = Plan(axes, shape)
        kind, alpha, notes = stack_tiff.colours(frames.first, plan.interleaved, plan.channels)
        bits = frames.first.bitspersample
        if bits < frames.dtype.itemsize * 8:
            notes.append(f"its samples of {bits} bits keep their values in "
                         f"{frames.dtype.itemsize * 8}")
        return Stack(path, found.form, plan, _TiffSource(frames, stream), kind=kind, alpha=alpha,
                     bits=bits, lossy=stack_tiff.lossy(frames.first),
                     metadata=stack_tiff.describe(frames), notes=(*found.notes, *notes))
    except BaseException:
        frames.close()
        raise
