"""MetaSR's decoder on a regular grid.

The predicted kernels depend only on the offset of an output pixel within its input pixel. A
rational scale has few offsets (s x s of them for an integer scale s), and for each the decoder
is one fixed convolution: `phased`. With many offsets, the convolutions are those of the hidden
units, and each output pixel weights their results by its own hidden vector: `fused` in one
operator on CPUs, `plain` in Jittor operators elsewhere.
"""

from __future__ import annotations

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.liif import grid
from restore_cli.nets.liif.grid import Corner
from restore_cli.nets.ops import native
from restore_cli.nets.ops.library import Library

# The hidden units' convolutions have 256 channels a colour; so many offsets cost no more.
PHASES = 256
PIXELS_PER_CHUNK = 1 << 13

_LIBRARY = Library("metasr_decoder.cc")


def render(model, features, size, cell_scale, window):
    """See `Implicit.render`."""
    (y0, y1), (x0, x1), (h, w), (oy, ox) = window
    (row,) = native.local([_corner(h, size[0], y0, y1)], oy, features.shape[2], "rows")
    (col,) = native.local([_corner(w, size[1], x0, x1)], ox, features.shape[3], "columns")
    offsets = len(np.unique(row.offset)) * len(np.unique(col.offset))
    form = phased if offsets <= PHASES else fused if native.fits() else plain
    return form(model, features, row, col, h / size[0] * cell_scale)


def _corner(n: int, count: int, start: int, stop: int) -> Corner:
    index, offset = grid.phases(n, count, start, stop)
    return Corner(index, offset, np.ones_like(offset))


def phased(model, features, row, col, ratio):
    """One convolution for all offsets, then a pick of the right pixels.

    Args:
        row, col: the input sample of each output row and column, and the offset in it.
        ratio: input over output height, as the decoder is told.

    Returns:
        (N, 3, number of rows, number of columns).
    """
    ys, ry = np.unique(row.offset, return_inverse=True)
    xs, rx = np.unique(col.offset, return_inverse=True)
    hidden = _hidden(model, *np.meshgrid(ys, xs, indexing="ij"), ratio)
    weight, bias = model.kernel_convolutions()
    shape = (3, hidden.shape[1], -1)
    weight = weight.reshape(shape).permute(1, 0, 2).reshape(hidden.shape[1], -1)
    weight = nn.matmul(hidden, weight).reshape(hidden.shape[0], 3, -1) + bias.reshape(1, 3, -1)
    weight = weight.reshape(-1, *bias.shape[1:])

    def decode(part, corners):
        maps = nn.conv2d(part, weight, padding=1)
        count, _, h, w = maps.shape
        maps = maps.reshape(count, len(ys), len(xs), 3, h, w).permute(0, 3, 4, 1, 5, 2)
        maps = maps.reshape(count, 3, h * len(ys), w * len(xs))
        numbered, index = corners[0].offset.astype(np.int64), corners[0].index
        return _take(_take(maps, 2, index * len(ys) + numbered), 3, col.index * len(xs) + rx)

    row_bytes = 4 * weight.shape[0] * features.shape[0] * features.shape[3]
    # The offsets' numbers travel with the rows as these are cut into stripes.
    numbered = Corner(row.index, ry.astype(np.float32), row.weight)
    return native.striped(features, [numbered], row_bytes, 1, decode)


def fused(model, features, row, col, ratio):
    """The hidden units' convolutions and one operator; arguments as for `phased`."""
    first = model.imnet.linears()[0]
    factors, bias = first.weight.numpy(), first.bias.numpy()
    parameters = jt.array(np.concatenate(
        [factors[:, 0], factors[:, 1], bias + factors[:, 2] * np.float32(ratio)]))
    weight = jt.concat(list(model.kernel_convolutions()), dim=0)

    def decode(part, corners):
        maps = native.convolve(part, weight)
        whole, real = native.tables([len(bias)], [corners[0], col])
        shape = (maps.shape[0], 3, len(corners[0].index), len(col.index))
        return _LIBRARY.run("metasr_decoder", [shape], [maps, parameters, jt.array(whole),
                                                        jt.array(real)])[0]

    row_bytes = 4 * weight.shape[0] * features.shape[0] * features.shape[3]
    return native.striped(features, [row], row_bytes, 1, decode)


def plain(model, features, row, col, ratio):
    """As `fused`, in chunks of output pixels, differentiable; arguments as for `phased`."""
    count, width = features.shape[0], features.shape[3]
    weight, bias = model.kernel_convolutions()
    maps = nn.conv2d(features, weight, padding=1).permute(0, 2, 3, 1)
    base = nn.conv2d(features, bias, padding=1).permute(0, 2, 3, 1)
    maps, base = maps.reshape(count, -1, maps.shape[3]), base.reshape(count, -1, 3)
    rows, cols = len(row.index), len(col.index)
    parts = []
    for start in range(0, rows * cols, PIXELS_PER_CHUNK):
        y, x = np.divmod(np.arange(start, min(start + PIXELS_PER_CHUNK, rows * cols)), cols)
        hidden = _hidden(model, row.offset[y], col.offset[x], ratio)
        index = jt.array((row.index[y] * width + col.index[x]).astype(np.int32))
        picked = maps[:, index].reshape(count, len(y), 3, -1)
        parts.append((picked * hidden.reshape(1, len(y), 1, -1)).sum(dim=3) + base[:, index])
        if jt.flags.no_grad:
            parts[-1].sync()  # or all chunks would be picked before the first is reduced
    out = parts[0] if len(parts) == 1 else jt.concat(parts, dim=1)
    return out.reshape(count, rows, cols, 3).permute(0, 3, 1, 2)


def _hidden(model, ry, rx, ratio):
    """Hidden vectors (M, 256) of offsets."""
    ry, rx = (jt.array(np.ascontiguousarray(r, np.float32).reshape(-1)) for r in (ry, rx))
    return model.hidden(ry, rx, jt.full(ry.shape, ratio))


def _take(maps, axis, index):
    """Entries `index` along the last or last but one axis, by a slice where they adjoin."""
    if np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        span = slice(int(index[0]), int(index[0]) + len(index))
        if len(index) == maps.shape[axis]:
            return maps
        return maps[:, :, span] if axis == 2 else maps[:, :, :, span]
    index = jt.array(index.astype(np.int32))
    return maps[:, :, index] if axis == 2 else maps[:, :, :, index]
