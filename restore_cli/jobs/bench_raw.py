"""`restore bench denoise-raw`: times training steps, networks, and the whole way to a DNG."""

from __future__ import annotations

import contextlib
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, OutOfMemory, RestoreError, UsageError
from restore_cli.jobs import bench_cost, bench_raw_dng, bench_raw_torch, bench_rounds
from restore_cli.jobs.bench_raw_data import RATIO
from restore_cli.jobs.bench_raw_subject import CHOICES, Bench, Subject
from restore_cli.jobs.bench_report import Report, Timing
from restore_cli.nets.layout import layout

PARTS = ("train", "network", "pipeline")
USUAL = {"compact": PARTS, "unet": ("network", "pipeline"), "nafnet": ("network",),
         "restormer": ("network",)}
"""Parts that are timed where no network is named."""

FULL = (2848, 4256)
"""Sensor pixels, (height, width), of a camera of 12 megapixels."""

_SIZES = {"compact": (1424, 2128), "unet": (1424, 2128), "nafnet": (712, 1064),
          "restormer": (712, 1064)}
_HALF = ("compact", "unet")  # networks that have products in bfloat16
_NOTE = ("file to file: PyTorch's side reads weights and mosaic and packs its result likewise; it "
         "leaves out checking the packed samples, the preview, and waiting for the disk")
_COMPARED = 3  # steps whose losses are compared; later ones drift apart by rounding alone
_SAME = {"output": 1e-3, "loss": 1e-3, "file": 4 / (bench_raw_dng.WHITE - bench_raw_dng.BLACK)}

# Floats for each channel of the first layer and each packed pixel: all at once, and in training.
_FLOATS = {"led-unet": (14.0, 70.0), "led-nafnet": (16.0, 120.0), "led-restormer": (42.0, 300.0)}


@dataclass(frozen=True)
class RawBenchRequest(bench_rounds.Request):
    """What to time of `restore denoise-raw`.

    Attributes:
        size: (height, width) in sensor pixels; None is each network's usual one.
        parts, networks: names; None is the usual choice.
        steps: training steps in one run.
        batch, patch: patches a step, and their side in packed pixels.
    """

    size: tuple[int, int] | None = None
    parts: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    steps: int = 5
    batch: int = 8
    patch: int = 128


def run(request: RawBenchRequest, console: Console) -> ExitStatus:
    """Times all parts of all networks and prints one table, or one record a part.

    Raises:
        RestoreError: PyTorch computes something else.
    """
    bench_rounds.check(request)
    parts = chosen(request)
    sizes = {name: request.size or _SIZES[name] for name in parts}
    _check(request, parts, sizes)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restore-bench-")))
        bench = Bench(request, folder, console)
        _check_memory(request, parts, sizes, bench.engine.device)
        subjects = {name: Subject(name, names, bench.frame(sizes[name]), bench)
                    for name, names in parts.items()}
        worker = None
        if request.against:
            worker = stack.enter_context(bench_raw_torch.Worker(
                {name: one.work for name, one in subjects.items()}, bench.steps, RATIO,
                bench.engine.device, bench.engine.threads))
        report = _measure(request, bench, subjects, worker)
    return bench_rounds.publish(report, request, console)


def chosen(request: RawBenchRequest) -> dict[str, tuple[str, ...]]:
    """The parts to time of each network.

    Raises:
        UsageError: none of the usual parts is left.
    """
    wanted, named = request.parts or PARTS, request.networks
    if request.precision != "fp32":
        if "train" in (request.parts or ()):
            raise UsageError("training computes in fp32", hint="Leave --part train out")
        wanted = tuple(part for part in wanted if part != "train")
        named = named or _HALF
    if named is not None:
        return dict.fromkeys(named, wanted)
    found = {name: tuple(part for part in names if part in wanted)
             for name, names in USUAL.items()}
    return {name: names for name, names in found.items() if names}


def _check(request: RawBenchRequest, parts: dict[str, tuple[str, ...]],
           sizes: dict[str, tuple[int, int]]) -> None:
    for name, names in parts.items():
        arch, config = CHOICES[name]
        height, width = sizes[name]
        if height % 2 or width % 2 or min(height, width) < 64:
            raise UsageError(f"--size {width}x{height} is no mosaic: both sides are even numbers "
                             "from 64")
        if "train" not in names:
            continue
        if request.patch % layout(arch, config).align:
            raise UsageError(f"{name} trains on patches of multiples of "
                             f"{layout(arch, config).align} packed pixels, not {request.patch}")
        if request.patch > min(height, width) // 2:
            raise UsageError(f"--patch {request.patch} is larger than the packed planes",
                             hint="Choose a larger --size")


def _check_memory(request: RawBenchRequest, parts: dict[str, tuple[str, ...]],
                  sizes: dict[str, tuple[int, int]], device: str) -> None:
    """The bare network runs on the whole frame at once, whatever `--tile` says."""
    from restore_cli.nets.led import shapes
    from restore_cli.nets.ops import led_unet
    from restore_cli.pipeline import memory

    room = memory.budget(request.memory).room
    for name, names in parts.items():
        arch, config = CHOICES[name]
        channels = next(config[key] for key in ("channels", "width", "dim") if key in config)
        fused = arch == "led-unet" and device == "cpu" and led_unet.usable(
            shapes.complete(arch, config))
        height, width = (-(-side // 32) * 16 for side in sizes[name])
        for part, sides, count in (("network", (height, width), 1),
                                   ("train", (request.patch,) * 2, request.batch)):
            if part not in names:
                continue
            training = part == "train"
            need = led_unet.peak_bytes(channels, *sides, count, training) if fused else int(
                4 * _FLOATS[arch][training] * channels * math.prod(sides) * count)
            if need > room:
                raise OutOfMemory(f"{name} needs {units.show(need)}, and {units.show(room)} are "
                                  "left", hint="Choose a smaller --size or --batch, or --part "
                                               "pipeline")


def _measure(request: RawBenchRequest, bench: Bench, subjects: dict[str, Subject],
             worker: bench_raw_torch.Worker | None) -> Report:
    from restore_cli.pipeline import memory

    parts = {f"{name} {part}": (subject, part) for name, subject in subjects.items()
             for part in subject.parts}
    timings = [Timing(label, [], [], *_amount(request, subject, part))
               for label, (subject, part) in parts.items()]
    bench.console.info("compiling and warming up")
    bench_rounds.prepare(request, subjects, bench.engine.device)
    facts = _facts(request, bench, subjects)
    differences: dict[str, float] = {}
    if worker is not None:
        formats = worker.load([(subject.name, part) for subject, part in parts.values()])
        facts |= {"torch": worker.about["torch"], "torch_threads": worker.about["threads"],
                  "torch_format": "; ".join(f"{name} {one}" for name, one in formats.items())}
        differences = _differences(subjects, worker)
        require_same(differences)

    def theirs(label: str) -> float:
        subject, part = parts[label]
        if part == "pipeline":
            return worker.file(subject.name, subject.frame.source, subject.their_target)
        return worker.run(subject.name, part)

    def ours(label: str) -> float:
        subject, part = parts[label]
        return subject.clock(part)

    mine, others, other = bench_rounds.sides(request, ours, theirs if worker is not None else None)
    bench_rounds.run(timings, request.repeat, mine, others, bench.console)
    costs = (bench_cost.shipped("denoise-raw", request.pictures, bench.console)
             if request.precision != "fp32" else [])
    notes = [_NOTE] if worker is not None and any("pipeline" in one for one in parts) else []
    return Report(facts, timings, memory.peak_rss(), differences, notes, other, costs)


def _amount(request: RawBenchRequest, subject: Subject, part: str) -> tuple[float, str]:
    if part == "train":
        return request.steps, "steps"
    return 4 * math.prod(subject.frame.clean.shape[1:]) / 1e6, "Mpx"


def _facts(request: RawBenchRequest, bench: Bench,
           subjects: dict[str, Subject]) -> dict[str, Any]:
    by_size: dict[str, list[str]] = {}
    for name, subject in subjects.items():
        by_size.setdefault(subject.frame.source.stem, []).append(name)
    shown = [size if len(by_size) == 1 else f"{size} ({', '.join(names)})"
             for size, names in by_size.items()]
    return {"model": ", ".join(subjects), "input": "; ".join(shown), "steps": request.steps,
            "batch": f"{request.batch}x{request.patch}x{request.patch}",
            **bench_rounds.machine(bench.engine, request)}


def _differences(subjects: dict[str, Subject],
                 worker: bench_raw_torch.Worker) -> dict[str, float]:
    """Largest differences: of outputs against their largest value, of losses relative, of files
    as a part of the range from black to white."""
    from restore_cli.media import raw

    found = {}
    for name, subject in subjects.items():
        if "network" in subject.parts:
            theirs = worker.outputs(name)
            found[f"{name} output"] = float(np.abs(subject.predict().numpy() - theirs).max()
                                            / np.abs(theirs).max())
        if "train" in subject.parts:
            theirs = np.array(worker.losses(name)[:_COMPARED])
            ours = subject.losses[:_COMPARED]
            found[f"{name} loss"] = float((np.abs(ours - theirs) / theirs).max())
        if "pipeline" in subject.parts:
            worker.file(name, subject.frame.source, subject.their_target)
            files = [raw.read(path).planes() for path in (subject.target, subject.their_target)]
            found[f"{name} file"] = float(np.abs(files[0] - files[1]).max())
    return found


def require_same(differences: dict[str, float]) -> None:
    """Refuses to time two things that do not compute the same.

    Args:
        differences: by names that end in "output", "loss" or "file".

    Raises:
        RestoreError: one is more than rounding explains, or no number.
    """
    for name, value in differences.items():
        if not value <= _SAME[name.rsplit(" ", 1)[-1]]:
            raise RestoreError(f"PyTorch computes something else: {name} differs by {value:.1e}")
