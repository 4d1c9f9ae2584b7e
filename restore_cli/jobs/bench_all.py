"""`restore bench all`: all systems in one table, and what this machine can do at most."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, UsageError
from restore_cli.jobs import bench_all_plan, bench_all_table, bench_rounds
from restore_cli.jobs.bench_all_plan import SIZES, SYSTEMS, Bench, Common
from restore_cli.jobs.bench_all_table import Peak, Table
from restore_cli.media.atomic import atomic_path, check_target

_PEAK = ((64, (256, 256)), (128, (256, 256)))


@dataclass(frozen=True)
class AllBenchRequest:
    """What to time.

    Attributes:
        systems: some of `SYSTEMS`.
        size: one of `SIZES`.
        plot: PNG of the ratios to write, or None.
        repeat, against, output, overwrite, device, threads, memory: as `bench_rounds.Request`.
    """

    systems: tuple[str, ...] = SYSTEMS
    size: str = SIZES[1]
    repeat: int = 5
    against: str | None = None
    output: Path | None = None
    plot: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    memory: str | None = None


class _Collector(Console):
    """Keeps the records that a benchmark publishes instead of showing them."""

    def __init__(self, console: Console):
        super().__init__(console.stdin, console.stdout, console.stderr)
        self.quiet, self.debug = console.quiet, console.debug
        self.show_progress = console.show_progress
        self.records: list[Mapping[str, Any]] = []

    def result(self, text: str, record: dict[str, Any] | None = None) -> None:
        """Keeps the record."""
        if record is not None:
            self.records.append(record)


def run(request: AllBenchRequest, console: Console) -> ExitStatus:
    """Times all systems and prints one table, or one record a row.

    A benchmark that fails is told of, and the others still run; the status is that of a command
    some of whose inputs failed.
    """
    _check(request)
    from restore_cli.runtime import engine

    started = engine.start(request.device, request.threads, console=console)
    table = Table({"device": started.device, "threads": started.threads, "rounds": request.repeat,
                   "jittor": started.jittor_version, "onednn": started.onednn})
    common = Common(request.repeat, request.against, started.device, started.threads,
                    request.memory)
    table.peaks = _peaks(request)
    status = ExitStatus.OK
    with tempfile.TemporaryDirectory(prefix="restore-bench-") as folder:
        for bench in bench_all_plan.benches(request.systems, request.size, common, Path(folder)):
            console.info(f"{bench.system}: {bench.network}, {bench.size}")
            status = max(status, _one(bench, table, console), key=_weight)
    if table.peaks:  # the machine may have been busy the first time
        table.peaks = list(map(_faster, table.peaks, _peaks(request)))
    _publish(table, request, console)
    return status


def _check(request: AllBenchRequest) -> None:
    """Refuses at once what would fail after the work."""
    bench_rounds.check(bench_rounds.Request(
        size=(1, 1), parts=(), against=request.against, output=request.output,
        overwrite=request.overwrite))
    if request.plot is None:
        return
    from restore_cli.evaluation import plots

    if request.plot.suffix.lower() != ".png":
        raise UsageError(f"cannot draw {request.plot.name}", hint="Name a file ending in .png")
    if not request.against:
        raise UsageError("--plot shows ratios", hint="Add --against torch")
    plots.require()
    check_target(request.plot, overwrite=request.overwrite)


def _one(bench: Bench, table: Table, console: Console) -> ExitStatus:
    """Runs one benchmark and adds its rows, or its failure, to the table."""
    from restore_cli.nets.ops import unet_operator

    collector = _Collector(console)
    try:
        status = bench.run(collector)
        found = bench_all_table.rows(bench, collector.records, unet_operator.available())
    except Exception as error:  # one system's failure must not lose the others' results
        if console.debug:
            console.info("".join(traceback.format_exception(error)).rstrip())
        known = isinstance(error, (RestoreError, OSError, MemoryError))
        why = str(error) if known else f"unexpected {type(error).__name__}: {error}"
        why = " ".join(why.split()) or type(error).__name__
        table.failures.append((bench.system, bench.network, why))
        console.error(f"{bench.system}, {bench.network}: {why}")
        return ExitStatus.SOME_FAILED if known else ExitStatus.BUG
    table.rows += found
    for record in collector.records:
        for key in ("torch", "torch_threads"):
            if key in record:
                table.facts[key] = record[key]
    return status


def _weight(status: ExitStatus) -> int:
    """A bug outweighs failures, and those success."""
    return {ExitStatus.OK: 0, ExitStatus.BUG: 2}.get(status, 1)


def _peaks(request: AllBenchRequest) -> list[Peak]:
    """The machine's convolutions; none where oneDNN does not compute."""
    from restore_cli.nets.ops import peak

    if not peak.usable():
        return []
    sizes = [(16, (16, 16))] if request.size == "tiny" else _PEAK
    return [Peak(channels, size, algorithm, peak.rate(channels, size, algorithm))
            for channels, size in sizes for algorithm in peak.ALGORITHMS]


def _faster(a: Peak, b: Peak) -> Peak:
    return max(a, b, key=lambda peak: peak.rate or 0)


def _publish(table: Table, request: AllBenchRequest, console: Console) -> None:
    console.result(table.text())
    for record in table.records():
        console.result("", record)
    if request.output:
        with atomic_path(request.output, overwrite=request.overwrite) as temporary:
            temporary.write_text(table.encoded(request.output.suffix.lower()), encoding="utf-8")
    if request.plot and table.bars():
        from restore_cli.evaluation import bench_plot

        bench_plot.draw(table.bars(), request.plot, table.title())
