"""Where tiles lie: pure integer arithmetic, no pixels.

A network that sees at most `halo` pixels in every direction gives the same value for a pixel
whether it runs on the whole image or on any window that holds that neighbourhood, provided the
window's edges are either true image edges (where the network's own zero padding belongs) or
at least `halo` away from every pixel that is kept. Everything here follows from that: windows
are never padded, only shifted inwards at the image's edges, and all windows of a plan have one
size, so that nothing recompiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Range = tuple[int, int]


class Span(NamedTuple):
    """One window along one axis: pixels ``read[0]:read[1]`` go in, ``keep[0]:keep[1]`` stay."""

    read: Range
    keep: Range

    @property
    def inner(self) -> slice:
        """The kept part, counted from the window's start."""
        return slice(self.keep[0] - self.read[0], self.keep[1] - self.read[0])


class _Piece:
    """What a result is put together from: `y` and `x` say what to keep along each axis."""

    @property
    def keep(self) -> tuple[slice, slice]:
        """Rows and columns of the image that this tile decides."""
        return slice(*self.y.keep), slice(*self.x.keep)

    @property
    def inner(self) -> tuple[slice, slice]:
        """The kept rows and columns, counted within the network's result."""
        return self.y.inner, self.x.inner


@dataclass(frozen=True)
class Tile(_Piece):
    """A window of an image: what to read, and what of the result to keep."""

    y: Span
    x: Span

    @property
    def read(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the network gets."""
        return slice(*self.y.read), slice(*self.x.read)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple


def spans(length: int, tile: int, halo: int, align: int = 1) -> list[Span]:
    """Windows along one axis whose kept parts partition ``[0, length)``.

    Args:
        length: pixels along the axis, a multiple of `align` (pad the whole image first).
        tile: pixels an interior window decides; its window has ``tile + 2 * halo`` pixels.
        halo: the network's receptive radius.
        align: windows start at multiples of this and have a multiple of it as their size
            (networks with strides).

    Returns:
        At least one span; all windows have the same size; an edge window keeps its edge side's
        halo too, so an axis of ``n * tile + 2 * halo`` pixels takes `n` windows.

    Raises:
        ValueError: for sizes below 1, a negative halo, or a length off the alignment.
    """
    if length < 1 or tile < 1 or align < 1 or halo < 0:
        raise ValueError(f"impossible tiling: length {length}, tile {tile}, halo {halo}, "
                         f"align {align}")
    if length % align:
        raise ValueError(f"length {length} is no multiple of {align}: pad the image first")
    halo, tile = round_up(halo, align), round_up(tile, align)
    window = tile + 2 * halo
    if window >= length:
        return [Span((0, length), (0, length))]
    count = -(-(length - 2 * halo) // tile)
    found = []
    for i in range(count):
        start = min(i * tile, length - window)
        first = 0 if i == 0 else i * tile + halo
        last = length if i == count - 1 else (i + 1) * tile + halo
        found.append(Span((start, start + window), (first, last)))
    return found


def tiles(height: int, width: int, tile: int | tuple[int, int], halo: int,
          align: int = 1) -> list[Tile]:
    """Windows whose kept parts partition a ``height x width`` image, row by row.

    Args:
        tile: side, or (rows, columns), that an interior window decides.
        halo, align: as for `spans`.
    """
    rows, columns = (tile, tile) if isinstance(tile, int) else tile
    across = spans(width, columns, halo, align)
    return [Tile(y, x) for y in spans(height, rows, halo, align) for x in across]


class Cell(NamedTuple):
    """Some output pixels along one axis of a resampling network.

    Attributes:
        out: output pixels ``out[0]:out[1]`` that are computed; one size over a plan.
        keep: the part of them that this cell decides; the keeps partition the output.
        read: input samples that their decoder looks at; one size over a plan.
    """

    out: Range
    keep: Range
    read: Range

    @property
    def inner(self) -> slice:
        """The kept part, counted from ``out[0]``."""
        return slice(self.keep[0] - self.out[0], self.keep[1] - self.out[0])


class Block(NamedTuple):
    """Input samples ``read[0]:read[1]`` that are encoded at once, and the cells they serve."""

    read: Range
    cells: tuple[Cell, ...]

    @property
    def keep(self) -> Range:
        """The output pixels that the block's cells decide together."""
        return self.cells[0].keep[0], self.cells[-1].keep[1]


def covered(first: int, last: int, length: int, size: int) -> Range:
    """The input samples that output pixels ``first:last`` lie over, by integer arithmetic.

    Output pixel i of `size` covers ``[i, i + 1) * length / size`` of `length` input samples.
    """
    return first * length // size, -(-last * length // size)


def scaled(length: int, size: int, tile: int, group: int, radius: int,
           decoder_radius: int = 2) -> list[Block]:
    """A plan for one axis of a network that encodes `length` samples and renders `size` pixels.

    Two levels, because they cost differently: the encoder runs on few large input windows
    (`Block`), the decoder on many small output tiles (`Cell`) of such a window's features.

    Args:
        length: input samples along the axis.
        size: output pixels along the axis.
        tile: output pixels of a cell.
        group: cells that share one encoded window.
        radius: how many input samples beyond those an output pixel lies over it depends on,
            everything included (encoder, unfolding, ensemble neighbours).
        decoder_radius: the part of `radius` that the decoder itself reaches from the features.

    Returns:
        Blocks in order. All ``cell.out`` have one size, all ``cell.read`` have one size, all
        ``block.read`` have one size; each ``cell.read`` lies inside its block's window, at least
        ``radius - decoder_radius`` from any edge of it that is not an edge of the image.
    """
    if min(length, size, tile, group) < 1 or decoder_radius < 0 or radius < 0:
        raise ValueError(f"impossible tiling: {length} samples to {size} pixels, tile {tile}, "
                         f"group {group}, radius {radius}, decoder {decoder_radius}")
    tile = min(tile, size)
    outs = [(min(start, size - tile), min(start, size - tile) + tile)
            for start in range(0, size, tile)]
    keeps = [(start, min(start + tile, size)) for start in range(0, size, tile)]
    needs = [_grown(covered(*out, length, size), decoder_radius, length) for out in outs]
    reads = _one_size(needs, length)
    groups = [slice(start, start + group) for start in range(0, len(outs), group)]
    beyond = max(0, radius - decoder_radius)
    windows = _one_size([_grown((reads[part][0][0], reads[part][-1][1]), beyond, length)
                         for part in groups], length)
    return [Block(window, tuple(map(Cell, outs[part], keeps[part], reads[part])))
            for window, part in zip(windows, groups, strict=True)]


def _grown(span: Range, by: int, length: int) -> Range:
    return max(0, span[0] - by), min(length, span[1] + by)


def _one_size(needs: list[Range], length: int) -> list[Range]:
    """Every range made as long as the longest, shifted inside ``[0, length)``."""
    size = max(last - first for first, last in needs)
    starts = (min(first, length - size) for first, _ in needs)
    return [(start, start + size) for start in starts]


@dataclass(frozen=True)
class ScaledTile(_Piece):
    """One output tile: the rows and columns to render, and where they come from and go to."""

    y: Cell
    x: Cell


@dataclass(frozen=True)
class ScaledBlock:
    """An input window to encode at once, and the output tiles to render from its features."""

    y: Block
    x: Block

    @property
    def read(self) -> tuple[slice, slice]:
        """Rows and columns of the input image to encode."""
        return slice(*self.y.read), slice(*self.x.read)

    def tiles(self) -> Iterator[ScaledTile]:
        """The block's output tiles, row by row."""
        return (ScaledTile(y, x) for y in self.y.cells for x in self.x.cells)


def scaled_blocks(shape: tuple[int, int], size: tuple[int, int], tile: tuple[int, int],
                  group: tuple[int, int], radius: int,
                  decoder_radius: int = 2) -> list[ScaledBlock]:
    """`scaled` for both axes: `shape`, `size`, `tile`, `group` are (rows, columns)."""
    rows, columns = (scaled(shape[axis], size[axis], tile[axis], group[axis], radius,
                            decoder_radius) for axis in (0, 1))
    return [ScaledBlock(y, x) for y in rows for x in columns]
