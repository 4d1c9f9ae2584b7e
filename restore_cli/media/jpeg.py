"""JPEG out: samples through libjpeg-turbo, segments by hand."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"
_BODY = 65533  # bytes a segment can hold


def write(stream: BinaryIO, image: Image, quality: int | None = None) -> tuple[str, ...]:
    """Encodes an 8-bit grey or RGB image.

    Pillow would do, but copies the picture into four bytes a pixel first.

    Args:
        quality: 1 to 100; None means 95.

    Returns:
        What the format could not hold, one sentence each.
    """
    import imagecodecs

    pixels = image.pixels[:, :, 0] if image.pixels.shape[2] == 1 else image.pixels
    # Chroma is kept at full size: it was just restored.
    packed = imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels),
                                      level=95 if quality is None else quality,
                                      subsampling="444" if pixels.ndim == 3 else None)
    segments, notes = _segments(image.metadata)
    start = _after_jfif(packed)
    stream.write(b"\xff\xd8" + _jfif(image.metadata) + segments)
    stream.write(memoryview(packed)[start:])
    return notes


def _after_jfif(packed: bytes) -> int:
    """Where the encoder's own segments go on after its file header."""
    if packed[2:4] == b"\xff\xe0":
        return 4 + struct.unpack_from(">H", packed, 4)[0]
    return 2


def _jfif(metadata: Metadata) -> bytes:
    unit, x, y = 0, 1, 1
    if metadata.dpi:
        unit, x, y = 1, *(min(max(round(value), 1), 65535) for value in metadata.dpi)
    return _segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", unit, x, y, 0, 0))


def _segments(metadata: Metadata) -> tuple[bytes, tuple[str, ...]]:
    parts, notes = [], []
    if metadata.exif:
        body = b"Exif\0\0" + metadata.exif
        if len(body) <= _BODY:
            parts.append(_segment(0xE1, body))
        else:
            notes.append("EXIF is too large for JPEG and left out")
    if metadata.xmp:
        if len(_XMP) + len(metadata.xmp) <= _BODY:
            parts.append(_segment(0xE1, _XMP + metadata.xmp))
        else:
            notes.append("XMP is too large for JPEG and left out")
    if metadata.icc:
        room = _BODY - len(_ICC) - 2
        pieces = [metadata.icc[i:i + room] for i in range(0, len(metadata.icc), room)]
        if len(pieces) < 256:
            parts += [_segment(0xE2, _ICC + bytes((i + 1, len(pieces))) + piece)
                      for i, piece in enumerate(pieces)]
    comment = metadata.text.get("Comment") or metadata.text.get("Description")
    if comment:
        parts.append(_segment(0xFE, comment.encode("utf-8", "replace")[:_BODY]))
    return b"".join(parts), tuple(notes)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
