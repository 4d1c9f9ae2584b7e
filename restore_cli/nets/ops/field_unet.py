"""The denoising field's U-Net (N2V and N2V2 forms, 2-D) as one CPU operator.

Stock operators reorder activations at every convolution, leave ReLU, pooling, up-sampling and
concatenation to single-threaded kernels, and convolve directly. Here activations stay in one
blocked layout from the first layer to the last, forward and backward, and the 3x3 convolutions
and both of their gradients use Winograd's algorithm F(4x4, 3x3) (Lavin and Gray, CVPR 2016). The
result differs from direct convolution by about 1e-6 of its scale. It is the same to the last bit
for the same inputs, processor and number of threads. Nothing but a compiler is needed.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Mapping, Sequence

import jittor as jt

from restore_cli.errors import ShapeError
from restore_cli.nets.ops import native

_SOURCES = ("blocked.cc", "winograd.cc", "field_layers.cc", "field_unet.cc")
_MARGIN = 32  # as MARGIN in field_unet.cc

# Reads a layer's shape and pointers; `at` is the place of its weight among the inputs.
_PROBLEM = """
  restore_field::Problem problem;
  problem.depth = (int)data["depth"];
  problem.n2v2 = data["n2v2"] != 0;
  const int64_t layers = 4 * problem.depth + 3;
  for (int64_t i = 0; i < layers; i++) {
    const int64_t at = %(weight)s;
    restore_field::Layer layer = {};
    layer.weight = _inputs[at]->ptr<float>();
    layer.inputs = _inputs[at]->shape[1];
    layer.outputs = _inputs[at]->shape[0];
    %(more)s
    problem.layers.push_back(layer);
  }
  problem.count = in0_shape0;
  problem.channels = problem.layers[0].inputs;
  problem.height = in0_shape2;
  problem.width = in0_shape3;
"""
_READ = _PROBLEM % {"weight": "1 + 2 * i", "more": "layer.bias = _inputs[at + 1]->ptr<float>();"}
_INFER = _READ + """
  restore_field::infer(problem, data["residual"] != 0, in0_p, out0_p);
"""
_FORWARD = _READ + """
  restore_field::train_forward(problem, data["residual"] != 0, in0_p, out0_p, out1_p, out1_shape0);
"""
_BACKWARD = _PROBLEM % {"weight": "2 + i", "more": """
    layer.weight_grad = _outputs[1 + 2 * i]->ptr<float>();
    layer.bias_grad = _outputs[2 + 2 * i]->ptr<float>();"""} + """
  restore_field::train_backward(problem, in1_p, in0_p, out0_p, out0_shape0);
"""
_INPUT_GRADIENT = """
  restore_field::Problem problem;
  restore_field::Layer layer = {};
  problem.depth = 0;
  problem.n2v2 = false;
  layer.weight = in1_p;
  layer.inputs = in1_shape1;
  layer.outputs = in1_shape0;
  problem.layers.push_back(layer);
  problem.count = out0_shape0;
  problem.channels = out0_shape1;
  problem.height = out0_shape2;
  problem.width = out0_shape3;
  restore_field::head_to_input(problem, in0_p, out0_p);
"""


def usable(config: Mapping[str, Any], channels: int) -> bool:
    """Whether `field_unet` can run the network of this completed "n2v-field" configuration here.

    ``RESTORE_FUSED=0`` says no, and so does ``RESTORE_WINOGRAD=0``.

    Args:
        config: see `restore_cli.nets.n2v.shapes.DEFAULTS`.
        channels: of the images that will be given.
    """
    return (config["conv_dims"] == 2 and not config["use_batch_norm"]
            and (channels == 1 or not config["independent_channels"])
            and channels == config["in_channels"]
            and config["num_channels_init"] % 16 == 0 and config["depth"] > 0
            and not jt.flags.use_cuda and sys.platform != "win32"
            and "0" not in (os.environ.get("RESTORE_FUSED"), os.environ.get("RESTORE_WINOGRAD")))


def bytes_per_pixel(depth: int, num_channels_init: int, n2v2: bool = False,
                    training: bool = False) -> float:
    """Memory that the operator takes for each pixel of its input, without input and output.

    A tile's frame comes on top (a few percent), and for each thread a few times the
    transformed weights of the widest layer.
    """
    return 4 * sum(channels / 4**level
                   for level, channels in _maps(depth, num_channels_init, n2v2, training))


def field_unet(x: jt.Var, parameters: Sequence[jt.Var], depth: int, n2v2: bool = False,
               residual: bool = False,
               final_activation: Callable[[jt.Var], jt.Var] | None = None) -> jt.Var:
    """The whole network; differentiable in `x` and `parameters`, once.

    Args:
        x: (N, C, H, W) float32; H and W multiples of ``2 ** depth``.
        parameters: weight and bias of each convolution in the order of the state dict: the
            encoder's blocks, the bottleneck, the decoder's blocks, the final 1x1 convolution.
        n2v2: max-blur-pooling, and no skip at the top level.
        residual: adds `x` to the output of the last convolution.
        final_activation: applied to the result.

    Returns:
        (N, classes, H, W).

    Raises:
        ShapeError: `x` has other channels or sides.
    """
    channels, align = parameters[0].shape[1], 2**depth
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % align or x.shape[3] % align:
        raise ShapeError("input", f"(N, {channels}, H, W) with H and W multiples of {align}",
                         tuple(x.shape))
    settings = {"depth": depth, "n2v2": int(n2v2), "residual": int(residual)}
    if jt.flags.no_grad:
        y = _code([_output_shape(x, parameters)], _INFER, [x, *parameters], settings)[0]
    else:
        y = _FieldUNet(settings)(x, *parameters)
    return y if final_activation is None else final_activation(y)


class _FieldUNet(jt.Function):
    def __init__(self, settings: dict[str, int]):
        super().__init__()
        self._settings = settings

    def execute(self, x, *parameters):
        self._shape = tuple(x.shape)
        self._weights = [weight.detach() for weight in parameters[::2]]
        saved = _saved_floats(x.shape, self._weights, **self._settings)
        shapes = [_output_shape(x, parameters), (saved,)]
        y, self._saved = _code(shapes, _FORWARD, [x, *parameters], self._settings)
        return y

    def grad(self, dy):
        dy = dy.detach()
        count, _, height, width = self._shape
        first = self._weights[0].shape[0]
        shapes = [(_MARGIN + count * first * _framed(height, width),)]
        for weight in self._weights:
            shapes += [tuple(weight.shape), (weight.shape[0],)]
        head, *grads = _code(shapes, _BACKWARD, [dy, self._saved, *self._weights], self._settings)
        # An operator of its own: it never runs where nobody asks for this gradient.
        dx = _code([self._shape], _INPUT_GRADIENT, [head, self._weights[0]], {})[0]
        return (dx + dy if self._settings["residual"] else dx, *grads)


def _output_shape(x, parameters) -> tuple[int, ...]:
    return (x.shape[0], parameters[-1].shape[0], x.shape[2], x.shape[3])


def _framed(height: int, width: int) -> int:
    # Pixels of a plane in whole tiles of 4x4, with their frame; see Map in blocked.cc.
    return (-(-height // 4) * 4 + 2) * (-(-width // 4) * 4 + 2)


def _saved_floats(shape, weights, depth: int, n2v2: int, **_) -> int:
    count, channels, height, width = shape
    image = -(-count * channels * (height + 2) * (width + 2) // 16) * 16
    maps = sum(wide * _framed(height >> level, width >> level)
               for level, wide in _maps(depth, weights[0].shape[0], bool(n2v2), True))
    return _MARGIN + image + count * maps


def _maps(depth: int, first: int, n2v2: bool, training: bool):
    """(level, channels) of each map, as `lay_out` in field_unet.cc places them."""
    for level in range(depth + 1):
        wide = first << level
        narrow = wide // 2 if level else wide
        if level == depth:
            each = [wide, narrow, narrow] if training else [wide, narrow]
        elif training:
            each = [wide, wide, wide, wide, narrow] + [narrow] * (level > 0)
        else:
            each = [wide, wide] + [wide] * (level > 0 or not n2v2)
        yield from ((level, channels) for channels in each)


def _code(shapes, source: str, inputs, data) -> list[jt.Var]:
    header = "".join(native.source(name) for name in _SOURCES)
    made = jt.code(list(shapes), ["float32"] * len(shapes), list(inputs), cpu_header=header,
                   cpu_src=source, data=data)
    return list(made) if isinstance(made, (list, tuple)) else [made]
