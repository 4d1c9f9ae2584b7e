"""Training the flow network alone, on pairs of frames whose motion is known (PWC-Net, CVPR 2018).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from restore_cli.nets.vsr import pwc, shapes
from restore_cli.training import vsr_flow_start
from restore_cli.training.datasets.moving_samples import FlowBatch
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.training.datasets.samplers import Sampler
from restore_cli.training.n2v import fresh
from restore_cli.training.vsr_losses import end_point
from restore_cli.weights.files import Weights, write

WEIGHTS = (1.28, 0.64, 0.32, 0.32, 0.32)
"""Weights of the levels' losses, finest first: equation 1's alpha (0.005 to 0.32), which belong to
sums over pixels, times the number of a level's pixels to one of the coarsest level."""


class FlowRecipe:
    """The flow network, by the multi-scale end-point error.

    Args:
        config: of the network "vsr-flow".
        sampler: makes the `FlowBatch` of any step.
        held: fixed pairs to validate on; may be empty.
        settings: what defines the run (see `Recipe`).
        facts: written into exported weights' metadata beside the run's settings and scores.
        workers: threads that prepare batches.
    """

    def __init__(self, config: dict[str, Any], sampler: Sampler, held: Sequence[FlowBatch],
                 settings: dict[str, Any], facts: dict[str, str], *, workers: int = 1):
        self.network = fresh(shapes.FLOW_NAME, config, settings["seed"])
        vsr_flow_start.start(self.network, sampler.batch(0).first, settings["seed"])
        self.settings = settings
        self._config, self._facts = config, facts
        self._sampler, self._held, self._workers = sampler, list(held), workers

    def batches(self, start: int) -> Iterator[FlowBatch]:
        """Batches from step `start` on, prepared in the background."""
        return Prefetcher(self._sampler, start, self._workers)

    def loss(self, batch: FlowBatch) -> jt.Var:
        """The weighted sum over levels of the mean end-point error, in the network's unit."""
        first, second = (self.network.pyramid(jt.array(one)) for one in (batch.first,
                                                                         batch.second))
        target = _scaled(jt.array(batch.flow))
        loss = jt.zeros(1)
        for weight, flow in zip(WEIGHTS, decode_all(self.network, first, second), strict=True):
            loss = loss + weight * end_point(flow - _averaged(target, flow.shape[2])).mean()
        return loss

    def validate(self) -> dict[str, float]:
        """``epe``: mean end-point error on the fixed pairs in pixels; lower is better."""
        found = [float(end_point(self.network(jt.array(one.first), jt.array(one.second))
                                 - jt.array(one.flow)).mean().item()) for one in self._held]
        return {"epe": float(np.mean(found))} if found else {}

    def still_epe(self) -> float | None:
        """The same score of no motion at all; None without pairs."""
        found = [np.hypot(*np.moveaxis(one.flow, 1, 0)).mean() for one in self._held]
        return float(np.mean(found)) if found else None

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights that `restore train vsr --init` takes."""
        training = {"settings": self.settings, "step": step, "validation": scores}
        metadata = {**self._facts, "training": json.dumps(training)}
        write(path, Weights(shapes.FLOW_NAME, self._config, weights, metadata), overwrite=True)


def decode_all(network: pwc.FlowNetwork, first: pwc.Pyramid, second: pwc.Pyramid
               ) -> list[jt.Var]:
    """The flows of all levels, finest first, the finest one refined; in the network's unit."""
    names = shapes.LEVELS[shapes.FIRST:]
    flows, made = [], None
    for name, one, two in reversed(list(zip(names, first.levels, second.levels, strict=True))):
        made = getattr(network, f"module{name}")(one, two, made)
        flows.insert(0, made[0])
    flows[0] = flows[0] + network.moduleRefiner(made[1])
    return flows


def _scaled(flow: jt.Var) -> jt.Var:
    """Flow in pixels of the frames to the network's unit on the sides it works on."""
    height, width = flow.shape[2:]
    sides = pwc.aligned(height), pwc.aligned(width)
    ratio = np.float32([sides[1] / width, sides[0] / height]) / pwc.MAGNITUDE
    return pwc.resize(flow, sides) * jt.array(ratio.reshape(1, 2, 1, 1))


def _averaged(flow: jt.Var, rows: int) -> jt.Var:
    """Flow averaged over the squares of a coarser level with `rows` rows."""
    count, parts, height, width = flow.shape
    step = height // rows
    return flow.reshape(count, parts, rows, step, width // step, step).mean(dims=(3, 5))
