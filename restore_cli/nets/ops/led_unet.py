"""LED's U-Net (Jin et al., ICCV 2023; that of Chen et al., CVPR 2018) as one CPU operator."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import jittor as jt

from restore_cli.errors import ShapeError
from restore_cli.nets.ops import unet_operator

_FORM = unet_operator.Form(depth=4, transposed=True, slope=0.2)
_PLANES = 4
_PARAMETERS = 46


def usable(config: Mapping[str, Any]) -> bool:
    """Whether `led_unet` can run the network of this completed "led-unet" configuration here.

    ``RESTORE_FUSED=0`` says no, and so does ``RESTORE_WINOGRAD=0``.

    Args:
        config: holds "inchannels", "outchannels" and "channels".
    """
    return (config["inchannels"] == config["outchannels"] == _PLANES
            and config["channels"] > 0 and config["channels"] % 16 == 0
            and unet_operator.available())


def peak_bytes(channels: int, h: int, w: int, batch: int, training: bool) -> int:
    """Memory that `led_unet` takes at most, in bytes, without the parameters.

    Input and output count; with `training` so do the gradients of the parameters. It grows a
    little with the number of threads.

    Args:
        channels: of the first layer.
        h: rows of the input, a multiple of 16.
        w: columns, likewise.
        batch: images.
        training: a forward and a backward pass; else one pass under ``no_grad``.
    """
    return unet_operator.peak_bytes(_FORM, _PLANES, channels, (batch, h, w), training)


def led_unet(x: jt.Var, parameters: Sequence[jt.Var], channels: int) -> jt.Var:
    """The whole network; differentiable in `x` and `parameters`, once.

    Args:
        x: (N, 4, H, W) float32; H and W multiples of 16.
        parameters: weight and bias of each layer in the order of the state dict.
        channels: of the first layer.

    Returns:
        (N, 4, H, W).

    Raises:
        ShapeError: `x` has other channels or sides, or there are not 46 parameters of such a
            network.
    """
    if len(parameters) != _PARAMETERS or tuple(parameters[0].shape) != (channels, _PLANES, 3, 3):
        raise ShapeError("parameters", f"{_PARAMETERS} of which the first has shape "
                         f"({channels}, {_PLANES}, 3, 3)",
                         (len(parameters), *(parameters[0].shape if parameters else ())))
    return unet_operator.run(x, parameters, _FORM)
