"""The blur kernel: its estimation from frames (section 3.2 of the paper) and its use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.base import conv, expect
from restore_cli.nets.liif.encoders import ResBlock
from restore_cli.nets.vsr import shapes


class KernelNet(nn.Module):
    """(N, T * C, H, W), the frames side by side on the channel axis, to (N, 1, k, k).

    The kernel's elements are positive and sum to 1.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        wide, size = config["kernel_channels"], config["ksize"]
        self._size = size

        def blocks():
            return [ResBlock(wide, 1, config["kernel_reduction"]) for _ in range(shapes.BLOCKS)]

        self.in_conv = conv(config["n_colors"] * config["n_sequence"], wide)
        self.body1 = nn.Sequential(*blocks())
        self.body2 = nn.Sequential(*blocks(), conv(wide, wide // 2), conv(wide // 2, 1))
        self.fc_net = nn.Sequential(nn.Linear(size * size, config["kernel_hidden"]),
                                    nn.Linear(config["kernel_hidden"], size * size))

    def execute(self, x):
        x = adaptive_average(self.body1(self.in_conv(x)), self._size)
        x = self.fc_net(self.body2(x).reshape(x.shape[0], -1))
        return nn.softmax(x, dim=1).reshape(-1, 1, self._size, self._size)


def adaptive_average(x: jt.Var, size: int) -> jt.Var:
    """PyTorch's adaptive average pooling to `size` x `size`: (N, C, H, W), any sides.

    Jittor's own uses windows of one size, and none at all below `size` pixels. Two small matrix
    products are exact and differentiable.
    """
    count, channels, height, width = x.shape
    x = nn.matmul(x.reshape(-1, width), jt.array(_bins(width, size)))
    x = x.reshape(count, channels, height, size).permute(0, 1, 3, 2).reshape(-1, height)
    x = nn.matmul(x, jt.array(_bins(height, size)))
    return x.reshape(count, channels, size, size).permute(0, 1, 3, 2)


def _bins(side: int, size: int) -> np.ndarray:
    """(side, size): bin i averages the pixels floor(i side / size) to ceil((i + 1) side / size)."""
    made = np.zeros((side, size), np.float32)
    for i in range(size):
        first, stop = i * side // size, -(-(i + 1) * side // size)
        made[first:stop, i] = 1 / (stop - first)
    return made


def blur_down(x: jt.Var, kernel: jt.Var, scale: int = 4) -> jt.Var:
    """What a camera of lower resolution would see; differentiable.

    Args:
        x: (N, C, H, W).
        kernel: (N, 1, k, k), k odd, one for each sample; correlated with, not flipped.
        scale: of the result, every `scale`-th pixel from the first is kept.

    Returns:
        (N, C, ceil(H / scale), ceil(W / scale)); the border is replicated.
    """
    count, channels, height, width = x.shape
    size = kernel.shape[-1]
    expect("kernel", kernel, "(N, 1, k, k), k odd", count, 1, size | 1, size | 1)
    rows, columns = (jt.array(_taps(side, size, scale)) for side in (height, width))
    shape = [count, channels, rows.shape[0], columns.shape[0], size, size]
    samples = x.reindex(shape, ["i0", "i1", "@e0(i2,i4)", "@e1(i3,i5)"], extras=[rows, columns])
    weights = kernel.reindex(shape, ["i0", "0", "i4", "i5"])
    return (samples * weights).sum(5).sum(4)


def _taps(side: int, size: int, scale: int) -> np.ndarray:
    """(outputs, size): which of `side` pixels each tap of each output reads."""
    place = np.arange(0, side, scale)[:, None] + np.arange(size) - size // 2
    return place.clip(0, side - 1).astype(np.int32)
