"""Colours of cameras whose matrix LibRaw uses but does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from restore_cli.media.bayer import Pattern
from restore_cli.media.raw_levels import XYZ_FROM_SRGB

if TYPE_CHECKING:
    import rawpy

_MOST = 1 << 24  # pixels; such cameras are early ones
_GREY, _STEP = 0.5, 0.15


def measured(opened: rawpy.RawPy, pattern: Pattern, daylight: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray] | None:
    """What LibRaw's developer makes of a little more red, green and blue light than grey.

    For a few early cameras LibRaw has constants of its own, in neither of the matrices that it
    gives out: without them a DNG would be paler than the picture developed from the original.
    The mosaic of `opened` is lost.

    Args:
        daylight: float64 (4,), gains for daylight in plane order.

    Returns:
        (balanced camera colours to linear sRGB, XYZ to unbalanced camera colours), float64
        (3, 3) each; None where LibRaw takes the colours as they are, or loses some.
    """
    import rawpy

    visible = opened.raw_image_visible
    width = visible.shape[1] // 6 * 2
    if not width or visible.size > _MOST:
        return None
    floor = max(opened.black_level_per_channel)
    saturation = 65535 - floor
    visible[:] = floor + round(_GREY * saturation)
    for part, planes in enumerate(((0,), (1, 3), (2,))):
        for plane in planes:
            row, column = pattern.offsets[plane]
            visible[row::2, part * width + column:(part + 1) * width:2] = floor + round(
                (_GREY + _STEP) * saturation)
    try:
        picture = opened.postprocess(
            half_size=True, user_flip=0, user_wb=[1.0] * 4, user_black=floor, user_sat=saturation,
            gamma=(1, 1), output_bps=16, no_auto_bright=True, adjust_maximum_thr=0.0)
    except (rawpy.LibRawError, rawpy.NotSupportedError, MemoryError):
        return None  # whoever develops the file says why
    columns = np.arange(3) * (width // 2) + width // 4
    found = (picture[picture.shape[0] // 2, columns].T / 65535 - _GREY) / _STEP
    if np.abs(found - np.eye(3)).max() < 0.01 or abs(np.linalg.det(found)) < 0.01:
        return None
    found /= found.sum(axis=1, keepdims=True)
    return found, np.linalg.inv(XYZ_FROM_SRGB @ found) / daylight[:3, None]
