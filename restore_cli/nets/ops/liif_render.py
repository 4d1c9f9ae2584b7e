"""LIIF's decoder on a regular grid."""

from __future__ import annotations

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.liif import grid

ROWS_PER_CHUNK = 1 << 16


def render(model, features, size, cell_scale, window):
    """See `Implicit.render`."""
    (y0, y1), (x0, x1), (h, w), (oy, ox) = window
    weight, bias, columns = model.split_first_layer()
    if model._cell:
        ratio = np.array([[2 * h / size[0], 2 * w / size[1]]], np.float32) * cell_scale
        bias = bias + nn.matmul_transpose(jt.array(ratio), columns[:, 2:]).reshape(-1)
    pre = nn.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
    rows = grid.corners(h, size[0], y0, y1, model._ensemble)
    cols = grid.corners(w, size[1], x0, x1, model._ensemble)
    step = max(1, ROWS_PER_CHUNK // max(1, x1 - x0))
    parts = [_chunk(model, pre, columns, rows, cols, (oy, ox), slice(a, a + step))
             for a in range(0, y1 - y0, step)]
    return parts[0] if len(parts) == 1 else jt.concat(parts, dim=2)


def _chunk(model, pre, columns, rows, cols, origin, part):
    count, width = pre.shape[0], pre.shape[3]
    flat = pre.permute(0, 2, 3, 1).reshape(count, -1, pre.shape[1])
    total = None
    for row in rows:
        for col in cols:
            area = row.weight[part, None] * col.weight
            if not area.any():
                continue
            index = (row.index[part, None] - origin[0]) * width + col.index - origin[1]
            index = jt.array(index.reshape(-1).astype(np.int32))
            ry = jt.array(row.offset[part].reshape(-1, 1)) * columns[:, 0].reshape(1, -1)
            rx = jt.array(col.offset.reshape(-1, 1)) * columns[:, 1].reshape(1, -1)
            small = (ry.unsqueeze(1) + rx.unsqueeze(0)).reshape(-1, ry.shape[1])
            hidden = model.hidden_layers((flat[:, index] + small).reshape(-1, ry.shape[1]))
            hidden = hidden.reshape(count, area.size, -1) * jt.array(area.reshape(1, -1, 1))
            total = hidden if total is None else total + hidden
    out = model.last_layer(total.reshape(-1, total.shape[2]))
    return out.reshape(count, -1, len(cols[0].index), out.shape[1]).permute(0, 3, 1, 2)
