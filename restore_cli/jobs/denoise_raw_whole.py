"""Runs a network with statistics of the whole picture over a RAW picture, strip by strip.

Feature maps of the whole picture wait in memory as far as it goes, the others on disk.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli import units
from restore_cli.errors import OutOfMemory
from restore_cli.jobs.denoise_raw_image import Picture, Result
from restore_cli.jobs.denoise_raw_network import Loaded
from restore_cli.pipeline import buffers
from restore_cli.pipeline.naming import STREAM, Item

LARGEST_STRIP, SMALLEST_STRIP = 128, 2
"""Rows of packed pixels."""

_PLANES = 4 * 16  # bytes a packed pixel: what goes in and what comes out, plain and padded
_PUT = 64  # rows of the result stored at once

# Floats for each channel of the first layer, measured peaks rounded up: a packed pixel of a
# strip, and a packed pixel of all the maps that wait together.
_FLOATS = {"led-nafnet": ("width", 12.0, 2.3), "led-restormer": ("dim", 36.0, 4.4)}


@dataclass(frozen=True)
class Strips:
    """How one picture is worked through.

    Attributes:
        rows: of a strip, in packed pixels.
        held: bytes of feature maps that may wait in memory.
    """

    rows: int
    held: int


def choose(loaded: Loaded, shape: tuple[int, int], room: int) -> Strips:
    """Strips that fit within `room` bytes.

    Args:
        shape: of the picture, in packed pixels.

    Raises:
        OutOfMemory: nothing fits.
    """
    name, strip, maps = _FLOATS[loaded.arch]
    channels = loaded.config.get(name, 32)
    row = 4 * strip * channels * (shape[1] + 16)
    base = 24e6 + 2.0 * 4 * loaded.layout.parameters + _PLANES * math.prod(shape)
    need = base + SMALLEST_STRIP * row
    if need > room:
        raise OutOfMemory(f"{loaded.name} needs {units.show(need)} for this picture, and "
                          f"{units.show(room)} are left",
                          hint="Give more with --memory, or use a U-Net, which takes tiles")
    # Strips get what the maps leave, and a third at least: maps can wait on disk.
    left = room - base
    wanted = max(left / 3, left - 4 * maps * channels * math.prod(shape))
    rows = int(min(LARGEST_STRIP, max(SMALLEST_STRIP, wanted // row), shape[0] + 1)) // 2 * 2
    rows = max(SMALLEST_STRIP, rows)
    return Strips(rows, int(left - rows * row))


def run(loaded: Loaded, picture: Picture, result: Result, strips: Strips, folder: Path,
        progress: Callable[[float], None] = lambda megapixels: None) -> None:
    """Fills `result` from `picture`.

    Args:
        folder: for maps that do not fit in memory; nothing is left there.
        progress: told the sensor's megapixels done since it was last told.

    Raises:
        OutputError: the folder has no room for them.
    """
    from restore_cli.nets.led import strips as network_strips

    height, width = picture.shape
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        progress((share - told) * 4 * height * width / 1e6)
        told = share

    clean = network_strips.run(
        loaded.network, picture.network(slice(0, height), slice(0, width)), rows=strips.rows,
        make_buffer=_Buffers(strips.held, folder).make, progress=tell)
    for first in range(0, height, _PUT):
        rows = slice(first, min(first + _PUT, height))
        result.put(rows, slice(0, width), clean[:, rows])


def spill_folder(item: Item, temporary: Path) -> Path:
    """Where maps wait that do not fit in memory: the output's disk, if it has one."""
    if item.target == STREAM:
        return temporary
    folder = item.target.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    return folder


class _Buffers:
    """Arrays in memory while there is room for them, then on disk."""

    def __init__(self, room: int, folder: Path):
        self._left, self._folder = room, folder

    @contextlib.contextmanager
    def make(self, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        held = size <= self._left
        self._left -= size * held
        try:
            with buffers.array(shape, dtype, None if held else self._folder) as made:
                yield made
        finally:
            self._left += size * held
