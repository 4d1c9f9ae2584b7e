"""Between stored pixels and what networks see: float32 planes in [0, 1], and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError

BLEED = 16
"""How far, in pixels, colour spreads under full transparency."""

_LINEAR_UP_TO = 4.0  # brighter float images go through a logarithm


@dataclass(frozen=True)
class Levels:
    """How the values of one image map to [0, 1], reversibly.

    Attributes:
        dtype: uint8, uint16 or float32.
        low, high: stored values that become 0 and 1.
        logarithmic: the map is ``log(1 + value - low)``, so that an image with highlights far
            above its mid-tones keeps its relative accuracy; else it is linear.
    """

    dtype: np.dtype
    low: float
    high: float
    logarithmic: bool = False

    def to_unit(self, pixels: np.ndarray) -> np.ndarray:
        """Stored values (any shape) as float32 in [0, 1]."""
        if self.dtype != np.float32:
            return pixels.astype(np.float32) * np.float32(1 / self.high)
        values = np.nan_to_num(pixels, nan=self.low, posinf=self.high, neginf=self.low)
        if self.logarithmic:
            return np.log1p(values - self.low) / np.float32(np.log1p(self.high - self.low))
        if (self.low, self.high) == (0.0, 1.0):
            return values
        return (values - np.float32(self.low)) / np.float32(self.high - self.low)

    def from_unit(self, values: np.ndarray, truncate: bool = False) -> np.ndarray:
        """Network output as stored values: clamped to [0, 1], mapped back, rounded half up.

        Args:
            truncate: cut the fraction instead of rounding, as the published LIIF demo does.
        """
        values = np.clip(values, 0.0, 1.0)
        if self.dtype != np.float32:
            values *= np.float32(self.high)
            if not truncate:
                values += np.float32(0.5)  # exact enough: 65535.5 needs 17 of 24 bits
            return values.astype(self.dtype)
        if self.logarithmic:
            return np.expm1(values * np.float32(np.log1p(self.high - self.low))
                            ) + np.float32(self.low)
        if (self.low, self.high) == (0.0, 1.0):
            return values
        return values * np.float32(self.high - self.low) + np.float32(self.low)


def levels(pixels: np.ndarray) -> tuple[Levels, str | None]:
    """The map for an image, and what to tell the user about it, if anything.

    Integers use their type's whole range. Floats in [0, 1] are taken as they are; others are
    mapped from their own range, linearly or (high dynamic range) logarithmically.

    Args:
        pixels: uint8, uint16 or float32, any shape.

    Raises:
        InputError: for another type, or floats without a finite value.
    """
    dtype = pixels.dtype
    if dtype == np.uint8 or dtype == np.uint16:
        return Levels(dtype, 0.0, float(np.iinfo(dtype).max)), None
    if dtype != np.float32:
        raise InputError(f"has values of type {dtype}, expected 8 or 16 bits or float")
    low, high, odd = _finite_range(pixels)
    note = "NaN and infinite values were replaced" if odd else None
    if 0.0 <= low and high <= 1.0:
        return Levels(dtype, 0.0, 1.0), note
    low, high = min(low, 0.0), max(high, 1.0)
    logarithmic = high - low > _LINEAR_UP_TO
    how = "logarithmically" if logarithmic else "linearly"
    text = f"values from {low:.4g} to {high:.4g} were mapped {how} to 0..1 and back"
    return Levels(dtype, low, high, logarithmic), "; ".join(filter(None, (text, note)))


def _finite_range(pixels: np.ndarray) -> tuple[float, float, bool]:
    """Smallest and largest finite value, and whether others occur; by rows, to save memory."""
    low, high, odd = np.inf, -np.inf, False
    step = max(1, (1 << 20) // max(1, pixels[0].size))
    for start in range(0, len(pixels), step):
        part = pixels[start:start + step]
        finite = np.isfinite(part)
        if not finite.all():
            odd, part = True, part[finite]
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low > high:
        raise InputError("has no finite value")
    return low, high, odd


def bleed(colour: np.ndarray, alpha: np.ndarray, steps: int = BLEED) -> np.ndarray:
    """Spreads colour into fully transparent pixels, where it is arbitrary (often black).

    Otherwise a network would draw that colour into the visible edge. Each step fills the
    transparent pixels that have filled neighbours (of eight) with their mean, so the result at
    a pixel depends on no more than `steps` pixels around it.

    Args:
        colour: (H, W, C) float32.
        alpha: (H, W), 0 where fully transparent.

    Returns:
        `colour` itself when nothing is transparent, else a filled copy.
    """
    known = alpha > 0
    if known.all() or not known.any():
        return colour
    filled = np.where(known[:, :, None], colour, np.float32(0))
    for _ in range(steps):
        count = _neighbour_sum(known[:, :, None].astype(np.float32))
        new = (count[:, :, 0] > 0) & ~known
        if not new.any():
            break
        filled[new] = (_neighbour_sum(filled)[new] / count[new]).astype(np.float32)
        known |= new
    filled[~known] = colour[~known]
    return filled


def _neighbour_sum(planes: np.ndarray) -> np.ndarray:
    """Sum over the 3x3 neighbourhood of (H, W, C), zero outside."""
    padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
