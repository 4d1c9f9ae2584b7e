"""The table of `restore bench all`: rows made of the systems' records, and how they are shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restore_cli.evaluation.bench_plot import Bar
from restore_cli.evaluation.report import columns
from restore_cli.jobs.bench_all_plan import ENGINE, KINDS, Bench
from restore_cli.jobs.bench_report import spread

LEGEND = (
    "Ratio: PyTorch's time over ours in the same round, above 1 where we are faster.",
    "Same: both sides do the same arithmetic, so that the ratio is the engine's alone.",
    "Layout: ours blocked (channels in groups of 8 or 16) or NCHW; PyTorch's whichever is faster "
    "here of contiguous (NCHW) and channels_last.",
    "GFLOP/s: what the network needs, a 3x3 convolution counted as direct; share: of the fastest "
    "convolution above.")


@dataclass(frozen=True)
class Row:
    """One part of one network.

    Attributes:
        bench: what it belongs to.
        part: a key of `KINDS`.
        ours, theirs: seconds, round by round; the second is empty without a comparison.
        layouts: of maps in memory, ours and theirs.
        flops: of one run; 0 where they are not counted.
        facts: the record it was made of, without the times.
    """

    bench: Bench
    part: str
    ours: Sequence[float]
    theirs: Sequence[float]
    layouts: tuple[str, str]
    flops: float
    facts: Mapping[str, Any]

    @property
    def ratios(self) -> list[float]:
        """Their time over ours, round by round."""
        return [b / a for a, b in zip(self.ours, self.theirs, strict=bool(self.theirs))]

    @property
    def same(self) -> bool:
        """Whether both sides do the same arithmetic."""
        return self.part in self.bench.same

    @property
    def target(self) -> float | None:
        """What the median ratio is to reach."""
        return self.bench.targets.get(self.part, ENGINE if self.same else None)

    @property
    def verdict(self) -> str:
        """Whether it does; "" without a target or a comparison."""
        if self.target is None or not self.theirs:
            return ""
        lacking = self.target - statistics.median(self.ratios)
        return "met" if lacking <= 0 else f"missed by {lacking:.2f}"

    @property
    def rate(self) -> float | None:
        """FLOP/s at the median."""
        return self.flops / statistics.median(self.ours) if self.flops else None


def rows(bench: Bench, records: Sequence[Mapping[str, Any]], blocked: bool) -> list[Row]:
    """The rows that a benchmark's records make; parts of no kind are left out.

    Args:
        blocked: whether maps are kept in blocks on this machine at all.
    """
    made = []
    for record in records:
        part = record["part"].removeprefix(bench.key).strip()
        if part not in KINDS:
            continue
        theirs = layout_of(record["torch_format"], bench.key, part) \
            if record.get("torch_seconds") else ""
        layouts = ("blocked" if blocked else "NCHW", theirs)
        facts = {key: value for key, value in record.items()
                 if key not in ("type", "seconds", "torch_seconds", "ratios", "part")}
        made.append(Row(bench, part, record["seconds"], record.get("torch_seconds", []), layouts,
                        2 * bench.macs.get(part, 0), facts))
    return made


def layout_of(text: str, key: str, part: str) -> str:
    """PyTorch's layout of one part out of a record's "torch_format".

    Args:
        text: a layout, or some with the names of networks and parts before them, between
            semicolons; or "A in training, B in prediction".
        key: the network's name there.
        part: a file's way has the network's layout.
    """
    wanted = "network" if part == "pipeline" else part
    entries = [entry.removeprefix(key).strip() for entry in text.split("; ")]
    chosen = next((entry.removeprefix(wanted).strip() for entry in entries
                   if entry.startswith(wanted)), entries[0])
    if " in training, " in chosen:
        chosen = chosen.split(", ")[0 if part == "train" else 1]
    return chosen.split(" ")[0]


@dataclass(frozen=True)
class Peak:
    """The rate of one convolution, in FLOP/s; None where oneDNN lacks it."""

    channels: int
    size: tuple[int, int]
    algorithm: str
    rate: float | None

    def __str__(self) -> str:
        shown = "none" if self.rate is None else f"{self.rate / 1e9:.0f}"
        return f"{self.algorithm} {self.channels} channels {shown}"


@dataclass
class Table:
    """All that was measured.

    Attributes:
        facts: device, threads and versions of both sides.
        peaks: convolutions of this machine.
        rows: in the order of `bench_all_plan.benches`.
        failures: (system, network, why) of what could not be measured.
    """

    facts: dict[str, Any]
    peaks: list[Peak] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def best(self) -> float | None:
        """The fastest convolution's FLOP/s."""
        return max((peak.rate for peak in self.peaks if peak.rate), default=None)

    def share(self, row: Row) -> float | None:
        """A row's rate as a part of `best`."""
        return row.rate / self.best if row.rate and self.best else None

    def text(self) -> str:
        """For the terminal."""
        lines = [self._head(), *self._roofline(), columns(*self._columns(), left=4)]
        lines += [f"failed: {system}, {network}: {why}" for system, network, why in self.failures]
        return "\n".join([*lines, *self._legend()])

    def markdown(self) -> str:
        """The same for a README."""
        header, cells = self._columns()
        lines = [self._head(), *self._roofline(), "", "| " + " | ".join(header) + " |",
                 "|" + "|".join(["---"] * 4 + ["---:"] * (len(header) - 4)) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in cells] + [""]
        lines += [f"Failed: {system}, {network}: {why}" for system, network, why in self.failures]
        return "\n".join([*lines, " ".join(self._legend())]) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """One JSON object a convolution, a row and a failure."""
        found: list[dict[str, Any]] = [
            {"type": "roofline", "channels": peak.channels, "size": list(peak.size),
             "algorithm": peak.algorithm, "flops_per_second": peak.rate} for peak in self.peaks]
        for row in self.rows:
            theirs = {"torch_seconds": list(row.theirs), "ratios": row.ratios,
                      "torch_layout": row.layouts[1], "target": row.target,
                      "met": row.verdict == "met" if row.verdict else None} if row.theirs else {}
            found.append({**row.facts, "type": "bench-all", "system": row.bench.system,
                          "network": row.bench.network, "part": row.part, "size": row.bench.size,
                          "status": "done", "seconds": list(row.ours), "layout": row.layouts[0],
                          "same_arithmetic": row.same, "flops": row.flops or None,
                          "flops_per_second": row.rate, "share": self.share(row), **theirs})
        return found + [{"type": "bench-all", "system": system, "network": network,
                         "status": "failed", "error": why}
                        for system, network, why in self.failures]

    def encoded(self, suffix: str) -> str:
        """The contents of a file with this suffix: ".json" or ".md"."""
        if suffix == ".json":
            return json.dumps(self.records(), indent=1, allow_nan=False) + "\n"
        return self.markdown()

    def bars(self) -> list[Bar]:
        """What the picture shows."""
        return [Bar(row.bench.system, f"{row.bench.network}, {row.part}",
                    "same arithmetic" if row.same and row.part != "train" else KINDS[row.part],
                    row.ratios, row.target) for row in self.rows if row.theirs]

    def title(self) -> str:
        """Who was compared with whom."""
        facts = self.facts
        ours = f"{facts['device']}, {facts['rounds']} rounds, {facts['threads']} threads"
        if "torch" not in facts:
            return ours
        return f"{ours}; PyTorch {facts['torch']}, {facts['torch_threads']} threads"

    def _head(self) -> str:
        facts = self.facts
        engine = f"Jittor {facts['jittor']} with{'' if facts['onednn'] else 'out'} oneDNN"
        return f"{self.title()}; {engine}"

    def _legend(self) -> tuple[str, ...]:
        return LEGEND if any(row.theirs for row in self.rows) else LEGEND[-1:]

    def _roofline(self) -> list[str]:
        if not self.peaks:
            return []
        size = "x".join(map(str, self.peaks[0].size[::-1]))
        return [f"3x3 convolutions of oneDNN, {size}, GFLOP/s: " + ", ".join(map(str, self.peaks))]

    def _columns(self) -> tuple[list[str], list[list[str]]]:
        against = any(row.theirs for row in self.rows)
        header = ["system", "network", "size", "part", "ms min", "median", "max"]
        if against:
            header += ["PyTorch min", "median", "max", "ratio min", "median", "max", "same",
                       "layout", "PyTorch's", "target", "verdict"]
        header += ["GFLOP/s", *(["share"] if self.best else [])]
        cells = []
        for row in self.rows:
            cell = [row.bench.system, row.bench.network, row.bench.size, row.part,
                    *_milliseconds(row.ours)]
            if against:
                cell += [*_milliseconds(row.theirs),
                         *([f"{value:.2f}" for value in spread(row.ratios)] if row.theirs
                           else [""] * 3),
                         "yes" if row.same else "no", *row.layouts,
                         "" if row.target is None else f"{row.target:g}", row.verdict]
            cell.append("" if row.rate is None else f"{row.rate / 1e9:.0f}")
            if self.best:
                share = self.share(row)
                cell.append("" if share is None else f"{100 * share:.0f} %")
            cells.append(cell)
        return header, cells


def _milliseconds(seconds: Sequence[float]) -> list[str]:
    return [f"{1000 * value:.1f}" for value in spread(seconds)] if seconds else [""] * 3
