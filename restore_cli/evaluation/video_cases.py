"""Test clips for video super-resolution: small frames, and the sharp ones they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import InputError
from restore_cli.media import frames

HIGH, LOW = "HR", "LR_blurdown_x4"


@dataclass(frozen=True)
class Clip:
    """One test clip.

    Attributes:
        data: the set it belongs to.
        name: of the clip.
        low, high: films, or folders of frames; frame by frame the same.
        restored: folder of enlarged frames to score instead of a network's, or None.
    """

    data: str
    name: str
    low: Path
    high: Path
    restored: Path | None = None


def find(folder: Path, label: str, restored: Path | None = None) -> list[Clip]:
    """The clips of a set.

    Args:
        folder: has the published sets' folders HR and LR_blurdown_x4, and in them one folder of
            frames for each clip (or the frames of a single clip).
        label: what tables call the set.
        restored: folder with one folder of enlarged frames for each clip, of the same names.

    Raises:
        InputError: not laid out like that, or a clip is missing on one side.
    """
    low, high = folder / LOW, folder / HIGH
    for part in (low, high):
        if not part.is_dir():
            raise InputError(f"has no folder {part.name}", path=folder,
                             hint=f"A set has {HIGH} and {LOW}, as 'restore degrade vsr' makes "
                                  "them; a single clip is given with --low and --high")
    if frames.are_in(low):
        return [Clip(label, label, low, high, restored)]
    try:
        names = [sorted(one.name for one in part.iterdir()
                        if one.is_dir() and not one.name.startswith(".")) for part in (low, high)]
    except OSError as error:
        raise InputError(f"cannot be listed: {error.strerror}", path=folder) from error
    missing = [name for name in names[0] if name not in names[1]]
    if missing:
        raise InputError(f"has no sharp frames for the clip {missing[0]}", path=high)
    if not names[0]:
        raise InputError("has no clips", path=low)
    return [Clip(label, name, low / name, high / name, restored / name if restored else None)
            for name in names[0]]
