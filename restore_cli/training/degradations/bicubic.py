"""Pillow's bicubic resize, as the published training and test sets use it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from restore_cli.errors import ShapeError


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with the cubic kernel a = -0.5, antialiased when shrinking.

    Rows are resized first, then columns, each pass rounded for 8-bit images. This is what
    Pillow did in one call until release 10; newer releases begin with the columns when an image
    shrinks much more in height than in width, which differs by several levels there. Done as two
    calls the result is the same with every release.

    Args:
        image: (H, W) or (H, W, C), any C. uint8 as Pillow's 8-bit resize; anything else as
            floating point, accumulated in double, neither rounded nor clipped.
        size: (height, width) of the result, each at least 1.

    Returns:
        The same number of axes; uint8 for uint8, else float32.

    Raises:
        ShapeError: neither two nor three axes, or an empty image or size.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeError("image", "(H, W) or (H, W, C)", image.shape)
    height, width = size
    if height < 1 or width < 1:
        raise ShapeError("size", "(height, width), at least 1", tuple(size))
    if image.dtype != np.uint8:
        image = np.asarray(image, np.float32)
    if image.ndim == 2 or (image.dtype == np.uint8 and image.shape[2] == 3):
        return _resize(image, height, width)
    # Planes alone: Pillow knows floats only so, and would weight the others of four by the last.
    planes = [_resize(image[..., c], height, width) for c in range(image.shape[2])]
    return np.stack(planes, axis=-1)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(image))
    # Pillow takes (width, height).
    picture = picture.resize((width, picture.height), Image.BICUBIC)
    return np.array(picture.resize((width, height), Image.BICUBIC))
