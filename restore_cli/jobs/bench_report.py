"""What a benchmark measured: times, ratios, and how they are shown and stored."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore_cli import units
from restore_cli.evaluation.report import columns
from restore_cli.jobs.bench_cost import Cost


@dataclass
class Timing:
    """Seconds of each run of one part; run i of both columns belongs to the same round.

    Attributes:
        part: what was timed.
        ours: this program.
        theirs: the other framework; empty when there is none.
        amount: how much one run does, in `unit`; 0 where no rate is shown.
        unit: such as "steps" or "Mpx".
    """

    part: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    amount: float = 0.0
    unit: str = ""

    @property
    def ratios(self) -> list[float]:
        """Their time over ours, round by round; above 1 we are faster."""
        return [b / a for a, b in zip(self.ours, self.theirs, strict=bool(self.theirs))]

    def rate(self, seconds: Sequence[float]) -> float:
        """Amount a second at the median of `seconds`."""
        return self.amount / statistics.median(seconds)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Least, median and greatest."""
    return min(values), statistics.median(values), max(values)


@dataclass
class Report:
    """One benchmark.

    Attributes:
        facts: what was measured on what: model, sizes, device, threads, versions.
        timings: in the order measured.
        peak_memory: largest resident size of this process, in bytes.
        differences: largest absolute difference to the other framework by name.
        notes: lines below the table on the terminal.
        other: what the second column of times is of: "PyTorch", or "fp32" beside bf16.
        costs: what bf16 costs, network by network.
    """

    facts: dict[str, Any]
    timings: list[Timing]
    peak_memory: int
    differences: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    other: str = "PyTorch"
    costs: Sequence[Cost] = ()

    def text(self) -> str:
        """For the terminal."""
        facts = self.facts
        sizes = " -> ".join(facts[key] for key in ("input", "output") if key in facts)
        first = (f"{facts['model']}, {sizes}, {facts['device']}, {facts['threads']} threads, "
                 f"{facts['precision'] + ', ' if 'precision' in facts else ''}"
                 f"{facts['rounds']} rounds, peak memory {units.show(self.peak_memory)}")
        lines = [first, columns(*self._columns()), *self.notes]
        if self.differences:
            lines.append("largest difference to PyTorch: " + ", ".join(
                f"{name} {value:.1e}" for name, value in self.differences.items()))
        if "torch" in facts:
            lines.append(f"PyTorch {facts['torch']}, {facts['torch_format']}; ratio = PyTorch's "
                         "time / ours, round by round")
        elif self.other != "PyTorch":
            lines.append(f"ratio = time in {self.other} / time in {facts['precision']}, round by "
                         "round")
        lines += map(str, self.costs)
        return "\n".join(lines)

    def markdown(self) -> str:
        """A table for a README, with the facts above it."""
        header, rows = self._columns()
        facts = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in self.facts.items())
        lines = [facts + f"; peak memory: {units.show(self.peak_memory)}", "",
                 "| " + " | ".join(header) + " |",
                 "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", *(f"- {cost}" for cost in self.costs)] if self.costs else []
        return "\n".join(lines) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """One JSON object a part, each with the facts."""
        side = "torch" if self.other == "PyTorch" else self.other
        return [{"type": "bench", **self.facts, "part": timing.part, "seconds": timing.ours,
                 **({f"{side}_seconds": timing.theirs, "ratios": timing.ratios,
                     "differences": self.differences} if timing.theirs else {}),
                 **({"unit": timing.unit, "rate": timing.rate(timing.ours),
                     **({f"{side}_rate": timing.rate(timing.theirs)} if timing.theirs else {})}
                    if timing.amount else {}),
                 **({"costs": [cost.facts for cost in self.costs]} if self.costs else {}),
                 "peak_memory": self.peak_memory} for timing in self.timings]

    def encoded(self, suffix: str) -> str:
        """The contents of a file with this suffix: ".json" or ".md"."""
        if suffix == ".json":
            return json.dumps(self.records(), indent=1, allow_nan=False) + "\n"
        return self.markdown()

    def _columns(self) -> tuple[list[str], list[list[str]]]:
        def milliseconds(seconds: list[float]) -> list[str]:
            return [f"{1000 * value:.1f}" for value in spread(seconds)]

        rated = any(timing.amount for timing in self.timings)
        header = ["part", "ms min", "median", "max", *(["per second"] if rated else [])]
        if any(timing.theirs for timing in self.timings):
            header += [f"{self.other} min", "median", "max", *(["per second"] if rated else []),
                       "ratio min", "median", "max"]
        rows = []
        for timing in self.timings:
            row = [timing.part]
            for seconds in filter(None, (timing.ours, timing.theirs)):
                row += milliseconds(seconds)
                row += [f"{timing.rate(seconds):.3g} {timing.unit}"] if rated else []
            row += [f"{value:.2f}" for value in spread(timing.ratios)] if timing.theirs else []
            row += [""] * (len(header) - len(row))
            rows.append(row)
        return header, rows


SUFFIXES = (".json", ".md")


def is_writable_kind(path: Path) -> bool:
    """Whether `Report.encoded` knows the file's suffix."""
    return path.suffix.lower() in SUFFIXES
