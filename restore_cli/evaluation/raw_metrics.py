"""Metrics of packed raw planes, as the LED protocol and its 8-bit relative compute them.

All images are (4, h, w): planes R, G1, B, G2, white = 1. The published tables of LED (Jin et al.,
ICCV 2023) are `psnr4` and `ssim4` after `illuminance_correction`. The 8-bit path drops the second
green plane and rounds; it stands here because numbers made by it are in circulation.
"""

from __future__ import annotations

import numpy as np

from restore_cli.errors import ShapeError
from restore_cli.evaluation import metrics

BORDER = 2  # packed pixels that LED's protocol cuts from each side
_FLOOR = 1e-8  # added to the squared error: equal images have 80 dB


def illuminance_correction(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Bring an image to the brightness of its truth with one factor for all planes.

    Exposure times and apertures are not exact, so pairs of frames differ in brightness by some
    per cent. The correction needs the truth and hides errors of exposure: for evaluation only.

    Args:
        image: float (4, h, w); clipped to 0..1 first.
        truth: of the same shape; where it is exactly 1 it is saturated and does not count.

    Returns:
        (float32 image, not clipped again, the factor). A black image stays as it is.

    Raises:
        ShapeError: shapes differ.
    """
    _check(image, truth)
    clipped = np.clip(image, 0, 1).astype(np.float32, copy=False)
    energy = product = 0.0
    for plane, reference in zip(clipped, truth, strict=True):  # one by one: doubles are large
        counted = np.where(reference != 1, plane, 0).astype(np.float64)
        energy += float(np.sum(counted * counted))
        product += float(np.sum(counted * reference))
    factor = product / energy if energy > 0 else 1.0
    clipped *= np.float32(factor)
    return clipped, factor


def psnr4(image: np.ndarray, truth: np.ndarray, *, border: int = BORDER) -> float:
    """PSNR in dB over all four planes, 10 log10(1 / (mean squared error + 1e-8)).

    Args:
        image, truth: (4, h, w); neither is clipped.
        border: packed pixels cut on each side.

    Raises:
        ShapeError: shapes differ, or nothing is left.
    """
    _check(image, truth)
    error = metrics.mean_squared_error(_inner(image, border), _inner(truth, border))
    return float(10 * np.log10(1 / (error + _FLOOR)))


def ssim4(image: np.ndarray, truth: np.ndarray, *, border: int = BORDER) -> float:
    """SSIM, the mean of the four planes; arguments as for `psnr4`.

    Raises:
        ShapeError: shapes differ, or fewer than 11 pixels a side are left.
    """
    _check(image, truth)
    return metrics.ssim(_inner(image, border), _inner(truth, border))


def eight_bit(planes: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) of the planes R, G1, B: clipped, rounded half to even, G2 dropped."""
    rounded = np.rint(np.clip(planes[:3], 0, 1).astype(np.float32) * np.float32(255))
    return rounded.astype(np.uint8).transpose(1, 2, 0)


def psnr_u8(image: np.ndarray, truth: np.ndarray, *, border: int = 0) -> float:
    """PSNR in dB of the planes R, G1, B at 8 bits; infinite for equal ones."""
    _check(image, truth)
    return metrics.psnr(metrics.shave(eight_bit(image), border),
                        metrics.shave(eight_bit(truth), border))


def ssim_u8(image: np.ndarray, truth: np.ndarray, *, border: int = 0) -> float:
    """SSIM of the planes R, G1, B at 8 bits."""
    _check(image, truth)
    return metrics.ssim(metrics.shave(eight_bit(image), border),
                        metrics.shave(eight_bit(truth), border))


def psnr_u8_y(image: np.ndarray, truth: np.ndarray, *, border: int = BORDER) -> float:
    """PSNR in dB of the luma of the planes R, G1, B at 8 bits, as if they were gamma-coded."""
    _check(image, truth)
    return metrics.psnr_y(eight_bit(image), eight_bit(truth), border=border)


def _inner(planes: np.ndarray, border: int) -> np.ndarray:
    return metrics.shave(np.moveaxis(planes, 0, -1), border)


def _check(image: np.ndarray, truth: np.ndarray) -> None:
    if truth.ndim != 3 or truth.shape[0] != 4:
        raise ShapeError("truth", "(4, h, w)", truth.shape)
    if image.shape != truth.shape:
        raise ShapeError("image", f"the truth's shape {truth.shape}", image.shape)
