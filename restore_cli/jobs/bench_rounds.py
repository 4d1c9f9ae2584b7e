"""What all benchmarks share: checks before the work, rounds in turns, publishing."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError
from restore_cli.jobs import bench_cost, bench_worker
from restore_cli.jobs import precision as asked
from restore_cli.jobs.bench_report import SUFFIXES, Report, Timing, is_writable_kind
from restore_cli.media.atomic import atomic_path, check_target
from restore_cli.nets.ops import precision
from restore_cli.pipeline import naming
from restore_cli.runtime.engine import Engine

Clock = Callable[[str], float]
"""Seconds of one run of a part."""


@dataclass(frozen=True)
class Request:
    """What every benchmark is asked.

    Attributes:
        size: (height, width) of the input.
        parts: what to time.
        repeat: rounds; every part runs once a round.
        against: "torch" or None.
        output: ``.json`` or ``.md`` file to write, or None.
        overwrite: an existing `output` may be replaced.
        device, threads, memory, tile: as every command has them.
        precision: "fp32" or "bf16".
        pictures: files and folders; what bf16 costs is measured on them.
    """

    size: tuple[int, int]
    parts: tuple[str, ...]
    repeat: int = 5
    against: str | None = None
    output: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None
    precision: str = "fp32"
    pictures: tuple[Path, ...] = ()


def check(request: Request) -> None:
    """Refuses at once what would fail after the work.

    Raises:
        UsageError: no PyTorch to compare with, a file of an unknown kind, or no pictures.
        InputError: a picture cannot be read.
        OutputError: the file exists or cannot be written.
        DeviceError: no bfloat16 here.
    """
    asked.check(request.precision, request.device)
    if request.pictures and request.precision == asked.FULL:
        raise UsageError("--picture is for the cost of --precision bf16")
    for path in request.pictures:
        if not path.is_dir():
            naming.require_input(path)
    if request.pictures:
        bench_cost.pictures(request.pictures)  # read here to fail early
    if request.against:
        bench_worker.require()
    output = request.output
    if output and not is_writable_kind(output):
        raise UsageError(f"cannot write {output.name}",
                         hint="Name a file ending in " + " or ".join(SUFFIXES))
    if output:
        check_target(output, overwrite=request.overwrite)


def machine(engine: Engine, request: Request) -> dict[str, Any]:
    """Facts of a report about where and how it was measured."""
    return {"device": engine.device, "threads": engine.threads, "onednn": engine.onednn,
            "jittor": engine.jittor_version, "memory": request.memory, "rounds": request.repeat,
            **({} if request.precision == asked.FULL else {"precision": request.precision})}


def current() -> str:
    """The precision in which what is being timed computes, for the requests of commands."""
    return asked.HALF if precision.chosen() else asked.FULL


def prepare(request: Request, subjects: Mapping[str, Any], device: str) -> None:
    """Calls the subjects' `prepare()`, in both precisions where bf16 is asked for.

    Raises:
        UsageError: none of a network's operators takes products in bfloat16.
        DeviceError: the engine is on a GPU.
    """
    for name, subject in subjects.items():
        with precision.using(False):
            subject.prepare()
        if request.precision == asked.HALF:
            with precision.using(True):
                subject.prepare()
                asked.confirm(name, device)


def sides(request: Request, ours: Clock, theirs: Clock | None) -> tuple[Clock, Clock | None, str]:
    """Both sides' clocks, and the name of the other: with bf16 and no PyTorch, fp32 is it."""
    if request.precision == asked.FULL:
        return ours, theirs, "PyTorch"

    def timed(part: str, half: bool) -> float:
        with precision.using(half):
            return ours(part)

    if theirs is not None:
        return lambda part: timed(part, True), theirs, "PyTorch"
    return lambda part: timed(part, True), lambda part: timed(part, False), asked.FULL


def run(timings: Sequence[Timing], repeat: int, ours: Clock, theirs: Clock | None,
        console: Console, alone: Collection[str] = ()) -> None:
    """Times every part once a round, in turns with the other side; appends to `timings`.

    Args:
        alone: parts that the other side does not have.
    """
    work = [(turn, timing) for turn in range(repeat) for timing in timings]
    for turn, timing in console.progress(work, desc="timing", unit="run"):
        sides = [(timing.ours, ours)]
        if theirs is not None and timing.part not in alone:
            sides.append((timing.theirs, theirs))
        # Whoever goes second may find warmer caches, or a hotter processor: take turns.
        for times, clock in sides[::-1] if turn % 2 else sides:
            times.append(clock(timing.part))


def publish(report: Report, request: Request, console: Console) -> ExitStatus:
    """Prints a report, one record a part with ``--json``, and writes the file if one is named."""
    console.result(report.text())
    for record in report.records():
        console.result("", record)
    if request.output:
        with atomic_path(request.output, overwrite=request.overwrite) as temporary:
            temporary.write_text(report.encoded(request.output.suffix.lower()), encoding="utf-8")
    return ExitStatus.OK


def silent(console: Console) -> Console:
    """A console for commands that are timed: only their warnings are seen."""
    made = Console(stdin=console.stdin, stdout=io.BytesIO(), stderr=console.stderr)
    made.quiet = True
    return made


class Subject:
    """A network under test. What inherits has `_train()`, `_denoise()`, `_predicting` (a network)
    and `_input` (a Var)."""

    def clock(self, part: str) -> float:
        """Seconds of one run of "train", "network" or "pipeline"."""
        work: dict[str, Callable[[], Any]] = {
            "train": self._train, "network": self.predict, "pipeline": self._denoise}
        begin = time.perf_counter()
        work[part]()
        return time.perf_counter() - begin

    def predict(self):
        """The network's output for its whole input."""
        import jittor as jt

        with jt.no_grad():
            made = self._predicting(self._input)
            made.sync(True)
        return made
