"""What a multi-dimensional TIFF holds: its kind, its axes, and where its pages are."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import InputError
from restore_cli.media import axes as axis_rules
from restore_cli.media import stack_pages
from restore_cli.media.formats import RAW_EXTENSIONS

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
_RGB, _YCBCR = 2, 6
_DNG_VERSION = 50706


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
    if kind == "shaped" and len(every) > 1 and all(len(one) == 1 for one in every):
        return None  # pages written one at a time are one stack (or uneven), not one stack each
    if series.transform is not None:
        raise InputError(f"is a {_KINDS[kind]} file in an encoding that is not supported",
                         path=path)
    frame = series.keyframe
    in_page = inside(series.axes, series.shape, frame.size)
    if not in_page:
        raise InputError(f"has pages of {axis_rules.show(frame.shape)}, which are no part of its "
                         f"shape {axis_rules.show(series.shape)} ({series.axes})", path=path)
    count = math.prod(series.shape[:-in_page])
    found = Found(_KINDS[kind], series.axes, tuple(series.shape), [])
    plain = frame.compression == 1 and frame.is_contiguous and frame.predictor == 1 \
        and frame.fillorder == 1 and frame.bitspersample == series.dtype.itemsize * 8
    if not series.is_multifile and plain:
        found.data = series.dataoffset
    held = [series[i] for i in range(min(count, len(series)))] if found.data is None else []
    if found.data is not None:
        # A stack of one directory has no others to copy tags from.
        start = frame.index if isinstance(frame.index, int) else 0
        found.offsets = [page.offset for page in pages[start:start + count]]
        found.offsets = found.offsets if len(found.offsets) == count else [frame.offset]
    else:
        missing = [i for i, page in enumerate(held) if page is None]
        if missing or len(held) < count:
            raise InputError(f"misses {count - len(held) + len(missing)} of the {count} pages that "
                             f"its {_KINDS[kind]} metadata name, the first is page "
                             f"{(missing or [len(held)])[0] + 1}", path=path,
                             hint="Keep all files of the series together"
                             if series.is_multifile or kind == "ome" else None)
        found.offsets = [page.offset for page in held]
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


def inside(axes: str, shape: tuple[int, ...], size: int) -> int:
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
