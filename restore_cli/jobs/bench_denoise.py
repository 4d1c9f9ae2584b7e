"""`restore bench denoise`: times blind-spot training, prediction, and the whole command."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, OutOfMemory, RestoreError, UsageError
from restore_cli.jobs import (
    bench_cost,
    bench_denoise_torch,
    bench_rounds,
    denoise_network,
    denoise_plan,
)
from restore_cli.jobs.bench import random_weights, synthetic_picture
from restore_cli.jobs.bench_denoise_torch import Crops, Training
from restore_cli.jobs.bench_report import Report, Timing
from restore_cli.nets.layout import layout

Chosen = dict[str, tuple[str, dict[str, Any]]]
"""Registry name and configuration by what the command line calls a network."""

PARTS = ("train", "network", "pipeline")
SIGMA = 25.0
_NOTE = ("file to file: PyTorch's side reads weights and picture and writes likewise; it leaves "
         "out measuring the noise before and after, and waiting for the disk")
_COMPARED = 2  # steps whose losses are compared; Adam makes rounding errors of the next ones large


@dataclass(frozen=True)
class DenoiseBenchRequest(bench_rounds.Request):
    """What to time of `restore denoise`.

    Attributes:
        networks: some of `denoise_network.CHOICES`.
        channels: 1 or 3.
        steps: training steps in one run.
        batch, patch: patches a step, and their side.
    """

    size: tuple[int, int] = (512, 512)
    parts: tuple[str, ...] = PARTS
    networks: tuple[str, ...] = (denoise_network.DEFAULT,)
    channels: int = 1
    steps: int = 20
    batch: int = 4
    patch: int = 64


def run(request: DenoiseBenchRequest, console: Console) -> ExitStatus:
    """Times all parts of all networks and prints one table, or one record a part."""
    bench_rounds.check(request)
    if "train" in request.parts and request.precision != "fp32":
        raise UsageError("training computes in fp32", hint="Leave --part train out")
    chosen = {name: denoise_network.architecture(name, request.channels)
              for name in request.networks}
    if "train" in request.parts:
        _check_patch(request, chosen)
    _check_memory(request, chosen)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restore-bench-")))
        bench = _Bench(request, folder, console)
        subjects = {name: _Subject(name, *made, bench) for name, made in chosen.items()}
        worker = None
        if request.against:
            worker = stack.enter_context(bench_denoise_torch.Worker(
                {name: one.plain for name, one in subjects.items()}, bench.training,
                {name: one.weights for name, one in subjects.items()},
                bench.engine.device, bench.engine.threads))
        report = _measure(request, bench, subjects, worker, console)
    return bench_rounds.publish(report, request, console)


def _check_patch(request: DenoiseBenchRequest, chosen: Chosen) -> None:
    for name, made in chosen.items():
        align = layout(*made).align
        if request.patch % align:
            raise UsageError(f"{name} trains on patches of multiples of {align} pixels, not "
                             f"{request.patch}")
    if request.patch > min(request.size):
        raise UsageError(f"--patch {request.patch} is larger than the image",
                         hint="Choose a larger --size")


def _check_memory(request: DenoiseBenchRequest, chosen: Chosen) -> None:
    """The bare network runs on the whole image at once, whatever `--tile` says."""
    from restore_cli.pipeline import memory

    room = memory.budget(request.memory).room
    for name, (arch, config) in chosen.items():
        cost = denoise_plan.cost(arch, config, layout(arch, config))
        need = {"network": cost.of(request.size),
                "train": cost.training(request.batch, (request.patch,) * 2)}
        most = max((need[part] for part in request.parts if part in need), default=0)
        if most > room:
            raise OutOfMemory(f"{name} needs {units.show(most)}, and {units.show(room)} are left",
                              hint="Choose a smaller --size or --batch, or --part pipeline")


class _Bench:
    """What all networks share: the engine, the image, the files, the training."""

    def __init__(self, request: DenoiseBenchRequest, folder: Path, console: Console):
        from restore_cli.media import images
        from restore_cli.media.model import Image
        from restore_cli.runtime import engine

        self.request, self.folder, self.console = request, folder, console
        self.engine = engine.start(request.device, request.threads, console=console)
        from restore_cli.training import fit

        picture = noisy_picture(*request.size, request.channels)
        self.source = folder / "input.png"
        images.write(self.source, Image(picture))
        values = picture.transpose(2, 0, 1).astype(np.float32)
        axes = (1, 2)
        self.image = ((values - values.mean(axes, keepdims=True))
                      / values.std(axes, keepdims=True)).astype(np.float32)
        self.settings = fit.FitSettings(steps=request.steps, patch=request.patch,
                                        batch=request.batch)
        cycle = fit.Cycle(self.settings)
        self.training = Training(request.batch, request.patch,
                                 tuple(map(cycle.rate, range(request.steps))))


class _Subject(bench_rounds.Subject):
    """One network under test.

    Attributes:
        plain: (arch, config, tensors), what both sides start from.
        weights: their file.
        padded: what it predicts from, (1, C, H, W), sides multiples of its alignment.
        losses: of the first training.
    """

    def __init__(self, name: str, arch: str, config: dict[str, Any], bench: _Bench):
        from restore_cli.weights import files

        self.name, self._bench = name, bench
        made = random_weights(arch, config)
        made.metadata["normalisation"] = denoise_network.Normalisation().text
        self.plain = (arch, config, made.tensors)
        self.weights = bench.folder / f"{name}.safetensors"
        files.write(self.weights, made)
        self._target = bench.folder / f"{name}.png"
        self._predicting, self._trained = (
            denoise_network.build(arch, config, made, name, bench.engine.device).network
            for _ in range(2))
        align = layout(arch, config).align
        sides = [(0, -side % align) for side in bench.image.shape[1:]]
        self.padded = np.pad(bench.image, [(0, 0), *sides], mode="reflect")[None]
        self.losses: np.ndarray = np.zeros(0)

    def prepare(self) -> None:
        """Compiles every kernel and loads the input: the first, untimed runs."""
        import jittor as jt

        self._input = jt.array(self.padded)
        for part in self._bench.request.parts:
            self.clock(part)

    def _train(self) -> None:
        from restore_cli.training import fit

        report = fit.fit(self._trained, Crops(self._bench.image), self._bench.settings)
        if not self.losses.size:
            self.losses = report.losses

    def _denoise(self) -> None:
        from restore_cli.jobs import denoise

        self._target.unlink(missing_ok=True)
        request, engine = self._bench.request, self._bench.engine
        console = bench_rounds.silent(self._bench.console)
        console.stderr = io.StringIO()  # what it says of the generated image is of no interest
        status = denoise.run(denoise.DenoiseRequest(
            inputs=[str(self._bench.source)], output=str(self._target), weights=str(self.weights),
            device=engine.device, threads=engine.threads, memory=request.memory,
            tile=request.tile, precision=bench_rounds.current()), console)
        if status != ExitStatus.OK:
            raise RestoreError(f"the timed command failed: {console.stderr.getvalue().strip()}")


def _measure(request: DenoiseBenchRequest, bench: _Bench, subjects: dict[str, _Subject],
             worker: bench_denoise_torch.Worker | None, console: Console) -> Report:
    from restore_cli.pipeline import memory

    amounts = {"train": (request.steps, "steps")}
    megapixels = (math.prod(request.size) / 1e6, "Mpx")
    timings = {f"{name} {part}": Timing(f"{name} {part}", [], [], *amounts.get(part, megapixels))
               for name in subjects for part in request.parts}
    parts = {f"{name} {part}": (name, part) for name in subjects for part in request.parts}
    console.info("compiling and warming up")
    bench_rounds.prepare(request, subjects, bench.engine.device)
    facts = _facts(request, bench)
    differences: dict[str, float] = {}
    if worker is not None:
        formats = worker.load(bench.image, {name: one.padded for name, one in subjects.items()})
        facts |= {"torch": worker.about["torch"], "torch_threads": worker.about["threads"],
                  "torch_format": "; ".join(f"{name} {one}" for name, one in formats.items())}
        differences = _differences(request, subjects, worker)

    def theirs(part: str) -> float:
        name, kind = parts[part]
        if kind == "pipeline":
            return worker.file(name, bench.source, bench.folder / f"{name}.t.png")
        return worker.run(name, kind)

    def ours(part: str) -> float:
        name, kind = parts[part]
        return subjects[name].clock(kind)

    mine, others, other = bench_rounds.sides(request, ours, theirs if worker is not None else None)
    bench_rounds.run(list(timings.values()), request.repeat, mine, others, console)
    costs = (bench_cost.shipped("denoise", request.pictures, console)
             if request.precision != "fp32" else [])
    notes = [_NOTE] if worker is not None and "pipeline" in request.parts else []
    return Report(facts, list(timings.values()), memory.peak_rss(), differences, notes, other,
                  costs)


def _facts(request: DenoiseBenchRequest, bench: _Bench) -> dict[str, Any]:
    height, width = request.size
    return {"model": ", ".join(request.networks), "input": f"{width}x{height}",
            "channels": request.channels, "steps": request.steps,
            "batch": f"{request.batch}x{request.patch}x{request.patch}",
            **bench_rounds.machine(bench.engine, request)}


def _differences(request: DenoiseBenchRequest, subjects: dict[str, _Subject],
                 worker: bench_denoise_torch.Worker) -> dict[str, float]:
    """Largest differences: of outputs against their largest value, of losses relative."""
    found = {}
    for name, subject in subjects.items():
        if "network" in request.parts:
            theirs = worker.outputs(name)
            found[f"{name} output"] = float(np.abs(subject.predict().numpy() - theirs).max()
                                            / np.abs(theirs).max())
        if "train" in request.parts:
            theirs = np.array(worker.losses(name)[:_COMPARED])
            ours = subject.losses[:_COMPARED]
            found[f"{name} loss"] = float((np.abs(ours - theirs) / theirs).max())
    return found


def noisy_picture(height: int, width: int, channels: int) -> np.ndarray:
    """A picture with detail at every size and Gaussian noise of sigma 25.

    Returns:
        (height, width, channels) uint8.
    """
    clean = synthetic_picture(height, width)[..., :channels]
    noise = np.random.default_rng(1).standard_normal(clean.shape, dtype=np.float32)
    return np.clip(np.rint(clean + np.float32(SIGMA) * noise), 0, 255).astype(np.uint8)
