"""What denoising takes in memory, and the tiles that fit. No pixels here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from restore_cli import units
from restore_cli.errors import OutOfMemory
from restore_cli.nets.layout import Layout
from restore_cli.pipeline import memory, tiles

LARGEST_TILE, SMALLEST_TILE = 1024, 16
_SLABS = (64, 32, 16, 8)  # planes of a volume that are decided together, where all are too many


@dataclass(frozen=True)
class Cost:
    """Bytes that a network takes at its peak.

    Attributes:
        fixed: whatever the size.
        pixel: for each pixel of the window it is given.
        trained: for each pixel of a training batch.
    """

    fixed: float
    pixel: float
    trained: float

    def of(self, window: Sequence[int]) -> int:
        """Bytes for one window."""
        return int(self.fixed + self.pixel * math.prod(window))

    def training(self, batch: int, patch: Sequence[int]) -> int:
        """Bytes for training steps: the network's and the optimiser's state, and the batch."""
        return int(2 * self.fixed + self.trained * batch * math.prod(patch))


def cost(arch: str, config: dict[str, Any], layout: Layout, tta: bool = False) -> Cost:
    """The cost model of a network.

    The factors bound measured peaks of resident memory from above;
    `tests/cli/test_denoise_memory.py` repeats the measurement.
    """
    fixed = 24e6 + 6.0 * 4 * layout.parameters
    per_pixel, trained = _floats(arch, config)
    return Cost(fixed, 4 * per_pixel + (24.0 if tta else 8.0), 4 * trained)


def _floats(arch: str, config: dict[str, Any]) -> tuple[float, float]:
    """Floats a pixel of the window takes when predicting, and in training."""
    if arch == "n2v-unet":
        return 720.0, 1800.0
    if arch.startswith("rednet"):
        features = config.get("num_features", 64)
        layers = config.get("num_layers", {"rednet10": 5, "rednet20": 10, "rednet30": 15}[arch])
        return features * (1.5 + layers / 8), features * (2.0 + 1.2 * layers)
    width = config.get("num_channels_init", 32)
    if config.get("independent_channels", True):
        width *= config.get("in_channels", 1)
    if config.get("conv_dims", 2) == 3:
        return 18.0 * width, 60.0 * width
    return 8.0 * width, 24.0 * width


@dataclass(frozen=True)
class Tiling:
    """Pixels a window decides along each axis.

    Attributes:
        sides: (Y, X) or (Z, Y, X).
    """

    sides: tuple[int, ...]


def window(length: int, tile: int, layout: Layout) -> int:
    """Pixels of the windows along one axis (`tiles.spans` makes them)."""
    align = layout.align
    halo = tiles.round_up(layout.receptive_radius, align)
    return min(tiles.round_up(tile, align) + 2 * halo, tiles.round_up(length, align))


def choose(model: Cost, layout: Layout, shape: Sequence[int], room: int,
           asked: int | None = None,
           beside: Callable[[int], int] = lambda window: 0) -> Tiling:
    """The tiles to use within `room` bytes.

    Args:
        shape: of the image, (Y, X) or (Z, Y, X).
        asked: the side the user set, which is not changed.
        beside: bytes held beside a window of so many planes of a volume.

    Raises:
        OutOfMemory: nothing fits.
    """
    def takes(side: int, depth: tuple[int, ...] = ()) -> int:
        sides = [*depth, *(window(n, side, layout) for n in shape[-2:])]
        return model.of(sides) + (beside(depth[0]) if depth else 0)

    largest = max(SMALLEST_TILE, min(LARGEST_TILE, max(shape[-2:])))
    if len(shape) == 2:
        if asked is not None:
            return Tiling((memory.check_tile(asked, takes, room),) * 2)
        side = memory.choose_tile(takes, room, smallest=SMALLEST_TILE, step=16, largest=largest)
        return Tiling((side, side))
    found: list[tuple[float, Tiling]] = []
    for deep in [shape[0], *(slab for slab in _SLABS if slab < shape[0])]:
        depth = (window(shape[0], deep, layout),)
        try:
            side = asked if asked is not None else memory.choose_tile(
                partial(takes, depth=depth), room, smallest=SMALLEST_TILE, step=16,
                largest=largest)
        except OutOfMemory:
            continue
        if takes(side, depth) > room:
            continue
        waste = math.prod((window(n, t, layout) / min(n, t))
                          for n, t in zip(shape, (deep, side, side), strict=True))
        found.append((waste, Tiling((deep, side, side))))
    if not found:
        least = takes(asked or SMALLEST_TILE, (window(shape[0], _SLABS[-1], layout),))
        raise OutOfMemory(
            f"even the smallest part of the volume needs {units.show(least)}, and "
            f"{units.show(room)} are left",
            hint="Give more with --memory, or leave --volume out", short=least - room)
    return min(found, key=lambda one: one[0])[1]


def check_training(model: Cost, batch: int, patch: Sequence[int], room: int) -> None:
    """Raises `OutOfMemory` when training does not fit."""
    need = model.training(batch, patch)
    if need > room:
        raise OutOfMemory(f"training takes {units.show(need)}, and {units.show(room)} are left",
                          hint="Give more with --memory, or use --quick, which does not train",
                          short=need - room)
