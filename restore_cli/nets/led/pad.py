"""Padding of packed planes to a network's alignment, as upstream's U-Net does it.

The image is mirrored without repeating the border pixel, half of the missing pixels on each side
and an odd one at the bottom or right. A mirror that needs more than the image has is mirrored
again and again, a single pixel is repeated (upstream fails there: sides below 6).
"""

from __future__ import annotations

import numpy as np


def margins(side: int, align: int) -> tuple[int, int]:
    """Pixels to add before and after `side` pixels to reach a multiple of `align`."""
    missing = -side % align
    return missing // 2, missing - missing // 2


def mirrored(side: int, align: int) -> np.ndarray:
    """Position in the image of each pixel of the padded axis."""
    before, after = margins(side, align)
    period = max(2 * side - 2, 1)
    place = np.arange(-before, side + after) % period
    return np.minimum(place, period - place) if side > 1 else place


def pad(x: np.ndarray, align: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Pads the last two axes.

    Args:
        x: (..., h, w) with sides of at least 1.

    Returns:
        The padded array (`x` itself where nothing is missing), and the rows and columns of it
        that are the image: a network's output is cropped by these.
    """
    height, width = x.shape[-2:]
    crop = tuple(slice(margins(side, align)[0], margins(side, align)[0] + side)
                 for side in (height, width))
    if height % align or width % align:
        x = x[..., mirrored(height, align)[:, None], mirrored(width, align)]
    return x, crop
