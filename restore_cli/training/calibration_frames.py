"""What single flat and dark frames tell about a camera's noise.

After ELD (Wei et al., CVPR 2020): the photon transfer method for the system gain, row means and
probability plots for the noise in the dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from restore_cli.errors import InputError, ShapeError
from restore_cli.training.probability_plots import Plot, gaussian_plot, tukey_plot

_BLOCK = 32  # packed pixels a side of the blocks that flats are cut into
_LEAST = 64  # packed pixels a side of a usable frame
_SMOOTH = 65  # rows or columns over which shading is taken off
_SAME = 0.02  # by which the brightness of a pair may differ
_SATURATED = 0.95  # of the range: photon noise is cut off near its end


@dataclass(frozen=True)
class Frame:
    """A raw frame.

    Attributes:
        planes: (4, h, w), planes R, G1, B, G2 in DN as stored, black included.
        iso: of the frame.
        black, white: (4,) levels of the planes in DN.
        name: of the file, for messages.
    """

    planes: np.ndarray
    iso: float
    black: np.ndarray
    white: np.ndarray
    name: str | None = None

    def __post_init__(self) -> None:
        if self.planes.ndim != 3 or self.planes.shape[0] != 4:
            raise ShapeError("planes", "(4, h, w)", self.planes.shape)
        if min(self.planes.shape[1:]) < _LEAST:
            raise InputError(f"is too small: {_LEAST * 2} pixels a side are needed",
                             path=self.name)
        if not (math.isfinite(self.iso) and self.iso > 0):
            raise InputError("does not say its ISO", path=self.name,
                             hint="Calibration needs frames with their EXIF data")

    @property
    def step(self) -> float:
        """Spacing of the values in DN; 0 where they are not whole numbers."""
        return 1.0 if self.planes.dtype.kind in "ui" else 0.0

    def signal(self) -> np.ndarray:
        """float32 (4, h, w) above the nominal black."""
        return self.planes.astype(np.float32) - _planes(self.black)

    def range(self) -> np.ndarray:
        """(4,) white minus black."""
        return np.asarray(self.white, np.float64) - np.asarray(self.black, np.float64)


@dataclass(frozen=True)
class Dark:
    """Measured from one dark frame, all in DN.

    Attributes:
        iso: of the frame.
        bias: (4,) mean of each plane above the nominal black.
        row: standard deviation of the rows, with its probability plot's correlation.
        tukey, gaussian: read noise once the rows are taken off.
        variance: of neighbours in a row, halved: read noise without rows and shading.
        correlation: between neighbours in a plane's rows; about 0 unless something filtered.
    """

    iso: float
    bias: np.ndarray
    row: Plot
    tukey: Plot
    gaussian: Plot
    variance: float
    correlation: float


@dataclass(frozen=True)
class Flat:
    """Measured from one flat frame or a pair of them, block by block.

    Attributes:
        iso: of the frames.
        paired: measured from the difference of two frames, free of fixed pattern.
        signal: (n,) means of the blocks in DN above the nominal black.
        variance: (n,) of the blocks in DN^2.
        plane: (n,) number of the plane of each block.
        clipped: share of all blocks that were left out as saturated.
    """

    iso: float
    paired: bool
    signal: np.ndarray = field(repr=False)
    variance: np.ndarray = field(repr=False)
    plane: np.ndarray = field(repr=False)
    clipped: float


def measure_dark(frame: Frame) -> Dark:
    """Read noise, row noise and colour bias of a dark frame.

    Raises:
        InputError: it is not dark, black is cut off at zero, or there is no noise.
    """
    signal = frame.signal()
    over = float(np.median(signal)) / float(frame.range().mean())
    if over > 0.02:
        raise InputError(f"is not a dark frame: {over:.1%} of the range over black",
                         path=frame.name, hint="Cover the lens and use the shortest exposure")
    cut = float(np.mean(frame.planes == 0)) if frame.step else 0.0
    if cut > 0.01:
        raise InputError(f"has its noise cut off at black ({cut:.0%} of the values are 0)",
                         path=frame.name,
                         hint="Such a camera cannot be calibrated from dark frames")
    signal = _tamed(signal)
    bias = signal.mean(axis=(1, 2), dtype=np.float64)
    signal -= _planes(bias)
    variance = float(np.median(_difference_variance(signal)))
    if variance <= 0:
        raise InputError("has no noise", path=frame.name,
                         hint="Calibration needs files as the camera wrote them")
    # R and G1 share the even rows of the mosaic, B and G2 the odd ones.
    rows = np.stack([signal[0:2].mean(axis=(0, 2)), signal[2:4].mean(axis=(0, 2))])
    rows = rows.astype(np.float64)
    rest = frame.signal() - _planes(bias)
    rest -= np.repeat(rows, 2, axis=0)[:, :, None].astype(np.float32)
    columns = signal.mean(axis=1, dtype=np.float64)
    rest -= _smoothed(columns)[:, None, :].astype(np.float32)
    calm = _tamed(rest)
    correlation = float(np.mean(calm[:, :, 1:] * calm[:, :, :-1]) / np.mean(calm * calm))
    gaussian = gaussian_plot(rest, step=frame.step)
    # A row's mean holds the read noise of 2 w pixels as well.
    plot = gaussian_plot(rows - _smoothed(rows))
    of_pixels = variance / (2 * signal.shape[2])
    own = plot.scale**2 / (1 - 1 / _window(rows.shape[1])) - of_pixels
    # Where rows share nothing a line in log sigma still needs some small value.
    least = 0.1 * math.sqrt(of_pixels)
    row = Plot(math.sqrt(max(own, least**2)), plot.r2)
    return Dark(frame.iso, bias, row, tukey_plot(rest, step=frame.step), gaussian, variance,
                correlation)


def is_pair(frame: Frame, other: Frame) -> bool:
    """Whether two flat frames can be subtracted: one ISO, one size, the same brightness."""
    if frame.iso != other.iso or frame.planes.shape != other.planes.shape:
        return False
    one, two = (float((f.planes.mean(axis=(1, 2)) - f.black).mean()) for f in (frame, other))
    return abs(one - two) <= _SAME * max(abs(one), abs(two))


def measure_flat(frame: Frame, partner: Frame | None = None) -> Flat:
    """Mean and variance of the blocks of a flat frame, or of a pair of the same exposure.

    The variance is that of horizontal neighbours, so that row noise, shading and flicker of the
    lamp do not count. The difference of a pair is free of the sensor's fixed pattern and of what
    is in the picture, too; a single frame is not.

    Raises:
        InputError: both frames are one file, or the frame is saturated everywhere.
    """
    signal = frame.signal()
    if partner is not None:
        second = partner.signal()
        if np.array_equal(signal, second):
            raise InputError(f"is the same picture as {partner.name}", path=frame.name,
                             hint="Take two frames of each exposure, not one twice")
        noise = (signal - second) / np.float32(math.sqrt(2))
        top = np.maximum(signal, second)
        signal = (signal + second) / 2
    else:
        noise = top = signal
    limit = _planes(frame.range() * _SATURATED)
    usable = ~_blocks(top >= limit).any(axis=(-1, -2)).reshape(4, -1)
    if not usable.any():
        raise InputError(f"is saturated everywhere (ISO {frame.iso:g})", path=frame.name,
                         hint="Expose flats to a quarter of the range, or half at most")
    means = _blocks(signal).mean(axis=(-1, -2), dtype=np.float64).reshape(4, -1)
    variances = _difference_variance(noise)
    plane = np.repeat(np.arange(4), means.shape[1])
    kept = usable.ravel()
    return Flat(frame.iso, partner is not None, means.ravel()[kept], variances.ravel()[kept],
                plane[kept], float(1 - kept.mean()))


def _difference_variance(planes: np.ndarray) -> np.ndarray:
    """(4, n) variance of each block, from the differences of horizontal neighbours."""
    blocks = _blocks(planes)
    away = np.diff(blocks, axis=-1).astype(np.float64)
    return (np.mean(away * away, axis=(-1, -2)) / 2).reshape(4, -1)


def _blocks(planes: np.ndarray) -> np.ndarray:
    """(4, rows of blocks, columns of blocks, 32, 32), the rest of the frame left out."""
    down, across = planes.shape[1] // _BLOCK, planes.shape[2] // _BLOCK
    cut = planes[:, : down * _BLOCK, : across * _BLOCK]
    return cut.reshape(4, down, _BLOCK, across, _BLOCK).swapaxes(2, 3)


def _tamed(planes: np.ndarray) -> np.ndarray:
    """A copy with what is further than six deviations from the middle (hot pixels) cut off."""
    sample = planes[:, ::3, ::3].reshape(4, -1)
    middle = np.median(sample, axis=1)
    # Whole numbers can have a median deviation of 0.
    spread = np.maximum(1.4826 * np.median(abs(sample - middle[:, None]), axis=1), 1.0)
    low, high = _planes(middle - 6 * spread), _planes(middle + 6 * spread)
    return np.clip(planes, low, high)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """What varies slowly along the last axis of (n, m): a cubic, and a running mean of the rest.

    The running mean mirrors the ends, which is why a slope must be off before.
    """
    count = values.shape[-1]
    cubic = np.vander(np.linspace(-1, 1, count), 4)
    trend = (cubic @ np.linalg.lstsq(cubic, values.T, rcond=None)[0]).T
    window = _window(count)
    half = window // 2
    around = np.pad(values - trend, ((0, 0), (half + 1, half)), mode="reflect")
    total = np.cumsum(around, axis=-1)
    return trend + (total[:, window:] - total[:, :-window]) / window


def _window(count: int) -> int:
    return min(_SMOOTH, (count - 1) // 2 * 2 - 1)


def _planes(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(4, 1, 1)
