"""Training the video network: on low-resolution frames alone, or with the truth of made scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from restore_cli.nets.vsr import shapes
from restore_cli.training import vsr_losses
from restore_cli.training.datasets.films import Held, VideoBatch
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.training.datasets.samplers import Sampler
from restore_cli.training.n2v import fresh
from restore_cli.training.vsr_losses import end_point
from restore_cli.weights.files import Weights, write

STAGES = ("self", "supervised")
FLOW_KEYS, KERNEL_KEYS = "flow_net.", "kernel_net."


class VsrRecipe:
    """The network trained on windows of frames.

    Args:
        config: of the network.
        sampler: makes the `VideoBatch` of any step; with large frames for "supervised".
        held: fixed windows to validate on; may be empty.
        settings: what defines the run (see `Recipe`).
        facts: written into exported weights' metadata beside the run's settings and scores.
        stage: "self", the published losses, whose targets are the given frames (Self-Blind-VSR,
            section 3.3); or "supervised", the L1 distance from the large frame.
        flow_weight: of the mean end-point error of the flows, in pixels of the frames, where a
            batch tells the truth about them; for "supervised".
        kernel_weight: of the L1 distance of the estimated kernels from the true ones, likewise; 0
            leaves the kernel network as it is.
        flow_factor: what the flow network's learning rate is multiplied by; 0.01 as published, 0
            leaves it as it is.
        workers: threads that prepare batches.
    """

    def __init__(self, config: dict[str, Any], sampler: Sampler, held: Sequence[Held],
                 settings: dict[str, Any], facts: dict[str, str], *, stage: str = "self",
                 flow_weight: float = 0.0, kernel_weight: float = 0.0,
                 flow_factor: float = 0.01, workers: int = 1):
        self.network = fresh(shapes.NAME, config, settings["seed"])
        self.settings = settings
        keys = self.network.state_dict()
        self.factors = {key: flow_factor for key in keys if key.startswith(FLOW_KEYS)}
        fixed = ([FLOW_KEYS] * (flow_factor == 0)
                 + [KERNEL_KEYS] * (stage == "supervised" and not kernel_weight))
        self.frozen = frozenset(key for key in keys if key.startswith(tuple(fixed)))
        self._config, self._facts, self._stage = config, facts, stage
        self._flow_weight, self._kernel_weight = flow_weight, kernel_weight
        self._sampler, self._held, self._workers = sampler, list(held), workers

    def batches(self, start: int) -> Iterator[VideoBatch]:
        """Batches from step `start` on, prepared in the background."""
        return Prefetcher(self._sampler, start, self._workers)

    def loss(self, batch: VideoBatch) -> jt.Var:
        """The loss of one batch."""
        frames = jt.array(batch.frames)
        if self._stage == "supervised":
            made, flows = self.network.with_flows(frames)
            loss = (made - jt.array(batch.large)).abs().mean()
            if self._flow_weight and batch.flows is not None:
                error = jt.stack(flows, dim=1) - jt.array(batch.flows)
                loss = loss + self._flow_weight * end_point(error, 2).mean()
            if self._kernel_weight and batch.kernels is not None:
                error = self.network.kernel(frames) - jt.array(batch.kernels)
                loss = loss + self._kernel_weight * error.abs().sum(dims=(1, 2, 3)).mean()
            return loss
        return total(losses(self.network, frames))

    def validate(self) -> dict[str, float]:
        """``psnr``: of the fixed windows' middle frames in dB, neither clipped nor rounded, 4
        pixels cut on each side; mean over windows."""
        if not self._held:
            return {}
        found = [one.psnr(self.network(jt.array(one.frames[None])).numpy()[0])
                 for one in self._held]
        return {"psnr": float(np.mean(found))}

    def bicubic_psnr(self) -> float | None:
        """The same score of phase-aligned cubic enlargement; None without windows."""
        return float(np.mean([one.psnr(one.bicubic()) for one in self._held])) \
            if self._held else None

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights that `restore vsr --weights` takes."""
        training = {"settings": self.settings, "step": step, "validation": scores}
        metadata = {**self._facts, "training": json.dumps(training)}
        write(path, Weights(shapes.NAME, self._config, weights, metadata), overwrite=True)


def losses(network, frames: jt.Var) -> dict[str, jt.Var]:
    """The five losses of frames (N, T, 3, H, W), each without its weight.

    ``recons`` compares what the network makes of the smaller frames with the middle frame,
    ``cycle`` what its result becomes when it is made small again; the others keep the blur kernel
    plausible.
    """
    cycle, middle = network.cycle(frames), frames[:, network.centre]
    return {"recons": (cycle.recons_down - middle).abs().mean(),
            "cycle": (cycle.input_cycle - middle).abs().mean(),
            "boundaries": vsr_losses.boundaries(cycle.kernel),
            "sparse": vsr_losses.sparse(cycle.kernel),
            "centre": vsr_losses.centre(cycle.kernel)}


def total(found: Mapping[str, jt.Var]) -> jt.Var:
    """Their weighted sum."""
    return (found["recons"] + found["cycle"] + vsr_losses.BOUNDARIES * found["boundaries"]
            + vsr_losses.SPARSE * found["sparse"] + vsr_losses.CENTRE * found["centre"])
