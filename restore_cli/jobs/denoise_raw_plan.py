"""What denoising a RAW file takes in memory, and the tiles that fit. No pixels here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.jobs import denoise_raw_tiles
from restore_cli.nets.layout import Layout
from restore_cli.pipeline import memory

LARGEST_TILE, SMALLEST_TILE = 1024, 16
"""Packed pixels."""

MOSAIC = 2
"""Bytes of a stored sample."""

# Bytes a sensor pixel beside the file's own bytes: while LibRaw decodes, and while each kind of
# result is made and written. Measured peaks, rounded up; see tests/cli/test_denoise_raw_memory.py.
_READING = 6
_WRITING = {"dng": 10, "linear-dng": 40, "tiff": 36, "png": 36, "jpeg": 40}


@dataclass(frozen=True)
class Cost:
    """Bytes that a network takes at its peak.

    Attributes:
        fixed: whatever the size.
        pixel: for each packed pixel of the window it is given.
    """

    fixed: float
    pixel: float

    def of(self, sides: Sequence[int]) -> int:
        """Bytes for one window."""
        return int(self.fixed + self.pixel * sides[0] * sides[1])


def cost(arch: str, config: dict[str, Any], layout: Layout) -> Cost:
    """The cost model of a U-Net.

    The factor bounds measured peaks of resident memory from above;
    `tests/cli/test_denoise_raw_memory.py` repeats the measurement.
    """
    return Cost(24e6 + 3.0 * 4 * layout.parameters, 4 * (7.0 * config.get("channels", 32) + 60))


def choose(model: Cost, layout: Layout, shape: tuple[int, int], room: int,
           asked: int | None = None) -> tuple[int, int]:
    """The tile, (rows, columns) in packed pixels, to use within `room` bytes.

    Args:
        shape: of the picture, in packed pixels.
        asked: the side the user set, which is not changed.

    Raises:
        OutOfMemory: nothing fits.
    """
    def takes(tile: int) -> int:
        return model.of([denoise_raw_tiles.window(length, tile, layout) for length in shape])

    if asked is not None:
        return (memory.check_tile(asked, takes, room),) * 2
    side = memory.choose_tile(takes, room, smallest=SMALLEST_TILE, step=16,
                              largest=max(SMALLEST_TILE, min(LARGEST_TILE, max(shape))))
    rows, columns = (denoise_raw_tiles.even(length, side, layout) for length in shape)
    return rows, columns


def sides(path: Path) -> tuple[int, int] | None:
    """(height, width) of a file's mosaic without decoding it, or None where it cannot be told.

    Nothing is reported here: the reader says what is wrong with a file.
    """
    import rawpy

    if not path.is_file():
        return None
    try:
        with rawpy.imread(str(path)) as opened:
            return opened.sizes.raw_height, opened.sizes.raw_width
    except (rawpy.LibRawError, OSError):
        return None


def reading(path: Path) -> int:
    """Bytes while a file is read."""
    found = sides(path)
    return 0 if found is None else path.stat().st_size + _READING * found[0] * found[1]


def writing(format: str, shape: Sequence[int]) -> int:
    """Bytes beside the mosaic while a result is made and written.

    Args:
        format: one of `denoise_raw_output.FORMATS`.
        shape: (H, W) of the mosaic.
    """
    return _WRITING[format] * shape[0] * shape[1]
