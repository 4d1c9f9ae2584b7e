"""Where training images come from, and in which order they are drawn.

A source is a numbered set of images. Which image the k-th draw of a run takes is a pure function
of the run's seed and k, so that a run can continue at any step without a saved random state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from restore_cli.errors import InputError, UsageError


class ImageSource(Protocol):
    """A numbered set of images."""

    smallest: int
    """No image is narrower or lower than this, in pixels."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """Image `index`, uint8 (H, W, 3), not to be written to."""
        ...

    def pick(self, seed: int, draw: int) -> int:
        """The index that draw number `draw` (from 0) of a run takes."""
        ...


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 0x5EED, epoch, count]).permutation(count)


def shuffled(seed: int, draw: int, count: int) -> int:
    """Every one of `count` images once before any comes again, in a new order each time round."""
    return int(_permutation(seed, draw // count, count)[draw % count])


class ArraySource:
    """Images in memory or in a memory map.

    Args:
        images: uint8 (H, W, 3) each, or one (N, H, W, 3) array.

    Raises:
        InputError: no images.
    """

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray):
        if not len(images):
            raise InputError("no training images")
        self._images = images
        self.smallest = min(min(image.shape[:2]) for image in images)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        return self._images[index]

    def pick(self, seed: int, draw: int) -> int:
        return shuffled(seed, draw, len(self))


class Mixture:
    """Several sources, each drawn from with its own probability.

    Args:
        parts: (source, weight) pairs; weights are relative, at least one above 0.

    Raises:
        UsageError: no parts, a negative weight, or none above 0.
    """

    def __init__(self, parts: Sequence[tuple[ImageSource, float]]):
        parts = [(source, float(weight)) for source, weight in parts]
        if not parts or any(not weight >= 0 for _, weight in parts) \
                or not sum(weight for _, weight in parts) > 0:
            raise UsageError("a mixture needs weights of 0 or more, at least one above 0")
        self._sources = [source for source, weight in parts if weight > 0]
        weights = np.array([weight for _, weight in parts if weight > 0])
        self._limits = np.cumsum(weights / weights.sum())
        self._starts = np.concatenate([[0], np.cumsum([len(s) for s in self._sources])])
        self.smallest = min(source.smallest for source in self._sources)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, index: int) -> np.ndarray:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._sources[part].image(index - int(self._starts[part]))

    def pick(self, seed: int, draw: int) -> int:
        where = np.random.default_rng([seed, 0x313, draw]).random()
        part = min(int(np.searchsorted(self._limits, where, side="right")),
                   len(self._sources) - 1)
        return int(self._starts[part]) + self._sources[part].pick(seed + part, draw)


def mixture(parts: Sequence[tuple[ImageSource, float]]) -> ImageSource:
    """`Mixture`, or the source itself when there is only one."""
    used = [(source, weight) for source, weight in parts if weight > 0]
    return used[0][0] if len(used) == 1 else Mixture(parts)
