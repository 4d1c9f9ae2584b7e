"""Layers that NAFNet and Restormer share; each also works on a window of an image's rows."""

from __future__ import annotations

import jittor as jt
import numpy as np
from jittor import nn


class LayerNorm(nn.Module):
    """Normalises each pixel over its channels by mean and (biased) variance, in two passes.

    Args:
        centred: with False the mean is left in ("BiasFree"; it is still subtracted inside the
            variance), and there is no bias.
    """

    def __init__(self, channels: int, eps: float, centred: bool = True):
        super().__init__()
        self.weight = jt.ones((channels,))
        if centred:
            self.bias = jt.zeros((channels,))
        self._eps, self._centred = eps, centred

    def execute(self, x):
        """(N, C, H, W) to the same shape."""
        off = x - x.mean(1, keepdims=True)
        scale = 1 / jt.sqrt((off * off).mean(1, keepdims=True) + self._eps)
        weight = self.weight.reshape(1, -1, 1, 1)
        if not self._centred:
            return x * scale * weight
        return off * scale * weight + self.bias.reshape(1, -1, 1, 1)


def depthwise(channels: int, bias: bool) -> nn.Conv:
    """A 3x3 convolution of each channel with itself, zeros beyond the border."""
    return nn.Conv(channels, channels, 3, padding=1, groups=channels, bias=bias)


def halves(x: jt.Var) -> tuple[jt.Var, jt.Var]:
    """The first and the second half of the channels."""
    middle = x.shape[1] // 2
    return x[:, :middle], x[:, middle:]


def within(x: jt.Var, inside: np.ndarray | None) -> jt.Var:
    """`x` with zeros in the rows of a window that lie beyond the image.

    Args:
        x: (N, C, rows, W).
        inside: (rows,) bool, or None where all rows are the image's.
    """
    if inside is None or inside.all():
        return x
    return x * jt.array(inside.astype(np.float32).reshape(1, 1, -1, 1))


def spatial_sum(x: jt.Var) -> jt.Var:
    """(N, C, H, W) to (N, C): one row after the other, since Jittor adds naively in float32."""
    return x.sum(3).sum(2)


def unshuffle(x: jt.Var, factor: int = 2) -> jt.Var:
    """The inverse of `nn.PixelShuffle`: (N, C, H, W) to (N, C * factor**2, H/factor, W/factor)."""
    count, channels, height, width = x.shape
    x = x.reshape(count, channels, height // factor, factor, width // factor, factor)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(count, channels * factor**2, height // factor,
                                               width // factor)
