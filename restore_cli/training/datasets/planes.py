"""Images as a denoiser is trained on them: float planes, their statistics, and other tones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.training.datasets.sources import ImageSource
from restore_cli.training.degradations.noise import Noise

WHITE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as MATLAB's rgb2gray


@dataclass(frozen=True)
class Tone:
    """Another rendering of a clean picture: darker, inverted, of other contrast.

    Photographs alone do not prepare a network for a few bright cells on black. The ranges are
    wide on purpose.
    """

    gamma: float
    invert: bool
    exposure: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tone:
        """Half of the pictures stay as they are, but for exposure."""
        gamma = float(np.exp(rng.uniform(np.log(0.6), np.log(4)))) if rng.random() < 0.5 else 1.0
        return cls(gamma, rng.random() < 0.25, float(rng.uniform(0.3, 1)))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """`values` around 0..1, float32; those below 0 count as 0 where gamma is not 1."""
        toned = values if self.gamma == 1 else np.maximum(values, 0)**np.float32(self.gamma)
        return (1 - toned if self.invert else toned) * np.float32(self.exposure)


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of each channel of an image, float64 (C,), in units of white = 1."""

    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray) -> Statistics:
        """Those of a picture (C, y, x)."""
        flat = picture.reshape(len(picture), -1).astype(np.float64)
        return cls(flat.mean(axis=1), flat.var(axis=1))

    def noisy(self, noise: Noise | None) -> Statistics:
        """The same with noise added: what is measured on the noisy image, but for chance."""
        if noise is None:
            return self
        return Statistics(self.mean, self.variance + noise.variance(np.maximum(self.mean, 0)))

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, std), float32 (C,); the std of a constant image is a millionth of white."""
        std = np.sqrt(np.maximum(self.variance, 1e-12))
        return self.mean.astype(np.float32), std.astype(np.float32)


class Planes:
    """The images of a source as float32 planes (C, y, x) in units of white = 1.

    Args:
        source: images (H, W, 1 or 3) of uint8, uint16 or float32.
        channels: 1 (colour becomes grey) or 3 (grey is repeated).
    """

    def __init__(self, source: ImageSource, channels: int):
        self.source, self.channels = source, channels
        self._statistics: dict[int, Statistics] = {}

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of image `index`."""
        return self.source.image(index).shape[:2]

    def crop(self, index: int, top: int = 0, left: int = 0, side: int | None = None) -> np.ndarray:
        """A part of image `index`; all of it without `side`."""
        image = self.source.image(index)
        if side is not None:
            image = image[top:top + side, left:left + side]
        return planes(image, self.channels)

    def statistics(self, index: int) -> Statistics:
        """Of the whole image; computed once."""
        found = self._statistics.get(index)
        if found is None:
            found = self._statistics[index] = Statistics.of(self.crop(index))
        return found

    def sample(self, index: int) -> np.ndarray:
        """Every fourth row and column of image `index`, enough for statistics."""
        return planes(self.source.image(index)[::4, ::4], self.channels)


def planes(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1 or 3) samples of any type as float32 (C, H, W) in units of white = 1."""
    values = image.astype(np.float32) / np.float32(WHITE[image.dtype.name])
    if channels == 1 and image.shape[2] == 3:
        return np.ascontiguousarray((values @ LUMA)[None])
    values = np.broadcast_to(values, (*values.shape[:2], channels))
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def as_saved(values: np.ndarray) -> np.ndarray:
    """What is left of values (white = 1) in an 8-bit file: clipped to 0..1 and rounded."""
    return (np.rint(np.clip(values, 0, 1) * np.float32(255)) / np.float32(255)).astype(np.float32)
