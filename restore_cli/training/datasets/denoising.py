"""Patches for denoisers: noisy images as they are, or clean ones with noise added.

The batch of any step depends on (seed, step) alone. Images stay in memory as they were stored
(uint8 mostly); noise and normalisation are made for a patch when it is drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restore_cli.errors import InputError, UsageError
from restore_cli.training.datasets.planes import WHITE, Planes, Statistics, Tone, as_saved
from restore_cli.training.degradations import blindspot
from restore_cli.training.degradations.blindspot import Masking
from restore_cli.training.degradations.noise import Noise, NoiseModel

AUGMENTATIONS = ("all", "flip-x", "flip-y", "none")
TARGETS = ("noisy", "clean")
DRAWS = ("fixed", "fresh")
NOISY_BYTES = 1 << 30
SAVED = 0.4  # with `Task.tones`: share of patches whose noise went through an 8-bit file
_FIXED, _STRENGTH = 0xF1, 0x57


def read_samples(path: Path | str) -> np.ndarray:
    """An image file's samples as stored, (H, W, 1 or 3), without alpha.

    Raises:
        InputError: the file cannot be read.
    """
    from restore_cli.media import images

    return np.ascontiguousarray(images.read(Path(path)).color)


def turn(patch: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """A random flip or turn in the last two axes.

    Args:
        patch: (..., Y, X).
        how: "all" (eight ways; four when the patch is not square), "flip-x" (columns, for noise
            that runs along rows), "flip-y" or "none".
    """
    flips = rng.random(3) < 0.5
    if how in ("all", "flip-y") and flips[0]:
        patch = patch[..., ::-1, :]
    if how in ("all", "flip-x") and flips[1]:
        patch = patch[..., ::-1]
    if how == "all" and flips[2] and patch.shape[-1] == patch.shape[-2]:
        patch = patch.swapaxes(-1, -2)
    return patch


@dataclass(frozen=True)
class DenoisingBatch:
    """One training step's patches, normalised, float32 (B, C, side, side).

    Attributes:
        inputs: what the network sees.
        targets: what it should predict.
        mask: 1 where the loss looks, or the weight of each pixel; None is 1 everywhere.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray | None


@dataclass(frozen=True)
class Task:
    """What is learnt from the images.

    Attributes:
        target: "noisy" (blind-spot training on the noisy values) or "clean" (supervised, on
            generated noise).
        noise: added to the images; None when they are noisy already.
        draw: "fixed" (one noisy version of each image) or "fresh" (new noise at each access).
        masking: how pixels are hidden.
        blind_share: target "clean": share of patches in which 2 to 10 % of the pixels are hidden,
            too, so that the network learns to do without them.
        normalisation: (mean, std) per channel, white = 1; None takes each noisy image's own.
        augment: see `turn`.
        tones: target "clean": also show pictures in other tones (see `Tone`), and weigh patches
            by `balance`.

    Raises:
        UsageError: values that contradict each other.
    """

    target: str = "noisy"
    noise: NoiseModel | None = None
    draw: str = "fixed"
    masking: Masking = Masking()
    blind_share: float = 0.0
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None
    augment: str = "all"
    tones: bool = False

    def __post_init__(self) -> None:
        for value, known in ((self.target, TARGETS), (self.draw, DRAWS),
                             (self.augment, AUGMENTATIONS)):
            if value not in known:
                raise UsageError(f"'{value}' is none of {', '.join(known)}")
        if self.target == "clean" and self.noise is None:
            raise UsageError("--target clean needs noise to add", hint="Such as --noise mixed")
        if not 0 <= self.blind_share <= 1:
            raise UsageError(f"--blind-share lies between 0 and 1, not {self.blind_share:g}")
        if self.blind_share and self.target == "noisy":
            raise UsageError("--blind-share belongs to --target clean: with --target noisy every "
                             "patch has blind pixels")
        if self.tones and (self.target != "clean" or self.draw != "fresh"
                           or self.normalisation is not None):
            raise UsageError("--tones belongs to --target clean, --noise-draw fresh and "
                             "--normalise image")


def balance(statistics: Statistics, noise: Noise) -> float:
    """Weight of a patch in the loss, so that the noisiest do not drown the others.

    The squared error that a good denoiser leaves grows about with the 0.6th power of the noise's
    share of the variance (fitted on the first runs of the shipped network).
    """
    added = noise.variance(np.maximum(statistics.mean, 0)).mean()
    share = added / max(statistics.variance.mean() + added, 1e-12)
    return float(1 / (share**0.6 + 0.01))


class DenoisingSampler:
    """Draws batches of patches.

    Args:
        images: where patches come from.
        seed: of the run.
        task: what is learnt.
        batch: patches a step.
        side: of a patch in pixels.

    Raises:
        UsageError: images smaller than a patch.
    """

    def __init__(self, images: Planes, seed: int, task: Task, *, batch: int = 16, side: int = 64):
        if images.source.smallest < side:
            raise UsageError(f"patches of {side} pixels do not fit the smallest image, which has "
                             f"{images.source.smallest}", hint="Give a smaller --patch")
        self.images, self.seed, self.task, self.size, self.side = images, seed, task, batch, side
        self._noisy: dict[int, np.ndarray] = {}
        self._used, self._lock = 0, threading.Lock()

    def batch(self, step: int) -> DenoisingBatch:
        """The batch of step `step` (from 0)."""
        pairs = [self._pair(step * self.size + slot) for slot in range(self.size)]
        inputs = np.stack([pair[0] for pair in pairs])
        rng = np.random.default_rng([self.seed, step, 0xB1])
        if self.task.target == "noisy":
            masked = blindspot.manipulate(inputs, self.task.masking, rng)
            return DenoisingBatch(masked.inputs, masked.targets, masked.mask)
        hidden = np.flatnonzero(rng.random(self.size) < self.task.blind_share)
        for slot in hidden:
            masking = replace(self.task.masking, percent=rng.uniform(2, 10))
            inputs[slot] = blindspot.manipulate(inputs[slot:slot + 1], masking, rng).inputs[0]
        weights = None
        if self.task.tones:
            weights = np.empty_like(inputs)
            for slot, pair in enumerate(pairs):
                weights[slot] = pair[2]
        return DenoisingBatch(inputs, np.stack([pair[1] for pair in pairs]), weights)

    def _pair(self, draw: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Noisy and target patch, normalised and turned alike, (C, side, side) each; a weight."""
        rng = np.random.default_rng([self.seed, draw])
        index = self.images.source.pick(self.seed, draw)
        height, width = self.images.size(index)
        top, left = (int(rng.integers(length - self.side + 1)) for length in (height, width))
        weight = 1.0
        if self.task.tones:
            noisy, clean, mean, std, weight = self._toned(index, top, left, rng)
        else:
            noise, noisy, clean = self._values(index, top, left, rng)
            mean, std = self.normalisation(index, noise)
        both = np.stack([noisy, clean]) - mean[:, None, None]
        noisy, clean = turn(both / std[:, None, None], self.task.augment, rng)
        return noisy, clean, weight

    def _toned(self, index: int, top: int, left: int, rng: np.random.Generator):
        """Noisy and clean values of a patch in another tone, their normalisation, a weight."""
        tone = Tone.draw(rng)
        noise = self.task.noise.draw(self.images.channels, rng)
        clean = tone.apply(self.images.crop(index, top, left, self.side))
        whole = tone.apply(self.images.sample(index))
        noisy, sample = noise.add(clean, rng), noise.add(whole, rng)
        if rng.random() < SAVED:
            noisy, sample = as_saved(noisy), as_saved(sample)
        mean, std = Statistics.of(sample).normalisation()
        return noisy, clean, mean, std, balance(Statistics.of(whole), noise)

    def normalisation(self, index: int, noise: Noise | None) -> tuple[np.ndarray, np.ndarray]:
        """(mean, std), float32 (C,), of image `index` with this noise."""
        if self.task.normalisation is not None:
            mean, std = self.task.normalisation
            return np.asarray(mean, np.float32), np.asarray(std, np.float32)
        return self.images.statistics(index).noisy(noise).normalisation()

    def noise_of(self, index: int) -> Noise | None:
        """The noise of image `index` where each image has one."""
        if self.task.noise is None:
            return None
        return self.task.noise.draw(self.images.channels,
                                    np.random.default_rng([self.seed, index, _STRENGTH]))

    def _values(self, index: int, top: int, left: int, rng: np.random.Generator
                ) -> tuple[Noise | None, np.ndarray, np.ndarray]:
        if self.task.noise is not None and self.task.draw == "fixed":
            part = slice(top, top + self.side), slice(left, left + self.side)
            return (self.noise_of(index), self._fixed(index)[(slice(None), *part)],
                    self.images.crop(index, top, left, self.side))
        clean = self.images.crop(index, top, left, self.side)
        if self.task.noise is None:
            return None, clean, clean
        noise = self.task.noise.draw(self.images.channels, rng)
        return noise, noise.add(clean, rng), clean

    def _fixed(self, index: int) -> np.ndarray:
        """The one noisy version of image `index`; kept while memory allows."""
        found = self._noisy.get(index)
        if found is None:
            rng = np.random.default_rng([self.seed, index, _FIXED])
            found = self.noise_of(index).add(self.images.crop(index), rng)
            with self._lock:
                if index not in self._noisy and self._used + found.nbytes <= NOISY_BYTES:
                    self._noisy[index] = found
                    self._used += found.nbytes
        return found


def overall(sampler: DenoisingSampler, limit: int = 256) -> tuple[Statistics, float]:
    """Statistics of the noisy training set, from at most `limit` draws of it, and its white.

    Raises:
        UsageError: the images are of several sample types.
    """
    source = sampler.images.source
    found, whites = [], set()
    for draw in range(min(len(source), limit)):
        index = source.pick(sampler.seed, draw)
        whites.add(WHITE[source.image(index).dtype.name])
        found.append(sampler.images.statistics(index).noisy(sampler.noise_of(index)))
    if len(whites) > 1:
        raise UsageError("one normalisation does not fit images of different depths",
                         hint="Give --normalise image, or images of one depth")
    means = np.stack([one.mean for one in found])
    mean = means.mean(axis=0)
    variance = np.mean([one.variance for one in found], axis=0) + means.var(axis=0)
    return Statistics(mean, variance), whites.pop()


@dataclass(frozen=True)
class Held:
    """One image for validation; nothing in it changes during a run.

    Attributes:
        noisy: normalised, float32 (C, h, w).
        inputs, mask: the same with blind pixels, and where they are.
        clean: what it should be, normalised alike, or None when nobody knows.
        white: of the picture in normalised units, (C,): what PSNR takes for its peak.
    """

    noisy: np.ndarray
    inputs: np.ndarray
    mask: np.ndarray
    clean: np.ndarray | None
    white: np.ndarray


def held_out(images: Planes, task: Task, align: int, *, side: int = 256) -> list[Held]:
    """The middles of all images of a source, with noise and masks drawn once.

    Args:
        images: a few.
        task: as in training; the noise is drawn for every image.
        align: heights and widths are multiples of this.
        side: largest height and width.

    Raises:
        InputError: an image is smaller than `align`.
    """
    found = []
    sampler = DenoisingSampler(images, 0x5EED, task, side=1)
    side = min(side, images.source.smallest) // align * align
    if side == 0:
        raise InputError(f"images for validation need at least {align} pixels a side")
    for index in range(len(images.source)):
        rng = np.random.default_rng([index, 0x7E57])
        top, left = ((length - side) // 2 for length in images.size(index))
        clean, noise = images.crop(index, top, left, side), sampler.noise_of(index)
        noisy = clean if noise is None else noise.add(clean, rng)
        mean, std = (v[:, None, None] for v in sampler.normalisation(index, noise))
        masked = blindspot.manipulate(((noisy - mean) / std)[None], task.masking, rng)
        found.append(Held(masked.targets[0], masked.inputs[0], masked.mask[0],
                          None if noise is None else (clean - mean) / std, 1 / std[:, 0, 0]))
    return found
