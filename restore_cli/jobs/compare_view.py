"""Pictures of different sizes and depths, brought onto one grid of pixels for looking at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image as Pillow

from restore_cli.media import profiles, samples
from restore_cli.media.model import Image

RESAMPLE = {"nearest": Pillow.Resampling.NEAREST, "bicubic": Pillow.Resampling.BICUBIC}
_ROWS = 256
_CHECKER = (0.8, 0.6)  # the two greys of the pattern behind transparency
_SQUARE = 8


@dataclass(frozen=True)
class Box:
    """A rectangle on the common grid, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass
class View:
    """One picture on the common grid.

    Attributes:
        name: what to call it.
        image: the picture at its own size.
        grid: (width, height) of the common grid.
        resize: how a smaller picture is brought onto the grid, a key of `RESAMPLE`.
    """

    name: str
    image: Image
    grid: tuple[int, int]
    resize: str = "bicubic"

    @property
    def native(self) -> bool:
        """Whether the picture has the size of the grid itself."""
        return (self.image.width, self.image.height) == self.grid

    @cached_property
    def shown(self) -> Pillow.Image:
        """The picture in 8-bit sRGB at its own size, transparency over a checkerboard."""
        icc = self.image.metadata.icc
        color = self.image.color
        if profiles.space(icc) == "rgb" and color.shape[2] == 3 and not profiles.is_srgb(icc):
            try:
                color = profiles.to_srgb(color, icc)
            except ValueError:
                pass  # an unusable profile: the numbers as they are
        out = np.empty((*color.shape[:2], 3), np.uint8)
        for part in samples.row_windows(out.shape):
            values = np.repeat(samples.to_float(color[part]), 3 // color.shape[2], axis=2)
            if self.image.has_alpha:
                alpha = np.clip(samples.to_float(self.image.alpha[part]), 0, 1)[:, :, None]
                values = values * alpha + _checker(part, out.shape[1]) * (1 - alpha)
            samples.from_float(values, np.uint8, out[part])
        return Pillow.fromarray(out)

    def cut(self, box: Box) -> Pillow.Image:
        """A rectangle of the grid, 8-bit RGB, (box.width, box.height)."""
        if self.native:
            return self.shown.crop((box.x, box.y, box.x + box.width, box.y + box.height))
        x, y = self.image.width / self.grid[0], self.image.height / self.grid[1]
        source = (box.x * x, box.y * y, min((box.x + box.width) * x, self.image.width),
                  min((box.y + box.height) * y, self.image.height))
        return self.shown.resize((box.width, box.height), RESAMPLE[self.resize], box=source)

    def whole(self, size: tuple[int, int]) -> Pillow.Image:
        """All of it at `size` (width, height), averaged down or brought up."""
        if size[0] < self.image.width:
            return self.shown.resize(size, Pillow.Resampling.LANCZOS)
        return self.shown.resize(size, RESAMPLE[self.resize])

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the grid as float32 RGB in [0,1], at full depth where no resizing is needed."""
        if self.native and not self.image.has_alpha:
            values = samples.to_float(self.image.pixels[start:stop])
            return np.repeat(values, 3 // values.shape[2], axis=2)
        return samples.to_float(np.asarray(self.cut(Box(0, start, self.grid[0], stop - start))))


def _checker(part: slice, width: int) -> np.ndarray:
    y, x = np.arange(part.start, part.stop), np.arange(width)
    odd = (y[:, None] // _SQUARE + x[None] // _SQUARE) % 2
    return np.where(odd, *_CHECKER)[:, :, None].astype(np.float32)


def difference(view: View, reference: View, size: tuple[int, int]) -> np.ndarray:
    """Mean absolute difference, largest channel, averaged down to a map.

    Args:
        view, reference: on the same grid.
        size: (width, height) of the map, at most the grid's.

    Returns:
        (height, width) float32 in units of the full range.
    """
    width, height = reference.grid
    edges_y = np.linspace(0, height, size[1] + 1).astype(int)
    edges_x = np.linspace(0, width, size[0] + 1).astype(int)
    found = np.zeros((size[1], size[0]), np.float32)
    row = 0
    while row < size[1]:
        # As many rows of the map as come from a manageable band of the grid.
        last = max(row + 1, int(np.searchsorted(edges_y, edges_y[row] + _ROWS, "right")) - 1)
        start, stop = edges_y[row], edges_y[last]
        apart = np.abs(view.rows(start, stop) - reference.rows(start, stop)).max(axis=2)
        sums = np.add.reduceat(apart, edges_x[:-1], axis=1)
        sums = np.add.reduceat(sums, edges_y[row:last] - start, axis=0)
        area = np.diff(edges_y[row:last + 1])[:, None] * np.diff(edges_x)[None]
        found[row:last] = sums / area
        row = last
    return np.nan_to_num(found, nan=1.0, posinf=1.0)


def most_different(maps: list[np.ndarray], grid: tuple[int, int], size: tuple[int, int],
                   count: int) -> list[Box]:
    """Rectangles of the grid where pictures differ most, apart from one another.

    Args:
        maps: difference maps (h, w) of one shape.
        grid: (width, height) of the grid; `size`: (width, height) of the rectangles on it.
        count: how many at most.

    Returns:
        The strongest first; the centre when nothing differs.
    """
    score = np.maximum.reduce(maps).astype(np.float64)
    height, width = score.shape
    span = (max(1, min(height, round(size[1] * height / grid[1]))),
            max(1, min(width, round(size[0] * width / grid[0]))))
    table = np.pad(score, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = (table[span[0]:, span[1]:] - table[:-span[0], span[1]:]
            - table[span[0]:, :-span[1]] + table[:-span[0], :-span[1]])
    if not score.any():
        return [Box((grid[0] - size[0]) // 2, (grid[1] - size[1]) // 2, *size)]
    boxes: list[Box] = []
    while len(boxes) < count and np.isfinite(sums.max()):
        y, x = np.unravel_index(int(sums.argmax()), sums.shape)
        boxes.append(Box(min(round(x * grid[0] / width), grid[0] - size[0]),
                         min(round(y * grid[1] / height), grid[1] - size[1]), *size))
        sums[max(0, y - span[0] + 1):y + span[0], max(0, x - span[1] + 1):x + span[1]] = -np.inf
    return boxes
