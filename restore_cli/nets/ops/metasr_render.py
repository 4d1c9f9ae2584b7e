"""MetaSR's decoder on a regular grid."""

from __future__ import annotations

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.liif import grid


def render(model, features, size, cell_scale, window):
    """See `Implicit.render`."""
    (y0, y1), (x0, x1), (h, w), (oy, ox) = window
    count, width = features.shape[0], features.shape[3]
    iy, ry = grid.phases(h, size[0], y0, y1)
    ix, rx = grid.phases(w, size[1], x0, x1)
    weight, bias = model.kernel_convolutions()
    maps = nn.conv2d(features, weight, None, padding=1).permute(0, 2, 3, 1)
    base = nn.conv2d(features, bias, None, padding=1).permute(0, 2, 3, 1)
    maps = maps.reshape(count, -1, maps.shape[3])
    base = base.reshape(count, -1, 3)
    ry, rx = np.meshgrid(ry, rx, indexing="ij")
    hidden = model._hidden(jt.array(ry.reshape(1, -1)), jt.array(rx.reshape(1, -1)),
                           jt.full((1, ry.size), h / size[0] * cell_scale))
    index = ((iy[:, None] - oy) * width + ix - ox).reshape(-1)
    index = jt.array(index.astype(np.int32))
    picked = maps[:, index].reshape(count, index.shape[0], 3, -1)
    out = (picked * hidden.reshape(1, index.shape[0], 1, -1)).sum(dim=3) + base[:, index]
    return out.reshape(count, len(iy), len(ix), 3).permute(0, 3, 1, 2)
