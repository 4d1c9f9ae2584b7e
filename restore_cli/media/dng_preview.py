"""A small picture of a mosaic, so that file viewers have something to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from restore_cli.media.raw import Raw

_LONG_SIDE = 1024
_ROWS = 16  # of the small picture, averaged at once


def _bt709(light: np.ndarray) -> np.ndarray:
    """The curve LibRaw develops with, ITU-R BT.709: uint8 of 0..1."""
    curved = np.where(light < 0.018, light * 4.5, 1.099 * light ** 0.45 - 0.099)
    return np.rint(curved * 255).astype(np.uint8)


_CURVE = _bt709(np.linspace(0, 1, 4096))


def make(raw: Raw, mosaic: np.ndarray, black: np.ndarray, white: np.ndarray,
         exposure: float = 0.0) -> np.ndarray:
    """Averages cells of the mosaic, balances and turns them into sRGB; no demosaicking.

    Args:
        mosaic: uint16 (H, W); `black`, `white`: its levels by plane R, G1, B, G2.
        exposure: stops to brighten by.

    Returns:
        uint8 (h, w, 3) in the sensor's orientation, at most 1024 pixels long.
    """
    height, width = mosaic.shape[0] // 2, mosaic.shape[1] // 2
    cell = max(1, -(-max(height, width) // _LONG_SIDE))
    cell = min(cell, height, width)
    height, width = height // cell, width // cell
    planes = np.empty((4, height, width), np.float32)
    for plane, (row, column), low, high in zip(planes, raw.pattern.offsets, black, white,
                                               strict=True):
        _average(mosaic[row::2, column::2], cell, plane)
        plane -= low
        plane /= high - low
    planes[1] = (planes[1] + planes[3]) / 2
    gains = np.asarray(raw.balance[:3], np.float32) * np.float32(2.0 ** exposure)
    colors = np.moveaxis(planes[:3], 0, 2) * gains
    del planes
    np.clip(colors, 0, 1, out=colors)
    if raw.to_srgb is not None:
        colors = colors @ np.asarray(raw.to_srgb, np.float32).T
        np.clip(colors, 0, 1, out=colors)
    colors *= len(_CURVE) - 1
    return _CURVE[colors.astype(np.uint16)]


def _average(samples: np.ndarray, cell: int, out: np.ndarray) -> None:
    """The means of cells of uint16 samples, in float32.

    A few rows at a time: they stay in the cache while one sample of each cell after the other is
    added, which is several times faster than NumPy's mean over two axes.
    """
    height, width = out.shape
    for first in range(0, height, _ROWS):
        total = out[first:first + _ROWS]
        part = samples[first * cell:(first + len(total)) * cell, :width * cell]
        total[:] = part[::cell, ::cell]
        for place in range(1, cell * cell):
            total += part[place // cell::cell, place % cell::cell]
    out /= np.float32(cell * cell)


def unturned(picture: np.ndarray, flip: int) -> np.ndarray:
    """An upright picture turned back to how the sensor saw it.

    Args:
        picture: (h, w, ...).
        flip: LibRaw's number: 4 swaps the axes, then 2 mirrors rows and 1 columns.
    """
    if flip & 4:
        picture = picture.swapaxes(0, 1)
    if flip & 2:
        picture = picture[::-1]
    if flip & 1:
        picture = picture[:, ::-1]
    return picture
