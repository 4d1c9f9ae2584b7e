"""Pillow's bicubic resize: what makes low-resolution images and the baseline of every table."""

from __future__ import annotations

import numpy as np

from restore_cli.errors import ShapeError


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes with the bicubic kernel (a = -0.5), antialiased when shrinking.

    Args:
        image: (H, W, C). uint8 is resized as Pillow resizes 8-bit images, rounding after each
            pass; anything else in floating point, without clipping.
        size: (height, width) of the result.

    Returns:
        (height, width, C), uint8 for uint8, else float32.
    """
    from PIL import Image

    if image.ndim != 3:
        raise ShapeError("image", "(H, W, C)", image.shape)
    height, width = size
    dtype = np.uint8 if image.dtype == np.uint8 else np.float32
    planes = [
        # Pillow takes (width, height). Planes are resized alone, which gives what resizing an RGB
        # picture gives and also serves floats, which Pillow knows only as single planes.
        np.asarray(Image.fromarray(np.ascontiguousarray(image[..., c], dtype=dtype))
                   .resize((width, height), Image.Resampling.BICUBIC))
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)
