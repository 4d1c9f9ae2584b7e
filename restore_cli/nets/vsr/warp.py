"""Correlation and warping, the two operations of the network that are no convolutions.

Positions are pixels: with flow 0 every pixel samples itself (PyTorch's `align_corners=True`,
whichever size the frame has; PyTorch's own default moves the samples).
"""

from __future__ import annotations

import jittor as jt

from restore_cli.nets.base import expect
from restore_cli.nets.ops import motion
from restore_cli.nets.vsr.shapes import REACH, SHIFTS

VALID = 0.999  # a sample counts when that much of its weight lies inside the frame


def correlation(first: jt.Var, second: jt.Var) -> jt.Var:
    """Cost volume of PWC-Net (Sun et al., CVPR 2018, section 3); differentiable.

    Args:
        first, second: features (N, C, H, W).

    Returns:
        (N, 81, H, W): channel ``9 (dy + 4) + dx + 4`` is the mean over channels of the product
        of `first` with `second` `dy` rows down and `dx` columns right, zero outside.
    """
    expect("first", first, "(N, C, H, W)", None, None, None, None)
    expect("second", second, "the shape of first", *first.shape)
    form = motion.correlation if motion.usable() else correlation_plain
    return form(first, second)


def correlation_plain(first: jt.Var, second: jt.Var) -> jt.Var:
    """`correlation` in Jittor operators, which fuse into one kernel."""
    count, channels, height, width = first.shape
    shape, side = [count, SHIFTS, channels, height, width], 2 * REACH + 1
    here = first.reindex(shape, ["i0", "i2", "i3", "i4"])
    there = second.reindex(shape, ["i0", "i2", f"i3+i1/{side}-{REACH}", f"i4+i1%{side}-{REACH}"])
    return (here * there).sum(2) / channels


def warp(x: jt.Var, flow: jt.Var, border: bool) -> jt.Var:
    """Samples each pixel of `x` where the flow points to, bilinearly; differentiable.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, H, W), pixels to the right and down.
        border: what lies outside is the nearest pixel of the border; else zero.

    Returns:
        (N, C, H, W); 0 wherever more than a thousandth of a sample's weight lies outside (the
        validity mask; no gradient goes through it).
    """
    expect("x", x, "(N, C, H, W)", None, None, None, None)
    expect("flow", flow, "(N, 2, H, W) of x", x.shape[0], 2, *x.shape[2:])
    if motion.usable():
        return motion.warp(x, flow, border, VALID)
    return warp_plain(x, flow, border)


def valid(flow: jt.Var) -> jt.Var:
    """The mask of `warp`, (N, 1, H, W): 1 where a sample is valid, else 0."""
    column, row = _positions(flow)
    share = _inside(column, flow.shape[3]) * _inside(row, flow.shape[2])
    return (share >= VALID).float32().unsqueeze(1)


def warp_plain(x: jt.Var, flow: jt.Var, border: bool) -> jt.Var:
    """`warp` in Jittor operators."""
    height, width = x.shape[2:]
    column, row = _positions(flow)
    margin = 0 if border else 2  # beyond that, all that can be sampled is zero
    column = column.clamp(-margin, width - 1 + margin)
    row = row.clamp(-margin, height - 1 + margin)
    left, top = column.floor().stop_grad(), row.floor().stop_grad()
    total = None
    for dy, wy in ((0, 1 + top - row), (1, row - top)):
        for dx, wx in ((0, 1 + left - column), (1, column - left)):
            corner = x.reindex(list(x.shape), ["i0", "i1", "@e0(i0,i2,i3)", "@e1(i0,i2,i3)"],
                               extras=[top.int32() + dy, left.int32() + dx])
            part = corner * (wy * wx).unsqueeze(1)
            total = part if total is None else total + part
    return total * valid(flow).stop_grad()


def _positions(flow: jt.Var) -> tuple[jt.Var, jt.Var]:
    shape = (flow.shape[0], flow.shape[2], flow.shape[3])
    return (jt.index(shape, 2).float32() + flow[:, 0], jt.index(shape, 1).float32() + flow[:, 1])


def _inside(position: jt.Var, size: int) -> jt.Var:
    """How much of a sample's weight along one axis lies on its `size` pixels."""
    return jt.minimum(position + 1, size - position).clamp(0, 1)
