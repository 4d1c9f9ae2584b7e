"""Small networks and films for the tests of `restore vsr`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]


def _load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses and annotations look themselves up
    spec.loader.exec_module(module)
    return module


# What the tests of jobs and of media make serves here too.
small = _load("vsr_small_of_jobs", TESTS / "jobs" / "vsr_small.py")
films = _load("made_films_of_media", TESTS / "media" / "made_films.py")


def film(path: Path, count: int = 10, size: str = "32x24", **options) -> Path:
    """A silent moving test picture of 10 frames a second."""
    return films.film(path, seconds=str(count / 10), size=size, **options)


def two_shots(path: Path, count: int = 6, height: int = 24, width: int = 32) -> np.ndarray:
    """Pictures in a folder, `count` of each of two shots; also as an array."""
    from PIL import Image

    path.mkdir()
    made = [one.rgb for seed in (1, 2) for one in small.frames(count, height, width, seed=seed)]
    # Plain areas of other colours, so that a thumbnail sees the cut.
    for number, pixels in enumerate(made):
        pixels[:height // 2, :, number // count * 2] //= 8
        Image.fromarray(pixels).save(path / f"shot{number:03d}.png")
    return np.stack(made)
