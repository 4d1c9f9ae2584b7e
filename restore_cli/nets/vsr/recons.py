"""The pieces of the reconstruction: residual blocks and up-sampling."""

from __future__ import annotations

from jittor import nn

from restore_cli.nets.base import conv
from restore_cli.nets.ops import residual_trunk


class ResBlock(nn.Module):
    """Convolution, ReLU, convolution, and the input added."""

    def __init__(self, feat: int):
        super().__init__()
        self.conv1, self.conv2 = conv(feat, feat), conv(feat, feat)

    def execute(self, x):
        return x + self.conv2(nn.relu(self.conv1(x)))


class Trunk(nn.Sequential):
    """A chain of residual blocks, as one operator where there is one."""

    def __init__(self, feat: int, count: int):
        super().__init__(*[ResBlock(feat) for _ in range(count)])
        self._feat, self._count = feat, count

    def execute(self, x):
        if not self._count:
            return x
        if not residual_trunk.usable(self._feat):
            return super().execute(x)
        weights = [part for block in self for layer in (block.conv1, block.conv2)
                   for part in (layer.weight, layer.bias)]
        return residual_trunk.trunk(x, weights)


def upsampling(feat: int, stages: int) -> nn.Sequential:
    """Doubles the sides `stages` times; nothing in it is nonlinear."""
    return nn.Sequential(*[step for _ in range(stages)
                           for step in (conv(feat, 4 * feat), nn.PixelShuffle(2))])
