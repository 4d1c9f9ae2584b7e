"""What the C++ operators that render grids share.

They are written with the vector extension of GCC and Clang and OpenMP, need no library, and have
no gradients. They produce a row of outputs from a few rows of a map at input resolution, which
is made stripe by stripe so that its size does not depend on the image's height.
"""

from __future__ import annotations

import functools
import sys
from importlib import resources
from typing import Iterator, Sequence

import jittor as jt
import numpy as np
from jittor import compile_extern, nn

from restore_cli.errors import ShapeError
from restore_cli.nets.liif.grid import Corner

STRIPE_BYTES = 32 << 20  # of the map at input resolution that is alive at once


def fits() -> bool:
    """Whether the operators can run now: on a CPU, compiled by GCC or Clang, nothing to train."""
    return bool(jt.flags.no_grad and not jt.flags.use_cuda and sys.platform != "win32")


@functools.cache
def source(name: str) -> str:
    """Text of the C++ file `name` of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def local(axis: Sequence[Corner], origin: int, length: int, name: str) -> list[Corner]:
    """Corners indexed within a window of `length` samples that starts at `origin`.

    Raises:
        ShapeError: the window lacks a sample whose weight is not 0.
    """
    used = np.concatenate([c.index[c.weight > 0] for c in axis])
    low, high = int(used.min()), int(used.max())
    if low < origin or high >= origin + length:
        raise ShapeError("features", f"a window that holds {name} {low} to {high} of the whole "
                         f"(it starts at {origin})", (length,))
    return [Corner(np.clip(c.index - origin, 0, length - 1), c.offset, c.weight) for c in axis]


def stripes(rows: Sequence[Corner], height: int, row_bytes: int,
            reach: int) -> Iterator[tuple[list[Corner], int, int]]:
    """Cuts a rendering into stripes whose maps take about `STRIPE_BYTES`.

    Args:
        rows: corners of all output rows; indices ascend.
        height: rows of the features.
        row_bytes: bytes of one row of the map.
        reach: rows on either side that one row of the map depends on.

    Yields:
        corners of consecutive output rows, their indices counted from the first feature row of
        the stripe; that row; and the row after the stripe's last.
    """
    allowed = max(2 + 2 * reach, STRIPE_BYTES // row_bytes)
    lowest = np.minimum.reduce([corner.index for corner in rows])
    highest = np.maximum.reduce([corner.index for corner in rows])
    start, total = 0, len(lowest)
    while start < total:
        top, bottom, stop = 0, height, total
        if height > allowed:
            top = max(0, int(lowest[start]) - reach)
            stop = int(np.searchsorted(highest, top + allowed - reach, side="left"))
            stop = max(start + 1, stop)
            bottom = min(height, int(highest[stop - 1]) + 1 + reach)
        yield [Corner(c.index[start:stop] - top, c.offset[start:stop], c.weight[start:stop])
               for c in rows], top, bottom
        start = stop


def striped(features, rows: Sequence[Corner], row_bytes: int, reach: int, decode):
    """`decode(features of a stripe, its corners)` for all stripes, joined along rows.

    Each stripe is finished before the next begins; Jittor would else make all maps first.
    """
    parts = []
    for corners, top, bottom in stripes(rows, features.shape[2], row_bytes, reach):
        if bottom - top == features.shape[2]:
            parts.append(decode(features, corners))
        else:
            parts.append(decode(features[:, :, top:bottom], corners))
            parts[-1].sync()
    return parts[0] if len(parts) == 1 else jt.concat(parts, dim=2)


def convolve(features, weight):
    """A zero-padded convolution of (N, C, h, w) whose result is laid out (N, h, w, K)."""
    reach = weight.shape[-1] // 2
    onednn = getattr(compile_extern, "mkl_ops", None)
    if onednn is None:
        return nn.conv2d(features, weight, padding=reach).permute(0, 2, 3, 1)
    return onednn.mkl_conv(features, weight, 1, 1, reach, reach, 1, 1, 1, "abcd", "oihw", "acdb")


def tables(head: Sequence[int], axes: Sequence[Corner]) -> tuple[np.ndarray, np.ndarray]:
    """Corners as the operators take them: `head` and indices, int32; offsets and weights."""
    whole = np.concatenate([np.asarray(head), *[c.index for c in axes]]).astype(np.int32)
    return whole, np.concatenate([*[c.offset for c in axes], *[c.weight for c in axes]])
