"""Pictures from mosaics by LibRaw's developer, at the brightness of the untouched file.

LibRaw is told the saturation level, and its habits of stretching by what the picture happens to
contain are switched off, so two mosaics of one file come out comparable and saturated areas stay
white: left alone it takes the file's nominal maximum, and where a sensor saturates below that
the white balance turns highlights magenta.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.media import raw_file, raw_levels
from restore_cli.media.raw import Raw

LINEAR_WHITE = 65535
"""Value of saturation in what `linear_camera_rgb` returns; 0 is no light."""

_ROWS = 512  # rows of the mosaic converted at once


def develop(raw: Raw, mosaic: np.ndarray | None = None, *, gain: float = 1.0,
            half: bool = False, black: np.ndarray | float | None = None,
            white: np.ndarray | float | None = None) -> np.ndarray:
    """The picture of a mosaic: white-balanced, demosaicked (AHD), sRGB colours, upright.

    Args:
        raw: the file the mosaic belongs to; it is opened again for its developing data.
        mosaic: uint16 (H, W) like `raw.mosaic`, or None for the file's own.
        gain: brightens the light before it is clipped at saturation.
        half: one pixel for each 2x2 cell, fast, for previews.
        black, white: the mosaic's values of no light and of saturation, one number or four in
            plane order; None takes the file's.

    Returns:
        uint16 (H', W', 3) with LibRaw's tone curve (BT.709), turned as `raw.flip` says.

    Raises:
        InputError: the file is gone, changed, or cannot be developed.
        ShapeError: a mosaic of another size.
    """
    if not np.isfinite(gain) or gain <= 0:
        raise UsageError(f"the gain must be above 0, not {gain:g}")
    with _filled(raw, mosaic, gain, black, white) as (opened, settings):
        return _processed(opened, raw, half_size=half, **settings)


def linear_camera_rgb(raw: Raw, mosaic: np.ndarray | None = None, *,
                      black: np.ndarray | float | None = None,
                      white: np.ndarray | float | None = None) -> np.ndarray:
    """The mosaic demosaicked and nothing else: what a linear DNG holds.

    The demosaicking itself sees balanced colours, for it judges edges by them; the gains are
    taken back afterwards.

    Args:
        raw, mosaic, black, white: as for `develop`.

    Returns:
        uint16 (H, W, 3), camera colours without white balance and tone curve, not turned;
        0 is no light, `LINEAR_WHITE` is saturation.

    Raises:
        InputError, ShapeError: as `develop`.
    """
    import rawpy

    with _filled(raw, mosaic, 1.0, black, white) as (opened, settings):
        picture = _processed(opened, raw, output_color=rawpy.ColorSpace.raw, gamma=(1, 1),
                             user_flip=0, highlight_mode=rawpy.HighlightMode.Ignore, **settings)
    if picture.shape[:2] != raw.mosaic.shape:
        raise InputError("has pixels that are not square, which a linear picture would lose",
                         path=raw.path, hint="Write it as a mosaic")
    # LibRaw scaled the colour with the greatest gain to full range, the others below it.
    gains = np.array(settings["user_wb"][:3]) / max(settings["user_wb"])
    for start in range(0, len(picture), _ROWS):
        part = picture[start:start + _ROWS]
        part[:] = np.minimum(np.rint(part / gains), LINEAR_WHITE).astype(np.uint16)
    return picture


@contextmanager
def _filled(raw: Raw, mosaic: np.ndarray | None, gain: float, black: np.ndarray | float | None,
            white: np.ndarray | float | None) -> Iterator[tuple]:
    """The opened file with another mosaic in it, and the settings common to all developing.

    A mosaic in the file's own numbers goes in as it is. Any other is stretched to the 16 bits
    LibRaw has, over the black level that LibRaw knows: brightened or averaged values keep
    fractions of the file's own steps.
    """
    mosaic = raw.mosaic if mosaic is None else mosaic
    if mosaic.shape != raw.mosaic.shape:
        raise ShapeError("mosaic", str(raw.mosaic.shape), mosaic.shape)
    low = raw.black if black is None else np.broadcast_to(np.asarray(black, float), (4,))
    high = raw.white if white is None else np.broadcast_to(np.asarray(white, float), (4,))
    with raw_file.opened(raw.path, raw.tags) as opened:
        visible = opened.raw_image_visible
        if visible.shape != mosaic.shape:
            raise InputError("was changed since it was read", path=raw.path)
        ranges = raw.white - raw.black
        codes = raw_levels.codes(opened, raw.pattern)
        floor = np.array(opened.black_level_per_channel, np.float64)[codes]
        same = (gain == 1 and (low == floor).all() and (low == raw.black).all()
                and (high == raw.white).all())
        if same and (ranges == np.rint(ranges[0])).all():
            visible[:], saturation = mosaic, int(ranges[0])
        else:
            saturation = 65535 - int(floor.max())
            _stretch(visible, mosaic, raw, floor, low, gain * saturation / (high - low), saturation)
        gains = [0.0] * 4
        for code, balance in zip(codes, raw.balance, strict=True):
            gains[code] = float(balance)
        gains[3] = gains[3] or gains[1]
        yield opened, {"user_wb": gains, "user_sat": saturation}


def _stretch(visible: np.ndarray, mosaic: np.ndarray, raw: Raw, floor: np.ndarray,
             low: np.ndarray, scale: np.ndarray, saturation: int) -> None:
    for i, (row, column) in enumerate(raw.pattern.offsets):
        for start in range(row, mosaic.shape[0], _ROWS):
            part = (slice(start, start + _ROWS, 2), slice(column, None, 2))
            light = (mosaic[part] - np.float32(low[i])) * np.float32(scale[i])
            light += np.float32(floor[i])
            visible[part] = np.clip(np.rint(light), 0, saturation + floor[i])


def _processed(opened, raw: Raw, **settings) -> np.ndarray:
    import rawpy

    try:
        return opened.postprocess(
            output_bps=16, no_auto_bright=True, adjust_maximum_thr=0.0,
            demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD, **settings)
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise raw_file.undecodable(error, raw.path, raw.tags) from error
    except MemoryError:
        raise InputError("does not fit into memory while developing", path=raw.path) from None
