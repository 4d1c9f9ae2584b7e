"""Correlation and warping, the two operations of the network that are no convolutions.

Positions are pixels: with flow 0 every pixel samples itself (PyTorch's `align_corners=True`,
whichever size the frame has; PyTorch's own default moves the samples).
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Place:
    """Where windows of a frame lie in it, for work by tiles.

    Attributes:
        frame: height and width of the frame.
        source: row and column of the sampled map's first pixel.
        target: the same of the flow and of the result.
    """

    frame: tuple[int, int]
    source: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (0, 0)


def warp(x: jt.Var, flow: jt.Var, border: bool, place: Place | None = None) -> jt.Var:
    """Samples each pixel of `x` where the flow points to, bilinearly; differentiable.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, h, w), pixels to the right and down.
        border: what lies outside the frame is the nearest pixel of its border; else zero.
        place: of `x` and `flow` in the frame, else both are all of it. All that the flow points
            to, and the pixel around that, must be in `x`, or end with the frame.

    Returns:
        (N, C, h, w); 0 wherever more than a thousandth of a sample's weight lies outside the
        frame (the validity mask; no gradient goes through it).
    """
    expect("x", x, "(N, C, H, W)", None, None, None, None)
    if place is None:
        expect("flow", flow, "(N, 2, H, W) of x", x.shape[0], 2, *x.shape[2:])
        place = Place((x.shape[2], x.shape[3]))
    expect("flow", flow, "(N, 2, h, w)", x.shape[0], 2, None, None)
    if motion.usable():
        return motion.warp(x, flow, border, VALID, place.frame, place.source, place.target)
    return warp_plain(x, flow, border, place)


def valid(flow: jt.Var, place: Place | None = None) -> jt.Var:
    """The mask of `warp`, (N, 1, h, w): 1 where a sample is valid, else 0."""
    place = place or Place((flow.shape[2], flow.shape[3]))
    column, row = _positions(flow, place)
    share = _inside(column, place.frame[1]) * _inside(row, place.frame[0])
    return (share >= VALID).float32().unsqueeze(1)


def warp_plain(x: jt.Var, flow: jt.Var, border: bool, place: Place | None = None) -> jt.Var:
    """`warp` in Jittor operators."""
    place = place or Place((x.shape[2], x.shape[3]))
    (height, width), (top, left) = place.frame, place.source
    column, row = _positions(flow, place)
    margin = 0 if border else 2  # beyond that, all that can be sampled is zero
    column = column.clamp(-margin, width - 1 + margin)
    row = row.clamp(-margin, height - 1 + margin)
    x0, y0 = column.floor().stop_grad(), row.floor().stop_grad()
    shape, total = [*x.shape[:2], *flow.shape[2:]], None
    for dy, wy in ((0, 1 + y0 - row), (1, row - y0)):
        for dx, wx in ((0, 1 + x0 - column), (1, column - x0)):
            corner = x.reindex(shape, ["i0", "i1", "@e0(i0,i2,i3)", "@e1(i0,i2,i3)"],
                               extras=[y0.int32() + (dy - top), x0.int32() + (dx - left)])
            part = corner * (wy * wx).unsqueeze(1)
            total = part if total is None else total + part
    return total * valid(flow, place).stop_grad()


def _positions(flow: jt.Var, place: Place) -> tuple[jt.Var, jt.Var]:
    shape, (top, left) = (flow.shape[0], flow.shape[2], flow.shape[3]), place.target
    return ((jt.index(shape, 2) + left).float32() + flow[:, 0],
            (jt.index(shape, 1) + top).float32() + flow[:, 1])


def _inside(position: jt.Var, size: int) -> jt.Var:
    """How much of a sample's weight along one axis lies on its `size` pixels."""
    return jt.minimum(position + 1, size - position).clamp(0, 1)
