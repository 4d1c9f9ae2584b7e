"""Blind-spot training in memory, on one image or a few, in a given number of steps or seconds.

One cycle of the learning rate (linear rise, then half a cosine to 0) needs neither validation nor
early stopping. A time limit decides the number of steps once, from the pace of the rise, whose
learning rates do not depend on that number: a run of as many steps repeats it to the bit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import jittor as jt
import numpy as np

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.training.adam import Adam
from restore_cli.training.datasets.denoising import AUGMENTATIONS, turn
from restore_cli.training.degradations.blindspot import Masked, Masking, manipulate
from restore_cli.training.n2v import LOSSES

COMPILING = 2  # first steps, in which kernels are compiled, are not timed
WATCHED = 50  # latest steps whose pace is watched
SLOWER = 1.15  # a run this much over its time is cut short
TAUGHT = 1.0  # weight of a teacher's pixel, in parts of an average one's
RECORRUPTION = 0.5  # noise added to inputs, in parts of the image's own


class PatchSource(Protocol):
    """Where patches come from."""

    channels: int

    def patch(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """A random part, float32 (C, *shape), normalised; the same for equal generators.

        In a masked array, the masked pixels are never learned from: no blind pixel lies there.
        """
        ...


class ArraySource:
    """Images in memory; each pixel is drawn equally often, whatever the image's size.

    Args:
        images: normalised, (C, Y, X) or (C, Z, Y, X), all with the same C and as many axes.

    Raises:
        InputError: no images.
        ShapeError: images that do not go together.
    """

    def __init__(self, images: Sequence[np.ndarray]):
        if not len(images):
            raise InputError("no image to train on")
        first = images[0]
        for image in images:
            if image.ndim not in (3, 4) or image.ndim != first.ndim or 0 in image.shape \
                    or len(image) != len(first):
                raise ShapeError("image", f"({len(first)}, ...) with {first.ndim} axes",
                                 image.shape)
        self.channels = len(first)
        self._images = [np.asarray(image, np.float32) for image in images]
        sizes = np.cumsum([image[0].size for image in images])
        self._shares = sizes / sizes[-1]

    def patch(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """A random part, float32 (C, *shape); images smaller than it are mirrored at their ends.

        Raises:
            ShapeError: `shape` has another number of axes than the images.
        """
        number = int(np.searchsorted(self._shares, rng.random(), side="right"))
        image = self._images[min(number, len(self._images) - 1)]
        if len(shape) != image.ndim - 1:
            raise ShapeError("patch", f"{image.ndim - 1} axes", tuple(shape))
        short = [max(0, side - length) for side, length in zip(shape, image.shape[1:])]
        if any(short):
            image = np.pad(image, [(0, 0), *((0, s) for s in short)], mode="reflect")
        start = [int(rng.integers(length - side + 1))
                 for side, length in zip(shape, image.shape[1:])]
        return image[(slice(None), *(slice(a, a + side) for a, side in zip(start, shape)))]


@dataclass(frozen=True)
class FitSettings:
    """How to train.

    Attributes:
        steps: updates; None where `seconds` decides.
        seconds: time for the updates, without the compilation in the first two; at least
            2 `warmup` updates are made, however long they take.
        patch: side of the patches, or their shape (Z, Y, X) for volumes; multiples of the
            network's alignment.
        batch: patches a step.
        lr: learning rate of Adam at its peak.
        warmup: updates of linear rise; half of all in runs shorter than twice this.
        masking: how pixels are hidden.
        loss: "mse" or "mae".
        seed: of patches and masks; the network brings its own start (see `n2v.fresh`).
        augment: "all" (flips and turns), "flip-x" or "flip-y" (noise that runs along rows, or
            along columns), "none".
        sigma: standard deviation of the noise of each channel in normalised units, where it is
            known to be white and Gaussian: then all pixels are learned from, see `recorrupt`.

    Raises:
        UsageError: values that make no sense, or not exactly one of `steps` and `seconds`.
    """

    steps: int | None = 600
    seconds: float | None = None
    patch: int | tuple[int, ...] = 64
    batch: int = 4
    lr: float = 1e-3
    warmup: int = 40
    masking: Masking = Masking()
    loss: str = "mse"
    seed: int = 0
    augment: str = "all"
    sigma: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise UsageError("give a number of training steps or a time, one of the two")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"at least 1 training step is needed, not {self.steps}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise UsageError(f"the training time must be above 0 seconds, not {self.seconds:g}")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"the learning rate must be above 0, not {self.lr:g}")
        if self.loss not in LOSSES:
            raise UsageError(f"unknown loss '{self.loss}'", hint="Known: " + ", ".join(LOSSES))
        if self.augment not in AUGMENTATIONS:
            raise UsageError(f"unknown augmentation '{self.augment}'",
                             hint="Known: " + ", ".join(AUGMENTATIONS))
        if min(self.batch, *self.shape) < 1 or self.seed < 0:
            raise UsageError("patch and batch are at least 1, and the seed at least 0")
        if self.warmup <= COMPILING:
            raise UsageError(f"the warm-up has more than {COMPILING} steps, not {self.warmup}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a patch, without channels."""
        return (self.patch, self.patch) if isinstance(self.patch, int) else tuple(self.patch)


@dataclass(frozen=True)
class FitProgress:
    """Where a fit stands: `step` updates of `steps` made (None: not decided yet), in `seconds`."""

    step: int
    steps: int | None
    seconds: float
    loss: float


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Attributes:
        steps: updates made.
        seconds: they took, compilation included.
        repeatable: whether `steps` updates with the same seed give the same weights; not so when
            a time limit had to shorten the run.
        losses: of every step at its blind pixels, in normalised units.
        masked_loss: mean of the last tenth. Well below the noise's variance it means that blind
            pixels leak, or that neighbouring pixels share noise.
    """

    steps: int
    seconds: float
    repeatable: bool
    losses: np.ndarray
    masked_loss: float


class Cycle:
    """Learning rates of one cycle, and the number of steps where a time limit decides it.

    Args:
        settings: see `FitSettings`.
        clock: seconds that only grow.
    """

    def __init__(self, settings: FitSettings, clock: Callable[[], float] = time.monotonic):
        self._lr, self._seconds, self._clock = settings.lr, settings.seconds, clock
        self.steps = settings.steps
        self.warmup = settings.warmup
        if self.steps is not None:
            self.warmup = max(1, min(self.warmup, self.steps // 2))
        self._from = (self.warmup, 0.0)  # the step at which the cosine (goes on), and its phase
        self._latest: deque[float] = deque(maxlen=WATCHED + 1)
        self._begun = math.nan
        self.repeatable = True

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0)."""
        if step < self.warmup:
            return self._lr * (step + 1) / self.warmup
        return self._lr * 0.5 * (1 + math.cos(math.pi * self._phase(step)))

    def _phase(self, step: int) -> float:
        start, phase = self._from
        return phase + (1 - phase) * (step - start) / max(1, self.steps - start)

    def done(self, step: int) -> None:
        """Takes note that `step` steps are made; may decide or shorten the number of steps."""
        if self._seconds is None:
            return
        now = self._clock()
        if step == COMPILING:
            self._begun = now
        elif step == self.warmup:
            spent = now - self._begun
            pace = max(spent / (step - COMPILING), 1e-9)
            self.steps = step + max(step, int((self._seconds - spent) / pace))
        elif step > self.warmup:
            self._watch(step, now)
        if step >= COMPILING:
            self._latest.append(now)

    def _watch(self, step: int, now: float) -> None:
        if len(self._latest) < self._latest.maxlen or step >= self.steps or step < 2 * self.warmup:
            return
        pace = (now - self._latest[0]) / len(self._latest)
        spent = now - self._begun
        if spent + (self.steps - step) * pace > SLOWER * self._seconds:
            self._from = (step, self._phase(step))
            self.steps = step + max(1, int((self._seconds - spent) / pace))
            self.repeatable = False
            self._latest.clear()  # the next look is at the new pace


@dataclass(frozen=True)
class Drawn(Masked):
    """A batch, and more about its pixels.

    Attributes:
        seen: 1 at pixels that are not blind and are learned from, or None.
        masked: True at pixels that are not learned from, or None where there are none.
    """

    seen: np.ndarray | None = None
    masked: np.ndarray | None = None


def draw(source: PatchSource, settings: FitSettings, step: int) -> Drawn:
    """The batch of step `step`; depends on the seed and the step alone."""
    rng = np.random.default_rng([settings.seed, step])
    patches = [turn(source.patch(settings.shape, rng), settings.augment, rng)
               for _ in range(settings.batch)]
    noisy = np.stack([np.ma.getdata(patch) for patch in patches])
    inputs = targets = noisy
    if settings.sigma is not None:
        inputs, targets = recorrupt(noisy, settings.sigma, rng)
    # Hidden last, when every patch is turned as the network will see it.
    batch = manipulate(inputs, settings.masking, rng)
    seen = None if settings.sigma is None else 1 - batch.mask
    masked = np.stack([np.ma.getmaskarray(patch) for patch in patches])
    if not masked.any():
        masked = None
    for weights in (batch.mask, seen):
        if masked is not None and weights is not None:
            weights[masked] = 0
    return Drawn(batch.inputs, np.where(batch.mask > 0, noisy, targets), batch.mask, seen, masked)


def recorrupt(noisy: np.ndarray, sigma: Sequence[float], rng: np.random.Generator
              ) -> tuple[np.ndarray, np.ndarray]:
    """A noisier input and another target whose noises are independent.

    Recorrupted-to-Recorrupted (Pang et al., CVPR 2021): with z drawn like the noise n of
    y = x + n, y + a z and y - z / a carry uncorrelated, so for Gaussian noise independent, noise,
    and learning one from the other leads where learning x itself would. Unlike blind spots it lets
    the network keep what a pixel tells about itself.

    Args:
        noisy: (B, C, *S) float32 with white Gaussian noise.
        sigma: its standard deviation, one a channel.

    Returns:
        inputs, targets: as `noisy`; a is `RECORRUPTION`.
    """
    scale = np.asarray(sigma, np.float32).reshape(1, -1, *(1,) * (noisy.ndim - 2))
    added = scale * rng.standard_normal(noisy.shape, np.float32)
    return noisy + RECORRUPTION * added, noisy - added / RECORRUPTION


def fit(network, source: PatchSource, settings: FitSettings, *,
        on_step: Callable[[FitProgress], None] | None = None,
        clock: Callable[[], float] = time.monotonic, teacher=None) -> FitReport:
    """Trains a network to predict pixels that it cannot see (Noise2Void, CVPR 2019).

    Args:
        network: a module (N, C, *S) -> (N, C, *S), with the weights to start from; it is changed,
            and left in evaluation mode.
        source: where patches come from.
        settings: how to train.
        on_step: called after each update.
        clock: seconds that only grow.
        teacher: a network whose output is learned where pixels of a patch are masked; without it
            they are not learned from, and what the network makes of such places drifts.

    Raises:
        InputError: the loss is no longer a number.
    """
    network.train()  # Jittor's eval() stops every gradient
    adam = Adam({key: p for key, p in network.state_dict().items() if not p.is_stop_grad()})
    loss_of = LOSSES[settings.loss]
    cycle, losses, begun = Cycle(settings, clock), [], clock()
    step = 0
    try:
        while cycle.steps is None or step < cycle.steps:
            batch = draw(source, settings, step)
            inputs, targets = jt.array(batch.inputs), batch.targets
            prediction = network(inputs)
            loss = whole = loss_of(prediction, jt.array(targets), jt.array(batch.mask))
            weights = batch.mask if batch.seen is None else batch.mask + batch.seen
            if teacher is not None and batch.masked is not None:
                with jt.no_grad():
                    targets = np.where(batch.masked, teacher(inputs).numpy(), targets)
                weights = weights + TAUGHT * batch.masked * weights.sum() / weights.size
            if weights is not batch.mask:
                whole = loss_of(prediction, jt.array(targets), jt.array(weights))
            adam.step(whole, cycle.rate(step))
            loss = loss.stop_grad()
            jt.sync_all()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise InputError(f"the training loss became {losses[-1]} at step {step + 1}",
                                 hint="The image may hold values that are no numbers; or lower "
                                      "the learning rate")
            step += 1
            cycle.done(step)
            if on_step is not None:
                on_step(FitProgress(step, cycle.steps, clock() - begun, losses[-1]))
    finally:
        network.eval()
    tail = losses[-max(1, step // 10):]
    return FitReport(step, clock() - begun, cycle.repeatable, np.array(losses, np.float32),
                     float(np.mean(tail)))
