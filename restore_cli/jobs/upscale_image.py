"""Up-scales the pixels of one image, window by window, exactly as if all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from restore_cli.nets.layout import Layout
from restore_cli.pipeline import pixels as values
from restore_cli.pipeline.tiles import ScaledBlock, ScaledTile
from restore_cli.pipeline.turns import EIGHT, STRAIGHT, Turn

Progress = Callable[[float], None]


class Upscaler:
    """A network with the settings of a run.

    Args:
        network: a Jittor module with `encode` and `render`.
        layout: its facts.
        normalisation: (mean, std) a channel, what the network's units are.
        cell_clamp: beyond x4 the decoder is told cells no smaller than those of x4.
        self_ensemble: the mean over the eight flips and turns.
        truncate: cut fractions instead of rounding.
    """

    def __init__(self, network: Any, layout: Layout, normalisation, *, cell_clamp: bool = False,
                 self_ensemble: bool = False, truncate: bool = False):
        self.network, self.layout = network, layout
        self.mean, self.std = (np.array(part, np.float32)[:, None, None]
                               for part in normalisation)
        self.cell_clamp, self.truncate = cell_clamp, truncate
        self.turns = EIGHT if self_ensemble else STRAIGHT

    def run(self, pixels: np.ndarray, out: np.ndarray, blocks: list[ScaledBlock],
            levels: values.Levels, alpha: bool, progress: Progress = lambda megapixels: None,
            ) -> None:
        """Fills `out` from `pixels`.

        Args:
            pixels: (h, w, C) as stored; with `alpha` the last channel is opacity.
            out: (H, W, C) of the same type.
            blocks: the plan for these sizes.
            levels: the map of colour values to [0, 1].
            progress: told the output megapixels after each tile.
        """
        channels = pixels.shape[2] - alpha
        constant = _constant(pixels[:, :, -1]) if alpha else None
        passes = 1 + (alpha and constant is None)
        if constant is not None:
            out[:, :, -1] = constant  # an even opacity stays what it is
        opacity = values.Levels(pixels.dtype, 0.0, levels.high if levels.dtype != np.float32
                                else 1.0)
        for block in blocks:
            colour = self._colour(pixels, block, channels, levels, alpha)
            for tile, made in self._block(colour, block, pixels.shape[:2], out.shape[:2]):
                if channels == 1:
                    made = made.mean(axis=0, keepdims=True)
                out[(*tile.keep, slice(0, channels))] = levels.from_unit(
                    made.transpose(1, 2, 0), self.truncate)
                progress(_megapixels(tile) / passes)
            if passes == 2:
                plane = opacity.to_unit(pixels[(*block.read, -1)])
                plane = np.repeat(np.clip(plane, 0, 1)[None], 3, axis=0)
                for tile, made in self._block(plane, block, pixels.shape[:2], out.shape[:2]):
                    out[(*tile.keep, -1)] = opacity.from_unit(made.mean(axis=0), self.truncate)
                    progress(_megapixels(tile) / passes)

    def _colour(self, pixels: np.ndarray, block: ScaledBlock, channels: int,
                levels: values.Levels, alpha: bool) -> np.ndarray:
        """The block's window as (3, h, w) in [0, 1]."""
        rows, columns = block.read
        if not alpha:
            unit = levels.to_unit(pixels[rows, columns])
        else:
            # Colour spreads by `BLEED` pixels at most, so a margin of that makes it exact.
            (y, top), (x, left) = (_margin(part, n) for part, n in
                                   zip((rows, columns), pixels.shape[:2], strict=True))
            window = pixels[y, x]
            unit = values.bleed(levels.to_unit(window[:, :, :channels]), window[:, :, -1])
            unit = unit[top:top + rows.stop - rows.start, left:left + columns.stop - columns.start]
        planes = unit.transpose(2, 0, 1)
        return np.repeat(planes, 3, axis=0) if channels == 1 else planes

    def _block(self, planes: np.ndarray, block: ScaledBlock, shape: tuple[int, int],
               size: tuple[int, int]) -> Iterator[tuple[ScaledTile, np.ndarray]]:
        """Each tile of the block with its kept output, (3, H, W) in [0, 1] plus overshoot."""
        units = (planes - self.mean) / self.std
        if len(self.turns) == 1:
            for tile, made in self._turned(self.turns[0], units, block, shape, size):
                yield tile, made * self.std + self.mean
            return
        sums: dict[ScaledTile, np.ndarray] = {}
        for turn in self.turns:
            for tile, made in self._turned(turn, units, block, shape, size):
                if tile in sums:
                    sums[tile] += made
                else:
                    sums[tile] = np.array(made)
        for tile in list(sums):
            made = sums.pop(tile) / np.float32(len(self.turns))
            yield tile, made * self.std + self.mean

    def _turned(self, turn: Turn, units: np.ndarray, block: ScaledBlock, shape: tuple[int, int],
                size: tuple[int, int]) -> Iterator[tuple[ScaledTile, np.ndarray]]:
        """One symmetry's tiles, turned back."""
        import jittor as jt

        turned_shape, turned_size = turn.size(shape), turn.size(size)
        k = self.layout.scale or 1  # fixed-scale encoders emit k pixels for each
        with jt.no_grad():
            features = self.network.encode(
                jt.array(np.ascontiguousarray(turn.apply(units)[None])))
            features.sync()
            (top, _), (left, _) = turn.span(block.y.read, block.x.read, shape)
            for tile in block.tiles():
                (a, b), (c, d) = turn.span(tile.y.read, tile.x.read, shape)
                rows, columns = turn.span(tile.y.out, tile.x.out, size)
                part = features
                if (b - a, d - c) != (features.shape[2] // k, features.shape[3] // k):
                    part = features[:, :, (a - top) * k:(b - top) * k,
                                    (c - left) * k:(d - left) * k]
                made = self.network.render(part, turned_size, self._cell_scale(shape, size),
                                           (rows, columns, turned_shape, (a, c))).numpy()[0]
                yield tile, turn.undo(made)[(slice(None), *tile.inner)]

    def _cell_scale(self, shape: tuple[int, int], size: tuple[int, int]) -> float:
        if not self.cell_clamp:
            return 1.0
        scale = (size[0] * size[1] / (shape[0] * shape[1])) ** 0.5
        return max(1.0, scale / 4)


def _margin(part: slice, length: int) -> tuple[slice, int]:
    """`part` grown by the bleeding distance inside ``[0, length)``, and how far at its start."""
    start = max(0, part.start - values.BLEED)
    return slice(start, min(length, part.stop + values.BLEED)), part.start - start


def _constant(plane: np.ndarray) -> Any | None:
    """The value of an even plane, else None; row by row, so it ends early and copies nothing."""
    first = plane[0, 0]
    return first if all((row == first).all() for row in plane) else None


def _megapixels(tile: ScaledTile) -> float:
    rows, columns = tile.keep
    return (rows.stop - rows.start) * (columns.stop - columns.start) / 1e6
