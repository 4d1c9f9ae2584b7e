"""Results of an evaluation as means, text tables, JSON records and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from restore_cli.evaluation.protocols import Result, Score

CSV_COLUMNS = ("data", "scale", "image", "width", "height", "low_resolution", "psnr", "ssim",
               "bicubic_psnr", "bicubic_ssim", "seconds")


@dataclass(frozen=True)
class Mean:
    """One row of the table: the mean of the per-image scores of a set at a scale.

    Attributes:
        source: "given", "made" or "mixed": where the low-resolution images came from.
        model: None when only the baseline was scored.
    """

    data: str
    scale: float
    images: int
    source: str
    model: Score | None
    baseline: Score
    seconds: float


def means(results: Iterable[Result]) -> list[Mean]:
    """Groups results by set and scale, in order of appearance."""
    groups: dict[tuple[str, float], list[Result]] = {}
    for result in results:
        groups.setdefault((result.case.data, result.case.scale), []).append(result)
    rows = []
    for (data, scale), group in groups.items():
        sources = {source(result) for result in group}
        models = [result.model for result in group if result.model is not None]
        rows.append(Mean(data, scale, len(group), sources.pop() if len(sources) == 1 else "mixed",
                         mean_score(models) if models else None,
                         mean_score([result.baseline for result in group]),
                         sum(result.seconds for result in group)))
    return rows


def mean_score(scores: Sequence[Score]) -> Score:
    """Mean of the PSNR in dB, as the published tables have it, and of what else is known."""
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Score(sum(score.psnr for score in scores) / len(scores),
                 mean([score.ssim for score in scores]), mean([score.affine for score in scores]))


def source(result: Result) -> str:
    """Where the low-resolution image came from: "given" or "made"."""
    return "made" if result.case.lr is None else "given"


def table(rows: Sequence[Mean], model_name: str) -> str:
    """The means as text columns, the model beside bicubic."""
    header = ["data", "scale", "images", "LR", "bicubic", "SSIM"]
    with_model = any(row.model is not None for row in rows)
    if with_model:
        header += [model_name, "SSIM", "gain", "s/image"]
    lines = []
    for row in rows:
        line = [row.data, f"x{row.scale:g}", str(row.images), row.source, *cells(row.baseline)]
        if row.model is not None:
            line += [*cells(row.model), signed(row.model.psnr - row.baseline.psnr),
                     f"{row.seconds / row.images:.2f}"]
        lines.append(line)
    return columns(header, lines, left=1)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Text columns two spaces apart; the first `left` are flush left, the others flush right."""
    lines = [list(header), *(list(row) for row in rows)]
    count = max(len(line) for line in lines)
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(count)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < left else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(line, widths, strict=False))).rstrip()
        for line in lines)


def decibels(value: float) -> str:
    """Two decimals, as the tables of papers have; "inf" for equal images."""
    return "inf" if math.isinf(value) else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference in dB with its sign; empty where both are infinite."""
    return "" if math.isnan(value) else f"{value:+.2f}"


def result_record(result: Result) -> dict[str, Any]:
    """One image as a JSON object; infinite PSNR becomes null with ``"identical": true``."""
    height, width = result.size
    return {"type": "image", "data": result.case.data, "scale": result.case.scale,
            "image": result.case.name, "hr": str(result.case.hr),
            "lr": str(result.case.lr) if result.case.lr else None,
            "width": width, "height": height,
            **score_record(result.model, ""), **score_record(result.baseline, "bicubic_"),
            "seconds": round(result.seconds, 4)}


def mean_record(row: Mean, *, model: str, protocol: str, quantised: bool) -> dict[str, Any]:
    """One row of the table as a JSON object."""
    return {"type": "mean", "data": row.data, "scale": row.scale, "images": row.images,
            "low_resolution": row.source, "model": model, "protocol": protocol,
            "quantised": quantised, **score_record(row.model, ""),
            **score_record(row.baseline, "bicubic_"), "seconds": round(row.seconds, 4)}


def score_record(score: Score | None, prefix: str) -> dict[str, Any]:
    """What is known of a score under prefixed names; nothing for no score."""
    if score is None:
        return {}
    record: dict[str, Any] = {f"{prefix}psnr": finite(score.psnr), f"{prefix}ssim": score.ssim}
    if score.affine is not None:
        record[f"{prefix}affine_psnr"] = finite(score.affine)
    if math.isinf(score.psnr):
        record[f"{prefix}identical"] = True
    return record


def csv_text(results: Sequence[Result]) -> str:
    """One line an image, then one line "mean" for each set and scale."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        height, width = result.size
        writer.writerow([result.case.data, f"{result.case.scale:g}", result.case.name, width,
                         height, source(result), *numbers(result.model),
                         *numbers(result.baseline), f"{result.seconds:.4f}"])
    for row in means(results):
        writer.writerow([row.data, f"{row.scale:g}", "mean", "", "", row.source,
                         *numbers(row.model), *numbers(row.baseline), f"{row.seconds:.4f}"])
    return text.getvalue()


def cells(score: Score) -> list[str]:
    """PSNR and SSIM as a table shows them."""
    return [decibels(score.psnr), "-" if score.ssim is None else f"{score.ssim:.4f}"]


def numbers(score: Score | None) -> list[str]:
    """PSNR and SSIM for a CSV file; empty where unknown."""
    if score is None:
        return ["", ""]
    return [f"{score.psnr:.4f}", "" if score.ssim is None else f"{score.ssim:.6f}"]


def finite(value: float) -> float | None:
    """The value, or None for what JSON cannot hold."""
    return value if math.isfinite(value) else None
