"""Noisy and clean patches for RAW denoisers, each batch made from (seed, step) alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.training.datasets.raw_scenes import CALIBRATED_SCALE, Scene, Scenes
from restore_cli.training.degradations import raw_noise
from restore_cli.training.degradations.raw_noise import Camera

Branch = int | Literal["mean"] | None


@dataclass(frozen=True)
class Ratios:
    """How strongly dark frames are amplified.

    Attributes:
        values: (least, largest), or all there are.
        draw_as: "log" (evenly in logarithms), "integer" (whole numbers, as published) or "list".
    """

    values: tuple[float, ...]
    draw_as: str = "log"

    @classmethod
    def parse(cls, text: str, integers: bool = False) -> Ratios:
        """``1-300`` is a range, ``100,250,300`` a list.

        Raises:
            UsageError: neither, or a ratio below 1.
        """
        between = "-" if "-" in text else ","
        try:
            values = tuple(float(part) for part in text.split(between))
        except ValueError:
            values = ()
        if not values or not all(1 <= value < math.inf for value in values) \
                or (between == "-" and (len(values) != 2 or values[0] > values[1])):
            raise UsageError(f"--ratios '{text}' is neither a range nor a list of numbers from 1 "
                             "on", hint="Such as 1-300, or 100,250,300")
        if between == ",":
            return cls(values, "list")
        if integers and any(value != int(value) for value in values):
            raise UsageError(f"this setting draws whole ratios, not from '{text}'")
        return cls(values, "integer" if integers else "log")

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest."""
        return min(self.values), max(self.values)

    def draw(self, rng: np.random.Generator) -> float:
        """One ratio."""
        low, high = self.bounds
        if self.draw_as == "log":
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if self.draw_as == "integer":
            return float(rng.integers(int(low), int(high) + 1))
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class RawBatch:
    """One training step's patches, float32 (B, 4, side, side): R, G1, B, G2, black 0, white 1.

    Attributes:
        inputs: noisy and amplified; at most 1, not cut below.
        targets: clean, 0..1.
        branch: the RepNR alignment they are for; None where there is no choice.
    """

    inputs: np.ndarray
    targets: np.ndarray
    branch: Branch = None


@dataclass(frozen=True)
class Darkness:
    """How clean scenes become noisy ones.

    Attributes:
        cameras: one is drawn for a step.
        ratios: one is drawn for a patch.
        kinds: of noise, see `raw_noise`.
        any_camera: the weights are for cameras nobody calibrated: noise is made in the units of
            a 14-bit sensor, in which the models are known, and the scene's own scale only decides
            how coarsely it is rounded. Otherwise the model's units are those of the scene.

    Raises:
        UsageError: no camera, or kinds of noise that one of them does not have.
    """

    cameras: Sequence[Camera]
    ratios: Ratios
    kinds: str = raw_noise.KINDS
    any_camera: bool = True

    def __post_init__(self) -> None:
        if not self.cameras:
            raise UsageError("at least one camera is needed")
        for camera in self.cameras:
            raw_noise.check_kinds(self.kinds, camera)

    def noisy(self, scene: Scene, camera: Camera, ratio: float,
              rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(noisy, clean) of a scene, float32 (4, h, w)."""
        units = CALIBRATED_SCALE if self.any_camera else scene.scale
        draws = raw_noise.draw(scene.planes, camera, ratio, units, rng, self.kinds)
        if self.any_camera and draws.rounding is not None:
            step = np.float32(CALIBRATED_SCALE / scene.scale.mean())
            draws = replace(draws, rounding=(draws.rounding - np.float32(0.5)) * step
                            + np.float32(0.5))
        return raw_noise.apply(scene.planes, draws, ratio, units)


class NoisySampler:
    """Draws batches of scenes with generated noise.

    Args:
        scenes: where clean patches come from.
        seed: of the run.
        darkness: how they become noisy.
        batch: patches a step.
        side: of a packed patch in pixels.
        branches: RepNR alignments, one a camera; 0 for a network without.
        mean_share: probability that a step trains the average alignment instead; each patch then
            has a camera of its own.

    Raises:
        UsageError: values that contradict each other.
    """

    def __init__(self, scenes: Scenes, seed: int, darkness: Darkness, *, batch: int, side: int,
                 branches: int = 0, mean_share: float = 0.0):
        if branches and branches != len(darkness.cameras):
            raise UsageError(f"{branches} alignments and {len(darkness.cameras)} cameras")
        self.scenes, self.seed, self.darkness = scenes, seed, darkness
        self.size, self.side = batch, side
        self._branches, self._mean_share = branches, mean_share

    def batch(self, step: int) -> RawBatch:
        """The batch of step `step` (from 0)."""
        rng = np.random.default_rng([self.seed, step, 0x1ED])
        cameras = self.darkness.cameras
        branch: Branch = None
        shared: int | None = int(rng.integers(len(cameras)))
        if self._branches:
            branch = "mean" if rng.random() < self._mean_share else shared
        if branch in (None, "mean") and self.darkness.any_camera:
            shared = None
        shape = (self.size, 4, self.side, self.side)
        inputs, targets = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for slot in range(self.size):
            draw = step * self.size + slot
            rng = np.random.default_rng([self.seed, draw])
            scene = self.scenes.scene(self.seed, draw, self.side, rng)
            which = int(rng.integers(len(cameras))) if shared is None else shared
            inputs[slot], targets[slot] = self.darkness.noisy(
                scene, cameras[which], self.darkness.ratios.draw(rng), rng)
        return RawBatch(inputs, targets, branch)


@dataclass(frozen=True)
class Held:
    """Patches for validation, the same for every run with the same options.

    Attributes:
        ratio: of all of them.
        noisy, clean: float32 (N, 4, h, w).
    """

    ratio: float
    noisy: np.ndarray
    clean: np.ndarray

    def psnr(self, found: np.ndarray) -> float:
        """Of planes clipped to 0..1, in dB, mean over the patches; peak 1."""
        error = (np.clip(found, 0, 1) - self.clean).astype(np.float64) ** 2
        return float(np.mean(-10 * np.log10(np.maximum(error.mean(axis=(1, 2, 3)), 1e-20))))


def held_out(scenes: Scenes, darkness: Darkness, ratios: Sequence[float], count: int,
             side: int) -> list[Held]:
    """`count` scenes at each ratio, with every camera in turn.

    Args:
        scenes: not trained on.
        darkness: its ratios are not used.
        ratios: one entry of the result each.
        count: patches a ratio.
        side: of a packed patch.
    """
    found = []
    for ratio in ratios:
        pairs = []
        for draw in range(count):
            scene = scenes.scene(0x7E57, draw, side, np.random.default_rng([draw, 0x7E57]))
            camera = darkness.cameras[draw % len(darkness.cameras)]
            pairs.append(darkness.noisy(scene, camera, ratio,
                                        np.random.default_rng([draw, 0x7E58])))
        found.append(Held(float(ratio), np.stack([p[0] for p in pairs]),
                          np.stack([p[1] for p in pairs])))
    return found
