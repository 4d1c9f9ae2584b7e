"""What a picture's history left in its pixels: limits, steps, JPEG blocks, enlarging, mosaics.

Every function takes float planes of any unit and only looks; nothing here depends on the noise
model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.evaluation.noise_blocks import ORDER, SIDE, joined, transform

_SAMPLE = 1 << 20  # pixels looked at for steps and limits
_PILE = 4.0  # times as many values at a limit as the levels beside it hold
_FEWEST_PILED = 16

_GRID_BLOCKS = 600  # blocks per phase
_FEWEST_BLOCKS = 8
_GRID_ZERO = 0.6  # steps: rounding to pixels moves a zero coefficient less than this (2 sigma)
# Best phase against the spread of the 49 off both its row and column. 82 photographs with noise of
# 5 of 255 stay below 12.2, of 10 and more below 5; with noise of 10 and 25 saved as JPEG of quality
# 75 and 90 they give 51 and more, 21 camera JPEGs 18 and more.
_GRID_SCORE = 12.0
# Of the coefficients within twice _GRID_ZERO, the share within it: 0.96 if only rounding to pixels
# moved them from zero, 0.6 for (normal) noise of one step that was added after JPEG.
_GRID_SHARP = 0.72

_STRIP = 64  # rows looked at together, which stay in the cache
_LINES = 1536  # rows and columns read when looking for enlarging
_PEAK = 8.0  # times the median of the spectrum; see `enlargement`
_MOSAIC = 0.12  # see `mosaic`


@dataclass(frozen=True)
class Limits:
    """Where values pile up: the limit values (None: no pile) and the share of pixels there."""

    low: float | None
    high: float | None
    low_share: float
    high_share: float
LONE = 4.0  # Gaussian noise leaves one in some 10^8 pixels so far off on its own


def sample(plane: np.ndarray) -> np.ndarray:
    """Values of whole rows spread over a (H, W) plane, about a million, 1-D."""
    rows = max(1, _SAMPLE // max(1, plane.shape[1]))
    every = max(1, -(-plane.shape[0] // rows))
    return plane[::every].ravel()


def step(ordered: np.ndarray) -> float:
    """Distance between neighbouring levels of quantised values; 0 for continuous ones.

    A level that no pixel has leaves a gap, so the most common distance counts.

    Args:
        ordered: the values, sorted.
    """
    if not len(ordered):
        return 0.0
    first = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if not len(first) or len(first) + 1 > len(ordered) / 4:
        return 0.0
    levels = ordered[np.concatenate(([0], first))]
    gaps = np.diff(levels.astype(np.float64))
    gaps = gaps[gaps > 1e-7 * max(abs(levels[0]), abs(levels[-1]))]
    if not len(gaps):
        return 0.0
    smallest = float(gaps.min())
    ratios = gaps / smallest
    return float(np.median(gaps)) if np.abs(ratios - np.round(ratios)).max() > 0.1 else smallest


def limits(values: np.ndarray, step_size: float) -> Limits:
    """Values cut off at the bottom or top pile up there: more pixels than the levels beside."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return Limits(None, None, 0.0, 0.0)
    width = step_size or (high - low) / 1024
    shares = []
    for limit, inwards in ((low, 1.0), (high, -1.0)):
        distance = (values - limit) * inwards
        at = int(np.count_nonzero(distance < 0.25 * step_size if step_size else distance == 0))
        beside = int(np.count_nonzero(distance < 3.5 * width)) - at
        piled = at >= _FEWEST_PILED and at > _PILE * beside / 3
        shares.append(at / len(values) if piled else 0.0)
    return Limits(low if shares[0] else None, high if shares[1] else None, *shares)


def jpeg_grid(plane: np.ndarray, step_size: float) -> tuple[tuple[int, int] | None, float]:
    """Whether pixels were once JPEG blocks, and where their grid starts.

    Blocks cut on the coder's own grid have many coefficients that were rounded to zero, blocks
    cut beside it have not (Fan and de Queiroz 2003).

    Args:
        plane: (H, W) luma, not resized since.
        step_size: of the quantised values; 0 tells nothing.

    Returns:
        ((row, column) of the first block or None, score): how many standard deviations of the
        other phases the best one stands out.
    """
    height, width = plane.shape
    if step_size <= 0 or min(height, width) < 4 * SIDE:
        return None, 0.0
    windows = np.lib.stride_tricks.sliding_window_view(plane, (SIDE, SIDE))
    low, high = float(plane.min()), float(plane.max())
    thin = max(1, int(np.sqrt(height * width / SIDE**2 / _GRID_BLOCKS)))
    shares, near = np.zeros((2, SIDE, SIDE))
    coarse = np.flatnonzero(ORDER < 2)
    for row in range(SIDE):
        lows, highs = (joined(plane[row:], SIDE * thin, join)
                       for join in (np.minimum, np.maximum))
        for column in range(SIDE):
            blocks = windows[row::SIDE * thin, column::SIDE * thin]
            least, most = (part[:, column::SIDE * thin] for part in (lows, highs))
            # Flat blocks tell nothing, and cut off pixels spoil the zeros.
            busy = most - least > 3 * step_size
            whole = busy & (least > low) & (most < high)
            chosen = whole if np.count_nonzero(whole) >= _FEWEST_BLOCKS else busy
            blocks = blocks[chosen].reshape(-1, SIDE * SIDE)
            if len(blocks) < _FEWEST_BLOCKS:
                return None, 0.0
            sizes = transform(blocks)
            np.abs(sizes, out=sizes)
            sizes[:, coarse] = np.inf  # these do not count
            counted = len(sizes) * (SIDE * SIDE - len(coarse))
            shares[row, column] = np.count_nonzero(sizes < _GRID_ZERO * step_size) / counted
            near[row, column] = np.count_nonzero(sizes < 2 * _GRID_ZERO * step_size) / counted
    best = np.unravel_index(int(shares.argmax()), shares.shape)
    # A row or a column of the grid alone also stands out: compare with the phases off both.
    others = np.delete(np.delete(shares, best[0], axis=0), best[1], axis=1)
    spread = max(float(others.std()), 1e-3)
    score = float((shares[best] - others.mean()) / spread)
    if score < _GRID_SCORE or shares[best] < _GRID_SHARP * near[best]:
        return None, score
    return (int(best[0]), int(best[1])), score


def enlargement(plane: np.ndarray, ignore_eighths: bool = False) -> float | None:
    """Factor by which a picture was enlarged, or None when nothing shows it.

    Interpolated pixels vary less than kept ones, so the mean second difference repeats with the
    period of the interpolation (Gallagher 2005). A peak must stand at the same frequency along
    rows and columns. Frequency f is left by factor 1 / (1 - f) up to 2; more is reported as 2.

    Args:
        ignore_eighths: peaks at multiples of 1/8 come from JPEG blocks and do not count.
    """
    found = []
    for part in (plane, plane.T):
        every = max(1, part.shape[0] // _LINES)
        lines = part[::every, :_LINES]
        if lines.shape[1] < 64:
            return None
        second = np.abs(lines[:, :-2] - 2 * lines[:, 1:-1] + lines[:, 2:])
        profile = np.log(np.maximum(second.mean(axis=0), 1e-12))
        profile = profile - _smooth(profile)
        found.append(np.abs(np.fft.rfft(profile * np.hanning(len(profile)))))
    size = min(len(spectrum) for spectrum in found)
    common = np.linspace(0, 0.5, size)
    first, second = (np.interp(common, np.linspace(0, 0.5, len(s)), _widest(s) / np.median(s))
                     for s in found)
    both = np.minimum(first, second)
    both[common < 0.15] = 0  # slower changes are the picture's own
    if ignore_eighths:
        both[np.abs(common * 8 - np.round(common * 8)) < 0.06] = 0
    peak = int(both.argmax())
    return 1 / (1 - common[peak]) if both[peak] > _PEAK else None


def mosaic(plane: np.ndarray) -> bool:
    """Whether a colour plane was interpolated from the cells of a Bayer sensor.

    Kept and interpolated samples alternate with period 2 in both directions and do not vary
    alike: the mean squared difference from the four neighbours differs between the cells.
    """
    middle = plane[1:-1, 1:-1]
    around = (plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]) / 4
    detail = np.abs(middle - around)
    # The median is not led astray by a few strong edges.
    cells = np.array([np.median(detail[i::2, j::2][::2, ::2]) for i in (0, 1) for j in (0, 1)])
    typical = float(cells.mean())
    return typical > 0 and float(np.ptp(cells)) / typical > _MOSAIC


def _smooth(values: np.ndarray, reach: int = 4) -> np.ndarray:
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel, mode="valid")


def _widest(spectrum: np.ndarray) -> np.ndarray:
    """Maximum over neighbouring frequencies: rows and columns differ in number."""
    padded = np.pad(spectrum, 1, mode="edge")
    return np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])


def spikes(plane: np.ndarray, sigma: float) -> float:
    """Share of lone outliers: pixels far above, or far below, all of their eight neighbours.

    Args:
        plane: (H, W) float32, 3x3 or larger.
        sigma: standard deviation of its noise; "far" is `LONE` times this.
    """
    above, below = (_lone(plane, far, join) for far, join in (
        (np.float32(LONE * sigma), np.maximum), (np.float32(-LONE * sigma), np.minimum)))
    return (above + below) / plane[1:-1, 1:-1].size


def _lone(plane: np.ndarray, far: np.float32, join: np.ufunc) -> int:
    """How many pixels are beyond the largest, or smallest (`join`), of their eight neighbours by
    more than `far`."""
    beyond = np.greater if join is np.maximum else np.less
    found = 0
    for first in range(1, len(plane) - 1, _STRIP):
        part = plane[first - 1:first + _STRIP + 1]
        rows = join(join(part[:, :-2], part[:, 1:-1]), part[:, 2:])
        around = join(rows[:-2], rows[2:])
        join(around, part[1:-1, :-2], out=around)
        join(around, part[1:-1, 2:], out=around)
        around += far
        found += np.count_nonzero(beyond(part[1:-1, 1:-1], around))
    return found
