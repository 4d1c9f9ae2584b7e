"""RAW files as packed planes, decoded once and kept on disk for the next time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.media import bayer, raw
from restore_cli.media.atomic import atomic_path

VERSION = 1  # raise whenever the same file would give other planes


@dataclass(frozen=True, eq=False)
class Frame:
    """One RAW file.

    Attributes:
        path: the file.
        packed: uint16 (4, h, w), R, G1, B, G2 as stored; usually a memory map.
        black, white: float64 (4,), stored values of no light and of saturation.
        pattern: name of the mosaic's order.
        camera: make and model; "" when unknown.
        iso, seconds: None when unknown.
    """

    path: Path
    packed: np.ndarray
    black: np.ndarray
    white: np.ndarray
    pattern: str
    camera: str
    iso: float | None
    seconds: float | None

    @property
    def scale(self) -> np.ndarray:
        """White minus black, float64 (4,)."""
        return self.white - self.black

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a plane."""
        return self.packed.shape[1:]

    def crop(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part, float32 (4, height, width); black 0, white 1, not clipped."""
        part = self.packed[:, top:top + height, left:left + width].astype(np.float32)
        part -= self.black.astype(np.float32)[:, None, None]
        part /= self.scale.astype(np.float32)[:, None, None]
        return part


def files_in(folder: Path | str) -> list[Path]:
    """The RAW files of a folder, sorted by name; hidden files and subfolders are left out.

    Raises:
        InputError: no such folder, or no RAW file in it.
    """
    folder = Path(folder)
    try:
        found = sorted(path for path in folder.iterdir()
                       if path.suffix.lower() in raw.EXTENSIONS and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=folder) from error
    if not found:
        raise InputError("no RAW files in this folder", path=folder,
                         hint="Files such as .arw, .nef, .cr2 and .dng are read")
    return found


def read(path: Path, cache_folder: Path | None = None) -> Frame:
    """One RAW file; with `cache_folder`, from what was kept there if the file is unchanged.

    Raises:
        InputError: unreadable, or no Bayer RAW.
        OutputError: the cache folder cannot be written.
    """
    if cache_folder is None:
        return _decode(path)
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    key = json.dumps([VERSION, str(path.resolve()), facts.st_size, facts.st_mtime_ns])
    kept = cache_folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    found = _kept(path, kept)
    if found is None:
        _keep(_decode(path), kept)
        found = _kept(path, kept)
    return found if found is not None else _decode(path)


def read_all(paths: Sequence[Path], cache_folder: Path | None = None,
             console: Console | None = None, least: int = 1) -> list[Frame]:
    """All usable files; the others are told and left out.

    Args:
        paths: the files.
        cache_folder: see `read`.
        console: where warnings and progress go.
        least: planes that are narrower or lower are left out.

    Raises:
        InputError: none is usable.
    """
    console = console or Console()
    frames = []
    for path in console.progress(paths, desc="reading RAW files", unit="file"):
        try:
            frame = read(path, cache_folder)
            if min(frame.size) < least:
                raise InputError(f"planes of {frame.size[1]}x{frame.size[0]} are smaller than a "
                                 f"patch of {least}", path=path)
            frames.append(frame)
        except InputError as error:
            console.warn(f"left out of training: {error}")
    if not frames:
        raise InputError("not one RAW file can be used", path=paths[0].parent)
    return frames


def turned(planes: np.ndarray, rows: bool, columns: bool, transposed: bool) -> np.ndarray:
    """Packed planes mirrored and transposed, R, G1, B, G2 as before.

    A mirrored mosaic is that of a mirrored scene on a sensor of another Bayer pattern; no plane
    changes its name. Transposition brings the greens of red's rows to blue's rows: G1 and G2
    change places.

    Args:
        planes: (4, h, w).
        rows: mirror top and bottom.
        columns: mirror left and right.
        transposed: rows become columns, after that.
    """
    planes = planes[:, ::-1 if rows else 1, ::-1 if columns else 1]
    return planes[[0, 3, 2, 1]].swapaxes(1, 2) if transposed else planes


def _decode(path: Path) -> Frame:
    file = raw.read(path)
    return Frame(path, bayer.pack(file.mosaic, file.pattern), file.black, file.white,
                 file.pattern.name, file.camera, file.iso, file.seconds)


def _keep(frame: Frame, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    facts = {"black": frame.black.tolist(), "white": frame.white.tolist(),
             "pattern": frame.pattern, "camera": frame.camera, "iso": frame.iso,
             "seconds": frame.seconds}
    with atomic_path(kept, overwrite=True) as temporary, temporary.open("wb") as file:
        np.save(file, frame.packed)
    # Written last: planes without facts do not count as kept.
    with atomic_path(kept.with_suffix(".json"), overwrite=True) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def _kept(path: Path, kept: Path) -> Frame | None:
    try:
        facts = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        packed = np.load(kept, mmap_mode="r")
        if packed.dtype != np.uint16 or packed.ndim != 3 or len(packed) != 4:
            return None
        return Frame(path, packed, np.array(facts["black"]), np.array(facts["white"]),
                     facts["pattern"], facts["camera"], facts["iso"], facts["seconds"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
