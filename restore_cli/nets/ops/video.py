"""The video network's convolutions without gradients, as a few CPU operators.

Chains of residual blocks, and all that the flow network does with two pyramids, stay in one
blocked layout from the first layer to the last, and 3x3 convolutions use Winograd's algorithm
F(4x4, 3x3) (Lavin and Gray, CVPR 2016), dilated ones on the phases of their maps. Weights are
transformed once, by `pack`. Results differ from direct convolution by about 1e-6 of their scale.
Nothing but a compiler is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jittor as jt
import numpy as np

from restore_cli.nets.ops import native, unet_operator

GROUP = 16  # as in video.cc: channels are padded to multiples of it
_MARGIN = 32
_SOURCES = ("blocked.cc", "winograd.cc", "motion.cc", "video.cc")

Layer = tuple[np.ndarray, np.ndarray]
"""Weight (outputs, inputs, 3, 3) and bias (outputs,), both multiples of `GROUP`."""

# All weights, one after the other, and their outputs and inputs: one kernel for every network.
_PACK = """
  const float* from = in0_p;
  float* to = restore_video::noted(out0_p);
  for (int64_t i = 0; i < in1_shape0; i++) {
    const int64_t outputs = in1_p[2 * i], inputs = in1_p[2 * i + 1];
    restore_winograd::transform_weights(from, inputs, outputs, false, to);
    from += 9 * inputs * outputs;
    to += 36 * inputs * outputs;
  }
"""
_CHAIN = """
  std::vector<const float*> maps;
  for (size_t i = 2; i < _inputs.size(); i++) maps.push_back(_inputs[i]->ptr<float>());
  restore_video::chain(maps, in2_shape0, in2_shape1, in2_shape2, in2_shape3, out0_shape1,
                       (int64_t)data["blocks"], restore_video::Weights(in0_p, in1_p), out0_p);
"""
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
                        restore_video::Weights(in0_p, in1_p), out0_p);
"""


@dataclass(frozen=True)
class Packed:
    """Layers as the operators take them, in the order in which they run."""

    weights: jt.Var
    biases: jt.Var


@dataclass(frozen=True)
class PackedFlow:
    """A flow network's decoders and refiner.

    Attributes:
        layers: for each level from the coarsest: the dense block, and one layer that makes the
            flow, in channels 0 and 1, and (but on the finest) in channel ``2 + 4 o + 2 y + x``
            the pixel (y, x) of each square of what the next level takes of output o; then the
            refiner. Inputs are the cost volume with flow and features from the coarser level,
            then the first frame's features (but on the coarsest level), then what the block has
            made, each padded to `GROUP`.
        ups: (levels - 1, 66): transposed convolutions (2, 2, 4, 4) of flows and their biases.
        steps: pixels by which flows move on each level but the coarsest.
        widths: int32: how many they are and outputs of the dense block's layers, those of the
            refiner's, and its dilations.
    """

    layers: Packed
    ups: jt.Var
    steps: jt.Var
    widths: jt.Var


def usable() -> bool:
    """Whether the operators can run now; ``RESTORE_FUSED=0`` and ``RESTORE_WINOGRAD=0`` say no."""
    return bool(jt.flags.no_grad and unet_operator.available())


def padded(count: int) -> int:
    """Channels that `count` channels take."""
    return -(-count // GROUP) * GROUP


def layer(weight: np.ndarray, bias: np.ndarray, pieces: Sequence[Sequence[int]]) -> Layer:
    """A layer whose inputs come in several maps.

    Args:
        weight: (outputs, inputs, 3, 3).
        pieces: for each map, which inputs it holds, in its order.
    """
    parts = []
    for piece in pieces:
        part = np.zeros((padded(weight.shape[0]), padded(len(piece)), 3, 3), np.float32)
        part[:weight.shape[0], :len(piece)] = weight[:, list(piece)]
        parts.append(part)
    offset = np.zeros(padded(len(bias)), np.float32)
    offset[:len(bias)] = bias
    return np.concatenate(parts, axis=1), offset


def pack(layers: Sequence[Layer]) -> Packed:
    """Transforms weights, once for all calls."""
    size = _MARGIN + sum(36 * weight.shape[0] * weight.shape[1] for weight, _ in layers)
    flat = jt.array(np.concatenate([weight.ravel() for weight, _ in layers]))
    shapes = jt.array(np.int32([weight.shape[:2] for weight, _ in layers]))
    weights = _code((size,), _PACK, [flat, shapes])
    weights.sync()
    biases = jt.array(np.concatenate([bias for _, bias in layers]))
    return Packed(weights.stop_grad(), biases.stop_grad())


def chain(maps: Sequence[jt.Var], packed: Packed, features: int, blocks: int) -> jt.Var:
    """The sum of convolutions of all maps, then ``x + conv2(relu(conv1(x)))`` for each block.

    Args:
        maps: (N, C, H, W) each.
        packed: a layer for each map, then two for each block.
        features: channels of the result.
        blocks: how many.

    Returns:
        (N, features, H, W).
    """
    shape = (maps[0].shape[0], features, *maps[0].shape[2:])
    return _code(shape, _CHAIN, [packed.weights, packed.biases, *maps], blocks=blocks)


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
    return _code(shape, _DECODE, [packed.layers.weights, packed.layers.biases, packed.ups,
                                  packed.steps, packed.widths, *pairs])


def _code(shape: Sequence[int], source: str, inputs: Sequence[jt.Var], **data: float) -> jt.Var:
    header = "#include <cmath>\n" + "".join(native.source(name) for name in _SOURCES)
    made = jt.code([tuple(shape)], ["float32"], list(inputs), cpu_header=header, cpu_src=source,
                   data=data)
    return made[0] if isinstance(made, (list, tuple)) else made
