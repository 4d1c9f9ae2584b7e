"""Training denoisers: Noise2Void's masked losses, and supervised training on generated noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from restore_cli.nets import registry
from restore_cli.training.datasets.denoising import DenoisingBatch, DenoisingSampler, Held
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.weights.files import Weights, write


def masked_mse(prediction: jt.Var, target: jt.Var, mask: jt.Var | None = None) -> jt.Var:
    """Mean squared error where `mask` is 1, or everywhere without one.

    Noise2Void (CVPR 2019), equation 8: sum(mask * error) / sum(mask), over the whole batch. All
    three have one shape. An empty mask gives 0.
    """
    error = prediction - target
    return _masked(error * error, mask)


def masked_mae(prediction: jt.Var, target: jt.Var, mask: jt.Var | None = None) -> jt.Var:
    """Mean absolute error, as `masked_mse`."""
    return _masked((prediction - target).abs(), mask)


def _masked(error: jt.Var, mask: jt.Var | None) -> jt.Var:
    if mask is None:
        return error.mean()
    return (error * mask).sum() / mask.sum().maximum(1.0)


LOSSES: dict[str, Callable[..., jt.Var]] = {"mse": masked_mse, "mae": masked_mae}


def fresh(arch: str, config: dict[str, Any], seed: int):
    """A network with the random weights that belong to `seed`, ready to be trained."""
    jt.set_global_seed(seed)
    network = registry.build(arch, config)
    jt.sync_all()  # weights are drawn when they are needed, from whatever seed is set then
    network.train()  # Jittor's eval() stops every gradient
    return network


class N2VRecipe:
    """One denoiser trained on many images.

    Args:
        arch: "n2v-field", "n2v-unet", "rednet10", ...
        config: its configuration.
        sampler: makes the batch of any step.
        held: fixed validation images; may be empty.
        settings: what defines the run (see `Recipe`).
        facts: written into exported weights' metadata beside the run's settings and scores.
        loss: "mse" or "mae".
        workers: threads that prepare batches.
    """

    def __init__(self, arch: str, config: dict[str, Any], sampler: DenoisingSampler,
                 held: Sequence[Held], settings: dict[str, Any], facts: dict[str, str],
                 loss: str = "mse", workers: int = 1):
        self.network = fresh(arch, config, settings["seed"])
        self.settings = settings
        self._arch, self._config, self._facts = arch, config, facts
        self._sampler, self._held, self._workers = sampler, list(held), workers
        self._loss = LOSSES[loss]

    def batches(self, start: int) -> Iterator[DenoisingBatch]:
        """Batches from step `start` on, prepared in the background."""
        return Prefetcher(self._sampler, start, self._workers)

    def loss(self, batch: DenoisingBatch) -> jt.Var:
        """Loss of one batch, in normalised units."""
        mask = None if batch.mask is None else jt.array(batch.mask)
        return self._loss(self.network(jt.array(batch.inputs)), jt.array(batch.targets), mask)

    def validate(self) -> dict[str, float]:
        """Scores on the fixed images.

        ``blind_mse`` in normalised units, at the blind pixels against the noisy values (lower is
        better, but it never falls below the noise); where the clean images are known, ``psnr`` in
        dB of the unclipped results, mean over images.
        """
        blind, psnr = [], []
        for one in self._held:
            if self._sampler.task.target == "noisy":
                found = self.network(jt.array(one.inputs[None])).numpy()[0]
                error = (found - one.noisy).astype(np.float64) ** 2
                blind.append(float((error * one.mask).sum() / one.mask.sum()))
            if one.clean is not None:
                found = self.network(jt.array(one.noisy[None])).numpy()[0]
                psnr.append(_psnr(found, one))
        scores = {"psnr": psnr, "blind_mse": blind}
        return {name: float(np.mean(values)) for name, values in scores.items() if values}

    def noisy_psnr(self) -> float | None:
        """PSNR of the noisy validation images themselves, in dB; None when nobody knows it."""
        found = [_psnr(one.noisy, one) for one in self._held if one.clean is not None]
        return float(np.mean(found)) if found else None

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights that `restore denoise --weights` takes."""
        training = {"settings": self.settings, "step": step, "validation": scores}
        metadata = {**self._facts, "training": json.dumps(training)}
        write(path, Weights(self._arch, self._config, weights, metadata), overwrite=True)


def _psnr(found: np.ndarray, one: Held) -> float:
    error = (found - one.clean).astype(np.float64) / one.white[:, None, None]
    return float(-10 * np.log10(max((error**2).mean(), 1e-20)))
