"""JPEG XL: pixels through libjxl, boxes and header by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.media import limits, profiles, samples
from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image

CODESTREAM = b"\xff\x0a"
_SRGB_CURVE, _LINEAR = 13, 8
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class _Bits:
    """Reads the little-endian bit fields of a codestream."""

    def __init__(self, data: bytes, at: int):
        self._value = int.from_bytes(data, "little")
        self._end = len(data) * 8
        self.at = at  # next bit

    def u(self, count: int) -> int:
        if self.at + count > self._end:
            raise ValueError("the header is cut off")
        value = self._value >> self.at & ((1 << count) - 1)
        self.at += count
        return value

    def choice(self, *options: tuple[int, int]) -> int:
        """One of four (base, bits) forms, as the format's U32() writes numbers."""
        base, count = options[self.u(2)]
        return base + self.u(count)

    def enum(self) -> int:
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))


@dataclass
class Header:
    """What a codestream says before its pixels.

    Attributes:
        bits: bits a sample.
        space: "srgb", "linear" (sRGB without its curve), or "" for anything else.
        curve_at: bit at which the 4-bit code of the curve stands, 0 when it has another form.
        animated: more frames may follow.
    """

    width: int
    height: int
    bits: int = 8
    space: str = "srgb"
    curve_at: int = 0
    animated: bool = False


def header(codestream: bytes) -> Header:
    """Reads the start of a codestream (ISO/IEC 18181-1, SizeHeader and ImageMetadata).

    Raises:
        ValueError: not a codestream.
    """
    if codestream[:2] != CODESTREAM:
        raise ValueError("the header is missing")
    bits = _Bits(codestream[:256], 16)
    height, width = _size(bits)
    found = Header(width, height)
    if bits.u(1):  # all_default
        return found
    if bits.u(1):  # extra_fields
        bits.u(3)  # orientation, which the decoder applies
        if bits.u(1):
            _size(bits)
        if bits.u(1):
            return found  # a preview: nobody makes them, and its header is long
        if bits.u(1):
            found.animated = True
            bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
            bits.u(1)
    found.bits = _depth(bits)
    bits.u(1)  # modular_16bit_buffers
    for _ in range(bits.choice((0, 0), (1, 0), (2, 4), (1, 12))):
        if not bits.u(1):  # not the default alpha channel
            kind = bits.enum()
            _depth(bits)
            bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
            bits.u(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
            if kind == 0:
                bits.u(1)
            elif kind in (2, 5):
                return found  # spot colour or colour filter: what follows is of no use here
    bits.u(1)  # xyb_encoded
    found.space = ""
    _color(bits, found)
    return found


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.u(1)

    def side() -> int:
        if small:
            return (bits.u(5) + 1) * 8
        return bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.u(3)
    if ratio:
        return height, height * _RATIOS[ratio][0] // _RATIOS[ratio][1]
    return height, side()


def _depth(bits: _Bits) -> int:
    if bits.u(1):
        depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.u(4)
        return depth
    return bits.choice((8, 0), (10, 0), (12, 0), (1, 6))


def _color(bits: _Bits, found: Header) -> None:
    if bits.u(1):  # all_default
        found.space = "srgb"
        return
    if bits.u(1):  # want_icc
        return
    space = bits.enum()
    if space > 1 or bits.enum() != 1:  # RGB or grey; white point D65
        return
    if space == 0 and bits.enum() != 1:  # primaries of sRGB
        return
    if bits.u(1):  # a pure power
        return
    start = bits.at
    curve = bits.enum()
    found.curve_at = start + 2 if bits.at == start + 6 else 0
    found.space = {_SRGB_CURVE: "srgb", _LINEAR: "linear"}.get(curve, "")


def read(stream: BinaryIO, path: str | Path, max_pixels: int | None = None) -> tuple[Image, int]:
    """Decodes a JPEG XL file; its orientation is applied by the decoder.

    Returns:
        The image, and orientation 1.

    Raises:
        InputError, ValueError, imagecodecs.JpegxlError: damaged or too large.
    """
    import imagecodecs

    data = stream.read()
    start, metadata = _unpack(data)
    head = header(data[start:start + 512])
    limits.check(head.width, head.height, 4 * (4 if head.bits > 16 else 2), path, max_pixels)
    pixels = imagecodecs.jpegxl_decode(data, index=0 if head.animated else None)
    if head.animated and pixels.ndim == 4:
        pixels = pixels[0]
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    top = (1 << head.bits) - 1
    if pixels.dtype.kind == "u" and top < np.iinfo(pixels.dtype).max:
        full = np.iinfo(pixels.dtype).max
        pixels = ((pixels.astype(np.uint32) * full + top // 2) // top).astype(pixels.dtype)
    notes = []
    if head.animated:
        notes.append("animated JPEG XL: only its first frame is used")
    if head.space == "linear":
        pixels = profiles.linear_to_srgb(pixels)
        notes.append("linear light converted to sRGB")
    elif not head.space:
        notes.append("the colour profile of JPEG XL cannot be read: colours are taken as sRGB")
    metadata, _ = metadata.upright()
    return Image(pixels, metadata=metadata, format="JXL", bits=head.bits,
                 notes=tuple(notes)), 1


def _unpack(data: bytes) -> tuple[int, Metadata]:
    """Where the codestream starts, and what the boxes around it say."""
    if data[:2] == CODESTREAM:
        return 0, Metadata()
    codestream, exif, xmp = 0, None, None
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            size, start = struct.unpack_from(">Q", data, start)[0], at + 16
        end = at + size if size else len(data)
        if end < start:
            break
        if name in (b"jxlc", b"jxlp") and not codestream:
            codestream = start + 4 * (name == b"jxlp")
        elif name in (b"Exif", b"xml ", b"brob"):
            body = data[start:end]
            if name == b"brob":
                name, body = body[:4], _brotli(body[4:])
            if name == b"Exif" and len(body) > 8:
                exif = body[4 + struct.unpack_from(">I", body)[0]:]
            elif name == b"xml " and body:
                xmp = body
        at = end
    return codestream, Metadata(exif=exif, xmp=xmp)


def _brotli(body: bytes) -> bytes:
    import imagecodecs

    if len(body) > 1 << 20:
        return b""
    try:
        return imagecodecs.brotli_decode(body)
    except (imagecodecs.BrotliError, RuntimeError, ValueError):
        return b""


def write(stream: BinaryIO, image: Image, quality: int | None = None) -> tuple[str, ...]:
    """Encodes a JPEG XL file.

    Args:
        quality: None or 100 is lossless; below, libjxl's distance (90 is visually lossless).

    Returns:
        What the format could not hold, one sentence each.
    """
    import imagecodecs

    pixels, metadata, notes = image.pixels, image.metadata, []
    if metadata.icc and not profiles.is_srgb(metadata.icc):
        if profiles.space(metadata.icc) == "rgb" and pixels.shape[2] >= 3:
            color = profiles.to_srgb(image.color, metadata.icc)
            pixels = np.concatenate((color, pixels[:, :, 3:]), axis=2)
            notes.append("JPEG XL is written without profile: colours converted to sRGB")
        else:
            notes.append("JPEG XL is written without its colour profile")
    pixels = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    boxed = bool(metadata.exif or metadata.xmp)
    # Lossless effort 1 is hundreds of MB a second and packs tighter than PNG already.
    how = ({"lossless": True, "effort": 1} if quality is None or quality >= 100
           else {"distance": _distance(quality), "effort": 4})
    if pixels.dtype != np.uint8 and "distance" in how:
        notes.append("lossy JPEG XL is written from 8 bits a sample")
        pixels = samples.to_depth(pixels, np.uint8)
    packed = _labelled_srgb(imagecodecs.jpegxl_encode(pixels, usecontainer=boxed, **how))
    stream.write(packed)
    if metadata.exif:
        stream.write(_box(b"Exif", b"\0\0\0\0" + metadata.exif))
    if metadata.xmp:
        stream.write(_box(b"xml ", metadata.xmp))
    return tuple(notes)


def _labelled_srgb(packed: bytes) -> bytes:
    # imagecodecs labels everything above 8 bits as linear light. In a lossless file the label
    # does not touch the samples, so it is set right in place.
    start, _ = _unpack(packed)
    head = header(packed[start:start + 512])
    if head.space != "linear" or not head.curve_at:
        return packed
    fixed = bytearray(packed)
    for i in range(4):
        bit = 8 * start + head.curve_at + i
        fixed[bit // 8] &= ~(1 << bit % 8) & 255
        fixed[bit // 8] |= (_SRGB_CURVE - 2 >> i & 1) << bit % 8
    return bytes(fixed)


def _distance(quality: int) -> float:
    """libjxl's own mapping from JPEG-like quality to Butteraugli distance."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality * quality - 23 / 20 * quality + 25


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, name) + body
