"""Number formats of samples: to and from float in [0,1], other depths, turning."""

from __future__ import annotations

import numpy as np

_WINDOW = 4 << 20  # samples converted at a time, so that temporaries stay small


def to_float(pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Samples as float32, integers divided by their largest value.

    Convert windows of rows of a large picture, not the whole: the result takes 4 bytes a sample.

    Args:
        pixels: uint8 or uint16 of any shape gives [0,1]; floats keep their values.
        out: float32 array of the same shape to fill.
    """
    if out is None:
        out = np.empty(pixels.shape, np.float32)
    if pixels.dtype.kind == "u":
        np.divide(pixels, np.float32(np.iinfo(pixels.dtype).max), out=out, dtype=np.float32)
    else:
        np.copyto(out, pixels, casting="same_kind")
    return out


def from_float(values: np.ndarray, dtype: np.dtype | type | str,
               out: np.ndarray | None = None) -> np.ndarray:
    """Float samples as `dtype`: clamped to [0,1], scaled and rounded half up.

    NaN becomes 0. With a floating `dtype` values are only cast, never clamped.

    Args:
        values: float array of any shape, nominally [0,1].
        dtype: uint8, uint16 or float32.
        out: array of `dtype` and the same shape to fill.
    """
    dtype = np.dtype(dtype)
    if out is None:
        out = np.empty(values.shape, dtype)
    if dtype.kind == "f":
        np.copyto(out, values, casting="same_kind")
        return out
    top = np.iinfo(dtype).max
    for part in row_windows(values.shape):
        piece = np.multiply(values[part], np.float32(top), dtype=np.float32)
        piece += np.float32(0.5)
        # fmax and fmin let a NaN lose against the bound.
        np.fmin(np.fmax(piece, 0, out=piece), top, out=piece)
        np.copyto(out[part], piece, casting="unsafe")
    return out


def to_depth(pixels: np.ndarray, dtype: np.dtype | type | str) -> np.ndarray:
    """Samples at another depth, rounded to the nearest; a window of rows at a time."""
    dtype = np.dtype(dtype)
    if pixels.dtype == dtype:
        return pixels
    out = np.empty(pixels.shape, dtype)
    for part in row_windows(pixels.shape):
        piece = pixels[part]
        if dtype == np.uint16 and piece.dtype == np.uint8:
            np.multiply(piece, np.uint16(257), out=out[part], dtype=np.uint16)
        elif dtype == np.uint8 and piece.dtype == np.uint16:
            np.copyto(out[part], (piece.astype(np.uint32) + 128) // 257, casting="unsafe")
        elif dtype.kind == "f":
            to_float(piece, out[part])
        else:
            from_float(piece, dtype, out[part])
    return out


def row_windows(shape: tuple[int, ...], samples: int = _WINDOW) -> list[slice]:
    """Slices of the first axis that cover `shape` in pieces of about `samples` elements."""
    rows = shape[0] if shape else 0
    per_row = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    step = max(1, samples // per_row)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation.

    Args:
        pixels: (H, W, C) as stored.
        orientation: 1 to 8; 5 to 8 swap height and width.

    Returns:
        The upright picture, contiguous (the same array for orientation 1).
    """
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    # After that exchange: which axes still run backwards.
    upside_down = orientation in (3, 4, 7, 8)
    mirrored = orientation in (2, 3, 6, 7)
    pixels = pixels[::-1] if upside_down else pixels
    pixels = pixels[:, ::-1] if mirrored else pixels
    return np.ascontiguousarray(pixels)


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Composites (H, W, 2 or 4) over white and returns (H, W, 1 or 3) of the same dtype."""
    out = np.empty((*pixels.shape[:2], pixels.shape[2] - 1), pixels.dtype)
    for part in row_windows(pixels.shape):
        values = to_float(pixels[part])
        alpha = np.clip(values[:, :, -1:], 0, 1)
        from_float(values[:, :, :-1] * alpha + (1 - alpha), pixels.dtype, out[part])
    return out
