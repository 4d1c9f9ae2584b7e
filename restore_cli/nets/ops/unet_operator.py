"""U-Nets of 3x3 convolutions as one CPU operator each: those of `field_unet` and `led_unet`.

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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import jittor as jt

from restore_cli.errors import ShapeError
from restore_cli.nets.ops import precision
from restore_cli.nets.ops.library import Library

_LIBRARY = Library("blocked.cc", "forms.cc", "products.cc", "winograd.cc", "unet_layers.cc",
                   "field_layers.cc", "upconv.cc", "unet.cc", "unet_operators.cc")
_MARGIN = 32  # as MARGIN in unet.cc


@dataclass(frozen=True)
class Form:
    """What a network is apart from its weights.

    depth: number of poolings.
    n2v2: max-blur-pooling, and no skip at the top level.
    transposed: 2x2 transposed convolutions instead of bilinear interpolation on the way up.
    slope: of the activation below zero, 0 to 1.
    residual: adds the input to the output of the last convolution.
    """

    depth: int
    n2v2: bool = False
    transposed: bool = False
    slope: float = 0.0
    residual: bool = False


def available() -> bool:
    """Whether the operator can be compiled here and is wanted (``RESTORE_FUSED=0`` says no)."""
    return (not jt.flags.use_cuda and sys.platform != "win32"
            and "0" not in (os.environ.get("RESTORE_FUSED"), os.environ.get("RESTORE_WINOGRAD")))


def run(x: jt.Var, parameters: Sequence[jt.Var], form: Form) -> jt.Var:
    """The whole network; differentiable in `x` and `parameters`, once.

    Args:
        x: (N, C, H, W) float32; H and W multiples of ``2 ** depth``.
        parameters: weight and bias of each layer in the order of the state dict: for each level
            two convolutions on the way down, then up; each step up begins with the transposed
            convolution, where there are such; the final 1x1 convolution. All feature maps have
            multiples of 16 channels.
        form: of the network.

    Returns:
        (N, outputs of the last layer, H, W).

    Raises:
        ShapeError: `x` has other channels or sides.
    """
    channels, align = parameters[0].shape[1], 2**form.depth
    if (x.ndim != 4 or x.shape[1] != channels or x.shape[2] % align or x.shape[3] % align
            or 0 in x.shape):
        raise ShapeError("input", f"(N, {channels}, H, W) with H and W multiples of {align}",
                         tuple(x.shape))
    if jt.flags.no_grad:
        numbers = {**_numbers(form), "half": float(precision.half())}
        return _LIBRARY.run("unet_infer", [_output_shape(x, parameters)], [x, *parameters],
                            **numbers)[0]
    return _UNet(form)(x, *parameters)


def saved(form: Form, first: int, plane: Callable[[int], float]) -> float:
    """What all maps of a network take; the forward pass of training keeps them.

    Args:
        form: of the network.
        first: channels of the first layer.
        plane: gives what one channel of one level takes.

    Returns:
        a sum in the unit of `plane`.
    """
    total = 0
    for level in range(form.depth + 1):
        wide = first << level
        narrow = wide // 2 if level else 0
        given = wide if form.transposed else narrow or wide
        joined = [wide] * 3 if level < form.depth else []
        total += plane(level) * sum([wide, given, narrow, *joined])
    return total


def shared(form: Form, first: int, plane: Callable[[int], float]) -> float:
    """As `saved`: what a pass in one direction works in, as `lay_out` in unet.cc places it."""
    place = end = 0
    for level in range(form.depth + 1):
        deepest, wide = level == form.depth, (first << level) * plane(level)
        exchanged = wide if form.transposed or not deepest else wide / 2
        below = 0 if deepest else (2 * first << level) * plane(level + 1)
        joins = not deepest and (level > 0 or not form.n2v2)
        place += exchanged * (level > 0) + wide * joins
        end = max(end, place + wide)
        if level == 0:
            end = max(end, place + max(wide, below) + exchanged)
    return end


def framed(height: int, width: int) -> int:
    """Pixels that a plane takes: whole tiles of 4x4, with their frame; see Map in blocked.cc."""
    return (-(-height // 4) * 4 + 2) * (-(-width // 4) * 4 + 2)


def peak_bytes(form: Form, planes: int, first: int, size: tuple[int, int, int],
               training: bool) -> int:
    """Memory that a run takes at most, without the parameters; an upper estimate.

    Args:
        form: of the network, which has transposed convolutions.
        planes: channels of the input, and of the output.
        first: channels of the first layer.
        size: images, rows and columns of the input.
        training: a forward and a backward pass, and the gradients of the parameters; else one
            pass without gradients.
    """
    count, height, width = size

    def plane(level: int) -> int:
        return count * framed(height >> level, width >> level)

    # Jittor has read the variable when it was started.
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    deepest = first << form.depth
    transformed = 36 * deepest**2  # weights of the widest layer
    chunk = (1 << 17) + 36 * 24 * 2 * deepest  # transformed tiles
    working = transformed + threads * chunk
    images = 3 * count * planes * height * width  # Jittor copies one
    framed_image = count * planes * (height + 2) * (width + 2)
    total = shared(form, first, plane) + working + images + framed_image
    if training:
        # The buffer for the gradient of the input, which is made behind the backward pass; the
        # forward pass's own scratch memory; each thread's sums of gradients; the gradients, which
        # are three times those of the deepest layer.
        total += saved(form, first, plane) + first * plane(0) + images
        total += working + threads * transformed + 3 * 9 * deepest**2
    return 4 * int(total)


class _UNet(jt.Function):
    def __init__(self, form: Form):
        super().__init__()
        self._form = form

    def execute(self, x, *parameters):
        self._shape = tuple(x.shape)
        self._weights = [weight.detach() for weight in parameters[::2]]
        self._parameter_shapes = [tuple(parameter.shape) for parameter in parameters]
        saved = _saved_floats(x.shape, self._weights[0].shape[0], self._form)
        shapes = [_output_shape(x, parameters), (saved,)]
        y, self._saved = _LIBRARY.run("unet_forward", shapes, [x, *parameters],
                                      **_numbers(self._form))
        return y

    def grad(self, dy):
        dy = dy.detach()
        count, _, height, width = self._shape
        first = self._weights[0].shape[0]
        shapes = [(_MARGIN + count * first * framed(height, width),), *self._parameter_shapes]
        head, *grads = _LIBRARY.run("unet_backward", shapes, [dy, self._saved, *self._weights],
                                    **_numbers(self._form))
        # An operator of its own: it never runs where nobody asks for this gradient.
        dx = _LIBRARY.run("unet_input_gradient", [self._shape], [head, self._weights[0]])[0]
        return (dx + dy if self._form.residual else dx, *grads)


def _numbers(form: Form) -> dict[str, float]:
    return {"half": 0.0, **{key: float(value) for key, value in asdict(form).items()}}


def _output_shape(x, parameters) -> tuple[int, ...]:
    return (x.shape[0], parameters[-1].shape[0], x.shape[2], x.shape[3])


def _saved_floats(shape, first: int, form: Form) -> int:
    count, channels, height, width = shape
    image = -(-count * channels * (height + 2) * (width + 2) // 16) * 16
    return _MARGIN + image + count * saved(form, first,
                                           lambda level: framed(height >> level, width >> level))
