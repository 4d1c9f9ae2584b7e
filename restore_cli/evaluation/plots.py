"""Pictures of an evaluation, with matplotlib from the `eval` extra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.evaluation.protocols import Result
from restore_cli.evaluation.report import means
from restore_cli.media.atomic import atomic_path

NAMES = ("psnr.png", "images.png")

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
_BASELINE, _MODEL = "#999999", "#0072B2"
_SCALES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def require() -> None:
    """Raises a UsageError with the command that installs matplotlib when it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("plots need matplotlib, which is not installed",
                         hint="Type: pip install 'restore-cli[eval]'") from error
    # Matplotlib asks NumPy for the limits of its floats. Asked before Jittor's libraries switch
    # denormal numbers off for the process, NumPy does not warn about that.
    np.finfo(np.float32), np.finfo(np.float64)


def write(results: Sequence[Result], folder: Path, *, model: str, protocol: str) -> list[Path]:
    """Draws the results into `folder`, which is made; existing plots are replaced.

    Args:
        results: scored images; those without a model score show only the baseline.
        model: its name in legends and axis labels.
        protocol: named in the titles.

    Returns:
        ``psnr.png``: mean PSNR by set and scale; and, when there is a model, ``images.png``:
        every image's gain over bicubic.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_save(_bars(results, model, protocol), folder / NAMES[0])]
    if any(result.model is not None for result in results):
        drawn.append(_save(_scatter(results, model, protocol), folder / NAMES[1]))
    return drawn


def _bars(results: Sequence[Result], model: str, protocol: str):
    rows = means(results)
    width = max(6.0, 1.6 + 0.85 * len(rows))
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
    sets = [row.data for row in rows]
    axes.set_xticks(range(len(rows)), [f"×{row.scale:g}" for row in rows])
    for name in dict.fromkeys(sets):
        centre = sets.index(name) + (sets.count(name) - 1) / 2
        axes.annotate(name, (centre, 0), (0, -24), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center", va="top", fontsize=9)
    for i in range(1, len(rows)):
        if sets[i] != sets[i - 1]:
            axes.axvline(i - 0.5, color="#dddddd", linewidth=0.8)
    # The interesting part of a PSNR axis is its top: start 2 dB below the lowest bar.
    if heights:
        axes.set_ylim(max(0.0, min(heights) - 2), max(heights) + 1.5)
    axes.set_ylabel("PSNR (dB)")
    axes.set_title(f"mean PSNR, protocol {protocol} (the axis does not start at 0)", fontsize=10)
    axes.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _scatter(results: Sequence[Result], model: str, protocol: str):
    figure = _figure(5.5, 4.2)
    axes = figure.add_subplot()
    # Equal images are infinitely good: they have no place on the axes.
    scored = [result for result in results
              if result.model is not None
              and math.isfinite(result.model.psnr) and math.isfinite(result.baseline.psnr)]
    for i, scale in enumerate(sorted({result.case.scale for result in scored})):
        points = [(result.baseline.psnr, result.model.psnr - result.baseline.psnr)
                  for result in scored if result.case.scale == scale]
        axes.scatter(*zip(*points, strict=True), s=22, color=_SCALES[i % len(_SCALES)],
                     marker=_MARKERS[i % len(_MARKERS)], alpha=0.85, edgecolors="none",
                     label=f"×{scale:g}")
    axes.axhline(0, color=_BASELINE, linewidth=0.8, zorder=0)
    axes.set_xlabel("PSNR of bicubic (dB)")
    axes.set_ylabel(f"gain of {model} (dB)")
    axes.set_title(f"every image, protocol {protocol}", fontsize=10)
    axes.margins(y=0.12)
    if scored:
        axes.legend(loc="best", frameon=False, fontsize=8, ncols=2)
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
