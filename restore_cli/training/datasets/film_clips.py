"""Clips for training video networks: folders of frames, and films unpacked once and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, OutputError
from restore_cli.media import frames, images
from restore_cli.pipeline import scenes, windows
from restore_cli.training.datasets.sources import shuffled

VERSION = 1  # raise whenever the same film would give other frames
FRAMES = 50
"""Frames that are taken of a clip, from its beginning, as published."""
FILM_FRAMES = 300
"""Frames that are taken of a film."""
HIGH = "HR"
EXTENSIONS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts",
                        ".mts", ".m2ts", ".y4m", ".nut", ".wmv", ".flv", ".ogv", ".3gp", ".mxf"})


class Clip(Protocol):
    """Consecutive frames of one size.

    Attributes:
        name: what messages call it.
        count: its frames.
        starts: numbers of the frames that begin a shot.
        size: (height, width).
    """

    name: str
    count: int
    starts: Sequence[int]
    size: tuple[int, int]

    def frame(self, number: int) -> np.ndarray:
        """A frame, uint8 or uint16 (H, W, 3), not to be written to."""
        ...


class FolderClip:
    """Pictures of a folder, in natural order; read whenever they are asked for.

    Raises:
        InputError: no pictures, or the first is damaged; `frame` raises it for others.
    """

    def __init__(self, folder: Path, limit: int = FRAMES):
        files, _ = frames.listed(folder)
        self._files = files[:limit]
        self.name, self.count, self.starts = str(folder), len(self._files), (0,)
        self.size = images.read(self._files[0]).pixels.shape[:2]

    def frame(self, number: int) -> np.ndarray:
        path = self._files[number]
        found = images.read(path).color
        if found.shape[:2] != self.size:
            raise InputError(f"is {found.shape[1]}x{found.shape[0]}, the clip's first frame is "
                             f"{self.size[1]}x{self.size[0]}", path=path,
                             hint="Frames of a clip need one size")
        if found.dtype.kind == "f":
            raise InputError("holds floating-point samples; frames have 8 or 16 bits", path=path)
        return np.repeat(found, 3, 2) if found.shape[2] == 1 else found


@dataclass(frozen=True)
class FilmClip:
    """Frames of a film; see `Clip`.

    Attributes:
        frames: (count, H, W, 3), usually a memory map.
    """

    name: str
    frames: np.ndarray
    starts: Sequence[int]

    @property
    def count(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        return self.frames.shape[1:3]

    def frame(self, number: int) -> np.ndarray:
        return self.frames[number]


def unpack(path: Path, cache_folder: Path, limit: int = FILM_FRAMES, threads: int = 0
           ) -> FilmClip:
    """The first `limit` frames of a film, from what was kept if the file is unchanged.

    Raises:
        InputError: unreadable.
        OutputError: the frames cannot be kept.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    key = json.dumps([VERSION, str(path.resolve()), facts.st_size, facts.st_mtime_ns, limit])
    kept = cache_folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.frames"
    found = _kept(path, kept)
    if found is None:
        _keep(path, kept, limit, threads)
        found = _kept(path, kept)
    if found is None:
        raise InputError("its kept frames cannot be read again", path=kept)
    return found


def _keep(path: Path, kept: Path, limit: int, threads: int) -> None:
    from restore_cli.media.video import open_source

    # Another process may unpack the same film: each has its own file until it is whole.
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    starts: list[int] = []
    shape: tuple[int, ...] = ()
    kind, count = "uint8", 0
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with open_source(path, end=limit, threads=threads) as film, part.open("wb") as file:
            for frame, begins in scenes.marked(film, lambda one: one.rgb):
                if begins:
                    starts.append(count)
                file.write(np.ascontiguousarray(frame.rgb).data)
                shape, kind, count = frame.rgb.shape, frame.rgb.dtype.name, count + 1
        if not count:
            raise InputError("has no frames", path=path)
        os.replace(part, kept)
        made = {"shape": [count, *shape], "type": kind, "starts": starts}
        part.write_text(json.dumps(made), encoding="utf-8")
        # Written last: frames without facts do not count as kept.
        os.replace(part, kept.with_suffix(".json"))
    except OSError as error:
        raise OutputError(f"cannot keep the frames of {path}: {error.strerror}",
                          path=kept.parent,
                          hint="Free some space, or set RESTORE_CACHE to another disk") from error
    finally:
        part.unlink(missing_ok=True)


def _kept(path: Path, kept: Path) -> FilmClip | None:
    try:
        facts = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        pixels = np.memmap(kept, np.dtype(facts["type"]), "r", shape=tuple(facts["shape"]))
        return FilmClip(str(path), pixels, tuple(facts["starts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(place: Path, cache_folder: Path, limit: int | None = None,
         console: Console | None = None) -> list[Clip]:
    """The clips of a place; unusable ones are told and left out.

    Args:
        place: a film; a folder of frames; a folder of films and of folders of frames; or a set,
            which has such a folder named HR.
        cache_folder: where films are unpacked.
        limit: frames taken of each clip; None is `FRAMES` of a folder, `FILM_FRAMES` of a film.
        console: where warnings go.

    Raises:
        InputError: there is no usable clip.
        OutputError: see `unpack`.
    """
    console = console or Console()
    clips: list[Clip] = []
    errors: list[InputError] = []
    for path in _places(place):
        try:
            clip: Clip = FolderClip(path, limit or FRAMES) if path.is_dir() else \
                unpack(path, cache_folder, limit or FILM_FRAMES)
            if not any(_windows(clip)):
                raise InputError(f"has {clip.count} frames, and no shot of {windows.LENGTH}",
                                 path=path)
            clips.append(clip)
        except InputError as error:
            errors.append(error)
    if not clips and len(errors) == 1:
        raise errors[0]
    for error in errors:
        console.warn(f"left out of training: {error}")
    if not clips:
        raise InputError("has no films and no frames", path=place,
                         hint="Give a film, or a folder of frames or of folders of frames")
    return clips


def _places(place: Path) -> list[Path]:
    if not place.exists():
        raise InputError("no such file or folder", path=place)
    if not place.is_dir():
        return [place]
    try:
        if (place / HIGH).is_dir():
            place = place / HIGH
        if frames.are_in(place):
            return [place]
        return [entry for entry in sorted(place.iterdir()) if not entry.name.startswith(".") and (
            frames.are_in(entry) if entry.is_dir() else entry.suffix.lower() in EXTENSIONS)]
    except OSError as error:
        raise InputError(f"cannot be listed: {error.strerror}", path=place) from error


def _windows(clip: Clip) -> Iterator[tuple[int, ...]]:
    yield from windows.of_shots(clip.starts, clip.count, border=False)


class Windows:
    """Five consecutive frames of one shot at a time, from any number of `clips`.

    Raises:
        InputError: a clip's frames are smaller than `least`; names it.
    """

    def __init__(self, clips: Sequence[Clip], least: int = 1):
        for clip in clips:
            if min(clip.size) < least:
                raise InputError(f"frames of {clip.size[1]}x{clip.size[0]} are smaller than the "
                                 f"patches of {least}", path=clip.name,
                                 hint="Train on smaller ones with --patch")
        self.clips = list(clips)
        self._all = [(clip, window) for clip in clips for window in _windows(clip)]

    def __len__(self) -> int:
        return len(self._all)

    def window(self, index: int) -> list[np.ndarray]:
        """The frames of window `index`."""
        clip, numbers = self._all[index]
        return [clip.frame(number) for number in numbers]

    def pick(self, seed: int, draw: int) -> int:
        """The window that draw number `draw` of a run takes: each once before any again."""
        return shuffled(seed, draw, len(self))

    def epoch(self) -> int:
        """Samples of a published epoch: a small set is gone through many times."""
        return len(self) * max(1000 // max(len(self) // 8, 1), 1)
