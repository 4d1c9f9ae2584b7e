"""The linear end of the network as one convolution.

Between the last residual block and the picture lie only convolutions and pixel shuffles, so they
compose into one 5x5 convolution at the frames' resolution and one shuffle: a thirty-fifth of the
products, and none of the enlarged feature maps. Zero padding between the layers makes the two
forms differ in the outer two pixels (of the frames), which the layers themselves then compute.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import nn

REACH = 2  # pixels of the frames on each side that an output pixel depends on

Layer = tuple[np.ndarray, np.ndarray]


def composed(ups: Sequence[Layer], outs: Sequence[Layer]) -> Layer:
    """The weights of the one convolution.

    Args:
        ups: weight (4 C, C, 3, 3) and bias of each layer that a shuffle by two follows.
        outs: weight (O, C, 3, 3) and bias of the two layers behind the last shuffle.

    Returns:
        weight (O s s, C, 5, 5) and bias, to be followed by a shuffle by s = 2 ** len(ups).
    """
    (w0, b0), (w1, b1) = ([part.astype(np.float64) for part in layer] for layer in outs)
    # (phase, phase, O, C, 5, 5): what an output takes from the map, by its place in the pixel.
    weight = _then(w1[None, None], w0)
    bias = (b1 + np.einsum("omyx,m->o", w1, b0))[None, None]
    for up, offset in reversed([[part.astype(np.float64) for part in layer] for layer in ups]):
        weight, bias = _unshuffled(weight), np.tile(bias, (2, 2, 1))
        bias = bias + np.einsum("pqomyx,m->pqo", weight, offset)
        weight = _then(weight, up)
    phases, outputs = weight.shape[0], weight.shape[2]
    weight = weight.transpose(2, 0, 1, 3, 4, 5).reshape(outputs * phases**2, *weight.shape[3:])
    return weight.astype(np.float32), bias.transpose(2, 0, 1).ravel().astype(np.float32)


def _then(weight: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(p, p, O, M, 3, 3) behind a convolution (M, C, 3, 3): (p, p, O, C, 5, 5)."""
    phases, _, outputs, middle = weight.shape[:4]
    made = np.zeros((phases, phases, outputs, before.shape[1], 5, 5))
    flat = before.reshape(middle, -1)
    for y in range(3):
        for x in range(3):
            part = weight[..., y, x].reshape(-1, middle) @ flat
            made[..., y:y + 3, x:x + 3] += part.reshape(phases, phases, outputs, -1, 3, 3)
    return made


def _unshuffled(weight: np.ndarray) -> np.ndarray:
    """(p, p, O, C, 5, 5) behind a shuffle by two: (2 p, 2 p, O, 4 C, 3, 3)."""
    phases, _, outputs, channels = weight.shape[:4]
    made = np.zeros((2 * phases, 2 * phases, outputs, channels, 2, 2, 3, 3))
    for half_y in range(2):  # which of a pixel's two finer rows the output lies in
        for half_x in range(2):
            to = made[half_y * phases:(half_y + 1) * phases, half_x * phases:(half_x + 1) * phases]
            for y in range(5):
                for x in range(5):
                    (cy, ry), (cx, rx) = divmod(half_y + y - 2, 2), divmod(half_x + x - 2, 2)
                    to[:, :, :, :, ry, rx, cy + 1, cx + 1] += weight[..., y, x]
    return made.reshape(2 * phases, 2 * phases, outputs, 4 * channels, 3, 3)


def composed_by_impulses(ups: Sequence[nn.Conv], outs: Sequence[nn.Conv]
                         ) -> tuple[jt.Var, jt.Var]:
    """The same weights, differentiable with respect to the layers'.

    They are what the layers make of a pixel of 1 in each channel, on 5x5 pixels, from whose
    borders nothing reaches the middle and beyond which the middle reaches nothing.
    """
    channels, scale, side = outs[0].weight.shape[1], 2 ** len(ups), 2 * REACH + 1
    impulses = np.zeros((channels + 1, channels, side, side), np.float32)
    impulses[range(channels), range(channels), REACH, REACH] = 1
    x = jt.array(impulses)
    for layer in ups:
        x = nn.PixelShuffle(2)(layer(x))
    for layer in outs:
        x = layer(x)
    none, outputs = x[channels], x.shape[1]
    weight = (x[:channels] - none.unsqueeze(0)).reshape(channels, outputs, side, scale, side, scale)
    # An output k pixels behind the impulse sees it k pixels before itself.
    weight = weight[:, :, ::-1, :, ::-1].permute(1, 3, 5, 0, 2, 4)
    near = slice(REACH * scale, (REACH + 1) * scale)
    return weight.reshape(-1, channels, side, side), none[:, near, near].reshape(-1)


def apply(x: jt.Var, weight: jt.Var, bias: jt.Var, scale: int) -> jt.Var:
    """The one convolution and its shuffle; zeros beyond the border."""
    x = nn.conv2d(x, weight, bias, padding=REACH)
    return nn.PixelShuffle(scale)(x) if scale > 1 else x


def strip(x: jt.Var, ups: Sequence[nn.Conv], outs: Sequence[nn.Conv], axis: int,
          far: bool) -> jt.Var:
    """The outer 2 pixels of the picture along one side, by the layers themselves.

    Args:
        x: (N, C, H, W) with at least 4 pixels along `axis` (2 or 3).
        far: at the bottom or right, else at the top or left.

    Returns:
        (N, O, s H, s W) but for `axis`, which has 2 s pixels.
    """
    scale = 2 ** len(ups)
    needed = [REACH * scale + len(outs)]  # pixels of each layer's input that matter
    for _ in ups:
        needed.insert(0, -(-needed[0] // 2) + 1)

    def outer(x: jt.Var, count: int) -> jt.Var:
        cut = slice(-count, None) if far else slice(count)
        return x[:, :, cut] if axis == 2 else x[:, :, :, cut]

    for layer, count in zip(ups, needed):
        x = nn.PixelShuffle(2)(layer(outer(x, count)))
    x = outer(x, needed[-1])
    for layer in outs:
        x = layer(x)
    return outer(x, REACH * scale)
