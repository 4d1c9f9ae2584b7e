"""Covariance of the noise from its power in DCT coefficients: correlations, banding, texture.

The expected power of a DCT coefficient is linear in the autocovariance of the noise: a covariance
r at offset (dy, dx), the same in both senses, adds r * A(dy)[u] * A(dx)[v] to coefficient (u, v).
So short-range covariances, offsets of whole rows and columns, and a share of natural texture come
out of one weighted least-squares fit, and the coefficients below order 3, where the image lives,
can simply be left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.evaluation.noise_blocks import DCT, MEASURED, ORDER, SIDE

LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
_FARTHER = ((1, 2), (2, 1), (2, 2))  # only so that they do not distort those; see `fit`

# Power of texture like 1/frequency^3. On 48 photographs with white noise this left fewer
# correlations than 1/frequency^2.
_TEXTURE_SLOPE = 1.5
_ROUNDS = 4
_LEAST_WEIGHTED = 0.02  # relative power below which a coefficient gains no more weight


@dataclass(frozen=True)
class Covariance:
    """Autocovariance of noise over short distances.

    Attributes:
        variance: at distance 0, unit squared.
        lags: covariance at each of `LAGS`, unit squared; (1, 1) is the mean of both diagonals.
        rows, columns: variance of offsets that whole rows or columns share; part of `variance`
            and of the covariances along the row or column.
        texture: share of the measured power that looked like natural texture.
    """

    variance: float
    lags: tuple[float, ...]
    rows: float
    columns: float
    texture: float

    @property
    def correlation(self) -> np.ndarray:
        """(5,) correlation at `LAGS`, within -1 and 1; zeros without variance."""
        if self.variance <= 0:
            return np.zeros(len(LAGS))
        return np.clip(np.array(self.lags) / self.variance, -1, 1)


def _power_of_lag(lag: int) -> np.ndarray:
    """(8,) power of each 1-D coefficient for unit covariance at distance `lag`."""
    i, j = np.indices((SIDE, SIDE))
    return np.einsum("ui,ij,uj->u", DCT, (np.abs(i - j) == lag).astype(float), DCT)


def _design() -> np.ndarray:
    one = [_power_of_lag(lag) for lag in range(3)]
    columns = [np.outer(one[dy], one[dx]) for dy, dx in ((0, 0), *LAGS, *_FARTHER)]
    across, down = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    across[:, 0] = SIDE  # the same along the row: no horizontal frequency
    down[0] = SIDE
    u, v = np.indices((SIDE, SIDE))
    texture = np.maximum(u**2 + v**2, 1.0) ** -_TEXTURE_SLOPE
    return np.stack([part.ravel() for part in (*columns, across, down, texture)], axis=1)


_FIRST_FARTHER = 1 + len(LAGS)
_FIRST_VARIANCE = _FIRST_FARTHER + len(_FARTHER)


_DESIGN = _design()


def fit(power: np.ndarray, *, texture: bool, above: int = 0) -> Covariance:
    """Fits (64,) DCT power.

    Args:
        power: mean square of each coefficient.
        texture: also allow for natural texture. Robust where the image is busy, but long
            correlations are then partly taken for texture.
        above: use coefficients of this order (row + column) and higher only; at least 3.
    """
    used = MEASURED & (above <= ORDER)
    target, design = power[used], _DESIGN[used]
    unit = float(np.median(target))
    if unit <= 0:
        unit = float(target.mean())
    if unit <= 0:
        return Covariance(0.0, (0.0,) * len(LAGS), 0.0, 0.0, 0.0)
    target = target / unit
    # With texture or few coefficients there is not enough to tell the farther lags apart.
    alone = not texture and above <= 3
    active = [i for i in range(design.shape[1] - (not texture))
              if alone or not _FIRST_FARTHER <= i < _FIRST_VARIANCE]
    solution = np.zeros(design.shape[1])
    weight = 1 / np.maximum(target, _LEAST_WEIGHTED)
    for _ in range(_ROUNDS):
        for _ in range(2):
            found, *_ = np.linalg.lstsq(design[:, active] * weight[:, None], target * weight,
                                        rcond=None)
            solution[:] = 0
            solution[active] = found
            # Offsets and texture are variances: what comes out negative is not there.
            negative = {i for i in active if i >= _FIRST_VARIANCE and solution[i] < 0}
            if not negative:
                break
            active = [i for i in active if i not in negative]
        weight = 1 / np.maximum(design @ solution, _LEAST_WEIGHTED)
    core, lags = solution[0], solution[1:_FIRST_FARTHER]
    rows, columns, busy = np.maximum(solution[_FIRST_VARIANCE:], 0)
    total = float((design[:, -1] * busy).sum() / max(target.sum(), 1e-30))
    along = np.array([rows * (dy == 0) + columns * (dx == 0) for dy, dx in LAGS])
    return Covariance(max(0.0, float(core + rows + columns)) * unit,
                      tuple(float(value) * unit for value in lags + along),
                      float(rows) * unit, float(columns) * unit, total)
