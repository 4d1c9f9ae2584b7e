"""Networks of 3x3 convolutions, told step by step, as one CPU operator each, with gradients.

REDNet and N2V_Unet are made of ordinary, strided and transposed 3x3 convolutions. All become
ordinary ones here: a transposed convolution of stride 1 is one with turned weights; the last one,
of stride 2, is one with four times the outputs, a quarter for each pixel of a square of 2x2; a
convolution of stride 2 is one of the image's squares. They use Winograd's algorithm F(4x4, 3x3)
(Lavin and Gray, CVPR 2016), other transposed ones of stride 2 its F(4, 2) (see doubling.cc), and
maps stay in one blocked layout from the first to the last, forward and backward.
Results differ from direct convolution by about 1e-6 of their scale; they are the same to the last
bit for the same inputs, processor and number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
import numpy as np

from restore_cli.nets.ops import precision, unet_operator
from restore_cli.nets.ops.library import Library

GROUP = 16  # as in graph.cc: channels are padded to multiples of it
_MARGIN = 32
_MERGED = 1 << 15  # pixels from which it pays to merge layers (merging.cc)
_KINDS = ("convolve", "pool", "add", "double")

_LIBRARY = Library("blocked.cc", "forms.cc", "products.cc", "winograd.cc", "unet_layers.cc",
                   "team.cc", "doubling.cc", "weight_sums.cc", "graph.cc", "merging.cc",
                   "graph_passes.cc")

available = unet_operator.available


def padded(count: int) -> int:
    """Channels that `count` channels take."""
    return -(-count // GROUP) * GROUP


class Graph:
    """A network as a list of steps; maps are numbers that the methods give.

    Args:
        channels: of the image.
        factor: 2 where the network begins with a convolution of stride 2, else 1.
        slope: of the activation "leaky" below zero.
    """

    def __init__(self, channels: int, factor: int = 1, slope: float = 0.0):
        self.channels, self.slope = channels, slope
        self._factor, self._end = factor, (1, 0)
        self._maps = [(channels * factor**2, factor - 1)]  # channels, halvings
        self._steps: list[tuple[int, ...]] = []
        self._layers: list[tuple[int, ...]] = []
        self._known: dict[tuple, int] = {}
        self._index: list[np.ndarray] = []
        self._arrays: tuple[jt.Var, jt.Var] | None = None

    def convolve(self, maps: Sequence[int], layer: int, shape: Sequence[int],
                 activation: str = "relu") -> int:
        """A convolution with padding 1 of the maps' channels, one after the other.

        Args:
            maps: one or two; each of two has no activation and no later use.
            layer: its weight is parameter ``2 * layer``, its bias the next one.
            shape: of the weight, (outputs, inputs, 3, 3).
            activation: "none", "relu" or "leaky".
        """
        weight = _numbers(shape)
        if self._factor == 2 and maps[0] == 0:
            weight = _of_squares(weight)
        ends = np.cumsum([self._maps[one][0] for one in maps])[:-1]
        pieces = [_padded(part, 1) for part in np.split(weight, ends, axis=1)]
        return self._layer(maps, layer, np.concatenate(pieces, axis=1), np.arange(1, shape[0] + 1),
                           shape[0], activation)

    def turned(self, one: int, layer: int, shape: Sequence[int], activation: str = "relu") -> int:
        """A transposed convolution of stride 1 and padding 1.

        Args:
            shape: of the weight, (inputs, outputs, 3, 3).
        """
        weight = _numbers(shape).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        return self._layer([one], layer, _padded(weight, 1), np.arange(1, shape[1] + 1), shape[1],
                           activation)

    def doubled(self, one: int, layer: int, shape: Sequence[int]) -> int:
        """A transposed convolution of stride 2, padding 1 and output padding 1: twice the sides."""
        weight = _numbers(shape).transpose(1, 0, 2, 3)
        return self._layer([one], layer, _padded(weight, 1), np.arange(1, shape[1] + 1), shape[1],
                           "none", doubles=True)

    def end_doubled(self, one: int, layer: int, shape: Sequence[int]) -> None:
        """As `doubled`, for the network's output."""
        weight, bias = _to_squares(shape)
        self._layer([one], layer, _padded(weight, 1), bias, 4 * shape[1], "none")
        self._end = (2, shape[1])

    def end(self, channels: int) -> None:
        """The map made last is the output; only these channels of it."""
        self._end = (1, channels)

    def pool(self, one: int) -> int:
        """The maxima of squares of 2x2."""
        return self._step("pool", -1, [one], self._maps[one][0], self._maps[one][1] + 1, 0)

    def add(self, one: int, other: int) -> int:
        """The sum of two maps."""
        return self._step("add", -1, [one, other], *self._maps[one], 0)

    def run(self, x: jt.Var, parameters: Sequence[jt.Var]) -> jt.Var:
        """The network; differentiable in `x` and `parameters`, once.

        Args:
            x: (N, channels, H, W) float32, sides as all halvings allow.
            parameters: weight and bias of each layer.

        Returns:
            (N, outputs, H, W).
        """
        if jt.flags.no_grad:
            pixels = x.shape[0] * x.shape[2] * x.shape[3]
            return self._operator("infer", [self._output(x.shape)], [x, *parameters],
                                  half=precision.half(), merging=pixels >= _MERGED)[0]
        return _Differentiable(self)(x, *parameters)

    def saved_floats(self, count: int, height: int, width: int) -> int:
        """What a forward pass of training keeps."""
        return _MARGIN + count * sum(
            padded(channels) * unet_operator.framed(height >> shift, width >> shift)
            for channels, shift in self._maps)

    def _layer(self, maps: Sequence[int], layer: int, weight: np.ndarray, bias: np.ndarray,
               channels: int, activation: str, doubles: bool = False) -> int:
        key = (layer, weight.shape, doubles)
        if key not in self._known:
            self._known[key] = len(self._layers)
            weight = _padded(weight, 0)
            self._layers.append((*weight.shape[:2], 2 * layer, 2 * layer + 1, doubles))
            self._index += [weight.ravel() - 1, _padded(bias, 0) - 1]
        number = ("none", "relu", "leaky").index(activation)
        kind = "double" if doubles else "convolve"
        return self._step(kind, self._known[key], maps, channels,
                          self._maps[maps[0]][1] - doubles, number)

    def _step(self, kind: str, layer: int, maps: Sequence[int], channels: int, shift: int,
              slope: int) -> int:
        self._maps.append((channels, shift))
        made = len(self._maps) - 1
        self._steps.append((_KINDS.index(kind), layer, made, len(maps), maps[0], maps[-1], slope))
        return made

    def _output(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (shape[0], self._end[1], *shape[2:])

    def _operator(self, name: str, shapes: Sequence[Sequence[int]], inputs: Sequence[jt.Var],
                  **flags: bool) -> list[jt.Var]:
        if self._arrays is None:
            head = [len(self._maps), len(self._steps), len(self._layers), self._factor,
                    self.channels, *self._end]
            rows = [(padded(channels) // GROUP, shift) for channels, shift in self._maps]
            numbers = np.concatenate([head, *rows, *self._steps, *self._layers])
            self._arrays = tuple(jt.array(part.astype(np.int32)).stop_grad()
                                 for part in (numbers, np.concatenate(self._index)))
        return _LIBRARY.run(f"graph_{name}", shapes, [*self._arrays, *inputs], slope=self.slope,
                            **flags)


class _Differentiable(jt.Function):
    def __init__(self, graph: Graph):
        super().__init__()
        self._graph = graph

    def execute(self, x, *parameters):
        self._shape, self._weights = tuple(x.shape), [one.detach() for one in parameters]
        count, _, *sides = self._shape
        shapes = [self._graph._output(self._shape), (self._graph.saved_floats(count, *sides),)]
        y, self._saved = self._graph._operator("forward", shapes, [x, *parameters])
        return y

    def grad(self, dy):
        inputs = [self._saved, dy.detach(), *self._weights]
        shapes = [tuple(one.shape) for one in self._weights]
        grads = self._graph._operator("gradients", shapes, inputs)
        # An operator of its own: it never runs where nobody asks for this gradient.
        dx = self._graph._operator("input_gradient", [self._shape], inputs)[0]
        return (dx, *grads)


def _numbers(shape: Sequence[int]) -> np.ndarray:
    """An array that holds the place of each of its elements, from 1."""
    return np.arange(1, int(np.prod(shape)) + 1).reshape(tuple(shape))


def _padded(values: np.ndarray, axis: int) -> np.ndarray:
    room = [(0, 0)] * values.ndim
    room[axis] = (0, padded(values.shape[axis]) - values.shape[axis])
    return np.pad(values, room)


def _to_squares(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A transposed convolution of stride 2 as one to squares; the places of weights and biases.

    Output (row, column) of a square: channels from ``(2 * row + column) * outputs`` on.
    """
    given, (inputs, outputs) = _numbers(shape), shape[:2]
    weight = np.zeros((4 * outputs, inputs, 3, 3), np.int64)
    for row in range(2):
        for column in range(2):
            start = (2 * row + column) * outputs
            # The pixel on this side takes the kernel's middle; one between two pixels its ends.
            for y, down in ((1, 1),) if row == 0 else ((1, 2), (2, 0)):
                for x, across in ((1, 1),) if column == 0 else ((1, 2), (2, 0)):
                    weight[start:start + outputs, :, y, x] = given[:, :, down, across].T
    return weight, np.tile(np.arange(1, outputs + 1), 4)


def _of_squares(weight: np.ndarray) -> np.ndarray:
    """A convolution of stride 2 as one of squares, whose pixels' channels follow each other."""
    outputs, channels = weight.shape[:2]
    made = np.zeros((outputs, 4, channels, 3, 3), weight.dtype)
    # Of rows -1, 0 and 1 around an even one, the first is the lower one of the square above.
    places = ((1, 0), (0, 1), (1, 1))
    for y, (row, down) in enumerate(places):
        for x, (column, across) in enumerate(places):
            made[:, 2 * row + column, :, down, across] = weight[:, :, y, x]
    return made.reshape(outputs, 4 * channels, 3, 3)
