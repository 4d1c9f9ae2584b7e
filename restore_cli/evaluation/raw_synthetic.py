"""Generated pairs of RAW images to evaluate denoising on, for when no data are at hand."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.evaluation.raw_denoising import Loaded
from restore_cli.training.datasets.raw_pairs import Darkness, Ratios
from restore_cli.training.datasets.raw_scenes import Scenes
from restore_cli.training.degradations.raw_noise import Camera

SIDE = 256
"""Packed pixels of a generated image's sides."""

_PICTURE = 2 * SIDE + 64
_SEED = 2_000_003  # training draws its pictures from other seeds


@dataclass(frozen=True)
class SceneCase:
    """A generated scene, darkened by a modelled camera.

    Attributes:
        data, name: for tables.
        amplified: the ratio.
        camera: whose noise.
        index: of the scene.
        scenes: where it comes from.
        darkness: how it becomes noisy.
        seed: of scene and noise.
    """

    data: str
    name: str
    amplified: float
    camera: Camera
    index: int
    scenes: Scenes = field(repr=False)
    darkness: Darkness = field(repr=False)
    seed: int = 0
    noisy: Path | None = None
    clean: Path | None = None
    origin: str = "synthetic"

    def load(self) -> Loaded:
        """Makes the pair; the same again for the same seed, whatever else is evaluated.

        The gain of the sensor is the same at every ratio.
        """
        place = np.random.default_rng([self.seed, self.index, 0xE0A1])
        scene = self.scenes.scene(self.seed, self.index, SIDE, place)
        noise = np.random.default_rng([self.seed, self.index,
                                       zlib.crc32(self.camera.name.encode())])
        noisy, truth = self.darkness.noisy(scene, self.camera, self.amplified, noise)
        return Loaded(noisy, truth, self.amplified, self.camera.name)


def cases(cameras: Sequence[Camera], ratios: Sequence[float], count: int, seed: int, *,
          any_camera: bool, cache_folder: Path | None = None, console: Console | None = None
          ) -> list[SceneCase]:
    """`count` generated scenes at every ratio, with the cameras in turn.

    Args:
        cameras: noise models.
        ratios: amplifications.
        count: scenes a ratio.
        seed: of scenes and noise.
        any_camera: sensors have any number of bits; False: 14, as those the models are known for.
        cache_folder: where generated pictures are kept.

    Raises:
        UsageError: a camera lacks a kind of noise.
    """
    from restore_cli.training.datasets import sources, synthetic
    from restore_cli.training.datasets.raw_scenes import PictureScenes

    pictures = synthetic.generate(count, seed + _SEED, _PICTURE, cache_folder=cache_folder,
                                  console=console)
    scenes = PictureScenes(sources.ArraySource(pictures), SIDE, any_camera)
    darkness = Darkness(tuple(cameras), Ratios(tuple(ratios), "list"), any_camera=any_camera)
    return [SceneCase("synthetic", f"scene {index + 1}, {cameras[index % len(cameras)].name}",
                      float(ratio), cameras[index % len(cameras)], index, scenes, darkness, seed)
            for ratio in ratios for index in range(count)]
