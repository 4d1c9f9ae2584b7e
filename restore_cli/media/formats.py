"""File formats: how to recognise one, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.media import exif, profiles, samples
from restore_cli.media.model import Image

WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".tif": "TIFF",
            ".tiff": "TIFF", ".webp": "WEBP", ".jxl": "JXL", ".bmp": "BMP"}
EXTENSIONS = frozenset(WRITABLE) | frozenset((
    ".jpe", ".apng", ".gif", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
    ".tga", ".ico", ".qoi", ".dib", ".pcx", ".sgi", ".btf"))

# Cameras' files that are TIFF inside and hold a thumbnail where a TIFF holds its picture.
RAW_EXTENSIONS = frozenset((".dng .arw .cr2 .nef .nrw .orf .pef .rw2 .srw .sr2 .srf .kdc .dcr "
                            ".3fr .fff .iiq .mef .mos .erf .rwl .gpr").split())


@dataclass(frozen=True)
class Holds:
    """What a format can hold.

    Attributes:
        depths: sample dtypes, best last.
        alpha: transparency.
        side: longest side in pixels.
        name: as people write it.
    """

    name: str
    depths: tuple[str, ...]
    alpha: bool
    side: int


FORMATS = {
    "PNG": Holds("PNG", ("uint8", "uint16"), True, 2**31 - 1),
    "JPEG": Holds("JPEG", ("uint8",), False, 65500),  # libjpeg's own limit
    "TIFF": Holds("TIFF", ("uint8", "uint16", "float32"), True, 2**31 - 1),
    "WEBP": Holds("WebP", ("uint8",), True, 16383),
    "JXL": Holds("JPEG XL", ("uint8", "uint16", "float32"), True, 2**30),
    "BMP": Holds("BMP", ("uint8",), False, 2**31 - 1),
}


def sniff(head: bytes) -> str:
    """The format a file's first 64 bytes announce, "" when none is recognised."""
    for start, name in ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"),
                        (b"\xff\x0a", "JXL"), (b"\0\0\0\x0cJXL ", "JXL"), (b"GIF8", "GIF"),
                        (b"BM", "BMP"), (b"qoif", "QOI"), (b"\0\0\0\x0cjP  ", "JPEG2000"),
                        (b"\xff\x4f\xff\x51", "JPEG2000")):
        if head.startswith(start):
            return name
    if head[:1] == b"P" and head[1:2] in b"123456Ff" and head[2:3].isspace():
        return "PNM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return ""


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that by their names are pictures, sorted; hidden ones are left out.

    Raises:
        InputError: the folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir()
                      if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
                      and path.is_file())
    except OSError as error:
        raise InputError(f"cannot list the folder: {error.strerror or error}",
                         path=folder) from error


def format_for(path: str | Path) -> str:
    """The format a file name asks for.

    Raises:
        UsageError: none, or one that cannot be written.
    """
    extension = Path(path).suffix.lower()
    if extension not in WRITABLE:
        shown = f"the extension {extension}" if extension else "a name without extension"
        raise UsageError(f"{shown} names no format that can be written", path=path,
                         hint="Use one of " + ", ".join(sorted(WRITABLE)))
    return WRITABLE[extension]


def can_hold(format: str, image: Image, path: str | Path | None = None) -> Image:
    """The picture as `format` can hold it, with a note for each thing given up.

    Depth is rounded to the deepest the format has; transparency is composited on white where
    the format has none.

    Args:
        format: a key of `FORMATS`.
        path: the file it is for, named in errors.

    Raises:
        OutputError: the format is unknown, or the picture has too many pixels on a side.
    """
    holds = FORMATS.get(format)
    if holds is None:
        raise OutputError(f"the format {format} cannot be written", path=path,
                          hint="Use one of " + ", ".join(FORMATS))
    if max(image.width, image.height) > holds.side:
        raise OutputError(f"{image.width}x{image.height} is more than {holds.name} can hold "
                          f"({holds.side} pixels a side)", path=path, hint="Use PNG or TIFF")
    pixels, notes = image.pixels, []
    if image.has_alpha and not holds.alpha:
        notes.append(f"{holds.name} cannot hold transparency: put on white")
        pixels = samples.on_white(pixels)
    if pixels.dtype.name not in holds.depths:
        depth = np.dtype(holds.depths[-1])
        clipped = ""
        if pixels.dtype.kind == "f" and _outside(pixels):
            clipped = ", values outside 0 to 1 clipped"
        notes.append(f"{holds.name} holds {depth.itemsize * 8} bits a sample: "
                     f"rounded from {pixels.dtype.itemsize * 8}{clipped}")
        pixels = samples.to_depth(pixels, depth)
    metadata = image.metadata
    gray = image.pixels.shape[2] < 3
    if format == "PNG" and metadata.icc and (profiles.space(metadata.icc) == "gray") != gray:
        if not profiles.is_srgb(metadata.icc):
            notes.append("PNG cannot hold a colour profile of another kind than its pixels")
        metadata = replace(metadata, icc=None)
    if format in ("WEBP", "JXL"):
        metadata = replace(metadata, exif=exif.with_dpi(metadata.exif, metadata.dpi))
    same = pixels is image.pixels
    return replace(image, pixels=pixels, kind="", format=format, metadata=metadata,
                   bits=image.bits if same else 0, notes=image.notes + tuple(notes))


def _outside(pixels: np.ndarray) -> bool:
    return any(bool(np.any(~((pixels[part] >= 0) & (pixels[part] <= 1))))
               for part in samples.row_windows(pixels.shape))
