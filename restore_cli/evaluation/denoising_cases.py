"""Finds the images to evaluate denoising on: clean ones, or pairs of noisy and clean files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media.formats import images_in
from restore_cli.training.degradations.noise import Noise

SOURCE_IMAGES, SOURCE_VALIDATION, SOURCE_SEED = 68, 34, 123

_NOISY = ("noisy", "real", "input", "lowsnr")
_CLEAN = ("clean", "target", "gt", "mean", "reference", "highsnr")
_LAYOUTS = ("Expected folders noisy/ and clean/ with files of the same names, or files named "
            "noisy_* and clean_* (also target, gt, mean), or two folders: --data NOISY --clean "
            "CLEAN")


@dataclass(frozen=True)
class MadeNoise:
    """Noise to be made on clean images.

    Attributes:
        kind: "gaussian" or "poisson".
        level: standard deviation on the scale of 0 to 255, or photons counted at white.
    """

    kind: str
    level: float

    @property
    def label(self) -> str:
        """As in tables: ``sigma 25`` or ``30 photons``."""
        return (f"sigma {self.level:g}" if self.kind == "gaussian"
                else f"{self.level:g} photons")

    @property
    def folder(self) -> str:
        """As in names of folders: ``sigma25`` or ``photons30``."""
        return f"{'sigma' if self.kind == 'gaussian' else 'photons'}{self.level:g}"

    def add(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noisy copy of (C, H, W) on the scale of 0 to 255; float32, not clipped or rounded."""
        none = np.zeros(len(clean))
        if self.kind == "gaussian":
            return Noise(none, none + self.level).add(clean, rng)
        return Noise(none + 255 / self.level, none).add(clean, rng)


@dataclass(frozen=True)
class NoisyCase:
    """One image to restore.

    Attributes:
        data: name of the set it belongs to.
        name: the image's name without extension.
        clean: the reference.
        noisy: the noisy file; None means that `noise` is made on `clean`.
    """

    data: str
    name: str
    clean: Path
    noisy: Path | None = None
    noise: MadeNoise | None = None

    @property
    def label(self) -> str:
        """Which noise, as in tables; "" for that of the files."""
        return self.noise.label if self.noise else ""


def made(folder: Path, noises: Sequence[MadeNoise], *, label: str, split: bool = False,
         limit: int | None = None) -> list[NoisyCase]:
    """Every clean image of a folder with every noise, in order of noise, then name.

    Args:
        split: of the 68 images of BSD68 only the source document's 34 test images; any other
            number is used whole.
        limit: only the first so many images.

    Raises:
        InputError: not a folder, or no images in it.
    """
    _require_folder(folder)
    paths = images_in(folder)
    if not paths:
        raise InputError("no images in it", path=folder)
    if split and len(paths) == SOURCE_IMAGES:
        paths = source_test_files(paths)
    paths = paths[:limit]
    return [NoisyCase(label, path.stem, path, noise=noise) for noise in noises for path in paths]


def source_test_files(paths: Sequence[Path]) -> list[Path]:
    """The source document's test half: the 35th to last of the sorted files, shuffled."""
    shuffled = sorted(paths, key=lambda path: path.name)
    random.Random(SOURCE_SEED).shuffle(shuffled)
    return sorted(shuffled[SOURCE_VALIDATION:])


def pairs(folder: Path, clean: Path | None = None, *, label: str, limit: int | None = None,
          on_error: Callable[[InputError], None] | None = None) -> list[NoisyCase]:
    """Noisy files with their references, in order of name.

    Layouts: two folders with files of the same names; one folder with subfolders such as
    ``noisy`` and ``clean``; or one with files such as ``noisy_a.tif`` and ``target_a.tif``,
    ``a_real.jpg`` and ``a_mean.jpg``.

    Args:
        clean: folder of references, `folder` then holds the noisy files.
        on_error: told about files without a counterpart; None raises.

    Raises:
        InputError: not a folder, or no pairs in it.
    """
    _require_folder(folder)
    if clean is None:
        inside = {child.name.lower(): child for child in sorted(folder.iterdir())
                  if child.is_dir()}
        noisy_in, clean_in = _first(inside, _NOISY), _first(inside, _CLEAN)
        if noisy_in and clean_in:
            folder, clean = noisy_in, clean_in
    if clean is not None:
        _require_folder(clean)
        first, second = ({path.stem: path for path in images_in(place)}
                         for place in (folder, clean))
        missing = f"has no counterpart in {clean}"
    else:
        files = images_in(folder)
        first, second = _marked(files, _NOISY), _marked(files, _CLEAN)
        missing = "has no counterpart beside it"
    cases = []
    for name, path in sorted(first.items()):
        if name in second:
            cases.append(NoisyCase(label, name or folder.name, second[name], path))
            continue
        error = InputError(missing, path=path)
        if on_error is None:
            raise error
        on_error(error)
    if not first or not second:
        raise InputError("no pairs of noisy and clean images", path=folder, hint=_LAYOUTS)
    return cases[:limit]


def _marked(files: Sequence[Path], words: Sequence[str]) -> dict[str, Path]:
    """Files with one of the words at either end of their names, by what is left of the name."""
    mark = re.compile(rf"^(?:{'|'.join(words)})(?:[_-]|$)|[_-](?:{'|'.join(words)})$",
                      re.IGNORECASE)
    return {mark.sub("", path.stem, count=1): path for path in files if mark.search(path.stem)}


def _first(inside: dict[str, Path], words: Sequence[str]) -> Path | None:
    return next((inside[word] for word in words if word in inside), None)


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError("no such folder" if not folder.exists() else "is not a folder",
                         path=folder)
