"""Measures the noise of an image, to tell beforehand whether blind-spot training can remove it.

Blind-spot training assumes noise that is independent from pixel to pixel and, unless channels
are masked together, from channel to channel. `analyse` measures both, `warnings` says what
follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from restore_cli.errors import ShapeError
from restore_cli.evaluation import noise_channel, noise_traces
from restore_cli.evaluation.noise_channel import Channel
from restore_cli.evaluation.noise_fit import LAGS
from restore_cli.evaluation.noise_messages import warnings

__all__ = ["LAGS", "Examined", "NoiseReport", "ResidualReport", "analyse", "blind_floor",
           "estimate_sigma", "examine", "warnings"]

_SMALLEST = 32  # pixels a side below which nothing is said about correlation
_LUMA = (0.299, 0.587, 0.114)
_LEAST_SHARE = 0.25  # of a class's blocks that must agree before its correlation is believed,
_LEAST_SHARE_KNOWN = 0.12  # ... and where interpolation has left other traces too
_LEAST_CONTRAST = 0.015  # of the span; weaker noise cannot be told from texture

# Correlation with a neighbour above which blind-spot training is warned of. 0.1 would already
# matter, but at 0.15 texture had independent noise of 5 (of 255) warned of in 9 of 82
# photographs, at 0.2 (with the shares above) in 3; see `analyse`.
CORRELATED = 0.2
# Along one direction only, texture is a rarer excuse: none of 82, if it is this times the other's.
DIRECTIONAL = 0.12
_ONE_WAY = 2.5

# Noise that nobody sees: half a grey level of 8 bits, half a step of what the file can hold.
CLEAN_LEVELS = 0.5
CLEAN_STEPS = 0.5
# Found in 3 of 10 PolyU camera pictures (1.2 to 1.6), in none of their averages over many
# exposures, and in 2 of 82 photographs without added noise, which may well have grain.
GRAIN_LEVELS = 0.9

# A masked loss below this share of the noise variance: see `blind_floor`.
BLIND_FLOOR = 0.9


@dataclass(frozen=True)
class ResidualReport:
    """The noise as what a restoration took away.

    Attributes:
        sigma: standard deviation removed, per channel, in input units.
        correlation: of the removed noise at each of `LAGS`.
        kept: share of the noise's standard deviation still in the result, in flat places, 0 to 1.
    """

    sigma: tuple[float, ...]
    correlation: dict[tuple[int, int], float]
    kept: float


@dataclass(frozen=True)
class NoiseReport:
    """What `analyse` found; levels are in the input's unit.

    Attributes:
        sigma: standard deviation of the noise per channel, averaged over the picture.
        gain, offset: per channel of variance = gain * value + offset.
        correlation: of the noise at offsets (rows, columns), mean of the channels.
        correlated: whether `correlation` is to be believed and too high to train on.
        directional: "horizontal" or "vertical" when the noise runs along rows or columns.
        banding: share of the variance in offsets that whole rows and columns have in common.
        cross_channel: largest correlation between the noise of two channels; None with one.
        same_channels: all channels hold the same picture.
        grain: standard deviation of noise that spans several pixels; only looked for, and 0
            otherwise, where single pixels have next to none.
        clean: noise below half a level of 8 bits, or none that could be told from texture.
        constant: all pixels have the same value.
        judged: False for pictures too small to say anything about correlation.
        saturated_low, saturated_high: largest share of a channel's pixels piled up at a limit.
        spikes: share of lone outliers, such as hot pixels or salt and pepper.
        step: distance of quantised levels, 0 for continuous values.
        span: range of values that the noise is compared with.
        jpeg_grid: (row, column) where 8x8 JPEG blocks start; None when there are none.
        enlarged: factor by which the picture seems to have been enlarged, or None.
        mosaic: whether the colours were interpolated from a Bayer sensor.
        residual: only when `analyse` was given a restored picture.
    """

    sigma: tuple[float, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    correlation: dict[tuple[int, int], float]
    correlated: bool = False
    directional: str | None = None
    banding: tuple[float, float] = (0.0, 0.0)
    cross_channel: float | None = None
    same_channels: bool = False
    grain: float = 0.0
    clean: bool = False
    constant: bool = False
    judged: bool = True
    saturated_low: float = 0.0
    saturated_high: float = 0.0
    spikes: float = 0.0
    step: float = 0.0
    span: float = 1.0
    jpeg_grid: tuple[int, int] | None = None
    enlarged: float | None = None
    mosaic: bool = False
    residual: ResidualReport | None = None


@dataclass(frozen=True)
class Examined:
    """A measured picture, with what it takes to look at its restoration later.

    Attributes:
        report: what was found; its `residual` is None.
        channels, planes: the channels that were measured and where they are in the picture; none
            where it is even, or too small.
    """

    report: NoiseReport
    channels: tuple[Channel, ...] = ()
    planes: tuple[int, ...] = ()

    def against(self, noisy: np.ndarray, restored: np.ndarray, *, threads: int = 1) -> NoiseReport:
        """The report with its `residual`.

        Args:
            noisy: the picture that was examined.
            restored: the same after denoising, same shape and unit.
            threads: how many share the channels.

        Raises:
            ShapeError: different shapes.
        """
        before, after = _planes(noisy, "noisy"), _planes(restored, "restored")
        if after.shape != before.shape:
            raise ShapeError("restored", str(before.shape), after.shape)
        if not self.channels:
            return self.report
        parts = _all([work for channel, plane in zip(self.channels, self.planes) for work in (
            lambda c=channel, p=plane: noise_channel.removed(c, before[p] - after[p]),
            lambda c=channel, p=plane: noise_channel.kept(c, after[p]))], threads)
        removed, kept = parts[::2], parts[1::2]
        correlation = np.mean([covariance.correlation for _, covariance in removed], axis=0)
        return replace(self.report, residual=ResidualReport(
            tuple(sigma for sigma, _ in removed),
            {lag: float(value) for lag, value in zip(LAGS, correlation)}, float(np.mean(kept))))


def estimate_sigma(plane: np.ndarray) -> float:
    """Standard deviation of white noise in a (H, W) plane, in its unit.

    On the 68 photographs of BSD68 with noise of 10, 25 and 50 (of 255) it was off by 2.9, 1.5 and
    0.8 % on average, mostly upwards where everything is textured; with noise of 5 by 5 %.

    Raises:
        ShapeError: not (H, W), or no pixels.
    """
    plane = np.asarray(plane)
    if plane.ndim != 2:
        raise ShapeError("plane", "(H, W)", plane.shape)
    plane = _planes(plane, "plane")[0]
    if min(plane.shape) < _SMALLEST:
        return noise_channel.quick_sigma(plane)
    values = noise_traces.sample(plane)
    step = noise_traces.step(np.sort(values))
    return noise_channel.measure(plane, noise_traces.limits(values, step), step).sigma


def analyse(noisy: np.ndarray, restored: np.ndarray | None = None, *,
            scale: float | None = None) -> NoiseReport:
    """`examine`, and where there is a restored picture also `Examined.against`, in one call.

    Args:
        noisy: (C, H, W) or (H, W), any real type and unit.
        restored: the same picture after denoising, same shape and unit.
        scale: as for `examine`.

    Raises:
        ShapeError: another number of axes, no pixels, or different shapes.
    """
    found = examine(noisy, scale=scale)
    return found.report if restored is None else found.against(noisy, restored)


def examine(noisy: np.ndarray, *, scale: float | None = None, threads: int = 1) -> Examined:
    """Measures the noise of a picture.

    How often correlation was reported, in photographs with made noise (82 with independent noise,
    41 of them with other noise; strengths of 255): independent noise of 1, 2, 5, 10, 25, 50: 1, 1,
    4, 1, 0, 0 %; blurred by 0.7 pixels, of 5, 10, 25: 66, 83, 98 %; enlarged 1.5 times, of 10 and
    25: 100 %; rows that share offsets, of 10 and 25: 88 and 98 %. What is missed is weak noise in
    pictures full of texture. JPEG blocks of quality 75 and 90 on noise of 10 and 25 were found in
    all but one of 82 at most, and never where noise of 1 to 50 was added to the photographs
    (8 bits). The thresholds were chosen on the same photographs.

    Args:
        noisy: (C, H, W) or (H, W), any real type and unit; what is not finite counts as the mean.
        scale: largest value of the type (255, 65535, 1.0), if known. Noise is compared with the
            range that the values span, and with this where they go beyond it.
        threads: how many share the work; the numbers do not depend on it.

    Raises:
        ShapeError: another number of axes, or no pixels.
    """
    planes = _planes(noisy, "noisy")
    # A channel without content, as the palettes of microscopes have, is not another picture.
    alive = [i for i, plane in enumerate(planes) if np.ptp(plane) > 0]
    none = (0.0,) * len(planes)
    if not alive:
        return Examined(NoiseReport(
            none, none, none, dict.fromkeys(LAGS, 0.0), clean=True, constant=True,
            span=scale or 1.0, same_channels=len(planes) > 1))
    same = len(planes) > 1 and all(np.array_equal(planes[alive[0]], planes[i]) for i in alive[1:])
    looked_at = alive[:1] if same else alive
    kept = planes[looked_at]
    values = [noise_traces.sample(plane) for plane in kept]
    ordered = np.concatenate(values)
    ordered.sort()
    low, high = (_quantile(ordered, share) for share in (0.001, 0.999))
    span = (high - low) or float(np.ptp(kept))
    step = noise_traces.step(ordered)
    del ordered
    ends = [noise_traces.limits(part, step) for part in values]
    report = NoiseReport(none, none, none, dict.fromkeys(LAGS, 0.0), same_channels=same, step=step,
                         span=min(span, scale) if scale else span,
                         cross_channel=1.0 if same else None,
                         saturated_low=max(end.low_share for end in ends),
                         saturated_high=max(end.high_share for end in ends))
    if min(planes.shape[1:]) < _SMALLEST:
        sigma = [noise_channel.quick_sigma(plane) for plane in kept]
        return Examined(replace(report, sigma=_spread(sigma, alive, len(planes)), judged=False,
                                offset=_spread([s * s for s in sigma], alive, len(planes)),
                                clean=_weak(max(sigma), report)))
    luma = np.tensordot(np.float32(_LUMA), kept, 1) if len(kept) == 3 else kept[0]
    (grid, enlarged), *channels = _all(
        [lambda: _traces(luma, step), *(lambda p=plane, e=end: noise_channel.measure(p, e, step)
                                        for plane, end in zip(kept, ends))], threads)
    if len(channels) > 1:
        report = replace(report, cross_channel=noise_channel.cross(channels))
    report = replace(
        report, jpeg_grid=grid, enlarged=enlarged,
        sigma=_spread([c.sigma for c in channels], alive, len(planes)),
        gain=_spread([c.gain for c in channels], alive, len(planes)),
        offset=_spread([c.offset for c in channels], alive, len(planes)),
        spikes=max(noise_traces.spikes(plane, c.sigma) for plane, c in zip(kept, channels)),
        mosaic=len(kept) == 3 and noise_traces.mosaic(kept[1]))
    report = _judge(report, channels, luma)
    if report.correlated:
        # White noise is measured where photographs have least; other noise has its power elsewhere.
        report = replace(report, sigma=_spread([c.contrast for c in channels], alive, len(planes)))
    return Examined(report, tuple(replace(channel, blocks=None) for channel in channels),
                    tuple(looked_at))


def blind_floor(masked_loss: float, variance: float | Sequence[float], *,
                loss: str = "mse") -> str | None:
    """What a masked training loss below the noise means, or None when it is plausible.

    A network that cannot see a pixel cannot predict its noise: with independent noise the masked
    loss stays above the noise variance (0.996 of it on pure noise). Below 0.9 either the noise
    is correlated with its neighbours or the mask leaks.

    Args:
        masked_loss: mean over the last steps, in the same unit as `variance`.
        variance: of the noise, one value or one a channel.
        loss: "mse" or "mae".
    """
    level = float(np.mean(variance))
    # E|n| of normal noise is sqrt(2 / pi) sigma; squared, the two losses share a threshold.
    reached = masked_loss if loss == "mse" else masked_loss**2 * np.pi / 2
    if level <= 0 or reached >= BLIND_FLOOR * level:
        return None
    return (f"hidden pixels were predicted better than independent noise allows (masked loss "
            f"{reached / level:.2f} of the noise variance): the noise is correlated and part of it "
            "stays in the result; use --struct horizontal or vertical for noise in lines, else an "
            "earlier, unprocessed file")


def _planes(image: np.ndarray, what: str) -> np.ndarray:
    """(C, H, W) float32, finite."""
    planes = np.asarray(image)
    if planes.ndim == 2:
        planes = planes[None]
    if planes.ndim != 3 or 0 in planes.shape:
        raise ShapeError(what, "(C, H, W) and not empty", planes.shape)
    planes = planes.astype(np.float32, copy=False)
    finite = np.isfinite(planes)
    if finite.all():
        return planes
    return np.where(finite, planes, planes[finite].mean() if finite.any() else 0.0)


def _quantile(ordered: np.ndarray, share: float) -> float:
    """As `numpy.quantile`, of sorted numbers: it would look for an order again."""
    place = share * (len(ordered) - 1)
    before = int(place)
    low, high = ordered[before], ordered[min(before + 1, len(ordered) - 1)]
    step, part = float(high - low), place - before
    return float(low) + step * part if part < 0.5 else float(high) - step * (1 - part)


def _all(tasks: Sequence[Callable[[], Any]], threads: int) -> list[Any]:
    """What each task returns; no more than two at once, for each takes some 30 MB."""
    if threads == 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(threads, 2)) as pool:
        return list(pool.map(lambda task: task(), tasks))


def _traces(luma: np.ndarray, step: float) -> tuple[tuple[int, int] | None, float | None]:
    """Where JPEG blocks start, and the factor of an enlargement."""
    grid, _ = noise_traces.jpeg_grid(luma, step)
    return grid, noise_traces.enlargement(luma, grid is not None)


def _judge(report: NoiseReport, channels: list[Channel], luma: np.ndarray) -> NoiseReport:
    """One verdict for all channels."""
    correlation = {lag: float(np.mean([c.covariance.correlation[i] for c in channels]))
                   for i, lag in enumerate(LAGS)}
    across, down = (float(np.mean([c.lag_one[axis] for c in channels])) for axis in (0, 1))
    known = report.mosaic or report.enlarged is not None
    believed = (min(c.share for c in channels) >= (_LEAST_SHARE_KNOWN if known else _LEAST_SHARE)
                and max(c.contrast for c in channels) > _LEAST_CONTRAST * report.span)
    directional = None
    if believed and max(across, down) > DIRECTIONAL:
        if across > _ONE_WAY * max(down, 0.0):
            directional = "horizontal"
        elif down > _ONE_WAY * max(across, 0.0):
            directional = "vertical"
    correlated = believed and (max(across, down) > CORRELATED or directional is not None)
    if not correlated:
        # What texture explains is not the noise's.
        correlation[0, 1], correlation[1, 0] = across, down
    clean = not correlated and _weak(max(c.sigma for c in channels), report)
    grain = noise_channel.grain(luma) if clean else 0.0
    return replace(
        report, correlation=correlation, directional=directional,
        correlated=correlated or _visible(grain, report), grain=grain,
        clean=clean and not _visible(grain, report),
        banding=tuple(float(np.mean([getattr(c.covariance, name) for c in channels]))
                      for name in ("rows", "columns")))


def _weak(sigma: float, report: NoiseReport) -> bool:
    """Noise that nobody sees."""
    return sigma < CLEAN_LEVELS / 255 * report.span or sigma < CLEAN_STEPS * report.step


def _visible(grain: float, report: NoiseReport) -> bool:
    return grain > GRAIN_LEVELS / 255 * report.span


def _spread(values: list[float], alive: list[int], count: int) -> tuple[float, ...]:
    """One value per channel: zero for those without content, the same for equal channels."""
    if len(values) < len(alive):
        values = values * len(alive)
    found = dict(zip(alive, values))
    return tuple(found.get(i, 0.0) for i in range(count))
