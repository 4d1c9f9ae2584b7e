"""Runs a network with statistics of the whole picture over a RAW picture, at once or in strips.

Between strips, feature maps of the whole picture wait in memory as far as it goes, the others on
disk.
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

_INPUT = 4 * 4  # bytes a packed pixel: the planes that go in
_PUT = 64  # rows of the result stored at once
_USED = 0.85
"""Part of the room that strips are planned with: pages of maps on disk go back to the system in
rounds, which come late on a busy machine (4 % over 1 GB were seen, with 48 megapixels)."""


@dataclass(frozen=True)
class Strips:
    """How one picture is worked through.

    Attributes:
        rows: of a strip, in packed pixels; None for the whole picture at once, which is faster.
        held: bytes of feature maps that may wait in memory between strips.
    """

    rows: int | None
    held: int = 0


def choose(loaded: Loaded, shape: tuple[int, int], room: int) -> Strips:
    """Strips that fit within `room` bytes.

    Args:
        shape: of the picture, in packed pixels.

    Raises:
        OutOfMemory: nothing fits.
    """
    import jittor as jt

    from restore_cli.nets.led import strips_cost
    from restore_cli.nets.ops import led_blocks

    with jt.no_grad():  # the operators have no gradients
        fused = led_blocks.usable()
    given = _INPUT * math.prod(shape) + 4 * loaded.layout.parameters

    def takes(rows: int | None, spilled: bool = False) -> int:
        return given + strips_cost.cost(loaded.arch, loaded.config, *shape, rows, fused=fused,
                                        spilled=spilled)

    if takes(None) <= room:
        return Strips(None)
    room = int(_USED * room)
    if takes(SMALLEST_STRIP, True) > room:
        least = takes(SMALLEST_STRIP, True)
        raise OutOfMemory(f"{loaded.name} needs {units.show(least)} for this picture, and "
                          f"{units.show(room)} are left", short=(least - room) / _USED,
                          hint="Give more with --memory, or use a U-Net, which takes tiles")
    # Maps on disk cost more time than low strips do.
    for spilled in (False, True):
        rows = LARGEST_STRIP
        while rows > SMALLEST_STRIP and takes(rows, spilled) > room:
            rows //= 2
        if takes(rows, spilled) <= room:
            break
    return Strips(rows, room - takes(rows, True))


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
    planes = picture.network(slice(0, height), slice(0, width))
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        progress((share - told) * 4 * height * width / 1e6)
        told = share

    if strips.rows is None:
        clean = loaded(planes, picture.ratio)
        tell(1.0)
    else:
        clean = network_strips.run(loaded.network, planes, rows=strips.rows, progress=tell,
                                   make_buffer=_Buffers(strips.held, folder).make)
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
