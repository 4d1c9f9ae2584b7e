"""A picture of how many times faster than PyTorch everything is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_cli.evaluation import plots

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
_COLOURS = {"network": "#0072B2", "same arithmetic": "#009E73", "file to file": "#E69F00",
            "training": "#CC79A7"}
_MEANING = {"network": "algorithm and engine", "same arithmetic": "engine alone"}
_LINE = 0.32  # inches a row


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        group: rows of one group stand together under its name.
        label: beside the bar.
        kind: "network", "same arithmetic", "file to file" or "training"; the bar's colour.
        ratios: of the rounds, above 1 where we are faster.
        target: what the median is to reach, or None.
    """

    group: str
    label: str
    kind: str
    ratios: Sequence[float]
    target: float | None = None


def draw(bars: Sequence[Bar], target: Path, title: str) -> Path:
    """Draws medians as bars, least and greatest as whiskers and targets as marks.

    The axis is logarithmic: twice as fast and half as fast reach as far from the line of 1.

    Args:
        bars: from top to bottom.
        target: PNG to write; an existing one is replaced.
        title: what was measured where.
    """
    figure = plots.blank(9.0, 1.5 + _LINE * (len(bars) + len({bar.group for bar in bars})))
    axes = figure.add_subplot()
    names: list[str] = []
    places: list[float] = []
    y, group, named = 0.0, None, set()
    least = min(min(bar.ratios) for bar in bars)
    most = max(max(*bar.ratios, bar.target or 0) for bar in bars)
    room = 1.3  # of a number, as a factor
    for bar in bars:
        if bar.group != group:
            group = bar.group
            axes.annotate(group, (0, y), (4, 0), xycoords=("axes fraction", "data"),
                          textcoords="offset points", va="center", fontsize=9, weight="bold")
            y += 1
        middle = statistics.median(bar.ratios)
        axes.barh(y, middle - 1, 0.7, left=1, color=_COLOURS[bar.kind],
                  label=None if bar.kind in named else _MEANING.get(bar.kind, bar.kind))
        named.add(bar.kind)
        axes.plot([min(bar.ratios), max(bar.ratios)], [y, y], color="black", linewidth=1.0,
                  marker="|", markersize=5, label=None if "spread" in named
                  else "least and greatest")
        named.add("spread")
        if bar.target is not None:
            axes.plot([bar.target], [y], color="#D55E00", marker="D", markersize=5, linestyle="",
                      label=None if "target" in named else "target of the median")
            named.add("target")
        end = max(bar.ratios)
        if bar.target is not None and end / 1.1 < bar.target < end * room:
            end = bar.target
        axes.annotate(f"{middle:.2f}", (end, y), (6, 0), textcoords="offset points",
                      va="center", fontsize=8)
        names.append(bar.label)
        places.append(y)
        y += 1
    axes.axvline(1, color="#666666", linewidth=0.9)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(min(0.5, least / 1.1), most * room**1.5)
    axes.set_xlabel("PyTorch's time / ours (right of the line we are faster)")
    axes.set_title(title, fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False, fontsize=8)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return plots.save(figure, target)
