"""The pages of a multi-dimensional TIFF one by one, and what their samples mean."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError, RestoreError
from restore_cli.media import axes as axis_rules
from restore_cli.media import exif, ifd, limits
from restore_cli.media.metadata import Metadata
from restore_cli.media.stack_probe import Found, inside
from restore_cli.media.tiff import TEXTS

_RGB, _PALETTE, _YCBCR, _CIELAB, _CFA, _LINEAR_RAW = 2, 3, 6, 8, 32803, 34892
_LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
          34892: "JPEG", 33007: "JPEG", 34927: "WebP", 50001: "WebP", 34887: "LERC"}
_JPEGS = (6, 7, 34892, 33007)
_MEANINGLESS = ("ImageJ=", "<?xml", "<OME", "{\"shape\"", "SCANIMAGE", "shape=", "SCIFIO=")


class TiffFrames:
    """The frames of a stack, decoded one at a time as the file stores them.

    Attributes:
        lead: sizes of the axes that run over frames.
        shape: shape of one frame: the axes inside a page.
        dtype: of the samples, native byte order.
        first: the first frame's `tifffile.TiffPage`.

    Raises:
        InputError: Y or X runs over the pages, or the samples are no picture of noise.
    """

    def __init__(self, stream: BinaryIO, path: Path | None, found: Found, axes: str,
                 shape: tuple[int, ...]) -> None:
        import tifffile

        self._stream, self._path, self._found = stream, path, found
        stream.seek(0)
        self._file = tifffile.TiffFile(path or stream)
        self._others: dict[str, tifffile.TiffFile] = {}
        try:
            self._size = stream.seek(0, 2)
            self.first = self.page(0)
            _refuse(self.first, path)
            self.dtype = np.dtype(self.first.dtype).newbyteorder("=")
            in_page = inside(axes, shape, math.prod(self.first.shaped))
            if not in_page:
                raise InputError(f"has pages of {axis_rules.show(self.first.shape)}, which are no "
                                 f"part of its shape {axis_rules.show(shape)}", path=path)
            self.lead, self.shape = shape[:-in_page], shape[-in_page:]
            if {"Y", "X"} - set(axes[-in_page:]):
                raise InputError(f"has pages of {axes[-in_page:]} (its axes are {axes}), but a "
                                 "page of a TIFF must hold both Y and X", path=path,
                                 hint="Store it as .npy, or with Y and X last")
            limits.check(self.first.imagewidth, self.first.imagelength,
                         2 * self.first.samplesperpixel * self.dtype.itemsize, path)
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """Number of frames."""
        return math.prod(self.lead)

    def _check(self) -> None:
        if self._found.data is not None:
            length = self.count * math.prod(self.shape) * self.dtype.itemsize
            if self._found.data + length > self._size:
                raise InputError("is truncated: the last pages are missing", path=self._path)
        else:
            self._whole(self.first, 0)
            self._whole(self.page(self.count - 1), self.count - 1)

    def _whole(self, page, number: int) -> None:
        size = page.parent.filehandle.size
        for start, length in zip(page.dataoffsets, page.databytecounts):
            if start + length > size:
                raise InputError(f"is truncated: page {number + 1} ends behind the file",
                                 path=self._path)

    def page(self, number: int):
        """The `tifffile.TiffPage` of a frame."""
        import tifffile

        file = self._file
        if self._found.files:
            name = self._found.files[number]
            if name not in self._others:
                self._others[name] = tifffile.TiffFile(name, _multifile=False)
            file = self._others[name]
        file.filehandle.seek(self._found.offsets[number])
        return tifffile.TiffPage(file, number)

    def read(self, number: int) -> np.ndarray:
        """One frame, in its own array of native byte order.

        Raises:
            InputError: damaged.
        """
        try:
            if self._found.data is not None:
                return self._plain(number)
            page = self.page(number)
            self._whole(page, number)
            if math.prod(page.shaped) != math.prod(self.shape):
                raise InputError(f"page {number + 1} is {axis_rules.show(page.shape)}, the first "
                                 f"is {axis_rules.show(self.first.shape)}", path=self._path)
            return page.asarray(squeeze=False).reshape(self.shape).astype(self.dtype, copy=False)
        except RestoreError:
            raise
        except MemoryError:
            raise InputError(f"page {number + 1} does not fit into memory",
                             path=self._path) from None
        except Exception as error:  # decoders raise anything on hostile files
            raise InputError(f"page {number + 1} is damaged: {str(error)[:160]}",
                             path=self._path) from error

    def _plain(self, number: int) -> np.ndarray:
        count = math.prod(self.shape)
        stored = self.dtype.newbyteorder(self._file.byteorder)
        self._stream.seek(self._found.data + number * count * stored.itemsize)
        frame = np.empty(self.shape, stored)
        if self._stream.readinto(memoryview(frame.reshape(-1)).cast("B")) != frame.nbytes:
            raise InputError(f"is truncated: page {number + 1} is cut off", path=self._path)
        return frame.astype(self.dtype, copy=False)

    def tags(self, number: int) -> ifd.Directory | None:
        """The directory of a frame; None when it has none of its own or lies in another file."""
        if number >= len(self._found.offsets) or number and self._found.files:
            return None
        order, _, big = ifd.header(self._stream)
        if self._found.files and not os.path.samefile(self._found.files[0], self._path):
            return None
        try:
            return ifd.read(self._stream, order, self._found.offsets[number], big)
        except (ValueError, struct.error, OverflowError):
            return None

    @property
    def order(self) -> str:
        """Byte order of the file, "<" or ">"."""
        return self._file.byteorder

    @property
    def big(self) -> bool:
        """Whether it is a BigTIFF."""
        return self._file.is_bigtiff

    def xml(self) -> str | None:
        """The OME-XML, when there is one."""
        return self._file.ome_metadata

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, *self._others.values()):
            file.close()


def _refuse(page, path: Path | None) -> None:
    meaning = int(page.photometric)
    if meaning == _PALETTE:
        raise InputError("has pages with a colour palette, whose numbers are no brightness",
                         path=path, hint="Convert it to RGB or grey first")
    if meaning == _CIELAB:
        raise InputError("has pages in LAB colours, which is not supported", path=path,
                         hint="Convert it to RGB first")
    if meaning in (_CFA, _LINEAR_RAW):
        raise InputError("is a camera RAW file", path=path, hint="Develop it to TIFF first")
    if meaning == _YCBCR and int(page.compression) not in _JPEGS:
        raise InputError("has pages in YCbCr colours, which is not supported", path=path,
                         hint="Convert it to RGB first")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise InputError(f"has samples of type {page.dtype}, which are no picture with noise",
                         path=path, hint="Convert it to 8 or 16 bits or floating point")


def colours(page, interleaved: bool, channels: int) -> tuple[str, int | None, list[str]]:
    """What the samples of a page mean.

    Returns:
        ("grey", "rgb" or "channels", index of the alpha channel or None, notes).
    """
    if not interleaved or channels != page.samplesperpixel:
        return ("grey" if channels == 1 else "channels"), None, []
    kinds = [int(kind) for kind in page.extrasamples or ()]
    rgb = int(page.photometric) in (_RGB, _YCBCR)
    colour = channels - len(kinds)
    alpha = next((colour + i for i, kind in enumerate(kinds) if kind in (1, 2)), None)
    notes = []
    if alpha is None and rgb and channels == 4:
        alpha = 3
        notes.append("an extra channel of unstated meaning is taken as transparency")
    if rgb and channels in (3, 4):
        return "rgb", alpha, notes
    return ("grey" if channels - (alpha is not None) == 1 else "channels"), alpha, notes


def describe(frames: TiffFrames) -> Metadata:
    """Profile, resolution and texts of the first page."""
    main = frames.tags(0)
    if main is None:
        return Metadata()
    text = {name: main.text(tag) for tag, name in TEXTS.items()}
    if text["Description"].startswith(_MEANINGLESS):
        text["Description"] = ""
    blocks = {tag: main.entries[tag].value for tag in (700, 34675) if tag in main.entries}
    return Metadata(icc=blocks.get(34675) or None, xmp=blocks.get(700) or None,
                    dpi=exif.dpi(main), text={name: words for name, words in text.items() if words})


def lossy(page) -> str:
    """The lossy compression of a page, "" when there is none."""
    return _LOSSY.get(int(page.compression), "")
