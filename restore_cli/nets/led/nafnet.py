"""NAFNet (Chen et al., ECCV 2022), as LED trains it. Names and keys are upstream's.

Packed planes in, packed planes out, same size. The channel attention of each block depends on the
mean of the whole image; `strips.run` gives the same result with little memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Network, expect
from restore_cli.nets.led import shapes_nafnet
from restore_cli.nets.led.layers import (
    LayerNorm,
    cropped,
    depthwise,
    halves,
    plain,
    spatial_sum,
    tensors,
)
from restore_cli.nets.led.repnr import conv, parts
from restore_cli.nets.ops import led_blocks, naf_train

EPS = 1e-6


class _Numbered(nn.Module):
    """One layer under the number it has in upstream's sequence."""

    def __init__(self, number: int, layer: nn.Module):
        super().__init__()
        setattr(self, str(number), layer)
        self._number = str(number)

    @property
    def layer(self) -> nn.Module:
        """The layer itself."""
        return getattr(self, self._number)

    def execute(self, x):
        return self.layer(x)


class Block(nn.Module):
    """A gated depthwise part with channel attention, then a gated pointwise part."""

    reach = 0  # rows around its own that `finish` needs

    def __init__(self, channels: int, repnr: Mapping[str, Any] | None):
        super().__init__()
        self.beta, self.gamma = jt.zeros((1, channels, 1, 1)), jt.zeros((1, channels, 1, 1))
        self.conv1 = conv(channels, 2 * channels, 1, repnr)
        self.dwconv2 = depthwise(2 * channels, bias=True)
        self.conv3 = conv(channels, channels, 1, repnr)
        self.sca = _Numbered(1, conv(channels, channels, 1, repnr))
        self.conv4 = conv(channels, 2 * channels, 1, repnr)
        self.conv5 = conv(channels, channels, 1, repnr)
        self.norm1, self.norm2 = LayerNorm(channels, EPS), LayerNorm(channels, EPS)

    def execute(self, x):
        if naf_train.usable() and not jt.flags.no_grad:
            return naf_train.block(x, self._used(), EPS)
        kept, *sums = self.gather(x)
        return self.finish(x, kept, sums, x.shape[2] * x.shape[3])

    def gather(self, x: jt.Var, halo: tuple[int, int] = (0, 0)) -> list[jt.Var]:
        """The gated depthwise part (N, C, rows, W), and its sum over the pixels, (N, C).

        Args:
            x: (N, C, rows, W), an image or a window of its rows.
            halo: rows at the top and bottom (0 or 1) that only surround the window; without one
                the image ends there.
        """
        if self._fast():
            named = tensors(norm=self.norm1, conv=self.conv1, depthwise=self.dwconv2)
            return list(led_blocks.naf_gather(x, named, EPS, halo))
        first, second = halves(self.dwconv2(self.conv1(self.norm1(x))))
        gated = cropped(first * second, halo)
        return [gated, spatial_sum(gated)]

    def finish(self, x: jt.Var, gated: jt.Var, sums: list[jt.Var], pixels: int,
               halo: tuple[int, int] = (0, 0)) -> jt.Var:
        """The block's output from its input, the gated part and its sum over all `pixels`."""
        if self._fast():
            named = {**tensors(sca=self.sca.layer, conv3=self.conv3, norm=self.norm2,
                               conv4=self.conv4, conv5=self.conv5),
                     "beta": self.beta, "gamma": self.gamma}
            return cropped(led_blocks.naf_finish(x, gated, sums[0], pixels, named, EPS), halo)
        mean = (sums[0] / pixels).reshape(x.shape[0], -1, 1, 1)
        x = x + self.conv3(gated * self.sca(mean)) * self.beta
        first, second = halves(self.conv4(self.norm2(x)))
        return cropped(x + self.conv5(first * second) * self.gamma, halo)

    def _used(self) -> dict[str, jt.Var]:
        """What the layers use, by the names of `naf_train`."""
        named = {"beta": self.beta, "gamma": self.gamma}
        for name, layer in (("norm1", self.norm1), ("conv1", self.conv1),
                            ("depthwise", self.dwconv2), ("sca", self.sca.layer),
                            ("conv3", self.conv3), ("norm2", self.norm2), ("conv4", self.conv4),
                            ("conv5", self.conv5)):
            named[f"{name}.weight"], named[f"{name}.bias"] = parts(layer)
        return named

    def _fast(self) -> bool:
        return led_blocks.usable() and plain(self.conv1, self.conv3, self.sca.layer, self.conv4,
                                             self.conv5)


class _Down(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.downconv = nn.Conv(channels, 2 * channels, 2, stride=2)

    def execute(self, x):
        return self.downconv(x)


class _Up(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.upconv = nn.Conv(channels, 2 * channels, 1, bias=False)
        self._shuffle = nn.PixelShuffle(2)

    def execute(self, x):
        return self._shuffle(self.upconv(x))


class NAFNet(Network):
    """(N, img_channel, H, W) to the same shape, unclipped; any sides.

    Values are linear brightness, 1 at the white level; below 0 where noise goes below black.

    Args:
        config: complete (`shapes_nafnet.complete`).
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        images, width, repnr = config["img_channel"], config["width"], config["repnr"]
        levels = len(config["enc_blk_nums"])

        def blocks(count: int, channels: int) -> nn.Sequential:
            return nn.Sequential(*[Block(channels, repnr) for _ in range(count)])

        self.intro = conv(images, width, 3, repnr)
        self.ending = nn.Conv(width, images, 3, padding=1)
        self.encoders = nn.ModuleList([
            blocks(count, width << level) for level, count in enumerate(config["enc_blk_nums"])])
        self.decoders = nn.ModuleList([
            blocks(count, width << levels - 1 - step)
            for step, count in enumerate(config["dec_blk_nums"])])
        self.middle_blks = blocks(config["middle_blk_num"], width << levels)
        self.ups = nn.ModuleList([_Up(width << levels - step) for step in range(levels)])
        self.downs = nn.ModuleList([_Down(width << level) for level in range(levels)])
        self._config = dict(config)
        self._align = 2 ** levels

    @property
    def config(self) -> dict[str, Any]:
        """The completed configuration."""
        return dict(self._config)

    def execute(self, x):
        channels = self._config["img_channel"]
        expect("x", x, f"(N, {channels}, H, W)", None, channels, None, None)
        height, width = x.shape[2:]
        x = nn.pad(x, (0, -width % self._align, 0, -height % self._align))
        return (x + self.ending(self.features(x)))[:, :, :height, :width]

    def features(self, x: jt.Var) -> jt.Var:
        """What the last convolution sees; the sides of `x` are multiples of the alignment."""
        y, skips = self.intro(x), []
        for blocks, down in zip(self.encoders, self.downs):
            skips.append(blocks(y))
            y = down(skips[-1])
        y = self.middle_blks(y)
        for blocks, up in zip(self.decoders, self.ups):
            y = blocks(up(y) + skips.pop())
        return y


def build(name: str, config: Mapping[str, Any]) -> NAFNet:
    """The network of registry name `name` ("led-nafnet")."""
    return NAFNet(shapes_nafnet.complete(config))
