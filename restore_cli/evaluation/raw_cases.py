"""Finds pairs of dark and well exposed RAW files to evaluate denoising on, and reads them.

Three layouts: the SID data set's (folders short/ and long/, seconds in the names), the ELD data
set's (folders scene-N of 16 numbered frames), and a list of pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from restore_cli.errors import InputError, RestoreError
from restore_cli.evaluation.raw_denoising import Loaded
from restore_cli.media import raw
from restore_cli.training.datasets import raw_lists

SID_SHOTS = {100: 29, 250: 29, 300: 35}
"""First shots of SID's Sony test scenes at each ratio."""

ELD_FINE_TUNING = (1, 2)
"""Scenes of ELD that LED fits its weights to."""

_ELD_CLEAN = (1, 6, 11, 16)
_ELD_RATIOS = (1.0, 10.0, 100.0, 200.0)
_SID_TEST = "1"  # first digit of the test scenes' numbers

_SID_NAME = re.compile(r"(?P<scene>.+)_(?P<shot>\d+)_(?P<seconds>\d+(?:\.\d+)?)s")
_ELD_FOLDER = re.compile(r"scene-(\d+)", re.IGNORECASE)
_ELD_NAME = re.compile(r"IMG_(\d+)", re.IGNORECASE)
_LAYOUTS = ("Expected folders short/ and long/ (SID), folders scene-3/ ... (ELD), or a list of "
            "lines 'noisy clean [ratio]'")

OnError = Callable[[RestoreError], None]


@dataclass(frozen=True)
class FileCase:
    """A dark file with its well exposed partner.

    Attributes:
        data: name of the set it belongs to.
        name: of the pair, in tables.
        noisy, clean: the files.
        ratio: what the dark one is amplified by, where a list says it.
        usual: where nobody else knows: what the place in the data set stands for.
        origin: "SID", "ELD" or "list".
    """

    data: str
    name: str
    noisy: Path
    clean: Path
    ratio: float | None = None
    usual: float | None = None
    origin: str = "list"

    def load(self) -> Loaded:
        """Reads both files.

        Raises:
            InputError: unreadable, of different sizes or patterns, or the ratio is unknown.
        """
        dark = raw.read(self.noisy)
        shape, pattern, camera = dark.mosaic.shape, dark.pattern.name, dark.camera
        known = _knows(dark)
        noisy = dark.planes()
        del dark  # one mosaic at a time
        bright = raw.read(self.clean)
        if bright.mosaic.shape != shape:
            raise InputError(
                f"has {shape[1]}x{shape[0]} pixels and its clean partner {self.clean.name} "
                f"{bright.mosaic.shape[1]}x{bright.mosaic.shape[0]}", path=self.noisy)
        if bright.pattern.name != pattern:
            raise InputError(f"has a {pattern} mosaic and its clean partner {self.clean.name} a "
                             f"{bright.pattern.name} one", path=self.noisy)
        ratio = self._ratio(known, _knows(bright))
        truth = bright.planes()
        noisy *= np.float32(ratio)
        return Loaded(np.minimum(noisy, 1, out=noisy), np.clip(truth, 0, 1, out=truth), ratio,
                      camera)

    def _ratio(self, noisy: SimpleNamespace, clean: SimpleNamespace) -> float:
        if self.ratio is not None:
            return self.ratio
        try:
            return raw_lists.ratio_of(noisy, clean)
        except InputError:
            if self.usual is None:
                raise
            return self.usual


def find(path: Path, *, label: str, all_shots: bool = False, all_scenes: bool = False,
         on_error: OnError | None = None) -> list[FileCase]:
    """The pairs of a data set or of a list, in order of name.

    Args:
        path: a list, a folder of one of the layouts, or one whose subfolders are such (a set
            each, as in SID with its folder Sony and ELD with a folder for each camera).
        label: what tables call the set.
        all_shots: SID: every shot of a burst, not only the first of each exposure.
        all_scenes: also what is meant for training: SID's scenes whose number does not begin
            with 1, where there are such that do; ELD's scenes 1 and 2.
        on_error: told about files without a partner; None raises.

    Raises:
        InputError: nothing there, or of no known layout.
    """
    on_error = on_error or _raise
    if path.is_file():
        return [FileCase(label, line.noisy.stem, line.noisy, line.clean, line.ratio)
                for line in raw_lists.parse(path)]
    if not path.is_dir():
        raise InputError("no such file or folder", path=path)
    found = _folder(path, label, all_shots, all_scenes, on_error)
    if found is None:
        inside = [(child, _folder(child, f"{label}/{child.name}", all_shots, all_scenes, on_error))
                  for child in _folders(path)]
        found = [case for _, cases in inside for case in cases or ()]
        if all(cases is None for _, cases in inside):
            raise InputError("no pairs of RAW files", path=path, hint=_LAYOUTS)
    return found


def _folder(path: Path, label: str, all_shots: bool, all_scenes: bool, on_error: OnError
            ) -> list[FileCase] | None:
    """The pairs of one set, None for a folder of another layout."""
    children = {child.name.lower(): child for child in _folders(path)}
    if "short" in children and "long" in children:
        return _sid(children["short"], children["long"], label, all_shots, all_scenes, on_error)
    scenes = {int(match[1]): child for name, child in children.items()
              if (match := _ELD_FOLDER.fullmatch(name))}
    if not scenes:
        return None
    if not all_scenes:
        scenes = {number: child for number, child in scenes.items()
                  if number not in ELD_FINE_TUNING}
    if not scenes:
        raise InputError("holds only the scenes 1 and 2, which are for training", path=path,
                         hint="--all-scenes evaluates them too")
    return [case for _, child in sorted(scenes.items())
            for case in _scene(child, label, on_error)]


@dataclass(frozen=True)
class _Shot:
    path: Path
    scene: str
    number: int
    seconds: str


def _sid(short: Path, long: Path, label: str, all_shots: bool, all_scenes: bool,
         on_error: OnError) -> list[FileCase]:
    """Pairs by the scene in front of the names.

    A scene of several long exposures (ELD's, renamed for LED's programs) is paired by the nearest
    number.
    """
    dark, bright = _shots(short, on_error), _shots(long, on_error)
    if not dark or not bright:
        raise InputError("no RAW files such as 00001_00_0.1s.arw in it",
                         path=long if dark else short)
    if not all_scenes and any(shot.scene.startswith(_SID_TEST) for shot in dark):
        dark = [shot for shot in dark if shot.scene.startswith(_SID_TEST)]
    cases, seen = [], set()
    for shot in dark:
        partners = [one for one in bright if one.scene == shot.scene]
        if not partners:
            on_error(InputError(f"has no partner in {long}", path=shot.path))
            continue
        clean = min(partners, key=lambda one: abs(one.number - shot.number))
        burst = shot.scene, clean.path, shot.seconds
        if all_shots or burst not in seen:
            cases.append(FileCase(label, shot.path.stem, shot.path, clean.path, origin="SID"))
        seen.add(burst)
    return cases


def _shots(folder: Path, on_error: OnError) -> list[_Shot]:
    found = []
    for path in _raw_files(folder):
        match = _SID_NAME.fullmatch(path.stem)
        if match is None:
            on_error(InputError("is not named like 00001_00_0.1s: scene, number of the shot, "
                                "seconds", path=path))
            continue
        found.append(_Shot(path, match["scene"], int(match["shot"]), match["seconds"]))
    return sorted(found, key=lambda shot: (shot.scene, shot.number, float(shot.seconds)))


def _scene(folder: Path, label: str, on_error: OnError) -> list[FileCase]:
    """ELD: frames 1, 6, 11 and 16 are clean, and the four after each are ever darker."""
    frames = {int(match[1]): path for path in _raw_files(folder)
              if (match := _ELD_NAME.fullmatch(path.stem))}
    cases = []
    for number, path in sorted(frames.items()):
        if number in _ELD_CLEAN or not 1 <= number <= _ELD_CLEAN[-1]:
            continue
        partner = min(_ELD_CLEAN, key=lambda clean: abs(clean - number))
        if partner not in frames:
            on_error(InputError(f"has no partner IMG_{partner:04d} beside it", path=path))
            continue
        cases.append(FileCase(label, f"{folder.name}/{path.stem}", path, frames[partner],
                              usual=_ELD_RATIOS[(number - 2) % 5], origin="ELD"))
    if not frames:
        on_error(InputError("no RAW files such as IMG_0004.arw in it", path=folder))
    return cases


def _knows(file: raw.Raw) -> SimpleNamespace:
    """What the ratio is taken from, without the pixels."""
    return SimpleNamespace(path=file.path, iso=file.iso, seconds=file.seconds)


def _raw_files(folder: Path) -> list[Path]:
    return sorted(path for path in _inside(folder) if path.suffix.lower() in raw.EXTENSIONS
                  and not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in _inside(folder) if child.is_dir())


def _inside(folder: Path) -> Sequence[Path] | Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=folder) from error


def _raise(error: RestoreError) -> None:
    raise error
