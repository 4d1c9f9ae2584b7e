"""The TIFF and EXIF tags of a camera's file, whoever made it.

Most RAW formats are TIFF files under other names; Fujifilm's RAF holds them in its JPEG preview
and Canon's CR3 in boxes of an ISO base media file. Files of other kinds have no tags here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from restore_cli.media import ifd

MAKE, MODEL, DATE = 0x010F, 0x0110, 0x0132
SUB_DIRECTORIES = 0x014A
EXPOSURE_TIME, F_NUMBER, ISO, DATE_ORIGINAL = 0x829A, 0x829D, 0x8827, 0x9003
ISO_SPEEDS = (0x8833, 0x8832, 0x8831)  # ISOSpeed, RecommendedExposureIndex, StandardOutput...
FOCAL_LENGTH, BODY_SERIAL, LENS_MODEL = 0x920A, 0xA431, 0xA434
DNG_VERSION, UNIQUE_MODEL, CAMERA_SERIAL = 50706, 50708, 50735
_MAX_DIRECTORIES = 40
_BOX_LISTS = (b"moov", b"uuid")


@dataclass(frozen=True)
class Tags:
    """What the file's directories say.

    Attributes:
        directories: main directory first (its children are EXIF and GPS), then those of the
            pictures it holds; empty when the format has none that are known.
        whole: the directories' offsets count from the file's start, so they tell where its
            data lie.
    """

    directories: tuple[ifd.Directory, ...] = ()
    whole: bool = False

    @property
    def main(self) -> ifd.Directory | None:
        """The first directory."""
        return self.directories[0] if self.directories else None

    @property
    def is_dng(self) -> bool:
        """The file calls itself a DNG."""
        return self.main is not None and DNG_VERSION in self.main.entries

    def numbers(self, tag: int) -> list:
        """Values of a tag in the main directory or its EXIF, [] when neither has it."""
        for place in self._places():
            found = place.numbers(tag)
            if found:
                return found
        return []

    def number(self, tag: int) -> float | None:
        """First value of a tag if it is a positive number, else None."""
        found = self.numbers(tag)
        return float(found[0]) if found and found[0] > 0 else None

    def text(self, tag: int) -> str:
        """Text of a tag in the main directory or its EXIF, "" when neither has it."""
        return next((text for place in self._places() if (text := place.text(tag))), "")

    @property
    def dated(self) -> bool:
        """There is a date, right or wrong."""
        return bool(self.text(DATE_ORIGINAL) or self.text(DATE))

    @property
    def taken(self) -> datetime | None:
        """When the picture was taken by the camera's clock, None when not told."""
        for tag in (DATE_ORIGINAL, DATE):
            try:
                return datetime.strptime(self.text(tag)[:19], "%Y:%m:%d %H:%M:%S")
            except ValueError:
                continue
        return None

    @property
    def iso(self) -> float | None:
        """ISO speed; 65535 in its own tag means that a later one holds it (EXIF 2.3)."""
        found = self.number(ISO)
        if found is not None and found < 65535:
            return found
        return next((speed for tag in ISO_SPEEDS if (speed := self.number(tag))), None)

    def _places(self) -> Iterator[ifd.Directory]:
        if self.main is not None:
            if ifd.EXIF in self.main.children:
                yield self.main.children[ifd.EXIF]
            yield self.main


def read(path: str | Path) -> Tags:
    """The tags of a file; damaged or unknown ones are left out.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        try:
            return _read(stream)
        except (ValueError, struct.error, OverflowError):
            return Tags()


def _read(stream: BinaryIO) -> Tags:
    head = stream.read(16)
    if head[:2] in (b"II", b"MM"):
        return Tags(_walk(stream), whole=True)
    if head[:15] == b"FUJIFILMCCD-RAW":
        stream.seek(84)
        start, length = struct.unpack(">II", stream.read(8))
        stream.seek(start)
        block = _exif_of_jpeg(stream.read(min(length, 1 << 18)))
        return Tags(_walk(io.BytesIO(block)))
    if head[4:8] == b"ftyp" and head[8:12] == b"crx ":
        return Tags(_canon_boxes(stream))
    return Tags()


def _walk(stream: BinaryIO) -> tuple[ifd.Directory, ...]:
    order, first, big = ifd.header(stream)
    found: list[ifd.Directory] = []
    waiting, seen = [first], set()
    while waiting and len(found) < _MAX_DIRECTORIES:
        offset = waiting.pop(0)
        if not offset or offset in seen:
            continue
        seen.add(offset)
        try:
            directory = ifd.read(stream, order, offset, big)
        except (ValueError, struct.error, OverflowError):
            if not found:
                raise
            continue
        found.append(directory)
        waiting += [int(sub) for sub in directory.numbers(SUB_DIRECTORIES)] + [directory.next]
    return tuple(found)


def _exif_of_jpeg(data: bytes) -> bytes:
    """The EXIF block of a JPEG's first APP1 segment that holds one.

    Raises:
        ValueError: it has none.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] == 0xE1 and data[at + 4:at + 10] == b"Exif\0\0":
            return data[at + 10:at + 2 + length]
        at += 2 + length
    raise ValueError("no EXIF in the preview")


def boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Boxes of an ISO base media file: (type, first byte of the content, one past its last).

    The last box may state an end behind `end`: then the file was cut.
    """
    at = start
    while at + 8 <= end:
        stream.seek(at)
        size, kind = struct.unpack(">I4s", stream.read(8))
        content = at + 8
        if size == 1:
            size = struct.unpack(">Q", stream.read(8))[0]
            content += 8
        elif size == 0:
            size = end - at
        if size < content - at:
            return
        if kind == b"uuid":
            content += 16
        yield kind, content, at + size
        at += size


def _canon_boxes(stream: BinaryIO) -> tuple[ifd.Directory, ...]:
    blocks: dict[bytes, ifd.Directory] = {}

    def visit(start: int, end: int, depth: int) -> None:
        for kind, first, last in boxes(stream, start, end):
            if kind in _BOX_LISTS and depth < 3:
                visit(first, min(last, end), depth + 1)
            elif kind[:3] == b"CMT" and last - first < 1 << 20:
                stream.seek(first)
                blocks[kind] = ifd.parse(stream.read(last - first))

    visit(0, stream.seek(0, io.SEEK_END), 0)
    main = blocks.get(b"CMT1")
    if main is None:
        return ()
    for kind, tag in ((b"CMT2", ifd.EXIF), (b"CMT4", ifd.GPS)):
        if kind in blocks:
            main.children[tag] = blocks[kind]
    return (main,)
