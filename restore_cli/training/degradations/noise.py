"""Generated noise: Gaussian, Poisson and mixtures of both, independent from pixel to pixel.

All strengths refer to white = 1; the command line gives Gaussian noise in levels of 255 and
Poisson noise as the number of photons at white. Noisy values are neither clipped nor rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import UsageError

KINDS = ("gaussian", "poisson", "mixed")
MIXED = (3.0, 75.0)


@dataclass(frozen=True)
class Noise:
    """Noise of one strength: a pixel of value x gets the variance gain * x + sigma^2.

    The Poisson-Gaussian model of Foi et al. (IEEE TIP 2008): photons are counted, 1 / gain of
    them at white, and a constant read-out noise is added.

    Attributes:
        gain: (C,) 0 or more; 0 is no photon noise.
        sigma: (C,) 0 or more, standard deviation of the constant part.
    """

    gain: np.ndarray
    sigma: np.ndarray

    def variance(self, mean: np.ndarray) -> np.ndarray:
        """(C,) mean variance of the noise where the clean mean is `mean` (C,), 0 or more."""
        return self.gain * mean + self.sigma**2

    def add(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A noisy copy.

        Args:
            clean: float32 (C, *S); values below 0 count no photons.
            rng: draws; equal generators give equal noise.

        Returns:
            float32 (C, *S), values outside 0..1 kept.
        """
        noisy = clean.astype(np.float32)
        for plane, gain, sigma in zip(noisy, self.gain, self.sigma):
            if gain > 0:
                below = np.minimum(plane, 0)
                plane[...] = rng.poisson(np.maximum(plane, 0) * (1 / gain)) * gain
                plane += below
            if sigma > 0:
                plane += np.float32(sigma) * rng.standard_normal(plane.shape, np.float32)
        return noisy


@dataclass(frozen=True)
class NoiseModel:
    """Noise whose strength is drawn for each image.

    Attributes:
        kind: "gaussian" (strength: sigma in levels of 255, drawn uniformly), "poisson" (photons
            at white, drawn uniformly in their logarithm) or "mixed" (both together, of any
            share: standard deviation at middle grey in levels of 255, drawn uniformly in its
            logarithm; in half of the colour images the channels differ).
        least, largest: the range of strengths.
    """

    kind: str
    least: float
    largest: float

    @classmethod
    def parse(cls, text: str) -> NoiseModel:
        """``gaussian:25``, ``gaussian:5-50``, ``poisson:20-2000``, ``mixed``, ``mixed:2-40``.

        Raises:
            UsageError: not such a text, or numbers that make no sense.
        """
        kind, _, numbers = text.strip().lower().partition(":")
        if kind not in KINDS:
            raise UsageError(f"unknown noise '{text}'",
                             hint="Such as gaussian:25, gaussian:5-50, poisson:20-2000, mixed")
        if not numbers and kind == "mixed":
            return cls(kind, *MIXED)
        first, dash, last = numbers.partition("-")
        try:
            least = float(first)
            largest = float(last) if dash else least
        except ValueError:
            raise UsageError(f"--noise {kind} takes a strength or a range, such as {kind}:25 or "
                             f"{kind}:10-50, not '{text}'") from None
        if not (0 < least <= largest < math.inf):
            raise UsageError(f"strengths of noise are above 0, the least first, not '{numbers}'")
        return cls(kind, least, largest)

    @property
    def fixed(self) -> bool:
        """Whether every image gets noise of the same strength."""
        return self.least == self.largest and self.kind != "mixed"

    def draw(self, channels: int, rng: np.random.Generator) -> Noise:
        """The noise of one image of so many channels."""
        none = np.zeros(channels)
        if self.kind == "gaussian":
            return Noise(none, none + rng.uniform(self.least, self.largest) / 255)
        strength = math.exp(rng.uniform(math.log(self.least), math.log(self.largest)))
        if self.kind == "poisson":
            return Noise(none + 1 / strength, none)
        variance = np.full(channels, (strength / 255) ** 2)
        share = float(np.clip(rng.uniform(-0.5, 1.25), 0, 1))  # of the photons
        if rng.random() < 0.5 and channels > 1:
            variance *= np.exp(rng.normal(0, 0.5, channels))
        return Noise(share * variance / 0.5, np.sqrt((1 - share) * variance))
