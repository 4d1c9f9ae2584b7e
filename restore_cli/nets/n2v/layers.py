"""Layers of the denoising networks that Jittor lacks, or has with limits that matter here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.errors import ShapeError


def max_pool(x: jt.Var) -> jt.Var:
    """Maximum over 2x2 (or 2x2x2) cells; Jittor's own pool refuses sides up to its kernel.

    One axis after the other, which makes the gradient ten times faster than a reduction, and
    gives it to the first of equal values, as PyTorch does.

    Args:
        x: (N, C, *sides) with even sides.
    """
    for axis in reversed(range(2, x.ndim)):
        lines = _lines(x, axis)
        x = _shaped(_maximum(lines[:, ::2], lines[:, 1::2]), x, axis)
    return x


def blur_pool(x: jt.Var) -> jt.Var:
    """Maximum over neighbours, then a binomial blur with stride 2 (N2V2, section 3.1).

    The 2x2 maxima have stride 1 and no padding; they are blurred by [1, 2, 1] / 4 along each
    axis at every second position, zeros beyond the border. Both steps are separable.

    Args:
        x: (N, C, *sides) with sides of at least 2.
    """
    for axis in reversed(range(2, x.ndim)):
        lines = _lines(x, axis)
        x = _shaped(_maximum(lines[:, :-1], lines[:, 1:]), x, axis)
    for axis in range(2, x.ndim):
        x = _shaped(_blurred(_lines(x, axis)), x, axis)
    return x


def upsample(x: jt.Var) -> jt.Var:
    """Bilinear (trilinear) interpolation to twice the sides, pixel corners aligned by area.

    A new pixel lies a quarter of the old spacing from the nearer old one: weights 3/4 and 1/4,
    border pixels repeated.
    """
    for axis in range(2, x.ndim):
        x = _shaped(_doubled(_lines(x, axis)), x, axis)
    return x


def interleave(parts: Sequence[jt.Var], groups: int) -> jt.Var:
    """Concatenates along channels group by group, so that groups stay together."""
    n, _, *sides = parts[0].shape
    made = jt.concat([part.reshape(n * groups, -1) for part in parts], dim=1)
    return made.reshape(n, sum(part.shape[1] for part in parts), *sides)


def _lines(x: jt.Var, axis: int) -> jt.Var:
    """`x` with `axis` as axis 1 of 3, or of 2 for the last one.

    Jittor compiles slices for every number of axes and every position among them; in this form
    few serve all networks.
    """
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1:])
    return x.reshape(outer, x.shape[axis], *((inner,) if inner > 1 else ()))


def _shaped(lines: jt.Var, like: jt.Var, axis: int) -> jt.Var:
    """The inverse of `_lines`: `axis` may have changed its length."""
    return lines.reshape(*like.shape[:axis], lines.shape[1], *like.shape[axis + 1:])


def _maximum(first: jt.Var, second: jt.Var) -> jt.Var:
    # Of equal values Jittor's gradient goes to the right-hand one.
    return jt.maximum(second, first)


def _blurred(lines: jt.Var) -> jt.Var:
    # Output i looks at 2i - 1, 2i and 2i + 1.
    even = lines[:, ::2]
    if lines.shape[1] == 1:
        return 0.5 * even
    odd, count = lines[:, 1::2], even.shape[1]
    return 0.5 * even + 0.25 * (_shifted(odd, -1, count) + _shifted(odd, 0, count))


def _shifted(lines: jt.Var, by: int, count: int) -> jt.Var:
    """Element i of axis 1 becomes element ``i + by`` of `count`, zero where there is none.

    Args:
        by: -1, 0 or 1.
    """
    first, last = max(by, 0), min(count + by, lines.shape[1])
    before = max(-by, 0)
    after = count - before - (last - first)

    def zeros(rows: int) -> jt.Var:
        return jt.zeros((lines.shape[0], rows, *lines.shape[2:]), lines.dtype)

    if last <= first:
        return zeros(count)
    parts = [zeros(before)] if before else []
    parts += [lines[:, first:last]]
    parts += [zeros(after)] if after else []
    return jt.concat(parts, dim=1) if len(parts) > 1 else parts[0]


def _doubled(lines: jt.Var) -> jt.Var:
    before = after = lines
    if lines.shape[1] > 1:
        before = jt.concat([lines[:, :1], lines[:, :-1]], dim=1)
        after = jt.concat([lines[:, 1:], lines[:, -1:]], dim=1)
    near = 0.75 * lines
    rows, length, *inner = lines.shape
    pair = [(near + 0.25 * other).reshape(rows * length, -1) for other in (before, after)]
    return jt.concat(pair, dim=1).reshape(rows, 2 * length, *inner)


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


class Conv3d(nn.Module):
    """A 3-D convolution with stride 1 as one 2-D convolution of all planes.

    Jittor's own 3-D convolution does not use oneDNN (measured: 100 times slower). Here each
    plane is convolved with every slice of the kernel at once; the results are shifted along the
    depth and summed.
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
        outputs, inner, taps = self.weight.shape[:3]
        groups, reach = self._groups, taps // 2
        # Groups outermost, then the slices of the kernel, then a group's outputs.
        slices = self.weight.reshape(groups, outputs // groups, inner, taps, taps, taps)
        slices = slices.transpose(0, 3, 1, 2, 4, 5).reshape(taps * outputs, inner, taps, taps)
        planes = x.transpose(0, 2, 1, 3, 4).reshape(n * depth, c, height, width)
        found = nn.conv2d(planes, slices, padding=reach, groups=groups)
        # As rows of (plane and group), slices, the rest: slice k looks at the plane `k - reach`
        # further on.
        found = found.reshape(n * depth * groups, taps, -1)
        total = self.bias.reshape(1, outputs, 1)
        for k in range(taps):
            part = found[:, k].reshape(n, depth, -1)
            total = total + _shifted(part, k - reach, depth).reshape(n * depth, outputs, -1)
        return total.reshape(n, depth, outputs, height, width).transpose(0, 2, 1, 3, 4)


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
        flat = x.reshape(x.shape[0], x.shape[1], -1)
        flat = (flat - _column(mean)) * _column(scale) + _column(self.bias)
        return flat.reshape(x.shape)

    def folded(self, weight: jt.Var, bias: jt.Var) -> tuple[jt.Var, jt.Var]:
        """A convolution's weight and bias with what becomes of its results outside training."""
        scale = self.weight / jt.sqrt(self.running_var + self.EPS)
        rows = weight.reshape(weight.shape[0], -1) * scale.reshape(-1, 1)
        return rows.reshape(weight.shape), (bias - self.running_mean) * scale + self.bias

    def _measured(self, x: jt.Var) -> tuple[jt.Var, jt.Var]:
        count = x.numel() // x.shape[1]
        mean = _mean(x)
        apart = x.reshape(x.shape[0], x.shape[1], -1) - _column(mean)
        var = _mean((apart * apart).reshape(x.shape))
        unbiased = count / max(count - 1, 1)
        for running, value in ((self.running_mean, mean), (self.running_var, var * unbiased)):
            running.update((running * (1 - self.MOMENTUM)
                            + value * self.MOMENTUM).stop_grad())
        self.num_batches_tracked.update((self.num_batches_tracked + 1).stop_grad())
        return mean, var


def _column(values: jt.Var) -> jt.Var:
    return values.reshape(1, -1, 1)


def _mean(x: jt.Var) -> jt.Var:
    """Mean of each channel, one axis at a time: Jittor sums naively in float32."""
    shape = x.shape
    while len(shape) > 2:
        x = x.reshape(-1, shape[-1]).mean(dim=1)
        shape = shape[:-1]
    return x.reshape(shape).mean(dim=0)
