"""MATLAB's ``imresize``: cubic (a = -0.5) or linear, antialiased when shrinking."""

from __future__ import annotations

import math

import numpy as np

from restore_cli.errors import ShapeError, UsageError

_WIDTH = {"bicubic": 4.0, "bilinear": 2.0}


def resize(image: np.ndarray, size: tuple[int, int] | None = None, *, scale: float | None = None,
           method: str = "bicubic") -> np.ndarray:
    """Resizes as MATLAB does, edges mirrored.

    Args:
        image: (H, W) or (H, W, C).
        size: (rows, columns) of the result, or
        scale: factor for both; the size is rounded up.
        method: "bicubic" or "bilinear".

    Returns:
        uint8 for uint8 (limited to 0..255 and rounded after each of the two passes), else float64.

    Raises:
        ShapeError: neither two nor three axes, or an empty image or size.
        UsageError: another method, or not exactly one of `size` and `scale`.
    """
    if method not in _WIDTH:
        raise UsageError(f"unknown interpolation '{method}'", hint="Use bicubic or bilinear")
    if (size is None) == (scale is None):
        raise UsageError("resizing takes either a size or a scale")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeError("image", "(H, W) or (H, W, C)", image.shape)
    old = image.shape[:2]
    if size is None:
        size = (math.ceil(old[0] * scale), math.ceil(old[1] * scale))
        scales = (scale, scale)
    else:
        scales = (size[0] / old[0], size[1] / old[1])
    if min(size) < 1:
        raise ShapeError("size", "(rows, columns), at least 1", tuple(size))
    out = np.asarray(image, np.float64)
    # The axis that shrinks most goes first, as in MATLAB: less is left to do.
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        matrix = _matrix(old[axis], size[axis], scales[axis], method)
        out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
        if image.dtype == np.uint8:
            out = np.rint(np.clip(out, 0, 255))
    return out.astype(np.uint8) if image.dtype == np.uint8 else out


def _matrix(old: int, new: int, scale: float, method: str) -> np.ndarray:
    """(new, old) weights along one axis."""
    width = _WIDTH[method] / min(scale, 1.0)
    places = (np.arange(new) + 0.5) / scale - 0.5
    starts = np.floor(places - width / 2).astype(int)
    taps = starts[:, None] + np.arange(math.ceil(width) + 2)
    weights = _kernel((places[:, None] - taps) * min(scale, 1.0), method)
    weights /= weights.sum(1, keepdims=True)
    around = np.concatenate([np.arange(old), np.arange(old)[::-1]])  # edges with their mirror image
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], around[taps % (2 * old)]), weights)
    return matrix


def _kernel(x: np.ndarray, method: str) -> np.ndarray:
    x = np.abs(x)
    if method == "bilinear":
        return np.maximum(1 - x, 0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
