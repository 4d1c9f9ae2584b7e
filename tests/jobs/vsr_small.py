"""Small random video networks and moving frames for the tests of `restore vsr`."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np

from restore_cli.media.video_model import Frame
from restore_cli.weights.files import Weights, write

# The networks of the tests of the layers serve here too.
_spec = importlib.util.spec_from_file_location(
    "vsr_recipe_of_nets", Path(__file__).parents[1] / "nets" / "vsr_recipe.py")
recipe = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recipe)

TINY = {**recipe.COMPACT, "n_feat": 8, "recons_RBS": 1}


def weights(folder: Path, config=None) -> Path:
    """A weight file of a small network, whose flows are of a few pixels."""
    path = folder / "tiny.safetensors"
    config = TINY if config is None else config
    write(path, Weights("vsr", dict(config), recipe.weights(config), {}))
    return path


def frames(count: int, height: int, width: int, dtype=np.uint8, seed: int = 0) -> list[Frame]:
    """A noisy picture that moves by a pixel or two a frame."""
    rng = np.random.default_rng(seed)
    scene = rng.random((height + 64, width + 64, 3))
    for axis in (0, 1):
        scene = (scene + np.roll(scene, 1, axis) + np.roll(scene, 2, axis)) / 3
    white = np.iinfo(dtype).max
    return [Frame(i, i, Fraction(1, 25), 1, np.ascontiguousarray(
        (scene[i:i + height, 2 * i:2 * i + width] * white).astype(dtype))) for i in range(count)]
