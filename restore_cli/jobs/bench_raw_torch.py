"""What PyTorch does of `restore bench denoise-raw`, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.jobs import bench_raw_dng, bench_worker
from restore_cli.jobs.bench_raw_networks import Network

Plain = tuple[str, Mapping[str, Any], Mapping[str, np.ndarray]]
"""Architecture, configuration and state dict."""


@dataclass(frozen=True)
class Step:
    """One training step that both sides make.

    Attributes:
        noisy, clean: (N, 4, h, w) float32.
        branch: alignment that is trained.
        rate: of Adam.
    """

    noisy: np.ndarray
    clean: np.ndarray
    branch: int
    rate: float


@dataclass(frozen=True)
class Work:
    """What one network is asked to do; None leaves a part out.

    Attributes:
        network: folded, for inference.
        image: (1, 4, h, w) float32.
        trained: with alignments, for training.
        frozen: keys that are not trained.
        weights: file of the network's tensors, which turning a file into another begins with.
    """

    network: Plain
    image: np.ndarray
    trained: Plain | None = None
    frozen: frozenset[str] = frozenset()
    weights: Path | None = None


class Worker(bench_worker.NetworkWorker):
    """The networks in a process of their own, called step by step.

    Use as a context manager.

    Args:
        work: by name of a network.
        steps: what one timed training is.
        ratio: amplification of files.
        device: "cpu" or "cuda:N".
        threads: CPU threads.

    Raises:
        UsageError: PyTorch is missing.
    """

    def __init__(self, work: Mapping[str, Work], steps: Sequence[Step], ratio: float, device: str,
                 threads: int):
        super().__init__(_Session, (dict(work), list(steps), ratio), device, threads)

    def load(self, names: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Chooses the faster memory format for each (network, part) that will be timed.

        Returns:
            "channels_last" or "contiguous" by "network part"; a file has that of "network".
        """
        return self.ask("load", list(names))


class _Session(bench_worker.Session):
    def __init__(self, work: dict[str, Work], steps: list[Step], ratio: float, device: str):
        super().__init__(device)
        self._work, self._steps, self._ratio = work, steps, ratio
        self._predicting: dict[str, Network] = {}
        self._last: dict[str, bool] = {}
        self._trained: dict[str, _Trained] = {}

    def load(self, names: list[tuple[str, str]]) -> dict[str, str]:
        found = {}
        for name, part in names:
            if part == "train":
                last = self._faster_format(lambda last, name=name: self._fresh(name, last))
                self._fresh(name, last)
            elif name not in self._predicting:
                last = self._faster_format(lambda last, name=name: self._predictor(name, last))
                self._predictor(name, last)
                self._last[name] = last
            else:
                continue
            kind = part if part == "train" else "network"
            found[f"{name} {kind}"] = "channels_last" if last else "contiguous"
        return found

    def _fresh(self, name: str, channels_last: bool):
        self._trained[name] = made = _Trained(self._work[name], self._device, channels_last)
        return lambda: made.run(self._steps)

    def _predictor(self, name: str, channels_last: bool):
        import torch

        work = self._work[name]
        self._predicting[name] = Network(*work.network, self._device, channels_last)
        image = torch.from_numpy(work.image).to(self._device)
        return lambda: self._predict(name, image)

    def _predict(self, name: str, x):
        import torch

        with torch.inference_mode():
            return self._predicting[name](x)

    def run(self, network: str, part: str) -> float:
        import torch

        if part == "train":
            return self._clock(lambda: self._trained[network].run(self._steps))
        image = torch.from_numpy(self._work[network].image).to(self._device)
        return self._clock(lambda: self._predict(network, image))

    def outputs(self, network: str) -> np.ndarray:
        import torch

        image = torch.from_numpy(self._work[network].image).to(self._device)
        return self._predict(network, image).cpu().numpy()

    def losses(self, network: str) -> list[float]:
        return _Trained(self._work[network], self._device).run(self._steps)

    def file(self, network: str, source: str, target: str) -> float:
        return self._clock(lambda: self._convert(network, source, target))

    def _convert(self, network: str, source: str, target: str) -> None:
        import torch
        from safetensors.numpy import load_file

        work = self._work[network]
        ready = Network(*work.network[:2], load_file(work.weights), self._device,
                        self._last[network])
        planes = np.minimum(bench_raw_dng.pack(bench_raw_dng.read(source)) * self._ratio, 1)
        x = torch.from_numpy(planes[None].astype(np.float32)).to(self._device)
        with torch.inference_mode():
            clean = ready(x)[0].clamp(0, 1).cpu().numpy()
        bench_raw_dng.write(target, bench_raw_dng.unpack(clean))


class _Trained:
    """A network with its optimiser."""

    def __init__(self, work: Work, device: str, channels_last: bool = False):
        import torch

        self._network = Network(*work.trained, device, channels_last)
        trained = [value for key, value in self._network.parameters.items()
                   if key not in work.frozen]
        for value in trained:
            value.requires_grad_(True)
        self._device, self._adam = device, torch.optim.Adam(trained)

    def run(self, steps: Sequence[Step]) -> list[float]:
        """Makes all steps; their losses."""
        return [self._step(step) for step in steps]

    def _step(self, step: Step) -> float:
        import torch

        noisy, clean = (torch.from_numpy(part).to(self._device)
                        for part in (step.noisy, step.clean))
        for group in self._adam.param_groups:
            group["lr"] = step.rate
        self._adam.zero_grad()
        self._network.branch = step.branch
        loss = (self._network(noisy) - clean).abs().mean()
        loss.backward()
        self._adam.step()
        return loss.item()
