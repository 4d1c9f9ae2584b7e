"""`restore bench vsr`: times the network for a frame of a film, and the way from film to film."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, OutOfMemory, RestoreError, UsageError
from restore_cli.jobs import bench_cost, bench_rounds, bench_vsr_data, bench_vsr_torch, vsr_plan
from restore_cli.jobs.bench_report import Report, Timing
from restore_cli.jobs.bench_vsr_subject import SPLIT, Subject
from restore_cli.jobs.train_vsr import MODELS
from restore_cli.nets.layout import layout
from restore_cli.nets.vsr import shapes
from restore_cli.pipeline import memory

PARTS = ("network", "engine", "pipeline")
CHOICES = tuple(MODELS)
_SAME = 2e-3  # of the output's range


@dataclass(frozen=True)
class VsrBenchRequest(bench_rounds.Request):
    """What to time of `restore vsr`.

    Attributes:
        parts: some of `PARTS`, or None for all that can be timed.
        networks: some of `CHOICES`.
        film: for the pipeline; None makes one.
        frames: of the film that is made.
    """

    parts: tuple[str, ...] | None = None
    networks: tuple[str, ...] = CHOICES
    film: Path | None = None
    frames: int = 25


def run(request: VsrBenchRequest, console: Console) -> ExitStatus:
    """Times all parts of all networks and prints one table, or one record a part.

    Raises:
        RestoreError: PyTorch computes something else.
    """
    bench_rounds.check(request)
    parts = _parts(request)
    _check(request, parts)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restore-bench-")))
        film = request.film or folder / "film.mp4"
        if request.film is None and "pipeline" in parts:
            bench_vsr_data.film(film, request.frames, *request.size)
        subjects = {name: Subject(name, parts, request, film, folder, console)
                    for name in request.networks}
        some = next(iter(subjects.values()))
        worker = None
        if request.against:
            worker = stack.enter_context(bench_vsr_torch.Worker(
                {name: one.work for name, one in subjects.items()}, some.engine.device,
                some.engine.threads))
        report = _measure(request, subjects, worker, film, console)
    return bench_rounds.publish(report, request, console)


def _parts(request: VsrBenchRequest) -> tuple[str, ...]:
    if request.parts is None:
        return PARTS if request.against else tuple(one for one in PARTS if one != "engine")
    if "engine" in request.parts and not request.against:
        raise UsageError("--part engine is a comparison",
                         hint="Add --against torch, or time --part network")
    return request.parts


def _check(request: VsrBenchRequest, parts: tuple[str, ...]) -> None:
    """Sides, a film, and memory: the bare network takes frames whole, whatever `--tile` says."""
    height, width = request.size
    if min(request.size) < 8:
        raise UsageError(f"--size {width}x{height} is too small", hint="Take 8x8 at least")
    if request.film is not None:
        if "pipeline" not in parts:
            raise UsageError("--film is for --part pipeline")
        from restore_cli.pipeline import naming

        naming.require_input(request.film)
    room = memory.budget(request.memory).room
    for name in request.networks:
        config = shapes.complete(MODELS[name])
        model = vsr_plan.cost(layout("vsr", config), config, request.size, 2, config["scale"],
                              True)
        need = model.need(max(request.size), config["n_sequence"] - 1)
        if need > room and set(parts) != {"pipeline"}:
            raise OutOfMemory(f"{name} needs {units.show(need)}, and {units.show(room)} are left",
                              hint="Choose a smaller --size, or --part pipeline")


def _measure(request: VsrBenchRequest, subjects: dict[str, Subject],
             worker: bench_vsr_torch.Worker | None, film: Path, console: Console) -> Report:
    console.info("compiling and warming up")
    bench_rounds.prepare(request, subjects, next(iter(subjects.values())).engine.device)
    parts = {f"{name} {part}": (subject, part) for name, subject in subjects.items()
             for part in subject.labels()}
    timings = [Timing(label, [], [], subject.amount(part), "frames")
               for label, (subject, part) in parts.items()]
    split = [label for label, (_, part) in parts.items() if part in SPLIT]
    height, width = request.size
    some = next(iter(subjects.values()))
    facts: dict[str, Any] = {
        "model": ", ".join(f"{name} (random)" for name in subjects), "input": f"{width}x{height}",
        "film": film.name, **bench_rounds.machine(some.engine, request)}
    differences: dict[str, float] = {}
    if worker is not None:
        compared = [parts[label] for label in parts if label not in split]
        formats = worker.load([(subject.name, part) for subject, part in compared])
        facts |= {"torch": worker.about["torch"], "torch_threads": worker.about["threads"],
                  "torch_format": "; ".join(f"{name} {one}" for name, one in formats.items())}
        differences = {f"{subject.name} {part}": _difference(subject, part, worker)
                       for subject, part in compared if part != "pipeline"}
        _require_same(differences)

    def theirs(label: str) -> float:
        subject, part = parts[label]
        if part == "pipeline":
            return worker.file(subject.name, film, subject.their_target)
        return worker.run(subject.name, part)

    def ours(label: str) -> float:
        subject, part = parts[label]
        return subject.clock(part)

    mine, others, other = bench_rounds.sides(request, ours, theirs if worker is not None else None)
    bench_rounds.run(timings, request.repeat, mine, others, console, split)
    costs = (bench_cost.shipped("vsr", request.pictures, console)
             if request.precision != "fp32" else [])
    notes = []
    for name, subject in subjects.items():
        if "pipeline" in subject.parts:
            sides = {one.part.removeprefix(f"{name} "): one.ours for one in timings
                     if one.part in split and one.part.startswith(f"{name} ")}
            overlap = overlapped(subject.films[-request.repeat:], sides)
            facts[f"{name}_overlap"] = round(overlap, 3)
            notes.append(f"{name}: between start and end, a film takes {overlap:.2f} times as long "
                         "as the larger of compute and of decode with encode")
    return Report(facts, timings, memory.peak_rss(), differences, notes, other, costs)


def overlapped(films: Sequence[float], split: Mapping[str, Sequence[float]]) -> float:
    """Median over the rounds of a film's time over the larger of its two sides.

    Args:
        films: seconds of the whole way, without reading weights and loading kernels.
        split: seconds of "decode", "compute" and "encode".
    """
    rounds = zip(films, *(split[part] for part in SPLIT), strict=True)
    return statistics.median(whole / max(compute, decode + encode)
                             for whole, decode, compute, encode in rounds)


def _difference(subject: Subject, part: str, worker: bench_vsr_torch.Worker) -> float:
    """Largest difference of the clipped outputs, as a part of the range from black to white."""
    theirs = worker.output(subject.name, part)[0].transpose(1, 2, 0).clip(0, 1)
    return float(np.abs(subject.predict() / 65535 - theirs).max())


def _require_same(differences: dict[str, float]) -> None:
    """Refuses to time two things that do not compute the same."""
    for name, value in differences.items():
        if not value <= _SAME:
            raise RestoreError(f"PyTorch computes something else: {name} differs by {value:.1e}")
