"""`restore compare`: one picture that shows how several differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError
from restore_cli.jobs import compare_sheet
from restore_cli.jobs.compare_view import RESAMPLE, Box, View, difference, most_different
from restore_cli.media import images
from restore_cli.media.atomic import check_target
from restore_cli.media.model import Image

_ASPECT = 0.02  # sides' ratios further apart than rounding explains


@dataclass
class CompareRequest:
    """What to compare and how to show it.

    Attributes:
        inputs: at least two files; differences are taken to the first.
        output: file for the sheet, or "-" for stdout (PNG).
        crops: (x, y, width, height) in pixels of the largest picture; empty chooses `count`
            places where the pictures differ most.
        zoom: enlargement of crops; None chooses by size.
        resize: how smaller pictures are brought to the largest size, "nearest" or "bicubic".
        gain: brightening of the difference maps; None chooses.
        column: width of a column on the sheet in pixels.
        with_maps: whether to draw difference maps.
    """

    inputs: Sequence[str | Path]
    output: str | Path
    crops: Sequence[tuple[int, int, int, int]] = ()
    count: int = 2
    zoom: int | None = None
    resize: str = "bicubic"
    gain: float | None = None
    column: int = 560
    with_maps: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Score:
    """How close a picture is to the first; None where it cannot be told."""

    psnr: float | None = None
    ssim: float | None = None

    def words(self) -> str:
        """A caption, empty without numbers."""
        if self.psnr is None:
            return ""
        if math.isinf(self.psnr):
            return "identical to the first"
        ssim = f", SSIM {self.ssim:.4f}" if self.ssim is not None else ""
        return f"PSNR {self.psnr:.2f} dB{ssim} to the first"


def run(request: CompareRequest, console: Console) -> ExitStatus:
    """Reads the pictures, draws the sheet and writes it.

    Raises:
        UsageError: fewer than two inputs, an impossible crop or output.
        InputError, OutputError: a file cannot be read or written.
    """
    _check(request, console)
    pictures = [images.read(path) for path in request.inputs]
    for path, picture in zip(request.inputs, pictures, strict=True):
        for note in picture.notes:
            console.info(f"{path}: {note}")
    grid = max(((p.width, p.height) for p in pictures), key=lambda size: size[0] * size[1])
    _warn_of_shapes(request, pictures, grid, console)
    views = [View(Path(path).name, picture, grid, request.resize)
             for path, picture in zip(request.inputs, pictures, strict=True)]
    whole = compare_sheet.fitted(grid, request.column)
    size = min(whole[0], grid[0]), min(whole[1], grid[1])
    maps = [difference(view, views[0], size) for view in views[1:]]
    crops = [Box(*crop) for crop in request.crops]
    _check_crops(crops, grid)
    zoom = request.zoom or _zoom(crops, grid, request.column)
    if not crops and request.count:
        crops = most_different(maps, grid, _crop_size(grid, zoom, request.column), request.count)
    scores = [Score(), *(score(view.image, pictures[0]) for view in views[1:])]
    gain = request.gain or compare_sheet.nice_gain(maps)
    page = compare_sheet.draw(compare_sheet.Sheet(
        views, [_captions(view, one) for view, one in zip(views, scores, strict=True)], crops,
        zoom, request.column, maps if request.with_maps else [], gain))
    sheet = Image(page)
    if request.output == "-":
        images.write(console.stdout, sheet, format="PNG")
    else:
        images.write(Path(request.output), sheet, overwrite=request.overwrite)
    _report(request, pictures, scores, crops, gain, console)
    return ExitStatus.OK


def score(image: Image, reference: Image) -> Score:
    """PSNR and SSIM over RGB without alpha; empty when the sizes differ."""
    from restore_cli.evaluation import metrics

    if image.pixels.shape[:2] != reference.pixels.shape[:2]:
        return Score()
    one, two = image.color, reference.color
    if one.shape != two.shape:
        one, two = (np.broadcast_to(color, (*color.shape[:2], 3)) for color in (one, two))
    large = min(one.shape[:2]) >= metrics.SSIM_WINDOW
    return Score(metrics.psnr(one, two), metrics.ssim(one, two) if large else None)


def _check(request: CompareRequest, console: Console) -> None:
    if len(request.inputs) < 2:
        raise UsageError("needs at least two pictures to compare")
    if request.resize not in RESAMPLE:
        raise UsageError(f"unknown --resize {request.resize}", hint="Use nearest or bicubic")
    if request.output == "-":
        console.reserve_stdout()
        return
    target = Path(request.output).resolve()
    for path in request.inputs:
        if Path(path).resolve() == target:
            raise UsageError("is an input and cannot be the output too", path=request.output)
    images.format_for(request.output)
    check_target(request.output, overwrite=request.overwrite)


def _check_crops(crops: list[Box], grid: tuple[int, int]) -> None:
    for box in crops:
        inside = (box.x >= 0 and box.y >= 0 and box.width > 0 and box.height > 0
                  and box.x + box.width <= grid[0] and box.y + box.height <= grid[1])
        if not inside:
            raise UsageError(f"--crop {box.x},{box.y},{box.width},{box.height} is not inside the "
                             f"largest picture, {grid[0]}x{grid[1]}")


def _warn_of_shapes(request: CompareRequest, pictures: list[Image], grid: tuple[int, int],
                    console: Console) -> None:
    for path, picture in zip(request.inputs, pictures, strict=True):
        stretch = picture.width * grid[1] / (picture.height * grid[0])
        slack = 1 / picture.width + 1 / picture.height
        if abs(stretch - 1) > max(_ASPECT, slack):
            console.warn(f"{path}: {picture.width}x{picture.height} has another shape than "
                         f"{grid[0]}x{grid[1]} and is shown stretched")


def _zoom(crops: list[Box], grid: tuple[int, int], column: int) -> int:
    """Whole factor that lets given crops fill a column, or 4 for chosen ones."""
    if crops:
        return max(1, min(16, column // max(box.width for box in crops)))
    return max(1, min(16, max(4, 3 * column // grid[0])))


def _crop_size(grid: tuple[int, int], zoom: int, column: int) -> tuple[int, int]:
    return min(grid[0], max(8, column // zoom)), min(grid[1], max(8, column * 2 // 3 // zoom))


def _captions(view: View, one: Score) -> list[str]:
    image = view.image
    words = f"{image.width}x{image.height} {image.format}, {image.bits} bit"
    if not view.native:
        words += f", shown enlarged {view.grid[0] / image.width:.3g}x ({view.resize})"
    return [line for line in (words, one.words()) if line]


def _report(request: CompareRequest, pictures: list[Image], scores: list[Score],
            crops: list[Box], gain: float, console: Console) -> None:
    records, lines = [], []
    for path, picture, one in zip(request.inputs, pictures, scores, strict=True):
        same = one.psnr is not None and math.isinf(one.psnr)
        records.append({"path": str(path), "width": picture.width, "height": picture.height,
                        "identical": same, "psnr": None if same else one.psnr, "ssim": one.ssim})
        if one.words():
            lines.append(f"{path}: {one.words()}")
    lines.append(f"{request.output}: {len(pictures)} pictures, "
                 + ", ".join(f"crop {b.x},{b.y},{b.width},{b.height}" for b in crops))
    console.result("\n".join(lines).rstrip(", "), {
        "output": str(request.output), "images": records, "gain": gain,
        "crops": [[b.x, b.y, b.width, b.height] for b in crops]})
