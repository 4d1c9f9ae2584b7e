"""Sensor values as DNG stores them: lossless-JPEG tiles or plain strips, one piece at a time.

Lossless JPEG (ITU-T T.81, process 14, SOF3) with predictor 1 is what every DNG reader takes. A
mosaic goes in as two components, even and odd columns, so that a value is predicted from its
left neighbour of the same colour, as Adobe's converter does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np

_TILE = 512
_STRIP = 1 << 20


def tile_shape(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the tiles of a picture: multiples of 16, as TIFF wants them.

    As even as can be, for what lies past the picture's edges is coded too. Never wider than the
    picture: LibRaw breaks the rows of such a tile at the picture's width. Never half as wide as
    the picture: LibRaw takes the two components of such a tile for two rows.
    """
    columns = min(_even(width), max(16, width // 16 * 16))
    return _even(height), _even(width, 3) if 2 * columns == width else columns


def _even(length: int, least: int = 1) -> int:
    """The smallest tile side that takes as many tiles as the largest does, or `least`."""
    return -(-length // (max(least, -(-length // _TILE)) * 16)) * 16


def strip_rows(pixels: np.ndarray) -> int:
    """Rows in each plain strip of about a megabyte."""
    return min(pixels.shape[0], max(1, _STRIP // (pixels[:1].size * 2)))


def can_compress(width: int) -> bool:
    """Whether a picture of this width goes into tiles, and the JPEG library can make them."""
    return width >= 16 and _encoder_works()


@lru_cache(maxsize=1)
def _encoder_works() -> bool:
    import imagecodecs

    ramp = (np.arange(512, dtype=np.uint32) * 40503 % 65536).astype(np.uint16).reshape(16, 16, 2)
    try:
        return bool(_encode(ramp))
    except (TypeError, ValueError, RuntimeError, imagecodecs.DelayedImportError):
        return False  # built without it, or older than its options


def tiles(pixels: np.ndarray, threads: int = 1) -> Iterator[bytes]:
    """The lossless-JPEG tiles of a picture, row by row from the top left.

    Args:
        pixels: uint16 (H, W) mosaic with H, W at least 2, or (H, W, 3) camera colours.
        threads: that code tiles; twice as many tiles are held at most.

    Raises:
        RuntimeError: the JPEG library fails.
    """
    height, width = pixels.shape[:2]
    rows, columns = tile_shape(height, width)
    period = 2 if pixels.ndim == 2 else 1

    def coded(place: tuple[int, int]) -> bytes:
        down = _within(place[0], rows, height, period)
        across = _within(place[1], columns, width, period)
        block = np.ascontiguousarray(pixels[down][:, across])
        if block.ndim == 2:
            block = block.reshape(rows, columns // 2, 2)
        return _encode(block)

    places = [(top, left) for top in range(0, height, rows) for left in range(0, width, columns)]
    if min(threads, len(places)) < 2:
        yield from map(coded, places)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[bytes]] = deque()
        try:
            for place in places:
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(coded, place))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:  # the writer failed, or a tile did
                one.cancel()


def strips(pixels: np.ndarray) -> Iterator[bytes]:
    """The plain strips of a picture, values little-endian."""
    rows = strip_rows(pixels)
    for top in range(0, pixels.shape[0], rows):
        yield np.ascontiguousarray(pixels[top:top + rows], dtype="<u2").tobytes()


def _within(start: int, length: int, end: int, period: int) -> slice | np.ndarray:
    """Indices of a tile; past the edge the last value of the same colour repeats."""
    if start + length <= end:
        return slice(start, start + length)
    index = np.arange(start, start + length)
    past = np.maximum(index - (end - 1), 0)
    return index - -(-past // period) * period


def _encode(block: np.ndarray) -> bytes:
    """Lossless JPEG (SOF3) of uint16 (h, w, components).

    Raises:
        RuntimeError: the library fails, or what it made does not read back.
    """
    import imagecodecs

    encoded = bytes(imagecodecs.jpeg8_encode(block, lossless=True, predictor=1, bitspersample=16,
                                             colorspace="unknown", outcolorspace="unknown"))
    # The user may delete the original: each tile is looked at, by another library, before it
    # is trusted.
    if not np.array_equal(imagecodecs.ljpeg_decode(encoded).reshape(block.shape), block):
        raise RuntimeError("the JPEG library changed sensor values")
    return encoded
