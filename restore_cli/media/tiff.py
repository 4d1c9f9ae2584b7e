"""TIFF in: any depth, layout and byte order that has a meaning as a picture."""

from __future__ import annotations

import logging
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import exif, ifd, limits, profiles, samples
from restore_cli.media.formats import RAW_EXTENSIONS
from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints become ours

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_RAW = {32803, 34892}
_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
_DNG_VERSION, _ICC, _XMP, _ORIENTATION = 50706, 34675, 700, 274
_MAPPED = 64 << 20  # uncompressed files above this are read through the file system's cache
TEXTS = {270: "Description", 269: "Title", 305: "Software", 315: "Author", 33432: "Copyright"}
# Descriptions that state the old size or layout and would lie about a new picture.
_STRUCTURAL = ("ImageJ=", "<?xml", "{\"shape\"", "SCANIMAGE", "shape=")


def read(stream: BinaryIO, path: str | Path, max_pixels: int | None = None, page: int = 0
         ) -> tuple[Image, int]:
    """Decodes one page of a TIFF.

    Args:
        page: which full-size page, from 0; thumbnails and masks do not count.

    Returns:
        The image as stored, and its orientation.

    Raises:
        InputError, ValueError, struct.error and whatever the decoders raise on damaged data.
    """
    import tifffile

    main = _directory(stream, 0)
    with tifffile.TiffFile(stream) as file:
        pages = [one for one in file.pages if not int(getattr(one, "subfiletype", 0) or 0) & 5]
        pages = pages or [file.pages[0]]
        if not 0 <= page < len(pages):
            raise InputError(f"has {len(pages)} pages, page {page + 1} does not exist", path=path)
        chosen = pages[page]
        chosen = chosen if isinstance(chosen, tifffile.TiffPage) else chosen.aspage()
        if _is_raw(stream, main, path):
            raise InputError("is a camera RAW file", path=path,
                             hint="Develop it to TIFF first")
        _refuse(chosen, path)
        if page:
            main = _directory(stream, chosen.offset)
        _check_size(chosen, path, max_pixels)
        notes = []
        count = max(len(pages), _hyperstack(file))
        if count > 1:
            notes.append(f"{count} pages: only page {page + 1} is used")
        icc = _bytes(main, _ICC)
        raw = _decode(chosen, stream, path)
        pixels, icc = _picture(raw, chosen, icc, notes, path)
        orientation = main.numbers(_ORIENTATION)
        bits = chosen.bitspersample
    metadata, _ = _metadata(main, icc).upright()
    turned = int(orientation[0]) if orientation and 1 <= orientation[0] <= 8 else 1
    return Image(pixels, metadata=metadata, format="TIFF", bits=bits, notes=tuple(notes)), turned


def _directory(stream: BinaryIO, offset: int) -> ifd.Directory:
    order, first, big = ifd.header(stream)
    found = ifd.read(stream, order, offset or first, big)
    stream.seek(0)
    return found


def _is_raw(stream: BinaryIO, main: ifd.Directory, path: str | Path) -> bool:
    if _DNG_VERSION in main.entries or Path(path).suffix.lower() in RAW_EXTENSIONS:
        return True
    order, _, big = ifd.header(stream)
    for offset in (None, *main.numbers(_SUB_DIRECTORIES)[:16]):
        try:
            place = main if offset is None else ifd.read(stream, order, int(offset), big)
        except (ValueError, struct.error, OverflowError):
            continue
        if _RAW.intersection(place.numbers(_PHOTOMETRIC)):
            return True
    return False


def _refuse(page, path: str | Path) -> None:
    if page.imagedepth > 1 or len(page.shape) not in (2, 3):
        raise InputError(f"has axes {page.axes} of shape {page.shape}, not one picture", path=path)
    if page.dtype is None or page.dtype.kind not in "buif":
        raise InputError(f"has samples of type {page.dtype}, which are no picture", path=path)


def _check_size(page, path: str | Path, max_pixels: int | None) -> None:
    sample = page.dtype.itemsize
    extra = sample if sample <= 4 else 4 + sample
    limits.check(page.imagewidth, page.imagelength, page.samplesperpixel * extra, path, max_pixels)


def _hyperstack(file) -> int:
    found = file.imagej_metadata if file.is_imagej else None
    return int((found or {}).get("images", 1))


def _decode(page, stream: BinaryIO, path: str | Path) -> np.ndarray:
    """The page's samples as stored, (H, W, C); memory-mapped when large and plain."""
    if page.photometric == _YCBCR and int(page.compression) not in _JPEGS:
        return _by_libtiff(stream, page, ValueError("uncompressed YCbCr"))
    plain = page.is_memmappable and page.dtype.isnative and page.nbytes >= _MAPPED
    if plain and page.parent.byteorder == _NATIVE and isinstance(path, Path):
        if path.stat().st_size < page.dataoffsets[0] + page.nbytes:
            raise InputError("is truncated", path=path)
        raw = np.memmap(path, page.dtype, "r", page.dataoffsets[0], page.shape)
    else:
        try:
            raw = page.asarray()
        except (ValueError, NotImplementedError) as error:
            raw = _by_libtiff(stream, page, error)
    if raw.ndim == 2:
        return raw[:, :, None]
    return np.moveaxis(raw, 0, 2) if page.axes.startswith("S") else raw


_JPEGS = (6, 7)
_NATIVE = "<" if sys.byteorder == "little" else ">"


def _by_libtiff(stream: BinaryIO, page, error: Exception) -> np.ndarray:
    # Fax and old JPEG compressions that tifffile leaves to others.
    from PIL import Image as Pillow

    if page.index or "truncated" in str(error) or "failed to read" in str(error):
        raise error
    stream.seek(0)
    try:
        with Pillow.open(stream, formats=("TIFF",)) as picture:
            raw = np.array(picture)
    except (OSError, SyntaxError, ValueError):
        raise error from None
    if raw.shape[:2] != (page.imagelength, page.imagewidth) or page.photometric in (0, 3):
        raise error
    return raw


def _picture(raw: np.ndarray, page, icc: bytes | None, notes: list[str], path: str | Path
             ) -> tuple[np.ndarray, bytes | None]:
    """Samples as stored, turned into grey or RGB with or without alpha."""
    meaning = int(page.photometric)
    if meaning == _PALETTE:
        return _palette(raw, page), icc
    if raw.shape[2] == 1 and raw.dtype != bool and page.bitspersample not in (8, 16, 32, 64):
        raw = _widened(raw, page.bitspersample)
    raw = _depth(raw, notes, path)
    if meaning == _WHITE_IS_ZERO:
        raw = (1 - raw) if raw.dtype.kind == "f" else np.iinfo(raw.dtype).max - raw
    expected = {_RGB: 3, _YCBCR: 3, _LAB: 3, _CMYK: 4}.get(meaning, 1)
    if raw.shape[2] < expected:
        raise InputError(f"has {raw.shape[2]} channels where its colour space needs {expected}",
                         path=path)
    color, extra = raw[:, :, :expected], raw[:, :, expected:]
    if meaning == _CMYK:
        if raw.dtype.kind == "f":
            raise InputError("is CMYK in floating point, which has no agreed meaning", path=path)
        color, icc, said = profiles.cmyk(color, icc)
        notes.append(said)
    elif meaning == _LAB:
        color, icc = _lab(raw, path), None
        notes.append("LAB converted to sRGB")
    elif meaning not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR):
        raise InputError(f"has the colour space {page.photometric!s}, which is not supported",
                         path=path)
    return _with_alpha(color, extra, page, notes), icc


def _with_alpha(color: np.ndarray, extra: np.ndarray, page, notes: list[str]) -> np.ndarray:
    if not extra.shape[2]:
        return color if isinstance(color, np.memmap) else np.ascontiguousarray(color)
    kinds = [int(kind) for kind in (page.extrasamples or ())]
    kinds += [0] * (extra.shape[2] - len(kinds))
    chosen = next((i for i, kind in enumerate(kinds) if kind in (1, 2)), None)
    if chosen is None and np.any(extra[:, :, 0]):
        chosen = 0
        notes.append("an extra channel of unstated meaning is taken as transparency")
    dropped = extra.shape[2] - (chosen is not None)
    if dropped:
        notes.append(f"{dropped} extra channel{'s' * (dropped > 1)} left out")
    if chosen is None:
        return np.ascontiguousarray(color)
    alpha = extra[:, :, chosen:chosen + 1]
    if kinds[chosen] == 1:
        color = _unpremultiplied(color, alpha)
    return np.concatenate((color, alpha), axis=2)


def _unpremultiplied(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    out = np.empty(color.shape, color.dtype)
    for part in samples.row_windows(color.shape):
        values, opacity = samples.to_float(color[part]), samples.to_float(alpha[part])
        values /= np.where(opacity > 0, opacity, 1)
        samples.from_float(values, color.dtype, out[part])
    return out


def _palette(raw: np.ndarray, page) -> np.ndarray:
    table = np.asarray(page.colormap, np.uint16).T  # (entries, 3), 16 bits each
    if np.array_equal(table, (table >> 8) * 257) or not np.any(table & 255):
        table = (table >> 8).astype(np.uint8)
    elif table.max() < 256:  # written by programs that forget to scale
        table = table.astype(np.uint8)
    index = np.asarray(raw[:, :, 0])
    if index.max() >= len(table):
        raise ValueError("a palette index is out of range")
    return table[index]


def _widened(raw: np.ndarray, bits: int) -> np.ndarray:
    """Samples of 2 to 31 bits stretched to the full range of the next depth."""
    if raw.dtype.kind != "u" or bits > 16:
        return raw
    top, full = (1 << bits) - 1, np.iinfo(raw.dtype).max
    out = np.empty(raw.shape, raw.dtype)
    for part in samples.row_windows(raw.shape):
        out[part] = (raw[part].astype(np.uint32) * full + top // 2) // top
    return out


def _depth(raw: np.ndarray, notes: list[str], path: str | Path) -> np.ndarray:
    """The array in one of the three depths of an Image, native byte order."""
    if not raw.dtype.isnative:
        raw = raw.astype(raw.dtype.newbyteorder("="))
    kind, size = raw.dtype.kind, raw.dtype.itemsize
    if kind == "b":
        return raw.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size <= 2 or raw.dtype == np.float32:
        return raw
    if kind == "f":
        if size == 8:
            notes.append("64-bit floating point is worked on in 32 bits")
        return raw.astype(np.float32)
    if kind == "i" and raw.min() < 0:
        raise InputError("has negative integer samples, whose scale is not stated", path=path,
                         hint="Convert it to floating-point TIFF first")
    if kind == "i" and size <= 2:
        # A signed file without negative samples is an unsigned one with a wrong label.
        notes.append(f"signed {size * 8}-bit samples are taken as unsigned")
        return raw.astype(np.uint8 if size == 1 else np.uint16)
    notes.append(f"{size * 8}-bit integers are worked on as floating point")
    out = np.empty(raw.shape, np.float32)
    top = float(np.iinfo(f"u{size}").max)
    for part in samples.row_windows(raw.shape):
        out[part] = raw[part].astype(np.float64) / top
    return out


def _lab(raw: np.ndarray, path: str | Path) -> np.ndarray:
    from PIL import Image as Pillow
    from PIL import ImageCms

    if raw.dtype != np.uint8:
        raise InputError("is LAB with more than 8 bits, which is not supported", path=path,
                         hint="Convert it to RGB first")
    picture = Pillow.frombytes("LAB", (raw.shape[1], raw.shape[0]),
                               np.ascontiguousarray(raw[:, :, :3]).tobytes())
    return np.asarray(ImageCms.profileToProfile(
        picture, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"))


def _bytes(main: ifd.Directory, tag: int) -> bytes | None:
    entry = main.entries.get(tag)
    return entry.value if entry and entry.value else None


def _metadata(main: ifd.Directory, icc: bytes | None) -> Metadata:
    text = {name: main.text(tag) for tag, name in TEXTS.items()}
    if text["Description"].startswith(_STRUCTURAL):
        text["Description"] = ""
        main.entries.pop(270, None)
    if text["Software"] == "tifffile.py":
        text["Software"] = ""
    try:
        block = exif.from_tiff(main)
    except struct.error:
        block = None
    return Metadata(icc=icc, exif=block, dpi=exif.dpi(main), xmp=_bytes(main, _XMP),
                    text={name: words for name, words in text.items() if words})
