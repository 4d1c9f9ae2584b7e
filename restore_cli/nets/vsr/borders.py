"""The linear end of the network at the picture's borders, composed as `tail` does it inside.

Layers see zeros beyond the border, which one convolution does not: the frames' outermost pixels
are the only ones where that makes a difference. On each side and in each corner they have a
composed convolution of their own, which leaves out what lies outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.vsr.tail import REACH, Layer

_FIRST, _INSIDE, _LAST = -1, 0, 1
_PLACES = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


class Borders:
    """The convolutions of a tail.

    Args:
        ups, outs: as for `tail.composed`.

    Attributes:
        weights: weight and bias by row and column, first (-1), inside (0) or last (1), without
            the taps that would read beyond the border; all but that of the inside.
    """

    def __init__(self, ups: Sequence[Layer], outs: Sequence[Layer]):
        self.weights: dict[tuple[int, int], tuple[jt.Var, jt.Var]] = {}
        for (row, column), (weight, bias) in composed(ups, outs).items():
            weight = np.ascontiguousarray(weight[:, :, _seen(row)][..., _seen(column)])
            self.weights[row, column] = jt.array(weight).stop_grad(), jt.array(bias).stop_grad()

    def put(self, x: jt.Var, made: jt.Var, ends: Sequence[bool]) -> jt.Var:
        """Corrects the outermost pixels of the result of the convolution inside.

        Args:
            x: (N, C, H, W), sides of at least 4.
            made: (N, O s s, H, W).
            ends: whether the picture ends at the top, bottom, left and right of `x`.
        """
        top, bottom, left, right = ends
        made = self._row(x, made, _INSIDE, left, right)
        lines = []
        for row, ended in ((_FIRST, top), (_LAST, bottom)):
            if ended:
                near = _near(x, row, 2)
                line = nn.conv2d(near, *self.weights[row, _INSIDE], padding=(0, REACH))
                lines.append(self._row(near, line, row, left, right))
        if not lines:
            return made
        rest = made[:, :, int(top):made.shape[2] - int(bottom)]
        return jt.concat([*lines[:top], rest, *lines[top:]], dim=2)

    def _row(self, x: jt.Var, made: jt.Var, row: int, left: bool, right: bool) -> jt.Var:
        """Rows of the result with their first and last pixels corrected."""
        parts = [made[:, :, :, int(left):made.shape[3] - int(right)]]
        padding = (0 if row else REACH, 0)
        for column, ended in ((_FIRST, left), (_LAST, right)):
            if ended:
                part = nn.conv2d(_near(x, column, 3), *self.weights[row, column], padding=padding)
                parts.insert(0 if column == _FIRST else len(parts), part)
        return jt.concat(parts, dim=3) if len(parts) > 1 else parts[0]


def _seen(side: int) -> slice:
    """The taps of a composed convolution that lie inside."""
    return {_FIRST: slice(REACH, None), _INSIDE: slice(None), _LAST: slice(REACH + 1)}[side]


def _near(x: jt.Var, side: int, axis: int) -> jt.Var:
    cut = slice(REACH + 1) if side == _FIRST else slice(-REACH - 1, None)
    return x[:, :, cut] if axis == 2 else x[:, :, :, cut]


def composed(ups: Sequence[Layer], outs: Sequence[Layer]) -> dict[tuple[int, int], Layer]:
    """As `tail.composed`, for pixels in the first (-1) or last (1) row or column.

    Returns:
        by row and column (0: neither), but for the inside: weight (O s s, C, 5, 5), zero where
        it would see what is outside, and bias.
    """
    (last, last_bias), *before = outs[1], outs[0], *reversed(ups)
    scale, outputs = 2 ** len(ups), last.shape[0]
    # (place, phase, phase, O, M, taps, taps): each of a pixel's outputs, from the map before.
    shape = len(_PLACES), scale, scale, *last.shape
    weight = np.broadcast_to(last, shape).astype(np.float32)
    bias = np.broadcast_to(last_bias, shape[:4]).astype(np.float32)
    side = scale  # pixels of that map to one of the frames
    for index, (kernel, offset) in enumerate(before):
        if index:  # there is a shuffle by two behind this convolution
            weight, side = _unshuffled(weight, side), side // 2
        weight = weight * _kept(scale, side)[:, :, :, None, None]
        bias = bias + np.einsum("cpqomyx,m->cpqo", weight, offset)
        # A convolution behind another one is a transposed convolution of its kernel.
        flat = jt.array(weight.reshape(-1, *weight.shape[4:]))
        made = nn.conv_transpose(flat, jt.array(kernel)).numpy()
        weight = made.reshape(*shape[:4], *made.shape[1:])
    weight = weight.transpose(0, 3, 1, 2, 4, 5, 6).reshape(
        len(_PLACES), outputs * scale**2, *weight.shape[4:])
    bias = bias.transpose(0, 3, 1, 2).reshape(len(_PLACES), -1)
    return {place: (weight[i], bias[i]) for i, place in enumerate(_PLACES)}


def _kept(scale: int, side: int) -> np.ndarray:
    """(places, s, s, 3, 3): 0 for taps beyond the border, where a layer's result counts as 0."""
    place = (np.arange(scale) * side // scale)[:, None] + np.arange(3) - 1
    kept = {_FIRST: place >= 0, _INSIDE: place == place, _LAST: place < side}
    return np.stack([kept[row][:, None, :, None] & kept[column][None, :, None, :]
                     for row, column in _PLACES]).astype(np.float32)


def _unshuffled(weight: np.ndarray, side: int) -> np.ndarray:
    """(..., s, s, O, C, 5, 5) behind a shuffle by two, to `side` pixels: (..., O, 4 C, 3, 3)."""
    places, scale, _, outputs, channels, taps, _ = weight.shape
    made = np.zeros((places, scale, scale, outputs, channels, 2, 2, 3, 3), np.float32)
    for i in range(scale):
        for j in range(scale):
            y0, x0 = i * side // scale, j * side // scale
            for y in range(taps):
                for x in range(taps):
                    (cy, ry), (cx, rx) = divmod(y0 + y - REACH, 2), divmod(x0 + x - REACH, 2)
                    made[:, i, j, :, :, ry, rx, cy - y0 // 2 + 1, cx - x0 // 2 + 1] += weight[
                        :, i, j, :, :, y, x]
    return made.reshape(places, scale, scale, outputs, 4 * channels, 3, 3)
