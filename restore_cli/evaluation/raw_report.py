"""Results of RAW denoising as means by ratio: tables, JSON records, CSV, Markdown and plots.

Every figure's name has its protocol in it, so that figures of two protocols are not mixed up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.evaluation import plots
from restore_cli.evaluation.raw_denoising import PLANES, Protocol, RawResult, Score
from restore_cli.evaluation.report import columns, decibels, finite, signed

NOMINAL = (1, 10, 100, 200, 250, 300)
"""Ratios of the published sets; pairs within `_NEAR` of one count as that."""

_NEAR = 0.05


@dataclass(frozen=True)
class Published:
    """A figure that somebody else measured by the same protocol on SID's Sony test pairs.

    Attributes:
        protocol: its key.
        pairs: how many it is the mean of; it is shown beside as many only.
        ssim: None where none was stated.
    """

    protocol: str
    pairs: int
    name: str
    psnr: float
    ssim: float | None = None


PUBLISHED = (Published("source", 598, "LED for SonyA7S2, PyTorch (LED_jittor)", 38.6894, 0.9361),
             Published("source", 598, "LED for SonyA7S2, Jittor (LED_jittor)", 38.6893))


@dataclass(frozen=True)
class Mean:
    """One row of the tables: means over the pairs of a set at a ratio.

    Attributes:
        ratio: None for all ratios together.
        pairs: how many.
        model: None when only the noisy images were scored.
        worst, noisy_worst: the largest shift of any plane of any pair in percent, its sign kept;
            None where no truth has light.
        seconds: of all pairs.
    """

    data: str
    ratio: float | None
    pairs: int
    model: Score | None
    baseline: Score
    worst: float | None
    noisy_worst: float | None
    seconds: float

    @property
    def label(self) -> str:
        """The ratio as tables show it."""
        return "all" if self.ratio is None else f"x{self.ratio:g}"

    @property
    def gain(self) -> float | None:
        """What the model gained in dB."""
        return None if self.model is None else self.model.psnr - self.baseline.psnr


def group(ratio: float) -> float:
    """The ratio under which tables count a pair: a usual one, else two digits."""
    for usual in NOMINAL:
        if abs(ratio / usual - 1) < _NEAR:
            return float(usual)
    return float(f"{ratio:.2g}")


def means(results: Iterable[RawResult]) -> list[Mean]:
    """Means by set, in order of appearance, and ratio, ascending; then over all ratios."""
    sets: dict[str, list[RawResult]] = {}
    for result in results:
        sets.setdefault(result.case.data, []).append(result)
    rows = []
    for data, members in sets.items():
        groups: dict[float, list[RawResult]] = {}
        for result in members:
            groups.setdefault(group(result.ratio), []).append(result)
        rows += [_mean(data, ratio, groups[ratio]) for ratio in sorted(groups)]
        if len(groups) > 1:
            rows.append(_mean(data, None, members))
    return rows


def _mean(data: str, ratio: float | None, results: Sequence[RawResult]) -> Mean:
    models = [result.model for result in results if result.model is not None]
    noisy = [result.baseline for result in results]
    return Mean(data, ratio, len(results), _mean_score(models) if models else None,
                _mean_score(noisy), _worst(models), _worst(noisy),
                sum(result.seconds for result in results))


def _mean_score(scores: Sequence[Score]) -> Score:
    def mean(name: str) -> float | None:
        return _average([getattr(score, name) for score in scores])

    return Score(mean("psnr"), mean("ssim"), mean("plain_psnr"), mean("plain_ssim"),
                 mean("factor"), tuple(map(_average, zip(*(score.shift for score in scores),
                                                         strict=True))))


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _worst(scores: Sequence[Score]) -> float | None:
    moved = [value for score in scores for value in score.shift if value is not None]
    return max(moved, key=abs) if moved else None


def published(rows: Sequence[Mean], protocol: Protocol) -> list[Published]:
    """The published figures that stand for what the rows measured."""
    counts = {row.pairs for row in rows}
    return [figure for figure in PUBLISHED
            if figure.protocol == protocol.key and figure.pairs in counts]


Table = tuple[str, list[str], list[list[str]], int]
"""Caption, header, rows, and how many columns are text."""


def tables(rows: Sequence[Mean], model: str, protocol: Protocol) -> list[Table]:
    """The tables of a report: quality, quality without correction, brightness and colour."""
    found = [(f"{protocol.quality} in dB and SSIM, protocol {protocol.title}",
              *_quality(rows, model, "psnr", "ssim", seconds=True))]
    if protocol.corrected:
        found.append((f"As is, without the correction of brightness: protocol "
                      f"{protocol.uncorrected().title}",
                      *_quality(rows, model, "plain_psnr", "plain_ssim", seconds=False)))
    return [*found, ("Shift of each plane's mean in percent of the truth's, before any correction",
                     *_shifts(rows, model, protocol.corrected))]


def _quality(rows: Sequence[Mean], model: str, psnr: str, ssim: str, seconds: bool
             ) -> tuple[list[str], list[list[str]], int]:
    header = ["data", "ratio", "pairs", "noisy", "SSIM"]
    if any(row.model is not None for row in rows):
        header += [model, "SSIM", "gain"] + ["s/pair"] * seconds

    def cells(score: Score) -> list[str]:
        likeness = getattr(score, ssim)
        return [decibels(getattr(score, psnr)), "-" if likeness is None else f"{likeness:.4f}"]

    lines = []
    for row in rows:
        line = [row.data, row.label, str(row.pairs), *cells(row.baseline)]
        if row.model is not None:
            line += [*cells(row.model),
                     signed(getattr(row.model, psnr) - getattr(row.baseline, psnr))]
            line += [f"{row.seconds / row.pairs:.2f}"] * seconds
        lines.append(line)
    return header, lines, 2


def _shifts(rows: Sequence[Mean], model: str, factor: bool
            ) -> tuple[list[str], list[list[str]], int]:
    header = ["data", "ratio", "image", *PLANES, "worst"] + ["factor"] * factor
    lines = []
    for row in rows:
        for name, score, worst in (("noisy", row.baseline, row.noisy_worst),
                                   (model, row.model, row.worst)):
            if score is not None:
                lines.append([row.data, row.label, name, *map(_percent, score.shift),
                              _percent(worst)])
                if score.factor is not None:
                    lines[-1].append(f"{score.factor:.4f}")
    return header, lines, 3


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def text(rows: Sequence[Mean], model: str, protocol: Protocol, notes: Sequence[str] = ()) -> str:
    """The report for a terminal."""
    parts = [f"{caption}:\n{columns(header, lines, left=left)}"
             for caption, header, lines, left in tables(rows, model, protocol)]
    figures = published(rows, protocol)
    if figures:
        parts.append("Published for SID by this protocol, not measured here:\n" + columns(
            *_figures(figures), left=1))
    parts.append(f"Protocol {protocol.title}:\n" + "\n".join(
        f"  - {note}" for note in (*protocol.notes, *notes)))
    return "\n\n".join(parts)


def markdown(rows: Sequence[Mean], model: str, protocol: Protocol, notes: Sequence[str] = ()
             ) -> str:
    """The report as Markdown."""
    parts = [_markdown(*table) for table in tables(rows, model, protocol)]
    figures = published(rows, protocol)
    if figures:
        parts.append(_markdown("Published for SID by this protocol, not measured here",
                               *_figures(figures), 1))
    parts.append("\n".join(f"- {note}" for note in (*protocol.notes, *notes)) + "\n")
    return "\n".join(parts)


def _figures(figures: Sequence[Published]) -> tuple[list[str], list[list[str]]]:
    return ["method", "PSNR", "SSIM"], [
        [figure.name, f"{figure.psnr:.4f}", "-" if figure.ssim is None else f"{figure.ssim:.4f}"]
        for figure in figures]


def _markdown(caption: str, header: Sequence[str], lines: Sequence[Sequence[str]], left: int
              ) -> str:
    rules = ["---"] * left + ["---:"] * (len(header) - left)
    safe = [[cell.replace("|", "\\|") for cell in line] for line in (header, rules, *lines)]
    return f"{caption}:\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in safe) + "\n"


def result_record(result: RawResult, protocol: Protocol) -> dict[str, Any]:
    """One pair as a JSON object; infinite PSNR becomes null."""
    case, (height, width) = result.case, result.size
    return {"type": "pair", "protocol": protocol.key, "data": case.data, "pair": case.name,
            "noisy": str(case.noisy) if case.noisy else None,
            "clean": str(case.clean) if case.clean else None, "camera": result.camera,
            "ratio": round(result.ratio, 4), "width": width, "height": height,
            **score_record(result.model, protocol, ""),
            **score_record(result.baseline, protocol, "noisy_"),
            "seconds": round(result.seconds, 4)}


def line(result: RawResult, model: str, protocol: Protocol) -> str:
    """One pair for a terminal."""
    case = result.case
    shown = f"{case.data} {case.name}  x{result.ratio:.4g}  noisy {result.baseline.psnr:.2f} dB"
    if result.model is not None:
        worst = _worst([result.model])
        shown += (f", {model} {result.model.psnr:.2f} dB ({protocol.title}), worst shift "
                  f"{_percent(worst)} %  {result.seconds:.1f} s")
    return shown


def mean_record(row: Mean, *, model: str, protocol: Protocol) -> dict[str, Any]:
    """One row of the tables as a JSON object; ratio null stands for all ratios."""
    return {"type": "mean", "protocol": protocol.key, "data": row.data, "ratio": row.ratio,
            "pairs": row.pairs, "model": model, **score_record(row.model, protocol, ""),
            **score_record(row.baseline, protocol, "noisy_"), "worst_shift_percent": row.worst,
            "noisy_worst_shift_percent": row.noisy_worst, "seconds": round(row.seconds, 4)}


def remark_records(rows: Sequence[Mean], protocol: Protocol, notes: Sequence[str] = ()
                   ) -> list[dict[str, Any]]:
    """The published figures, then the protocol with its notes, as JSON objects."""
    return [*({"type": "published", "protocol": figure.protocol, "pairs": figure.pairs,
               "method": figure.name, f"{protocol.key}_psnr": figure.psnr,
               f"{protocol.key}_ssim": figure.ssim} for figure in published(rows, protocol)),
            {"type": "protocol", "protocol": protocol.key, "notes": [*protocol.notes, *notes]}]


def score_record(score: Score | None, protocol: Protocol, prefix: str) -> dict[str, Any]:
    """A score under names that tell its protocol, such as ``noisy_led_psnr``."""
    if score is None:
        return {}
    found: dict[str, Any] = {f"{prefix}{protocol.key}_psnr": finite(score.psnr),
                             f"{prefix}{protocol.key}_ssim": score.ssim}
    if protocol.corrected:
        plain = protocol.uncorrected().key
        found |= {f"{prefix}{plain}_psnr": score.plain_psnr,
                  f"{prefix}{plain}_ssim": score.plain_ssim, f"{prefix}factor": score.factor}
    return found | {f"{prefix}shift_percent": dict(zip(PLANES, score.shift, strict=True))}


def csv_text(results: Sequence[RawResult], protocol: Protocol) -> str:
    """One line a pair, then one line "mean" for each set and ratio."""
    figures = [*_columns(protocol, ""), *_columns(protocol, "noisy_")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "ratio", "pair", "camera", "width", "height", *figures, "seconds"])
    for result in results:
        height, width = result.size
        writer.writerow([result.case.data, f"{result.ratio:.6g}", result.case.name, result.camera,
                         width, height, *_numbers(result.model, protocol),
                         *_numbers(result.baseline, protocol), f"{result.seconds:.4f}"])
    for row in means(results):
        writer.writerow([row.data, "all" if row.ratio is None else f"{row.ratio:g}", "mean", "",
                         "", "", *_numbers(row.model, protocol),
                         *_numbers(row.baseline, protocol), f"{row.seconds:.4f}"])
    return out.getvalue()


def _columns(protocol: Protocol, prefix: str) -> list[str]:
    names = [f"{protocol.key}_psnr", f"{protocol.key}_ssim"]
    if protocol.corrected:
        plain = protocol.uncorrected().key
        names += [f"{plain}_psnr", f"{plain}_ssim", "factor"]
    return [prefix + name for name in (*names, *(f"shift_{plane}" for plane in PLANES))]


def _numbers(score: Score | None, protocol: Protocol) -> list[str]:
    if score is None:
        return [""] * len(_columns(protocol, ""))
    values = [(score.psnr, 4), (score.ssim, 6)]
    if protocol.corrected:
        values += [(score.plain_psnr, 4), (score.plain_ssim, 6), (score.factor, 6)]
    values += [(value, 4) for value in score.shift]
    return ["" if value is None else f"{value:.{digits}f}" for value, digits in values]


def plot(results: Sequence[RawResult], folder: Path, *, model: str, protocol: Protocol
         ) -> list[Path]:
    """Draws bars of the means by ratio, and every pair's gain in order of size."""
    rows = means(results)
    bars = [plots.Bar(row.data, row.label.replace("x", "×"), row.baseline.psnr,
                      None if row.model is None else row.model.psnr) for row in rows]
    several = len({row.data for row in rows}) > 1
    points = []
    for row in rows:
        if row.ratio is None:
            continue
        gains = sorted(result.model.psnr - result.baseline.psnr for result in results
                       if result.model is not None
                       and (result.case.data, group(result.ratio)) == (row.data, row.ratio))
        name = ", ".join(([row.data] if several else []) + [f"×{row.ratio:g}"])
        points += [plots.Point(name, i + 1, value) for i, value in enumerate(gains)]
    return plots.draw(bars, points, folder, plots.Words(
        "noisy", model, protocol.title, "pairs in order of gain", protocol.quality))
