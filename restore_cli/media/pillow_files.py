"""Formats that Pillow reads, JPEG among them, and those it writes: WebP and BMP."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import limits, profiles, samples
from restore_cli.media.exif import tidy
from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image

_DIRECT = {"L", "LA", "RGB", "RGBA"}
_ANIMATED = {"GIF": "GIF", "WEBP": "WebP", "AVIF": "AVIF"}
# Readers that run programs or only guess are left out.
_REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "FITS", "MPEG", "PDF", "WAL"}


def read(stream: BinaryIO, path: str | Path, max_pixels: int | None = None,
         formats: tuple[str, ...] | None = None) -> tuple[Image, int]:
    """Decodes the first frame of anything Pillow knows.

    Args:
        formats: Pillow's names of the formats to try; None means all safe ones.

    Returns:
        The image as stored, and its EXIF orientation.

    Raises:
        InputError, OSError, ValueError, SyntaxError: not decodable, or too large.
    """
    from PIL import Image as Pillow

    Pillow.MAX_IMAGE_PIXELS = None  # limits.check below asks the same with a better answer
    if formats is None:
        Pillow.init()
        formats = tuple(name for name in Pillow.OPEN if name not in _REFUSED)
    with Pillow.open(stream, formats=formats) as picture:
        # Pillow keeps RGB in four bytes a pixel, and our copy comes on top.
        limits.check(*picture.size, 4 + 4, path, max_pixels)
        name = {"MPO": "JPEG"}.get(picture.format or "", picture.format or "")
        notes = []
        if name in _ANIMATED and getattr(picture, "n_frames", 1) > 1:
            notes.append(f"animated {_ANIMATED[name]}: only its first frame is used")
        info = dict(picture.info)
        picture.load()
        icc = info.get("icc_profile") or None
        if picture.mode == "CMYK":
            pixels, icc, said = profiles.cmyk(_array(picture), icc)
            notes.append(said)
        else:
            pixels = _samples(picture, notes)
            if (profiles.space(icc) or "rgb") not in ("rgb", "gray"):
                icc = None
    bits = 1 if info.get("mode") == "1" else 0
    metadata, orientation = _metadata(info, icc).upright()
    return Image(pixels, metadata=metadata, format=name, bits=bits, notes=tuple(notes)), orientation


def _samples(picture, notes: list[str]) -> np.ndarray:
    mode = picture.mode
    if mode.startswith("I;16"):
        return _array(picture).astype(np.uint16)
    if mode == "I":
        values = _array(picture)
        if values.min() < 0 or values.max() > 65535:
            raise InputError("has 32-bit samples, which this format's reader cannot scale",
                             hint="Convert it to TIFF or PNG first")
        return values.astype(np.uint16)
    if mode == "F":
        return _array(picture).astype(np.float32)
    if mode == "1":
        return _array(picture.convert("L"))
    transparent = "transparency" in picture.info
    if mode in _DIRECT and not transparent:
        return _array(picture)
    if mode == "L":
        return _array(picture.convert("LA"))
    if mode == "La":
        return _array(picture.convert("LA"))
    if transparent or mode in ("PA", "RGBa") or mode == "P" and _palette_has_alpha(picture):
        return _array(picture.convert("RGBA"))
    if mode in ("LAB", "HSV", "YCbCr"):
        notes.append(f"{mode} converted to sRGB")
    return _array(picture.convert("RGB"))


def _palette_has_alpha(picture) -> bool:
    return picture.palette is not None and picture.palette.mode == "RGBA"


def _array(picture) -> np.ndarray:
    """A picture's samples as (H, W, C), copied band by band to keep the peak low."""
    width, height = picture.size
    first = np.asarray(picture.crop((0, 0, width, 1)))
    out = np.empty((height, *first.shape[1:]), first.dtype)
    for part in samples.row_windows(out.shape):
        out[part] = np.asarray(picture.crop((0, part.start, width, part.stop)))
    return out[:, :, None] if out.ndim == 2 else out


def _metadata(info: dict, icc: bytes | None) -> Metadata:
    dpi = info.get("dpi")
    try:
        dpi = (tidy(float(dpi[0])), tidy(float(dpi[1]))) if dpi else None
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        dpi = None
    if dpi and not all(0 < value < 1e6 for value in dpi):
        dpi = None
    text = {}
    comment = info.get("comment")
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace")
    if comment:
        text["Comment"] = comment.rstrip("\0")
    exif, xmp = info.get("exif"), info.get("xmp")
    return Metadata(icc=icc, exif=exif if isinstance(exif, bytes) else None, dpi=dpi, text=text,
                    xmp=xmp if isinstance(xmp, bytes) else None)


def write(stream: BinaryIO, image: Image, quality: int | None = None) -> tuple[str, ...]:
    """Encodes an 8-bit image as its `format`, WEBP or BMP.

    Args:
        stream: seekable.
        quality: 1 to 100 for WebP; None means 95, 100 is lossless.

    Returns:
        What the format could not hold, one sentence each.
    """
    from PIL import Image as Pillow

    pixels = image.pixels[:, :, 0] if image.pixels.shape[2] == 1 else image.pixels
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    metadata, notes = image.metadata, []
    if image.format == "BMP":
        picture.save(stream, "BMP", **({"dpi": metadata.dpi} if metadata.dpi else {}))
        return ()
    options: dict = {"exif": metadata.exif or b"", "xmp": metadata.xmp or b""}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if picture.mode in ("L", "LA"):
        picture = picture.convert("RGBA" if image.has_alpha else "RGB")
        if profiles.space(metadata.icc) == "gray":
            del options["icc_profile"]
            notes.append("WebP has no grey: the grey profile is left out")
    quality = 95 if quality is None else quality
    # exact keeps the colour under full transparency.
    picture.save(stream, "WEBP", quality=quality, lossless=quality >= 100, exact=True, **options)
    return tuple(notes)
