"""Fixed crops that a run is judged on, the same at every validation of every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError
from restore_cli.training.datasets.sources import ImageSource
from restore_cli.training.degradations import bicubic


@dataclass(frozen=True)
class ValidationPair:
    """One low-resolution image and its original.

    Attributes:
        scale: original side / low-resolution side, before rounding.
        lr: uint8 (h, w, 3).
        hr: uint8 (H, W, 3).
    """

    scale: float
    lr: np.ndarray
    hr: np.ndarray


def fixed_pairs(images: Iterable[np.ndarray], scales: Sequence[float] = (2, 3, 4),
                lr_size: int = 48) -> list[ValidationPair]:
    """Crops from the middle of each image, shrunk by Pillow's bicubic, at each scale.

    All crops of one scale have the same size, so that a network is compiled once for each.

    Args:
        images: uint8 (H, W, 3).
        scales: 1 or more each. An image too small for a scale is left out of it.
        lr_size: side of the low-resolution crops.

    Raises:
        InputError: no image is large enough for any scale.
    """
    pairs = []
    for image in images:
        for scale in scales:
            side = round(lr_size * scale)
            if min(image.shape[:2]) < side:
                continue
            top, left = ((length - side) // 2 for length in image.shape[:2])
            high = np.ascontiguousarray(image[top:top + side, left:left + side])
            pairs.append(ValidationPair(float(scale), bicubic.resize(high, (lr_size, lr_size)),
                                        high))
    if not pairs:
        raise InputError(f"no validation image has the {round(lr_size * min(scales))} pixels that "
                         f"crops of {lr_size} at scale {min(scales):g} need")
    return pairs


def spread(source: ImageSource, count: int) -> list[np.ndarray]:
    """At most `count` images of a source, evenly spread over it."""
    count = min(count, len(source))
    return [source.image(int(i)) for i in np.linspace(0, len(source) - 1, count).astype(int)]
