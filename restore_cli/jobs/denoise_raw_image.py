"""One RAW picture as the network sees it, and its result as a mosaic again, window by window.

Nothing here holds the whole picture as floats: windows are cut from the stored mosaic, and their
results go straight into the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.media import bayer

Index = np.ndarray | slice

HIGHLIGHTS = 0.85, 1.0
"""Amplified brightness, mean over a neighbourhood, from where the original begins to come back
and where it is all there is."""

_POINTS = 1.5, 2.0  # the same for single pixels that two planes agree on, such as stars
_WHITES = 0.95, 1.0  # where an amplified picture goes to white, each plane for itself
_LIMIT = 2.0  # one defective pixel counts no more than this in a neighbourhood
REACH = 2  # packed pixels that a neighbourhood spans on each side
_TOP = 65535
_BITS = 14
"""Bits that a brightened result fills at least."""

_DITHERED_BELOW = 1 << 12  # steps; finer ones need no dither
_DITHER = 128  # side of the pattern


@dataclass(frozen=True)
class Levels:
    """What the samples of the result mean.

    Attributes:
        black, white: (4,) float64 in plane order.
        factor: power of two that the original's levels were multiplied by.
        dither: fractions are rounded up or down at random, in proportion: a denoised picture has
            no noise of its own that would hide steps.
    """

    black: np.ndarray
    white: np.ndarray
    factor: int = 1
    dither: bool = False


def levels(black: np.ndarray, white: np.ndarray, *, shrink: float = 1.0,
           rescale: bool = True) -> Levels:
    """Levels of a result that hold it finely enough.

    The original's levels are multiplied by a power of two, so that its own samples stay exact:
    a brightened picture gets the steps of a 14-bit one, one that keeps its exposure all that
    16 bits allow.

    Args:
        black, white: the original's.
        shrink: the ratio that the result is divided by again, or 1.
        rescale: False keeps the original's levels.
    """
    factor, highest = 1, float(np.max(white))
    while rescale and highest * 2 * factor <= _TOP and (
            shrink > 1 or int(highest * factor).bit_length() < _BITS):
        factor *= 2
    steps = float(np.min(white - black)) * factor / shrink
    return Levels(np.asarray(black, np.float64) * factor, np.asarray(white, np.float64) * factor,
                  factor, steps < _DITHERED_BELOW)


@dataclass(frozen=True)
class Style:
    """What becomes of the network's result.

    Attributes:
        keep_exposure: it is divided by the ratio again.
        strength: 1 takes it as it is, less mixes the noisy picture back in.
    """

    keep_exposure: bool = False
    strength: float = 1.0


class Picture:
    """The amplified planes of a mosaic, cut out where they are needed.

    Args:
        mosaic: (H, W) stored samples.
        pattern: its colour filters.
        black, white: (4,) levels in plane order.
        ratio: amplification.

    Attributes:
        shape: (h, w) in packed pixels; an odd last row or column is left out.
    """

    def __init__(self, mosaic: np.ndarray, pattern: Any, black: np.ndarray, white: np.ndarray,
                 ratio: float):
        self.mosaic, self.pattern, self.ratio = mosaic, pattern, float(ratio)
        self.shape = mosaic.shape[0] // 2, mosaic.shape[1] // 2
        self._black = np.asarray(black, np.float32)[:, None, None]
        self._gain = (ratio / (np.asarray(white, np.float64) - black)).astype(
            np.float32)[:, None, None]

    def amplified(self, rows: Index, columns: Index) -> np.ndarray:
        """(4, n, m) float32, 0 at black and 1 at white / ratio; clipped at neither end.

        Args:
            rows, columns: packed pixels as slices or as positions in any order (padding).
        """
        rows, row_order = _span(rows)
        columns, column_order = _span(columns)
        part = self.mosaic[2 * rows.start:2 * rows.stop, 2 * columns.start:2 * columns.stop]
        planes = bayer.pack(part, self.pattern)
        if row_order is not None:
            planes = planes[:, row_order]
        if column_order is not None:
            planes = planes[:, :, column_order]
        planes = planes.astype(np.float32)
        planes -= self._black
        planes *= self._gain
        return planes

    def network(self, rows: Index, columns: Index) -> np.ndarray:
        """The same as the networks take it: clipped at white, negative where it is."""
        planes = self.amplified(rows, columns)
        return np.minimum(planes, 1.0, out=planes)


class Result:
    """The mosaic that a picture's results go into.

    Args:
        picture: the noisy one.
        levels: what its samples mean.
        style: what becomes of the network's result.
    """

    def __init__(self, picture: Picture, levels: Levels, style: Style = Style()):
        self.picture, self.levels, self.style = picture, levels, style
        self.mosaic = np.empty_like(picture.mosaic, dtype=np.uint16)
        self._black = levels.black.astype(np.float32)[:, None, None]
        self._range = (levels.white - levels.black).astype(np.float32)[:, None, None]
        if levels.dither:
            # Not quite 0 to 1, so that whole numbers stay what they are.
            self._noise = np.random.default_rng(0).uniform(
                0.01, 0.99, (4, _DITHER, _DITHER)).astype(np.float32)

    def put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        """Stores what the network made of some packed pixels.

        Args:
            clean: (4, n, m) amplified, as the network gave it.
        """
        made = self._blend(rows, columns, np.clip(clean, 0.0, 1.0))
        made *= self._range
        made += self._black
        if self.levels.dither:
            made += self._noise[:, np.arange(rows.start, rows.stop)[:, None] % _DITHER,
                                np.arange(columns.start, columns.stop) % _DITHER]
            np.floor(made, out=made)
        else:
            np.rint(made, out=made)
        samples = np.clip(made, 0, _TOP, out=made).astype(np.uint16)
        bayer.unpack(samples, self.picture.pattern, self.mosaic[
            2 * rows.start:2 * rows.stop, 2 * columns.start:2 * columns.stop])

    def finish(self) -> np.ndarray:
        """The whole mosaic, an odd last row or column copied from the nearest of its colours."""
        height, width = self.mosaic.shape
        if height % 2:
            self.mosaic[-1] = self.mosaic[-3]
        if width % 2:
            self.mosaic[:, -1] = self.mosaic[:, -3]
        return self.mosaic

    def _blend(self, rows: slice, columns: slice, clean: np.ndarray) -> np.ndarray:
        """(4, n, m) of 0 at black and 1 at white, from `clean`, which is changed."""
        noisy, means = self._neighbourhood(rows, columns)
        strength = np.float32(self.style.strength)
        if strength != 1:
            clean *= strength
            clean += noisy * (1 - strength)
        if not self.style.keep_exposure:
            # Where a plane is white all around, it is white: no noise, no tint below white.
            white = _ramp(means, *_WHITES)
            clean += white * (1 - clean)
            return np.minimum(clean, 1.0, out=clean)
        # One weight for all planes: a highlight keeps the colour that the sensor saw.
        back = _ramp(means.max(0), *HIGHLIGHTS)
        second = np.partition(noisy, 2, axis=0)[2]  # the second largest of the four planes
        np.maximum(back, _ramp(second, *_POINTS), out=back)
        clean += back * (noisy - clean)
        clean /= np.float32(self.picture.ratio)
        return clean

    def _neighbourhood(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """The amplified pixels, and the means around them of what a pixel may count."""
        grown = [slice(max(0, part.start - REACH), min(side, part.stop + REACH))
                 for part, side in zip((rows, columns), self.picture.shape, strict=True)]
        wide = self.picture.amplified(*grown)
        inner = tuple(slice(part.start - outer.start, part.stop - outer.start)
                      for part, outer in zip((rows, columns), grown, strict=True))
        noisy = wide[(slice(None), *inner)]
        means = np.minimum(wide, np.float32(_LIMIT))
        for axis, (part, outer) in enumerate(zip((rows, columns), grown, strict=True), 1):
            missing = (REACH - (part.start - outer.start), REACH - (outer.stop - part.stop))
            if any(missing):
                means = np.pad(means, [missing if n == axis else (0, 0) for n in range(3)],
                               mode="edge")
            means = _mean(means, axis, part.stop - part.start)
        return noisy, means


def _mean(planes: np.ndarray, axis: int, length: int) -> np.ndarray:
    """The running mean along an axis over 2 * REACH + 1 samples."""
    def window(first: int) -> np.ndarray:
        return planes[(slice(None),) * axis + (slice(first, first + length),)]

    total = window(0).copy()
    for first in range(1, 2 * REACH + 1):
        total += window(first)
    total *= np.float32(1 / (2 * REACH + 1))
    return total


def _ramp(values: np.ndarray, first: float, last: float) -> np.ndarray:
    """0 up to `first`, 1 from `last`, smooth between."""
    t = np.clip((values - np.float32(first)) * np.float32(1 / (last - first)), 0, 1)
    return t * t * (3 - 2 * t)


def _span(index: Index) -> tuple[slice, np.ndarray | None]:
    """The samples that an index touches, as a slice, and their order within it."""
    if isinstance(index, slice):
        return index, None
    first = int(index.min())
    return slice(first, int(index.max()) + 1), index - first
