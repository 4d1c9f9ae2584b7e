"""The video network ready for a whole film: equal to `Vsr`, with all preparation done once.

Weights are transformed and composed when it is made; it does not see later changes. Where the
operators of `nets.ops` cannot run, the network's own parts do the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.ops import chain, video
from restore_cli.nets.ops.chain import Layer, Moved
from restore_cli.nets.ops.video import PackedFlow, PackedTail
from restore_cli.nets.vsr import borders, pwc, shapes, tail
from restore_cli.nets.vsr.model import Vsr
from restore_cli.nets.vsr.pwc import Pyramid
from restore_cli.nets.vsr.warp import VALID, Place, warp


class Quick:
    """A network that will not change, without gradients.

    Args:
        network: with the weights to use.

    Attributes:
        fused: the operators of `nets.ops.chain` and `nets.ops.video` do the work.
    """

    def __init__(self, network: Vsr):
        self._network, self._config = network, network._config
        feat = range(self._config["n_feat"])
        with jt.no_grad():
            self._tail = network.compose_tail()
            ups, outs = ([(part.weight.numpy(), part.bias.numpy()) for part in layers]
                         for layers in network._tail_layers())
            self._borders = borders.Borders(ups, outs)
            self.fused = chain.usable()
            if not self.fused:
                return
            frame = _layer(network.in_conv[0], [range(self._config["n_colors"])])
            self._features = chain.pack([frame, *_blocks(network.extra_feat, feat)])
            self._body = chain.pack([*_shares(network.fusion_conv[0], feat),
                                     *_blocks(network.recons_net, feat)])
            self._flow = pack_flow(network.flow_net.moduleNetwork, self._config)
            self._packed_tail = _pack_tail(self.tail_weights())

    def tail_weights(self) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """The composed tail as in `Borders.weights`, with that of the inside."""
        found = {(0, 0): (self._tail.weight, self._tail.bias), **self._borders.weights}
        return {at: (weight.numpy(), bias.numpy()) for at, (weight, bias) in found.items()}

    def features(self, frame: jt.Var) -> jt.Var:
        """As `Vsr.features`."""
        if not self.fused:
            return self._network.features(frame)
        return chain.chain([frame], self._features, self._config["n_feat"],
                           self._config["extra_RBS"])

    def between(self, first: Pyramid, second: Sequence[Pyramid]) -> jt.Var:
        """Flow (N, 2, H, W) from one frame to each of N others."""
        network = self._network.flow_net.moduleNetwork
        others = tuple(parts[0] if len(parts) == 1 else jt.concat(list(parts), dim=0)
                       for parts in zip(*(one.levels for one in second), strict=True))
        if self.fused:
            return network.scaled(video.decode(first.levels, others, self._flow), first.size)
        repeated = tuple(jt.concat([level] * len(second), dim=0) for level in first.levels)
        return network.between(Pyramid(repeated, first.size), Pyramid(others, first.size))

    def moved(self, x: jt.Var, flow: jt.Var, place: Place | None = None) -> jt.Var | Moved:
        """A frame's features where the flow points to, for `body`; arguments as of `warp`."""
        place = place or Place(tuple(x.shape[2:]))
        if self.fused and tuple(flow.shape[2:]) == tuple(place.frame):
            return Moved(x, flow, VALID, place.frame, place.source)
        return warp(x, flow, True, place)  # of a tile; what it is made from may be larger

    def body(self, moved: Sequence[jt.Var | Moved]) -> jt.Var:
        """Features (N, C, h, w) of a window, all but the middle ones from `moved`, to what the
        tail takes."""
        if not self.fused:
            return self._network.recons_net(self._network.combine(moved))
        return chain.chain(moved, self._body, self._config["n_feat"], self._config["recons_RBS"])

    def picture(self, x: jt.Var, frame: jt.Var, ends: tuple[bool, bool, bool, bool] = (True,) * 4
                ) -> jt.Var:
        """The enlarged frame from what `body` leads to and the frame (N, 3, H, W) itself."""
        if self.fused and min(x.shape[2:]) >= 2 * tail.REACH:
            return video.enlarge(x, self._packed_tail, ends, frame)
        return self.detail(x, ends) + self._network.base(frame)

    def detail(self, x: jt.Var, ends: tuple[bool, bool, bool, bool] = (True,) * 4) -> jt.Var:
        """As `Vsr.quick_tail`, by composed convolutions at the borders too."""
        if min(x.shape[2:]) < 2 * tail.REACH:
            return self._network.quick_tail(x, self._tail, ends)
        made = nn.conv2d(x, self._tail.weight, self._tail.bias, padding=tail.REACH)
        made = self._borders.put(x, made, ends)
        return nn.PixelShuffle(self._network.scale)(made) if self._network.scale > 1 else made


def _pack_tail(weights: dict[tuple[int, int], Layer]) -> PackedTail:
    """From `Quick.tail_weights`."""
    return video.pack_tail(weights[0, 0], [weights[row, column] for row in (-1, 0, 1)
                                           for column in (-1, 0, 1) if row or column])


def _layer(conv: nn.Conv, pieces: Sequence[Sequence[int]]) -> Layer:
    return chain.layer(conv.weight.numpy(), conv.bias.numpy(), pieces)


def _shares(conv: nn.Conv, feat: range) -> list[Layer]:
    """The convolution of all frames' features, frame by frame; the first has the bias."""
    weight, bias = conv.weight.numpy(), conv.bias.numpy()
    return [chain.layer(weight[:, start:start + len(feat)], bias if not start else 0 * bias,
                        [feat]) for start in range(0, weight.shape[1], len(feat))]


def _blocks(trunk: nn.Sequential, feat: range) -> list[Layer]:
    return [_layer(conv, [feat]) for block in trunk for conv in (block.conv1, block.conv2)]


def pack_flow(network: pwc.FlowNetwork, config: dict) -> PackedFlow:
    """A flow network's decoders and refiner for `nets.ops.video.decode`."""
    dense, layers, ups, steps = config["flow_dense"], [], [], []
    names = list(shapes.LEVELS[shapes.FIRST:])
    pieces: list[Sequence[int]] = []
    for name in reversed(names):
        decoder, level = getattr(network, f"module{name}"), shapes.LEVELS.index(name)
        inputs = shapes.decoder_inputs(config, level)
        for place, part in enumerate(shapes.LEVELS[:-1]):
            pieces = _pieces(inputs, dense[:place])
            layers.append(_layer(getattr(decoder, f"module{part}")[0], pieces))
        pieces = _pieces(inputs, dense)
        six = decoder.moduleSix[0]
        weight, bias = six.weight.numpy(), six.bias.numpy()
        if name != names[0]:
            finer = getattr(network, f"module{names[names.index(name) - 1]}")
            more, offset = _as_phases(finer.moduleUpfeat)
            weight, bias = np.concatenate([weight, more]), np.concatenate([bias, offset])
            ups.append(np.concatenate([finer.moduleUpflow.weight.numpy().ravel(),
                                       finer.moduleUpflow.bias.numpy()]))
            steps.append(finer._step)
        layers.append(chain.layer(weight, bias, pieces))
    for place, conv in enumerate(list(network.moduleRefiner.moduleMain)[::2]):
        layers.append(_layer(conv, pieces if not place else [range(conv.weight.shape[1])]))
    widths = [part for some in (dense, [*config["flow_refine"], 2], shapes.DILATIONS)
              for part in (len(some), *some)]
    return PackedFlow(chain.pack(layers), *(jt.array(part).stop_grad() for part in (
        np.float32(ups), np.float32(steps), np.int32(widths))))


def _pieces(inputs: int, made: Sequence[int]) -> list[Sequence[int]]:
    """Which channels of a dense block's concatenation lie in which map of the operator.

    The concatenation is: what was made, newest first; cost volume, first frame's features, flow
    and features of the coarser level (only the first of these on the coarsest level).
    """
    start, cost = sum(made), shapes.SHIFTS
    base = range(start, start + inputs)
    found: list[Sequence[int]] = [base]
    if inputs > cost:
        found = [[*base[:cost], *base[-4:]], base[cost:-4]]
    for width in made:
        start -= width
        found.append(range(start, start + width))
    return found


def _as_phases(up: nn.ConvTranspose) -> Layer:
    """A transposed convolution (C, 2, 4, 4) of stride 2 and padding 1 as (8, C, 3, 3): output o
    of pixel (y, x) of each square of the result is channel ``4 o + 2 y + x``."""
    weight, bias = up.weight.numpy(), up.bias.numpy()
    made = np.zeros((2, 2, 2, weight.shape[0], 3, 3), np.float32)
    taps = (((0, 3), (1, 1)), ((1, 2), (2, 0)))  # of the convolution and of the transposed one
    for y in range(2):
        for x in range(2):
            for to_y, from_y in taps[y]:
                for to_x, from_x in taps[x]:
                    made[:, y, x, :, to_y, to_x] = weight[:, :, from_y, from_x].T
    return made.reshape(8, -1, 3, 3), np.repeat(bias, 4)
