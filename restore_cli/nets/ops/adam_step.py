"""A step of Adam for all parameters as one CPU operator.

Stock operators take each array by itself, in several kernels of one thread each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import jittor as jt
import numpy as np

from restore_cli.nets.ops.library import Library

_LIBRARY = Library("blocked.cc", "adam.cc")
_MOST = 240  # arrays in a call, which takes four times as many


def usable(parameters: Sequence[jt.Var]) -> bool:
    """Whether `step` can take these here; ``RESTORE_FUSED=0`` says no."""
    return (not jt.flags.use_cuda and sys.platform != "win32"
            and os.environ.get("RESTORE_FUSED") != "0"
            and all(str(one.dtype) == "float32" for one in parameters))


def step(parameters: Sequence[jt.Var], grads: Sequence[jt.Var], first: Sequence[jt.Var],
         second: Sequence[jt.Var], factors: Sequence[float], **numbers: float
         ) -> list[tuple[jt.Var, jt.Var, jt.Var]]:
    """Parameters and moments after a step (Kingma and Ba, ICLR 2015, algorithm 1).

    Args:
        parameters, grads, first, second: float32, one of each for every parameter.
        factors: of each parameter's learning rate.
        numbers: "beta1", "beta2", "eps"; "rate", the learning rate over the first moments' bias;
            "root", the square root of the second moments' bias.

    Returns:
        parameter, first and second moments, for each.
    """
    made = []
    for start in range(0, len(parameters), _MOST):
        some = slice(start, start + _MOST)
        inputs = [one.detach() for part in (parameters, grads, first, second)
                  for one in part[some]]
        count = len(inputs) // 4
        found = _LIBRARY.run("adam_step", [one.shape for one in inputs[:count]] * 3,
                             [jt.array(np.asarray(factors[some], np.float32)), *inputs],
                             **numbers)
        made += zip(*(found[i * count:(i + 1) * count] for i in range(3)), strict=True)
    return made
