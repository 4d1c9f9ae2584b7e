"""Reads and writes the tagged directories that TIFF and EXIF share.

A directory ("IFD") is a sorted list of entries (tag, type, count, value); a value of more than
four bytes lives elsewhere and the entry holds its offset. Values stay raw bytes in the file's
byte order here, so unknown tags survive.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

# Bytes per item and the struct letters that undo the byte order, by TIFF type.
_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii",
          11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SWAPPED = {"H": 2, "I": 4, "II": 4, "h": 2, "i": 4, "ii": 4, "f": 4, "d": 8, "Q": 8, "q": 8}

EXIF, GPS, INTEROP = 34665, 34853, 40965
_POINTERS = (EXIF, GPS, INTEROP)
_MAX_VALUE = 32 << 20  # no honest tag is larger
_MAX_ENTRIES = 2000


@dataclass
class Entry:
    """One tag.

    Attributes:
        type: TIFF type number; `count`: number of items of that type.
        value: the items' bytes in the directory's byte order.
        slot: offset of the entry's own value field in the source.
        at: offset of the value in the source (equal to `slot` for short values).
    """

    type: int
    count: int
    value: bytes
    slot: int = 0
    at: int = 0


@dataclass
class Directory:
    """A directory with those it points to.

    Attributes:
        order: "<" or ">".
        next_slot: offset of the field that holds the next directory's offset.
        next: that offset, 0 for none.
    """

    order: str
    entries: dict[int, Entry] = field(default_factory=dict)
    children: dict[int, Directory] = field(default_factory=dict)
    next_slot: int = 0
    next: int = 0

    def numbers(self, tag: int) -> list[int | float | Fraction]:
        """The tag's values as numbers; empty when absent, textual or nonsense."""
        entry = self.entries.get(tag)
        if entry is None or _TYPES.get(entry.type, "c") == "c":
            return []
        letters = _TYPES[entry.type]
        step = struct.calcsize("=" + letters)
        items = [struct.unpack_from(self.order + letters, entry.value, i)
                 for i in range(0, len(entry.value) - step + 1, step)]
        if len(letters) == 2:
            return [Fraction(a, b) if b else Fraction(0) for a, b in items]
        return [item[0] for item in items]

    def text(self, tag: int) -> str:
        """The tag's value as text; empty when absent or not textual."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in (2, 7):
            return ""
        raw = entry.value.split(b"\0")[0]
        try:
            return raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            return raw.decode("latin-1").strip()


def header(stream: BinaryIO) -> tuple[str, int, bool]:
    """Byte order, offset of the first directory, and whether it is BigTIFF.

    Raises:
        ValueError: not a TIFF structure.
    """
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("not a TIFF structure")
    magic = struct.unpack_from(order + "H", head, 2)[0]
    if magic == 43:
        if len(head) < 16:
            raise ValueError("not a TIFF structure")
        return order, struct.unpack_from(order + "Q", head, 8)[0], True
    return order, struct.unpack_from(order + "I", head, 4)[0], False


def read(stream: BinaryIO, order: str, offset: int, big: bool = False,
         depth: int = 0) -> Directory:
    """Reads the directory at `offset` with its EXIF, GPS and interoperability children.

    Damaged entries are left out; a damaged child is left out whole.

    Raises:
        ValueError: the directory itself cannot be read.
    """
    counter, width = ("Q", 20) if big else ("H", 12)
    word = order + ("Q" if big else "I")
    step = 8 if big else 4
    stream.seek(offset)
    size = struct.calcsize("=" + counter)
    raw = stream.read(size)
    if len(raw) < size:
        raise ValueError("directory outside the file")
    count = struct.unpack(order + counter, raw)[0]
    if count > _MAX_ENTRIES:
        raise ValueError("impossible number of tags")
    table = stream.read(count * width + step)
    found = Directory(order)
    for i in range(min(count, len(table) // width)):
        tag, kind = struct.unpack_from(order + "HH", table, i * width)
        items = struct.unpack_from(word, table, i * width + 4)[0]
        if kind not in _TYPES:
            continue
        length = items * struct.calcsize("=" + _TYPES[kind])
        slot = offset + size + i * width + 4 + step
        inline = table[i * width + 4 + step:i * width + 4 + 2 * step]
        at = slot if length <= step else struct.unpack(word, inline)[0]
        if length <= step:
            value = inline[:length]
        elif length > _MAX_VALUE:
            continue
        else:
            stream.seek(at)
            value = stream.read(length)
        if len(value) == length:
            found.entries[tag] = Entry(kind, items, value, slot, at)
    if len(table) == count * width + step:
        found.next_slot = offset + size + count * width
        found.next = struct.unpack_from(word, table, count * width)[0]
    for tag in _POINTERS:
        target = found.numbers(tag)
        if target and depth < 2:
            try:
                found.children[tag] = read(stream, order, int(target[0]), big, depth + 1)
            except (ValueError, struct.error, OverflowError):
                del found.entries[tag]
    return found


def parse(blob: bytes) -> Directory:
    """The first directory of an EXIF block (which starts at its byte-order mark).

    Raises:
        ValueError: not an EXIF block.
    """
    stream = io.BytesIO(blob)
    order, offset, big = header(stream)
    return read(stream, order, offset, big)


def reordered(directory: Directory, order: str) -> Directory:
    """The same directory with its values in byte order `order`."""
    if directory.order == order:
        return directory
    turned = Directory(order)
    for tag, entry in directory.entries.items():
        unit = _SWAPPED.get(_TYPES[entry.type], 1)
        value = bytearray(entry.value)
        for i in range(unit // 2):
            value[i::unit], value[unit - 1 - i::unit] = (entry.value[unit - 1 - i::unit],
                                                         entry.value[i::unit])
        turned.entries[tag] = Entry(entry.type, entry.count, bytes(value))
    turned.children = {tag: reordered(child, order) for tag, child in directory.children.items()}
    return turned


def pack(directory: Directory, offset: int, big: bool = False) -> bytes:
    """Bytes of a directory placed at `offset`, followed by its values and children."""
    order = directory.order
    counter, width, step = ("Q", 20, 8) if big else ("H", 12, 4)
    word = order + ("Q" if big else "I")
    entries = {tag: e for tag, e in directory.entries.items() if tag not in _POINTERS}
    for tag in directory.children:
        entries[tag] = Entry(16 if big else 4, 1, b"")
    start = offset + struct.calcsize("=" + counter) + len(entries) * width + step
    table = [struct.pack(order + counter, len(entries))]
    tail = bytearray()
    for tag in sorted(entries):
        entry = entries[tag]
        value = entry.value
        if tag in directory.children:
            tail += b"\0" * (len(tail) % 2)
            value = struct.pack(word, start + len(tail))
            tail += pack(directory.children[tag], start + len(tail), big)
        elif len(value) > step:
            tail += b"\0" * (len(tail) % 2)
            place, value = start + len(tail), value
            tail += value
            value = struct.pack(word, place)
        table.append(struct.pack(order + "HH", tag, entry.type)
                     + struct.pack(word, entry.count) + value.ljust(step, b"\0"))
    table.append(struct.pack(word, 0))
    return b"".join(table) + bytes(tail)
