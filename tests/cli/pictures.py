"""Makes, writes and reads the images of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.media.metadata import Metadata


def picture(height: int, width: int, channels: int = 3, dtype=np.uint8, seed: int = 0):
    """Smooth random pixels that use the type's range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 7.0
    waves = [np.sin(a * y + b * x + c) for a, b, c in rng.uniform(0.3, 2, (channels, 3))]
    unit = np.stack(waves, axis=-1) * 0.5 + 0.5
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (unit * top).astype(dtype)


def save(name: str, pixels, **metadata) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Image(pixels, metadata=Metadata(**metadata)))
    return path


def load(name) -> np.ndarray:
    return images.read(Path(name)).pixels
