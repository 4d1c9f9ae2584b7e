"""The eight symmetries of the square, over which predictions are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Range = tuple[int, int]


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of the square, for arrays (..., H, W)."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def apply(self, planes: np.ndarray) -> np.ndarray:
        """The turned array: transposed first, then flipped."""
        if self.transpose:
            planes = np.swapaxes(planes, -1, -2)
        return planes[..., ::-1 if self.flip_y else 1, ::-1 if self.flip_x else 1]

    def undo(self, planes: np.ndarray) -> np.ndarray:
        """The inverse of `apply`."""
        planes = planes[..., ::-1 if self.flip_y else 1, ::-1 if self.flip_x else 1]
        return np.swapaxes(planes, -1, -2) if self.transpose else planes

    def span(self, y: Range, x: Range, whole: tuple[int, int]) -> tuple[Range, Range]:
        """Where rows `y` and columns `x` of an array of size `whole` go."""
        height, width = whole
        if self.transpose:
            y, x, height, width = x, y, width, height
        if self.flip_y:
            y = height - y[1], height - y[0]
        if self.flip_x:
            x = width - x[1], width - x[0]
        return y, x

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The turned height and width."""
        return size[::-1] if self.transpose else size


STRAIGHT = (Turn(),)
EIGHT = tuple(Turn(t, y, x) for t in (False, True) for y in (False, True) for x in (False, True))
FLIPS = tuple(turn for turn in EIGHT if not turn.transpose)
