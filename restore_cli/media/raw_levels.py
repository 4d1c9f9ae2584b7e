"""Levels, white balance and colour matrices of an opened RAW file, in plane order.

LibRaw numbers colours R, G, B, second green; which of the greens is meant, what is missing and
what is zero because nobody filled it in is settled here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media.bayer import Pattern
from restore_cli.media.raw_tags import Tags

if TYPE_CHECKING:
    import rawpy

# Linear sRGB to XYZ for D65, with the digits dcraw and LibRaw use.
XYZ_FROM_SRGB = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169],
                          [0.019334, 0.119193, 0.950227]])
_COLOR_MATRICES, _ILLUMINANTS = (50722, 50721, 52531), (50779, 50778, 52529)
_D65 = 21
_BLACK_REPEAT, _BLACK_LEVEL, _BLACK_DELTAS, _ACTIVE_AREA = 50713, 50714, (50715, 50716), 50829
_SPREAD = 4.0  # stored values by which tags and LibRaw may differ in the mean


def camera_to_srgb(xyz_to_camera: np.ndarray) -> np.ndarray | None:
    """Balanced camera colours to linear sRGB from the XYZ to camera matrix, as dcraw does.

    Returns:
        float64 (3, 3) whose rows add up to 1, or None when the matrix has no inverse.
    """
    forward = np.asarray(xyz_to_camera, np.float64)[:3] @ XYZ_FROM_SRGB
    sums = forward.sum(axis=1, keepdims=True)
    if not np.isfinite(forward).all() or (np.abs(sums) < 1e-6).any():
        return None
    try:
        return np.linalg.inv(forward / sums)
    except np.linalg.LinAlgError:
        return None


def codes(opened: rawpy.RawPy, pattern: Pattern) -> list[int]:
    """LibRaw's colour numbers of the four planes."""
    sizes = opened.sizes
    return [opened.raw_color(sizes.top_margin + y, sizes.left_margin + x)
            for y, x in pattern.offsets]


def black(opened: rawpy.RawPy, pattern: Pattern, tags: Tags) -> np.ndarray:
    """Stored values of no light, float64 (4,).

    A DNG counts its black pattern from the corner of the active area. LibRaw counts it from its
    own visible area, which it moves to even positions, and leaves out patterns over 2x2: there
    the tags are followed, unless LibRaw knows something else altogether.
    """
    listed = np.array(opened.black_level_per_channel, np.float64)
    found = listed[codes(opened, pattern)]
    told, least = _black_tags(opened, pattern, tags)
    near = min(abs(told.mean() - found.mean()), abs(least - found.mean()))
    return told if near < _SPREAD else found


def _black_tags(opened: rawpy.RawPy, pattern: Pattern, tags: Tags
                ) -> tuple[np.ndarray, float]:
    """The tags' levels of the four planes and the least of them all; NaN without such tags."""
    sizes = opened.sizes
    for one in tags.directories if tags.is_dng else ():
        width, height = one.numbers(0x100), one.numbers(0x101)
        levels = np.array(one.numbers(_BLACK_LEVEL), np.float64)
        rows, columns = (int(n) for n in one.numbers(_BLACK_REPEAT) or (1, 1))
        if (width == [sizes.raw_width] and height == [sizes.raw_height]
                and 0 < len(levels) == rows * columns):
            top, left = (int(n) for n in (one.numbers(_ACTIVE_AREA) or (0, 0))[:2])
            cells = np.tile(levels.reshape(rows, columns), (2, 2))
            rest = sum(np.mean([float(n) for n in one.numbers(delta)] or [0.0])
                       for delta in _BLACK_DELTAS)
            planes = [cells[(sizes.top_margin - top + y) % 2::2,
                            (sizes.left_margin - left + x) % 2::2].mean()
                      for y, x in pattern.offsets]
            return np.array(planes) + rest, levels.min() + rest
    return np.full(4, np.nan), np.nan


def white(opened: rawpy.RawPy, codes: list[int], black: np.ndarray, path: Path) -> np.ndarray:
    """Stored values of saturation, float64 (4,): the camera's own by colour where it tells them.

    Raises:
        InputError: saturation is not above the black level.
    """
    told = opened.camera_white_level_per_channel
    if told is not None and all(level > 0 for level in told):
        levels = np.array(told, np.float64)[codes]
        if (levels > black).all():
            return levels
    levels = np.full(4, float(opened.white_level))
    if not (levels > black).all():
        raise InputError(f"has a white level ({levels[0]:g}) that is not above its black level "
                         f"({black.max():g})", path=path)
    return levels


def balance(opened: rawpy.RawPy, codes: list[int]) -> tuple[np.ndarray, bool]:
    """The gains that make the camera's white neutral, float64 (4,), and whether the file told
    them; else daylight's, else ones."""
    for gains, known in ((opened.camera_whitebalance, True), (opened.daylight_whitebalance, False)):
        if _told(gains):
            return _gains(gains, codes), known
    return np.ones(4), False


def daylight(opened: rawpy.RawPy, codes: list[int]) -> np.ndarray:
    """The gains for daylight, float64 (4,), else the camera's."""
    gains = opened.daylight_whitebalance
    return _gains(gains, codes) if _told(gains) else balance(opened, codes)[0]


def to_srgb(opened: rawpy.RawPy, xyz: np.ndarray | None) -> np.ndarray | None:
    """Balanced camera colours to linear sRGB, float64 (3, 3): the file's own matrix where LibRaw
    has one, else made of `xyz_to_camera`, else None."""
    matrix = np.array(opened.color_matrix[:, :3], np.float64)
    if np.isfinite(matrix).all() and matrix.any():
        return matrix
    return None if xyz is None else camera_to_srgb(xyz)


def xyz_to_camera(opened: rawpy.RawPy, tags: Tags) -> np.ndarray | None:
    """XYZ to unbalanced camera colours, float64 (3, 3), or None.

    LibRaw lists cameras' matrices; for a DNG it leaves them empty and the file has its own, of
    which the one for the light nearest to D65 is taken.
    """
    listed = np.array(opened.rgb_xyz_matrix[:3], np.float64)
    if np.isfinite(listed).all() and listed.any():
        return listed
    found = []
    for place, (matrix, light) in enumerate(zip(_COLOR_MATRICES, _ILLUMINANTS, strict=True)):
        numbers = tags.main.numbers(matrix) if tags.main else []
        if len(numbers) == 9 and any(numbers):
            lights = tags.main.numbers(light)
            found.append(((not lights or lights[0] != _D65, place),
                          np.array(numbers, np.float64).reshape(3, 3)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _told(gains: list[float]) -> bool:
    return all(np.isfinite(gain) and gain > 0 for gain in gains[:3])


def _gains(gains: list[float], codes: list[int]) -> np.ndarray:
    """In plane order with G1 = 1; LibRaw leaves the second green 0 when both are one."""
    whole = list(gains)
    if not (np.isfinite(whole[3]) and whole[3] > 0):
        whole[3] = whole[1]
    found = np.array(whole, np.float64)[codes]
    return found / found[1]
