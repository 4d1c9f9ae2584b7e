"""LIIF's decoder on a regular grid.

`render` chooses between two forms of the same arithmetic: one fused operator for CPUs, which
cannot be differentiated, and plain Jittor operators for everything else.
"""

from __future__ import annotations

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.liif import grid
from restore_cli.nets.ops import native, precision
from restore_cli.nets.ops.library import Library

PANEL = 32  # as in liif_decoder.cc
PIXELS_PER_CHUNK = 1 << 16
_LIBRARY = Library("blocked.cc", "forms.cc", "liif_decoder.cc")


def render(model, features, size, cell_scale, window):
    """See `Implicit.render`."""
    (y0, y1), (x0, x1), (h, w), (oy, ox) = window
    rows = native.local(grid.corners(h, size[0], y0, y1, model.ensemble), oy,
                        features.shape[2], "rows")
    cols = native.local(grid.corners(w, size[1], x0, x1, model.ensemble), ox,
                        features.shape[3], "columns")
    cell = np.array([2 * h / size[0], 2 * w / size[1]], np.float32) * np.float32(cell_scale)
    form = fused if native.fits() and len(model.imnet.linears()) > 1 else plain
    return form(model, features, rows, cols, cell)


def plain(model, features, rows, cols, cell):
    """The decoder in Jittor operators, differentiable.

    Args:
        rows, cols: corners of the output's rows and columns, indices into `features`.
        cell: (2,) cell height and width in units in which one input pixel is 2 wide.

    Returns:
        (N, 3, number of rows, number of columns).
    """
    weight, bias, columns = model.split_first_layer()
    if model.cell:
        term = nn.matmul_transpose(jt.array(cell.reshape(1, 2)), columns[:, 2:])
        bias = bias + term.reshape(-1)
    pre = nn.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
    step = max(1, PIXELS_PER_CHUNK // len(cols[0].index))
    parts = [_chunk(model, pre, columns, rows, cols, slice(a, a + step))
             for a in range(0, len(rows[0].index), step)]
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
    linears = model.imnet.linears()
    weight, _, _ = model.split_first_layer()
    widths = [layer.weight.shape[0] for layer in linears[:-1]]
    head = [len(rows), len(widths), *widths]
    parameters = jt.array(_pack(model, cell))

    def decode(part, corners):
        pre = native.convolve(part, weight)
        whole, real = native.tables(head, [*corners, *cols])
        shape = (pre.shape[0], linears[-1].weight.shape[0], len(corners[0].index),
                 len(cols[0].index))
        return _LIBRARY.run("liif_decoder", [shape], [pre, parameters, jt.array(whole),
                                                      jt.array(real)], half=precision.half())[0]

    row_bytes = 4 * widths[0] * features.shape[0] * features.shape[3]
    return native.striped(features, rows, row_bytes, weight.shape[-1] // 2, decode)


def _pack(model, cell) -> np.ndarray:
    """All parameters but the convolution's in the order that liif_decoder.cc reads.

    Read anew for each call: it takes a thousandth of the time of a tile, and whoever changes
    weights in place need not tell.
    """
    first, *hidden, last = model.imnet.linears()
    weight, bias = first.weight.numpy(), first.bias.numpy()
    columns = weight[:, weight.shape[1] - (4 if model.cell else 2):]
    if model.cell:
        bias = bias + columns[:, 2:] @ cell
    parts = [columns[:, 0], columns[:, 1], bias]
    for layer in hidden:
        weight, bias = layer.weight.numpy(), layer.bias.numpy()
        short = -len(bias) % PANEL
        weight = np.pad(weight, ((0, short), (0, 0)))
        parts += [weight.reshape(-1, PANEL, weight.shape[1]).transpose(0, 2, 1).ravel(),
                  np.pad(bias, (0, short))]
    return np.concatenate([*parts, last.weight.numpy().ravel(), last.bias.numpy()])
