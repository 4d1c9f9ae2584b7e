"""The chunks of a PNG file: walking them, checking them, and the ones that describe a picture."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from restore_cli.media.exif import tidy
from restore_cli.media.metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = ("cICP", "gAMA", "cHRM", "sRGB")  # colour statements carried over as they are
_XMP = "XML:com.adobe.xmp"
_INCH = 0.0254
_MAX_INFLATED = 32 << 20  # no honest profile or text is larger


@dataclass
class Png:
    """A PNG file taken apart.

    Attributes:
        width, height: pixels.
        depth: bits a sample; `color`: PNG colour type; `interlaced`: Adam7.
        critical: signature and the chunks that make up the first image, nothing else.
        trns: the transparency chunk, if any.
        animated: more frames follow.
        ended: the end marker is there.
        metadata: what the other chunks say.
    """

    width: int
    height: int
    depth: int
    color: int
    interlaced: bool
    critical: bytes = b""
    trns: bytes | None = None
    animated: bool = False
    ended: bool = False
    data_bytes: int = 0
    metadata: Metadata = field(default_factory=Metadata)


def header(data: bytes) -> Png:
    """The first chunk alone.

    Raises:
        ValueError: not a PNG header, or an impossible one.
    """
    if len(data) < 33 or data[12:16] != b"IHDR" or not data.startswith(SIGNATURE):
        raise ValueError("the header is missing")
    width, height, depth, color, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    allowed = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    if depth not in allowed.get(color, ()) or interlace > 1:
        raise ValueError("the header is damaged")
    return Png(width, height, depth, color, bool(interlace))


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of every chunk's payload, checksums verified.

    Raises:
        ValueError: the file ends inside a chunk or a checksum differs.
    """
    at = len(SIGNATURE)
    view = memoryview(data)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the file is truncated")
        length = struct.unpack_from(">I", data, at)[0]
        name, start, end = data[at + 4:at + 8], at + 8, at + 8 + length
        if end + 4 > len(data):
            raise ValueError("the file is truncated")
        if zlib.crc32(view[at + 4:end]) != struct.unpack_from(">I", data, end)[0]:
            if name[:1].isupper():
                raise ValueError("a checksum differs, the data are damaged")
        else:
            yield name, start, end
        if name == b"IEND":
            return
        at = end + 4


def parse(data: bytes) -> Png:
    """Takes a PNG apart.

    Raises:
        ValueError: damaged or truncated.
    """
    png = header(data)
    parts = [SIGNATURE]
    found: dict = {"text": {}, "chunks": {}}
    for name, start, end in chunks(data):
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"):
            parts.append(data[start - 8:end + 4])
        if name == b"IDAT":
            png.data_bytes += end - start
        elif name == b"tRNS":
            png.trns = data[start:end]
        elif name == b"acTL":
            png.animated = True
        elif name == b"IEND":
            png.ended = True
        elif name[:1].islower():
            try:
                _describe(name.decode("latin-1"), data[start:end], found)
            except (ValueError, IndexError, struct.error, zlib.error):
                continue  # a damaged remark is no reason to refuse the picture
    if not png.data_bytes:
        raise ValueError("there is no image data")
    if not png.ended:
        parts.append(chunk(b"IEND", b""))  # the decoder must not search for it past the end
    png.critical = b"".join(parts)
    png.metadata = Metadata(**found)
    return png


def _describe(name: str, body: bytes, found: dict) -> None:
    if name == "iCCP":
        found["icc"] = _inflate(body[body.index(b"\0") + 2:])
    elif name == "eXIf":
        found["exif"] = body
    elif name == "pHYs":
        x, y, unit = struct.unpack(">IIB", body)
        if unit == 1 and x and y:
            found["dpi"] = (tidy(x * _INCH), tidy(y * _INCH))
    elif name in KEPT:
        found["chunks"][name] = body
    elif name in ("tEXt", "zTXt", "iTXt"):
        key, words = _text(name, body)
        if key == _XMP:
            found["xmp"] = words.encode("utf-8")
        elif key in ("Raw profile type exif", "Raw profile type APP1"):
            raw = bytes.fromhex("".join(words.split()[2:]))
            if raw[:6] == b"Exif\0\0":
                found.setdefault("exif", raw)
        elif not key.startswith("Raw profile type"):
            found["text"][key] = words


def _text(name: str, body: bytes) -> tuple[str, str]:
    key, rest = body.split(b"\0", 1)
    if name == "zTXt":
        return key.decode("latin-1"), _inflate(rest[1:]).decode("latin-1")
    if name == "tEXt":
        return key.decode("latin-1"), rest.decode("latin-1")
    packed = rest[0]
    _, _, words = rest[2:].split(b"\0", 2)
    return key.decode("latin-1"), (_inflate(words) if packed else words).decode("utf-8")


def _inflate(body: bytes) -> bytes:
    worker = zlib.decompressobj()
    plain = worker.decompress(body, _MAX_INFLATED)
    if not worker.eof:
        raise ValueError("compressed text is too long or cut off")
    return plain


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return b"".join((struct.pack(">I", len(body)), name, body,
                     struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))))


def describing(metadata: Metadata, gray: bool = False) -> bytes:
    """The chunks that state `metadata`, in the order a PNG wants them before its image data.

    Args:
        gray: the picture is grey; PNG forbids a profile of the other kind, it is left out.
    """
    parts = []
    if metadata.icc and (metadata.icc[16:20] == b"GRAY") == gray:
        parts.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    for name in KEPT:
        # An iCCP chunk takes the place of sRGB; having both is an error.
        if name in metadata.chunks and not (metadata.icc and name == "sRGB"):
            parts.append(chunk(name.encode(), metadata.chunks[name]))
    if metadata.dpi:
        x, y = (min(max(round(v / _INCH), 1), 2**31 - 1) for v in metadata.dpi)
        parts.append(chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif:
        parts.append(chunk(b"eXIf", metadata.exif))
    for key, words in metadata.text.items():
        name = re.sub(r"[^ -~\xa1-\xff]+|\s+", " ", key).strip()[:79].encode("latin-1", "replace")
        if not name:
            continue
        try:
            parts.append(chunk(b"tEXt", name + b"\0" + words.replace("\0", " ").encode("latin-1")))
        except UnicodeEncodeError:
            parts.append(chunk(b"iTXt", name + b"\0\0\0\0\0" + words.encode("utf-8", "replace")))
    if metadata.xmp:
        parts.append(chunk(b"iTXt", _XMP.encode() + b"\0\0\0\0\0" + metadata.xmp))
    return b"".join(parts)
