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

from restore_cli.nets.ops import precision, unet_operator
from restore_cli.nets.ops.library import Library

GROUP = 16  # as in chain.cc: channels are padded to multiples of it
MARGIN = 32
"""Floats in front of packed weights, so that they begin on a cache line."""
LIBRARY = Library("blocked.cc", "forms.cc", "products.cc", "winograd.cc", "team.cc", "chain.cc",
                  "motion.cc", "chain_team.cc", "video.cc", "video_tail.cc", "video_operators.cc")
"""This module's operators and those of `nets.ops.video`."""

Layer = tuple[np.ndarray, np.ndarray]
"""Weight (outputs, inputs, 3, 3) and bias (outputs,), both multiples of `GROUP`."""


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
    size = MARGIN + (18 if half else 36) * sum(weight.shape[0] * weight.shape[1]
                                                for weight, _ in layers)
    flat = jt.array(np.concatenate([weight.ravel() for weight, _ in layers]))
    shapes = jt.array(np.int32([weight.shape[:2] for weight, _ in layers]))
    weights = LIBRARY.run("pack_chain", [(size,)], [flat, shapes], half=half)[0]
    weights.sync()
    biases = jt.array(np.concatenate([bias for _, bias in layers]))
    return Packed(weights.stop_grad(), biases.stop_grad(), half)


@dataclass(frozen=True, eq=False)
class Moved:
    """A map that is sampled where a flow points to, as by `motion.warp` with `border`.

    Attributes:
        x: (N, C, H, W).
        flow: (N, 2, h, w).
        valid, frame, source, target: as there, but for `source` the same in all maps of a chain.
    """

    x: jt.Var
    flow: jt.Var
    valid: float
    frame: tuple[int, int]
    source: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (0, 0)

    def sync(self) -> None:
        """Computes what it is made from."""
        self.x.sync()


def chain(maps: Sequence[jt.Var | Moved], packed: Packed, features: int, blocks: int) -> jt.Var:
    """The sum of convolutions of all maps, then ``x + conv2(relu(conv1(x)))`` for each block.

    Args:
        maps: (N, C, h, w) each.
        packed: a layer for each map, then two for each block.
        features: channels of the result.
        blocks: how many.

    Returns:
        (N, features, h, w).
    """
    moved: list[Moved] = []
    whole, places = [], np.zeros((len(maps), 3), np.int32)
    for place, one in zip(places, maps, strict=True):
        if isinstance(one, Moved):
            place[:] = len(maps) + len(moved), *one.source
            moved.append(one)
        whole.append(one.x if isinstance(one, Moved) else one)
    some = moved[0] if moved else Moved(whole[0], whole[0], 0.0, (0, 0))
    size = some.flow.shape[2:]
    return LIBRARY.run(
        "chain", [(whole[0].shape[0], features, *size)],
        [packed.weights, packed.biases, jt.array(places), *whole, *(one.flow for one in moved)],
        blocks=blocks, half=packed.half, valid=some.valid, frame_height=some.frame[0],
        frame_width=some.frame[1], target_top=some.target[0], target_left=some.target[1])[0]
