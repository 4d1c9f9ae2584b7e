"""What `restore denoise` does to an image's planes, for scoring: no files, nothing rounded."""

from __future__ import annotations

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.jobs import denoise_network, denoise_plan, denoise_train
from restore_cli.jobs.denoise import DenoiseRequest
from restore_cli.jobs.denoise_image import Denoiser
from restore_cli.jobs.denoise_network import Loaded, Normalisation, Units
from restore_cli.jobs.denoise_picture import Moments
from restore_cli.jobs.denoise_report import Measure
from restore_cli.jobs.denoise_session import Session
from restore_cli.jobs.denoise_train import Part, Trained
from restore_cli.pipeline import memory

_COMPARED = 8
"""Float64 copies of an image that are held while it is compared."""


def check(asked: DenoiseRequest) -> None:
    """Refuses what cannot work before anything starts.

    Raises:
        UsageError: a network's name or a number makes no sense.
    """
    denoise_network.architecture(asked.network or denoise_network.DEFAULT, 1)
    if asked.memory is not None:
        memory.parse(asked.memory)
    denoise_train.check(asked.recipe)


class Restorer:
    """A `Denoiser` of `evaluation.denoising` that uses a run's networks.

    Attributes:
        name: for tables.
        trained: what each self-training came to.
    """

    def __init__(self, asked: DenoiseRequest, console: Console):
        from restore_cli.runtime import engine

        given = None
        if asked.weights is not None or asked.model is not None:
            given = denoise_network.find(asked.model, asked.weights, console)
            denoise_network.read(given)  # refused before the engine takes its time to start
        started = engine.start(asked.device, asked.threads, console=console)
        self.asked = asked
        self.session = Session(given=given, quick=asked.quick,
                               choice=asked.network or denoise_network.DEFAULT, cold=asked.cold,
                               recipe=asked.recipe, device=started.device, console=console)
        self.name = (given.stem if given is not None
                     else "self-trained" if asked.trains else "shipped")
        self.trained: list[Trained] = []
        if asked.quick:  # where nothing is shipped, that is said before any work
            try:
                self.session.ready(1, 2)
            except WeightsError as error:
                error.hint = "Name weights with --weights or --model, or add --self-train"
                raise
        self.session.warm_up(2)
        self.budget = memory.budget(asked.memory)

    @property
    def notes(self) -> list[str]:
        """What readers of the scores must know, once all images are done."""
        found = []
        if self.trained:
            recipe, steps = self.asked.recipe, sorted(one.steps for one in self.trained)
            starts = " and ".join(sorted({one.start for one in self.trained}))
            done = f"{steps[0]}" if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}"
            found.append(f"self-trained: a network for every noisy image, from {starts} weights, "
                         f"{done} steps, seed {recipe.seed}; the seconds include the training")
            if recipe.steps is None:
                found.append(f"trainings of {recipe.seconds:g} s: the scores depend on the "
                             "machine; --steps makes them repeatable")
        elif self.session.given is None:
            found.append(f"shipped: {' and '.join(denoise_network.GENERIC.values())}, as restore "
                         "denoise --quick uses them")
        if self.asked.tta:
            found.append("results are means over flips and turns (--tta)")
        return found

    def __call__(self, planes: np.ndarray, white: float) -> np.ndarray:
        """Restores (C, H, W) float32 planes; nothing is clipped or rounded at the end.

        Args:
            white: the value of white.

        Raises:
            InputError: the weights do not fit.
            OutOfMemory: no tile fits.
        """
        found = Moments(len(planes))
        found.add(planes)
        found.refuse_invalid()
        if not found.std.any():
            return planes
        loaded, units = self._network(planes, found, white)
        denoiser = Denoiser(loaded, tta=self.asked.tta)
        shape = planes.shape[1:]
        tiling = denoise_plan.choose(
            self.session.cost(loaded, self.asked.tta), loaded.layout, shape,
            self.budget.room - _COMPARED * 8 * planes.size, self.asked.tile)
        out = np.empty_like(planes)

        def write(where: tuple[slice, ...], made: np.ndarray) -> None:
            out[(slice(None), *where)] = made

        denoiser.run(lambda rows, columns: planes[:, rows][:, :, columns], write,
                     [denoiser.axis(n, side) for n, side in zip(shape, tiling.sides, strict=True)],
                     units)
        return out

    def _network(self, planes: np.ndarray, found: Moments, white: float
                 ) -> tuple[Loaded, Units]:
        count = len(planes)
        if not self.asked.trains:
            loaded = self.session.ready(count, 2)
            return loaded, loaded.normalisation.units(found.mean, found.std, white)
        normalisation = Normalisation("image")
        units = normalisation.units(found.mean, found.std, white)
        findings = Measure().arrays(planes, None, white)
        part = Part(planes.shape[1:], units, lambda *where: planes[(slice(None), *where)],
                    sigma=findings.gaussian)
        loaded = self.session.start(count, 2)
        denoise_plan.check_training(
            self.session.cost(loaded, False), denoise_train.BATCH[2],
            denoise_train.patch_shape(loaded), self.budget.room - planes.nbytes)
        loaded, trained = self.session.train(loaded, [part], normalisation,
                                             shared=count > 1 and findings.shared)
        self.trained.append(trained)
        return loaded, units
