"""Chains of 3x3 convolutions without gradients, in one blocked layout from first to last.

Convolutions use Winograd's algorithm F(4x4, 3x3) (Lavin and Gray, CVPR 2016). Weights are
transformed once, by `pack`. Results differ from direct convolution by about 1e-6 of their scale.
Nothing but a compiler is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jittor as jt
import numpy as np

from restore_cli.nets.ops import native, precision, unet_operator

GROUP = 16  # as in chain.cc: channels are padded to multiples of it
_MARGIN = 32
_SOURCES = ("blocked.cc", "forms.cc", "products.cc", "winograd.cc", "chain.cc")

Layer = tuple[np.ndarray, np.ndarray]
"""Weight (outputs, inputs, 3, 3) and bias (outputs,), both multiples of `GROUP`."""

# All weights, one after the other, and their outputs and inputs: one kernel for every network.
_PACK = """
  const float* from = in0_p;
  float* to = restore_chain::noted(out0_p);
  for (int64_t i = 0; i < in1_shape0; i++) {
    const int64_t outputs = in1_p[2 * i], inputs = in1_p[2 * i + 1];
    restore_winograd::transform_weights(from, inputs, outputs, false, to, data["half"] != 0);
    from += 9 * inputs * outputs;
    to += (data["half"] ? 18 : 36) * inputs * outputs;
  }
"""
_CHAIN = """
  std::vector<const float*> maps;
  for (size_t i = 2; i < _inputs.size(); i++) maps.push_back(_inputs[i]->ptr<float>());
  restore_chain::chain(maps, in2_shape0, in2_shape1, in2_shape2, in2_shape3, out0_shape1,
                       (int64_t)data["blocks"],
                       restore_chain::Weights(in0_p, in1_p, data["half"] != 0), out0_p);
"""


@dataclass(frozen=True)
class Packed:
    """Layers as the operators take them, in the order in which they run.

    half: products are taken in bfloat16.
    """

    weights: jt.Var
    biases: jt.Var
    half: bool


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
    """Transforms weights, once for all calls, for the precision that is now in use."""
    half = precision.half()
    size = _MARGIN + (18 if half else 36) * sum(weight.shape[0] * weight.shape[1]
                                                for weight, _ in layers)
    flat = jt.array(np.concatenate([weight.ravel() for weight, _ in layers]))
    shapes = jt.array(np.int32([weight.shape[:2] for weight, _ in layers]))
    weights = code((size,), _PACK, [flat, shapes], half=half)
    weights.sync()
    biases = jt.array(np.concatenate([bias for _, bias in layers]))
    return Packed(weights.stop_grad(), biases.stop_grad(), half)


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
    return code(shape, _CHAIN, [packed.weights, packed.biases, *maps], blocks=blocks,
                half=packed.half)


def code(shape: Sequence[int], source: str, inputs: Sequence[jt.Var], more: Sequence[str] = (),
         **data: float) -> jt.Var:
    """One operator that makes a float32 array of this shape.

    Args:
        source: its C++ statements.
        more: C++ files of this package that they need beside those of chains.
        data: numbers that the statements find in ``data``.
    """
    header = "#include <cmath>\n" + "".join(native.source(name) for name in (*_SOURCES, *more))
    made = jt.code([tuple(shape)], ["float32"], list(inputs), cpu_header=header, cpu_src=source,
                   data={key: float(value) for key, value in data.items()})
    return made[0] if isinstance(made, (list, tuple)) else made
