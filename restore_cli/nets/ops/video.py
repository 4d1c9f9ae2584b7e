"""The video network's flow decoders and its linear end without gradients, as CPU operators.

All that the flow network does with two pyramids stays in one blocked layout from the first layer
to the last, as in `nets.ops.chain`; dilated convolutions work on the phases of their maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jittor as jt
import numpy as np

from restore_cli.nets.ops import chain
from restore_cli.nets.ops.chain import Packed


@dataclass(frozen=True)
class PackedFlow:
    """A flow network's decoders and refiner.

    Attributes:
        layers: for each level from the coarsest: the dense block, and one layer that makes the
            flow, in channels 0 and 1, and (but on the finest) in channel ``2 + 4 o + 2 y + x``
            the pixel (y, x) of each square of what the next level takes of output o; then the
            refiner. Inputs are the cost volume with flow and features from the coarser level,
            then the first frame's features (but on the coarsest level), then what the block has
            made, each padded to `chain.GROUP`.
        ups: (levels - 1, 66): transposed convolutions (2, 2, 4, 4) of flows and their biases.
        steps: pixels by which flows move on each level but the coarsest.
        widths: int32: how many they are and outputs of the dense block's layers, those of the
            refiner's, and its dilations.
    """

    layers: Packed
    ups: jt.Var
    steps: jt.Var
    widths: jt.Var


def decode(first: Sequence[jt.Var], second: Sequence[jt.Var], packed: PackedFlow) -> jt.Var:
    """Flow of the finest level, refined, from pyramids.

    Args:
        first, second: features (N, C, H, W) of each level, finest first, each half as large as
            the one before. The first may be one image that all pairs share.

    Returns:
        (N, 2, H, W) as the finest level.
    """
    shape = (second[0].shape[0], 2, *second[0].shape[2:])
    pairs = [part for both in zip(first, second, strict=True) for part in both]
    return chain.LIBRARY.run(
        "decode_flow", [shape], [packed.layers.weights, packed.layers.biases, packed.ups,
                                 packed.steps, packed.widths, *pairs], half=packed.layers.half)[0]


@dataclass(frozen=True)
class PackedTail:
    """The network's linear end, composed into one 5x5 convolution.

    Attributes:
        inside: its transformed weights; the pixel shuffle's channels are padded to `chain.GROUP`.
        bias: of these.
        rim, rim_bias: the convolutions of the outermost pixels, see `pack_tail`.
        outputs: channels that are no padding.
    """

    inside: jt.Var
    bias: jt.Var
    rim: jt.Var
    rim_bias: jt.Var
    outputs: int


def pack_tail(inside: chain.Layer, rim: Sequence[chain.Layer]) -> PackedTail:
    """Transforms the weights of `enlarge`, once for all calls.

    Args:
        inside: weight (O s s, C, 5, 5) and bias.
        rim: the same for the picture's outermost pixels, from the top left corner to the bottom
            right one line by line, without the taps that would read beyond the picture.
    """
    weights, biases = [], []
    for weight, bias in (inside, *rim):
        outputs, inputs, height, width = weight.shape
        made = np.zeros((chain.padded(inputs), height, width, chain.padded(outputs)), np.float32)
        made[:inputs, ..., :outputs] = weight.transpose(1, 2, 3, 0)
        weights.append(made)
        biases.append(np.pad(bias, (0, made.shape[3] - outputs)).astype(np.float32))
    size = chain.MARGIN + 36 * weights[0].shape[0] * weights[0].shape[3]
    packed = chain.LIBRARY.run("pack_tail", [(size,)], [jt.array(weights[0])])[0]
    packed.sync()
    around = [made.transpose(1, 2, 0, 3).ravel() for made in weights[1:]]
    return PackedTail(packed.stop_grad(), *(jt.array(part).stop_grad() for part in (
        biases[0], np.concatenate(around), np.concatenate(biases[1:]))), inside[0].shape[0])


def enlarge(x: jt.Var, packed: PackedTail, ends: Sequence[bool], frame: jt.Var) -> jt.Var:
    """The picture from what the residual blocks lead to.

    Args:
        x: (N, C, H, W), sides of at least 4; the picture or a tile of it.
        ends: whether the picture ends at the top, bottom, left and right of `x`; where it does
            not, the outer 2 pixels of `x` are wrong in the result.
        frame: (N, O, H, W), enlarged bilinearly and added.

    Returns:
        (N, O, s H, s W).
    """
    scale = math.isqrt(packed.outputs // frame.shape[1])
    shape = (*frame.shape[:2], scale * x.shape[2], scale * x.shape[3])
    sides = dict(zip(("top", "bottom", "left", "right"), ends, strict=True))
    return chain.LIBRARY.run("enlarge_picture", [shape], [
        packed.inside, packed.bias, packed.rim, packed.rim_bias, x, frame], scale=scale,
        **sides)[0]
