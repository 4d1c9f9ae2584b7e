"""The noise of one channel: level, brightness dependence, correlation with its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.evaluation import noise_blocks
from restore_cli.evaluation.noise_blocks import FINE, Blocks, Spectrum
from restore_cli.evaluation.noise_fit import Covariance, fit
from restore_cli.evaluation.noise_traces import Limits

_FINE_ORDER = 6  # the third fit of `_lag_one` looks at coefficients of this order and above
_NOTHING_LEFT = 0.15  # of the variance when texture is taken out: then all was texture
_EMPTY = 0.35  # steps; fine coefficients weaker than it hold only the rounding to levels
_LOWEST = 0.3  # of the smallest class's variance: a line never promises less noise than that
_OUTLIER = 0.05  # relative distance above the line at which a class has lost half its weight
_ROUNDS = 8

# Noise of grains: seen in a reduced picture as white noise in many flat blocks.
_GRAIN_HALVINGS = 2
_GRAIN_SHARE = 0.35
_GRAIN_LAG_ONE = 0.3


@dataclass(frozen=True)
class Channel:
    """Noise of one plane.

    Attributes:
        blocks, parts: what it was measured on, see `noise_blocks`; blocks are None where only
            `removed` and `kept` are still to be asked.
        sigma: standard deviation of white noise over the picture's brightness.
        gain, offset: of variance = gain * value + offset.
        covariance: of the two brightness classes that show least correlation, variance 1.
        lag_one: correlation with the right and the lower neighbour that no kind of texture
            explains.
        share: of blocks in those classes that agree on the power, see `Spectrum`.
        contrast: standard deviation of everything in the flattest blocks, correlated noise and
            texture together.
    """

    blocks: Blocks | None
    parts: list[Spectrum]
    sigma: float
    gain: float
    offset: float
    covariance: Covariance
    lag_one: tuple[float, float]
    share: float
    contrast: float


def measure(plane: np.ndarray, ends: Limits, step: float) -> Channel:
    """Measures a float32 (H, W) plane, both sides at least 8.

    Args:
        ends: limits where values pile up; blocks with many such pixels are not used.
        step: distance of quantised levels, 0 for none.
    """
    blocks = noise_blocks.cut(plane)
    among = noise_blocks.usable(plane, ends.low, ends.high)
    parts = noise_blocks.spectra(blocks, among)
    plain = [fit(part.power, texture=False) for part in parts]
    lag_one = np.array([_lag_one(part.power, whole, step) for part, whole in zip(parts, plain)])
    # Texture makes white noise look correlated, nothing makes correlated noise look white: the
    # two least correlated classes decide.
    least = np.argsort(lag_one.max(axis=1))[:2]
    typical = np.mean([parts[i].power / max(plain[i].variance, 1e-30) for i in least], axis=0)
    gain, offset = _level_function(parts)
    floor = _LOWEST * min(part.power[FINE].mean() for part in parts)
    variance = np.maximum(gain * blocks.mean[among] + offset, floor).mean()
    weight = [part.blocks * part.share for part in parts]
    contrast = np.average([whole.variance for whole in plain], weights=weight)
    return Channel(blocks, parts, float(variance) ** 0.5, gain, offset, fit(typical, texture=False),
                   tuple(float(value) for value in lag_one[least].mean(axis=0)),
                   float(np.mean([parts[i].share for i in least])), float(contrast) ** 0.5)


def grain(plane: np.ndarray) -> float:
    """Standard deviation of noise whose grains span several pixels, 0 when there is none.

    For planes without noise in single pixels, where cameras or JPEG took it away. Averaged over
    2x2 or 4x4 pixels such noise is white, and what remains of texture is not.
    """
    found, reduced = 0.0, plane
    for _ in range(_GRAIN_HALVINGS):
        reduced = _halved(reduced)
        if min(reduced.shape) < 8 * noise_blocks.SIDE:
            break
        channel = measure(reduced, Limits(None, None, 0.0, 0.0), 0.0)
        if channel.share >= _GRAIN_SHARE and max(channel.lag_one) < _GRAIN_LAG_ONE:
            found = max(found, channel.sigma)
    return found


def _halved(plane: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in plane.shape)
    plane = plane[:height, :width]
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def _lag_one(power: np.ndarray, plain: Covariance, step: float) -> tuple[float, float]:
    """Correlation with the right and the lower neighbour that no kind of texture explains."""
    busy = fit(power, texture=True)
    fine = fit(power, texture=False, above=_FINE_ORDER)
    views = [plain.correlation[:2]]
    if busy.variance > _NOTHING_LEFT * plain.variance:
        views.append(busy.correlation[:2])
    if power[FINE].mean() > (_EMPTY * step) ** 2:
        views.append(fine.correlation[:2])
    return tuple(np.min(views, axis=0))


def _level_function(parts: list[Spectrum]) -> tuple[float, float]:
    """gain and offset of variance = gain * value + offset, drawn to the lower side.

    Classes full of texture lie above the line and lose weight.
    """
    mean = np.array([part.mean for part in parts])
    variance = np.array([part.power[FINE].mean() for part in parts])
    weight = np.array([part.blocks * part.share for part in parts])
    good = variance > 0
    if not good.any():
        return 0.0, 0.0
    mean, variance, weight = mean[good], variance[good], weight[good]
    trust = weight
    gain, offset = 0.0, float(variance[0])
    for _ in range(_ROUNDS):
        scaled = np.sqrt(trust) / variance
        gain, offset = 0.0, float(np.sum(scaled**2 * variance) / np.sum(scaled**2))
        if len(mean) > 2:
            design = np.stack([mean, np.ones_like(mean)], axis=1)
            slope, start = np.linalg.lstsq(design * scaled[:, None], variance * scaled,
                                           rcond=None)[0]
            if slope > 0:
                gain, offset = float(slope), float(start)
        line = np.maximum(gain * mean + offset, _LOWEST * variance.min())
        trust = weight / (1 + np.maximum(0, (variance / line - 1) / _OUTLIER) ** 2)
    return gain, offset


def cross(channels: list[Channel]) -> float:
    """Largest correlation (by size) between the noise of two channels, -1 to 1.

    Measured in the fine coefficients of blocks that are flat in both. Robust: from the medians
    of the squares of sum and difference (Gnanadesikan and Kettenring 1972).
    """
    largest = 0.0
    for i, one in enumerate(channels):
        for other in channels[i + 1:]:
            flat = [np.intersect1d(a, b) for a, b in
                    ((_flattest(one, half), _flattest(other, half)) for half in (0, 1))]
            values = [_pair(one, other, index, half) for half, index in enumerate(flat)
                      if len(index) >= 8]
            if values:
                largest = max(largest, float(np.mean(values)), key=abs)
    return largest


def _flattest(channel: Channel, half: int) -> np.ndarray:
    return np.concatenate([part.chosen[half] for part in channel.parts])


def _pair(one: Channel, other: Channel, index: np.ndarray, half: int) -> float:
    columns = noise_blocks.measured_on(half) & (noise_blocks.ORDER >= _FINE_ORDER)
    a, b = (channel.blocks.coefficients[index][:, columns] for channel in (one, other))
    a, b = (part / np.sqrt(np.maximum(noise_blocks.medians(part**2), 1e-30)) for part in (a, b))
    plus, minus = (noise_blocks.medians(both**2).sum() for both in (a + b, a - b))
    return float((plus - minus) / max(plus + minus, 1e-30))


def removed(channel: Channel, difference: np.ndarray) -> tuple[float, Covariance]:
    """What a restoration took from a plane.

    Args:
        difference: the noisy plane without the restored one.

    Returns:
        (its standard deviation, its covariance in flat places).
    """
    blocks, power = noise_blocks.cut(difference), np.zeros(64)
    for part in channel.parts:
        power += noise_blocks.power_at(blocks, part.chosen)
    return float(difference.std()), fit(power / len(channel.parts), texture=False)


def kept(channel: Channel, restored: np.ndarray) -> float:
    """Share of the noise's standard deviation that is still in a restored plane's flat places."""
    blocks, left, before = noise_blocks.cut(restored), 0.0, 0.0
    fine = noise_blocks.ORDER >= _FINE_ORDER  # below, the picture itself outweighs weak noise
    for part in channel.parts:
        left += noise_blocks.power_at(blocks, part.chosen)[fine].mean()
        before += part.power[fine].mean()
    return float(np.sqrt(min(1.0, left / before))) if before > 0 else 0.0


def quick_sigma(plane: np.ndarray) -> float:
    """Noise of a plane of any size: median absolute second difference, 0 for single pixels."""
    detail = plane
    taps = 1.0
    for axis in (0, 1):
        if detail.shape[axis] > 2:
            detail = np.diff(detail, n=2, axis=axis)
            taps *= 6.0  # 1 + 4 + 1
    if taps == 1.0:
        return 0.0
    return float(np.median(np.abs(detail)) / 0.6745 / taps**0.5)
