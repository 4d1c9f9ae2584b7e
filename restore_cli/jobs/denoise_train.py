"""Blind-spot training on the images themselves: what is trained, on what, and for how long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from restore_cli import __version__
from restore_cli.errors import ShapeError, UsageError
from restore_cli.jobs.denoise_network import Loaded, Units
from restore_cli.training.degradations.blindspot import Masking, Struct

SECONDS = 30.0
"""A training's budget unless the user gives another."""

BATCH = {2: 4, 3: 2}
PATCH, DEPTH = 64, 16
WARM_RATE, COLD_RATE = 3e-4, 1e-3
ALIKE = 1.1
"""Noise whose deviations differ by no more than this counts as the same."""


@dataclass(frozen=True)
class Recipe:
    """What the command line says about training.

    Attributes:
        seconds, steps: one of them is None.
        seed: of the patches, the masks and the random start.
        struct: pixels that share noise with the blind one, or None.
        percent, manipulator: see `Masking`.
        recorrupt: see `fit.recorrupt`; where the noise allows it.
    """

    seconds: float | None = SECONDS
    steps: int | None = None
    seed: int = 0
    struct: Struct | None = None
    percent: float = 6.0
    manipulator: str = "neighbours"
    recorrupt: bool = True

    def masking(self, shared: bool) -> Masking:
        """The masking; `shared` hides the same pixels in all channels."""
        return Masking(percent=self.percent, manipulator=self.manipulator, struct=self.struct,
                       shared=shared)

    @property
    def augment(self) -> str:
        """Which flips and turns leave the noise's direction as it is."""
        if self.struct is None or self.struct.shape in ("cross", "square"):
            return "all"
        return "flip-x" if self.struct.shape == "horizontal" else "flip-y"


@dataclass(frozen=True)
class Part:
    """Something patches are cut from.

    Attributes:
        shape: its axes of space, (H, W) or (Z, H, W).
        units: the map of its channels to the network's units.
        cut: given one slice an axis, returns (C, ...) stored values, all finite.
        keep: given the same, where the network must not learn (True), or None.
        biased: given the same, where the noise does not have the mean 0, or None.
        sigma: standard deviation of its noise, one a channel in stored values, where that is
            white and Gaussian; else None.
    """

    shape: tuple[int, ...]
    units: Units
    cut: Callable[..., np.ndarray]
    keep: Callable[..., np.ndarray] | None = None
    biased: Callable[..., np.ndarray] | None = None
    sigma: tuple[float, ...] | None = None

    @property
    def size(self) -> int:
        """Pixels."""
        return math.prod(self.shape)


class Patches:
    """Random patches of many parts, larger parts the more often (a `fit.PatchSource`).

    Args:
        parts: of equal channels.
        channels: of a patch.
        wary: biased pixels are masked, too.
    """

    def __init__(self, parts: Sequence[Part], channels: int, wary: bool = False):
        self.parts, self.channels, self.wary = list(parts), channels, wary
        self._until = np.cumsum([part.size for part in self.parts])

    @property
    def sigma(self) -> tuple[float, ...] | None:
        """Of white Gaussian noise in the network's units, where all parts have the same."""
        if any(part.sigma is None for part in self.parts):
            return None
        each = np.array([np.divide(part.sigma, part.units.std) for part in self.parts])
        if (each.max(axis=0) > ALIKE * each.min(axis=0)).any():
            return None
        return tuple(each.mean(axis=0).tolist())

    def patch(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """(C, *shape) float32 in the network's units; where it must not learn, masked.

        Parts that are smaller are reflected at their far edges.
        """
        at = int(np.searchsorted(self._until, rng.integers(self._until[-1]), side="right"))
        part = self.parts[at]
        if len(shape) != len(part.shape):
            raise ShapeError("patch", f"{len(part.shape)} axes of space", shape)
        starts = [int(rng.integers(max(1, n - side + 1))) for n, side in zip(part.shape, shape)]
        where = tuple(slice(start, min(start + side, n))
                      for start, side, n in zip(starts, shape, part.shape))
        values = part.units.to_network(part.cut(*where))
        lacking = [(0, side - have) for side, have in zip(shape, values.shape[1:])]
        masks = [part.keep, part.biased if self.wary else None]
        masks = [mask(*where) for mask in masks if mask is not None]
        if not masks:
            return np.pad(values, [(0, 0), *lacking], mode="reflect")
        keep = np.logical_or.reduce([np.broadcast_to(mask, values.shape) for mask in masks])
        return np.ma.array(np.pad(values, [(0, 0), *lacking], mode="reflect"),
                           mask=np.pad(keep, [(0, 0), *lacking], mode="reflect"))


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        steps, seconds: done.
        repeatable: whether `--steps` with the same seed gives the same weights again.
        loss: the blind-spot loss at the end, in the network's units.
        seed: it was drawn from.
        start: "n2v-grey", ... or "random".
        recorrupted: whether pixels were learned from that were not hidden, too.
    """

    steps: int
    seconds: float
    repeatable: bool
    loss: float
    seed: int
    start: str
    recorrupted: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """For a record."""
        loss = self.loss if math.isfinite(self.loss) else None
        return {"steps": self.steps, "seconds": round(self.seconds, 2), "seed": self.seed,
                "repeatable": self.repeatable, "loss": loss, "start": self.start,
                "recorrupted": self.recorrupted}

    def __str__(self) -> str:
        again = (f"--steps {self.steps} --seed {self.seed} repeats it" if self.repeatable
                 else "the machine's speed changed, so it cannot be repeated exactly")
        return (f"trained {self.steps} steps in {self.seconds:.1f} s from "
                f"{'random' if self.start == 'random' else self.start} weights; {again}")


def patch_shape(loaded: Loaded) -> tuple[int, ...]:
    """Sides of training patches: `PATCH` (in depth `DEPTH`), or what the poolings need."""
    align = loaded.layout.align
    flat = (max(PATCH, align),) * 2
    return flat if loaded.dims == 2 else (max(DEPTH, align), *flat)


def train(loaded: Loaded, source: Patches, recipe: Recipe, *, shared: bool = False,
          on_step: Callable[[Any], None] | None = None) -> Trained:
    """Trains a network on patches of what is to be denoised, in place.

    The one place that decides how: rate and schedule for networks that start from generic
    weights (`loaded.metadata` tells) and from random ones.

    Args:
        loaded: the network; it is in evaluation mode afterwards.
        source: `Patches`.
        recipe: what the user asked for.
        shared: the channels share their noise.
        on_step: told a `fit.FitProgress` after each step.

    Raises:
        InputError: the loss is no longer a number.
    """
    from restore_cli.training import fit

    warm = bool(loaded.metadata)
    source.wary = warm and any(part.biased is not None for part in source.parts)
    sigma = source.sigma if recipe.recorrupt and recipe.struct is None else None
    settings = fit.FitSettings(
        steps=recipe.steps, seconds=recipe.seconds, patch=patch_shape(loaded),
        batch=BATCH[loaded.dims], lr=WARM_RATE if warm else COLD_RATE,
        masking=recipe.masking(shared), seed=recipe.seed, augment=recipe.augment,
        sigma=sigma)
    report = fit.fit(loaded.network, source, settings, on_step=on_step,
                     teacher=_copy(loaded) if source.wary else None)
    loaded.network.eval()
    return Trained(report.steps, report.seconds, report.repeatable, float(report.masked_loss),
                   recipe.seed, loaded.name, sigma is not None)


def _copy(loaded: Loaded) -> Any:
    """The network as it is now."""
    from restore_cli.nets import registry

    network = registry.build(loaded.arch, loaded.config)
    network.load_state_dict({key: value.numpy() for key, value in
                             loaded.network.state_dict().items()})
    return network


def metadata(loaded: Loaded, recipe: Recipe, trained: Trained, images: int) -> dict[str, str]:
    """What `--model-out` writes about the weights."""
    made = {"normalisation": loaded.normalisation.text, "source": "trained by restore denoise",
            "trainer": f"restore-cli {__version__}",
            "training": json.dumps({**trained.facts, "images": images})}
    if recipe.struct is not None:
        made["struct"] = f"{recipe.struct.shape}:{recipe.struct.span}"
    return made


def check(recipe: Recipe) -> None:
    """Refuses settings that make no sense before anything starts.

    Raises:
        UsageError: a number out of range.
    """
    if recipe.seconds is not None and not 0 < recipe.seconds <= 1e6:
        raise UsageError(f"--time {recipe.seconds:g} is no number of seconds above 0")
    recipe.masking(False)


def directional(loaded: Loaded, recipe: Recipe) -> Loaded:
    """The network as trained by `recipe`: knows the direction of its noise."""
    if recipe.struct is None:
        return loaded
    text = f"{recipe.struct.shape}:{recipe.struct.span}"
    return replace(loaded, metadata={**loaded.metadata, "struct": text})
