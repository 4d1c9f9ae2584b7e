"""The U-Net that the denoising field trains with N2V and N2V2 (names and keys of CAREamics).

Noise2Void: Krull, Buchholz, Jug, CVPR 2019, section 4; N2V2: Hoeck et al., ECCV workshops 2022,
section 3.1 (max-blur-pooling, no skip at the top level).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Network
from restore_cli.nets.n2v import shapes
from restore_cli.nets.n2v.layers import (
    BatchNorm,
    blur_pool,
    convolution,
    interleave,
    max_pool,
    require_multiples,
    upsample,
)
from restore_cli.nets.ops import field_unet

_ACTIVATIONS = {
    "sigmoid": jt.sigmoid, "softmax": lambda x: nn.softmax(x, dim=1), "tanh": jt.tanh,
    "relu": nn.relu, "leakyrelu": lambda x: nn.leaky_relu(x, 0.01),
}


class Block(nn.Module):
    """Twice: convolution, batch normalisation where used, ReLU."""

    def __init__(self, plan: shapes.BlockPlan, config: Mapping[str, Any]):
        super().__init__()
        dims, groups, used = config["conv_dims"], shapes.groups(config), config["use_batch_norm"]
        self.conv1 = convolution(dims, plan.inputs, plan.middle, groups=groups)
        self.conv2 = convolution(dims, plan.middle, plan.outputs, groups=groups)
        self.batch_norm1 = BatchNorm(plan.middle, used)
        self.batch_norm2 = BatchNorm(plan.outputs, used)
        self._normalises = used

    def execute(self, x):
        for layer, norm in ((self.conv1, self.batch_norm1), (self.conv2, self.batch_norm2)):
            x = layer(x)
            x = nn.relu(norm(x) if self._normalises else x)
        return x

    def convolutions(self) -> list[tuple[jt.Var, jt.Var]]:
        """Weights and biases that do the same by themselves outside training."""
        pairs = ((self.conv1, self.batch_norm1), (self.conv2, self.batch_norm2))
        return [norm.folded(layer.weight, layer.bias) if self._normalises
                else (layer.weight, layer.bias) for layer, norm in pairs]


class _Numbered(nn.Module):
    """Blocks under the numbers they have in upstream's lists (pooling has the others)."""

    def __init__(self, blocks: Mapping[int, Block]):
        super().__init__()
        for number, block in blocks.items():
            setattr(self, str(number), block)
        self._order = list(blocks)

    def __iter__(self):
        return (getattr(self, str(number)) for number in self._order)


class _Encoder(nn.Module):
    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.encoder_blocks = _Numbered({2 * i: block for i, block in enumerate(blocks)})


class _Decoder(nn.Module):
    def __init__(self, bottleneck: Block, blocks: list[Block]):
        super().__init__()
        self.bottleneck = bottleneck
        self.decoder_blocks = _Numbered({2 * j + 1: block for j, block in enumerate(blocks)})


class FieldUNet(Network):
    """The U-Net with completed `config` (see `shapes.DEFAULTS`).

    Maps (N, in_channels, *sides) to (N, num_classes, *sides), sides being multiples of
    ``2 ** depth``; values in the units it was trained in.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        depth = config["depth"]
        blocks = [Block(plan, config) for plan in shapes.field_blocks(config)]
        self.encoder = _Encoder(blocks[:depth])
        self.decoder = _Decoder(blocks[depth], blocks[depth + 1:])
        self._groups = shapes.groups(config)
        self.final_conv = convolution(config["conv_dims"],
                                      config["num_channels_init"] * self._groups,
                                      config["num_classes"], kernel=1, groups=self._groups)
        self._config = dict(config)

    def execute(self, x):
        config = self._config
        require_multiples(x, config["in_channels"], 2 ** config["depth"], config["conv_dims"])
        normalises = config["use_batch_norm"] and self.is_training()
        if normalises or not field_unet.usable({**config, "use_batch_norm": False}, x.shape[1]):
            return self._plain(x)
        return field_unet.field_unet(
            x, self._convolutions(), config["depth"], config["n2v2"], config["residual"],
            _ACTIVATIONS.get(config["final_activation"]))

    def _convolutions(self) -> list[jt.Var]:
        """Weight and bias of each convolution, in the order of the state dict.

        Where batches are normalised, by the running statistics, that is folded in.
        """
        blocks = [*self.encoder.encoder_blocks, self.decoder.bottleneck,
                  *self.decoder.decoder_blocks]
        found = [part for block in blocks for pair in block.convolutions() for part in pair]
        return [*found, self.final_conv.weight, self.final_conv.bias]

    def encode(self, x: jt.Var) -> tuple[jt.Var, list[jt.Var]]:
        """Features after the last pooling, and those before each pooling, finest first."""
        skips = []
        for block in self.encoder.encoder_blocks:
            skips.append(block(x))
            x = (blur_pool if self._config["n2v2"] else max_pool)(skips[-1])
        return x, skips

    def _plain(self, x: jt.Var) -> jt.Var:
        config = self._config
        deep, skips = self.encode(x)
        deep = self.decoder.bottleneck(deep)
        for block in self.decoder.decoder_blocks:
            skip, deep = skips.pop(), upsample(deep)
            if skips or not config["n2v2"]:
                deep = interleave([deep, skip], self._groups)
            deep = block(deep)
        out = self.final_conv(deep)
        if config["residual"]:
            out = out + x
        activation = config["final_activation"]
        return out if activation is None else _ACTIVATIONS[activation](out)


def build(name: str, config: Mapping[str, Any]) -> FieldUNet:
    """The network of registry name `name` ("n2v-field")."""
    return FieldUNet(shapes.complete(name, config))
