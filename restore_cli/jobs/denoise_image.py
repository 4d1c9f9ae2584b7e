"""Runs a denoising network over arrays of any size, tile by tile, exactly as if all at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from restore_cli.jobs.denoise_network import Loaded, Units
from restore_cli.pipeline import tiles
from restore_cli.pipeline.tiles import Span
from restore_cli.pipeline.turns import EIGHT, FLIPS, STRAIGHT, Turn

Index = np.ndarray | slice
Read = Callable[..., np.ndarray]
Write = Callable[[tuple[slice, ...], np.ndarray], None]
Progress = Callable[[float], None]


class Axis:
    """One axis of an image: how it is padded, and the windows it is cut into.

    The axis is padded at its end to a multiple of `align` by reflecting the image (the edge
    itself is not repeated), so that the networks' poolings fit; the padding is read through
    `index`, never stored.

    Args:
        length: pixels.
        tile: pixels that an interior window decides.
        halo, align: the network's receptive radius and multiple.

    Attributes:
        spans: windows over the padded axis; all have one size.
    """

    def __init__(self, length: int, tile: int, halo: int, align: int):
        self.length = length
        padded = tiles.round_up(length, align)
        self.spans = tiles.spans(padded, tile, halo, align)
        self._source = reflected(length, padded)

    @property
    def window(self) -> int:
        """Pixels of a window."""
        read = self.spans[0].read
        return read[1] - read[0]

    def index(self, span: Span) -> Index:
        """The image's pixels that a window reads."""
        first, last = span.read
        return slice(first, last) if last <= self.length else self._source[first:last]

    def keep(self, span: Span) -> tuple[slice, slice]:
        """The image's pixels that a window decides, and where they are in the window."""
        first, last = span.keep[0], min(span.keep[1], self.length)
        last = max(first, last)
        return slice(first, last), slice(first - span.read[0], last - span.read[0])


class Whole:
    """An axis whose window was cut before: all of it is read, a part of it kept.

    Args:
        length: pixels of the window.
        inside: those that are kept; they are the whole image's.
    """

    def __init__(self, length: int, inside: slice):
        self.spans = [Span((0, length), (inside.start, inside.stop))]

    def index(self, span: Span) -> Index:
        """Everything."""
        return slice(*span.read)

    def keep(self, span: Span) -> tuple[slice, slice]:
        """As `Axis.keep`."""
        return slice(0, span.keep[1] - span.keep[0]), slice(*span.keep)


def reflected(length: int, padded: int) -> np.ndarray:
    """Indices that pad an axis at its end by reflection, again and again where it is short."""
    return np.pad(np.arange(length), (0, padded - length), mode="reflect")


class Denoiser:
    """A network with the settings of a run.

    Args:
        loaded: the network and its facts.
        tta: the mean over the eight flips and turns (the four flips alone where the network was
            trained for directional noise).
        strength: 1 gives the network's result, 0 the input, others a mixture.
    """

    def __init__(self, loaded: Loaded, *, tta: bool = False, strength: float = 1.0):
        self.loaded, self.strength = loaded, np.float32(strength)
        self.turns = (FLIPS if loaded.directional else EIGHT) if tta else STRAIGHT

    @property
    def align(self) -> int:
        """Sides of windows are multiples of this."""
        return self.loaded.layout.align

    def axis(self, length: int, tile: int) -> Axis:
        """The windows along one axis of `length` pixels."""
        radius = self.loaded.layout.receptive_radius
        return Axis(length, tile, radius, self.align)

    def run(self, read: Read, write: Write, axes: Sequence[Axis | Whole], units: Units,
            progress: Progress = lambda megapixels: None) -> None:
        """Denoises everything that `axes` span.

        Args:
            read: given one index an axis, returns (C, ...) stored values, all finite.
            write: given slices of the image and (C, ...) results in stored values.
            axes: two or three; windows are taken in their order.
            units: the map of these channels.
            progress: told the megapixels decided after each window.
        """
        for spans in itertools.product(*(axis.spans for axis in axes)):
            kept = [axis.keep(span) for axis, span in zip(axes, spans, strict=True)]
            size = math.prod(image.stop - image.start for image, _ in kept)
            if size:
                raw = read(*(axis.index(span) for axis, span in zip(axes, spans, strict=True)))
                inner = (slice(None), *(window for _, window in kept))
                made = units.from_network(self._planes(units.to_network(raw))[inner])
                if self.strength != 1:
                    before = raw[inner].astype(np.float32)
                    made = before + self.strength * (made - before)
                write(tuple(image for image, _ in kept), made)
            progress(size / 1e6)

    def _planes(self, planes: np.ndarray) -> np.ndarray:
        """The network's output for (C, ...); a network of one channel gets one after the other."""
        if len(planes) == self.loaded.channels:
            return self._averaged(planes)
        return np.concatenate([self._averaged(planes[c:c + 1]) for c in range(len(planes))])

    def _averaged(self, planes: np.ndarray) -> np.ndarray:
        if len(self.turns) == 1:
            return self._once(self.turns[0], planes)
        total = np.zeros(planes.shape, np.float32)
        for turn in self.turns:
            total += self._once(turn, planes)
        return total / np.float32(len(self.turns))

    def _once(self, turn: Turn, planes: np.ndarray) -> np.ndarray:
        import jittor as jt

        with jt.no_grad():
            given = jt.array(np.ascontiguousarray(turn.apply(planes))[None])
            made: Any = self.loaded.network(given)
            return turn.undo(made.numpy()[0])
