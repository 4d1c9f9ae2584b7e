"""Clean RAW scenes to train on: pictures turned back into what a sensor sees.

A scene is four planes R, G1, B, G2 of linear camera values, black 0 and white 1. Pictures are
mirrored and transposed before the mosaic is taken from them, so that the planes keep their
meaning; which of the four Bayer patterns the sensor has is drawn, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.media import unprocess
from restore_cli.media.bayer import PATTERNS
from restore_cli.training.datasets.raw_files import Frame, turned
from restore_cli.training.datasets.sources import ImageSource, shuffled

# White minus black of sensors of 10, 12, 14 and 16 bits, and how often each is drawn.
SCALES = (1023.0 - 64, 4095.0 - 256, 16383.0 - 512, 65535.0 - 2048)
SCALE_SHARES = (0.1, 0.2, 0.5, 0.2)
CALIBRATED_SCALE = 16383.0 - 512
"""Noise models are calibrated in units of a 14-bit sensor."""

_COLOUR = (0, 1, 2, 1)
_BRIGHTNESS = (0.1, 1.2)
_RED_GAIN, _BLUE_GAIN = (0.8, 2.6), (0.8, 3.0)
_PURITY = (0.6, 3.0)
_HALVED = 0.35


@dataclass(frozen=True)
class Scene:
    """A clean patch.

    Attributes:
        planes: float32 (4, side, side), R, G1, B, G2; 1 is white, above is over-exposed.
        scale: white minus black of each plane in the camera's units, float64 (4,).
    """

    planes: np.ndarray
    scale: np.ndarray


class Scenes(Protocol):
    """A supply of scenes."""

    def scene(self, seed: int, draw: int, side: int, rng: np.random.Generator) -> Scene:
        """Patch number `draw` of a run; the same arguments always give the same patch.

        Args:
            seed: of the run.
            draw: from 0.
            side: of the packed patch in pixels.
            rng: where every other choice comes from.
        """
        ...


class PictureScenes:
    """Scenes from 8-bit sRGB pictures, un-processed (Brooks et al., CVPR 2019, section 3).

    Tone curve (from half of the patches), gamma, colour matrix and white balance are undone with
    values drawn for each patch, whose colours are changed at times; the brightness of the scene
    is drawn (0.1 to 1.2, evenly in logarithms), and so is the number of bits of the sensor. A
    third of the patches of large pictures are halved first, which leaves them sharper and cleaner.

    Args:
        source: uint8 (H, W, 3) each.
        side: of the largest packed patch that will be asked for.
        any_bits: False makes all sensors 14-bit ones.

    Raises:
        UsageError: a picture is too small for a patch.
    """

    def __init__(self, source: ImageSource, side: int, any_bits: bool = True):
        if source.smallest < 2 * side:
            raise UsageError(f"patches of {side} packed pixels need pictures of {2 * side} pixels; "
                             f"the smallest has {source.smallest}",
                             hint="Give a smaller --patch")
        self._source, self._any_bits = source, any_bits

    def scene(self, seed: int, draw: int, side: int, rng: np.random.Generator) -> Scene:
        picture = self._source.image(self._source.pick(seed, draw))
        halved = min(picture.shape[:2]) >= 4 * side and rng.random() < _HALVED
        length = (4 if halved else 2) * side
        top, left = (int(rng.integers(size - length + 1)) for size in picture.shape[:2])
        part = picture[top:top + length, left:left + length]
        rows, columns, transposed = rng.random(3) < 0.5
        part = part[::-1 if rows else 1, ::-1 if columns else 1]
        if transposed:
            part = part.swapaxes(0, 1)
        pattern = list(PATTERNS.values())[rng.integers(len(PATTERNS))]
        linear = _recoloured(_linear(bool(rng.random() < 0.5))[part], rng)
        if halved:
            linear = linear.reshape(2 * side, 2, 2 * side, 2, 3).mean(axis=(1, 3))
        matrix = unprocess.random_to_camera(rng)
        # Towards no mixing of the channels: colours of the camera as pure as can be.
        matrix += (np.eye(3) - matrix) * max(rng.uniform(-1, 1), 0)
        planes = camera_planes(linear, pattern, matrix, _gains(rng))
        planes *= np.float32(np.exp(rng.uniform(*np.log(_BRIGHTNESS))))
        scale = SCALES[rng.choice(len(SCALES), p=SCALE_SHARES)] if self._any_bits \
            else CALIBRATED_SCALE
        return Scene(planes, np.full(4, scale))


def camera_planes(linear: np.ndarray, pattern, matrix: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """What a sensor sees of a linear sRGB picture.

    Args:
        linear: float32 (2h, 2w, 3), 0..1.
        pattern: a `media.bayer.Pattern`.
        matrix: (3, 3), from linear sRGB to camera colours with white balance done.
        gains: (3,), the white balance that a developer would apply. White stays white: gains are
            inverted less near saturation, where all channels clip (Brooks et al., equation 4).

    Returns:
        float32 (4, h, w), R, G1, B, G2.
    """
    planes = np.empty((4, linear.shape[0] // 2, linear.shape[1] // 2), np.float32)
    matrix = np.asarray(matrix, np.float32)
    for plane, (row, column) in enumerate(pattern.offsets):
        colour = _COLOUR[plane]
        red, green, blue = (linear[row::2, column::2, c] for c in range(3))
        mixed = matrix[colour, 0] * red + matrix[colour, 1] * green + matrix[colour, 2] * blue
        mask = np.maximum((red + green + blue) * np.float32(1 / 0.3) - np.float32(9), 0)
        mask *= mask
        inverse = np.float32(1 / gains[colour])
        planes[plane] = mixed * np.maximum(mask + (1 - mask) * inverse, inverse)
    return np.clip(planes, 0, 1, out=planes)


def _recoloured(linear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture in other colours, at times: channels exchanged, purer or paler.

    What a network never saw in strong colours it paints grey: before white balance a red
    flower is the only place where red exceeds green.
    """
    if rng.random() < 0.3:
        linear = linear[..., rng.permutation(3)]
    if rng.random() < 0.5:
        grey = linear.mean(axis=2, keepdims=True)
        purity = np.float32(np.exp(rng.uniform(*np.log(_PURITY))))
        linear = np.clip(grey + purity * (linear - grey), 0, 1)
    return linear


def _gains(rng: np.random.Generator) -> np.ndarray:
    """White balance from daylight to candles; wider than published."""
    red, blue = (np.exp(rng.uniform(*np.log(span))) for span in (_RED_GAIN, _BLUE_GAIN))
    return np.array([red, 1.0, blue])


@lru_cache(maxsize=2)
def _linear(tone: bool) -> np.ndarray:
    """Linear values of the 256 levels of a picture, with or without a tone curve to undo."""
    levels = np.arange(256, dtype=np.float64) / 255
    levels = unprocess.inverse_smoothstep(levels) if tone else levels
    return (levels**2.2).astype(np.float32)


class FrameScenes:
    """Scenes from clean RAW files, cut into squares.

    Args:
        frames: at least one, none smaller than `side`.
        side: of a packed patch.
        augment: mirror and transpose each patch at random, from any place of a frame; False
            takes the squares of a grid of step `side` as they are, as LED's published pre-training
            does.
    """

    def __init__(self, frames: Sequence[Frame], side: int, augment: bool):
        self._frames, self._augment = list(frames), augment
        self._squares = [(index, top, left) for index, frame in enumerate(frames)
                         for top in range(0, frame.size[0] - side + 1, side)
                         for left in range(0, frame.size[1] - side + 1, side)]

    def __len__(self) -> int:
        return len(self._squares)

    def scene(self, seed: int, draw: int, side: int, rng: np.random.Generator) -> Scene:
        index, top, left = self._squares[shuffled(seed, draw, len(self))]
        frame = self._frames[index]
        if not self._augment:
            return Scene(frame.crop(top, left, side, side), frame.scale)
        top, left = (int(rng.integers(length - side + 1)) for length in frame.size)
        rows, columns, transposed = (bool(value) for value in rng.random(3) < 0.5)
        planes = turned(frame.crop(top, left, side, side), rows, columns, transposed)
        return Scene(np.ascontiguousarray(planes),
                     frame.scale[[0, 3, 2, 1]] if transposed else frame.scale)


class MixedScenes:
    """Scenes of several supplies.

    Args:
        parts: (scenes, weight), weights above 0.
    """

    def __init__(self, parts: Sequence[tuple[Scenes, float]]):
        weights = np.array([weight for _, weight in parts])
        self._parts, self._limits = [part for part, _ in parts], np.cumsum(weights / weights.sum())

    def scene(self, seed: int, draw: int, side: int, rng: np.random.Generator) -> Scene:
        part = int(np.searchsorted(self._limits, rng.random(), side="right"))
        part = min(part, len(self._parts) - 1)
        return self._parts[part].scene(seed + part, draw, side, rng)


def mixed(parts: Sequence[tuple[Scenes, float]]) -> Scenes:
    """`MixedScenes`, or the supply itself when there is only one."""
    return parts[0][0] if len(parts) == 1 else MixedScenes(parts)
