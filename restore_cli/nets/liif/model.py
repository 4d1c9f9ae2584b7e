"""LIIF and MetaSR: an encoder at input resolution and a decoder asked per output pixel."""

from __future__ import annotations

from typing import Any, Mapping

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.errors import ShapeError
from restore_cli.nets.base import Network, expect
from restore_cli.nets.liif import encoders, grid, shapes

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


class Implicit(Network):
    """What LIIF and MetaSR share: encoder, coordinates, windows.

    All images are in the network's normalised units, (x - 0.5) / 0.5 for x in [0, 1].
    """

    def __init__(self, encoder_spec: Mapping[str, Any]):
        super().__init__()
        name, args = shapes.spec(encoder_spec, "encoder_spec")
        args = shapes.encoder_config(name, args)
        self.encoder = encoders.build(name, args)
        self._channels = shapes.encoder_channels(name, args)
        self._magnification = 1 if args["no_upsampling"] else args["scale"]

    def encode(self, x):
        """Features of (N, 3, h, w): (N, C, h, w), or (N, 3, k h, k w) for fixed-scale encoders."""
        return self.encoder(x)

    def execute(self, x, coord, cell):
        """`query(encode(x), coord, cell)`, as upstream's forward."""
        return self.query(self.encode(x), coord, cell)

    def query(self, features, coord, cell):
        """Colours at arbitrary coordinates.

        Args:
            features: (N, C, h, w) from `encode`.
            coord: (N, Q, 2) centres (y, x); the image spans [-1, 1] on both axes.
            cell: (N, Q, 2) height and width of the queried pixels in the same units.

        Returns:
            (N, Q, 3).
        """
        coord, cell = _var(coord), _var(cell)
        count = features.shape[0]
        expect("features", features, f"(N, {self._channels}, h, w)", None, self._channels, None,
               None)
        expect("coord", coord, f"({count}, Q, 2)", count, None, 2)
        expect("cell", cell, f"({count}, {coord.shape[1]}, 2)", count, coord.shape[1], 2)
        return self._query(features, coord, cell)

    def render(self, features, size: tuple[int, int], cell_scale: float = 1.0,
               window: Window | None = None):
        """Colours of a regular grid, the fast path.

        Args:
            features: (N, C, h, w) from `encode`.
            size: height and width (H, W) of the whole output.
            cell_scale: factor on the cell size told to the decoder; 1 is the true size.
            window: ((y0, y1), (x0, x1), (h, w), (oy, ox)): render only output rows y0..y1 and
                columns x0..x1; `features` are those of an input window whose top left pixel is
                (oy, ox) in a whole input of h x w pixels. None: features of the whole input.

        Returns:
            (N, 3, H, W), or (N, 3, y1 - y0, x1 - x0) with a window.
        """
        expect("features", features, f"(N, {self._channels}, h, w)", None, self._channels, None,
               None)
        if window is None:
            k = self._magnification
            whole = (features.shape[2] // k, features.shape[3] // k)
            window = ((0, size[0]), (0, size[1]), whole, (0, 0))
        return self._render(features, tuple(size), float(cell_scale), window)


class LIIF(Implicit):
    """LIIF section 3, with its ablations; without `imnet_spec`, a fixed-scale network.

    The decoder's first layer acts on the 3x3 unfolded features, so it is a 3x3 convolution at
    input resolution plus a small linear term in offset and cell; and since the ensemble's
    weights sum to one, the last layer acts after the blend. Both rewrites are exact.

    Attributes:
        ensemble: whether the four nearest features are blended.
        cell: whether the decoder is told the size of the output's pixels.
    """

    def __init__(self, config: Mapping[str, Any]):
        config = shapes.fill(shapes.LIIF_DEFAULTS, config, "liif")
        super().__init__(config["encoder_spec"])
        self.ensemble = bool(config["local_ensemble"])
        self._unfold = bool(config["feat_unfold"])
        self.cell = bool(config["cell_decode"])
        self._decodes = config["imnet_spec"] is not None
        if self._decodes:
            _, args = shapes.spec(config["imnet_spec"], "imnet_spec")
            args = shapes.fill(shapes.MLP_DEFAULTS, args, "mlp")
            self.imnet = encoders.MLP(shapes.decoder_inputs(config, self._channels),
                                      args["out_dim"], args["hidden_list"])

    def split_first_layer(self):
        """The first linear layer as (convolution weight, bias, offset and cell columns).

        Returns:
            weight (K, C, 3, 3) or (K, C, 1, 1), bias (K,), columns (K, 2 or 4).
        """
        first = self.imnet.linears()[0]
        side = 3 if self._unfold else 1
        inputs = self._channels * side * side
        weight = first.weight[:, :inputs].reshape(-1, self._channels, side, side)
        return weight, first.bias, first.weight[:, inputs:]

    def hidden_layers(self, rows):
        """All layers but the first's linear part and the last: (M, K) to (M, K')."""
        for layer in self.imnet.linears()[1:-1]:
            rows = layer(nn.relu(rows))
        return nn.relu(rows) if len(self.imnet.linears()) > 1 else rows

    def last_layer(self, rows):
        """The last linear layer; with a single layer it has been applied already."""
        linears = self.imnet.linears()
        return linears[-1](rows) if len(linears) > 1 else rows

    def _query(self, features, coord, cell):
        count, queries = coord.shape[:2]
        h, w = features.shape[2:]
        y, x = coord[:, :, 0], coord[:, :, 1]
        if not self._decodes:
            flat = (_batch_rows(count, h * w) + grid.nearest(y, h) * w + grid.nearest(x, w))
            return _rows(features)[flat.reshape(-1)].reshape(count, queries, 3)
        weight, bias, columns = self.split_first_layer()
        pre = _rows(nn.conv2d(features, weight, bias, padding=weight.shape[-1] // 2))
        shifts = (-1, 1) if self.ensemble else (0,)
        picks = {(axis, s): self._pick(c, n, s)
                 for axis, c, n in ((0, y, h), (1, x, w)) for s in shifts}
        area = {key: offset.abs() for key, (_, offset) in picks.items()}
        base = _batch_rows(count, h * w)
        rows, offsets, areas = [], [], []
        for vy in shifts:
            for vx in shifts:
                (iy, ry), (ix, rx) = picks[0, vy], picks[1, vx]
                rows.append(base + iy * w + ix)
                offsets.append(jt.stack([ry, rx], dim=-1))
                areas.append(area[0, -vy] * area[1, -vx] + 1e-9)
        rows, offsets = jt.stack(rows).reshape(-1), jt.stack(offsets).reshape(-1, 2)
        small = nn.matmul_transpose(offsets, columns[:, :2])
        if self.cell:
            scaled = cell * jt.array(np.array([h, w], np.float32))
            term = nn.matmul_transpose(scaled.reshape(-1, 2), columns[:, 2:])
            small = small.reshape(len(areas), -1, term.shape[-1]) + term
            small = small.reshape(-1, term.shape[-1])
        hidden = self.hidden_layers(pre[rows] + small)
        hidden = hidden.reshape(len(areas), count * queries, -1)
        if self.ensemble:
            areas = jt.stack(areas).reshape(len(rows) // (count * queries), -1, 1)
            hidden = (hidden * (areas / areas.sum(dim=0, keepdims=True)))
        return self.last_layer(hidden.sum(dim=0)).reshape(count, queries, -1)

    def _pick(self, coord, n: int, shift: int):
        """Index of the neighbour on one side, and the offset from it (one sample is 2 wide)."""
        index = grid.nearest(coord + (shift / n + 1e-6) if shift else coord, n)
        centre = (index.float32() * 2 + 1) / n - 1
        return index.stop_grad(), ((coord - centre) * n).stop_grad()

    def _render(self, features, size, cell_scale, window):
        (y0, y1), (x0, x1), (h, w), (oy, ox) = window
        k = self._magnification
        if not self._decodes:
            rows = grid.corners(h * k, size[0], y0, y1, False)[0].index - oy * k
            cols = grid.corners(w * k, size[1], x0, x1, False)[0].index - ox * k
            return _take(features, rows, cols)
        from restore_cli.nets.ops import liif_render

        return liif_render.render(self, features, size, cell_scale, window)


class MetaSR(Implicit):
    """Meta-SR (Hu et al., CVPR 2019) as upstream's baseline: predicted per-pixel weights."""

    def __init__(self, config: Mapping[str, Any]):
        config = shapes.fill(shapes.METASR_DEFAULTS, config, "metasr")
        super().__init__(config["encoder_spec"])
        self.imnet = encoders.MLP(3, self._channels * 27, [256])

    def _query(self, features, coord, cell):
        count, queries = coord.shape[:2]
        h, w = features.shape[2:]
        corner = coord - cell * 0.5
        picks = []
        for axis, n in ((0, h), (1, w)):
            c = corner[:, :, axis]
            index = grid.nearest(c + 1e-6, n)
            picks.append((index, (c - (index.float32() * 2 / n - 1)) * (n / 2)))
        (iy, ry), (ix, rx) = picks
        hidden = self.hidden(ry, rx, cell[:, :, 0] * (h / 2))
        flat = (_batch_rows(count, h * w) + iy * w + ix).reshape(-1)
        weight, bias = self.kernel_convolutions()
        maps = _rows(nn.conv2d(features, weight, None, padding=1))[flat]
        base = _rows(nn.conv2d(features, bias, None, padding=1))[flat]
        hidden = hidden.reshape(count * queries, 1, -1)
        maps = maps.reshape(count * queries, 3, -1)
        return ((maps * hidden).sum(dim=2) + base).reshape(count, queries, 3)

    def hidden(self, ry, rx, ratio):
        """Hidden vectors (M, 256) of M offsets (in input samples) and the cell ratio."""
        first = self.imnet.linears()[0]
        inputs = jt.stack([ry, rx, ratio], dim=-1)
        return nn.relu(first(inputs.reshape(-1, 3)))

    def kernel_convolutions(self):
        """The predicted kernels applied at once: colour = sum_j hidden_j * maps_j + base.

        Returns:
            weight (3 * 256, C, 3, 3), channel rgb * 256 + j, and bias weight (3, C, 3, 3).
        """
        last = self.imnet.linears()[1]
        c = self._channels
        weight = last.weight.reshape(c, 3, 3, 3, -1).permute(3, 4, 0, 1, 2)
        bias = last.bias.reshape(c, 3, 3, 3).permute(3, 0, 1, 2)
        return weight.reshape(-1, c, 3, 3), bias

    def _render(self, features, size, cell_scale, window):
        from restore_cli.nets.ops import metasr_render

        return metasr_render.render(self, features, size, cell_scale, window)


def _var(value):
    return value if isinstance(value, jt.Var) else jt.array(np.asarray(value, np.float32))


def _rows(maps):
    """(N, C, h, w) to (N h w, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _batch_rows(count: int, area: int):
    return jt.array((np.arange(count) * area).astype(np.int32)).reshape(count, 1)


def _take(maps, rows: np.ndarray, cols: np.ndarray):
    limit = tuple(maps.shape[2:])
    if min(rows[0], cols[0]) < 0 or rows[-1] >= limit[0] or cols[-1] >= limit[1]:
        raise ShapeError("features", "a window that holds all sampled pixels", maps.shape)
    if limit == (len(set(rows)), len(set(cols))) == (len(rows), len(cols)):
        return maps
    maps = maps[:, :, jt.array(rows.astype(np.int32))]
    return maps[:, :, :, jt.array(cols.astype(np.int32))]


def build(name: str, config: Mapping[str, Any]) -> Implicit:
    """"liif" or "metasr"."""
    return LIIF(config) if name == "liif" else MetaSR(config)
