"""Folders of frames as clips, and where the parts of a degraded set go. No pixels here."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import InputError, UsageError
from restore_cli.media import formats
from restore_cli.pipeline import naming
from restore_cli.pipeline.naming import Item

LOW, KERNELS, HIGH = "LR_blurdown_x4", "kernel", "HR"
KERNEL_FILES = (".npy", ".mat", ".png")


@dataclass(frozen=True)
class Clip:
    """One clip of a set.

    Attributes:
        name: of its folder.
        items: its frames, in the order of their names, and their results.
        kernels: the files its kernel goes to, by extension.
    """

    name: str
    items: list[Item]
    kernels: dict[str, Path]


def find(folders: Sequence[Path], output: Path) -> tuple[list[tuple[Path, str]], list[InputError]]:
    """The clips among the inputs.

    A folder with pictures is a clip. Otherwise its subfolders with pictures are; of a whole set
    (a folder with a subfolder HR) those in HR.

    Returns:
        Folders with the clips' names, and what is wrong with inputs that have none.

    Raises:
        UsageError: two clips of one name.
    """
    found: list[tuple[Path, str]] = []
    errors: list[InputError] = []
    for folder in folders:
        if not folder.is_dir():
            what = "is a file, not a folder of frames" if folder.exists() else "no such folder"
            errors.append(InputError(what, path=folder))
            continue
        try:
            clips = _clips(folder, output)
        except OSError as error:
            errors.append(InputError(f"cannot be listed: {error.strerror}", path=folder))
            continue
        if not clips:
            errors.append(InputError("has no frames, and no folders with frames", path=folder))
        found += [(clip, clip.resolve().name) for clip in clips]
    seen: dict[str, Path] = {}
    unique: list[tuple[Path, str]] = []
    for clip, name in found:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), clip)
        if other is clip:
            unique.append((clip, name))
        elif not os.path.samefile(other, clip):
            raise UsageError(f"has the same name as {other}", path=clip,
                             hint="Rename one, or give them different output folders")
    return unique, errors


def plan(clips: Sequence[tuple[Path, str]], output: Path, *, overwrite: bool, skip_existing: bool
         ) -> list[Clip]:
    """Pairs every frame with its result and every clip with its kernel's files.

    Raises:
        UsageError: a result exists (and neither `overwrite` nor `skip_existing`), would be an
            input, or would come from two frames.
    """
    planned = []
    sources: dict[Path, Path] = {}
    for folder, name in clips:
        target = output / LOW / name
        items = naming.plan([str(folder)], output=f"{target}{os.sep}", suffix="", extension=".png",
                            overwrite=overwrite, skip_existing=skip_existing,
                            readable=formats.EXTENSIONS)
        kernels = {ending: output / KERNELS / f"{name}{ending}" for ending in KERNEL_FILES}
        planned.append(Clip(name, items, kernels))
        sources.update((Path(os.path.realpath(item.source)), item.source) for item in items)
    for clip in planned:
        for place in (*(item.target for item in clip.items), *clip.kernels.values()):
            hit = sources.get(Path(os.path.realpath(place)))
            if hit is not None:
                raise UsageError(f"would be written over the input {hit}", path=place,
                                 hint="Inputs are never replaced: choose another -o")
        for place in clip.kernels.values():
            if place.is_dir():
                raise UsageError("is a folder, but would be a kernel's file", path=place)
            if os.path.lexists(place) and not (overwrite or skip_existing):
                raise UsageError("exists already", path=place,
                                 hint="Use --overwrite or --skip-existing, or another -o")
    return planned


def _clips(folder: Path, output: Path) -> list[Path]:
    if _has_frames(folder):
        return [folder]
    if (folder / HIGH).is_dir():
        folder = folder / HIGH
        if _has_frames(folder):
            return [folder]
    made = {os.path.realpath(output), *(os.path.realpath(output / part) for part in (LOW, KERNELS))}
    return [entry for entry in sorted(folder.iterdir())
            if entry.is_dir() and not entry.name.startswith(".")
            and os.path.realpath(entry) not in made and _has_frames(entry)]


def _has_frames(folder: Path) -> bool:
    return any(entry.suffix.lower() in formats.EXTENSIONS and not entry.name.startswith(".")
               and not entry.is_dir() for entry in folder.iterdir())
