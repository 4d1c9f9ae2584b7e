"""Smaller scales than the network's own: its result, reduced without aliasing on the same phase.

The network's grid has pixel (i, j) of the film on pixel (k i, k j) of the result, and so has the
reduced one with its own scale.
"""

from __future__ import annotations

import math

import numpy as np

_SLOPE = -0.5  # of the cubic, as in most programs


def reduce(picture: np.ndarray, before: int, after: int) -> np.ndarray:
    """Cubic reduction, the filter as wide as the new pixels ask; edges repeat.

    Args:
        picture: (before * H, before * W, C) float32; clipped to 0 to 1 first.
        before, after: scales, `after` the smaller.

    Returns:
        (after * H, after * W, C) float32.
    """
    rows = _along(np.clip(picture, 0, 1), before, after)
    return np.ascontiguousarray(_along(rows.swapaxes(0, 1), before, after).swapaxes(0, 1))


def _along(picture: np.ndarray, before: int, after: int) -> np.ndarray:
    """The same with the first axis only."""
    count, wide = picture.shape[0] // before, before / after
    reach = math.ceil(2 * wide)
    padded = np.pad(picture, [(reach, reach + before)] + [(0, 0)] * (picture.ndim - 1), "edge")
    out = np.empty((after * count, *picture.shape[1:]), np.float32)
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
