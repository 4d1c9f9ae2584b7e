"""Moving scenes made from still pictures, for training video networks without films.

A background moves with the camera; in front of it things of all shapes drift, turn and grow, the
nearer the faster. Where everything goes is known, so that optical flow can be trained, too.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from restore_cli.errors import UsageError
from restore_cli.training.datasets import shapes
from restore_cli.training.datasets.moving_layers import FINE, Layer, MovingScene, Pose
from restore_cli.training.datasets.sources import ImageSource

VERSION = 3  # raise whenever the same seed would give other scenes

_MARGIN = 4  # pixels around an outline
_SIZES = 0.5, 1.2
"""What pictures are reduced or enlarged to, most often reduced: a network that is to give sharp
frames must see frames that are sharp to the pixel."""


class MovingScenes:
    """An endless, numbered set of scenes; each depends on (seed, index) and the pictures alone.

    Args:
        pictures: where textures come from, such as generated images or photographs.
        size: (height, width) of the frames, at least 32 each.
        count: frames of a scene, at least 2.
        speed: fastest drift of the camera in pixels a frame; things may be twice as fast.
        things: most things in front of the background.

    Raises:
        UsageError: impossible settings.
    """

    def __init__(self, pictures: ImageSource, size: tuple[int, int] = (256, 256), count: int = 5,
                 *, speed: float = 20.0, things: int = 6):
        if min(size) < 32:
            raise UsageError(f"frames of {size[1]}x{size[0]} are too small for moving scenes",
                             hint="Use at least 32 pixels a side")
        if count < 2 or speed < 0 or things < 0:
            raise UsageError("moving scenes need 2 or more frames, a speed of 0 or more and 0 or "
                             "more things")
        self._pictures, self._size, self._count = pictures, size, count
        self._speed, self._things = speed, things

    def scene(self, seed: int, index: int) -> MovingScene:
        """Scene `index` of the set."""
        rng = np.random.default_rng([seed, 0x50, index])
        height, width = self._size
        drift = _direction(rng) * self._slow(rng, self._speed)
        # The background's own picture and the camera: shared turn and growth, most often small.
        turn, growth = rng.normal(0, 0.012), rng.normal(0, 0.012)
        bend = _direction(rng) * self._slow(rng, self._speed) * 0.1
        if rng.random() < 0.1:  # a tripod
            drift, bend, turn, growth = drift * 0, bend * 0, 0.0, 0.0
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0.0
        picture = self._part(self._picture(rng, seed, index), rng)
        # Anywhere on the picture, as far as it fills the frame.
        spare = np.maximum(np.array(picture.shape[1::-1]) - (width, height), 0) / 2
        place = (np.array([width, height]) - 1) / 2 + rng.uniform(-1, 1, 2) * spare
        layers = [Layer(picture, None, self._poses(place, drift, bend, angle, turn, growth))]
        depths = np.sort(rng.uniform(1, 2.2, int(rng.integers(0, self._things + 1))))
        for near in depths:
            own = _direction(rng) * self._slow(rng, self._speed) * (rng.random() < 0.7)
            spin = rng.normal(0, 0.04) if rng.random() < 0.6 else 0.0
            swell = rng.normal(0, 0.015) if rng.random() < 0.5 else 0.0
            place = rng.uniform(0, (width, height))
            # Things keep their place to the camera: as it turns and grows, they go round.
            picture, mask = self._thing(rng, seed, index)
            layers.append(Layer(picture, mask, self._poses(
                place, near * drift + own, near * bend, 0.0, turn + spin, growth + swell)))
        return MovingScene(layers, self._size, self._count)

    def _poses(self, place: np.ndarray, drift: np.ndarray, bend: np.ndarray, angle: float,
               turn: float, growth: float) -> list[Pose]:
        """Even motion with a slight bend; what is said holds for the middle frame."""
        poses = []
        for number in range(self._count):
            t = number - (self._count - 1) / 2
            x, y = place + drift * t + bend * (t * t / 2)
            poses.append(Pose(float(x), float(y), angle + turn * t, np.exp(growth * t)))
        return poses

    def _picture(self, rng: np.random.Generator, seed: int, index: int) -> np.ndarray:
        """A picture in another size, turned by quarters and mirrored at random."""
        draw = index * (self._things + 1) + int(rng.integers(0, self._things + 1))
        picture = self._pictures.image(self._pictures.pick(seed, draw))
        factor = np.exp(rng.uniform(*np.log(_SIZES)))
        size = [max(round(factor * side), 1) for side in picture.shape[1::-1]]
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.LANCZOS))
        picture = np.rot90(picture, int(rng.integers(4)))
        return np.ascontiguousarray(picture[:, ::-1] if rng.random() < 0.5 else picture)

    def _part(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A part of a large picture, at most twice as high and wide as the frames."""
        rows, columns = (min(side, 2 * most)
                         for side, most in zip(picture.shape, self._size, strict=False))
        top = int(rng.integers(picture.shape[0] - rows + 1))
        left = int(rng.integers(picture.shape[1] - columns + 1))
        return np.ascontiguousarray(picture[top:top + rows, left:left + columns])

    def _thing(self, rng: np.random.Generator, seed: int, index: int
               ) -> tuple[np.ndarray, np.ndarray]:
        """A piece of a picture and the outline it is cut out with."""
        side = min(self._size)
        radius = float(np.exp(rng.uniform(np.log(0.05 * side), np.log(0.35 * side))))
        points = shapes.outline(radius, rng)
        low, high = points.min(0) - _MARGIN, points.max(0) + _MARGIN
        columns, rows = np.maximum(np.ceil(high - low), 8).astype(int)
        picture = self._picture(rng, seed, index)
        while picture.shape[0] < rows or picture.shape[1] < columns:
            picture = np.pad(picture, [(0, picture.shape[0]), (0, picture.shape[1]), (0, 0)],
                             "symmetric")
        top = int(rng.integers(picture.shape[0] - rows + 1))
        left = int(rng.integers(picture.shape[1] - columns + 1))
        # Drawn at twice the texture's resolution and averaged: an edge of one pixel's softness.
        mask = Image.new("L", (2 * FINE * int(columns), 2 * FINE * int(rows)))
        ImageDraw.Draw(mask).polygon(((points - low) * 2 * FINE).ravel().tolist(), fill=255)
        return (np.ascontiguousarray(picture[top:top + rows, left:left + columns]),
                np.array(mask.reduce(2)))

    @staticmethod
    def _slow(rng: np.random.Generator, most: float) -> float:
        """A speed from 0 to `most`; half of them below an eighth, as in films."""
        return float(most * rng.random() ** 3)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])
