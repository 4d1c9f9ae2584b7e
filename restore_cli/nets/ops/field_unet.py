"""The denoising field's U-Net (N2V and N2V2 forms, 2-D) as one CPU operator."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import jittor as jt

from restore_cli.nets.ops import unet_operator


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
            and unet_operator.available())


def bytes_per_pixel(depth: int, num_channels_init: int, n2v2: bool = False,
                    training: bool = False) -> float:
    """Memory that the operator takes for each pixel of its input, without input and output.

    A tile's frame comes on top (a few percent), and for each thread a few times the
    transformed weights of the widest layer.
    """
    form = unet_operator.Form(depth, n2v2)
    held = unet_operator.saved if training else unet_operator.shared
    return 4 * held(form, num_channels_init, lambda level: 4.0**-level)


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
    form = unet_operator.Form(depth, n2v2, residual=residual)
    y = unet_operator.run(x, parameters, form)
    return y if final_activation is None else final_activation(y)
