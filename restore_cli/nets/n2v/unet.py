"""N2V_Unet: the Noise2Noise U-Net (Lehtinen et al., ICML 2018) with weights shared by levels.

The published Noise2Void code trains this one. The same block pools at four levels, and the same
block expands at three; parameter names are upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Lambda, Network, conv
from restore_cli.nets.n2v import shapes
from restore_cli.nets.n2v.layers import max_pool, require_multiples
from restore_cli.nets.ops import graph

_SLOPE = 0.1
_LEVELS = shapes.UNET_LEVELS
_ALIGN = 2 ** _LEVELS


def _double(channels: int) -> nn.ConvTranspose:
    """A transposed convolution to twice the sides."""
    return nn.ConvTranspose(channels, channels, 3, stride=2, padding=1, output_padding=1)


def _leaky(x: jt.Var) -> jt.Var:
    return nn.leaky_relu(x, _SLOPE)


class N2VUNet(Network):
    """(N, in_channels, H, W) to (N, out_channels, H, W), unclipped; sides multiples of 32.

    Values are brightness in 0..1 in the published weights.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()

        def relu():
            return Lambda(nn.relu)

        self._block1 = nn.Sequential(conv(in_channels, 48), relu(), conv(48, 48), relu(),
                                     Lambda(max_pool))
        self._block2 = nn.Sequential(conv(48, 48), relu(), Lambda(max_pool))
        self._block3 = nn.Sequential(conv(48, 48), relu(), _double(48))
        self._block4 = nn.Sequential(conv(96, 96), relu(), conv(96, 96), relu(), _double(96))
        self._block5 = nn.Sequential(conv(144, 96), relu(), conv(96, 96), relu(), _double(96))
        self._block6 = nn.Sequential(conv(96 + in_channels, 64), relu(), conv(64, 32), relu(),
                                     conv(32, out_channels), Lambda(_leaky))
        self._inputs = in_channels
        self._graph: graph.Graph | None = None

    def execute(self, x):
        require_multiples(x, self._inputs, _ALIGN, 2)
        if graph.available():
            self._graph = self._graph or self._told()
            return self._graph.run(x, [part for layer in self._layers()
                                       for part in (layer.weight, layer.bias)])
        pooled = self.pooled(x)
        up = self._block3(pooled.pop())
        expand = self._block4
        while pooled:
            up = expand(jt.concat([up, pooled.pop()], dim=1))
            expand = self._block5
        return self._block6(jt.concat([up, x], dim=1))

    def _layers(self) -> list[nn.Module]:
        blocks = (self._block1, self._block2, self._block3, self._block4, self._block5,
                  self._block6)
        return [layer for block in blocks for layer in block
                if isinstance(layer, (nn.Conv, nn.ConvTranspose))]

    def _told(self) -> graph.Graph:
        """The same as one operator; numbers are those of `_layers`."""
        sizes = [tuple(layer.weight.shape) for layer in self._layers()]
        made = graph.Graph(self._inputs, slope=_SLOPE)

        def conv(maps: list[int], layer: int, activation: str = "relu") -> int:
            return made.convolve(maps, layer, sizes[layer], activation)

        pooled = [made.pool(conv([conv([0], 0)], 1))]
        while len(pooled) < _LEVELS:
            pooled.append(made.pool(conv([pooled[-1]], 2)))
        up = made.doubled(conv([pooled.pop()], 3), 4, sizes[4])
        first = 5
        while pooled:
            up = conv([conv([up, pooled.pop()], first)], first + 1)
            up = made.doubled(up, first + 2, sizes[first + 2])
            first = 8
        conv([conv([conv([up, 0], 11)], 12)], 13, "leaky")
        made.end(sizes[13][0])
        return made

    def pooled(self, x: jt.Var) -> list[jt.Var]:
        """Features after each of the five poolings."""
        found = [self._block1(x)]
        while len(found) < _LEVELS:
            found.append(self._block2(found[-1]))
        return found


def build(name: str, config: Mapping[str, Any]) -> N2VUNet:
    """The network of registry name `name` ("n2v-unet")."""
    return N2VUNet(**shapes.complete(name, config))
