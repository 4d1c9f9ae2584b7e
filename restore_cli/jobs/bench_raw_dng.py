"""A DNG as a short script reads and writes it, for `restore bench denoise-raw`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLACK, WHITE = 512, 16383

# XYZ to the colours of a common sensor, and its neutral, as fractions.
_MATRIX = (0.6988, -0.1384, -0.0714, -0.5631, 1.341, 0.2447, -0.1485, 0.2204, 0.7318)
_NEUTRAL = (5, 10, 1, 1, 5, 8)
_CFA, _LOSSLESS_JPEG = 32803, 7
_BYTE, _TEXT, _SHORT, _LONG, _RATIONAL, _SIGNED_RATIONAL = 1, 2, 3, 4, 5, 10


def write(path: str | Path, mosaic: np.ndarray) -> None:
    """Writes a mosaic in the order RGGB with the levels `BLACK` and `WHITE`.

    Args:
        mosaic: (H, W) uint16.
    """
    import imagecodecs
    import tifffile

    matrix = tuple(part for value in _MATRIX for part in (round(value * 10000), 10000))
    tags = [
        (33421, _SHORT, 2, (2, 2), True), (33422, _BYTE, 4, bytes((0, 1, 1, 2)), True),
        (50706, _BYTE, 4, bytes((1, 4, 0, 0)), True), (50708, _TEXT, 0, "Benchmark", True),
        (50714, _LONG, 1, BLACK, True), (50717, _LONG, 1, WHITE, True),
        (50721, _SIGNED_RATIONAL, 9, matrix, True), (50728, _RATIONAL, 3, _NEUTRAL, True),
        (50778, _SHORT, 1, 21, True)]
    coded = bytes(imagecodecs.ljpeg_encode(np.ascontiguousarray(mosaic), bitspersample=16))
    tifffile.imwrite(path, iter([coded]), shape=mosaic.shape, dtype=mosaic.dtype,
                     photometric=_CFA, compression=_LOSSLESS_JPEG, rowsperstrip=mosaic.shape[0],
                     extratags=tags, metadata=None)


def read(path: str | Path) -> np.ndarray:
    """The (H, W) uint16 mosaic of such a file."""
    import rawpy

    with rawpy.imread(str(path)) as opened:
        return opened.raw_image_visible.copy()


def pack(mosaic: np.ndarray) -> np.ndarray:
    """(4, H // 2, W // 2) float32 planes R, G1, B, G2: 0 at black, 1 at white."""
    packed = np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 1::2],
                       mosaic[1::2, 0::2]]).astype(np.float32)
    return (packed - np.float32(BLACK)) / np.float32(WHITE - BLACK)


def unpack(planes: np.ndarray) -> np.ndarray:
    """The mosaic of clean planes, rounded; reverses `pack`."""
    stored = np.rint(planes * np.float32(WHITE - BLACK) + np.float32(BLACK)).astype(np.uint16)
    mosaic = np.empty((2 * planes.shape[1], 2 * planes.shape[2]), np.uint16)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 1::2], mosaic[1::2, 0::2] = stored
    return mosaic
