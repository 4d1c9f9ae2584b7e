"""Re-parameterised noise removal (RepNR) convolutions (Jin et al., ICCV 2023, section 3.2).

Training uses the folded form too: the effective weight is computed from the parts, then applied
by an ordinary zero-padded convolution. So training, fine-tuning and the folded network agree,
also along the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jittor as jt
import numpy as np
from jittor import nn

Branch = int | Literal["mean"]


class RepNRConv(nn.Module):
    """A stride-1 convolution of (N, inputs, H, W) that keeps the sides by zero padding.

    Args:
        inputs, outputs, kernel: as of the plain convolution (odd kernel).
        repnr: "branches", the number N of virtual cameras (one more alignment, index N, is the
            target camera's), and "aux", whether there is the parallel convolution for noise that
            the model does not describe.
        bias: whether the main convolution has a bias; the effective one always has.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, repnr: Mapping[str, Any],
                 bias: bool = True):
        super().__init__()
        shape, bound = (outputs, inputs, kernel, kernel), 1 / np.sqrt(inputs * kernel**2)
        self.main_weight = jt.init.uniform(shape, "float32", -bound, bound)
        if bias:
            self.main_bias = jt.init.uniform((outputs,), "float32", -bound, bound)
        if repnr["aux"]:
            self.aux_weight, self.aux_bias = jt.zeros(shape), jt.zeros((outputs,))
        self.align_weights = nn.ParameterList(
            [jt.ones((1, inputs, 1, 1)) for _ in range(repnr["branches"] + 1)])
        self.align_biases = nn.ParameterList(
            [jt.zeros((1, inputs, 1, 1)) for _ in range(repnr["branches"] + 1)])
        self._bias, self._aux, self._padding = bias, repnr["aux"], kernel // 2
        self._branch: Branch = repnr["branches"]

    def effective(self) -> tuple[jt.Var, jt.Var]:
        """Weight and bias of the plain convolution that the current branch amounts to."""
        scale, shift = self._aligned(self.align_weights), self._aligned(self.align_biases)
        weight = self.main_weight * scale
        outputs, inputs = self.main_weight.shape[:2]
        # One short sum after the other: Jittor adds naively in float32.
        taps = self.main_weight.reshape(outputs * inputs, -1).sum(1).reshape(outputs, inputs)
        bias = (taps * shift.reshape(1, inputs)).sum(1)
        if self._bias:
            bias = bias + self.main_bias
        if self._aux:
            weight, bias = weight + self.aux_weight, bias + self.aux_bias
        return weight, bias

    def execute(self, x):
        weight, bias = self.effective()
        return nn.conv2d(x, weight, bias, padding=self._padding)

    def _aligned(self, parts: nn.ParameterList) -> jt.Var:
        values = list(parts.values())
        if self._branch != "mean":
            return values[self._branch]
        total = values[0]
        for value in values[1:-1]:
            total = total + value
        return total / (len(values) - 1)


def conv(inputs: int, outputs: int, kernel: int, repnr: Mapping[str, Any] | None,
         bias: bool = True) -> nn.Module:
    """A convolution that keeps the sides: plain, or re-parameterised where `repnr` is given.

    Args:
        repnr: a completed configuration's "repnr".
        bias: whether the plain or main convolution has one (a folded one: True).
    """
    if repnr is None:
        return nn.Conv(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    return RepNRConv(inputs, outputs, kernel, repnr, bias)


def parts(layer: nn.Module) -> tuple[jt.Var, jt.Var]:
    """Weight and bias that a plain or re-parameterised convolution (or a transposed one) uses.

    Differentiable with respect to the layer's own parameters.
    """
    if isinstance(layer, RepNRConv):
        return layer.effective()
    return layer.weight, layer.bias


def use_branch(network: nn.Module, branch: Branch) -> None:
    """Chooses the alignment that every RepNR convolution of `network` uses from now on.

    Args:
        branch: 0..N-1 a virtual camera, N or -1 (what a new network uses) the target camera,
            "mean" the average alignment of the N virtual cameras, which is what `fold.generalise`
            writes into branch N; gradients reach all N. A plain network has nothing to choose.

    Raises:
        ValueError: there is no such branch.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, RepNRConv)]
    for layer in layers:
        count = len(layer.align_weights) - 1
        if branch != "mean" and branch not in range(-1, count + 1):
            raise ValueError(f"no branch {branch!r}: there are 0 to {count} and 'mean'")
        layer._branch = count if branch == -1 else branch
