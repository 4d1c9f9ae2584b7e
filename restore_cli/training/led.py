"""Training RAW denoisers: on generated noise, branch by branch, or on noisy and clean pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from restore_cli.nets.led import fold
from restore_cli.nets.led.repnr import use_branch
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.training.datasets.raw_pairs import Branch, Held, RawBatch
from restore_cli.training.datasets.samplers import Sampler
from restore_cli.training.n2v import fresh
from restore_cli.weights.files import Weights, write

COARSE = (8, 32)


class LedRecipe:
    """L1 loss between what the network makes of a noisy patch and the clean one.

    L1 alone is content with a median: where noise is strong and a colour rare, that is paler and
    darker than the truth over whole areas. `coarse` also compares averages over areas.

    Args:
        arch: "led-unet", "led-nafnet" or "led-restormer".
        config: its configuration; "repnr" decides what is trained (LED, section 3.2).
        sampler: makes the batch of any step.
        held: fixed validation patches; may be empty.
        settings: what defines the run (see `Recipe`).
        facts: written into exported weights' metadata beside the run's settings and scores.
        judged: the alignment that is validated: "mean" while virtual cameras are trained, -1 for
            the target camera.
        frozen: keys that are not trained.
        coarse: weight of the L1 loss between averages of 8x8 and of 32x32 pixels; 0 as published.
        workers: threads that prepare batches.
    """

    def __init__(self, arch: str, config: dict[str, Any], sampler: Sampler, held: Sequence[Held],
                 settings: dict[str, Any], facts: dict[str, str], *, judged: Branch = -1,
                 frozen: frozenset[str] = frozenset(), coarse: float = 0.0, workers: int = 1):
        self.network = fresh(arch, config, settings["seed"])
        self.settings, self.frozen = settings, frozen
        self._arch, self._config, self._facts = arch, config, facts
        self._sampler, self._held, self._workers = sampler, list(held), workers
        self._judged, self._coarse = judged, coarse

    def batches(self, start: int) -> Iterator[RawBatch]:
        """Batches from step `start` on, prepared in the background."""
        return Prefetcher(self._sampler, start, self._workers)

    def loss(self, batch: RawBatch) -> jt.Var:
        """Mean absolute error of one batch, white is 1, and that of its averages over areas."""
        self._use(batch.branch)
        error = self.network(jt.array(batch.inputs)) - jt.array(batch.targets)
        loss = error.abs().mean()
        if self._coarse:
            for side in COARSE:
                loss += self._coarse * averages(error, side).abs().mean()
        return loss

    def validate(self) -> dict[str, float]:
        """PSNR in dB for each ratio of the fixed patches: ``psnr_30``, ``psnr_100`` and so on."""
        self._use(self._judged)
        scores = {}
        for one in self._held:
            found = [self.network(jt.array(noisy[None])).numpy()[0] for noisy in one.noisy]
            scores[f"psnr_{one.ratio:g}"] = one.psnr(np.stack(found))
        return scores

    def scores(self) -> dict[str, float]:
        """`validate` at any time outside a run."""
        self.network.eval()
        with jt.no_grad():
            found = self.validate()
        self.network.train()
        return found

    def noisy_psnr(self) -> dict[str, float]:
        """The same scores of the noisy patches themselves."""
        return {f"psnr_{one.ratio:g}": one.psnr(one.noisy) for one in self._held}

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights that `restore denoise-raw --weights` takes."""
        training = {"settings": self.settings, "step": step, "validation": scores}
        metadata = {**self._facts, "training": json.dumps(training)}
        if self._judged == "mean":
            weights = fold.generalise(weights)
        write(path, Weights(self._arch, self._config, weights, metadata), overwrite=True)

    def _use(self, branch: Branch) -> None:
        if self._config.get("repnr"):
            use_branch(self.network, -1 if branch is None else branch)


def averages(x: jt.Var, side: int) -> jt.Var:
    """(N, C, H, W) to its averages over squares of `side` pixels; a rest at the end is left out.

    Squares are no larger than the picture.
    """
    count, channels, height, width = x.shape
    rows, columns = min(side, height), min(side, width)
    down, across = height // rows, width // columns
    x = x[:, :, :down * rows, :across * columns]
    return x.reshape(count, channels, down, rows, across, columns).mean(dims=(3, 5))


def untrained(keys: Sequence[str], phase: str, branches: int) -> frozenset[str]:
    """State-dict keys that a phase of training leaves as they are.

    Args:
        keys: of the network.
        phase: "pretrain" (everything but the target camera's alignment), "align" (only that
            alignment) or "aux" (only the parallel convolutions, for noise outside the model).
        branches: number of virtual cameras.
    """
    target = tuple(f".align_{part}.{branches}" for part in ("weights", "biases"))
    aux = (".aux_weight", ".aux_bias")
    if phase == "pretrain":
        return frozenset(key for key in keys if key.endswith(target))
    trained = target if phase == "align" else aux
    return frozenset(key for key in keys if not key.endswith(trained))
