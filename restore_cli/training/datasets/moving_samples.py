"""Training samples of made scenes, whose truth and whose motion are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.pipeline.windows import LENGTH
from restore_cli.training.datasets import films
from restore_cli.training.datasets.films import Held
from restore_cli.training.datasets.moving import MovingScenes
from restore_cli.training.datasets.sources import ImageSource
from restore_cli.training.degradations import blur, blur_kernels

SPEED = 20.0  # pixels a frame, of the large frames; less where they are small
REUSE = 4
"""Samples that are made of each scene: painting costs more than all that follows."""
_BLOCK = 32  # scenes that take turns, so that a batch has different ones
_MIDDLE = LENGTH // 2


class SceneSamples:
    """Windows of made scenes, blurred and made small; see `films.Sample`.

    Each scene is used `REUSE` times: mirrored, turned, backwards in time, with other kernels.

    Args:
        pictures: where textures come from.
        seed: of the run.
        patch: side of the small frames in pixels, at least 8.
        mode: "gaussian" or "realistic".
    """

    def __init__(self, pictures: ImageSource, seed: int, *, patch: int, mode: str):
        if mode not in films.MODES:
            raise UsageError(f"unknown --blur '{mode}'", hint="Use gaussian or realistic")
        self._scenes, self._seed, self._mode = scenes(pictures, patch), seed, mode
        self._painted = lru_cache(_BLOCK)(self._paint)  # of a block, and each once

    def sample(self, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample number `draw` of the run."""
        rng = np.random.default_rng([self._seed, 0x5CE, draw])
        block, place = divmod(draw, _BLOCK * REUSE)
        frames, flows = self._painted(block * _BLOCK + place % _BLOCK)
        flips = rng.random(3) < 0.5
        frames = [films.turned(frame, *flips) for frame in frames]
        # On phase 0 of the turned frames, which is another one of the frames themselves.
        step = slice(None, None, blur.SCALE)
        flows = [films.turned_flow(flow, *flips)[:, step, step] / blur.SCALE for flow in flows]
        if rng.random() < 0.5:
            frames.reverse()
            flows.reverse()
        kernel = blur_kernels.training_kernel(self._mode, rng)
        return (*films.made_small(frames, kernel), np.stack(flows), films.framed(kernel))

    def held(self, count: int) -> list[Held]:
        """The first `count` scenes of the seed, to validate on."""
        return [films.held(list(self._scenes.scene(self._seed, number).frames()), self._mode,
                           np.random.default_rng([self._seed, 0x7E57, number]))
                for number in range(count)]

    def _paint(self, number: int) -> tuple[np.ndarray, list[np.ndarray]]:
        scene = self._scenes.scene(self._seed, number)
        return scene.frames(), [scene.flow(_MIDDLE, other) for other in range(LENGTH)
                                if other != _MIDDLE]


def scenes(pictures: ImageSource, patch: int) -> MovingScenes:
    """Scenes whose small frames have a side of `patch`."""
    side = patch * blur.SCALE
    return MovingScenes(pictures, (side, side), LENGTH, speed=min(SPEED, side / 10))


@dataclass(frozen=True)
class FlowBatch:
    """What a step of the flow network trains on.

    Attributes:
        first, second: float32 (N, 3, H, W) in [0, 1].
        flow: float32 (N, 2, H, W), from `first` to `second`, in pixels along x and y.
    """

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray


class FlowSampler:
    """Makes the `FlowBatch` of any step: the middle frame of a made scene and one of the others.

    The scenes are painted as large as the network sees them: motion counts, not sharpness.

    Args:
        pictures: where textures come from.
        seed: of the run.
        patch: side of the frames in pixels, at least 32.
        batch: pairs a step.
        speed: fastest drift of the camera in pixels a frame.
    """

    def __init__(self, pictures: ImageSource, seed: int, *, patch: int, batch: int,
                 speed: float = SPEED / blur.SCALE):
        if batch < 1:
            raise UsageError("batch size must be at least 1")
        self._scenes = MovingScenes(pictures, (patch, patch), LENGTH, speed=speed)
        self._seed, self._size = seed, batch

    def batch(self, step: int) -> FlowBatch:
        """The batch of step `step` (from 0)."""
        made = [self.pair(step * self._size + slot) for slot in range(self._size)]
        return FlowBatch(*(np.stack(parts) for parts in zip(*made, strict=True)))

    def pair(self, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pair number `draw` of the run: first, second, flow."""
        rng = np.random.default_rng([self._seed, 0xF10, draw])
        scene = self._scenes.scene(self._seed, draw)
        other = int(rng.choice([i for i in range(LENGTH) if i != _MIDDLE]))
        first, second = (films.planes(scene.frame(number)) for number in (_MIDDLE, other))
        # A film is not always evenly exposed, and its noise moves nowhere.
        gain, noise = rng.normal(1, 0.02), rng.uniform(0, 0.01)
        second = second * np.float32(gain)
        first, second = (np.clip(one + rng.normal(0, noise, one.shape), 0, 1).astype(np.float32)
                         for one in (first, second))
        return first, second, scene.flow(_MIDDLE, other)
