"""What denoising a RAW file takes in memory, and the tiles that fit. No pixels here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.jobs import denoise_raw_tiles
from restore_cli.nets.layout import Layout
from restore_cli.pipeline import memory

LARGEST_TILE, SMALLEST_TILE = 1024, 16
"""Packed pixels."""

_FUSED = 2  # times as large for the CPU operator: 12 megapixels at once, no halo computed twice

MOSAIC = 2
"""Bytes of a stored sample."""

# Bytes a sensor pixel, measured peaks rounded up: while LibRaw decodes (beside the file's own
# bytes), and while each kind of result is made and written (beside its mosaic and what the
# preview and the codecs take whatever the size).
_READING = 5
_WRITING = {"dng": 3, "linear-dng": 24, "tiff": 20, "png": 20, "jpeg": 21}
_CODECS = 36e6


@dataclass(frozen=True)
class Cost:
    """Bytes that a network takes at its peak.

    Attributes:
        fixed: whatever the size.
        pixel: for each packed pixel of the window it is given.
        operator: for the window itself, by its sides, where the network is one operator that
            knows; `pixel` then counts what comes beside it.
    """

    fixed: float
    pixel: float
    operator: Callable[[int, int], int] | None = None

    def of(self, sides: Sequence[int]) -> int:
        """Bytes for one window."""
        own = self.operator(*sides) if self.operator is not None else 0
        return int(self.fixed + self.pixel * sides[0] * sides[1] + own)


def cost(arch: str, config: Mapping[str, Any], layout: Layout, fused: bool = False) -> Cost:
    """The cost model of a U-Net.

    The factors bound measured peaks of resident memory from above;
    `tests/cli/test_denoise_raw_memory.py` repeats the measurement.

    Args:
        fused: the network is the CPU operator; the engine must run.
    """
    channels = config.get("channels", 32)
    fixed = 24e6 + 2.0 * 4 * layout.parameters
    if not fused:
        return Cost(fixed, 4 * (13.0 * channels + 16))
    from restore_cli.nets.ops import led_unet

    return Cost(fixed, 64.0, lambda height, width: led_unet.peak_bytes(
        channels, height, width, 1, False))


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
        memory.check_tile(2 * asked, lambda side: takes(side // 2), room)  # as the user said it
        return asked, asked
    most = LARGEST_TILE * (1 if model.operator is None else _FUSED)
    side = memory.choose_tile(takes, room, smallest=SMALLEST_TILE, step=16,
                              largest=max(SMALLEST_TILE, min(most, max(shape))))
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
    return int(_CODECS + _WRITING[format] * shape[0] * shape[1])
