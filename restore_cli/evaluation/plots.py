"""Pictures of an evaluation, with matplotlib from the `eval` extra."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Sequence

from restore_cli.errors import UsageError
from restore_cli.evaluation.protocols import Result
from restore_cli.evaluation.report import means
from restore_cli.media.atomic import atomic_path

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
_BASELINE, _MODEL = "#999999", "#0072B2"
_SCALES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")


def require() -> None:
    """Raises a UsageError with the command that installs matplotlib when it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("plots need matplotlib, which is not installed",
                         hint="pip install 'restore-cli[eval]'") from error


def write(results: Sequence[Result], folder: Path, *, model: str, protocol: str) -> list[Path]:
    """Draws the results into `folder`, which is made; existing plots are replaced.

    Args:
        results: scored images; those without a model score show only the baseline.
        model: its name in legends and axis labels.
        protocol: named in the titles.

    Returns:
        ``psnr.png``: mean PSNR by set and scale; and, when there is a model, ``images.png``:
        every image's PSNR against bicubic's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_save(_bars(results, model, protocol), folder / "psnr.png")]
    if any(result.model is not None for result in results):
        drawn.append(_save(_scatter(results, model, protocol), folder / "images.png"))
    return drawn


def _bars(results: Sequence[Result], model: str, protocol: str):
    rows = means(results)
    width = max(4.5, 1.6 + 0.85 * len(rows))
    figure = _figure(width, 4.0)
    axes = figure.add_subplot()
    heights: list[float] = []
    named: set[str] = set()
    for i, row in enumerate(rows):
        pairs = [(row.baseline, _BASELINE, "bicubic")]
        if row.model is not None:
            pairs.append((row.model, _MODEL, model))
        for j, (score, color, label) in enumerate(pairs):
            x = i + (j - (len(pairs) - 1) / 2) * 0.4
            if not math.isfinite(score.psnr):
                continue  # equal images have no height
            axes.bar(x, score.psnr, 0.38, color=color, label=label if label not in named else None)
            named.add(label)
            axes.annotate(f"{score.psnr:.2f}", (x, score.psnr), (0, 2), ha="center", va="bottom",
                          textcoords="offset points", fontsize=7)
            heights.append(score.psnr)
    several = len({row.data for row in rows}) > 1
    axes.set_xticks(range(len(rows)), [f"{row.data}\n×{row.scale:g}" if several
                                       else f"×{row.scale:g}" for row in rows])
    # The interesting part of a PSNR axis is its top: start 2 dB below the lowest bar.
    if heights:
        axes.set_ylim(max(0.0, min(heights) - 2), max(heights) + 1.5)
    axes.set_ylabel("PSNR (dB)")
    axes.set_title(f"{'' if several else rows[0].data + ', '}mean PSNR, protocol {protocol}",
                   fontsize=10)
    axes.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _scatter(results: Sequence[Result], model: str, protocol: str):
    figure = _figure(5.0, 5.0)
    axes = figure.add_subplot()
    scored = [result for result in results
              if result.model is not None
              and math.isfinite(result.model.psnr) and math.isfinite(result.baseline.psnr)]
    scales = sorted({result.case.scale for result in scored})
    for i, scale in enumerate(scales):
        points = [(result.baseline.psnr, result.model.psnr) for result in scored
                  if result.case.scale == scale]
        axes.scatter(*zip(*points), s=22, color=_SCALES[i % len(_SCALES)], alpha=0.85,
                     edgecolors="none", label=f"×{scale:g}")
    values = [value for result in scored for value in (result.baseline.psnr, result.model.psnr)]
    low, high = (min(values) - 1, max(values) + 1) if values else (0.0, 1.0)
    axes.plot([low, high], [low, high], color=_BASELINE, linewidth=0.8, zorder=0)
    axes.annotate("equal to bicubic", (high, high), (-6, -14), ha="right", va="top", fontsize=8,
                  textcoords="offset points", color="#666666")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_xlabel("bicubic, PSNR (dB)")
    axes.set_ylabel(f"{model}, PSNR (dB)")
    axes.set_title(f"every image, protocol {protocol}", fontsize=10)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(width: float, height: float):
    # A Figure of its own, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, target: Path) -> Path:
    with atomic_path(target, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return target
