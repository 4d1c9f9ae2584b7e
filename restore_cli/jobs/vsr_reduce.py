"""Smaller scales than the network's own: its result, reduced without aliasing on the same phase.

The network's grid has pixel (i, j) of the film on pixel (k i, k j) of the result, and so has the
reduced one with its own scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

_SLOPE = -0.5  # of the cubic, as in most programs
_BAND = 1 << 20  # values of the picture that are worked on at once


def reduce(picture: np.ndarray, before: int, after: int) -> np.ndarray:
    """Cubic reduction, the filter as wide as the new pixels ask; edges repeat.

    Args:
        picture: (before * H, before * W, C) float32; clipped to 0 to 1 first.
        before, after: scales, `after` the smaller.

    Returns:
        (after * H, after * W, C) float32.
    """
    return np.concatenate([part for _, part in bands(picture, before, after)])


def bands(picture: np.ndarray, before: int, after: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The same piece by piece, so that it takes little memory beside the picture.

    Yields:
        Rows of the result, and these: (rows, after * W, C) float32.
    """
    height, width = (side // before for side in picture.shape[:2])
    step = max(1, _BAND // picture[:before].size)
    reach = math.ceil(2 * before / after)
    for first in range(0, height, step):
        last = min(first + step, height)
        # Rows and columns beyond an edge repeat it.
        part = np.clip(picture[_within(first * before - reach, (last + 1) * before + reach,
                                       len(picture))], 0, 1)
        part = _along(part, last - first, before, after).swapaxes(0, 1)
        part = _along(part[_within(-reach, (width + 1) * before + reach, len(part))], width,
                      before, after)
        yield slice(after * first, after * last), part.swapaxes(0, 1)


def _within(first: int, last: int, length: int) -> np.ndarray:
    return np.clip(np.arange(first, last), 0, length - 1)


def _along(padded: np.ndarray, count: int, before: int, after: int) -> np.ndarray:
    """Reduces along the first axis.

    Args:
        padded: ``before * count`` values, with as many before them as the filter reaches, and
            as many and `before` more after them.
    """
    wide = before / after
    reach = math.ceil(2 * wide)
    out = np.empty((after * count, *padded.shape[1:]), np.float32)
    for phase in range(after):
        centre = phase * wide
        taps = range(math.ceil(centre - 2 * wide), math.floor(centre + 2 * wide) + 1)
        weights = np.array([_cubic(abs(tap - centre) / wide) for tap in taps])
        total: np.ndarray | None = None
        for tap, weight in zip(taps, (weights / weights.sum()).astype(np.float32), strict=True):
            if weight:
                first = tap + reach
                part = weight * padded[first:first + before * count:before]
                total = part if total is None else np.add(total, part, out=total)
        out[phase::after] = total
    return out


def _cubic(x: float) -> float:
    if x < 1:
        return ((_SLOPE + 2) * x - (_SLOPE + 3)) * x * x + 1
    return ((_SLOPE * x - 5 * _SLOPE) * x + 8 * _SLOPE) * x - 4 * _SLOPE if x < 2 else 0.0
