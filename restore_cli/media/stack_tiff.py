"""Multi-dimensional TIFF in: what its axes are, and its pages one by one."""

from __future__ import annotations

import logging
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError, RestoreError
from restore_cli.media import axes as axis_rules
from restore_cli.media import exif, ifd, limits, stack_pages
from restore_cli.media.formats import RAW_EXTENSIONS
from restore_cli.media.metadata import Metadata
from restore_cli.media.tiff import TEXTS

logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Kinds whose metadata tifffile turns into axes, by the name of its flag, and what people call
# them. Everything else is a plain sequence of pages.
_KINDS = {"shaped": "tifffile", "lsm": "LSM", "mmstack": "Micro-Manager", "ome": "OME",
          "imagej": "ImageJ", "ndtiff": "NDTiff", "fluoview": "FluoView", "stk": "MetaMorph",
          "scanimage": "ScanImage", "svs": "SVS", "scn": "SCN", "qpi": "QPI", "ndpi": "NDPI",
          "bif": "BIF", "philips": "Philips", "eer": "EER"}
# Forms whose directories can be copied to a new file and mean the same there.
COPIED = ("OME", "ImageJ", "tifffile", "pages")
_SLIDES = ("svs", "scn", "qpi", "ndpi", "bif", "philips")
_RGB, _PALETTE, _YCBCR, _CIELAB, _CFA, _LINEAR_RAW = 2, 3, 6, 8, 32803, 34892
_DNG_VERSION = 50706
_LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
          34892: "JPEG", 33007: "JPEG", 34927: "WebP", 50001: "WebP", 34887: "LERC"}
_JPEGS = (6, 7, 34892, 33007)
_MEANINGLESS = ("ImageJ=", "<?xml", "<OME", "{\"shape\"", "SCANIMAGE", "shape=", "SCIFIO=")


@dataclass
class Found:
    """What a file turned out to hold, before the user's axes are applied.

    Attributes:
        form: "OME", "ImageJ", "tifffile", "pages", or the name of another kind.
        axes, shape: one letter and size a dimension; unnamed axes are still Q or I.
        offsets: directory of each frame, a frame being the picture of one page; one offset only
            when the frames follow each other at `data` without directories.
        files: the file of each frame when there are several, else empty.
        data: where uncompressed frames start that lie one after the other, else None.
        notes: what was left out, one sentence each.
    """

    form: str
    axes: str
    shape: tuple[int, ...]
    offsets: list[int]
    files: list[str] = field(default_factory=list)
    data: int | None = None
    notes: list[str] = field(default_factory=list)


def probe(stream: BinaryIO, path: Path | None) -> Found:
    """Finds the axes and pages of a TIFF and checks that all are there and alike.

    Args:
        stream: seekable; `path` is its name, None when it has none.

    Raises:
        InputError: truncated, pages of different kinds, planes missing, a camera's RAW file.
    """
    import tifffile

    pages = list(stack_pages.walk(stream, path))
    stream.seek(0)
    with tifffile.TiffFile(path or stream) as file:
        first = file.pages.first
        if _DNG_VERSION in first.tags or path and path.suffix.lower() in RAW_EXTENSIONS:
            raise InputError("is a camera RAW file", path=path, hint="Develop it to TIFF first")
        kind = next((kind for kind in _KINDS if getattr(file, "is_" + kind, False)), "")
        found = _from_series(file, kind, pages, path) if kind else None
        if found is None:
            found = _from_pages(file, pages, path)
            if kind and kind != "shaped":
                found.notes.append(f"its {_KINDS[kind]} metadata do not fit its pages: "
                                   "not used")
    if any(page.children for page in pages):
        found.notes.append("the smaller versions of its pages (a pyramid) are left out")
    return found


def _from_pages(file, pages: list[stack_pages.Page], path: Path | None) -> Found:
    """A plain file: every full-size page is one step of an axis without a name."""
    numbers = [i for i, page in enumerate(pages) if not page.reduced] or [0]
    chosen = [pages[i] for i in numbers]
    stack_pages.alike(chosen, numbers, path)
    first = file.pages[numbers[0]].aspage()
    many = len(chosen) > 1
    found = Found("pages", "I" * many + first.axes, (len(chosen),) * many + first.shape,
                  [page.offset for page in chosen])
    _left_out(found, len(pages) - len(chosen), "page", "thumbnails, masks or smaller versions")
    return found


def _left_out(found: Found, count: int, what: str, why: str) -> None:
    if count:
        found.notes.append(f"{count} {what}{'s' * (count > 1)} left out ({why})")


def _from_series(file, kind: str, pages: list[stack_pages.Page], path: Path | None
                 ) -> Found | None:
    """A file whose metadata say its axes; None when they are nonsense."""
    every = file.series
    if not every or every[0].kind != kind:
        _declared(file, kind, pages, path)
        return None
    series = every[0]
    if kind == "shaped" and len(every) > 1 and all(
            one.shape == series.shape and one.dtype == series.dtype and len(one) == 1
            for one in every):
        return None  # pages written one at a time are one stack, not one stack each
    if series.transform is not None:
        raise InputError(f"is a {_KINDS[kind]} file in an encoding that is not supported",
                         path=path)
    frame = series.keyframe
    inside = _inside(series.axes, series.shape, frame.size)
    if not inside:
        raise InputError(f"has pages of {axis_rules.show(frame.shape)}, which are no part of its "
                         f"shape {axis_rules.show(series.shape)} ({series.axes})", path=path)
    count = math.prod(series.shape[:-inside])
    found = Found(_KINDS[kind], series.axes, tuple(series.shape), [])
    plain = frame.compression == 1 and frame.is_contiguous and frame.predictor == 1 \
        and frame.fillorder == 1 and frame.bitspersample == series.dtype.itemsize * 8
    if not series.is_multifile and plain:
        found.data = series.dataoffset
    held = [series[i] for i in range(min(count, len(series)))] if found.data is None else []
    if found.data is None:
        missing = [i for i, page in enumerate(held) if page is None]
        if missing or len(held) < count:
            raise InputError(f"misses {count - len(held) + len(missing)} of the {count} pages that "
                             f"its {_KINDS[kind]} metadata name, the first is page "
                             f"{(missing or [len(held)])[0] + 1}", path=path,
                             hint="Keep all files of the series together"
                             if series.is_multifile or kind == "ome" else None)
        found.offsets = [page.offset for page in held]
    else:
        found.offsets = [pages[i].offset for i in range(count)] \
            if len(pages) >= count else [series.keyframe.offset]
    if series.is_multifile:
        found.files = [page.parent.filehandle.path for page in held]
        found.notes.append(f"{len(set(found.files))} files make up the stack")
    elif held:
        by_offset = {page.offset: i for i, page in enumerate(pages)}
        numbers = [by_offset[offset] for offset in found.offsets if offset in by_offset]
        stack_pages.alike([pages[i] for i in numbers], numbers, path)
    if len(series.levels) > 1 and not any(page.children for page in pages):
        found.notes.append("the smaller versions of its pages (a pyramid) are left out")
    _left_out(found, len(every) - 1, "further image", "only the first of a file is used")
    return found


def _inside(axes: str, shape: tuple[int, ...], size: int) -> int:
    """How many trailing dimensions make one page of `size` samples; 0 when none do."""
    fitting = [count for count in range(2, len(shape) + 1) if math.prod(shape[-count:]) == size]
    # Axes of length 1 leave a choice: Y and X belong to the page.
    whole = [count for count in fitting if {"Y", "X"} <= set(axes[-count:])]
    return (whole or fitting or [0])[0]


def _declared(file, kind: str, pages: list[stack_pages.Page], path: Path | None) -> None:
    """Refuses a file that holds less than its metadata promise."""
    wanted = 0
    if kind == "imagej":
        found = file.imagej_metadata or {}
        wanted = math.prod(max(1, int(found.get(name, 1)))
                           for name in ("frames", "slices", "channels"))
        wanted = max(wanted, int(found.get("images", 1)))
    if wanted > len(pages) * max(1, pages[0].samples):
        raise InputError(f"is truncated or damaged: it says {wanted} planes and holds "
                         f"{len(pages)}", path=path)


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
            inside = _inside(axes, shape, math.prod(self.first.shaped))
            if not inside:
                raise InputError(f"has pages of {axis_rules.show(self.first.shape)}, which are no "
                                 f"part of its shape {axis_rules.show(shape)}", path=path)
            self.lead, self.shape = shape[:-inside], shape[-inside:]
            if {"Y", "X"} - set(axes[-inside:]):
                raise InputError(f"has pages of {axes[-inside:]} (its axes are {axes}), but a page "
                                 "of a TIFF must hold both Y and X", path=path,
                                 hint="Store it as .npy, or with Y and X last")
            limits.check(self.first.imagewidth, self.first.imagelength, 1, path)
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
        except (RestoreError, MemoryError):
            raise
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
        if self._found.files and self._path and self._found.files[0] != str(self._path.resolve()):
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


def is_stack(stream: BinaryIO, path: Path | None) -> bool:
    """Whether a TIFF has several full-size pages, axes beyond Y, X and S, or many samples."""
    import tifffile

    full = total = 0
    for page in stack_pages.walk(stream, path):
        full += not page.reduced
        total += 1
        if full > 1:
            break
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        first = file.pages.first
        if _DNG_VERSION in first.tags or path and path.suffix.lower() in RAW_EXTENSIONS:
            return False
        if any(getattr(file, "is_" + kind, False) for kind in _SLIDES):
            return False
        colour = 3 if int(first.photometric) in (_RGB, _YCBCR) else 1
        # More samples than `images.read` keeps: colour and transparency.
        many = int(first.photometric) in (0, 1, _RGB) and first.samplesperpixel > colour + 1
        if full > 1 or many or first.imagedepth > 1:
            return True
        if not any(getattr(file, "is_" + kind, False) for kind in _KINDS):
            return False
        series = file.series
        return bool(series) and any(size > 1 and letter not in "YXS" for letter, size
                                    in zip(series[0].axes, series[0].shape))
