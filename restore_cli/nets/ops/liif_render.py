"""LIIF's decoder on a regular grid.

`render` chooses between two forms of the same arithmetic: one fused operator for CPUs, which
cannot be differentiated, and plain Jittor operators for everything else.
"""

from __future__ import annotations

import functools
import sys
from importlib import resources

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.liif import grid

PANEL = 32  # as in liif_decoder.cc
ROWS_PER_CHUNK = 1 << 16
STRIPE_BYTES = 32 << 20  # of first-layer activations alive at once

_CALL = """
  const int32_t* told = in2_p;
  restore_liif::Sizes s;
  s.count = in0_shape0; s.height = in0_shape1; s.width = in0_shape2;
  s.sides = told[0]; s.depth = told[1]; s.widths = told + 2;
  s.colours = out0_shape1; s.rows = out0_shape2; s.columns = out0_shape3;
  const int64_t entries = s.sides * (s.rows + s.columns);
  restore_liif::decode(s, in0_p, in1_p, told + 2 + s.depth, in3_p, in3_p + entries, out0_p);
"""


def render(model, features, size, cell_scale, window):
    """See `Implicit.render`."""
    (y0, y1), (x0, x1), (h, w), origin = window
    rows = grid.corners(h, size[0], y0, y1, model._ensemble)
    cols = grid.corners(w, size[1], x0, x1, model._ensemble)
    rows, cols = ([_moved(corner, start) for corner in axis]
                  for axis, start in zip((rows, cols), origin))
    cell = np.array([2 * h / size[0], 2 * w / size[1]], np.float32) * np.float32(cell_scale)
    form = fused if fits(model) else plain
    return form(model, features, rows, cols, cell)


def fits(model) -> bool:
    """Whether the fused operator can take this call: CPU, GCC or Clang, nothing to train."""
    return bool(jt.flags.no_grad and not jt.flags.use_cuda and sys.platform != "win32"
                and len(model.imnet.linears()) > 1)


def plain(model, features, rows, cols, cell):
    """The decoder in Jittor operators, differentiable.

    Args:
        rows, cols: corners of the output's rows and columns, indices into `features`.
        cell: (2,) relative cell height and width.

    Returns:
        (N, 3, len(rows), len(cols)).
    """
    weight, bias, columns = model.split_first_layer()
    if model._cell:
        term = nn.matmul_transpose(jt.array(cell.reshape(1, 2)), columns[:, 2:])
        bias = bias + term.reshape(-1)
    pre = nn.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
    count = len(rows[0].index)
    step = max(1, ROWS_PER_CHUNK // max(1, len(cols[0].index)))
    parts = [_chunk(model, pre, columns, rows, cols, slice(a, a + step))
             for a in range(0, count, step)]
    return parts[0] if len(parts) == 1 else jt.concat(parts, dim=2)


def _chunk(model, pre, columns, rows, cols, part):
    count, width = pre.shape[0], pre.shape[3]
    flat = pre.permute(0, 2, 3, 1).reshape(count, -1, pre.shape[1])
    total = None
    for row in rows:
        for col in cols:
            area = row.weight[part, None] * col.weight
            if not area.any():
                continue
            index = row.index[part, None] * width + col.index
            index = jt.array(index.reshape(-1).astype(np.int32))
            ry = jt.array(row.offset[part].reshape(-1, 1)) * columns[:, 0].reshape(1, -1)
            rx = jt.array(col.offset.reshape(-1, 1)) * columns[:, 1].reshape(1, -1)
            small = (ry.unsqueeze(1) + rx.unsqueeze(0)).reshape(-1, ry.shape[1])
            hidden = model.hidden_layers((flat[:, index] + small).reshape(-1, ry.shape[1]))
            hidden = hidden.reshape(count, area.size, -1) * jt.array(area.reshape(1, -1, 1))
            total = hidden if total is None else total + hidden
    out = model.last_layer(total.reshape(-1, total.shape[2]))
    return out.reshape(count, -1, len(cols[0].index), out.shape[1]).permute(0, 3, 1, 2)


def fused(model, features, rows, cols, cell):
    """The decoder as one operator over stripes of rows; arguments as for `plain`."""
    first = model.imnet.linears()[0]
    weight, _, _ = model.split_first_layer()
    parameters = jt.array(_pack(model, cell))
    reach = weight.shape[-1] // 2
    out = []
    for part, (top, bottom) in _stripes(rows, features.shape, first.weight.shape[0], reach):
        whole = (top, bottom) == (0, features.shape[2])
        pre = _convolve(features if whole else features[:, :, top:bottom], weight)
        moved = [_moved(grid.Corner(c.index[part], c.offset[part], c.weight[part]), top)
                 for c in rows]
        out.append(_decode(model, pre, parameters, moved, cols))
        if not whole:
            out[-1].sync()  # or Jittor would convolve all stripes before decoding the first
    return out[0] if len(out) == 1 else jt.concat(out, dim=2)


def _stripes(rows, shape, width, reach):
    """Slices of the output's rows with the span of feature rows that each needs."""
    count, _, height, columns = shape
    allowed = max(2 + 2 * reach, STRIPE_BYTES // (4 * count * columns * width))
    lowest = np.minimum.reduce([corner.index for corner in rows])
    highest = np.maximum.reduce([corner.index for corner in rows])
    start, total = 0, len(lowest)
    while start < total:
        top = max(0, int(lowest[start]) - reach)
        # Both tables ascend: the last row whose neighbours still fit ends the stripe.
        stop = int(np.searchsorted(highest, top + allowed - reach, side="left"))
        stop = max(start + 1, stop)
        bottom = min(height, int(highest[stop - 1]) + 1 + reach)
        if height <= allowed:
            top, bottom, stop = 0, height, total
        yield slice(start, stop), (top, bottom)
        start = stop


def _convolve(features, weight):
    """A zero-padded convolution whose result is laid out (N, h, w, K)."""
    reach = weight.shape[-1] // 2
    onednn = jt.compile_extern.mkl_ops
    if onednn is None:
        return nn.conv2d(features, weight, padding=reach).permute(0, 2, 3, 1)
    return onednn.mkl_conv(features, weight, 1, 1, reach, reach, 1, 1, 1, "abcd", "oihw", "acdb")


def _decode(model, pre, parameters, rows, cols):
    axes = [*rows, *cols]
    linears = model.imnet.linears()
    widths = [layer.weight.shape[0] for layer in linears[:-1]]
    told = [[len(rows), len(widths), *widths], *[corner.index for corner in axes]]
    tables = [*[corner.offset for corner in axes], *[corner.weight for corner in axes]]
    shape = (pre.shape[0], linears[-1].weight.shape[0], len(rows[0].index), len(cols[0].index))
    return jt.code(shape, "float32", [pre, parameters,
                                      jt.array(np.concatenate(told).astype(np.int32)),
                                      jt.array(np.concatenate(tables))],
                   cpu_header=_source(), cpu_src=_CALL)


def _pack(model, cell) -> np.ndarray:
    """All parameters but the convolution's in the order that liif_decoder.cc reads.

    Read anew for each call: it takes a thousandth of the time of a tile, and whoever changes
    weights in place need not tell.
    """
    first, *hidden, last = model.imnet.linears()
    weight, bias = first.weight.numpy(), first.bias.numpy()
    columns = weight[:, weight.shape[1] - (4 if model._cell else 2):]
    if model._cell:
        bias = bias + columns[:, 2:] @ cell
    parts = [columns[:, 0], columns[:, 1], bias]
    for layer in hidden:
        weight, bias = layer.weight.numpy(), layer.bias.numpy()
        short = -len(bias) % PANEL
        weight = np.pad(weight, ((0, short), (0, 0)))
        parts += [weight.reshape(-1, PANEL, weight.shape[1]).transpose(0, 2, 1).ravel(),
                  np.pad(bias, (0, short))]
    return np.concatenate([*parts, last.weight.numpy().ravel(), last.bias.numpy()])


@functools.cache
def _source() -> str:
    return resources.files(__package__).joinpath("liif_decoder.cc").read_text("utf-8")


def _moved(corner, start):
    return grid.Corner(corner.index - start, corner.offset, corner.weight)
