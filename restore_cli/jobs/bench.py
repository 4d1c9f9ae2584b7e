"""`restore bench upscale`: times the network's parts and the whole command."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, OutOfMemory, UsageError
from restore_cli.jobs import bench_cost, bench_rounds, bench_torch
from restore_cli.jobs.bench_report import Report, Timing

NETWORK_PARTS = ("encoder", "decoder", "network")
PARTS = (*NETWORK_PARTS, "pipeline")


@dataclass(frozen=True)
class BenchRequest(bench_rounds.Request):
    """What to time of `restore upscale`.

    Attributes:
        model: name of known weights; None is the default.
        weights: weight file instead of a name.
        random: build the named network with random weights, without its file.
        scale: enlargement.
    """

    size: tuple[int, int] = (128, 128)
    parts: tuple[str, ...] = PARTS
    model: str | None = None
    weights: str | None = None
    random: bool = False
    scale: float = 4.0


def run(request: BenchRequest, console: Console) -> ExitStatus:
    """Times all parts and prints one table, or one record a part."""
    bench_rounds.check(request)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restore-bench-")))
        subject = _Subject(request, folder, console)
        worker = None
        if request.against:
            worker = stack.enter_context(bench_torch.Worker(
                subject.weights.arch, subject.config, subject.weights.tensors,
                subject.engine.device, subject.engine.threads))
        report = _measure(request, subject, worker, console)
    return bench_rounds.publish(report, request, console)


class _Subject:
    """The network under test, its input, and a file for the whole command."""

    def __init__(self, request: BenchRequest, folder: Path, console: Console):
        from restore_cli.jobs import upscale_network
        from restore_cli.runtime import engine
        from restore_cli.weights import files

        self._request, self._console = request, console
        self.name, self._file = _find(request, folder, console)
        self.weights, self.layout = upscale_network.facts(files.read(self._file), self._file)
        self.config = complete(self.weights.arch, self.weights.config)
        self.engine = engine.start(request.device, request.threads, console=console)
        from restore_cli.nets import registry

        self._network = registry.build(self.weights.arch, self.weights.config)
        self._network.load_state_dict(self.weights.tensors)
        height, width = request.size
        self.size = (math.floor(height * request.scale + 0.5),
                     math.floor(width * request.scale + 0.5))
        if set(NETWORK_PARTS) & set(request.parts):
            self._check_memory()
        picture = synthetic_picture(height, width)
        self.image = np.ascontiguousarray(
            (picture.transpose(2, 0, 1)[None] / np.float32(255) - 0.5) / 0.5, dtype=np.float32)
        self.source, self.target = folder / "input.png", folder / "output.png"
        if "pipeline" in request.parts:
            from restore_cli.media import images
            from restore_cli.media.model import Image

            images.write(self.source, Image(picture))

    def _check_memory(self) -> None:
        """The bare network runs on the whole input at once, whatever `--tile` says."""
        from restore_cli.jobs import upscale_plan
        from restore_cli.pipeline import memory

        model = upscale_plan.cost(self.layout, self_ensemble=False)
        shape = self._request.size
        chunk = (1, min(math.prod(self.size), 1 << 16))  # what the decoder renders at once
        need = model.of(shape, shape, chunk, (0, 0)) + 12 * math.prod(self.size)
        room = memory.budget(self._request.memory).room
        if need > room:
            raise OutOfMemory(f"the bare network needs {units.show(need)} for "
                              f"{shape[1]}x{shape[0]}, and {units.show(room)} are left",
                              hint="Choose a smaller --size, or --part pipeline")

    def prepare(self) -> None:
        """Compiles every kernel and loads the input: the first, untimed runs."""
        import jittor as jt

        self._input = jt.array(self.image)
        if set(NETWORK_PARTS) & set(self._request.parts):
            self._features = self._encode()
        for part in self._request.parts:
            self.clock(part)

    def clock(self, part: str) -> float:
        """Seconds of one run of a part."""
        work: dict[str, Callable[[], Any]] = {
            "encoder": self._encode, "decoder": self._decode, "pipeline": self._upscale,
            "network": lambda: self._render(self._encode(sync=False))}
        begin = time.perf_counter()
        work[part]()
        return time.perf_counter() - begin

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and raw output."""
        return self._features.numpy(), self._decode().numpy()

    def cost(self) -> bench_cost.Cost:
        """Of bfloat16, with these weights."""
        request = self._request
        return bench_cost.measure(self.name, [
            bench_cost.upscale(self._network, self.weights.normalisation, request.scale, one)
            for one in bench_cost.pictures(request.pictures)], request.random)

    def _encode(self, sync: bool = True):
        import jittor as jt

        with jt.no_grad():
            features = self._network.encode(self._input)
            if sync:
                features.sync(True)
        return features

    def _decode(self):
        return self._render(self._features)

    def _render(self, features):
        import jittor as jt

        with jt.no_grad():
            output = self._network.render(features, self.size)
            output.sync(True)
        return output

    def _upscale(self) -> None:
        from restore_cli.jobs import upscale

        self.target.unlink(missing_ok=True)
        request = self._request
        upscale.run(upscale.UpscaleRequest(
            inputs=[str(self.source)], output=str(self.target), scale=f"{request.scale:g}",
            weights=str(self._file), device=self.engine.device, threads=self.engine.threads,
            memory=request.memory, tile=request.tile, precision=bench_rounds.current()),
            bench_rounds.silent(self._console))


def _measure(request: BenchRequest, subject: _Subject, worker: bench_torch.Worker | None,
             console: Console) -> Report:
    from restore_cli.pipeline import memory

    timings = [Timing(part) for part in request.parts]
    console.info("compiling and warming up")
    bench_rounds.prepare(request, {subject.name: subject}, subject.engine.device)
    facts = _facts(request, subject)
    differences = {}
    if worker is not None:
        facts |= {"torch": worker.about["torch"], "torch_threads": worker.about["threads"],
                  "torch_format": worker.load(subject.image, subject.size)}
        if set(NETWORK_PARTS) & set(request.parts):
            differences = compare_outputs(subject.outputs(), worker.outputs(), request.scale)

    def theirs(part: str) -> float:
        if part == "pipeline":
            return worker.file(subject.source, subject.target.with_suffix(".t.png"))
        return worker.run(part)

    ours, others, other = bench_rounds.sides(request, subject.clock, theirs if worker else None)
    bench_rounds.run(timings, request.repeat, ours, others, console)
    costs = [subject.cost()] if request.precision != "fp32" else []
    return Report(facts, timings, memory.peak_rss(), differences, other=other, costs=costs)


def _facts(request: BenchRequest, subject: _Subject) -> dict[str, Any]:
    height, width = request.size
    return {"model": subject.name, "input": f"{width}x{height}",
            "output": f"{subject.size[1]}x{subject.size[0]}", "scale": request.scale,
            **bench_rounds.machine(subject.engine, request)}


def _find(request: BenchRequest, folder: Path, console: Console) -> tuple[str, Path]:
    """The model's name and weight file; with `random`, a file of random weights."""
    from restore_cli.jobs import upscale_network

    if not request.random:
        path = upscale_network.find(request.model, request.weights, console)
        return path.stem, path
    from restore_cli.weights import files
    from restore_cli.weights.store import Store

    store = Store(console=console)
    entry = (store.entry(request.model) if request.model
             else store.manifest.default("upscale"))
    path = folder / f"{entry.name}.safetensors"
    files.write(path, random_weights(entry.arch, entry.config))
    return f"{entry.name} (random weights)", path


def random_weights(arch: str, config: dict[str, Any], seed: int = 0):
    """Weights of a network with values of a sensible size; speed does not depend on them."""
    from restore_cli.nets.layout import layout
    from restore_cli.weights.files import Weights

    rng = np.random.default_rng(seed)
    tensors = {}
    for key, shape in layout(arch, config).shapes.items():
        fan_in = max(1, math.prod(shape[1:]))
        tensors[key] = (rng.standard_normal(shape, dtype=np.float32)
                        * np.float32(0.7 / math.sqrt(fan_in)))
    return Weights(arch, config, tensors)


def complete(arch: str, config: dict[str, Any]) -> dict[str, Any]:
    """A "liif" or "metasr" configuration with the encoder's defaults written out.

    Raises:
        UsageError: a fixed-scale network, which has no decoder to time.
    """
    from restore_cli.nets.liif import shapes

    name, args = shapes.spec(config.get("encoder_spec"), "encoder_spec")
    if arch == "liif" and config.get("imnet_spec") is None:
        raise UsageError(f"bench upscale times LIIF and MetaSR, not fixed-scale {name} networks")
    return {**config, "encoder_spec": {"name": name, "args": shapes.encoder_config(name, args)}}


def compare_outputs(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray],
                    scale: float) -> dict[str, float]:
    """Largest absolute differences of features and output, in the network's units.

    A border of one input pixel is left out of the output: at odd scales the published form
    divides rounding errors by each other in the last row and column of input centres.
    """
    border = math.ceil(scale)
    inner = (..., slice(border, -border), slice(border, -border))
    return {"features": float(np.abs(ours[0] - theirs[0]).max()),
            "output": float(np.abs(ours[1][inner] - theirs[1][inner]).max(initial=0.0))}


def synthetic_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with detail at every size, so that PNG works as hard as on a photograph.

    Returns:
        (height, width, 3) uint8.
    """
    from restore_cli.training.degradations import bicubic

    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for level in range(1, 9):
        shape = (min(height, 1 << level), min(width, 1 << level), 3)
        noise = rng.standard_normal(shape).astype(np.float32)
        total += bicubic.resize(noise, (height, width)) / 1.7**level
    return np.clip(total * 80 + 128, 0, 255).astype(np.uint8)
