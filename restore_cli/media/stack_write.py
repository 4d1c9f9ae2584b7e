"""Multi-dimensional TIFF out: pages in any order, their directories at the end.

The pages' pixels are written as they come; the directories follow when all are there, each a copy
of the source's own with the tags of storage replaced. So whatever the source says about itself
(axes, resolution, ImageJ's labels and look-up tables, an instrument's private tags) is kept, in
the source's byte order, and a stack that arrives in another order than its pages needs no second
copy on disk.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from restore_cli.media import ifd

BIG = 3_900_000_000  # bytes from which a file is a BigTIFF; classic TIFF ends at 4 GiB
_STRIP = 1 << 20
_LEVEL = 1  # of deflate, as tiff_write
_HEAD = 16
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD = (1, 5, 8, 32946, 32773, 34925,
                                                                50000)
_KNOWN = (_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD)
_POINTERS = (ifd.EXIF, ifd.GPS, ifd.INTEROP)
# Tags of how the source stored its samples, or that point into the source.
_STORAGE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289,
            292, 293, 317, 322, 323, 324, 325, 330, 339, 340, 341, 347, 512, 513, 514, 515, 517,
            518, 519, 520, 521, 529, 530, 531, 532, 32997, 32998, 33628, 33629, 33630, 33631,
            33560, 34412, 50674}
# What directories share that a source with a single one does not repeat.
_COMMON = {262, 274, 282, 283, 296, 338}


@dataclass(frozen=True)
class Look:
    """How the pages of a file are stored.

    Attributes:
        frames: their number.
        shape: of one page: (Y, X), (Y, X, S) or (S, Y, X).
        axes: its letters.
        dtype: of the samples.
        compression, predictor: TIFF's numbers, 1 is none.
        photometric: TIFF's number.
        order: "<" or ">".
        big: write a BigTIFF whatever the size.
    """

    frames: int
    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype
    compression: int = 1
    predictor: int = 1
    photometric: int = 1
    order: str = "<"
    big: bool = False

    @property
    def separate(self) -> bool:
        """Samples in planes of their own."""
        return len(self.axes) == 3 and self.axes.index("X") == 2

    @property
    def samples(self) -> int:
        """Samples a pixel."""
        return self.shape[0 if self.separate else -1] if len(self.axes) == 3 else 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.shape[1:] if self.separate else self.shape[:2]

    @property
    def bytes(self) -> int:
        """Bytes of one page, not compressed."""
        return math.prod(self.shape) * self.dtype.itemsize


def repeatable(compression: int, predictor: int, dtype: np.dtype) -> tuple[int, int]:
    """The compression and predictor for samples of `dtype` that a source's ask for.

    Lossy and rare compressions become deflate.
    """
    if compression not in _KNOWN:
        compression, predictor = _DEFLATE, 2
    if compression in (_NONE, _PACKBITS) or predictor == 1 or (
            dtype.kind in "ui" and dtype.itemsize == 8):  # no reader knows that
        return compression, 1
    if dtype.kind == "f":
        return compression, 3
    return compression, 2


class TiffStack:
    """A TIFF being written.

    Args:
        stream: open for reading and writing, empty.
    """

    def __init__(self, stream: BinaryIO, look: Look) -> None:
        self._stream, self._look = stream, look
        self.big = look.big or look.frames * look.bytes > BIG
        self._strips: list[tuple[array, array] | None] = [None] * look.frames
        height, width = look.size
        row = width * look.dtype.itemsize * (1 if look.separate else look.samples)
        plain = look.compression == _NONE
        self._rows = height if plain else max(1, min(height, _STRIP // max(1, row)))
        self._encode = _encoder(look)
        stream.write(bytes(_HEAD))

    def put(self, number: int, frame: np.ndarray) -> None:
        """Writes the pixels of a page, (Y, X), (Y, X, S) or (S, Y, X) as `Look.axes` say."""
        look = self._look
        if look.compression == _NONE:
            # Readers take a page's place from the first page's: no gaps, in the pages' order.
            place = _HEAD + number * look.bytes
            self._stream.seek(place)
            stored = np.ascontiguousarray(frame, look.dtype.newbyteorder(look.order))
            self._stream.write(memoryview(stored.reshape(-1)).cast("B"))
            part = look.bytes // (look.samples if look.separate else 1)
            places = range(place, place + look.bytes, part)
            self._strips[number] = array("Q", places), array("Q", [part] * len(places))
            return
        places, lengths = array("Q"), array("Q")
        at = self._stream.seek(0, 2)
        for plane in (frame if look.separate else (frame,)):
            rows = plane.reshape(plane.shape[0], plane.shape[1], -1)
            for start in range(0, len(rows), self._rows):
                data = self._encode(np.ascontiguousarray(rows[start:start + self._rows]))
                places.append(at)
                lengths.append(len(data))
                at += self._stream.write(data)
        self._strips[number] = places, lengths

    def finish(self, tags: Callable[[int], ifd.Directory | None]) -> None:
        """Writes the directories and makes the file point to them.

        Args:
            tags: the source's directory for a page, in byte order `Look.order`; None for none.
        """
        look = self._look
        first = tags(0)
        common = {} if first is None else {
            tag: entry for tag, entry in first.entries.items() if tag in _COMMON}
        at = self._stream.seek(0, 2)
        at += self._stream.write(bytes(at % 2))
        head = b"II" if look.order == "<" else b"MM"
        head += struct.pack(look.order + "HHH", 43, 8, 0) if self.big else struct.pack(
            look.order + "H", 42)
        self._stream.seek(0)
        self._stream.write(head)
        word = look.order + ("Q" if self.big else "I")
        self._stream.write(struct.pack(word, at))
        self._stream.seek(at)
        for number in range(look.frames):
            found = first if number == 0 else tags(number)
            directory = found or ifd.Directory(look.order, dict(common))
            self._fill(directory, number)
            block = bytearray(ifd.pack(directory, at, self.big))
            block += bytes(len(block) % 2)
            if number + 1 < look.frames:
                struct.pack_into(word, block, self._next(directory), at + len(block))
            at += self._stream.write(block)

    def _next(self, directory: ifd.Directory) -> int:
        """Place, in a packed directory, of the offset of the next one."""
        count = len({tag for tag in directory.entries if tag not in _POINTERS}
                    | set(directory.children))
        return 8 + 20 * count if self.big else 2 + 12 * count

    def _fill(self, directory: ifd.Directory, number: int) -> None:
        look = self._look
        kept = {tag: entry for tag, entry in directory.entries.items() if tag not in _STORAGE}
        directory.entries = kept
        samples = look.samples
        places, lengths = self._strips[number]
        kind = {"u": 1, "i": 2, "f": 3}[look.dtype.kind]
        numbers = {254: (4, [0]), 256: (4, [look.size[1]]), 257: (4, [look.size[0]]),
                   258: (3, [look.dtype.itemsize * 8] * samples), 259: (3, [look.compression]),
                   262: (3, [look.photometric]), 277: (3, [samples]), 278: (4, [self._rows]),
                   339: (3, [kind] * samples), 284: (3, [2 if look.separate else 1]),
                   273: (16 if self.big else 4, places), 279: (16 if self.big else 4, lengths)}
        if look.predictor != 1:
            numbers[317] = (3, [look.predictor])
        extra = samples - (3 if look.photometric in (2, 6, 9) else 4 if look.photometric == 5
                           else 1)
        if extra <= 0:
            kept.pop(338, None)
        elif 338 not in kept or kept[338].count != extra:
            numbers[338] = (3, [0] * extra)
        for tag, (type_, values) in numbers.items():
            letter = {3: "H", 4: "I", 16: "Q"}[type_]
            kept[tag] = ifd.Entry(type_, len(values),
                                  struct.pack(f"{look.order}{len(values)}{letter}", *values))


def _encoder(look: Look) -> Callable[[np.ndarray], bytes]:
    """Turns rows (H, W, S) of native samples into the bytes of a strip."""
    import imagecodecs

    stored = look.dtype.newbyteorder(look.order)
    pack: Callable[[bytes], bytes] = {
        _NONE: bytes, _LZW: imagecodecs.lzw_encode, _LZMA: imagecodecs.lzma_encode,
        _ZSTD: imagecodecs.zstd_encode, _PACKBITS: bytes,
        _DEFLATE: lambda data: imagecodecs.zlib_encode(data, level=_LEVEL),
        _OLD_DEFLATE: lambda data: imagecodecs.zlib_encode(data, level=_LEVEL)}[look.compression]

    def encode(rows: np.ndarray) -> bytes:
        if look.compression == _PACKBITS:  # each row by itself
            return b"".join(imagecodecs.packbits_encode(row.astype(stored).tobytes())
                            for row in rows)
        if look.predictor == 3:
            return pack(imagecodecs.floatpred_encode(rows, axis=-2).tobytes())
        if look.predictor == 2:
            whole = rows.view(f"u{rows.itemsize}")
            rows = imagecodecs.delta_encode(whole, axis=-2).view(rows.dtype)
        return pack(rows.astype(stored, copy=False).tobytes())

    return encode
