"""Small camera RAW files (DNG) that tests make themselves, good ones and odd ones."""

from __future__ import annotations

import struct
from fractions import Fraction

import imagecodecs
import numpy as np

from restore_cli.media import bayer, ifd
from restore_cli.media.ifd import Directory, Entry

# XYZ to camera colours of a common sensor under daylight, and its neutral.
MATRIX = (0.6988, -0.1384, -0.0714, -0.5631, 1.341, 0.2447, -0.1485, 0.2204, 0.7318)
NEUTRAL = (0.5, 1.0, 0.625)
ACTIVE_AREA, WHITE_LEVEL, CFA_PATTERN, SAMPLE_FORMAT = 50829, 50717, 33422, 339
_LETTERS = {1: "B", 3: "H", 4: "I", 11: "f", 12: "d"}


def entry(kind: int, *values) -> Entry:
    """A tag's value: `kind` is the TIFF type; text for 2, bytes for 7."""
    if kind == 2:
        data = values[0].encode() + b"\0"
        return Entry(2, len(data), data)
    if kind == 7:
        return Entry(7, len(values[0]), values[0])
    if kind in (5, 10):
        pairs = [Fraction(value).limit_denominator(1 << 20) for value in values]
        data = b"".join(struct.pack("<II" if kind == 5 else "<ii", one.numerator, one.denominator)
                        for one in pairs)
        return Entry(kind, len(values), data)
    return Entry(kind, len(values), struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values))


def scene(height=48, width=64, black=512, white=16383, seed=0):
    """A mosaic of soft light with some noise, uint16, well inside the levels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    light = 0.35 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + random.normal(0, 0.01, (height, width))
    return np.rint(black + np.clip(light, 0.02, 0.95) * (white - black)).astype(np.uint16)


def flat(levels, size=(48, 64), pattern="RGGB"):
    """A mosaic with one value a colour: `levels` in the order R, G1, B, G2; uint16."""
    mosaic = np.zeros(size, np.uint16)
    for (row, column), index in zip(((0, 0), (0, 1), (1, 0), (1, 1)), indices(pattern),
                                    strict=True):
        mosaic[row::2, column::2] = levels[index]
    return mosaic


def indices(pattern):
    """Place in the order R, G1, B, G2 of each colour of a 2x2 cell, row by row."""
    red_row = pattern.index("R") // 2
    return [{"R": 0, "B": 2}.get(letter, 1 if place // 2 == red_row else 3)
            for place, letter in enumerate(pattern)]


def write_dng(path, mosaic, *, pattern="RGGB", black=512, white=16383, margins=(0, 0, 0, 0),
              margin_value=7, neutral=NEUTRAL, matrix=MATRIX, orientation=1, iso=3200,
              seconds=0.1, aperture=2.8, make="Maker", model="Model 7", lens="50mm F1.8",
              taken="2021:03:04 05:06:07", compression="none", photometric=32803,
              extra=None, exif_extra=None):
    """Writes a DNG and returns its path.

    Args:
        mosaic: (H, W) visible area, any integer or float dtype; (H, W, 3) for a linear DNG.
        black: one level, or four in the order R, G1, B, G2.
        white: one level or None for no tag.
        margins: top, left, bottom, right of the sensor around the active area.
        orientation: as EXIF counts it.
        iso, seconds, aperture, neutral, matrix, lens, taken, ...: None leaves the tag out.
        compression: "none" or "ljpeg".
        extra, exif_extra: more tags or other ones: {tag: entry(...)}; None removes a tag.
    """
    top, left, bottom, right = margins
    pads = [(top, bottom), (left, right)] + [(0, 0)] * (mosaic.ndim - 2)
    frame = np.pad(mosaic, pads, constant_values=margin_value)
    height, width = frame.shape[:2]
    samples = 1 if frame.ndim == 2 else frame.shape[2]
    bits = frame.dtype.itemsize * 8
    if compression == "ljpeg":
        data = imagecodecs.ljpeg_encode(frame, bitspersample=bits)
    else:
        data = frame.astype(frame.dtype.newbyteorder("<")).tobytes()
    tags = {
        254: entry(4, 0), 256: entry(4, width), 257: entry(4, height),
        258: entry(3, *[bits] * samples), 259: entry(3, 7 if compression == "ljpeg" else 1),
        262: entry(3, photometric), 271: make and entry(2, make),
        272: model and entry(2, model), 273: entry(4, 0), 274: entry(3, orientation),
        277: entry(3, samples), 278: entry(4, height), 279: entry(4, len(data)),
        284: entry(3, 1), 306: taken and entry(2, taken),
        50706: entry(1, 1, 4, 0, 0), 50707: entry(1, 1, 1, 0, 0),
        50708: entry(2, f"{make} {model}"), 50717: white and entry(4, white),
        50721: matrix and entry(10, *matrix), 50728: neutral and entry(5, *neutral),
        50778: matrix and entry(3, 21)}
    if photometric == 32803:
        tags |= {33421: entry(3, 2, 2), 33422: entry(1, *["RGB".index(one) for one in pattern]),
                 50711: entry(3, 1)}
    if np.ndim(black):
        tags |= {50713: entry(3, 2, 2),
                 50714: entry(4, *[black[index] for index in indices(pattern)])}
    elif black is not None:
        tags |= {50714: entry(4, black)}
    if any(margins):
        tags[ACTIVE_AREA] = entry(4, top, left, height - bottom, width - right)
    exif = {0x829A: seconds is not None and entry(5, seconds),
            0x829D: aperture is not None and entry(5, aperture),
            0x8827: iso is not None and entry(3, iso), 0x9003: taken and entry(2, taken),
            0x920A: entry(5, 50), 0xA434: lens and entry(2, lens)}
    tags |= extra or {}
    exif |= exif_extra or {}
    main = Directory("<", {tag: one for tag, one in tags.items() if one})
    main.children[ifd.EXIF] = Directory("<", {tag: one for tag, one in exif.items() if one})
    start = 8 + len(ifd.pack(main, 8))
    start += start % 2
    main.entries[273] = entry(4, start)
    body = b"II*\0\x08\0\0\0" + ifd.pack(main, 8)
    path.write_bytes(body.ljust(start, b"\0") + data)
    return path


def mosaic_of(read, planes, *, black=None, white=None):
    """The mosaic of changed planes, the reverse of `planes()`, rounded and cut to uint16.

    The odd last row and column come from the file while the levels are its own, else from the
    nearest ones of the same colours.
    """
    low = read.black if black is None else np.broadcast_to(black, 4)
    high = read.white if white is None else np.broadcast_to(white, 4)
    stored = planes * (high - low).reshape(4, 1, 1) + low.reshape(4, 1, 1)
    mosaic = read.mosaic.copy()
    bayer.unpack(np.clip(np.rint(stored), 0, 65535).astype(np.uint16), read.pattern, mosaic)
    if black is not None:
        height, width = mosaic.shape
        mosaic[height // 2 * 2:] = mosaic[height // 2 * 2 - 2:][:height % 2]
        mosaic[:, width // 2 * 2:] = mosaic[:, width // 2 * 2 - 2:][:, :width % 2]
    return mosaic
