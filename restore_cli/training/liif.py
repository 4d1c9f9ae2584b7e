"""Training LIIF, MetaSR and fixed-scale networks (LIIF section 4.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, Sequence

import jittor as jt
import numpy as np

from restore_cli.evaluation import metrics
from restore_cli.nets import registry
from restore_cli.training.datasets.liif import LiifBatch
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.training.datasets.samplers import Sampler
from restore_cli.training.datasets.validation import ValidationPair
from restore_cli.weights.files import Weights, write


class LiifRecipe:
    """L1 loss on normalised colours at random output pixels.

    Args:
        arch: "liif" or "metasr".
        config: its configuration.
        sampler: makes the batch of any step.
        pairs: fixed validation crops; may be empty.
        settings: what defines the run (see `Recipe`).
        facts: written into exported weights' metadata beside the run's settings and scores.
        workers: threads that prepare batches.
    """

    def __init__(self, arch: str, config: dict[str, Any], sampler: Sampler,
                 pairs: Sequence[ValidationPair], settings: dict[str, Any],
                 facts: dict[str, str], workers: int = 1):
        jt.set_global_seed(settings["seed"])
        self.network = registry.build(arch, config)
        self.settings = settings
        self._arch, self._config, self._facts = arch, config, facts
        self._sampler, self._pairs, self._workers = sampler, list(pairs), workers

    def batches(self, start: int) -> Iterator[LiifBatch]:
        """Batches from step `start` on, prepared in the background."""
        return Prefetcher(self._sampler, start, self._workers)

    def loss(self, batch: LiifBatch) -> jt.Var:
        """Mean absolute error of one batch."""
        colours = self.network(jt.array(batch.lr), batch.coord, batch.cell)
        wanted = jt.array(np.ascontiguousarray(batch.gt.transpose(0, 2, 1)))
        return (colours - wanted).abs().mean()

    def validate(self) -> dict[str, float]:
        """Mean RGB PSNR in dB of 8-bit results on the fixed crops, ``psnr_x2`` and so on."""
        found: dict[str, list[float]] = {}
        for pair in self._pairs:
            low = pair.lr.astype(np.float32).transpose(2, 0, 1)[None] / 255
            features = self.network.encode(jt.array((low - 0.5) / 0.5))
            image = self.network.render(features, pair.hr.shape[:2]).numpy()[0]
            image = metrics.quantise(np.clip(image.transpose(1, 2, 0) * 0.5 + 0.5, 0, 1))
            score = metrics.psnr(image, pair.hr.astype(np.float64) / 255)
            found.setdefault(f"psnr_x{pair.scale:g}", []).append(score)
        return {name: float(np.mean(scores)) for name, scores in found.items()}

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights that `restore upscale --weights` takes."""
        training = {"settings": self.settings, "step": step, "validation": scores}
        metadata = {**self._facts, "training": json.dumps(training)}
        write(path, Weights(self._arch, self._config, weights, metadata), overwrite=True)
