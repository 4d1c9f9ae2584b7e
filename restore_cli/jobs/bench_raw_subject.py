"""One network of `restore bench denoise-raw`, as this program runs and trains it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError
from restore_cli.jobs import bench_raw_dng, bench_rounds
from restore_cli.jobs.bench_raw_data import RATIO, darkened, light, sensible
from restore_cli.jobs.bench_raw_torch import Plain, Step, Work

if TYPE_CHECKING:
    from restore_cli.jobs.bench_raw import RawBenchRequest

CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "compact": ("led-unet", {"channels": 16}), "unet": ("led-unet", {"channels": 32}),
    "nafnet": ("led-nafnet", {"width": 32}),
    "restormer": ("led-restormer", {"dim": 32, "folded": True})}
"""Registry name and configuration, as folded, by what the command line calls a network."""

_BRANCHES = 5
_RATE = 1e-4

# The last layer, and what its outputs are made to be: mean (where it has a bias) and spread.
_LAST = {"led-unet": ("conv10_1", 0.45, 0.15), "led-nafnet": ("ending", 0.0, 0.05),
         "led-restormer": ("output", 0.0, 0.05)}


@dataclass(frozen=True)
class Frame:
    """A dark frame.

    Attributes:
        source: its file.
        noisy, clean: (4, h, w) float32, the first amplified and clipped at 1.
    """

    source: Path
    noisy: np.ndarray
    clean: np.ndarray


class Bench:
    """What all networks share: the engine, the files, the training steps."""

    def __init__(self, request: RawBenchRequest, folder: Path, console: Console):
        from restore_cli.runtime import engine

        self.request, self.folder, self.console = request, folder, console
        self.engine = engine.start(request.device, request.threads, console=console)
        self._frames: dict[tuple[int, int], Frame] = {}
        self.steps: list[Step] = []

    def frame(self, size: tuple[int, int]) -> Frame:
        """The frame of a size; the first one is also what is trained on."""
        if size not in self._frames:
            clean = light(size[0] // 2, size[1] // 2)
            source = self.folder / f"{size[1]}x{size[0]}.dng"
            bench_raw_dng.write(source, darkened(clean))
            noisy = np.minimum(bench_raw_dng.pack(bench_raw_dng.read(source)) * RATIO, 1)
            self._frames[size] = made = Frame(source, noisy.astype(np.float32), clean)
            if not self.steps:
                self.steps = [self._step(made, index) for index in range(self.request.steps)]
        return self._frames[size]

    def _step(self, frame: Frame, index: int) -> Step:
        rng, side = np.random.default_rng([0, index]), self.request.patch
        places = [[int(rng.integers(max(1, length - side + 1)))
                   for length in frame.clean.shape[1:]] for _ in range(self.request.batch)]
        noisy, clean = (np.stack([planes[:, y:y + side, x:x + side] for y, x in places])
                        for planes in (frame.noisy, frame.clean))
        return Step(noisy, clean, index % _BRANCHES, _RATE)


class Subject(bench_rounds.Subject):
    """One network under test.

    Attributes:
        work: what both sides start from.
        target, their_target: DNGs that each side makes.
        losses: of the first training.
    """

    def __init__(self, name: str, parts: tuple[str, ...], frame: Frame, bench: Bench):
        from restore_cli.nets import registry
        from restore_cli.weights import files

        self.name, self.parts, self.frame, self._bench = name, parts, frame, bench
        arch, config = CHOICES[name]
        tensors = sensible(arch, config)
        self._predicting = registry.build(arch, config)
        self._predicting.load_state_dict(tensors)
        self._tame(arch, tensors)
        self._predicting.load_state_dict(tensors)
        trained = _with_alignments(arch, config) if "train" in parts else None
        self._file = bench.folder / f"{name}.safetensors"
        self.work = Work((arch, config, tensors), np.ascontiguousarray(frame.noisy[None]),
                         trained, _untrained(trained), self._file)
        self.target = bench.folder / f"{name}.dng"
        self.their_target = bench.folder / f"{name}.t.dng"
        files.write(self._file, files.Weights(arch, config, tensors, {"cameras": '["any"]'}))
        self.losses: np.ndarray = np.zeros(0)

    def prepare(self) -> None:
        """Compiles every kernel and loads the input: the first, untimed runs."""
        import jittor as jt

        from restore_cli.nets import registry
        from restore_cli.training.adam import Adam

        self._input = jt.array(self.work.image)
        if self.work.trained is not None:
            arch, config, tensors = self.work.trained
            self._network = registry.build(arch, config)
            self._network.load_state_dict(tensors)
            self._network.train()
            self._adam = Adam({key: value for key, value in self._network.state_dict().items()
                               if key not in self.work.frozen})
        for part in self.parts:
            self.clock(part)

    def _tame(self, arch: str, tensors: dict[str, np.ndarray]) -> None:
        """Scales the last layer so that outputs are pictures: clipped ones compare badly."""
        import jittor as jt

        key, mean, spread = _LAST[arch]
        crop = self.frame.noisy[None, :, :64, :64]
        with jt.no_grad():
            made = self._predicting(jt.array(np.ascontiguousarray(crop))).numpy()
        made = made if arch == "led-unet" else made - crop
        scale = np.float32(spread / made.std())
        tensors[f"{key}.weight"] *= scale
        if f"{key}.bias" in tensors:
            tensors[f"{key}.bias"] *= scale
            tensors[f"{key}.bias"] += np.float32(mean - made.mean() * scale)

    def _train(self) -> None:
        """The steps as `training.trainer` makes them."""
        import jittor as jt

        from restore_cli.nets.led.repnr import use_branch

        losses = []
        for step in self._bench.steps:
            for parameter in self._adam.parameters.values():
                parameter.stop_grad()
                parameter.start_grad()
            use_branch(self._network, step.branch)
            loss = (self._network(jt.array(step.noisy)) - jt.array(step.clean)).abs().mean()
            self._adam.step(loss, step.rate)
            losses.append(loss.stop_grad())
            jt.sync_all()
        found = np.array([loss.item() for loss in losses])
        if not self.losses.size:
            self.losses = found

    def _denoise(self) -> None:
        from restore_cli.jobs import denoise_raw

        self.target.unlink(missing_ok=True)
        request, engine = self._bench.request, self._bench.engine
        console = bench_rounds.silent(self._bench.console)
        console.stderr = io.StringIO()  # what it says of the generated file is of no interest
        status = denoise_raw.run(denoise_raw.DenoiseRawRequest(
            inputs=[str(self.frame.source)], output=str(self.target), ratio=RATIO,
            weights=str(self._file), device=engine.device, threads=engine.threads,
            memory=request.memory, tile=request.tile, precision=bench_rounds.current()), console)
        if status != ExitStatus.OK:
            raise RestoreError(f"the timed command failed: {console.stderr.getvalue().strip()}")


def _with_alignments(arch: str, config: dict[str, Any]) -> Plain:
    """The network as it is pretrained."""
    made = {key: value for key, value in config.items() if key != "folded"}
    made["repnr"] = {"branches": _BRANCHES, "aux": False}
    return arch, made, sensible(arch, made)


def _untrained(trained: Plain | None) -> frozenset[str]:
    if trained is None:
        return frozenset()
    from restore_cli.training.led import untrained

    return untrained(list(trained[2]), "pretrain", _BRANCHES)
