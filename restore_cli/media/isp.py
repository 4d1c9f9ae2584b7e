"""A plain development of raw planes, half size: the ISP of the ELD data set (Wei et al., 2020).

For previews and for metrics in sRGB; files for people are developed by LibRaw.
"""

from __future__ import annotations

import numpy as np

from restore_cli.errors import ShapeError
from restore_cli.media.unprocess import bin_cells


def develop_planes(planes: np.ndarray, balance: np.ndarray, to_srgb: np.ndarray, *,
                   gamma: float = 2.2,
                   response: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """White balance, clip, binning, colour matrix, clip, tone curve.

    Args:
        planes: float (4, h, w), planes R, G1, B, G2, white = 1.
        balance: (4,) gains of the planes; only their ratios to G1's count.
        to_srgb: (3, 3), camera colours to linear sRGB.
        gamma: the tone curve is value ^ (1 / gamma).
        response: a camera's response curve in its place: (irradiance, value), each (n,) or
            (3, n) for R, G, B; irradiance ascends, values between are interpolated linearly.

    Returns:
        float32 (h, w, 3), RGB in 0..1.

    Raises:
        ShapeError: an argument of another shape.
    """
    planes = np.asarray(planes)
    if planes.ndim != 3 or planes.shape[0] != 4:
        raise ShapeError("planes", "(4, h, w)", planes.shape)
    balance = np.asarray(balance, np.float32)
    if balance.shape != (4,):
        raise ShapeError("balance", "(4,)", balance.shape)
    matrix = np.asarray(to_srgb, np.float32)
    if matrix.shape != (3, 3):
        raise ShapeError("to_srgb", "(3, 3)", matrix.shape)
    gains = balance / balance[1]
    balanced = np.clip(planes.astype(np.float32) * gains[:, None, None], 0, 1)
    rgb = np.clip(np.tensordot(matrix, bin_cells(balanced), 1), 0, 1)
    if response is None:
        rgb = np.maximum(rgb, np.float32(1e-8)) ** np.float32(1 / gamma)
    else:
        rgb = _respond(rgb, *response)
    return np.ascontiguousarray(rgb.transpose(1, 2, 0))


def to_bytes(rgb: np.ndarray) -> np.ndarray:
    """uint8 of values in 0..1, cut off and not rounded, as the ELD protocol stores its results."""
    return (np.clip(rgb, 0, 1) * np.float32(255)).astype(np.uint8)


def _respond(rgb: np.ndarray, irradiance: np.ndarray, value: np.ndarray) -> np.ndarray:
    irradiance = np.atleast_2d(np.asarray(irradiance, np.float64))
    value = np.atleast_2d(np.asarray(value, np.float64))
    if irradiance.shape != value.shape or len(value) not in (1, 3) or value.ndim != 2:
        raise ShapeError("response", f"(n,) or (3, n), as the irradiance {irradiance.shape}",
                         value.shape)
    curves = zip(np.broadcast_to(irradiance, (3, irradiance.shape[1])),
                 np.broadcast_to(value, (3, value.shape[1])))
    return np.stack([np.interp(plane, *curve) for plane, curve in zip(rgb, curves)]
                    ).astype(np.float32)
