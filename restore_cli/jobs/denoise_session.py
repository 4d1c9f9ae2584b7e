"""The networks of one run of `restore denoise`: given ones, shipped ones, and trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError, WeightsError
from restore_cli.jobs import denoise_network, denoise_plan, denoise_train
from restore_cli.jobs.denoise_network import Loaded, Normalisation, Units
from restore_cli.jobs.denoise_train import Part, Recipe, Trained
from restore_cli.nets.ops import precision
from restore_cli.pipeline import memory
from restore_cli.weights.files import Weights


@dataclass(frozen=True)
class Kind:
    """Images that one network serves.

    Attributes:
        channels: 1, or 3 for colours.
        dims: 2, or 3 for volumes.
        dtype: name of the stored type, whose scale a network trained on it expects.
    """

    channels: int
    dims: int
    dtype: str


class Session:
    """Builds and trains the networks of a run.

    Args:
        given: file of `--weights` or `--model`, or None.
        quick: use the shipped weights as they are.
        choice: what `--network` names.
        cold: random starts.
        recipe: of trainings.
        device: the engine's.
        console: for progress and notes.
        model_out: where trained weights are kept, or None.
        overwrite: an existing `model_out` may be replaced.
    """

    def __init__(self, *, given: Path | None, quick: bool, choice: str, cold: bool, recipe: Recipe,
                 device: str, console: Console, model_out: Path | None = None,
                 overwrite: bool = False):
        self.quick, self.choice, self.cold, self.recipe = quick, choice, cold, recipe
        self.device, self.console = device, console
        self.model_out, self.overwrite = model_out, overwrite
        self.given = denoise_network.load(given, device) if given is not None else None
        self.trained: dict[Kind, tuple[Loaded, Trained]] = {}
        self._ready: dict[tuple[int, int], Loaded] = {}
        self._told: set[str] = set()

    @property
    def trains(self) -> bool:
        """Whether networks are trained in this run."""
        return self.given is None and not self.quick

    @property
    def name(self) -> str:
        """Of its network, for messages."""
        return self.given.name if self.given is not None else f"the network '{self.choice}'"

    def warm_up(self, dims: int) -> None:
        """Compiles and loads the kernels, so that memory counted afterwards includes them."""
        import jittor as jt

        loaded = self.given or self.start(1, dims)
        side = loaded.layout.align
        with jt.no_grad():
            loaded.network(jt.zeros((1, loaded.channels, *(2 * side,) * loaded.dims))).sync()
        if self.trains:
            noise = np.random.default_rng(0).normal(size=(1, *(2 * side,) * dims))
            part = Part(noise.shape[1:], Units(np.zeros(1, np.float32), np.ones(1, np.float32)),
                        lambda *where: noise[(slice(None), *where)])
            denoise_train.train(loaded, denoise_train.Patches([part], 1),
                                Recipe(None, 1, struct=self.recipe.struct))
        memory.release(young=not self.trains)  # a training leaves old cycles behind

    def start(self, channels: int, dims: int) -> Loaded:
        """A network to train, with shipped or random weights."""
        arch, config = denoise_network.architecture(self.choice, channels, dims)
        path = None
        if not self.cold and dims == 2 and self.choice == denoise_network.DEFAULT:
            path = denoise_network.generic(channels, self.console)
            if path is None:
                self._once("the generic weights are not installed: training starts from random "
                           "ones")
        if path is None:
            return denoise_network.build(arch, config, None, "random", self.device,
                                         self.recipe.seed)
        return denoise_network.load(path, self.device)

    def ready(self, channels: int, dims: int) -> Loaded:
        """The network that serves images without training (`--weights`, `--quick`).

        Raises:
            InputError: the given weights do not fit the image.
            WeightsError: there are no shipped weights.
        """
        if self.given is not None:
            if self.given.dims != dims:
                raise InputError(
                    f"the weights '{self.given.name}' are for "
                    f"{'volumes' if self.given.dims == 3 else 'planes'}",
                    hint="Add --volume" if self.given.dims == 3 else "Leave --volume out")
            if self.given.channels not in (1, channels):
                raise InputError(f"has {channels} channel{'s' * (channels > 1)} that differ, and "
                                 f"the weights '{self.given.name}' take {self.given.channels}",
                                 hint="Use weights for grey images")
            return self.given
        if dims == 3:
            raise WeightsError("there are no generic weights for volumes",
                               hint="Leave --quick or --volume out")
        key = (channels, dims)
        if key not in self._ready:
            path = denoise_network.generic(channels, self.console)
            if path is None:
                raise WeightsError("the generic weights are not in this installation",
                                   hint="Leave --quick out, or name weights with --weights")
            self._ready[key] = denoise_network.load(path, self.device)
        return self._ready[key]

    def train(self, loaded: Loaded, parts: Sequence[Part], normalisation: Normalisation, *,
              shared: bool = False, words: str = "training") -> tuple[Loaded, Trained]:
        """Trains what `start` returned on `parts`.

        Args:
            normalisation: what the parts' units are, to be kept with the weights.
            shared: the channels share their noise.
            words: in front of the progress bar.
        """
        total = self.recipe.steps or self.recipe.seconds
        unit = "step" if self.recipe.steps else "s"
        with self.console.progress(total=total, unit=unit, desc=words) as bar, \
                precision.using(False):
            def tell(progress) -> None:
                done = progress.step if self.recipe.steps else min(progress.seconds, total)
                bar.update(done - bar.n)
                if progress.loss is not None:
                    bar.set_postfix(loss=f"{progress.loss:.4f}", refresh=False)

            trained = denoise_train.train(
                loaded, denoise_train.Patches(parts, loaded.channels), self.recipe, shared=shared,
                on_step=tell)
        loaded.normalisation, loaded.name = normalisation, self.choice
        loaded = denoise_train.directional(loaded, self.recipe)
        memory.release()
        return loaded, trained

    def keep(self, loaded: Loaded, trained: Trained, images: int) -> None:
        """Writes `--model-out`.

        Raises:
            UsageError: there was another training of this run.
            OutputError: the file cannot be written.
        """
        if self.model_out is None:
            return
        if "model-out" in self._told:
            raise UsageError("grey and colour images train two networks, and --model-out takes "
                             "one", hint="Denoise each kind by itself")
        self._told.add("model-out")
        from restore_cli.weights import files

        # Jittor's scalars have one axis.
        tensors = {key: value.numpy().reshape(loaded.layout.shapes[key])
                   for key, value in loaded.network.state_dict().items()}
        files.write(self.model_out, Weights(
            loaded.arch, loaded.config, tensors,
            denoise_train.metadata(loaded, self.recipe, trained, images)),
            overwrite=self.overwrite)
        self.console.info(f"weights: {self.model_out}")

    def cost(self, loaded: Loaded, tta: bool) -> denoise_plan.Cost:
        """The network's cost model."""
        return denoise_plan.cost(loaded.arch, loaded.config, loaded.layout, tta)

    def _once(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self.console.info(note)
