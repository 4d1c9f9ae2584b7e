"""Folders of training images, and paired folders of low and high resolution."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.training.datasets.sources import shuffled

CACHE_BYTES = 2 << 30

_SUFFIX = re.compile(r"_?(?:LR_?|HR_?)?(?:x\d+)?(?:_?(?:LR|HR))?$", re.IGNORECASE)
_Loaded = TypeVar("_Loaded")


def list_images(folder: Path | str, limit: int | None = None) -> list[Path]:
    """The image files of a folder, sorted by name; hidden files and subfolders are left out.

    Args:
        folder: the folder.
        limit: at most so many, from the first.

    Raises:
        InputError: no such folder, or no image in it.
    """
    from restore_cli.media.formats import EXTENSIONS, images_in

    found = images_in(Path(folder))
    if not found:
        raise InputError("no images in this folder", path=folder,
                         hint=f"Files that end in {', '.join(sorted(EXTENSIONS))} are read")
    return found[:limit]


def read_rgb8(path: Path | str) -> np.ndarray:
    """An image file as uint8 (H, W, 3): grey is repeated, alpha dropped, deeper ones rounded.

    Raises:
        InputError: the file cannot be read.
    """
    from restore_cli.media import images

    image = images.read(Path(path))
    pixels = image.pixels[..., :1] if image.kind.startswith("grey") else image.pixels[..., :3]
    if pixels.dtype == np.uint16:
        pixels = (pixels.astype(np.uint32) * 255 + 32767) // 65535
    elif pixels.dtype != np.uint8:
        pixels = np.clip(pixels * 255 + 0.5, 0, 255)
    pixels = pixels.astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) in pixels, from the file's header where Pillow knows the format.

    Raises:
        InputError: the file cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.height, file.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return read_rgb8(path).shape[:2]


class Cache:
    """Decoded images in memory, up to a limit.

    What does not fit is decoded again each time: every image is needed equally often, so that
    throwing old ones out for new ones would only cost time.

    Args:
        limit: bytes.
        decode: reads a file.
    """

    def __init__(self, limit: int = CACHE_BYTES,
                 decode: Callable[[Path], np.ndarray] = read_rgb8):
        self._limit = limit
        self._decode = decode
        self._used = 0
        self._images: dict[Path, np.ndarray] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> np.ndarray:
        """The decoded file, from memory when it is there."""
        found = self._images.get(path)
        if found is not None:
            return found
        image = self._decode(path)
        with self._lock:
            if path not in self._images and self._used + image.nbytes <= self._limit:
                self._images[path] = image
                self._used += image.nbytes
        return image


class _Files:
    """Numbered files of which some may turn out to be unreadable."""

    def __init__(self, paths: Sequence, console: Console | None):
        self._paths = list(paths)
        self._console = console
        self._bad: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def pick(self, seed: int, draw: int) -> int:
        return shuffled(seed, draw, len(self))

    def _load(self, index: int, load: Callable[[int], _Loaded]) -> _Loaded:
        """`load(index)`, or of the next file when that one cannot be read (said once)."""
        for step in range(len(self)):
            current = (index + step) % len(self)
            if current in self._bad:
                continue
            try:
                return load(current)
            except InputError as error:
                with self._lock:
                    new = current not in self._bad
                    self._bad.add(current)
                if new and self._console is not None:
                    self._console.warn(f"left out of training: {error}")
        raise InputError("not one image can be read", path=self._folder())

    def _folder(self) -> Path:
        first = self._paths[0]
        return (first[0] if isinstance(first, tuple) else first).parent


class FolderSource(_Files):
    """The images of a folder, decoded when needed and kept while memory allows.

    Files that cannot be read, or are smaller than training needs, are left out with one warning.

    Args:
        folder: the folder.
        min_side: least height and width in pixels.
        limit: use only so many files, from the first by name.
        names: use only files of these names; None uses all.
        cache: where decoded images are kept; None makes one of its own.
        console: where warnings go.

    Raises:
        InputError: no folder, or no usable image in it.
    """

    def __init__(self, folder: Path | str, min_side: int = 1, *, limit: int | None = None,
                 names: Collection[str] | None = None, cache: Cache | None = None,
                 console: Console | None = None):
        usable, problems, self.smallest = [], [], 0
        for path in list_images(folder, limit):
            if names is not None and path.name not in names:
                continue
            try:
                side = min(image_size(path))
            except InputError as error:
                problems.append(f"{path.name} ({error.message})")
                continue
            if side < min_side:
                problems.append(f"{path.name} (only {side} pixels)")
                continue
            usable.append(path)
            self.smallest = min(self.smallest or side, side)
        if problems and console is not None:
            console.warn(f"{folder}: {_count(len(problems), 'file')} left out of training: "
                         f"{_some(problems)}")
        if not usable:
            raise InputError("no usable image in this folder", path=folder,
                             hint=f"Training needs readable images of at least "
                                  f"{min_side}x{min_side} pixels: {_some(problems)}")
        super().__init__(usable, console)
        self._cache = cache or Cache()

    def image(self, index: int) -> np.ndarray:
        """Image `index`, uint8 (H, W, 3); the next readable one when it cannot be read.

        Raises:
            InputError: not one image can be read any more.
        """
        return self._load(index, lambda i: self._cache.read(self._paths[i]))


class PairedFolders(_Files):
    """Two folders with the same pictures at low and high resolution.

    Files belong together by name; ``0001x2``, ``0001_x2``, ``0001_LR`` and ``0001_HR`` all
    count as ``0001``.

    Args:
        low, high: the folders.
        limit: use only so many pairs, from the first by name.
        cache: where decoded images are kept; None makes one of its own.
        console: where warnings go.

    Raises:
        InputError: no folder, or files without a counterpart.
    """

    def __init__(self, low: Path | str, high: Path | str, *, limit: int | None = None,
                 cache: Cache | None = None, console: Console | None = None):
        super().__init__(pair_files(low, high)[:limit], console)
        self._cache = cache or Cache()

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of pair `index`, uint8 (h, w, 3) and (H, W, 3).

        The next readable pair when it cannot be read.

        Raises:
            InputError: not one pair can be read any more.
        """
        return self._load(index, self._read)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        low_path, high_path = self._paths[index]
        low, high = self._cache.read(low_path), self._cache.read(high_path)
        if high.shape[0] < low.shape[0] or high.shape[1] < low.shape[1]:
            raise InputError(f"smaller than its low-resolution partner {low_path.name}",
                             path=high_path)
        return low, high


def pair_files(low: Path | str, high: Path | str) -> list[tuple[Path, Path]]:
    """(low, high) files that belong together, sorted by name.

    Raises:
        InputError: no folder, no images, or files without a counterpart.
    """
    lows, highs = _by_name(low), _by_name(high)
    alone = sorted(set(lows) ^ set(highs))
    if alone:
        files = [(lows.get(name) or highs[name]).name for name in alone]
        raise InputError(f"{_count(len(files), 'file')} without a counterpart in {high}: "
                         f"{_some(files)}", path=low,
                         hint="The low-resolution file of 0001.png is 0001.png or 0001x2.png")
    return [(lows[name], highs[name]) for name in sorted(lows)]


def _by_name(folder: Path | str) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in list_images(folder):
        name = _SUFFIX.sub("", path.stem) or path.stem
        if name in named:
            raise InputError(f"{path.name} and {named[name].name} have the same base name",
                             path=folder)
        named[name] = path
    return named


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
