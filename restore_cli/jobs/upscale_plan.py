"""Sizes of an up-scaling: the output's, the tiles', and the memory both take. No pixels here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from restore_cli.errors import OutOfMemory, UsageError
from restore_cli.nets.layout import Layout
from restore_cli.pipeline import memory, tiles

CELL = 256
"""Largest side of a rendered output tile."""

LARGEST_TILE = 1024
SMALLEST_TILE = 16
MAX_SCALE = 100.0

Size = tuple[int, int]


@dataclass(frozen=True)
class Target:
    """What size an output shall have: a factor for each axis, or a size.

    Attributes:
        scale: (rows, columns) factors, or None.
        size: (height, width), or None.
    """

    scale: tuple[float, float] | None = None
    size: Size | None = None

    @property
    def suffix(self) -> str:
        """What output names end in: ``_x7.5``, ``_x2x3``, ``_800x600`` (width first)."""
        if self.size is not None:
            return f"_{self.size[1]}x{self.size[0]}"
        rows, columns = (f"{factor:.6g}" for factor in self.scale)
        return f"_x{rows}" if rows == columns else f"_x{columns}x{rows}"

    def of(self, height: int, width: int) -> Size:
        """The output's (height, width) for an input of this size.

        Raises:
            UsageError: the output would be smaller than the input.
        """
        if self.size is None:
            return tuple(math.floor(n * Fraction(s) + Fraction(1, 2))
                         for n, s in zip((height, width), self.scale, strict=True))
        if self.size[0] < height or self.size[1] < width:
            raise UsageError(
                f"--size {self.size[1]}x{self.size[0]} is smaller than the image "
                f"({width}x{height})", hint="upscale only enlarges")
        return self.size


def parse_target(scale: str | None, size: str | None) -> Target:
    """The target from ``--scale S``, ``--scale SxT`` (across, down) or ``--size WxH``.

    Raises:
        UsageError: neither or both given, not numbers, below 1, or above `MAX_SCALE`.
    """
    if (scale is None) == (size is None):
        raise UsageError("give either --scale or --size", hint="For instance --scale 2")
    if size is not None:
        parts = size.lower().split("x")
        if len(parts) == 2 and all(part.isdecimal() and int(part) > 0 for part in parts):
            return Target(size=(int(parts[1]), int(parts[0])))
        raise UsageError(f"--size {size} is not WIDTHxHEIGHT", hint="For instance 1920x1080")
    factors = [_factor(scale, part) for part in scale.lower().split("x")]
    if len(factors) > 2:
        raise UsageError(f"--scale {scale} has more than two factors", hint="Write 2 or 2x3")
    return Target(scale=(factors[-1], factors[0]))


def _factor(scale: str, part: str) -> float:
    try:
        factor = float(part)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor) or factor <= 0:
        raise UsageError(f"--scale {scale} is no positive number",
                         hint="Write 2 or 7.5, or 2x3 for across and down")
    if factor < 1:
        raise UsageError(f"--scale {scale} would shrink the image", hint="upscale only enlarges")
    if factor > MAX_SCALE:
        raise UsageError(f"--scale {scale} is more than x{MAX_SCALE:g}",
                         hint="Nothing is left to see there; use --size for an exact size")
    return factor


@dataclass(frozen=True)
class Cost:
    """Bytes that one tile takes at its peak, for one network.

    Attributes:
        fixed: whatever the size.
        encoded: for each input pixel of the window that is encoded.
        sampled: for each input pixel whose features one output tile is rendered from.
        rendered: for each pixel of one output tile.
        gathered: for each output pixel of the whole block (running sums of the self-ensemble).
    """

    fixed: float
    encoded: float
    sampled: float
    rendered: float
    gathered: float = 0.0

    def of(self, block: Size, cell_read: Size, cell_out: Size, block_out: Size) -> int:
        """Bytes for a window of `block` input pixels and one output tile."""
        return int(self.fixed + self.encoded * math.prod(block)
                   + self.sampled * math.prod(cell_read) + self.rendered * math.prod(cell_out)
                   + self.gathered * math.prod(block_out))


def cost(layout: Layout, self_ensemble: bool) -> Cost:
    """The cost model of a network with these facts.

    The factors are upper bounds of what `benchmarks/memory_model.py` measures: peak resident
    memory over that before, for windows of several sizes.
    """
    wide_in, wide_out = layout.channels
    return Cost(fixed=24e6, encoded=4.0 * (3 * wide_in + 16), sampled=4.0 * (2 * wide_in),
                rendered=4.0 * (8 * wide_out + 32), gathered=12.0 if self_ensemble else 0.0)


@dataclass(frozen=True)
class Geometry:
    """One image's way through a network.

    Attributes:
        shape: the input's (height, width).
        size: the output's.
        radius: the network's receptive radius, or None when it sees the whole image.
    """

    shape: Size
    size: Size
    radius: int | None

    def blocks(self, tile: int, fixed: bool = False) -> list[tiles.ScaledBlock]:
        """The windows to encode and the output tiles to render from each.

        Args:
            tile: input pixels a window decides, at most.
            fixed: exactly `tile` (the user set it); else windows are evened out.
        """
        axes = [self._axis(axis, tile, fixed) for axis in (0, 1)]
        return tiles.scaled_blocks(self.shape, self.size, tuple(a[0] for a in axes),
                                   tuple(a[1] for a in axes), self.radius or 0)

    def cost(self, model: Cost, tile: int, fixed: bool = False) -> int:
        """Bytes that the largest tile of the plan takes."""
        first = self.blocks(tile, fixed)[0]
        cell_out = tuple(_length(axis.cells[0].out) for axis in (first.y, first.x))
        return model.of(tuple(_length(axis.read) for axis in (first.y, first.x)),
                        tuple(_length(axis.cells[0].read) for axis in (first.y, first.x)),
                        cell_out,
                        tuple(len(axis.cells) * out
                              for axis, out in zip((first.y, first.x), cell_out, strict=True)))

    def _axis(self, axis: int, tile: int, fixed: bool) -> tuple[int, int]:
        """Output pixels of a cell, and cells of a block."""
        length, size = self.shape[axis], self.size[axis]
        if self.radius is None or (not fixed and length <= tile + 2 * self.radius):
            block = size
        elif fixed:
            block = max(1, tile * size // length)
        else:
            block = -(-size // -(-length // tile))
        group = -(-block // CELL)
        return -(-block // group), group

    def choose(self, model: Cost, room: int) -> int:
        """The tile to use within `room` bytes.

        Raises:
            OutOfMemory: nothing fits.
        """
        longest = max(self.shape)
        if self.radius is None:
            need = self.cost(model, longest)
            if need > room:
                raise OutOfMemory(
                    f"this network looks at the whole image at once, which takes "
                    f"{memory.show(need)}, and {memory.show(room)} are left",
                    hint="Give more with --memory, or use a model that can be tiled")
            return longest
        return memory.choose_tile(lambda tile: self.cost(model, tile), room,
                                  smallest=SMALLEST_TILE, step=16,
                                  largest=min(LARGEST_TILE, longest))


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]
