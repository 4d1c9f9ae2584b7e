"""How much memory NAFNet and Restormer take, whole or strip by strip, told without running them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_cli.nets.led import shapes_nafnet, shapes_restormer

# Largest sums of all maps alive at once, in maps of the widest level: largest measured, plus a
# tenth. By network and by whether the operators of `nets.ops.led_blocks` run.
_WHOLE = {(shapes_nafnet.NAME, True): 6.5, (shapes_nafnet.NAME, False): 17,
          (shapes_restormer.NAME, True): 8, (shapes_restormer.NAME, False): 43}
_STRIP = {(shapes_nafnet.NAME, True): 11.5, (shapes_nafnet.NAME, False): 35,
          (shapes_restormer.NAME, True): 12, (shapes_restormer.NAME, False): 45}
_HELD = 2.6  # maps that wait between strips: the widest twice, and what the heap leaves unused
_FIXED = 32 << 20  # operators' rows and packed weights, and Jittor's own


def cost(name: str, config: Mapping[str, Any], height: int, width: int, rows: int | None, *,
         fused: bool = True, spilled: bool = False) -> int:
    """Bytes that a run takes at its peak, beside the started engine, the weights and the input.

    Args:
        name: "led-nafnet" or "led-restormer".
        config: of the network; what is left out takes its default.
        height, width: of the packed planes.
        rows: as given to `strips.run`; None for the network called with the whole image.
        fused: whether `led_blocks.usable()`.
        spilled: whether the buffers of `strips.run` lie on disk.

    Raises:
        WeightsError: the configuration cannot be built.
    """
    if name == shapes_nafnet.NAME:
        config = shapes_nafnet.complete(config)
        images, channels, align = config["img_channel"], config["width"], \
            shapes_nafnet.align(config)
    else:
        config = shapes_restormer.complete(config)
        images, channels, align = config["out_channels"], 2 * config["dim"], shapes_restormer.ALIGN
    high, wide = (-(-side // align) * align for side in (height, width))
    planes, line = 4 * images * high * wide, 4 * channels * wide
    if rows is None:
        return int(_FIXED + 3 * planes + _WHOLE[name, fused] * line * high)
    strip = _STRIP[name, fused] * line * (min(rows, high) + 2)
    held = 0 if spilled else _HELD * line * high + planes
    return int(_FIXED + planes + strip + held)
