"""A camera's noise from flat and dark frames (ELD: Wei et al., CVPR 2020; optional in LED).

For every ISO: the system gain K from the variance of flat frames over their mean, read noise, row
noise and colour bias from dark frames. Over all ISOs: lines of the log levels in log K.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError, UsageError
from restore_cli.training.calibration_frames import (
    Dark,
    Flat,
    Frame,
    is_pair,
    measure_dark,
    measure_flat,
)
from restore_cli.training.degradations.raw_noise_camera import Camera, Line

__all__ = ["Calibration", "Frame", "Level", "calibrate", "fit_gain"]

_BINS = 24  # levels of brightness that the reported correlation rests on
_TABLE = 256  # most rows of a table of colour bias
_UNSURE = 0.1  # relative error of K that is too large


@dataclass(frozen=True)
class Gain:
    """System gain of one ISO.

    Attributes:
        gain: K in DN per electron.
        error: its standard error.
        r2: squared correlation of variance and mean over 24 levels of brightness.
    """

    gain: float
    error: float
    r2: float


@dataclass(frozen=True)
class Level:
    """What was measured at one ISO; levels in DN.

    Attributes:
        iso: of the frames.
        gain: system gain.
        flats, darks: numbers of usable measurements (pairs of flats count once).
        tukey_scale, tukey_lambda, tukey_r2: read noise as Tukey lambda, means over the frames.
        gaussian, gaussian_r2: read noise as a Gaussian.
        row, row_r2: row noise.
        bias: (4,) offsets of the planes.
    """

    iso: float
    gain: Gain
    flats: int
    darks: int
    tukey_scale: float
    tukey_lambda: float
    tukey_r2: float
    gaussian: float
    gaussian_r2: float
    row: float
    row_r2: float
    bias: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """The result.

    Attributes:
        camera: what training takes.
        levels: one for each usable ISO, ascending.
        notes: what the user should know, one line each.
    """

    camera: Camera
    levels: tuple[Level, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """A table of the levels as lines of text."""
        head = ("   ISO        K      +-  R2(K)   read  lambda     R2  gauss     R2    row     R2"
                "  bias R, G1, B, G2 (DN)")
        return [head] + [
            f"{v.iso:6.0f} {v.gain.gain:8.4f} {v.gain.error / v.gain.gain:7.1%} {v.gain.r2:6.4f}"
            f" {v.tukey_scale:6.2f} {v.tukey_lambda:7.3f} {v.tukey_r2:6.4f} {v.gaussian:6.2f}"
            f" {v.gaussian_r2:6.4f} {v.row:6.2f} {v.row_r2:6.4f}  "
            + ", ".join(f"{b:.2f}" for b in v.bias)
            for v in self.levels]


def calibrate(flats: Iterable[Frame], darks: Iterable[Frame], *, name: str) -> Calibration:
    """Fit a camera's noise model.

    Frames are measured as they come, so that generators hold few of them in memory.

    Args:
        flats: evenly lit frames of several ISOs and, best, exposures; two of one exposure
            after each other make a pair, which is measured better.
        darks: frames of the same ISOs without light.
        name: of the camera, such as "SONY ILCE-7SM2".

    Raises:
        InputError: no ISO can be used, or a frame is unfit; it names the frame.
        UsageError: no flats or no darks.
    """
    found_darks = [measure_dark(frame) for frame in darks]
    found_flats = list(_measured(flats))
    if not found_darks or not found_flats:
        raise UsageError("calibration needs flat frames and dark frames",
                         hint="Two flats of each exposure and a dark frame at five ISOs or more")
    isos = [{found.iso for found in of} for of in (found_flats, found_darks)]
    if not isos[0] & isos[1]:
        raise InputError("no ISO has both flat and dark frames",
                         hint="Take both at the same ISOs")
    notes: list[str] = []
    problems: list[InputError] = []
    levels: list[Level] = []
    used: list[tuple[float, Dark]] = []
    spare: list[float] = []  # gains of ISOs without dark frames
    for iso in sorted(isos[0] | isos[1]):
        mine_flat = [flat for flat in found_flats if flat.iso == iso]
        mine_dark = [dark for dark in found_darks if dark.iso == iso]
        if not mine_flat:
            notes.append(f"ISO {iso:g} has no flat frames and is left out")
            continue
        try:
            gain = _gain(iso, mine_flat, mine_dark, notes)
        except InputError as error:
            problems.append(error)
            continue
        if not mine_dark:
            notes.append(f"ISO {iso:g} has no dark frames: it counts for the range of K only")
            spare.append(gain.gain)
            continue
        levels.append(_level(iso, gain, len(mine_flat), mine_dark))
        used += [(gain.gain, dark) for dark in mine_dark]
    if not levels:
        raise problems[0]
    notes += [f"{problem.message}; it is left out" for problem in problems]
    notes += _warnings(levels, found_darks)
    camera = _camera(name, levels, used, spare)
    return Calibration(camera, tuple(levels), tuple(notes))


def fit_gain(signal: np.ndarray, variance: np.ndarray, *, dark: float | None = None,
             pattern: bool = False) -> Gain:
    """The slope of variance over mean, robustly.

    The variance of a block's variance grows with its square, hence the weights; blocks that do
    not follow (dust, texture) lose theirs step by step (Tukey's biweight).

    Args:
        signal: (n,) mean of each block in DN above black.
        variance: (n,) of each block.
        dark: variance without light, where the line begins; None fits it, too.
        pattern: fit a share that grows with the square of the signal, too: the fixed pattern
            that single frames hold.

    Raises:
        InputError: the variance does not grow with the signal, or too little to tell how.
    """
    start = dark if dark is not None else 0.0
    columns = [signal, signal**2] if pattern else [signal]
    if dark is None:
        columns.append(np.ones_like(signal))
    design, target = np.stack(columns, 1), variance - start
    expected = np.maximum(variance, np.median(variance) * 0.1)
    trust = np.ones_like(signal)
    fitted = np.zeros(len(columns))
    for _ in range(12):
        weights = trust / expected
        fitted = np.linalg.lstsq(design * weights[:, None], target * weights, rcond=None)[0]
        if pattern and fitted[1] < 0:  # there is no negative pattern
            return fit_gain(signal, variance, dark=dark)
        line = design @ fitted + start
        floor = 1e-3 * float(np.median(abs(line)))
        expected = np.maximum(line, max(floor, 1e-12))
        away = (variance - line) / expected
        spread = max(1.4826 * float(np.median(abs(away))), 1e-9)
        # Square root, for lstsq squares the weights.
        trust = np.clip(1 - (away / (4.685 * spread)) ** 2, 0, 1)
    weights = trust / expected
    free = max(np.count_nonzero(trust) - len(columns), 1)
    scatter = float(np.sum(((variance - line) * weights) ** 2)) / free
    inverse = np.linalg.pinv((design * weights[:, None]).T @ (design * weights[:, None]))
    gain, error = float(fitted[0]), math.sqrt(max(scatter * float(inverse[0, 0]), 0.0))
    if gain <= 0 or error > _UNSURE * gain:
        raise InputError("noise does not grow with brightness as photons make it",
                         hint="Use flats of several exposures, as the camera wrote them")
    return Gain(gain, error, _correlation(signal, variance, trust, dark))


def _correlation(signal: np.ndarray, variance: np.ndarray, trust: np.ndarray,
                 dark: float | None) -> float:
    kept = np.flatnonzero(trust > 0)
    kept = kept[np.argsort(signal[kept])]
    groups = np.array_split(kept, min(_BINS, len(kept)))
    x = np.array([signal[group].mean() for group in groups] + ([0.0] if dark is not None else []))
    y = np.array([variance[group].mean() for group in groups]
                 + ([dark] if dark is not None else []))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _measured(flats: Iterable[Frame]) -> Iterator[Flat]:
    """Flats in pairs where two that follow each other are one."""
    held: Frame | None = None
    for frame in flats:
        if held is None:
            held = frame
        elif is_pair(held, frame):
            yield measure_flat(held, frame)
            held = None
        else:
            yield measure_flat(held)
            held = frame
    if held is not None:
        yield measure_flat(held)


def _gain(iso: float, flats: Sequence[Flat], darks: Sequence[Dark], notes: list[str]) -> Gain:
    paired = [flat for flat in flats if flat.paired]
    flats = paired or flats
    bias = (np.mean([dark.bias for dark in darks], axis=0) if darks else np.zeros(4))
    start = float(np.mean([dark.variance for dark in darks])) if darks else None
    signal = np.concatenate([flat.signal - bias[flat.plane] for flat in flats])
    variance = np.concatenate([flat.variance for flat in flats])
    if np.median(signal) <= 0:
        raise InputError(f"the flat frames of ISO {iso:g} are darker than the dark frames",
                         hint="Check which files are which")
    low, high = np.percentile(signal, (5, 95))
    several = high > 3 * max(low, 1e-9)
    if not paired:
        if several:
            notes.append(f"ISO {iso:g}: single flats; their fixed pattern was estimated. Two "
                         "flats of each exposure are better")
        else:
            notes.append(f"ISO {iso:g}: single flats of one brightness; their fixed pattern "
                         "counts as photons. Two flats of each exposure are better")
    elif start is None and not several:
        notes.append(f"ISO {iso:g}: flats of one brightness and no dark frames: K is rough")
    lost = float(np.mean([flat.clipped for flat in flats]))
    if lost > 0.25:
        notes.append(f"ISO {iso:g}: {lost:.0%} of the flats is saturated and left out")
    try:
        return fit_gain(signal, variance, dark=start, pattern=not paired and several)
    except InputError as error:
        raise InputError(f"ISO {iso:g}: {error.message}", hint=error.hint) from None


def _level(iso: float, gain: Gain, flats: int, darks: Sequence[Dark]) -> Level:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    def level(values: Iterable[float]) -> float:  # a mean of logarithms, as the lines take it
        return math.exp(mean(math.log(value) for value in values))

    return Level(
        iso, gain, flats, len(darks),
        level(d.tukey.scale for d in darks), mean(d.tukey.lam for d in darks),
        mean(d.tukey.r2 for d in darks),
        level(d.gaussian.scale for d in darks), mean(d.gaussian.r2 for d in darks),
        level(d.row.scale for d in darks), mean(d.row.r2 for d in darks),
        tuple(map(float, np.mean([d.bias for d in darks], axis=0))))


def _camera(name: str, levels: Sequence[Level], used: Sequence[tuple[float, Dark]],
            spare: Sequence[float]) -> Camera:
    gains = [gain for gain, _ in used]
    bounds = [level.gain.gain for level in levels] + list(spare)
    low, high = min(bounds), max(bounds)
    return Camera(
        name, low, high,
        tukey=_line(gains, [dark.tukey.scale for _, dark in used]),
        gaussian=_line(gains, [dark.gaussian.scale for _, dark in used]),
        row=_line(gains, [dark.row.scale for _, dark in used]),
        lambdas=tuple(level.tukey_lambda for level in levels),
        colour_bias=_bias_table(levels, low, high))


def _line(gains: Sequence[float], levels: Sequence[float]) -> Line:
    """Least squares of log level over log K; level and without scatter for a single gain."""
    x, y = np.log(gains), np.log(levels)
    if len(set(gains)) == 1:
        return Line(0.0, float(y.mean()), 0.0)
    slope, bias = np.polyfit(x, y, 1)
    left = y - slope * x - bias
    free = len(x) - 2
    return Line(float(slope), float(bias), math.sqrt(float(left @ left) / free) if free else 0.0)


def _bias_table(levels: Sequence[Level], low: float, high: float) -> tuple[tuple[float, ...], ...]:
    """Offsets for equal parts of the range of K: those of the ISO with the nearest log K."""
    gains = np.sort([level.gain.gain for level in levels])
    steps = np.diff(gains)
    steps = steps[steps > 0]
    rows = min(_TABLE, math.ceil(2 * (high - low) / float(steps.min()))) if len(steps) else 1
    centres = low + (np.arange(rows) + 0.5) * (high - low) / rows
    nearest = [min(levels, key=lambda level: abs(math.log(level.gain.gain / centre)))
               for centre in centres]
    return tuple(level.bias for level in nearest)


def _warnings(levels: Sequence[Level], darks: Sequence[Dark]) -> list[str]:
    notes = []
    if len(levels) == 1:
        notes.append("one ISO only: the noise levels are constant and do not scatter (slope and "
                     "sigma 0)")
    elif len(levels) < 4:
        notes.append(f"{len(levels)} ISOs only: the lines over K are rough")
    filtered = max(abs(dark.correlation) for dark in darks)
    if filtered > 0.05:
        notes.append(f"neighbouring pixels of the dark frames are correlated ({filtered:.2f}): "
                     "something filtered them, and K comes out wrong")
    low = [level for level in levels if level.tukey_r2 < 0.98]
    if low:
        notes.append("read noise does not follow a Tukey lambda distribution at ISO "
                     + ", ".join(f"{level.iso:g}" for level in low))
    return notes
