"""A block of NAFNet with its gradients: the two forward operators of `led_blocks`, one backward.

The stock way keeps a dozen maps a block, and its depthwise convolutions and normalisations are
single-threaded kernels. Here the forward pass keeps the block's input and its gated part; the
backward operator computes the rest again, a few pixels at a time in the cache, which costs less
than a sixth of the block's arithmetic. Gradients differ from the stock layers' by about 1e-6 of
their scale. They are the same to the last bit for the same inputs, processor and threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import jittor as jt

from restore_cli.nets.ops import led_blocks

LAYERS = ("norm1", "conv1", "depthwise", "sca", "conv3", "beta", "norm2", "conv4", "conv5", "gamma")
NAMES = tuple(name for layer in LAYERS for name in (
    (layer,) if layer in ("beta", "gamma") else (f"{layer}.weight", f"{layer}.bias")))
"""Parameters of a block, in the order of the operator's inputs."""


def usable() -> bool:
    """Whether `block` can run here: on a CPU, compiled by GCC or Clang, not ``RESTORE_FUSED=0``."""
    return (not jt.flags.use_cuda and sys.platform != "win32"
            and os.environ.get("RESTORE_FUSED") != "0")


def block(x: jt.Var, parameters: Mapping[str, jt.Var], eps: float) -> jt.Var:
    """The whole block; differentiable in `x` and the parameters, once.

    Args:
        x: (N, C, H, W) float32.
        parameters: by the names of `NAMES`, with the shapes that the layers have.
        eps: of the normalisations.

    Returns:
        (N, C, H, W).
    """
    return _Block(eps)(x, *(parameters[name] for name in NAMES))


class _Block(jt.Function):
    def __init__(self, eps: float):
        super().__init__()
        self._eps = eps

    def execute(self, x, *parameters):
        named = dict(zip(NAMES, parameters))
        first = {key.replace("1.", "."): named[key] for key in NAMES[:6]}
        second = {key.replace("norm2", "norm"): named[key] for key in NAMES[6:]}
        gated, total = led_blocks.naf_gather(x, first, self._eps)
        y = led_blocks.naf_finish(x, gated, total, x.shape[2] * x.shape[3], second, self._eps)
        self._kept = [value.detach() for value in (x, gated, total)]
        self._weights = [value.detach() for value in parameters]
        return y

    def grad(self, dy):
        inputs = [*self._kept, dy.detach(), *self._weights]
        shapes = [tuple(value.shape) for value in (dy, *self._weights)]
        return tuple(led_blocks.LIBRARY.run("naf_gradient", shapes, inputs, eps=self._eps))
