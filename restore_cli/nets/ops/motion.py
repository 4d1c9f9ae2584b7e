"""Correlation and warping of feature maps as CPU operators, with gradients.

In Jittor's own operators the first is a product of 81 shifted maps and the second four gathers,
both by single-threaded kernels. Here a row's sums stay in registers, and what a sample reads is
worked out once for all channels. Nothing but a compiler is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import jittor as jt

from restore_cli.nets.ops import native

SHIFTS = 81
_SOURCES = ("blocked.cc", "motion.cc")
_SIZE = """
  using namespace restore_motion;
  const Size size = {in0_shape0, in0_shape1, in0_shape2, in0_shape3};
"""
_CORRELATE = _SIZE + "correlate(size, in0_p, in1_p, out0_p);"
_CORRELATE_GRADIENTS = _SIZE + "correlate_gradients(size, in2_p, in0_p, in1_p, out0_p, out1_p);"
_PLACE = """
  using namespace restore_motion;
  auto told = [&](const char* name) { return (int64_t)data[name]; };
  const Warp call = {
      in0_shape0, in0_shape1, in1_shape2, in1_shape3, in0_shape2, in0_shape3, told("top"),
      told("left"), told("frame_height"), told("frame_width"), told("target_top"),
      told("target_left"), told("border") != 0, (float)data["valid"]};
"""
_WARP = _PLACE + "warp(call, in0_p, in1_p, out0_p);"
_WARP_GRADIENTS = _PLACE + "warp_gradients(call, in2_p, in0_p, in1_p, out0_p, out1_p);"


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
        return _code([(count, SHIFTS, height, width)], _CORRELATE, [first, second])[0]

    def grad(self, grad):
        first, second = self._saved
        return tuple(_code([first.shape, first.shape], _CORRELATE_GRADIENTS,
                           [first, second, grad.detach()]))


class _Warp(jt.Function):
    def execute(self, x, flow, rule):
        self._saved, self._rule = (x.detach(), flow.detach()), rule
        return _code([(*x.shape[:2], *flow.shape[2:])], _WARP, [x, flow], **rule)[0]

    def grad(self, grad):
        x, flow = self._saved
        return (*_code([x.shape, flow.shape], _WARP_GRADIENTS, [x, flow, grad.detach()],
                       **self._rule), None)


def _code(shapes: Sequence[Sequence[int]], source: str, inputs: Sequence[jt.Var],
          **data: Any) -> list[jt.Var]:
    header = "#include <cmath>\n" + "".join(native.source(name) for name in _SOURCES)
    made = jt.code([tuple(shape) for shape in shapes], ["float32"] * len(shapes), list(inputs),
                   cpu_header=header, cpu_src=source, data=data)
    return list(made) if isinstance(made, (list, tuple)) else [made]
