"""Runs a U-Net over a RAW picture tile by tile, exactly as if all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restore_cli.jobs.denoise_raw_image import Index, Picture, Result
from restore_cli.jobs.denoise_raw_network import Loaded
from restore_cli.nets.layout import Layout
from restore_cli.nets.led import pad
from restore_cli.pipeline import tiles
from restore_cli.pipeline.tiles import Span

Progress = Callable[[float], None]


@dataclass(frozen=True)
class _Axis:
    """One axis of a picture, padded as the network pads it; the padding is never stored.

    Attributes:
        source: the picture's pixel that each padded one mirrors.
        before: padding in front.
        length: the picture's pixels.
        spans: windows over the padded axis; all have one size.
    """

    source: np.ndarray
    before: int
    length: int
    spans: list[Span]

    @classmethod
    def of(cls, length: int, tile: int, layout: Layout) -> _Axis:
        source = pad.mirrored(length, layout.align)
        before = pad.margins(length, layout.align)[0]
        return cls(source, before, length,
                   tiles.spans(len(source), tile, layout.receptive_radius or 0, layout.align))

    def read(self, span: Span) -> Index:
        """The picture's pixels that a window reads."""
        first, last = span.read[0] - self.before, span.read[1] - self.before
        if first >= 0 and last <= self.length:
            return slice(first, last)
        return self.source[slice(*span.read)]

    def keep(self, span: Span) -> tuple[slice, slice]:
        """The picture's pixels that a window decides, and where they are in the window."""
        first = min(max(span.keep[0] - self.before, 0), self.length)
        last = min(max(span.keep[1] - self.before, first), self.length)
        shift = self.before - span.read[0]
        return slice(first, last), slice(first + shift, last + shift)


def even(length: int, tile: int, layout: Layout) -> int:
    """The smallest tile that takes as many windows along an axis as `tile` does."""
    halo = tiles.round_up(layout.receptive_radius or 0, layout.align)
    padded = tiles.round_up(length, layout.align)
    inner = padded - 2 * halo
    if inner <= tile:
        return tile
    return tiles.round_up(-(-inner // -(-inner // tile)), layout.align)


def window(length: int, tile: int, layout: Layout) -> int:
    """Packed pixels of the windows along one axis."""
    halo = tiles.round_up(layout.receptive_radius or 0, layout.align)
    return min(tiles.round_up(tile, layout.align) + 2 * halo,
               tiles.round_up(length, layout.align))


def run(loaded: Loaded, picture: Picture, result: Result, tile: tuple[int, int],
        progress: Progress = lambda megapixels: None) -> None:
    """Fills `result` from `picture`.

    Args:
        tile: (rows, columns) in packed pixels that an interior window decides.
        progress: told the sensor's megapixels done after each tile.
    """
    rows, columns = (_Axis.of(length, side, loaded.layout)
                     for length, side in zip(picture.shape, tile, strict=True))
    for y in rows.spans:
        for x in columns.spans:
            made = loaded(picture.network(rows.read(y), columns.read(x)), picture.ratio)
            (out_rows, in_rows), (out_columns, in_columns) = rows.keep(y), columns.keep(x)
            clean = made[:, in_rows, in_columns]
            if clean.size:  # a window may decide nothing but padding
                result.put(out_rows, out_columns, clean)
            progress(clean.size / 1e6)
