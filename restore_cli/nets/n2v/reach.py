"""Which input pixels an output pixel of a strided network depends on, along one axis.

Networks here pool and upsample, so the reach differs from pixel to pixel. What tiling needs is
the halo of a tile whose borders are multiples of the network's alignment: how far the pixels of
the tile look beyond its border. `Reach` holds, for every position of a feature map, the first and
the last input pixel it depends on; the functions follow the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Reach(NamedTuple):
    """First and last input pixel of each position; position 0 is in the middle."""

    first: np.ndarray
    last: np.ndarray


def halo(network: Callable[[Reach], Reach], align: int) -> int:
    """Input pixels that an aligned tile needs beyond its border, on either side.

    Args:
        network: maps the input's `Reach` to the output's, built of the functions below.
        align: tile borders are multiples of this.
    """
    half = 16 * align
    while True:
        start = np.arange(-half, half)
        out = network(Reach(start, start))
        middle = len(out.first) // 2
        found = max(-int(out.first[middle:].min()), int(out.last[:middle].max()) + 1, 0)
        # Whatever the ends of the axis cut off still reaches the very end.
        if found < half:
            return found
        half *= 2


def conv(x: Reach, times: int = 1) -> Reach:
    """3-tap convolutions with stride 1, plain or transposed."""
    for _ in range(times):
        x = Reach(np.r_[x.first[:1], x.first[:-1]], np.r_[x.last[1:], x.last[-1:]])
    return x


def pool(x: Reach) -> Reach:
    """Pooling over pairs; also a reshaping of pairs into channels."""
    return Reach(x.first[::2], x.last[1::2])


def strided(x: Reach) -> Reach:
    """A 3-tap convolution with stride 2 and zero padding 1."""
    x = conv(x)
    return Reach(x.first[::2], x.last[::2])


def blur_pool(x: Reach) -> Reach:
    """Maximum over neighbours (p, p + 1), then 3 taps with stride 2."""
    return strided(Reach(x.first, np.r_[x.last[1:], x.last[-1:]]))


def transposed(x: Reach) -> Reach:
    """A transposed 3-tap convolution with stride 2, padding 1 and output padding 1."""
    return _interleaved(x, x, Reach(x.first, np.r_[x.last[1:], x.last[-1:]]))


def linear_up(x: Reach) -> Reach:
    """Linear interpolation to twice the length, pixel corners aligned by area."""
    wide = conv(x)
    return _interleaved(x, Reach(wide.first, x.last), Reach(x.first, wide.last))


def union(*parts: Reach) -> Reach:
    """A concatenation along channels, or a sum."""
    return Reach(np.minimum.reduce([p.first for p in parts]),
                 np.maximum.reduce([p.last for p in parts]))


def _interleaved(x: Reach, even: Reach, odd: Reach) -> Reach:
    first, last = np.repeat(x.first, 2), np.repeat(x.last, 2)
    first[::2], first[1::2] = even.first, odd.first
    last[::2], last[1::2] = even.last, odd.last
    return Reach(first, last)
