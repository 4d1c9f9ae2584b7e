"""PSNR and SSIM as the published super-resolution tables compute them.

Images are (H, W) or (H, W, C) arrays: integers stand for [0, 1] over their type's whole range,
floats for themselves. Everything is computed in float64, in bands of rows, so that two large
files can be compared without holding float copies of them. SSIM is written out here because it
is short and because comparing two files then works from a plain installation; the tests hold it
to scikit-image's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from restore_cli.errors import ShapeError

# BT.601 luma of gamma-coded RGB in [0, 1], studio range: Y = 16/255 + rgb . weights. The /256
# constants are those of the LIIF protocol, of MATLAB's rgb2ycbcr to five digits.
LUMA_WEIGHTS = np.array([65.738, 129.057, 25.064]) / 256
LUMA_OFFSET = 16 / 255

# Wang et al. 2004: an 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03.
SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_K1, _SSIM_K2 = 0.01, 0.03

_BAND = 256  # rows handled at once


def rgb_to_y(rgb: np.ndarray) -> np.ndarray:
    """Studio-range luma.

    Args:
        rgb: (H, W, 3), gamma-coded RGB, integers or floats in [0, 1].

    Returns:
        (H, W) float64: BT.601 Y, 16/255 for black to 235/255 for white.
    """
    rgb = _as_float(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError("rgb", "(H, W, 3)", rgb.shape)
    return rgb @ LUMA_WEIGHTS + LUMA_OFFSET


def quantise(image: np.ndarray, levels: int = 255) -> np.ndarray:
    """What is left of values in [0, 1] stored in `levels` steps, clipped and rounded half up."""
    clipped = np.clip(_as_float(image), 0.0, 1.0)
    return np.floor(clipped * levels + 0.5) / levels


def shave(image: np.ndarray, border: int) -> np.ndarray:
    """The image without `border` pixels on each side.

    Raises:
        ShapeError: nothing would be left.
    """
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise ShapeError("image", f"more than {2 * border} pixels a side", image.shape)
    return image[border : height - border, border : width - border]


def mean_squared_error(image: np.ndarray, reference: np.ndarray) -> float:
    """Mean over all pixels and channels of the squared difference."""
    _check_same_shape(image, reference)
    total = sum(float(np.sum((a - b) ** 2)) for a, b in _bands(image, reference))
    return total / image.size


def psnr(image: np.ndarray, reference: np.ndarray, *, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images.

    Args:
        image, reference: arrays of one shape.
        peak: the range of the values; leave it at 1 for integer arrays.
    """
    return _decibels(mean_squared_error(image, reference), peak)


def psnr_y(image: np.ndarray, reference: np.ndarray, *, border: int = 0,
           rounded: bool = False) -> float:
    """PSNR in dB of the studio-range luma, `border` pixels cut on each side.

    Args:
        image, reference: (H, W, 3) RGB, or grey (H, W) or (H, W, 1), which is its own luma.
        rounded: the luma is rounded to 8 bits first, as MATLAB's rgb2ycbcr does for 8-bit images
            and the classic Set5 tables therefore did. It costs a few hundredths of a dB.
    """
    _check_same_shape(image, reference)
    image, reference = shave(image, border), shave(reference, border)
    total, count = 0.0, image.shape[0] * image.shape[1]
    for a, b in _bands(image, reference):
        total += float(np.sum((_luma(a, rounded) - _luma(b, rounded)) ** 2))
    return _decibels(total / count, 1.0)


def psnr_affine(image: np.ndarray, reference: np.ndarray, *, peak: float | None = None) -> float:
    """PSNR in dB after the gain and offset that bring `image` closest to `reference`.

    For pairs stored with different contrast, as micrographs often are: the least-squares line
    ``a * image + b`` is fitted over all values first.

    Args:
        peak: range of the reference's values; None takes 1 for integer arrays, else the
            reference's maximum minus its minimum.
    """
    _check_same_shape(image, reference)
    if peak is None:
        peak = 1.0 if reference.dtype.kind in "ui" else float(np.ptp(reference))
    mean_a = sum(float(np.sum(a)) for a, _ in _bands(image, reference)) / image.size
    mean_b = sum(float(np.sum(b)) for _, b in _bands(image, reference)) / image.size
    aa = ab = bb = 0.0
    for a, b in _bands(image, reference):
        a, b = a - mean_a, b - mean_b
        aa, ab, bb = aa + float(np.sum(a * a)), ab + float(np.sum(a * b)), bb + float(np.sum(b * b))
    # The residual of the best line; rounding must not push it below zero.
    left = bb - ab * ab / aa if aa > 0 else bb
    return _decibels(max(left, 0.0) / image.size, peak)


def ssim(image: np.ndarray, reference: np.ndarray, *, peak: float = 1.0) -> float:
    """Structural similarity, the mean over pixels and channels; 1 for equal images.

    Gaussian window of 11x11 and sigma 1.5, population covariance, and only windows that lie wholly
    inside the image: scikit-image's ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``.

    Raises:
        ShapeError: the images differ in shape or are smaller than the window.
    """
    _check_ssim(image, reference)
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    total = 0.0
    for a, b in _bands(image, reference, overlap=SSIM_WINDOW - 1):
        a, b = a.reshape(*a.shape[:2], channels), b.reshape(*b.shape[:2], channels)
        for c in range(channels):
            total += float(np.sum(_similarity(a[..., c], b[..., c], peak)))
    reach = SSIM_WINDOW - 1
    return total / ((height - reach) * (width - reach) * channels)


def ssim_y(image: np.ndarray, reference: np.ndarray, *, border: int = 0,
           rounded: bool = False) -> float:
    """SSIM of the studio-range luma; arguments as for `psnr_y`."""
    image, reference = shave(image, border), shave(reference, border)
    _check_ssim(image, reference)
    total = 0.0
    for a, b in _bands(image, reference, overlap=SSIM_WINDOW - 1):
        total += float(np.sum(_similarity(_luma(a, rounded), _luma(b, rounded), 1.0)))
    reach = SSIM_WINDOW - 1
    return total / ((image.shape[0] - reach) * (image.shape[1] - reach))


def _similarity(x: np.ndarray, y: np.ndarray, peak: float) -> np.ndarray:
    """The SSIM map of two planes, (H - 10, W - 10)."""
    c1, c2 = (_SSIM_K1 * peak) ** 2, (_SSIM_K2 * peak) ** 2
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x * mean_x
    var_y = _window_mean(y * y) - mean_y * mean_y
    covariance = _window_mean(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    return numerator / denominator


def _window_mean(plane: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean at every position where the whole window fits."""
    reach = SSIM_WINDOW // 2
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    height, width = plane.shape[0] - 2 * reach, plane.shape[1] - 2 * reach
    rows = sum(tap * plane[k : k + height] for k, tap in enumerate(taps))
    return sum(tap * rows[:, k : k + width] for k, tap in enumerate(taps))


def _luma(image: np.ndarray, rounded: bool) -> np.ndarray:
    if image.ndim == 2:
        luma = image
    elif image.shape[2] == 1:
        luma = image[..., 0]
    else:
        luma = rgb_to_y(image)
    return quantise(luma) if rounded else luma


def _bands(image: np.ndarray, reference: np.ndarray,
           overlap: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Float64 bands of rows that cover both images; neighbours share `overlap` rows."""
    for top in range(0, max(image.shape[0] - overlap, 1), _BAND):
        rows = slice(top, top + _BAND + overlap)
        yield _as_float(image[rows]), _as_float(reference[rows])


def _as_float(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype.kind in "ui":
        return image / np.float64(np.iinfo(image.dtype).max)
    return image.astype(np.float64, copy=False)


def _decibels(error: float, peak: float) -> float:
    return float("inf") if error == 0 else float(10 * np.log10(peak * peak / error))


def _check_same_shape(image: np.ndarray, reference: np.ndarray) -> None:
    if image.shape != reference.shape:
        raise ShapeError("image", f"the reference's shape {reference.shape}", image.shape)


def _check_ssim(image: np.ndarray, reference: np.ndarray) -> None:
    _check_same_shape(image, reference)
    if image.ndim not in (2, 3) or min(image.shape[:2]) < SSIM_WINDOW:
        raise ShapeError("image", f"(H, W) or (H, W, C), at least {SSIM_WINDOW} pixels a side",
                         image.shape)
