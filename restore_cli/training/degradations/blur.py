"""Blurring and thinning out frames: how low-resolution video is made from high-resolution video.

Everything works on phase 0: low-resolution pixel (i, j) lies on high-resolution pixel
(scale * i, scale * j), and not on the centre of its square of pixels.
"""

from __future__ import annotations

import numpy as np

from restore_cli.errors import ShapeError

SCALE = 4

_BAND = 64  # rows of the result that are made at once


def blurred(frame: np.ndarray, kernel: np.ndarray, step: int = 1) -> np.ndarray:
    """A frame correlated with a kernel, at every `step`-th pixel from the first; edges repeat.

    Args:
        frame: (H, W) or (H, W, C), any real type.
        kernel: (K, K), K odd.
        step: distance of the pixels that are made, at least 1.

    Returns:
        float64 (ceil(H / step), ceil(W / step)[, C]), neither rounded nor clipped.

    Raises:
        ShapeError: of `frame` or `kernel`.
    """
    if frame.ndim not in (2, 3) or 0 in frame.shape:
        raise ShapeError("frame", "(H, W) or (H, W, C)", frame.shape)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ShapeError("kernel", "(K, K) with K odd", kernel.shape)
    if step < 1:
        raise ShapeError("step", "at least 1", (step,))
    reach, size = kernel.shape[0] // 2, kernel.shape[0]
    height, width = frame.shape[:2]
    rows, columns = -(-height // step), -(-width // step)
    out = np.zeros((rows, columns, *frame.shape[2:]))
    # In bands, so that a large frame never exists as a whole in double precision.
    for top in range(0, rows, _BAND):
        band = out[top:top + _BAND]
        last = (top + len(band) - 1) * step
        taken = np.clip(np.arange(top * step - reach, last + reach + 1), 0, height - 1)
        padded = np.pad(frame[taken].astype(np.float64),
                        [(0, 0), (reach, reach)] + [(0, 0)] * (frame.ndim - 2), "edge")
        for row in range(size):
            line = padded[row:row + last - top * step + 1:step]
            for column, weight in enumerate(kernel[row]):
                if weight:
                    band += weight * line[:, column:column + width:step]
    return out


def low_resolution(frame: np.ndarray, kernel: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """A low-resolution test frame: blurred, thinned out, clipped, rounded half to even.

    Args:
        frame: (H, W[, C]) uint8 or uint16.
        kernel: (K, K).

    Returns:
        (ceil(H / scale), ceil(W / scale)[, C]) of the frame's type.
    """
    if frame.dtype.kind != "u":
        raise TypeError(f"frame is {frame.dtype}, expected uint8 or uint16")
    found = blurred(frame, kernel, scale)
    return np.rint(np.clip(found, 0, np.iinfo(frame.dtype).max)).astype(frame.dtype)


def smoothness(frame: np.ndarray) -> float:
    """Mean edge strength of a frame; below 7 a training crop shows next to nothing.

    Args:
        frame: (H, W, C) or (H, W), values 0 to 255, at least 2 pixels a side.

    Returns:
        Mean over pixels and channels of half the sum of the Sobel magnitudes along x and y, each
        limited to 255, the half-sum rounded half to even; edges mirrored.
    """
    pad = [(1, 1), (1, 1)] + [(0, 0)] * (frame.ndim - 2)
    padded = np.pad(np.rint(frame).astype(np.int32), pad, "reflect")
    across, down = padded[:, 2:] - padded[:, :-2], padded[2:] - padded[:-2]
    gradient_x = across[:-2] + 2 * across[1:-1] + across[2:]
    gradient_y = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    edges = np.minimum(np.abs(gradient_x), 255) + np.minimum(np.abs(gradient_y), 255)
    return float(np.rint(edges * 0.5).mean())
