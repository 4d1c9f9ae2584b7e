"""REDNet (Mao, Shen, Yang: residual encoder-decoder networks, NeurIPS 2016), 10, 20 or 30 layers.

As in the published Noise2Void code: the first convolution halves the sides, the last transposed
one doubles them; parameter names are upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Lambda, Network, conv
from restore_cli.nets.n2v import shapes
from restore_cli.nets.n2v.layers import require_multiples
from restore_cli.nets.ops import graph


def _activated(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, Lambda(nn.relu))


class REDNet(Network):
    """(N, in_channels, H, W) to (N, out_channels, H, W), even sides.

    Args:
        layers: convolutions, and as many transposed ones.
        features: channels between them.
        skips: whether every second convolution's output is added on the way back (REDNet20, 30).
        residual: the published form, which adds the input and cuts off below 0, for values in
            0..1. Without, the last layer is the output: for training on blind spots, where the
            input beside a blind pixel is already a good guess and the network would learn to
            pass its noise through.
    """

    def __init__(self, layers: int, features: int, in_channels: int, out_channels: int,
                 skips: bool, residual: bool):
        super().__init__()
        self.conv_layers = nn.Sequential(
            _activated(nn.Conv(in_channels, features, 3, stride=2, padding=1)),
            *[_activated(conv(features, features)) for _ in range(layers - 1)])
        self.deconv_layers = nn.Sequential(
            *[_activated(nn.ConvTranspose(features, features, 3, padding=1))
              for _ in range(layers - 1)],
            nn.ConvTranspose(features, out_channels, 3, stride=2, padding=1, output_padding=1))
        self._skips = -(-layers // 2) - 1 if skips else 0
        self._residual, self._inputs = residual, in_channels
        self._graph: graph.Graph | None = None

    def execute(self, x):
        require_multiples(x, self._inputs, 2, 2)
        if graph.available():
            self._graph = self._graph or self._told()
            out = self._graph.run(x, [part for layer in self._layers()
                                      for part in (layer.weight, layer.bias)])
        else:
            out = self.decode(*self.encode(x))
        return nn.relu(out + x) if self._residual else out

    def _layers(self) -> list[nn.Module]:
        *middle, last = self.deconv_layers
        return [*(layer[0] for layer in (*self.conv_layers, *middle)), last]

    def _told(self) -> graph.Graph:
        """`encode` and `decode` as one operator."""
        layers, made = self._layers(), graph.Graph(self._inputs, factor=2)
        count, x, kept = len(self.conv_layers), 0, []
        for i, layer in enumerate(layers[:count]):
            x = made.convolve([x], i, layer.weight.shape)
            if i % 2 == 1 and len(kept) < self._skips:
                kept.append(x)
        for i, layer in enumerate(layers[count:-1]):
            x = made.turned(x, count + i, layer.weight.shape)
            if kept and (i + 1 + count) % 2 == 0:
                x = made.add(x, kept.pop())  # neither is below 0: ReLU would change nothing
        made.end_doubled(x, 2 * count - 1, layers[-1].weight.shape)
        return made

    def encode(self, x: jt.Var) -> tuple[jt.Var, list[jt.Var]]:
        """Features at half the sides, and the outputs of every second layer."""
        kept = []
        for i, layer in enumerate(self.conv_layers):
            x = layer(x)
            if i % 2 == 1 and len(kept) < self._skips:
                kept.append(x)
        return x, kept

    def decode(self, x: jt.Var, kept: list[jt.Var]) -> jt.Var:
        """The last layer's output, before the input is added."""
        layers, kept = len(self.conv_layers), list(kept)
        for i, layer in enumerate(self.deconv_layers):
            x = layer(x)
            if kept and (i + 1 + layers) % 2 == 0:
                x = nn.relu(x + kept.pop())
        return x


def build(name: str, config: Mapping[str, Any]) -> REDNet:
    """The network of registry name `name` ("rednet10", "rednet20" or "rednet30")."""
    made = shapes.complete(name, config)
    return REDNet(made["num_layers"], made["num_features"], made["in_channels"],
                  made["out_channels"], skips=name != "rednet10", residual=made["residual"])
