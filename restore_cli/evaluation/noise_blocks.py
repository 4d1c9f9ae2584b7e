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

from dataclasses import dataclass

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


def places(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows and columns of the top left corners of the blocks to look at, spread over the plane.

    Returns:
        (rows, columns, share of the blocks that are independent).
    """
    height, width = shape
    stride = SIDE // 2 if height * width <= _OVERLAP_BELOW else SIDE
    thin = max(1.0, np.sqrt(height * width / stride**2 / _BLOCKS))
    step = max(stride, int(np.ceil(stride * thin)))
    rows = np.arange(0, height - SIDE + 1, step)
    columns = np.arange(0, width - SIDE + 1, step)
    return rows, columns, min(1.0, (step / SIDE) ** 2)


def cut(plane: np.ndarray) -> Blocks:
    """Blocks of a float (H, W) plane, both sides at least 8."""
    rows, columns, independent = places(plane.shape)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (SIDE, SIDE))
    blocks = windows[np.ix_(rows, columns)].reshape(-1, _CELLS).astype(np.float32, copy=False)
    mean = blocks.mean(axis=1)
    blocks -= mean[:, None]
    return Blocks(mean, transform(blocks), len(mean) * independent)


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
    rows, columns, _ = places(plane.shape)
    at_limit = np.zeros(plane.shape, bool)
    if low is not None:
        at_limit |= plane <= low
    if high is not None:
        at_limit |= plane >= high
    total = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(at_limit, axis=0, dtype=np.int32), axis=1, out=total[1:, 1:])
    ends = (rows + SIDE, columns + SIDE)
    count = (total[np.ix_(*ends)] - total[np.ix_(rows, ends[1])]
             - total[np.ix_(ends[0], columns)] + total[np.ix_(rows, columns)])
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
    squares = blocks.coefficients[index] ** 2
    varied = squares.sum(axis=1) > 0  # constant blocks say nothing about noise
    if not varied.all():
        index, squares = index[varied], squares[varied]
    if len(index) < _FEWEST:
        return [_still(blocks)]
    rate = blocks.independent / len(blocks.mean)
    mean = blocks.mean[index]
    # Every coefficient counts the same in the ranking; the mean is none.
    scaled = np.minimum(squares / np.maximum(medians(squares), 1e-30), 1e4)
    scaled[:, 0] = 0
    ranks = [scaled[:, _HALF == half].sum(axis=1) for half in (0, 1)]
    classes = max(1, min(_CLASSES, len(index) // _PER_CLASS))
    found = []
    for members in np.array_split(np.argsort(mean, kind="stable"), classes):
        orders = [members[np.argsort(rank[members], kind="stable")] for rank in ranks]
        found.append(_grow(squares, mean, orders, rate, index))
    return found


def _grow(squares: np.ndarray, mean: np.ndarray, orders: list[np.ndarray], rate: float,
          index: np.ndarray) -> Spectrum:
    """Lepski's rule: the largest set of flattest blocks that agrees with all smaller ones."""
    count = len(orders[0])
    best, kept, bounds = None, 0, (-np.inf, np.inf)
    for fraction in _FRACTIONS:
        size = min(count, max(_FEWEST, int(count * fraction)))
        power = np.empty(_CELLS)
        for half, order in enumerate(orders):
            # Ranked by one half, measured on the other.
            other = half != _HALF
            power[other] = medians(squares[order[:size]][:, other]) / _CHI2_MEDIAN
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
        squares = blocks.coefficients[index][:, other] ** 2
        power[other] = medians(squares) / _CHI2_MEDIAN
    return power


def medians(values: np.ndarray) -> np.ndarray:
    """(M,) medians of the columns of (N, M) numbers, as `numpy.median` gives them, but sooner."""
    columns, middle = np.array(values.T, order="C"), len(values) // 2
    columns.partition(middle, axis=1)
    upper = columns[:, middle]
    return upper if len(values) % 2 else (columns[:, :middle].max(axis=1) + upper) / 2


def measured_on(half: int) -> np.ndarray:
    """(64,) bool: the coefficients that were measured in a `Spectrum`'s ``chosen[half]``."""
    return half != _HALF
