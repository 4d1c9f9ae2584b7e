"""The blur kernels of blind video super-resolution: Gaussian and Realistic (Self-Blind-VSR).

A kernel is a float64 array that is not negative and sums to 1. It is *correlated* with the
picture: `kernel[r, c]` weighs the pixel ``r - size // 2`` rows below and ``c - size // 2`` columns
right of the one that is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import ShapeError, UsageError
from restore_cli.training.degradations.kernel_resampling import cubic_resize, spline_shift

SIGMAS = tuple(tenths / 10 for tenths in range(4, 21))
"""The widths, in pixels of the large picture, that training draws from."""

TEST_SIGMA = 1.2
"""The width of the published Gaussian test sets."""

SIZE = 13
"""Side of a Realistic kernel, and of the kernels that the network estimates."""

RAW_SIZE = 31
EIGENVALUES = (2.4, 20.0)  # 0.6 and 5 times the scale of 4; variances in pixels squared
NOISE = 0.25
_RAW_CENTRE = 16.5
_WANTED_CENTRE = RAW_SIZE / 2

_LARGEST_SIGMA = 50.0


def gaussian_size(sigma: float) -> int:
    """Side of the Gaussian kernel of a width: 2 * ceil(3 sigma) + 1."""
    # Rounded, as three tenths ten times are more than three.
    return 2 * math.ceil(round(3 * sigma, 9)) + 1


def gaussian(sigma: float, size: int | None = None) -> np.ndarray:
    """An isotropic Gaussian kernel, as MATLAB's ``fspecial('gaussian')`` makes it.

    Args:
        sigma: width in pixels, above 0 and at most 50.
        size: side, odd; None takes `gaussian_size`.

    Returns:
        (size, size) float64.

    Raises:
        UsageError: an impossible width.
        ShapeError: `size` is even or below 1.
    """
    if not 0 < sigma <= _LARGEST_SIGMA:
        raise UsageError(f"a blur of sigma {sigma:g} pixels is impossible",
                         hint=f"Use more than 0 and at most {_LARGEST_SIGMA:g}")
    size = gaussian_size(sigma) if size is None else size
    if size < 1 or size % 2 == 0:
        raise ShapeError("size", "odd", (size, size))
    line = np.arange(size) - size // 2
    kernel = np.exp(-(line[:, None] ** 2 + line ** 2) / (2 * sigma * sigma))
    kernel[kernel < np.finfo(np.float64).eps * kernel.max()] = 0
    return kernel / kernel.sum()


@dataclass(frozen=True)
class Draws:
    """What chance decides of a Realistic kernel.

    Attributes:
        first, second: variances along the two axes, 2.4 to 20 pixels squared.
        angle: of the axes, 0 to pi.
        noise: (31, 31), -0.25 to 0.25: each sample is multiplied with 1 plus this.
    """

    first: float
    second: float
    angle: float
    noise: np.ndarray

    @classmethod
    def of(cls, uniforms: np.ndarray, noise: np.ndarray) -> Draws:
        """Draws from numbers in [0, 1).

        Args:
            uniforms: (3,) for the two variances and the angle.
            noise: (31, 31).
        """
        if noise.shape != (RAW_SIZE, RAW_SIZE):
            raise ShapeError("noise", f"({RAW_SIZE}, {RAW_SIZE})", noise.shape)
        low, high = EIGENVALUES
        first, second, angle = (float(value) for value in uniforms)
        return cls(low + first * (high - low), low + second * (high - low), angle * math.pi,
                   (2 * noise - 1) * NOISE)


def draw(rng: np.random.Generator | np.random.RandomState) -> Draws:
    """Takes 3 + 961 uniform numbers in the published order: variances, angle, noise.

    A `numpy.random.RandomState` gives what the published program makes with that seed.
    """
    uniforms = np.array([rng.uniform() for _ in range(3)])
    return Draws.of(uniforms, rng.uniform(size=(RAW_SIZE, RAW_SIZE)))


def raw(draws: Draws) -> np.ndarray:
    """The anisotropic Gaussian with its noise, (31, 31) float64, centred on 16.5 and not on 15."""
    cos, sin = math.cos(draws.angle), math.sin(draws.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    inverse = np.linalg.inv(turn @ np.diag([draws.first, draws.second]) @ turn.T)
    line = np.arange(RAW_SIZE) - _RAW_CENTRE
    x, y = line[None, :], line[:, None]
    distance = inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    return np.exp(-0.5 * distance) * (1 + draws.noise)


def centred(kernel: np.ndarray) -> np.ndarray:
    """A raw kernel moved by a cubic spline to the centre of mass 15.5, without negatives, sum 1.

    15.5 is half the size and therefore half a sample beyond the middle one; so it was published.
    """
    row, column = centre_of_mass(kernel)
    moved = spline_shift(kernel, (_WANTED_CENTRE - row, _WANTED_CENTRE - column))
    moved[moved < 0] = 0
    return moved / moved.sum()


def realistic(draws: Draws) -> np.ndarray:
    """A Realistic kernel: the centred one resized to 13x13 by plain cubic interpolation.

    Returns:
        (13, 13) float64; its centre of mass is near 6.2, not 6.
    """
    kernel = np.maximum(cubic_resize(centred(raw(draws)), (SIZE, SIZE)), 0)
    return kernel / kernel.sum()


def centre_of_mass(kernel: np.ndarray) -> tuple[float, float]:
    """(row, column), counted from the first sample's centre."""
    total = kernel.sum()
    rows = float(kernel.sum(1) @ np.arange(kernel.shape[0]) / total)
    return rows, float(kernel.sum(0) @ np.arange(kernel.shape[1]) / total)


def training_kernel(mode: str, rng: np.random.Generator) -> np.ndarray:
    """The kernel of one training sample.

    Args:
        mode: "gaussian" (sigma is one of `SIGMAS`; 5x5 to 13x13) or "realistic" (13x13).

    Raises:
        UsageError: another mode.
    """
    if mode == "gaussian":
        return gaussian(SIGMAS[int(rng.integers(len(SIGMAS)))])
    if mode == "realistic":
        return realistic(draw(rng))
    raise UsageError(f"unknown blur '{mode}'", hint="Use gaussian or realistic")
