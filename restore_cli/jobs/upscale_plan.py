"""Sizes of an up-scaling: the output's, the tiles', and the memory both take. No pixels here."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction

from restore_cli import units
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
        return Target(size=parse_size(size))
    factors = [_factor(scale, part) for part in scale.lower().split("x")]
    if len(factors) > 2:
        raise UsageError(f"--scale {scale} has more than two factors", hint="Write 2 or 2x3")
    return Target(scale=(factors[-1], factors[0]))


def parse_size(text: str) -> Size:
    """(height, width) from ``WIDTHxHEIGHT``.

    Raises:
        UsageError: not two positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size {text} is not WIDTHxHEIGHT", hint="For instance 1920x1080")
    return int(parts[1]), int(parts[0])


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
        striped: the same, for what the decoder works through in stripes of `STRIPES` bytes.
        rendered: for each pixel of one output tile.
        gathered: for each output pixel of the whole block (running sums of the self-ensemble).
        cell: the largest side of a rendered output tile that suits the network.
    """

    fixed: float
    encoded: float
    sampled: float
    striped: float
    rendered: float
    gathered: float
    cell: int

    def of(self, block: Size, cell_read: Size, cell_out: Size, block_out: Size) -> int:
        """Bytes for a window of `block` input pixels and one output tile."""
        sampled = math.prod(cell_read)
        return int(self.fixed + self.encoded * math.prod(block) + self.sampled * sampled
                   + min(self.striped * sampled, STRIPES)
                   + self.rendered * math.prod(cell_out) + self.gathered * math.prod(block_out))


STRIPES = 110e6


def cost(layout: Layout, self_ensemble: bool = False, fused: bool = True,
         encoder_fused: bool = True) -> Cost:
    """The cost model of a network.

    The factors bound measured peaks of resident memory (compact LIIF, EDSR-baseline, EDSR, RDN A
    and B, RCAN, MetaSR, fixed x2 and x4; windows of 96 to 400 pixels) from above, by a tenth to
    four fifths; `tests/cli/test_upscale_memory.py` repeats the measurement.

    Args:
        fused: the decoder is the CPU operator; else it is made of plain operators.
        encoder_fused: likewise the encoder, if it is of a form that the operator can be.
    """
    feats, trunk, working = _operator_floats(layout) if encoder_fused else (0, 0.0, 0)
    if not trunk:
        feats, trunk = _encoder_floats(layout)
    first = layout.shapes.get("imnet.layers.0.weight")
    fixed, gathered = 24e6 + 2.0 * layout.parameters + 4.0 * working, 24.0 if self_ensemble else 0.0
    if first is None:  # a fixed-scale network: its tail works at output resolution
        k = layout.scale or 1
        return Cost(fixed, 4 * max(trunk, 5.5 * feats * k * k), 36.0 * k * k, 0.0, 160.0,
                    gathered, CELL)
    hidden = first[0]
    if first[1] == 3:  # MetaSR: weights for each output pixel, 3 colours by `hidden`
        return Cost(fixed, 4 * trunk, 4 * (5.0 * hidden + 3 * feats), 0.0, 4 * 7.5 * hidden,
                    gathered, CELL // 2)
    if fused:
        return Cost(fixed, 4 * trunk, 12.0 * feats, 12.0 * hidden, 160.0, gathered, CELL)
    return Cost(fixed, 4 * trunk, 4 * (3.0 * hidden + 3 * feats), 0.0, 4 * (8.0 * hidden + 40),
                gathered, CELL // 2)


def _operator_floats(layout: Layout) -> tuple[int, float, int]:
    """The encoder as one operator of `nets.ops.trunks`.

    Returns:
        its width; the floats an input pixel takes; and those of transformed weights and tiles,
        the latter for each thread. All 0 where there is no such operator.
    """
    shapes = _encoder_shapes(layout)
    body = [shape for key, shape in shapes.items() if len(shape) == 4
            and key.startswith(("body.", "RDBs.", "SFENet2."))]
    spatial = [shape for shape in body if shape[2] > 1]
    if any(shape[0] % 16 or shape[2] != 3 for shape in spatial):
        return 0, 0.0, 0
    feats = spatial[0][0]
    growths = [shape[0] for key, shape in shapes.items()
               if key.startswith("RDBs.0.convs.") and key.endswith(".weight")]
    # The maps of the operator, with their frames, and what it is given and gives. RCAN is an
    # operator for each group, between stock ones.
    attention = any(".conv_du." in key for key in shapes)
    maps = feats * (7 if attention else 5 if growths else 4) + sum(growths)
    inputs = max(shape[1] for shape in spatial)
    # Jittor has read the variable when it was started.
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    chunk = (1 << 17) + 36 * 24 * (inputs + feats)
    return feats, 1.2 * maps, 36 * inputs * feats + threads * chunk


def _encoder_shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    return {key.removeprefix("encoder."): shape for key, shape in layout.shapes.items()}


def _encoder_floats(layout: Layout) -> tuple[int, float]:
    """The encoder's width, and the floats an input pixel takes in its trunk at the peak."""
    shapes = _encoder_shapes(layout)
    if "SFENet1.weight" not in shapes:
        feats = shapes["head.0.weight"][0]
        # oneDNN's Winograd convolution takes more working space from some width on.
        return feats, (9.5 if feats < 128 else 15.0) * feats
    # RDN keeps every block's output, and within a block every layer's concatenated input.
    feats = shapes["SFENet1.weight"][0]
    blocks = shapes["GFF.0.weight"][1]
    layers = [shape[1] for key, shape in shapes.items()
              if key.startswith("RDBs.0.convs.") and key.endswith(".weight")]
    widest = shapes["RDBs.0.LFF.weight"][1]
    return feats, 3.3 * blocks + 2.2 * (sum(layers) + widest)


@dataclass(frozen=True)
class Geometry:
    """One image's way through a network.

    Attributes:
        shape: the input's (height, width).
        size: the output's.
        radius: the network's receptive radius, or None when it sees the whole image.
        cell: largest side of a rendered output tile.
    """

    shape: Size
    size: Size
    radius: int | None
    cell: int = CELL

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
        group = -(-block // self.cell)
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
                    f"{units.show(need)}, and {units.show(room)} are left",
                    hint="Give more with --memory, or use a model that can be tiled",
                    short=need - room)
            return longest
        return memory.choose_tile(lambda tile: self.cost(model, tile), room,
                                  smallest=SMALLEST_TILE, step=16,
                                  largest=min(LARGEST_TILE, longest))


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]
