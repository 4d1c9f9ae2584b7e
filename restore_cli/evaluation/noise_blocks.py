"""Noise power by frequency, measured in the flattest 8x8 blocks of one plane.

White noise has the same power in every DCT coefficient of a block, image structure has most of it
in the lowest ones and in some blocks only. Three measures keep structure out without biasing the
noise:

1. Cross-selection. The coefficients fall into two halves like the fields of a chessboard; the
   power of one half is measured in the blocks where the *other* half is weakest. Picking blocks
   by their own variance would find noise that happens to be weak.
2. Medians over blocks instead of means.
3. Blocks are compared with blocks of like brightness, because noise grows with brightness. In
   each class the number of blocks grows from the flattest 4 % up while the power stays the same
   within its uncertainty (Lepski's rule); how far it gets tells noise, which has a floor, from
   texture, which has none.

The idea of sorting DCT blocks by their low frequencies is Ponomarenko et al. 2007 and Colom,
Buades and Morel 2014; the rest was fitted on photographs with known noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 8
_CELLS = SIDE * SIDE
_BLOCKS = 20_000  # looked at, about; keeps large pictures quick
_OVERLAP_BELOW = 600_000  # pixels; small planes use blocks every 4 pixels
_CLASSES = 6
_PER_CLASS = 300  # blocks a brightness class must have
_FRACTIONS = (0.04, 0.07, 0.12, 0.2, 0.35, 0.6)
_FEWEST = 24  # blocks to take a median of
_TOLERANCE = 2.5  # standard errors two estimates of the same power may differ by
_SLACK = 0.02  # and this share besides
_CHI2_MEDIAN = 0.45494  # median of the square of a standard normal variable
_ENOUGH = 100  # blocks without cut off pixels
_CLIPPED_SHARE = 0.03  # of a block's pixels; a block with more at a limit is not used

_rows, _columns = np.indices((SIDE, SIDE))
ORDER = (_rows + _columns).ravel()  # 0 (mean) to 14 (finest)
_HALF = ORDER % 2
MEASURED = ORDER >= 3  # below it, shading of flat areas outweighs weak noise
FINE = ORDER >= 10  # where photographs have least: noise level within 3 % at sigma 10 (of 255)


def _dct_matrix() -> np.ndarray:
    n = np.arange(SIDE)
    matrix = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * n + 1) * n[:, None] / (2 * SIDE))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


DCT = _dct_matrix()
# Of a block as one row: 64 numbers times this are its 64 coefficients.
_DCT_OF_BLOCK = np.kron(DCT, DCT).T.copy()
_TOGETHER = 64  # blocks in one product; more, and BLAS would start threads that then idle awake


@dataclass(frozen=True)
class Blocks:
    """Blocks of a plane: mean brightness (N,), DCT coefficients (N, 64) with the mean removed,
    and how many of the N count as independent (overlapping ones do not)."""

    mean: np.ndarray
    coefficients: np.ndarray
    independent: float


@dataclass(frozen=True)
class Spectrum:
    """Noise power of one brightness class.

    Attributes:
        mean: brightness of the blocks used, in the plane's unit.
        power: (64,) mean square of each DCT coefficient, unit squared.
        blocks: how many independent blocks it was measured in.
        share: of the class's blocks that agree on this power, 0.04 to 0.6. Noise gives large
            shares; 0.04 means that no floor was found.
        chosen: indices of blocks used for either half.
    """

    mean: float
    power: np.ndarray
    blocks: float
    share: float
    chosen: tuple[np.ndarray, np.ndarray]


def distance(shape: tuple[int, int]) -> int:
    """Pixels from one to the next of the blocks to look at, which are spread over the plane from
    its top left corner on."""
    height, width = shape
    stride = SIDE // 2 if height * width <= _OVERLAP_BELOW else SIDE
    thin = max(1.0, np.sqrt(height * width / stride**2 / _BLOCKS))
    return max(stride, int(np.ceil(stride * thin)))


def cut(plane: np.ndarray) -> Blocks:
    """Blocks of a float (H, W) plane, both sides at least 8."""
    every = distance(plane.shape)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (SIDE, SIDE))[::every, ::every]
    blocks = np.array(windows, np.float32).reshape(-1, _CELLS)
    mean = blocks.mean(axis=1)
    blocks -= mean[:, None]
    return Blocks(mean, transform(blocks), len(mean) * min(1.0, (every / SIDE) ** 2))


def joined(plane: np.ndarray, every: int, join: np.ufunc) -> np.ndarray:
    """Sum, minimum or maximum (`join`) of the 8x8 pixels right and below of every pixel in every
    `every`-th row of (H, W)."""
    bands = np.lib.stride_tricks.sliding_window_view(plane, SIDE, axis=0)[::every]
    found = bands[..., 0].copy()
    for index in range(1, SIDE):
        join(found, bands[..., index], out=found)
    for reach in (1, 2, 4):
        found = join(found[:, :-reach], found[:, reach:])
    return found


def transform(blocks: np.ndarray) -> np.ndarray:
    """(N, 64) DCT coefficients of (N, 64) float32 pixels, blocks row by row."""
    found = np.empty_like(blocks)
    whole = len(blocks) // _TOGETHER * _TOGETHER
    np.matmul(blocks[:whole].reshape(-1, _TOGETHER, _CELLS), _DCT_OF_BLOCK,
              out=found[:whole].reshape(-1, _TOGETHER, _CELLS))
    np.matmul(blocks[whole:], _DCT_OF_BLOCK, out=found[whole:])
    return found


def usable(plane: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Which blocks of `cut` have few pixels at the limits `low` and `high`; (N,) bool.

    All True when hardly any would be left.
    """
    at_limit = np.zeros(plane.shape, bool)
    if low is not None:
        at_limit |= plane <= low
    if high is not None:
        at_limit |= plane >= high
    every = distance(plane.shape)
    count = joined(at_limit.view(np.uint8), every, np.add)[:, ::every]
    fine = (count <= _CLIPPED_SHARE * _CELLS).ravel()
    return fine if fine.sum() >= _ENOUGH else np.ones(len(fine), bool)


def spectra(blocks: Blocks, among: np.ndarray) -> list[Spectrum]:
    """Noise power in each brightness class, darkest first.

    Args:
        blocks: from `cut`.
        among: (N,) bool, the blocks that may be used.

    Returns:
        At least one spectrum; classes without any variation are left out unless all are.
    """
    index = np.flatnonzero(among)
    squares = blocks.coefficients[index]
    squares *= squares
    varied = squares.sum(axis=1) > 0  # constant blocks say nothing about noise
    if not varied.all():
        index, squares = index[varied], squares[varied]
    if len(index) < _FEWEST:
        return [_still(blocks)]
    rate = blocks.independent / len(blocks.mean)
    mean = blocks.mean[index]
    # A coefficient's squares in one row: what medians are taken of lies together.
    measured = [np.array(squares.T[half != _HALF], order="C") for half in (0, 1)]
    typical = np.empty(_CELLS, np.float32)
    for half, rows in enumerate(measured):
        typical[half != _HALF] = _medians(rows.copy())
    # Every coefficient counts the same in the ranking; the mean is none.
    scaled = np.divide(squares, np.maximum(typical, np.float32(1e-30)), out=squares)
    np.minimum(scaled, np.float32(1e4), out=scaled)
    scaled[:, 0] = 0
    ranks = [scaled[:, _HALF == half].sum(axis=1) for half in (0, 1)]
    classes = max(1, min(_CLASSES, len(index) // _PER_CLASS))
    found = []
    for members in np.array_split(np.argsort(mean, kind="stable"), classes):
        orders = [members[np.argsort(rank[members], kind="stable")] for rank in ranks]
        found.append(_grow(measured, mean, orders, rate, index))
    return found


def _grow(measured: list[np.ndarray], mean: np.ndarray, orders: list[np.ndarray], rate: float,
          index: np.ndarray) -> Spectrum:
    """Lepski's rule: the largest set of flattest blocks that agrees with all smaller ones.

    Args:
        measured: for each half that ranks, (32, N) squares of the other.
        mean, rate, index: of the N blocks, see `spectra`.
        orders: for each half, the class's blocks from the flattest on.
    """
    count = len(orders[0])
    most = min(count, max(_FEWEST, int(count * _FRACTIONS[-1])))
    sorted_by = [rows.take(order[:most], axis=1)
                 for rows, order in zip(measured, orders, strict=True)]
    best, kept, bounds = None, 0, (-np.inf, np.inf)
    for fraction in _FRACTIONS:
        size = min(count, max(_FEWEST, int(count * fraction)))
        power = np.empty(_CELLS)
        for half, rows in enumerate(sorted_by):
            # Ranked by one half, measured on the other.
            power[half != _HALF] = _medians(rows[:, :size].copy()) / _CHI2_MEDIAN
        level = float(power[MEASURED].mean())
        error = np.sqrt(2 * 2.7 / max(1.0, size * rate * MEASURED.sum()))
        reach = _TOLERANCE * error + _SLACK
        low, high = level * (1 - reach), level * (1 + reach)
        if best is not None and (low > bounds[1] or high < bounds[0]):
            break
        bounds = max(bounds[0], low), min(bounds[1], high)
        best, kept, share = power, size, fraction
        if size == count:
            break
    used = [order[:kept] for order in orders]
    return Spectrum(float(mean[np.concatenate(used)].mean()), best, kept * rate, share,
                    (index[used[0]], index[used[1]]))


def _still(blocks: Blocks) -> Spectrum:
    everything = np.arange(len(blocks.mean))
    return Spectrum(float(blocks.mean.mean()), np.zeros(_CELLS), blocks.independent, 1.0,
                    (everything, everything))


def power_at(blocks: Blocks, chosen: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(64,) power of other blocks (of the same places) where a `Spectrum` was measured."""
    power = np.empty(_CELLS)
    for half, index in enumerate(chosen):
        other = half != _HALF
        rows = np.array(blocks.coefficients.take(index, axis=0).T[other], order="C")
        rows *= rows
        power[other] = _medians(rows) / _CHI2_MEDIAN
    return power


def medians(values: np.ndarray) -> np.ndarray:
    """(M,) medians of the columns of (N, M) numbers, as `numpy.median` gives them, but sooner."""
    return _medians(np.array(values.T, order="C"))


def _medians(rows: np.ndarray) -> np.ndarray:
    """(M,) medians of (M, N) numbers, which are put in another order."""
    count = rows.shape[1]
    middle = count // 2
    if rows.dtype == np.float32 and _sorting_is_faster():
        rows.sort(axis=1)
        below = rows[:, max(0, middle - 1)]
    else:
        rows.partition(middle, axis=1)
        below = rows[:, :middle].max(axis=1) if middle else rows[:, 0]
    upper = rows[:, middle]
    return upper.copy() if count % 2 else (below + upper) / 2


@cache
def _sorting_is_faster() -> bool:
    """Whether NumPy sorts numbers sooner than it finds their median: where the CPU has AVX-512
    some of its versions sort with it, and are four times faster; elsewhere it is three times
    slower. Tried once, on fresh numbers each time, for processors learn by heart."""
    numbers = np.random.default_rng(0).standard_normal((4, 2, 8, 1000), np.float32)
    seconds = [0.0, 0.0]
    for pair in numbers:
        for which, rows in enumerate(pair):
            begin = time.perf_counter()
            if which:
                rows.partition(500, axis=1)
            else:
                rows.sort(axis=1)
            seconds[which] += time.perf_counter() - begin
    return seconds[0] < seconds[1]


def measured_on(half: int) -> np.ndarray:
    """(64,) bool: the coefficients that were measured in a `Spectrum`'s ``chosen[half]``."""
    return half != _HALF
