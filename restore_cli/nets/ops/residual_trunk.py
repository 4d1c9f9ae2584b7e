"""A chain of residual blocks (conv 3x3, ReLU, conv 3x3, add) as one CPU operator.

Jittor's own convolution reorders its input and output at every layer and leaves ReLU, bias and
sum to single-threaded kernels. Here activations stay in oneDNN's blocked layout from the first
block to the last, ReLU and sum are fused into the convolutions, and the backward pass does
the same. Winograd's algorithm (Lavin and Gray, CVPR 2016) is used where oneDNN offers it and no
gradients are needed; its error is about 1e-6 of the output's scale.
"""

from __future__ import annotations

import os
from typing import Sequence

import jittor as jt

from restore_cli.nets.ops import onednn
from restore_cli.nets.ops.library import Library

_LIBRARY = Library("residual_trunk.cc", with_onednn=True)


def usable(channels: int) -> bool:
    """Whether `trunk` can run here for this many channels; ``RESTORE_FUSED=0`` says no."""
    return channels % 16 == 0 and os.environ.get("RESTORE_FUSED") != "0" and onednn.usable()


def trunk(x: jt.Var, weights: Sequence[jt.Var]) -> jt.Var:
    """x <- x + conv2(relu(conv1(x))) for each block; differentiable.

    Args:
        x: (N, C, H, W), C a multiple of 16.
        weights: for each block weight (C, C, 3, 3) and bias (C,) of conv1, then of conv2.

    Returns:
        (N, C, H, W).
    """
    if jt.flags.no_grad:
        winograd = os.environ.get("RESTORE_WINOGRAD") != "0"
        return _LIBRARY.run("trunk_infer", [x.shape], [x, *weights], blocks=len(weights) // 4,
                            winograd=winograd)[0]
    return _Trunk.apply(x, *weights)


def convolution_sum(maps: Sequence[jt.Var], weights: Sequence[jt.Var], bias: jt.Var) -> jt.Var:
    """The sum of 3x3 convolutions of several maps, in the same layout; without gradients.

    Args:
        maps: (N, C, H, W) each, C a multiple of 16.
        weights: (C, C, 3, 3) for each map.
        bias: (C,).

    Returns:
        (N, C, H, W).
    """
    winograd = os.environ.get("RESTORE_WINOGRAD") != "0"
    return _LIBRARY.run("convolution_sum", [maps[0].shape], [*maps, *weights, bias],
                        maps=len(maps), winograd=winograd)[0]


class _Trunk(jt.Function):
    def execute(self, x, *weights):
        self._blocks = len(weights) // 4
        self._weights = [w.detach() for w in weights[::2]]
        size = x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3]
        y, self._saved = _LIBRARY.run("trunk_forward", [x.shape, (2 * self._blocks, size)],
                                      [x, *weights], blocks=self._blocks)
        return y

    def grad(self, dy):
        c = dy.shape[1]
        shapes = [dy.shape, (2 * self._blocks, c, c, 3, 3), (2 * self._blocks, c)]
        dx, dw, db = _LIBRARY.run("trunk_backward", shapes, [dy.detach(), self._saved,
                                                             *self._weights], blocks=self._blocks)
        return (dx, *[part[i] for i in range(2 * self._blocks) for part in (dw, db)])
