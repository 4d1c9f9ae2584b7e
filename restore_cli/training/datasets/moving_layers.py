"""Flat things that move: frames of them, and exactly where each point of a frame goes.

A scene is a stack of opaque layers. Each frame sees each layer through an affine map, so that the
motion between any two frames is known everywhere and to any fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from restore_cli.errors import ShapeError

FINE = 2
"""Pixels of a layer's texture to a pixel of a frame: between its samples interpolation is then
nearly the same everywhere, and a thing looks alike wherever it moves."""


@dataclass(frozen=True)
class Pose:
    """Where a layer is in one frame.

    Attributes:
        x, y: of its middle, in the frame's pixels; (0, 0) is the centre of the first pixel.
        angle: radians, clockwise as seen.
        zoom: 1 is the size of the picture it was made from.
    """

    x: float
    y: float
    angle: float = 0.0
    zoom: float = 1.0

    def matrix(self, middle: tuple[float, float]) -> np.ndarray:
        """(2, 3): pixel (x, y, 1) of the frame to pixel (x, y) of the texture.

        Args:
            middle: of the texture, (x, y) in its pixels.
        """
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        linear = np.array([[cos, sin], [-sin, cos]]) * (FINE / self.zoom)
        return np.column_stack([linear, np.asarray(middle) - linear @ (self.x, self.y)])


class Layer:
    """A picture with an outline, and its pose in each frame.

    Args:
        picture: uint8 (h, w, 3) in the frames' resolution.
        mask: uint8 (2h, 2w), 255 where the layer is; None where it is everywhere. Such a layer
            goes on beyond its edges in mirror images.
        poses: one a frame.
    """

    def __init__(self, picture: np.ndarray, mask: np.ndarray | None, poses: list[Pose]):
        height, width = picture.shape[:2]
        self.texture = Image.fromarray(picture).resize((FINE * width, FINE * height),
                                                       Image.LANCZOS)
        if mask is not None and mask.shape != (FINE * height, FINE * width):
            raise ShapeError("mask", f"({FINE * height}, {FINE * width})", mask.shape)
        self.mask = mask
        middle = (FINE * width - 1) / 2, (FINE * height - 1) / 2
        self.into = [pose.matrix(middle) for pose in poses]
        self._origin = np.zeros(2)

    def paint(self, frame: Image.Image, number: int) -> None:
        """Puts the layer, as it lies in frame `number`, over what is there."""
        height, width = frame.height, frame.width
        coefficients = _for_pillow(self.into[number], self._origin)
        seen = self.texture.transform((width, height), Image.AFFINE, coefficients, Image.BICUBIC)
        if self.mask is None:
            frame.paste(seen)
            return
        cover = Image.fromarray(self.mask).transform((width, height), Image.AFFINE, coefficients,
                                                     Image.BILINEAR)
        frame.paste(seen, (0, 0), cover)

    def extend(self, size: tuple[int, int]) -> None:
        """Adds mirror images to the texture until frames of `size` find pixels everywhere.

        Once and for all frames, so that none depends on which is painted first.
        """
        height, width = size
        corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]], float)
        places = np.concatenate([apply(matrix, corners) for matrix in self.into])
        low = np.ceil(np.maximum(2 - places.min(0), 0)).astype(int)
        high = np.ceil(np.maximum(places.max(0) + 3 - self.texture.size, 0)).astype(int)
        if low.any() or high.any():
            pixels = np.pad(np.asarray(self.texture),
                            [(low[1], high[1]), (low[0], high[0]), (0, 0)], "symmetric")
            self.texture = Image.fromarray(pixels)
        self._origin = low.astype(float)

    def covers(self, points: np.ndarray, number: int) -> np.ndarray:
        """Whether the layer is at points (..., 2) (x, y) of frame `number`: bool (...)."""
        if self.mask is None:
            return np.ones(points.shape[:-1], bool)
        x, y = np.moveaxis(np.rint(apply(self.into[number], points)).astype(int), -1, 0)
        height, width = self.mask.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return inside & (self.mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 127)

    def between(self, first: int, second: int) -> np.ndarray:
        """(2, 3): where points of frame `first` that lie on the layer are in frame `second`."""
        one, two = self.into[first], self.into[second]
        linear = np.linalg.solve(two[:, :2], one[:, :2])
        return np.column_stack([linear, np.linalg.solve(two[:, :2], one[:, 2] - two[:, 2])])


class MovingScene:
    """Some consecutive frames of one scene.

    Args:
        layers: from the back to the front; the first is everywhere.
        size: (height, width) of the frames.
        count: of the frames.
    """

    def __init__(self, layers: list[Layer], size: tuple[int, int], count: int):
        self.layers, self.size, self.count = layers, size, count
        for layer in layers:
            if layer.mask is None:
                layer.extend(size)

    def frame(self, number: int) -> np.ndarray:
        """Frame `number`, uint8 (H, W, 3)."""
        frame = Image.new("RGB", self.size[::-1])
        for layer in self.layers:
            layer.paint(frame, number)
        return np.array(frame)

    def frames(self) -> np.ndarray:
        """All frames, uint8 (count, H, W, 3)."""
        return np.stack([self.frame(number) for number in range(self.count)])

    def flow(self, first: int, second: int, scale: int = 1) -> np.ndarray:
        """Where each pixel of frame `first` is in frame `second`.

        Args:
            scale: the flow of the frames' low-resolution versions, whose pixel (i, j) lies on
                pixel (scale * i, scale * j); in their pixels.

        Returns:
            float32 (2, ceil(H / scale), ceil(W / scale)): displacement along x, then along y.
            Sampling frame `second` at pixel + flow gives frame `first` where `visible`.
        """
        points = self._points(scale)
        return np.moveaxis((self._moved(points, first, second) - points) / scale, -1, 0).astype(
            np.float32)

    def visible(self, first: int, second: int, scale: int = 1) -> np.ndarray:
        """Which pixels of frame `first` are neither hidden nor outside in frame `second`.

        Args:
            scale: as for `flow`.

        Returns:
            bool (ceil(H / scale), ceil(W / scale)).
        """
        points = self._points(scale)
        moved, front = self._moved(points, first, second), self._front(points, first)
        limit = np.array(self.size[::-1]) - 1
        # A hair of tolerance: maps there and back round off.
        inside = ((moved >= -1e-6) & (moved <= limit + 1e-6)).all(-1)
        return inside & (self._front(moved, second) == front)

    def _points(self, scale: int) -> np.ndarray:
        """Pixels (x, y), float64 (rows, columns, 2)."""
        y, x = np.mgrid[0:self.size[0]:scale, 0:self.size[1]:scale]
        return np.stack([x, y], -1).astype(np.float64)

    def _front(self, points: np.ndarray, number: int) -> np.ndarray:
        """The number of the layer that is seen at points of a frame."""
        front = np.zeros(points.shape[:-1], int)
        for depth, layer in enumerate(self.layers):
            front[layer.covers(points, number)] = depth
        return front

    def _moved(self, points: np.ndarray, first: int, second: int) -> np.ndarray:
        front = self._front(points, first)
        moved = np.empty_like(points)
        for depth, layer in enumerate(self.layers):
            here = front == depth
            moved[here] = apply(layer.between(first, second), points[here])
        return moved


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An affine (2, 3) map of points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _for_pillow(matrix: np.ndarray, origin: np.ndarray) -> tuple[float, ...]:
    """The map as Pillow takes it: between pixels' corners, not between their centres."""
    offset = matrix[:, 2] + origin + 0.5 - 0.5 * matrix[:, :2].sum(1)
    return (*matrix[0, :2], offset[0], *matrix[1, :2], offset[1])
