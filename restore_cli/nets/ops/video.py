"""The video network's flow decoders without gradients, as one CPU operator.

All that the flow network does with two pyramids stays in one blocked layout from the first layer
to the last, as in `nets.ops.chain`; dilated convolutions work on the phases of their maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jittor as jt

from restore_cli.nets.ops import chain
from restore_cli.nets.ops.chain import Packed

_SOURCES = ("motion.cc", "video.cc")

# Packed weights, biases, transposed convolutions, steps, widths; then two maps a level.
_DECODE = """
  std::vector<int64_t> lists[3];
  const int* number = in4_p;
  for (auto& list : lists)
    for (int left = *number++; left; left--) list.push_back(*number++);
  std::vector<restore_video::Level> levels;
  for (size_t i = 5; i < _inputs.size(); i += 2) {
    auto *one = _inputs[i], *two = _inputs[i + 1];
    levels.push_back({one->ptr<float>(), two->ptr<float>(), one->shape[0], two->shape[1],
                      two->shape[2], two->shape[3]});
  }
  restore_video::decode(levels, out0_shape0, lists[0], lists[1], lists[2], in2_p, in3_p,
                        restore_chain::Weights(in0_p, in1_p, data["half"] != 0), out0_p);
"""


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
    return chain.code(shape, _DECODE, [packed.layers.weights, packed.layers.biases, packed.ups,
                                       packed.steps, packed.widths, *pairs], _SOURCES,
                      half=packed.layers.half)
