"""Draws LIIF's training batches; the batch of any step depends on (seed, step) alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np

from restore_cli.errors import InputError, UsageError
from restore_cli.training.datasets.liif import (
    LiifBatch,
    LiifSample,
    collate,
    downsampled,
    paired,
    uniform_varied,
)
from restore_cli.training.datasets.sources import ImageSource


class Sampler(Protocol):
    """Makes the batch of any step, from (seed, step) alone."""

    def batch(self, step: int) -> LiifBatch: ...


class _Drawn(ABC):
    """What the samplers share: one random generator for each sample of each step."""

    def __init__(self, seed: int, batch: int, queries: int | None):
        if batch < 1 or (queries is not None and queries < 1):
            raise UsageError("batch size and number of queries must be at least 1")
        self.seed, self.size, self.queries = seed, batch, queries

    def batch(self, step: int) -> LiifBatch:
        """The batch of step `step` (from 0)."""
        return collate([self.sample(step * self.size + slot) for slot in range(self.size)])

    @abstractmethod
    def sample(self, draw: int) -> LiifSample:
        """Sample number `draw` of the run."""

    def _generator(self, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, draw])

    def _choice(self, pixels: int, rng: np.random.Generator) -> np.ndarray | None:
        if self.queries is None:
            return None
        if self.queries > pixels:
            raise UsageError(f"{self.queries} queries do not fit {pixels} pixels")
        return rng.choice(pixels, self.queries, replace=False)


def _corner(height: int, width: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))


def _flips(augment: bool, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    return tuple(bool(value) for value in rng.random(3) < 0.5) if augment else (False,) * 3


class DownsampledSampler(_Drawn):
    """sr-implicit-downsampled from any source of images.

    Args:
        source: the images, each at least `lr_size` times the largest scale wide and high.
        seed: of the run.
        batch: samples a step.
        lr_size: side of the low-resolution crops.
        scales: least and largest scale; uniformly drawn for each sample.
        queries: pixels drawn from each crop; None takes all (then the scale must be fixed).
        augment: flips and transposition, each with probability 1/2.

    Raises:
        UsageError: settings that contradict each other, or images too small for them.
    """

    def __init__(self, source: ImageSource, seed: int, *, batch: int = 16, lr_size: int = 48,
                 scales: tuple[float, float] = (1.0, 4.0), queries: int | None = 2304,
                 augment: bool = True):
        super().__init__(seed, batch, queries)
        low, high = scales
        if not 1 <= low <= high:
            raise UsageError(f"scales must satisfy 1 <= least <= largest, not {low:g} and {high:g}")
        if lr_size < 1:
            raise UsageError(f"low-resolution crops must have at least 1 pixel, not {lr_size}")
        if queries is None and low != high:
            raise UsageError("taking all pixels needs one fixed scale")
        if queries is not None and queries > round(lr_size * low) ** 2:
            raise UsageError(f"{queries} queries do not fit the {round(lr_size * low) ** 2} pixels "
                             f"of a crop at scale {low:g}")
        if source.smallest < self.needed(lr_size, high):
            raise UsageError(f"crops of {lr_size} pixels at scale {high:g} need images of at least "
                             f"{self.needed(lr_size, high)} pixels; the smallest has "
                             f"{source.smallest}")
        self.source, self.lr_size, self.scales, self.augment = source, lr_size, scales, augment

    @staticmethod
    def needed(lr_size: int, largest_scale: float) -> int:
        """Least height and width an image must have, in pixels."""
        return round(lr_size * largest_scale)

    def sample(self, draw: int) -> LiifSample:
        """Sample number `draw` of the run."""
        rng = self._generator(draw)
        image = self.source.image(self.source.pick(self.seed, draw))
        scale = rng.uniform(*self.scales)
        side = round(self.lr_size * scale)
        corner = _corner(*image.shape[:2], side, rng)
        flips = _flips(self.augment, rng)
        return downsampled(image, scale, lr_size=self.lr_size, corner=corner, flips=flips,
                           choice=self._choice(side * side, rng))


class PairSource(Protocol):
    """A numbered set of low- and high-resolution pairs."""

    def __len__(self) -> int: ...

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...

    def pick(self, seed: int, draw: int) -> int: ...


class PairedSampler(_Drawn):
    """sr-implicit-paired from pairs of images; arguments as `DownsampledSampler`."""

    def __init__(self, source: PairSource, seed: int, *, batch: int = 16, lr_size: int = 48,
                 queries: int | None = 2304, augment: bool = True):
        super().__init__(seed, batch, queries)
        self.source, self.lr_size, self.augment = source, lr_size, augment

    def sample(self, draw: int) -> LiifSample:
        """Sample number `draw` of the run."""
        rng = self._generator(draw)
        low, high = self.source.pair(self.source.pick(self.seed, draw))
        height, width = low.shape[:2]
        if min(height, width) < self.lr_size:
            raise InputError(f"a low-resolution image has {width}x{height} pixels, smaller than "
                             f"the crop of {self.lr_size}",
                             hint="Leave it out of the folder or train on smaller crops")
        corner = _corner(height, width, self.lr_size, rng)
        flips = _flips(self.augment, rng)
        side = self.lr_size * (high.shape[0] // height)
        return paired(low, high, lr_size=self.lr_size, corner=corner, flips=flips,
                      choice=self._choice(side * side, rng))


class UniformVariedSampler(_Drawn):
    """sr-implicit-uniform-varied from pairs of images with equal low-resolution sizes.

    Args:
        source: the pairs; the number of a pair decides the side its original is shrunk to.
        seed: of the run.
        size_min, size_max, gt_resize: as `uniform_varied`.
        batch: samples a step.
        queries: pixels drawn from each image; None takes all (then the size must be fixed).
        augment: mirror columns with probability 1/2.
    """

    def __init__(self, source: PairSource, seed: int, *, size_min: int,
                 size_max: int | None = None, gt_resize: int | None = None, batch: int = 16,
                 queries: int | None = 1024, augment: bool = True):
        super().__init__(seed, batch, queries)
        if queries is None and gt_resize is None and size_max not in (None, size_min):
            raise UsageError("taking all pixels needs one fixed size")
        self.source, self.augment = source, augment
        self.size_min, self.size_max, self.gt_resize = size_min, size_max, gt_resize

    def sample(self, draw: int) -> LiifSample:
        """Sample number `draw` of the run."""
        rng = self._generator(draw)
        index = self.source.pick(self.seed, draw)
        low, high = self.source.pair(index)
        mirror = self.augment and bool(rng.random() < 0.5)
        whole = uniform_varied(low, high, index / max(1, len(self.source) - 1),
                               size_min=self.size_min, size_max=self.size_max,
                               gt_resize=self.gt_resize, mirror=mirror)
        choice = self._choice(len(whole.gt), rng)
        if choice is None:
            return whole
        return LiifSample(whole.lr, whole.hr_size, whole.index[choice], whole.gt[choice])
