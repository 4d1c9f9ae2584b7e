"""Pictures of an evaluation, with matplotlib from the `eval` extra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Bar:
    """One place on the axis of means: the baseline's PSNR in dB, and the network's beside it.

    Attributes:
        data: the set; neighbours of one set share one caption.
        label: under the place, such as ``×2``.
        model: None when only the baseline was scored.
    """

    data: str
    label: str
    baseline: float
    model: float | None


@dataclass(frozen=True)
class Point:
    """One image: what it gained in dB, at `x`, in the colour of its series."""

    series: str
    x: float
    gain: float


@dataclass(frozen=True)
class Words:
    """What legends, axes and titles say."""

    baseline: str
    model: str
    protocol: str
    x: str
    quality: str = "PSNR"


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
    bars = [Bar(row.data, f"×{row.scale:g}", row.baseline.psnr,
                row.model.psnr if row.model is not None else None) for row in means(results)]
    points = [Point(f"×{result.case.scale:g}", result.baseline.psnr,
                    result.model.psnr - result.baseline.psnr)
              for result in sorted(results, key=lambda result: result.case.scale)
              if result.model is not None]
    return draw(bars, points, folder, Words("bicubic", model, protocol, "PSNR of bicubic (dB)"))


def draw(bars: Sequence[Bar], points: Sequence[Point], folder: Path, words: Words) -> list[Path]:
    """Draws means as ``psnr.png`` and, when there are any, points as ``images.png``.

    Infinite values, those of equal images, have no place and are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [save(_bars(bars, words), folder / NAMES[0])]
    if points:
        drawn.append(save(_scatter(points, words), folder / NAMES[1]))
    return drawn


def _bars(bars: Sequence[Bar], words: Words):
    width = max(6.0, 1.6 + 0.85 * len(bars))
    figure = blank(width, 4.0)
    axes = figure.add_subplot()
    heights: list[float] = []
    named: set[str] = set()
    for i, bar in enumerate(bars):
        pairs = [(bar.baseline, _BASELINE, words.baseline)]
        if bar.model is not None:
            pairs.append((bar.model, _MODEL, words.model))
        for j, (height, color, label) in enumerate(pairs):
            x = i + (j - (len(pairs) - 1) / 2) * 0.4
            if not math.isfinite(height):
                continue
            axes.bar(x, height, 0.38, color=color, label=label if label not in named else None)
            named.add(label)
            axes.annotate(f"{height:.2f}", (x, height), (0, 2), ha="center", va="bottom",
                          textcoords="offset points", fontsize=7)
            heights.append(height)
    sets = [bar.data for bar in bars]
    axes.set_xticks(range(len(bars)), [bar.label for bar in bars])
    for name in dict.fromkeys(sets):
        centre = sets.index(name) + (sets.count(name) - 1) / 2
        axes.annotate(name, (centre, 0), (0, -24), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center", va="top", fontsize=9)
    for i in range(1, len(bars)):
        if sets[i] != sets[i - 1]:
            axes.axvline(i - 0.5, color="#dddddd", linewidth=0.8)
    # The interesting part of a PSNR axis is its top: start 2 dB below the lowest bar.
    if heights:
        axes.set_ylim(max(0.0, min(heights) - 2), max(heights) + 1.5)
    axes.set_ylabel(f"{words.quality} (dB)")
    axes.set_title(f"mean {words.quality}, protocol {words.protocol} "
                   "(the axis does not start at 0)", fontsize=10)
    axes.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _scatter(points: Sequence[Point], words: Words):
    figure = blank(5.5, 4.2)
    axes = figure.add_subplot()
    shown = [point for point in points if math.isfinite(point.x) and math.isfinite(point.gain)]
    for i, series in enumerate(dict.fromkeys(point.series for point in shown)):
        chosen = [(point.x, point.gain) for point in shown if point.series == series]
        axes.scatter(*zip(*chosen, strict=True), s=22, color=_SCALES[i % len(_SCALES)],
                     marker=_MARKERS[i % len(_MARKERS)], alpha=0.85, edgecolors="none",
                     label=series)
    axes.axhline(0, color=_BASELINE, linewidth=0.8, zorder=0)
    axes.set_xlabel(words.x)
    axes.set_ylabel(f"gain of {words.model} (dB)")
    axes.set_title(f"every image, protocol {words.protocol}", fontsize=10)
    axes.margins(y=0.12)
    if shown:
        axes.legend(loc="best", frameon=False, fontsize=8, ncols=2)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def blank(width: float, height: float):
    """A figure of so many inches."""
    # A Figure of its own, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure, target: Path) -> Path:
    """Writes a figure as PNG; an existing file is replaced."""
    with atomic_path(target, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return target
