"""Correlation and warping of feature maps as CPU operators, with gradients.

In Jittor's own operators the first is a product of 81 shifted maps and the second four gathers,
both by single-threaded kernels. Here a row's sums stay in registers, and what a sample reads is
worked out once for all channels. Nothing but a compiler is needed.
"""

from __future__ import annotations

import os
import sys

import jittor as jt

from restore_cli.nets.ops.library import Library

SHIFTS = 81
_LIBRARY = Library("blocked.cc", "motion.cc", "motion_operators.cc")


def usable() -> bool:
    """Whether the operators can run now: on a CPU, GCC or Clang, not ``RESTORE_FUSED=0``."""
    return bool(not jt.flags.use_cuda and sys.platform != "win32"
                and os.environ.get("RESTORE_FUSED") != "0")


def correlation(first: jt.Var, second: jt.Var) -> jt.Var:
    """See `nets.vsr.warp.correlation`; (N, C, H, W) each, of one shape."""
    return _Correlation.apply(first, second)


def warp(x: jt.Var, flow: jt.Var, border: bool, valid: float, frame: tuple[int, int],
         source: tuple[int, int] = (0, 0), target: tuple[int, int] = (0, 0)) -> jt.Var:
    """See `nets.vsr.warp.warp`; `valid` is the least share of a sample's weight inside."""
    return _Warp.apply(x, flow, {
        "border": int(border), "valid": valid, "top": source[0], "left": source[1],
        "frame_height": frame[0], "frame_width": frame[1], "target_top": target[0],
        "target_left": target[1]})


class _Correlation(jt.Function):
    def execute(self, first, second):
        self._saved = first.detach(), second.detach()
        count, _, height, width = first.shape
        return _LIBRARY.run("correlate", [(count, SHIFTS, height, width)], [first, second])[0]

    def grad(self, grad):
        first, second = self._saved
        return tuple(_LIBRARY.run("correlate_gradients", [first.shape, first.shape],
                                  [first, second, grad.detach()]))


class _Warp(jt.Function):
    def execute(self, x, flow, rule):
        self._saved, self._rule = (x.detach(), flow.detach()), rule
        return _LIBRARY.run("warp", [(*x.shape[:2], *flow.shape[2:])], [x, flow], **rule)[0]

    def grad(self, grad):
        x, flow = self._saved
        return (*_LIBRARY.run("warp_gradients", [x.shape, flow.shape], [x, flow, grad.detach()],
                              **self._rule), None)
