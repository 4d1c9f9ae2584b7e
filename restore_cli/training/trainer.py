"""The training loop all systems share: updates, averages, checkpoints, validation, logs."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Protocol

import jittor as jt
import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError
from restore_cli.training import checkpoint
from restore_cli.training.adam import Adam
from restore_cli.training.logs import TrainingLog, plot_curves
from restore_cli.training.schedules import Schedule

LAST = "last.safetensors"


class Recipe(Protocol):
    """What one system contributes to a run.

    Attributes:
        network: the module to train.
        settings: everything that defines the run, JSON-serialisable; a resumed run must match.

    A recipe may also have `frozen`, state-dict keys that are not trained, and `factors`, what the
    learning rate of a key is multiplied by.
    """

    network: Any
    settings: dict[str, Any]

    def batches(self, start: int) -> Iterator[Any]:
        """Batches for steps start, start + 1, ...; each depends on seed and step alone."""

    def loss(self, batch: Any) -> jt.Var:
        """Scalar loss of one batch."""

    def validate(self) -> dict[str, float]:
        """Named scores of the current weights, higher is better; may be empty."""

    def export(self, path: Path, weights: dict[str, np.ndarray], scores: dict[str, float],
               step: int) -> None:
        """Writes weights in the product's format."""


@dataclass
class Plan:
    """How long and how often.

    Attributes:
        steps: updates in the whole run.
        schedule: learning rate by step.
        average: decay of the exponential average of the weights, which is what is validated
            and exported; 0 uses the weights themselves.
        validate_every, checkpoint_every, log_every: in steps.
        minutes: stop (with a checkpoint) after this much time; None never.
        free_settings: settings that a resumed run may change.
    """

    steps: int
    schedule: Schedule
    average: float = 0.0
    validate_every: int = 1000
    checkpoint_every: int = 500
    log_every: int = 50
    minutes: float | None = None
    free_settings: frozenset[str] = field(default_factory=lambda: frozenset({"steps"}))


class Trainer:
    """Runs a recipe in a folder: checkpoint, log, curves and exported weights stand there."""

    def __init__(self, recipe: Recipe, plan: Plan, folder: Path, console: Console,
                 clock: Callable[[], float] = time.monotonic):
        self.recipe, self.plan, self.folder, self.console = recipe, plan, folder, console
        self._clock = clock
        recipe.network.train()  # Jittor's eval() stops every gradient
        self._state = recipe.network.state_dict()
        frozen = getattr(recipe, "frozen", frozenset())
        trained = {k: p for k, p in self._state.items()
                   if not p.is_stop_grad() and k not in frozen}
        self.adam = Adam(trained, factors=getattr(recipe, "factors", None))
        self._average = {k: jt.array(p.numpy()).stop_grad()
                         for k, p in trained.items()} if plan.average else {}
        self.step = 0

    def resume(self) -> bool:
        """Continues from the folder's checkpoint if there is one.

        Raises:
            UsageError: the run there was started with other settings.
        """
        path = self.folder / LAST
        if not path.exists():
            return False
        saved = checkpoint.load(path)
        differing = [
            _difference(k, saved.recipe.get(k), self.recipe.settings.get(k))
            for k in sorted({*saved.recipe, *self.recipe.settings})
            if k not in self.plan.free_settings
            and saved.recipe.get(k) != self.recipe.settings.get(k)
        ]
        if differing:
            raise UsageError("the run there has other settings: " + ", ".join(differing),
                             path=path, hint="Give the same settings, or another --out")
        self.recipe.network.load_state_dict(saved.groups["weights"])
        self.adam.restore(saved.groups["adam"], saved.step)
        for key, value in self._average.items():
            value.update(jt.array(saved.groups["average"][key]))
        self.step = saved.step
        return True

    def run(self) -> dict[str, float]:
        """Trains to the end (or the time limit) and returns the last validation scores.

        Ctrl-C and SIGTERM write a checkpoint before they leave.

        Raises:
            UsageError: another process trains in the same folder.
            InputError: the loss is no longer a number.
        """
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / ".lock", timeout=0):
                return self._run()
        except Timeout:
            raise UsageError("another process is training there", path=self.folder) from None

    def _run(self) -> dict[str, float]:
        plan, started, begun = self.plan, self._clock(), self.step
        scores: dict[str, float] = {}
        bar = self.console.progress(total=plan.steps, initial=self.step, unit="step",
                                    desc="training")
        with bar, closing(TrainingLog(self.folder, self.step, self.console)) as log, \
                closing(self.recipe.batches(self.step)) as batches:
            losses: list[jt.Var] = []
            try:
                while self.step < plan.steps:
                    losses.append(self._update(next(batches)))
                    bar.update(1)
                    if self.step % plan.log_every == 0:
                        self._log(log, losses, bar)
                    if self.step % plan.checkpoint_every == 0:
                        self.save()
                    if self.step % plan.validate_every == 0 and self.step < plan.steps:
                        scores = self._validate(log)
                    if plan.minutes and self._clock() - started > plan.minutes * 60:
                        break
            except BaseException:
                # Whatever ends the run, the updates made so far are kept. Where there are none,
                # nothing stands in the way of a start with other settings.
                if self.step > begun:
                    self.save()
                raise
            if losses:
                self._log(log, losses, bar)
            self.save()
            scores = self._validate(log)
        plot_curves(self.folder, self.console)
        return scores

    def _update(self, batch: Any) -> jt.Var:
        rate = self.plan.schedule(self.step)
        # Without this a parameter remembers its last update, but not after a validation or when
        # loaded; Jittor then fuses and rounds the next gradients in another way.
        for parameter in self.adam.parameters.values():
            parameter.stop_grad()
            parameter.start_grad()
        loss = self.recipe.loss(batch)
        self.adam.step(loss, rate)
        if self.plan.average:
            # A short run must not remember its random start for thousands of steps.
            decay = min(self.plan.average, (1 + self.step) / (10 + self.step))
            for key, mean in self._average.items():
                mean.update(mean * decay + self.adam.parameters[key] * (1 - decay))
        self.step += 1
        loss = loss.stop_grad()
        jt.sync_all()
        return loss

    def _log(self, log: TrainingLog, losses: list[jt.Var], bar) -> None:
        mean = float(np.mean([v.item() for v in losses]))
        losses.clear()
        if not np.isfinite(mean):
            raise InputError(f"the loss became {mean} at step {self.step}",
                             hint="Lower --lr, or look for damaged training images")
        log.row(self.step, loss=mean, lr=self.plan.schedule(self.step - 1))
        bar.set_postfix(loss=f"{mean:.4f}", refresh=False)

    def _validate(self, log: TrainingLog) -> dict[str, float]:
        raw = self.weights(averaged=False)
        self.recipe.network.load_state_dict({**raw, **self.weights()})
        self.recipe.network.eval()
        with jt.no_grad():
            scores = self.recipe.validate()
        self.export(self.folder / "weights.safetensors", scores)
        self.recipe.network.load_state_dict(raw)
        self.recipe.network.train()
        if scores:
            log.row(self.step, **scores)
            shown = ", ".join(f"{k} {v:.2f}" for k, v in scores.items())
            self.console.info(f"step {self.step}: {shown}")
        return scores

    def weights(self, averaged: bool = True) -> dict[str, np.ndarray]:
        """Current weights by key; the running average where there is one."""
        own = {k: v.numpy() for k, v in self._state.items()}
        return {**own, **{k: v.numpy() for k, v in self._average.items()}} if averaged else own

    def save(self) -> None:
        """Writes the checkpoint."""
        groups = {"weights": self.weights(averaged=False), "adam": self.adam.state()}
        if self._average:
            groups["average"] = {k: v.numpy() for k, v in self._average.items()}
        checkpoint.save(self.folder / LAST,
                        checkpoint.Checkpoint(self.step, self.recipe.settings, groups))

    def export(self, path: Path, scores: dict[str, float]) -> None:
        """Writes the (averaged) weights as the recipe's system stores them."""
        self.recipe.export(path, self.weights(), scores, self.step)


def _difference(name: str, there: Any, now: Any) -> str:
    shown = f"{name} ({there} there, {now} now)"
    return shown if len(shown) <= 60 else name
