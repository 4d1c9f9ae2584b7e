"""The free photographs that are mixed with generated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import restore_cli
from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.training.datasets import folders
from restore_cli.training.datasets.sources import ArraySource
from restore_cli.training.degradations import bicubic

# What is free to train on; results that someone wrote beside these files are not.
FREE = frozenset({"astronaut.png", "camera.png", "chelsea.png", "coffee.png", "grass.png",
                  "gravel.png", "rocket.jpg"})


def find() -> Path:
    """The folder `examples/photos` of the checkout this package runs from.

    Raises:
        InputError: the package is installed without its repository.
    """
    folder = Path(restore_cli.__file__).resolve().parent.parent / "examples" / "photos"
    if not folder.is_dir():
        raise InputError("the free photographs are not installed with the package",
                         hint="Name a folder of photographs with --photos DIR")
    return folder


def load(folder: Path | str | None = None, *, min_side: int = 192,
         reductions: tuple[float, ...] = (1.0,), console: Console | None = None) -> ArraySource:
    """The photographs of a folder, in memory.

    Args:
        folder: all images of it; None takes the `FREE` ones of `find()`.
        min_side: least height and width in pixels; smaller ones are left out.
        reductions: each photograph is present at each of these sizes (1 is its own; smaller
            ones are sharper to the pixel), as far as `min_side` allows.
        console: where warnings go.

    Raises:
        InputError: no folder, or no usable photograph in it.
    """
    source = folders.FolderSource(find() if folder is None else folder, min_side,
                                  names=FREE if folder is None else None, console=console)
    images: list[np.ndarray] = []
    for index in range(len(source)):
        image = source.image(index)
        for factor in reductions:
            size = tuple(round(side * factor) for side in image.shape[:2])
            if min(size) >= min_side:
                images.append(image if size == image.shape[:2] else bicubic.resize(image, size))
    return ArraySource(images)
