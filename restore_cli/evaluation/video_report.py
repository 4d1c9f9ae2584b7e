"""Results of video super-resolution: tables, JSON records, CSV and charts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore_cli.evaluation import plots, video_metrics
from restore_cli.evaluation.plots import Bar, Words
from restore_cli.evaluation.report import columns, decibels, finite, signed
from restore_cli.evaluation.video_metrics import ClipScore

CSV_COLUMNS = ("data", "clip", "frame", "psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
NAMES = ("psnr.png", "frames.png", "time.png")
_COLORS = ("#0072B2", "#999999", "#E69F00")


@dataclass
class Times:
    """Seconds spent on a clip.

    Attributes:
        decode: reading the small frames.
        compute: enlarging them.
        encode: writing results; 0 where none are.
    """

    decode: float = 0.0
    compute: float = 0.0
    encode: float = 0.0


@dataclass
class VideoResult:
    """Scores of one clip.

    Attributes:
        data: the set.
        model: frame by frame; None when only the baseline was scored.
        baseline: phase-aligned cubic enlargement, frame by frame.
        size: (height, width) of the sharp frames.
        times: see `Times`.
    """

    data: str
    model: ClipScore | None
    baseline: ClipScore
    size: tuple[int, int]
    times: Times = field(default_factory=Times)

    @property
    def name(self) -> str:
        """Of the clip."""
        return self.baseline.name

    @property
    def frames(self) -> int:
        """How many were scored."""
        return len(self.baseline.psnr)


def text(results: Sequence[VideoResult], model: str) -> str:
    """One line a clip, and one for all frames of a set with several."""
    header = ["clip", "frames", "bicubic", "SSIM"]
    if any(one.model for one in results):
        header += [model, "SSIM", "gain", "s/frame"]
    lines = []
    for label, group in _rows(results):
        count = sum(one.frames for one in group)
        base = video_metrics.total(one.baseline for one in group)
        line = [label, str(count), *_cells(base)]
        if group[0].model is not None:
            found = video_metrics.total(one.model for one in group)
            seconds = sum(one.times.compute for one in group) / count
            line += [*_cells(found), signed(found[0] - base[0]), f"{seconds:.2f}"]
        lines.append(line)
    return columns(header, lines, left=1)


def result_record(result: VideoResult, model: str) -> dict[str, Any]:
    """One clip as a JSON object."""
    times = result.times
    return {"type": "clip", "data": result.data, "clip": result.name, "frames": result.frames,
            "model": model, **_scores([result]), "decode_seconds": round(times.decode, 4),
            "compute_seconds": round(times.compute, 4), "encode_seconds": round(times.encode, 4)}


def mean_records(results: Sequence[VideoResult], model: str) -> list[dict[str, Any]]:
    """Each set as a JSON object: the means over all frames of all its clips."""
    return [{"type": "mean", "data": data, "clips": len(group),
             "frames": sum(one.frames for one in group), "model": model, **_scores(group)}
            for data, group in _sets(results).items()]


def csv_text(results: Sequence[VideoResult]) -> str:
    """One line a frame, then one line "mean" for each clip."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        for number, frame in enumerate(result.baseline.frames):
            found = ["", ""] if result.model is None else _numbers(
                (result.model.psnr[number], result.model.ssim[number]))
            base = result.baseline.psnr[number], result.baseline.ssim[number]
            writer.writerow([result.data, result.name, frame, *found, *_numbers(base)])
        found = ["", ""] if result.model is None else _numbers(result.model.mean)
        writer.writerow([result.data, result.name, "mean", *found,
                         *_numbers(result.baseline.mean)])
    return made.getvalue()


def plot(results: Sequence[VideoResult], folder: Path, model: str) -> list[Path]:
    """Draws the results into `folder`, which is made; existing plots are replaced.

    Returns:
        ``psnr.png``: the clips' means beside bicubic; ``frames.png``: PSNR over the frames; and,
        when there is a model, ``time.png``: what the time went into.
    """
    bars = [Bar(one.data, one.name, one.baseline.mean[0],
                one.model.mean[0] if one.model else None) for one in results]
    words = Words("bicubic", model, "RGB, border 4", "PSNR of bicubic (dB)")
    drawn = plots.draw(bars, [], folder, words)
    drawn.append(plots.save(_trend(results, model), folder / NAMES[1]))
    if any(one.model for one in results):
        drawn.append(plots.save(_time(results), folder / NAMES[2]))
    return drawn


def _trend(results: Sequence[VideoResult], model: str):
    figure = plots.blank(7.0, 1.2 + 2.2 * len(results))
    axes = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    for one, axis in zip(results, axes, strict=True):
        series = [(one.baseline, "bicubic", _COLORS[1])]
        if one.model is not None:
            series.append((one.model, model, _COLORS[0]))
        for score, label, color in series:
            shown = [value if math.isfinite(value) else math.nan for value in score.psnr]
            axis.plot(shown, color=color, marker="o", markersize=3, linewidth=1, label=label)
        axis.set_title(f"{one.data}: {one.name}", fontsize=9)
        axis.set_ylabel("PSNR (dB)")
        axis.grid(color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("frame, of those scored")
    return figure


def _time(results: Sequence[VideoResult]):
    figure = plots.blank(7.0, 1.4 + 0.5 * len(results))
    axis = figure.add_subplot()
    labels = [f"{one.data}: {one.name}" for one in results]
    left = [0.0] * len(results)
    for part, color in zip(("decode", "compute", "encode"), _COLORS[::-1], strict=True):
        values = [1000 * getattr(one.times, part) / max(one.frames, 1) for one in results]
        axis.barh(labels, values, left=left, color=color, label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds a frame")
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _rows(results: Sequence[VideoResult]) -> list[tuple[str, list[VideoResult]]]:
    rows = []
    for data, group in _sets(results).items():
        rows += [(one.name if one.name == data else f"{data}/{one.name}", [one])
                 for one in group]
        if len(group) > 1:
            rows.append((f"{data}, all frames", group))
    return rows


def _sets(results: Sequence[VideoResult]) -> dict[str, list[VideoResult]]:
    groups: dict[str, list[VideoResult]] = {}
    for result in results:
        groups.setdefault(result.data, []).append(result)
    return groups


def _scores(group: Sequence[VideoResult]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    parts = {"bicubic_": [one.baseline for one in group]}
    if group[0].model is not None:
        parts[""] = [one.model for one in group]
    for prefix, scores in parts.items():
        psnr, ssim = video_metrics.total(scores)
        made.update({f"{prefix}psnr": finite(psnr), f"{prefix}ssim": ssim})
    return made


def _cells(score: tuple[float, float]) -> list[str]:
    return [decibels(score[0]), f"{score[1]:.4f}"]


def _numbers(score: tuple[float, float]) -> list[str]:
    return [f"{score[0]:.4f}", f"{score[1]:.6f}"]
