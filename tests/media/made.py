"""Files and parts of files that the tests of media make themselves."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image as Pillow

from restore_cli.media import profiles
from restore_cli.media.exif import upright
from restore_cli.media.metadata import Metadata

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def noise(dtype, channels, size=(17, 23), seed=0):
    """Random samples over the full range (floats also outside [0,1])."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (random.random((*size, channels)) * 3 - 1).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)


def smooth(height, width, channels=3):
    """Gentle gradients that lossy formats keep to within a few levels, uint8."""
    y, x = np.mgrid[0:height, 0:width]
    parts = (x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x + y) % 256 / 2,
             y * 0 + 255)
    return np.stack(parts[:channels], axis=2).astype(np.uint8)


def exif(orientation=1, size=(23, 17), thumbnail=False):
    """An EXIF block as a camera writes it, maker's note and GPS included."""
    block = Pillow.Exif()
    block[0x010F] = "Maker"
    block[0x0110] = "Model 7"
    block[0x0112] = orientation
    block[0x011A] = block[0x011B] = 72.0
    block[0x0128] = 2
    block[0x8769] = {0x829A: 0.01, 0x9003: "2024:01:02 03:04:05", 0x927C: b"note" * 9,
                     0xA002: size[0], 0xA003: size[1]}
    block[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    raw = block.tobytes()
    if thumbnail:
        raw = _with_thumbnail(raw[6:], orientation)
    return raw


def _with_thumbnail(blob, orientation):
    order = "<" if blob[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", blob, 4)[0]
    count = struct.unpack_from(order + "H", blob, first)[0]
    data = bytearray(blob + bytes(len(blob) % 2))
    place = len(data)
    struct.pack_into(order + "I", data, first + 2 + 12 * count, place)
    small = b"\xff\xd8thumb" * 50
    data += struct.pack(order + "H", 3)
    data += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    data += struct.pack(order + "HHII", 0x0201, 4, 1, place + 2 + 36 + 4)
    data += struct.pack(order + "HHII", 0x0202, 4, 1, len(small))
    return b"Exif\0\0" + bytes(data) + bytes(4) + small


def metadata(**changes):
    """Everything a file can say."""
    full = dict(icc=profiles.srgb(), exif=upright(exif())[0], dpi=(300.0, 150.0), xmp=XMP,
                text={"Description": "Köln", "Author": "日本"})
    return Metadata(**{**full, **changes})


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, raw, *, depth=8, color=2, before=b"", interlaced=0):
    """A PNG from its filtered rows."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before
            + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def adam7(samples):
    """Filtered rows of an interlaced PNG."""
    raw = b""
    for y, x, down, right in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
                              (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        for row in samples[y::down, x::right]:
            if row.size:
                raw += b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes()
    return raw


def cmyk_profile():
    """A minimal CMYK profile: a 2-point table from ink to Lab."""
    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    to_xyz = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606],
                       [0.0139, 0.0971, 0.7142]])
    table = b""
    for inks in np.ndindex(2, 2, 2, 2):
        light = (1.0 - np.array(inks[:3])) * (1 - inks[3])
        xyz = to_xyz @ light / (0.9642, 1, 0.8249)
        f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        lab = ((116 * f[1] - 16) * 2.55, 500 * (f[0] - f[1]) + 128, 200 * (f[1] - f[2]) + 128)
        table += bytes(int(round(np.clip(v, 0, 255))) for v in lab)
    identity = b"".join(fixed(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    tags = ((b"desc", b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78)),
            (b"cprt", b"text" + bytes(4) + b"none\0"),
            (b"wtpt", b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1) + fixed(0.8249)),
            (b"A2B0", b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + table
             + ramp * 3))
    index, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, content in tags:
        content += bytes(-len(content) % 4)
        index += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"lcms", 0x02400000, b"prtr",
                       b"CMYK", b"Lab ", bytes(12), b"acsp")
    head = head.ljust(68, b"\0") + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return head.ljust(128, b"\0") + index + body
