"""`restore vsr --preview N`: some frames of a film before and after, on one sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.evaluation import video_baseline
from restore_cli.jobs import compare_sheet
from restore_cli.jobs.compare_view import View, difference, most_different
from restore_cli.jobs.files import PictureRequest
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.jobs.vsr_pieces import Part
from restore_cli.jobs.vsr_stream import Held
from restore_cli.jobs.vsr_windows import LEAD
from restore_cli.media import frames, images, video
from restore_cli.media.atomic import check_target
from restore_cli.media.model import Image
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.pipeline import scenes, windows
from restore_cli.pipeline.naming import STREAM, Item

MOST = 24
"""Rows of a sheet at most."""

_WHOLE = 960, 720  # larger frames are shown reduced, with a detail of its own size
_COLUMN, _CROP, _NARROW = 640, (640, 428), 320  # pixels of the sheet
_ROW = 3 * 2 * (_COLUMN + 12) * (2 * _COLUMN + _CROP[1] + 100)  # bytes at most
_BAND = 1 << 20  # samples that are enlarged at once


def plan(count: int | None, request: PictureRequest, resume: bool, items: Sequence[Item]
         ) -> dict[str, Path]:
    """The file of each film's sheet, by the film's output.

    A sheet lies beside the output and has its name. With `--skip-existing` and `--resume` one
    that is there is left, and its film has no other.

    Args:
        count: what `--preview` says.

    Raises:
        UsageError: no possible number, a pipe, or a sheet is there.
    """
    if count is None:
        return {}
    if not 1 <= count <= MOST:
        raise UsageError(f"--preview {count} is impossible", hint=f"Use 1 to {MOST}")
    if any(STREAM in (item.source, item.target) for item in items):
        raise UsageError("--preview does not go with pipes", hint="Name a file, and one with -o")
    names = [_beside(Path(item.target)) for item in items]
    found = {}
    for item, name in zip(items, names, strict=True):
        if [str(one).casefold() for one in names].count(str(name).casefold()) > 1:
            target = Path(item.target)
            name = target.with_name(f"{target.name}_preview.png")
        if item.skip or (name.exists() and (request.skip_existing or resume)):
            continue
        check_target(name, overwrite=request.overwrite)
        found[str(item.target)] = name
    return found


def room(count: int | None) -> int:
    """Bytes that a sheet of `count` frames takes at most, on top of what the film takes."""
    return (2 + (count or 0)) * _ROW


def _beside(target: Path) -> Path:
    if frames.is_pattern(target) and not target.is_dir():
        stem = frames.numbered(target, 0).stem.rstrip("0").rstrip("_-. ")
        return target.with_name(f"{stem}_preview.png" if stem else "preview.png")
    stem = target.name if target.is_dir() else target.stem
    return target.with_name(f"{stem}_preview.png")


@dataclass
class Preview:
    """One film's sheet.

    Attributes:
        source: the film.
        info: what it is.
        cut: the part that is wanted.
        rate: frames a second of pictures.
        threshold: of scene cuts.
        length: of the network's windows.
        scale: of the result.
        name: of the network.
    """

    source: str
    info: VideoInfo
    cut: Cut
    rate: Fraction | None
    threshold: float | None
    length: int
    scale: int
    name: str

    def make(self, count: int, sheet: Path, enlarge: Callable[[tuple[Held, ...]], np.ndarray],
             overwrite: bool, console: Console) -> dict[str, Any]:
        """Draws and writes the sheet.

        Args:
            count: frames on it, spread over the part.
            sheet: the file.
            enlarge: gives the middle frame of a window, enlarged.

        Returns:
            What there is to tell of it. Without frames nothing is written.

        Raises:
            RestoreError: the film cannot be read, or the sheet not be written.
        """
        shown: list[int] = []
        page: np.ndarray | None = None
        part, exact = self._part()
        wanted = spread(len(part), count)
        with console.progress(total=len(wanted), unit="frame", desc="preview") as bar:
            for window in self._windows(part, wanted, exact):
                middle = window[len(window) // 2].frame
                row = self._row(middle, enlarge(window))
                if page is None:
                    page = np.empty((len(wanted), *row.shape), np.uint8)
                page[len(shown)] = row
                shown.append(middle.index)
                bar.update()
        if page is not None:
            flat = page[:len(shown)].reshape(-1, *page.shape[2:])
            images.write(sheet, Image(flat), overwrite=overwrite)
        return {"preview": str(sheet), "shown": shown}

    def _part(self) -> tuple[list[tuple[int, int]], bool]:
        """(number, pts) of each frame of the part, and whether decoding can begin at any."""
        known = Part.known(self.info, self.cut)
        if known is None:
            with self._open(self.cut.first, self.cut.stop) as film:
                return [(one.index, one.pts) for one in self.cut.of_film(film, self.info)], False
        return list(enumerate(known.times, known.first)), True

    def _open(self, start: int | None, end: int | None, first: int | None = None
              ) -> video.Source:
        return video.open_source(self.source, rate=self.rate, start=start, end=end, first=first)

    def _windows(self, part: list[tuple[int, int]], wanted: list[int], exact: bool
                 ) -> Iterator[tuple[Held, ...]]:
        """The windows of the wanted places of the part, as the whole film has them."""
        runs: list[list[int]] = []
        for place in wanted:
            if runs and (not exact or place - runs[-1][-1] <= LEAD):
                runs[-1].append(place)
            else:
                runs.append([place])
        for run in runs:
            begin = max(run[0] - LEAD, 0) if exact else 0
            left = [part[place][1] for place in run]
            with self._open(part[begin][0], part[-1][0] + 1, part[begin][1] if exact else None
                            ) as film:
                for window in self._sliding(film):
                    pts = window[len(window) // 2].frame.pts
                    if pts >= left[0]:  # later only where the frame itself is lost
                        yield window
                        left = [one for one in left if one > pts]
                    if not left:
                        break

    def _sliding(self, film: video.Source) -> Iterator[tuple[Held, ...]]:
        marked = scenes.marked(map(Held, film), lambda one: one.frame.rgb, self.threshold)
        return windows.sliding(marked, length=self.length)

    def _row(self, frame: Frame, made: np.ndarray) -> np.ndarray:
        before = squared(plain(frame.rgb, self.scale), self.info.sample_aspect)
        made = squared(made, self.info.sample_aspect)
        grid = made.shape[1], made.shape[0]
        label = f"frame {frame.index}, {self._clock(frame)}"
        views = [View(f"{label}: {words}", Image(pixels), grid, "nearest") for words, pixels in (
            ("bicubic", before), (self.name, made))]
        if grid[0] <= _WHOLE[0] and grid[1] <= _WHOLE[1]:
            column, crops = max(_NARROW, grid[0], -(-grid[1] // 2)), []
        else:
            column, whole = _COLUMN, compare_sheet.fitted(grid, _COLUMN)
            size = min(grid[0], _CROP[0]), min(grid[1], _CROP[1])
            small = min(whole[0], grid[0]), min(whole[1], grid[1])
            crops = most_different([difference(views[1], views[0], small)], grid, size, 1)
        return compare_sheet.draw(compare_sheet.Sheet(
            views, [[] for _ in views], crops, zoom=1, column=column))

    def _clock(self, frame: Frame) -> str:
        seconds = frame.seconds - self.info.start_pts * self.info.time_base
        minutes, rest = divmod(round(1000 * seconds), 60000)
        return f"{minutes // 60}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def spread(total: int, count: int) -> list[int]:
    """`count` places of `total`, all where there are fewer: the middles of equal parts."""
    count = min(count, total)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def squared(rgb: np.ndarray, aspect: Fraction | None) -> np.ndarray:
    """A picture as it is shown, its pixels as wide as they are high: stretched along one side.

    Args:
        rgb: (H, W, 3) uint8 or uint16.
        aspect: width to height of its pixels; None is 1.

    Returns:
        The picture itself where that is 1, else one in uint8.
    """
    if aspect is None or aspect == 1:
        return rgb
    height, width = rgb.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if rgb.dtype == np.uint16:
        rgb = (rgb // 257).astype(np.uint8)
    return np.asarray(Pillow.fromarray(rgb).resize(size, Pillow.Resampling.BICUBIC))


def plain(rgb: np.ndarray, scale: int) -> np.ndarray:
    """A frame enlarged by cubic interpolation on the network's phase, in the frame's own type.

    Args:
        rgb: (H, W, 3) uint8 or uint16.

    Returns:
        (scale * H, scale * W, 3).
    """
    height, width = rgb.shape[:2]
    white = np.iinfo(rgb.dtype).max
    out = np.empty((scale * height, scale * width, 3), rgb.dtype)
    step = max(1, _BAND // (3 * scale**2 * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        top, bottom = max(start - 1, 0), min(stop + 2, height)
        made = video_baseline.enlarge(rgb[top:bottom], scale)
        made = made[scale * (start - top):scale * (stop - top)]
        out[scale * start:scale * stop] = np.rint(np.clip(made, 0, white))
    return out
