"""One RAW picture as the network sees it, and its result as a mosaic again, window by window.

Nothing here holds the whole picture as floats: windows are cut from the stored mosaic, and their
results go straight into the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
_BLOCK = 1 << 14  # pixels worked on at once: their floats stay in the cache
_THREADS = 4


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
            planes = _ordered(planes, row_order, 1)
        if column_order is not None:
            planes = _ordered(planes, column_order, 2)
        planes = planes.astype(np.float32)
        planes -= self._black
        planes *= self._gain
        return planes

    def network(self, rows: Index, columns: Index) -> np.ndarray:
        """The same as the networks take it: clipped at white, negative where it is."""
        height, width = _length(rows), _length(columns)
        planes = np.empty((4, height, width), np.float32)
        for part in _blocks(slice(0, height), width):
            taken = (slice(rows.start + part.start, rows.start + part.stop)
                     if isinstance(rows, slice) else rows[part])
            np.minimum(self.amplified(taken, columns), np.float32(1), out=planes[:, part])
        return planes

    def above(self, rows: slice, columns: slice, limit: float) -> bool:
        """Whether any sample is amplified to more than `limit`."""
        part = self.mosaic[2 * rows.start:2 * rows.stop, 2 * columns.start:2 * columns.stop]
        highest = [part[row::2].max(0) for row in (0, 1)]  # whole rows: quicker than by planes
        top = np.array([highest[row][column::2].max() for row, column in self.pattern.offsets],
                       np.float32)[:, None, None]
        return bool(((top - self._black) * self._gain).max() > np.float32(limit))


class Result:
    """The mosaic that a picture's results go into.

    Args:
        picture: the noisy one.
        levels: what its samples mean.
        style: what becomes of the network's result.
        threads: that work on what is put in.
    """

    def __init__(self, picture: Picture, levels: Levels, style: Style = Style(),
                 threads: int = 1):
        self.picture, self.levels, self.style = picture, levels, style
        self._threads = min(threads, _THREADS)
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
        def put(part: slice) -> None:
            self._put(part, columns, clean[:, part.start - rows.start:part.stop - rows.start])

        parts = list(_blocks(rows, columns.stop - columns.start))
        if min(self._threads, len(parts)) < 2:
            for part in parts:
                put(part)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(put, parts):  # tells of failures
                pass

    def finish(self) -> np.ndarray:
        """The whole mosaic, an odd last row or column copied from the nearest of its colours."""
        height, width = self.mosaic.shape
        if height % 2:
            self.mosaic[-1] = self.mosaic[-3]
        if width % 2:
            self.mosaic[:, -1] = self.mosaic[:, -3]
        return self.mosaic

    def _put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        made = np.maximum(clean, np.float32(0))
        np.minimum(made, np.float32(1), out=made)
        self._blend(rows, columns, made)
        made *= self._range
        made += self._black
        if self.levels.dither:
            self._dither(rows, columns, made)
        else:
            np.rint(made, out=made)
        np.maximum(made, np.float32(0), out=made)
        np.minimum(made, np.float32(_TOP), out=made)
        bayer.unpack(made.astype(np.uint16), self.picture.pattern, self.mosaic[
            2 * rows.start:2 * rows.stop, 2 * columns.start:2 * columns.stop])

    def _dither(self, rows: slice, columns: slice, made: np.ndarray) -> None:
        """Rounds `made` in place."""
        noise = self._noise[:, np.arange(rows.start, rows.stop) % _DITHER]
        for start in range(columns.start // _DITHER * _DITHER, columns.stop, _DITHER):
            first, last = max(start, columns.start), min(start + _DITHER, columns.stop)
            made[..., first - columns.start:last - columns.start] += noise[
                ..., first - start:last - start]
        np.floor(made, out=made)

    def _blend(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        """Makes (4, n, m) of 0 at black and 1 at white of `clean`, in place."""
        grown = [slice(max(0, part.start - REACH), min(side, part.stop + REACH))
                 for part, side in zip((rows, columns), self.picture.shape, strict=True)]
        keep, strength = self.style.keep_exposure, np.float32(self.style.strength)
        # No mean is above the highest sample: most blocks are far from white.
        bright = self.picture.above(*grown, (HIGHLIGHTS if keep else _WHITES)[0])
        if bright or strength != 1:
            wide = self.picture.amplified(*grown)
            noisy = wide[:, rows.start - grown[0].start:rows.stop - grown[0].start,
                         columns.start - grown[1].start:columns.stop - grown[1].start]
        if strength != 1:
            clean *= strength
            clean += noisy * (1 - strength)
        if bright:
            means = _means(wide, [(REACH - (part.start - outer.start),
                                   REACH - (outer.stop - part.stop))
                                  for part, outer in zip((rows, columns), grown, strict=True)])
            (_restore if keep else _whiten)(clean, noisy, means)
        if keep:
            clean /= np.float32(self.picture.ratio)
        else:
            np.minimum(clean, np.float32(1), out=clean)


def _whiten(clean: np.ndarray, noisy: np.ndarray, means: np.ndarray) -> None:
    """Where a plane is white all around, it becomes white: no noise, no tint below white."""
    for plane, mean in zip(clean, means, strict=True):
        if mean.max() > np.float32(_WHITES[0]):
            white = _ramp(mean, *_WHITES)
            white *= 1 - plane
            plane += white


def _restore(clean: np.ndarray, noisy: np.ndarray, means: np.ndarray) -> None:
    """Brings the original back in highlights.

    One weight for all planes: a highlight keeps the colour that the sensor saw.
    """
    mean = means.max(0)
    # The second largest of the four planes.
    second = np.maximum(
        np.minimum(np.maximum(noisy[0], noisy[1]), np.maximum(noisy[2], noisy[3])),
        np.maximum(np.minimum(noisy[0], noisy[1]), np.minimum(noisy[2], noisy[3])))
    if mean.max() <= np.float32(HIGHLIGHTS[0]) and second.max() <= np.float32(_POINTS[0]):
        return
    back = _ramp(mean, *HIGHLIGHTS)
    np.maximum(back, _ramp(second, *_POINTS), out=back)
    clean += back * (noisy - clean)


def _means(wide: np.ndarray, missing: list[tuple[int, int]]) -> np.ndarray:
    """The means of neighbourhoods, of what a pixel may count.

    Args:
        wide: (4, n, m), `REACH` pixels more on each side than there are means.
        missing: what it lacks of them before and after, for rows and columns: there its edge
            repeats.
    """
    counted = np.minimum(wide, np.float32(_LIMIT))
    if np.any(missing):
        counted = np.pad(counted, [(0, 0), *missing], mode="edge")
    for axis in (1, 2):
        counted = _mean(counted, axis, counted.shape[axis] - 2 * REACH)
    return counted


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
    t = values - np.float32(first)
    t *= np.float32(1 / (last - first))
    np.maximum(t, np.float32(0), out=t)
    np.minimum(t, np.float32(1), out=t)
    rest = 3 - 2 * t
    t *= t
    t *= rest
    return t


def _ordered(planes: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    """`planes.take(order, axis)`, faster where but for padding at both ends nothing moves."""
    first = int(order.argmin())
    last = first + min(planes.shape[axis], len(order) - first)
    if not np.array_equal(order[first:last], np.arange(last - first)):
        return planes.take(order, axis)
    return np.concatenate((planes.take(order[:first], axis),
                           planes[(slice(None),) * axis + (slice(0, last - first),)],
                           planes.take(order[last:], axis)), axis)


def _length(index: Index) -> int:
    return index.stop - index.start if isinstance(index, slice) else len(index)


def _blocks(rows: slice, width: int) -> Iterator[slice]:
    """Rows in groups of about `_BLOCK` pixels."""
    step = max(8, _BLOCK // width)
    for first in range(rows.start, rows.stop, step):
        yield slice(first, min(first + step, rows.stop))


def _span(index: Index) -> tuple[slice, np.ndarray | None]:
    """The samples that an index touches, as a slice, and their order within it."""
    if isinstance(index, slice):
        return index, None
    first = int(index.min())
    return slice(first, int(index.max()) + 1), index - first
