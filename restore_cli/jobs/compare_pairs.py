"""`restore evaluate pair`: how far two images, or two folders of images, are apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, RestoreError, UsageError
from restore_cli.evaluation import metrics, report
from restore_cli.evaluation.protocols import Score

HEADER = ("image", "size", "PSNR", "SSIM", "PSNR-Y", "SSIM-Y")


@dataclass(frozen=True)
class PairRequest:
    """What to compare.

    Attributes:
        first, second: two files, or two folders whose files are matched by name.
        border: pixels cut on each side.
        affine: also score after the best gain and offset of `first`.
    """

    first: Path
    second: Path
    border: int = 0
    affine: bool = False


@dataclass(frozen=True)
class PairScore:
    """Scores of one pair; `affine` is a PSNR in dB or None when it was not asked for."""

    name: str
    size: tuple[int, int]
    rgb: Score
    luma: Score
    affine: float | None


def run(request: PairRequest, console: Console) -> ExitStatus:
    """Scores every pair; one line or record each, then the mean."""
    pairs, failed = _pairs(request, console), 0
    several = request.first.is_dir()
    scores: list[PairScore] = []
    statuses = set()
    for name, first, second in console.progress(pairs, unit="pair"):
        try:
            if first is None or second is None:
                missing = request.first if first is None else request.second
                raise InputError(f"has no counterpart in {missing}", path=first or second)
            score = compare(name, first, second, border=request.border, affine=request.affine)
        except RestoreError as error:
            console.error(error)
            failed += 1
            statuses.add(error.status)
            continue
        scores.append(score)
        console.result("", {"type": "pair", "first": str(first), "second": str(second),
                            **_record(score)})
    if scores:
        mean = _mean(scores) if several else None
        console.result(_table(scores, mean, request.affine),
                       {"type": "mean", "pairs": len(scores), **_scores_record(mean)}
                       if mean else None)
    if failed:
        return ExitStatus.SOME_FAILED if scores or len(statuses) > 1 else statuses.pop()
    return ExitStatus.OK


def compare(name: str, first: Path, second: Path, *, border: int = 0,
            affine: bool = False) -> PairScore:
    """Scores one pair of files.

    Integers count as [0, 1] over their type's range, so 8-bit and 16-bit files can be compared;
    a grey file against a colour one is taken as neutral colour; alpha is left out.

    Raises:
        InputError: unreadable, of different sizes, or smaller than the border.
    """
    from restore_cli.media import images

    one, two = (images.read(path).color for path in (first, second))
    if one.shape[:2] != two.shape[:2]:
        raise InputError(f"is {_size(one)}, but {second} is {_size(two)}", path=first,
                         hint="Only images of one size can be compared")
    if min(one.shape[:2]) <= 2 * border:
        raise InputError(f"{_size(one)} leaves nothing inside a border of {border}", path=first)
    one, two = metrics.shave(one, border), metrics.shave(two, border)
    if one.shape[2] != two.shape[2]:
        one, two = (np.broadcast_to(image, (*image.shape[:2], 3)) for image in (one, two))
    large = min(one.shape[:2]) >= metrics.SSIM_WINDOW
    return PairScore(
        name, (one.shape[0] + 2 * border, one.shape[1] + 2 * border),
        Score(metrics.psnr(one, two), metrics.ssim(one, two) if large else None),
        Score(metrics.psnr_y(one, two), metrics.ssim_y(one, two) if large else None),
        metrics.psnr_affine(one, two) if affine else None)


def _pairs(request: PairRequest, console: Console) -> list[tuple[str, Path | None, Path | None]]:
    """(name, first, second) in order of name; None where one side is missing."""
    for path in (request.first, request.second):
        if not path.exists():
            raise InputError("no such file or folder", path=path)
    if request.first.is_dir() != request.second.is_dir():
        raise UsageError("a file can only be compared with a file, a folder with a folder")
    if not request.first.is_dir():
        return [(request.second.name, request.first, request.second)]
    first, second = _by_stem(request.first), _by_stem(request.second)
    if not first and not second:
        raise InputError("no images in it", path=request.first)
    return [(name, first.get(name), second.get(name)) for name in sorted({*first, *second})]


def _by_stem(folder: Path) -> dict[str, Path]:
    from restore_cli.media.formats import images_in

    found: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in found:
            raise InputError(f"and {found[path.stem].name} have the same name",
                             path=path, hint="Images are matched by name without extension")
        found[path.stem] = path
    return found


def _mean(scores: list[PairScore]) -> PairScore:
    affine = [score.affine for score in scores if score.affine is not None]
    return PairScore("mean", (0, 0), report.mean_score([score.rgb for score in scores]),
                     report.mean_score([score.luma for score in scores]),
                     sum(affine) / len(affine) if affine else None)


def _table(scores: list[PairScore], mean: PairScore | None, affine: bool) -> str:
    header = [*HEADER, *(["PSNR-affine"] if affine else [])]
    lines = []
    for score in [*scores, *([mean] if mean else [])]:
        line = [score.name, f"{score.size[1]}x{score.size[0]}" if score.size[0] else ""]
        for part in (score.rgb, score.luma):
            line += [report.decibels(part.psnr), "-" if part.ssim is None else f"{part.ssim:.4f}"]
        lines.append(line + ([report.decibels(score.affine)] if affine else []))
    return report.columns(header, lines)


def _record(score: PairScore) -> dict[str, Any]:
    return {"image": score.name, "width": score.size[1], "height": score.size[0],
            **_scores_record(score)}


def _scores_record(score: PairScore) -> dict[str, Any]:
    record = {**report.score_record(score.rgb, ""), **report.score_record(score.luma, "y_")}
    if score.affine is not None:
        record["affine_psnr"] = report.finite(score.affine)
    return record


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
