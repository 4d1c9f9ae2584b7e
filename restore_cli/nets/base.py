"""The base of every network: strict, casting weight loading."""

from __future__ import annotations

from typing import Mapping

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.errors import ShapeError, WeightsError


class Network(nn.Module):
    """A Jittor module whose `load_state_dict` refuses what does not fit.

    Jittor's own loader skips missing keys silently, only logs unexpected ones, and lets the
    file's dtype replace the parameter's.
    """

    def load_state_dict(self, params: Mapping[str, np.ndarray]) -> None:
        """Copies `params` into the parameters, cast to each parameter's own dtype.

        Args:
            params: arrays (or Jittor Vars) under upstream's keys.

        Raises:
            WeightsError: lists every missing, unexpected and mis-shaped key; nothing is
                loaded then.
        """
        own = self.state_dict()
        faults = [f"missing {key}" for key in own if key not in params]
        faults += [f"unexpected {key}" for key in params if key not in own]
        faults += [
            f"{key} has shape {tuple(params[key].shape)}, expected {tuple(own[key].shape)}"
            for key in own
            if key in params and (tuple(params[key].shape) or (1,)) != tuple(own[key].shape)
        ]
        if faults:
            shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" * (len(faults) > 8))
            raise WeightsError(f"{len(faults)} weights do not fit {type(self).__name__}: {shown}")
        loaded = []
        for key, parameter in own.items():
            value = params[key]
            value = value.numpy() if isinstance(value, jt.Var) else np.asarray(value)
            value = value.reshape(tuple(parameter.shape))  # Jittor holds scalars as vectors of one
            value = value.astype(str(parameter.dtype), copy=False)
            loaded.append(jt.array(np.ascontiguousarray(value)))
            parameter.update(loaded[-1])
        # Jittor fuses a pending array of one element into its first use, where a broadcast then
        # does not compile: it must be there before. Not one by one: the first `sync` would draw
        # all random weights that are replaced here.
        jt.sync(loaded)


class Lambda(nn.Module):
    """A parameterless step that keeps its slot in a numbered sequence."""

    def __init__(self, function):
        super().__init__()
        self._function = function

    def execute(self, x):
        return self._function(x)


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv:
    """A stride-1 convolution that keeps height and width by zero padding."""
    return nn.Conv(inputs, outputs, kernel, padding=kernel // 2)


def expect(what: str, array, expected: str, *dims: int | None) -> None:
    """Checks a shape.

    Args:
        what: name used in the message.
        array: anything with `.shape`.
        expected: shape in symbols for the message.
        dims: one entry an axis; None accepts any length.

    Raises:
        ShapeError: when it does not match.
    """
    shape = tuple(array.shape)
    if len(shape) != len(dims) or any(d is not None and d != s for d, s in zip(dims, shape)):
        raise ShapeError(what, expected, shape)
