"""Layers of the denoising networks that Jittor lacks, or has with limits that matter here."""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.errors import ShapeError


def max_pool(x: jt.Var) -> jt.Var:
    """Maximum over 2x2 (or 2x2x2) cells; Jittor's own pool refuses sides up to its kernel.

    Args:
        x: (N, C, *sides) with even sides.
    """
    n, c, *sides = x.shape
    cells = [part for side in sides for part in (side // 2, 2)]
    return x.reshape(n, c, *cells).max(dims=tuple(range(3, 3 + 2 * len(sides), 2)))


def convolution(dims: int, inputs: int, outputs: int, kernel: int = 3,
                groups: int = 1) -> nn.Module:
    """A convolution with bias that keeps the sides by zero padding, in 2 or 3 dimensions."""
    if dims == 2:
        return nn.Conv(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    return Conv3d(inputs, outputs, kernel, groups)


def require_multiples(x: jt.Var, channels: int, align: int, dims: int) -> None:
    """Checks a network's input.

    Raises:
        ShapeError: not (N, channels, *sides) with `dims` sides that are multiples of `align`.
    """
    shape = tuple(x.shape)
    if (len(shape) != 2 + dims or shape[1] != channels
            or any(side % align or side == 0 for side in shape[2:])):
        sides = ", ".join("DHW"[3 - dims:])
        raise ShapeError("x", f"(N, {channels}, {sides}) with sides that are multiples of {align}",
                         shape)


def blur_pool(x: jt.Var) -> jt.Var:
    """Maximum over neighbours, then a binomial blur with stride 2 (N2V2, section 3.1).

    The 2x2 maxima have stride 1 and no padding; they are blurred by [1, 2, 1] / 4 along each
    axis at every second position, zeros beyond the border. Both steps are separable.

    Args:
        x: (N, C, *sides) with sides of at least 2.
    """
    for axis in range(2, x.ndim):
        x = jt.maximum(_part(x, axis, 0, -1), _part(x, axis, 1, None))
    for axis in range(2, x.ndim):
        x = _blurred(x, axis)
    return x


def _blurred(x: jt.Var, axis: int) -> jt.Var:
    # Output i looks at 2i - 1, 2i, 2i + 1; zeros stand before the first and after the last.
    length = x.shape[axis]
    count = (length + 1) // 2
    shape = list(x.shape)
    shape[axis] = 1
    zero = jt.zeros(shape, x.dtype)
    even = _part(x, axis, 0, None, 2)
    odd = _part(x, axis, 1, None, 2) if length > 1 else None
    if odd is None:
        return 0.5 * even
    before = jt.concat([zero, _part(odd, axis, 0, count - 1)], dim=axis)
    after = odd if odd.shape[axis] == count else jt.concat([odd, zero], dim=axis)
    return 0.5 * even + 0.25 * (before + after)


def _part(x: jt.Var, axis: int, start: int, stop: int | None, step: int = 1) -> jt.Var:
    return x[(*[slice(None)] * axis, slice(start, stop, step))]


def upsample(x: jt.Var) -> jt.Var:
    """Bilinear (trilinear) interpolation to twice the sides, pixel corners aligned by area.

    A new pixel lies a quarter of the old spacing from the nearer old one: weights 3/4 and 1/4,
    border pixels repeated.
    """
    for axis in range(2, x.ndim):
        x = _doubled(x, axis)
    return x


def _doubled(x: jt.Var, axis: int) -> jt.Var:
    size = x.shape[axis]
    first, last = _part(x, axis, 0, 1), _part(x, axis, size - 1, size)
    before, after = first, last
    if size > 1:
        before = jt.concat([first, _part(x, axis, 0, size - 1)], dim=axis)
        after = jt.concat([_part(x, axis, 1, size), last], dim=axis)
    near = 0.75 * x
    pairs = jt.stack([near + 0.25 * before, near + 0.25 * after], dim=axis + 1)
    shape = list(x.shape)
    shape[axis] *= 2
    return pairs.reshape(shape)


def interleave(parts: Sequence[jt.Var], groups: int) -> jt.Var:
    """Concatenates along channels group by group, so that groups stay together."""
    if groups == 1:
        return jt.concat(list(parts), dim=1)
    n, _, *sides = parts[0].shape
    split = [part.reshape(n, groups, part.shape[1] // groups, *sides) for part in parts]
    return jt.concat(split, dim=2).reshape(n, sum(p.shape[1] for p in parts), *sides)


class Conv3d(nn.Module):
    """A 3-D convolution with stride 1, summed from 2-D ones over the depth of the kernel.

    Jittor's own 3-D convolution does not use oneDNN. Kernel slice k of depth K sees the planes
    shifted by ``k - K // 2``; all planes go through one 2-D convolution each.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int):
        super().__init__()
        shape = (outputs, inputs // groups, kernel, kernel, kernel)
        bound = 1 / np.sqrt(inputs // groups * kernel**3)
        self.weight = jt.init.uniform(shape, "float32", -bound, bound)
        self.bias = jt.init.uniform((outputs,), "float32", -bound, bound)
        self._groups = groups

    def execute(self, x):
        n, c, depth, height, width = x.shape
        kernel = self.weight.shape[2]
        reach = kernel // 2
        planes = x.transpose(0, 2, 1, 3, 4)
        if reach:
            rim = jt.zeros((n, reach, c, height, width), x.dtype)
            planes = jt.concat([rim, planes, rim], dim=1)
        total = None
        for k in range(kernel):
            part = planes[:, k:k + depth].reshape(n * depth, c, height, width)
            bias = self.bias if k == 0 else None
            part = nn.conv2d(part, self.weight[:, :, k], bias, padding=reach,
                             groups=self._groups)
            total = part if total is None else total + part
        return total.reshape(n, depth, -1, height, width).transpose(0, 2, 1, 3, 4)


def counter() -> jt.Var:
    """An integer that is saved but not trained."""
    return jt.array(np.zeros((1,), np.int32)).stop_grad()


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, ICML 2015), keys and rules as in PyTorch.

    The variance is taken around the mean in a second pass: Jittor's difference of two moments
    loses all digits where the mean is large.

    Args:
        channels: of (N, C, *sides).
        used: False keeps the keys (upstream has them either way) without training them.
    """

    EPS, MOMENTUM = 1e-5, 0.1

    def __init__(self, channels: int, used: bool = True):
        super().__init__()
        self.weight, self.bias = jt.ones((channels,)), jt.zeros((channels,))
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()
        self.num_batches_tracked = counter()
        if not used:
            self.weight, self.bias = self.weight.stop_grad(), self.bias.stop_grad()

    def execute(self, x):
        if self.is_training():
            mean, var = self._measured(x)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight / jt.sqrt(var + self.EPS)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return (x - mean.reshape(shape)) * scale.reshape(shape) + self.bias.reshape(shape)

    def _measured(self, x: jt.Var) -> tuple[jt.Var, jt.Var]:
        count = x.numel() // x.shape[1]
        mean = _mean(x)
        var = _mean((x - mean.reshape(1, -1, *(1,) * (x.ndim - 2))).sqr())
        unbiased = count / max(count - 1, 1)
        for running, value in ((self.running_mean, mean), (self.running_var, var * unbiased)):
            running.update((running * (1 - self.MOMENTUM)
                            + value * self.MOMENTUM).stop_grad())
        self.num_batches_tracked.update((self.num_batches_tracked + 1).stop_grad())
        return mean, var


def _mean(x: jt.Var) -> jt.Var:
    # One axis at a time: Jittor sums naively in float32.
    while x.ndim > 2:
        x = x.mean(dim=x.ndim - 1)
    return x.mean(dim=0)
