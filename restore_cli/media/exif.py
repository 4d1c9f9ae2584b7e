"""Changes to an EXIF block that leave everything else in it untouched.

The block is edited in place rather than written anew: makers' notes hold offsets into it and
would break.
"""

from __future__ import annotations

import io
import struct
from fractions import Fraction

from restore_cli.media import ifd

ORIENTATION = 0x0112
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_X_DENSITY, _Y_DENSITY = (0x011A, 0xA20E), (0x011B, 0xA20F)
_RESOLUTION_UNIT = 0x0128
_INCHES = {2: 1.0, 3: 2.54}

# Tags of a TIFF's main directory that speak of the picture and not of how it is stored.
DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298,
               0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)


def upright(blob: bytes) -> tuple[bytes, int]:
    """The block with orientation 1 and without thumbnail, and the orientation it had.

    Args:
        blob: EXIF with or without its ``Exif\\0\\0`` prefix.

    Returns:
        (block starting at its byte-order mark, orientation 1 to 8). A block that cannot be
        read comes back empty with orientation 1.
    """
    data = bytearray(blob[6:] if blob[:6] == b"Exif\0\0" else blob)
    try:
        main = ifd.parse(bytes(data))
    except (ValueError, struct.error, OverflowError):
        return b"", 1
    found = main.numbers(ORIENTATION)
    orientation = int(found[0]) if found and 1 <= found[0] <= 8 else 1
    if found:
        _put(data, main, ORIENTATION, 1)
    if main.next:
        _drop_thumbnail(data, main)
    return bytes(data), orientation


def scaled(blob: bytes, x: float, y: float, size: tuple[int, int] | None = None) -> bytes:
    """The block with pixel counts and pixel densities of a picture resized by (x, y).

    Args:
        size: the new (width, height) in pixels; left out, the old numbers are multiplied.
    """
    try:
        main = ifd.parse(blob)
    except (ValueError, struct.error, OverflowError):
        return blob
    data = bytearray(blob)
    for place in (main, main.children.get(ifd.EXIF)):
        if place is None:
            continue
        for tags, factor, exact in ((_WIDTHS, x, 0), (_HEIGHTS, y, 1)):
            for tag in tags:
                old = place.numbers(tag)
                if old:
                    _put(data, place, tag, size[exact] if size else round(old[0] * factor))
        for tags, factor in ((_X_DENSITY, x), (_Y_DENSITY, y)):
            for tag in tags:
                old = place.numbers(tag)
                if old:
                    _put(data, place, tag, Fraction(old[0]) * Fraction(factor))
    return bytes(data)


def dpi(directory: ifd.Directory) -> tuple[float, float] | None:
    """Pixels an inch (x, y) that a directory's resolution tags state, or None."""
    x, y = directory.numbers(_X_DENSITY[0]), directory.numbers(_Y_DENSITY[0])
    unit = directory.numbers(_RESOLUTION_UNIT)
    scale = _INCHES.get(int(unit[0]) if unit else 2)
    if not x or not y or scale is None or x[0] <= 0 or y[0] <= 0:
        return None
    return tidy(float(x[0]) * scale), tidy(float(y[0]) * scale)


def with_dpi(blob: bytes | None, density: tuple[float, float] | None) -> bytes | None:
    """The block with a resolution, for formats that have no other place for one.

    A block that states one already comes back as it is; without a block a minimal one is made.
    """
    if not density or stated_dpi(blob):
        return blob
    if not blob:
        blob = b"II*\0\x08\0\0\0" + bytes(6)
    try:
        order, first, _ = ifd.header(io.BytesIO(blob))
        main = ifd.parse(blob)
        count = struct.unpack_from(order + "H", blob, first)[0]
    except (ValueError, struct.error, OverflowError):
        return blob
    table = {struct.unpack_from(order + "H", blob, at)[0]: blob[at:at + 12]
             for at in range(first + 2, first + 2 + 12 * count, 12)}
    # The grown directory goes to the end; values stay where they are, and so do makers' offsets.
    place = len(blob) + len(blob) % 2
    new = {_X_DENSITY[0], _Y_DENSITY[0], _RESOLUTION_UNIT}
    values = place + 2 + 12 * len(new | set(table)) + 4
    tail = b""
    for tag, value in zip((_X_DENSITY[0], _Y_DENSITY[0]), density, strict=True):
        exact = Fraction(value).limit_denominator(10000)
        table[tag] = struct.pack(order + "HHII", tag, 5, 1, values + len(tail))
        tail += struct.pack(order + "II", exact.numerator, exact.denominator)
    table[_RESOLUTION_UNIT] = struct.pack(order + "HHIHH", _RESOLUTION_UNIT, 3, 1, 2, 0)
    grown = bytearray(blob.ljust(place, b"\0"))
    struct.pack_into(order + "I", grown, 4, place)
    return (bytes(grown) + struct.pack(order + "H", len(table))
            + b"".join(table[tag] for tag in sorted(table))
            + struct.pack(order + "I", main.next) + tail)


def stated_dpi(blob: bytes | None) -> tuple[float, float] | None:
    """Pixels an inch that a block's main directory states, or None."""
    try:
        return dpi(ifd.parse(blob)) if blob else None
    except (ValueError, struct.error, OverflowError):
        return None


def tidy(value: float) -> float:
    """A density freed of the rounding of the unit it was stored in."""
    return float(round(value)) if abs(value - round(value)) < 0.02 else round(value, 4)


def from_tiff(directory: ifd.Directory) -> bytes | None:
    """An EXIF block with what a TIFF's main directory says about the picture, or None."""
    kept = ifd.Directory(directory.order, children=dict(directory.children))
    for tag in DESCRIPTIVE:
        if tag in directory.entries:
            kept.entries[tag] = directory.entries[tag]
    if not kept.entries and not kept.children:
        return None
    magic = b"II*\0" if directory.order == "<" else b"MM\0*"
    return magic + struct.pack(directory.order + "I", 8) + ifd.pack(kept, 8)


def _put(data: bytearray, place: ifd.Directory, tag: int, value: int | Fraction) -> None:
    entry = place.entries[tag]
    if entry.type in (5, 10):
        exact = Fraction(value).limit_denominator(10000)
        letters = "II" if entry.type == 5 else "ii"
        if abs(exact.numerator) < 1 << 31:
            struct.pack_into(place.order + letters, data, entry.at,
                             exact.numerator, exact.denominator)
    elif entry.type in (3, 4):
        # A short that overflows becomes a long: both fit the entry's own four bytes.
        letters, kind = ("H", 3) if entry.type == 3 and int(value) < 65536 else ("I", 4)
        data[entry.slot:entry.slot + 4] = struct.pack(place.order + letters,
                                                      int(value)).ljust(4, b"\0")
        struct.pack_into(place.order + "H", data, entry.slot - 8 + 2, kind)


def _drop_thumbnail(data: bytearray, main: ifd.Directory) -> None:
    try:
        small = ifd.read(io.BytesIO(bytes(data)), main.order, main.next)
    except (ValueError, struct.error, OverflowError):
        small = None
    if main.next_slot:
        struct.pack_into(main.order + "I", data, main.next_slot, 0)
    if small is None:
        return
    start, length = small.numbers(0x0201), small.numbers(0x0202)
    if not start or not length:
        return
    first, last = int(start[0]), int(start[0] + length[0])
    if not 8 <= first < last <= len(data):
        return
    data[first:last] = bytes(last - first)
    if len(data) - last < 4 and first > main.next:
        del data[first:]
