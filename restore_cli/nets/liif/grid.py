"""Where a regular output grid samples a low-resolution one, in exact integer arithmetic.

Per axis, n input samples and N output samples span the same interval; output i lies at
p = ((2i + 1) n - N) / (2N) in input samples. Upstream computes the same in float32 with an
epsilon of 1e-6, which makes ties depend on rounding; integers give one answer on every device
and under any tiling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Corner:
    """One input neighbour of each output sample along one axis.

    Attributes:
        index: (M,) int64 input sample.
        offset: (M,) float32 distance from it, in units in which one sample is 2 wide.
        weight: (M,) float32 interpolation weight.
    """

    index: np.ndarray
    offset: np.ndarray
    weight: np.ndarray


def make_coord(count: int) -> np.ndarray:
    """Centres of `count` equal cells of [-1, 1], float32."""
    return ((2 * np.arange(count) + 1) / count - 1).astype(np.float32)


def corners(n: int, count: int, start: int, stop: int, ensemble: bool) -> list[Corner]:
    """Neighbours of outputs start..stop of `count` on an axis of `n` inputs.

    With `ensemble` the two neighbours of the local ensemble (LIIF section 3.2) with the weights
    of the opposite areas, which form a tent. Outputs beyond the outermost input centres see one
    neighbour twice; they and outputs that fall on a centre get weights (1, 0), so that a
    neighbour of weight 0 need not be evaluated. Without `ensemble`, the nearest input, the
    upper one on a tie.
    """
    i = np.arange(start, stop, dtype=np.int64)
    numerator = (2 * i + 1) * n - count  # p = numerator / (2 count)

    def corner(index: np.ndarray, weight: np.ndarray) -> Corner:
        index = np.clip(index, 0, n - 1)
        offset = (numerator - index * 2 * count) / count
        return Corner(index, offset.astype(np.float32), weight.astype(np.float32))

    if not ensemble:
        return [corner((numerator + count) // (2 * count), np.ones(len(i)))]
    low = numerator // (2 * count)
    fraction = (numerator - low * 2 * count) / (2 * count)
    fraction[(low < 0) | (low >= n - 1)] = 0.0
    return [corner(low, 1 - fraction), corner(low + 1, fraction)]


def phases(n: int, count: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """MetaSR's sampling (Meta-SR, CVPR 2019, section 3.2): index floor(i n / N) and the rest.

    Returns:
        (M,) int64 index and (M,) float32 offset in [0, 1) input samples.
    """
    i = np.arange(start, stop, dtype=np.int64) * n
    index = np.minimum(i // count, n - 1)
    return index, ((i - index * count) / count).astype(np.float32)


def nearest(coord, n: int):
    """Upstream's nearest sample of float coordinates (a Jittor Var in [-1, 1]), int32."""
    limit = 1 - 1e-6
    position = ((coord.clamp(-limit, limit) + 1) * n - 1) * 0.5
    return (position + 0.5).floor().clamp(0, n - 1).int32()
