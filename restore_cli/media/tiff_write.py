"""TIFF out: deflated strips in the machine's own byte order, with the metadata it can hold."""

from __future__ import annotations

import logging
import struct
from typing import BinaryIO

from restore_cli.media import ifd, tiff
from restore_cli.media.exif import DESCRIPTIVE
from restore_cli.media.model import Image

logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Level 1 is three times as fast as 6 and a tenth larger.
_LEVEL = 1
_STRIP = 1 << 20


def write(stream: BinaryIO, image: Image) -> None:
    """Encodes a TIFF (BigTIFF when it may pass 4 GiB) with unassociated alpha.

    Args:
        stream: seekable, open for reading and writing.
    """
    import tifffile

    pixels = image.pixels[:, :, 0] if image.pixels.shape[2] == 1 else image.pixels
    options: dict = {}
    if image.metadata.dpi:
        options.update(resolution=image.metadata.dpi, resolutionunit=2)
    tifffile.imwrite(
        stream, pixels,
        bigtiff=image.pixels.nbytes > (4 << 30) - (64 << 20),
        photometric="rgb" if image.pixels.shape[2] >= 3 else "minisblack",
        extrasamples=["unassalpha"] if image.has_alpha else None,
        planarconfig="contig" if image.pixels.shape[2] > 1 else None,
        compression="zlib", compressionargs={"level": _LEVEL}, predictor=True,
        rowsperstrip=max(1, _STRIP // max(1, image.width * image.pixels.shape[2]
                                          * image.pixels.itemsize)),
        metadata=None, software=None, maxworkers=1, **options)
    _describe(stream, image)


def _describe(stream: BinaryIO, image: Image) -> None:
    """Appends a main directory that also holds the metadata, and points the file to it."""
    order, first, big = ifd.header(stream)
    main = ifd.read(stream, order, first, big)
    metadata = image.metadata
    if metadata.exif:
        try:
            block = ifd.reordered(ifd.parse(metadata.exif), order)
        except (ValueError, struct.error, OverflowError):
            block = ifd.Directory(order)
        main.entries.update({tag: entry for tag, entry in block.entries.items()
                             if tag in DESCRIPTIVE})
        main.children.update(block.children)
    for tag, name in tiff.TEXTS.items():
        words = metadata.text.get(name) or (metadata.text.get("Comment") if tag == 270 else None)
        if words:
            raw = words.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"
            main.entries[tag] = ifd.Entry(2, len(raw), raw)
    if metadata.icc:
        main.entries[34675] = ifd.Entry(7, len(metadata.icc), metadata.icc)
    if metadata.xmp:
        main.entries[700] = ifd.Entry(1, len(metadata.xmp), metadata.xmp)
    end = stream.seek(0, 2)
    end += end % 2
    stream.seek(end)
    stream.write(ifd.pack(main, end, big))
    stream.seek(8 if big else 4)
    stream.write(struct.pack(order + ("Q" if big else "I"), end))
    stream.seek(0, 2)
