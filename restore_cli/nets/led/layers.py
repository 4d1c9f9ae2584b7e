"""Layers that NAFNet and Restormer share; each also works on a window of an image's rows."""

from __future__ import annotations

from typing import Any

import jittor as jt
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

    @property
    def eps(self) -> float:
        """What is added to the variance."""
        return self._eps

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


def cropped(x: jt.Var, halo: tuple[int, int]) -> jt.Var:
    """`x` without the rows at the top and bottom that only surrounded a window."""
    above, below = halo
    return x[:, :, above:x.shape[2] - below] if above or below else x


def tensors(**layers: Any) -> dict[str, jt.Var | None]:
    """Weights and biases by the names that the operators use; None where a layer has none."""
    return {f"{name}.{part}": getattr(layer, part, None)
            for name, layer in layers.items() for part in ("weight", "bias")}


def plain(*layers: nn.Module) -> bool:
    """Whether none of the convolutions is re-parameterised."""
    return all(isinstance(layer, nn.Conv) for layer in layers)


def spatial_sum(x: jt.Var) -> jt.Var:
    """(N, C, H, W) to (N, C): one row after the other, since Jittor adds naively in float32."""
    return x.sum(3).sum(2)


def unshuffle(x: jt.Var, factor: int = 2) -> jt.Var:
    """The inverse of `nn.PixelShuffle`: (N, C, H, W) to (N, C * factor**2, H/factor, W/factor)."""
    count, channels, height, width = x.shape
    x = x.reshape(count, channels, height // factor, factor, width // factor, factor)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(count, channels * factor**2, height // factor,
                                               width // factor)
