"""Bayer mosaics as four planes and back.

The order of the planes is R, G1, B, G2 everywhere, G1 being the green on red's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from restore_cli.errors import ShapeError


@dataclass(frozen=True)
class Pattern:
    """One of the four orders of a Bayer mosaic.

    Attributes:
        name: the colours of the top-left 2x2 cell, row by row, such as "RGGB".
        offsets: (row, column) of R, G1, B and G2 in that cell.
    """

    name: str
    offsets: tuple[tuple[int, int], ...]


def _pattern(name: str) -> Pattern:
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    red, blue = places[name.index("R")], places[name.index("B")]
    greens = [place for place, letter in zip(places, name, strict=True) if letter == "G"]
    greens.sort(key=lambda place: place[0] != red[0])
    return Pattern(name, (red, greens[0], blue, greens[1]))


PATTERNS = MappingProxyType({name: _pattern(name) for name in ("RGGB", "BGGR", "GRBG", "GBRG")})


def pack(mosaic: np.ndarray, pattern: Pattern) -> np.ndarray:
    """The planes of a mosaic; an odd last row or column is left out.

    Args:
        mosaic: (H, W), any dtype.

    Returns:
        (4, H // 2, W // 2), same dtype, a copy.

    Raises:
        ShapeError: not two-dimensional, or a side under 2.
    """
    height, width = _even(mosaic)
    planes = np.empty((4, height // 2, width // 2), mosaic.dtype)
    for plane, (row, column) in zip(planes, pattern.offsets, strict=True):
        plane[:] = mosaic[row:height:2, column:width:2]
    return planes


def unpack(planes: np.ndarray, pattern: Pattern, mosaic: np.ndarray) -> np.ndarray:
    """Writes planes into a mosaic in place; an odd last row or column stays as it is.

    Args:
        planes: (4, H // 2, W // 2) of a dtype that casts to the mosaic's without loss.
        mosaic: (H, W), written to.

    Returns:
        The same mosaic.

    Raises:
        ShapeError: shapes that do not belong together.
    """
    height, width = _even(mosaic)
    if planes.shape != (4, height // 2, width // 2):
        raise ShapeError("planes", f"(4, {height // 2}, {width // 2})", planes.shape)
    for plane, (row, column) in zip(planes, pattern.offsets, strict=True):
        np.copyto(mosaic[row:height:2, column:width:2], plane)
    return mosaic


def _even(mosaic: np.ndarray) -> tuple[int, int]:
    if mosaic.ndim != 2 or min(mosaic.shape) < 2:
        raise ShapeError("mosaic", "(H, W) of at least 2x2", mosaic.shape)
    return mosaic.shape[0] // 2 * 2, mosaic.shape[1] // 2 * 2
