"""Restormer (Zamir et al., CVPR 2022), as LED trains it. Names and keys are upstream's.

Packed planes in, packed planes out, same size. The attention of each block depends on products
over the whole image; `strips.run` gives the same result with little memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
from jittor import nn

from restore_cli.nets.base import Network, expect
from restore_cli.nets.led import shapes_restormer
from restore_cli.nets.led.layers import (
    LayerNorm,
    cropped,
    depthwise,
    halves,
    plain,
    spatial_sum,
    tensors,
    unshuffle,
)
from restore_cli.nets.led.repnr import conv, parts
from restore_cli.nets.led.unet import padded
from restore_cli.nets.ops import led_blocks

EPS = 1e-5
_LEAST_SQUARE = 1e-24  # of a row's length, which upstream keeps above 1e-12


class _Norm(nn.Module):
    def __init__(self, channels: int, kind: str):
        super().__init__()
        self.body = LayerNorm(channels, EPS, kind == "WithBias")

    def execute(self, x):
        return self.body(x)


class Attention(nn.Module):
    """Attention between channels: each row of a C/heads x C/heads matrix weighs the channels.

    Queries and keys, normalised over the image, enter through their products only. So the
    matrix, and with it the linear map of the whole part, follows from a few sums over all pixels.
    """

    def __init__(self, channels: int, heads: int, config: Mapping[str, Any]):
        super().__init__()
        bias, inner = config["bias"], config["bias"] or config["folded"]
        self.temperature = jt.ones((heads, 1, 1))
        self.qkv = conv(channels, 3 * channels, 1, config["repnr"], inner)
        self.qkv_dwconv = depthwise(3 * channels, bias)
        self.project_out = conv(channels, channels, 1, config["repnr"], inner)
        self._heads, self._channels = heads, channels

    @property
    def heads(self) -> int:
        """Number of matrices."""
        return self._heads

    def execute(self, x):
        values, *sums = self.gather(x)
        return self.mixed(values, self.mixing(*sums))

    def gather(self, x: jt.Var, halo: tuple[int, int] = (0, 0)) -> list[jt.Var]:
        """Values (N, C, H, W), and `products` of queries and keys."""
        made = cropped(self.qkv_dwconv(self.qkv(x)), halo)
        return [made[:, 2 * self._channels:], *self.products(made[:, :2 * self._channels])]

    def products(self, both: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Sums over the pixels: query times key (N, heads, c, c), squares of both (N, 2C)."""
        count, heads, wide = both.shape[0], self._heads, self._channels // self._heads
        squares = spatial_sum(both * both)
        lines = both.reshape(count * 2 * heads, wide, -1)
        # A product of two matrices at a time: Jittor's batched product is several times slower.
        made = [jt.matmul(lines[2 * heads * n + head],
                          lines[2 * heads * n + heads + head].transpose(1, 0))
                for n in range(count) for head in range(heads)]
        return jt.stack(made, dim=0).reshape(count, heads, wide, wide), squares

    def mixing(self, products: jt.Var, squares: jt.Var) -> jt.Var:
        """The matrices (N, C, C) that take values to the output, before its bias."""
        count, heads, wide, _ = products.shape
        lengths = jt.sqrt(jt.maximum(squares, _LEAST_SQUARE)).reshape(count, 2, heads, wide)
        scores = products / lengths[:, 0].reshape(count, heads, wide, 1) \
            / lengths[:, 1].reshape(count, heads, 1, wide)
        weights = nn.softmax(scores * self.temperature.reshape(1, heads, 1, 1), dim=-1)
        out = parts(self.project_out)[0].reshape(heads * wide, heads, wide)
        return jt.stack([
            jt.concat([jt.matmul(out[:, head], weights[n, head]) for head in range(heads)], dim=1)
            for n in range(count)], dim=0)

    def mixed(self, value: jt.Var, mixing: jt.Var) -> jt.Var:
        """The output (N, C, H, W) from values and matrices."""
        count, channels, height, width = value.shape
        lines = value.reshape(count, channels, height * width)
        made = jt.stack([jt.matmul(mixing[n], lines[n]) for n in range(count)], dim=0)
        made = made.reshape(count, channels, height, width)
        bias = parts(self.project_out)[1]
        return made if bias is None else made + bias.reshape(1, -1, 1, 1)


class FeedForward(nn.Module):
    """A gated depthwise part whose gate is an exact GELU."""

    def __init__(self, channels: int, config: Mapping[str, Any]):
        super().__init__()
        bias, inner = config["bias"], config["bias"] or config["folded"]
        wide = shapes_restormer.hidden(channels, config["ffn_expansion_factor"])
        self.project_in = conv(channels, 2 * wide, 1, config["repnr"], inner)
        self.dwconv = depthwise(2 * wide, bias)
        self.project_out = conv(wide, channels, 1, config["repnr"], inner)

    def execute(self, x):
        first, second = halves(self.dwconv(self.project_in(x)))
        return self.project_out(nn.gelu(first) * second)


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input."""

    reach = 1  # rows around its own that `finish` needs

    def __init__(self, channels: int, heads: int, config: Mapping[str, Any]):
        super().__init__()
        self.norm1 = _Norm(channels, config["LayerNorm_type"])
        self.attn = Attention(channels, heads, config)
        self.norm2 = _Norm(channels, config["LayerNorm_type"])
        self.ffn = FeedForward(channels, config)

    def execute(self, x):
        kept, *sums = self.gather(x)
        return self.finish(x, kept, sums)

    def gather(self, x: jt.Var, halo: tuple[int, int] = (0, 0)) -> list[jt.Var]:
        """Values (N, C, rows, W) of the attention, and the sums that its matrices follow from.

        Args:
            x: (N, C, rows, W), an image or a window of its rows.
            halo: rows at the top and bottom (0 or 1) that only surround the window; without one
                the image ends there.
        """
        if self._fast():
            named = tensors(norm=self.norm1.body, conv=self.attn.qkv,
                            depthwise=self.attn.qkv_dwconv)
            return list(led_blocks.restormer_gather(x, named, self.attn.heads, EPS, halo))
        return self.attn.gather(self.norm1(x), halo)

    def finish(self, x: jt.Var, values: jt.Var, sums: list[jt.Var], pixels: int | None = None,
               halo: tuple[int, int] = (0, 0)) -> jt.Var:
        """The block's output from its input, the values and the sums over the whole image."""
        if self._fast():
            named = {**tensors(attention_out=self.attn.project_out, norm=self.norm2.body,
                               project_in=self.ffn.project_in, depthwise=self.ffn.dwconv,
                               project_out=self.ffn.project_out),
                     "temperature": self.attn.temperature}
            return led_blocks.restormer_finish(x, values, *sums, named, self.attn.heads, EPS, halo)
        x = x + self.attn.mixed(values, self.attn.mixing(*sums))
        return cropped(x + self.ffn(self.norm2(x)), halo)

    def _fast(self) -> bool:
        return led_blocks.usable() and plain(self.attn.qkv, self.attn.project_out,
                                             self.ffn.project_in, self.ffn.project_out)


class _Resized(nn.Module):
    """A 3x3 convolution without bias, then a change of size; its key is body.0."""

    def __init__(self, inputs: int, outputs: int, config: Mapping[str, Any], resize):
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, config["repnr"], bias=config["folded"]))
        self._resize = resize

    def execute(self, x, halo: tuple[int, int] = (0, 0)):
        """`halo`: rows at the top and bottom (0 or 1) that only surround a window."""
        return self._resize(cropped(self.body(x), halo))


class _Embedding(nn.Module):
    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.proj = conv(config["inp_channels"], config["dim"], 3, config["repnr"],
                         bias=config["folded"])

    def execute(self, x):
        return self.proj(x)


class Restormer(Network):
    """(N, inp_channels, H, W) to the same shape, unclipped; any sides.

    Values are linear brightness, 1 at the white level; below 0 where noise goes below black.
    Sides that are no multiples of 8, which upstream refuses, are mirrored and cropped.

    Args:
        config: complete (`shapes_restormer.complete`).
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        dim, stages = config["dim"], shapes_restormer.stages(config)
        inner, shuffle = config["bias"] or config["folded"], nn.PixelShuffle(2)
        self.patch_embed = _Embedding(config)
        for name, (blocks, channels, heads) in stages.items():
            if name.startswith("decoder_level"):
                level = int(name[-1])
                wide = dim << level
                setattr(self, f"up{level + 1}_{level}", _Resized(wide, 2 * wide, config, shuffle))
                if level > 1:
                    setattr(self, f"reduce_chan_level{level}",
                            conv(wide, wide // 2, 1, config["repnr"], inner))
            setattr(self, name, nn.Sequential(
                *[Block(channels, heads, config) for _ in range(blocks)]))
            if name.startswith("encoder_level"):
                level = int(name[-1])
                setattr(self, f"down{level}_{level + 1}",
                        _Resized(channels, channels // 2, config, unshuffle))
        self.output = nn.Conv(2 * dim, config["out_channels"], 3, padding=1, bias=config["bias"])
        self._config = dict(config)

    @property
    def config(self) -> dict[str, Any]:
        """The completed configuration."""
        return dict(self._config)

    def execute(self, x):
        channels = self._config["inp_channels"]
        expect("x", x, f"(N, {channels}, H, W)", None, channels, None, None)
        x, (rows, columns) = padded(x, shapes_restormer.ALIGN)
        return (x + self.output(self.features(x)))[:, :, rows, columns]

    def features(self, x: jt.Var) -> jt.Var:
        """What the last convolution sees; the sides of `x` are multiples of 8."""
        y, skips = self.patch_embed(x), []
        for level in (1, 2, 3):
            skips.append(getattr(self, f"encoder_level{level}")(y))
            y = getattr(self, f"down{level}_{level + 1}")(skips[-1])
        y = self.latent(y)
        for level in (3, 2, 1):
            y = jt.concat([getattr(self, f"up{level + 1}_{level}")(y), skips.pop()], dim=1)
            if level > 1:
                y = getattr(self, f"reduce_chan_level{level}")(y)
            y = getattr(self, f"decoder_level{level}")(y)
        return self.refinement(y)


def build(name: str, config: Mapping[str, Any]) -> Restormer:
    """The network of registry name `name` ("led-restormer")."""
    return Restormer(shapes_restormer.complete(config))
