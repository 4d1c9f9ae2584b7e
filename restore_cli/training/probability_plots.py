"""Which distribution noise follows, read off probability plots.

Sorted values against the quantiles of a distribution lie on a line if they follow it; its slope
is the scale. The shape of a Tukey lambda distribution is the one with the straightest plot: the
maximum of the probability plot correlation coefficient (Filliben 1975), by which ELD (Wei et al.,
CVPR 2020) calibrates read noise. The outermost 0.025 % on either side do not count: hot pixels
lie there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_PLACES = 2000
_SHAPES = np.linspace(-0.5, 0.6, 45)
_NEARBY = np.linspace(-0.15, 0.15, 7)
_MOST = 1 << 20  # values; of more, an even choice is taken
# Above this many steps a scale is not changed by rounding.
_COARSE = 10.0


@dataclass(frozen=True)
class Plot:
    """A line through a probability plot.

    Attributes:
        scale: slope: the standard deviation of a Gaussian, the scale of a Tukey lambda.
        r2: squared correlation, 1 for a perfect fit.
        lam: the shape of a Tukey lambda distribution, None for a Gaussian.
    """

    scale: float
    r2: float
    lam: float | None = None


def gaussian_plot(values: np.ndarray, *, step: float = 0.0) -> Plot:
    """The Gaussian nearest to some values.

    Args:
        values: (n,), 100 or more.
        step: the values were rounded to multiples of this, after offsets that were since taken
            off; its share of the variance is left out.
    """
    slope, r2 = _line(_normal_quantiles(), _sorted(values))
    return Plot(math.sqrt(max(slope**2 - step**2 / 12, 0.0)), r2)


def tukey_plot(values: np.ndarray, *, step: float = 0.0) -> Plot:
    """The Tukey lambda distribution nearest to some values; arguments as for `gaussian_plot`.

    The shape is looked for from -0.5 to 0.6.
    """
    ordered = _sorted(values)
    found = _straightest(ordered, 0.0, _SHAPES)
    if step > 0:
        # Rounding widens and blunts a narrow distribution; how much depends on its scale.
        for _ in range(4):
            if not 0 < found.scale < _COARSE * step:
                break
            before = found
            found = _straightest(ordered, min(0.5 * step / found.scale, 4.0),
                                 found.lam + _NEARBY)
            if abs(found.scale - before.scale) < 1e-3 * found.scale:
                break
    return found


def tukey_quantiles(places: np.ndarray, lam: float, half_width: float = 0.0) -> np.ndarray:
    """Quantiles of the Tukey lambda distribution of scale 1.

    Args:
        places: in (0, 1).
        lam: shape, above -1; 0 is the logistic distribution.
        half_width: of a uniform distribution that is added.
    """
    if half_width == 0:
        return _bare_quantiles(places, lam)
    if abs(lam) < 1e-4:
        lam = 1e-4
    grid = _grid()
    at = _bare_quantiles(grid, lam)
    # The integral of the distribution function up to x(u) is u x(u) less that of x over u.
    area = (grid ** (lam + 1) + (1 - grid) ** (lam + 1) - 1) / (lam * (lam + 1))
    below = grid * at - area

    def integral(x: np.ndarray) -> np.ndarray:
        return np.interp(x, at, below) + np.maximum(x - at[-1], 0)

    over = np.linspace(at[0] - half_width, at[-1] + half_width, 4 * len(at))
    over = np.sort(np.concatenate([over, at]))  # dense in the middle as well as far out
    share = (integral(over + half_width) - integral(over - half_width)) / (2 * half_width)
    return np.interp(places, np.maximum.accumulate(share), over)


def _bare_quantiles(places: np.ndarray, lam: float) -> np.ndarray:
    low, high = np.log(places), np.log1p(-places)
    if lam == 0:
        return low - high
    return (np.expm1(lam * low) - np.expm1(lam * high)) / lam


def _straightest(ordered: np.ndarray, half_width: float, shapes: np.ndarray) -> Plot:
    """The best plot of evenly spaced shapes and of those between."""
    places = _places()

    def plot(lam: float) -> Plot:
        return Plot(*_line(tukey_quantiles(places, lam, half_width), ordered), float(lam))

    best = max((plot(lam) for lam in shapes), key=lambda p: p.r2)
    step = shapes[1] - shapes[0]
    while step > 1e-4:  # the correlation has one maximum; close in on it
        step /= 2
        sides = [plot(best.lam + step), plot(best.lam - step)]
        best = max([best, *sides], key=lambda p: p.r2)
    return best


def _line(quantiles: np.ndarray, ordered: np.ndarray) -> tuple[float, float]:
    """Slope of the ordered values over the quantiles, and the squared correlation."""
    x, y = quantiles - quantiles.mean(), ordered - ordered.mean()
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    return xy / xx, xy * xy / (xx * yy) if yy > 0 else 0.0


def _sorted(values: np.ndarray) -> np.ndarray:
    """The values' quantiles at the plot's places."""
    values = np.asarray(values).ravel()
    if len(values) > _MOST:
        # An odd stride, so that rows of even length are not always met at the same columns.
        values = values[:: len(values) // _MOST | 1]
    values = np.sort(values).astype(np.float64)
    return np.interp(_places(), (np.arange(len(values)) + 0.5) / len(values), values)


@lru_cache(maxsize=1)
def _places() -> np.ndarray:
    return (np.arange(_PLACES) + 0.5) / _PLACES


@lru_cache(maxsize=1)
def _normal_quantiles() -> np.ndarray:
    normal = NormalDist()
    return np.array([normal.inv_cdf(place) for place in _places()])


@lru_cache(maxsize=1)
def _grid() -> np.ndarray:
    logit = np.linspace(-18.0, 18.0, 2001)
    return 1 / (1 + np.exp(-logit))
