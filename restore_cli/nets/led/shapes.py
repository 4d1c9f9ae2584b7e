"""Parameter names, shapes and tiling facts of the low-light RAW networks, without building them.

Keys and option names are upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.led import shapes_nafnet, shapes_restormer
from restore_cli.nets.led.shapes_parts import (
    FORM_DEFAULTS,
    Shapes,
    complete_form,
    convertible,
    plain,
    require_count,
)
from restore_cli.nets.liif.shapes import fill
from restore_cli.nets.n2v import reach

LEVELS = 4
ALIGN = 2 ** LEVELS
CONTROL_BINS, CONTROL_WIDTHS = 300, (256, 128)

DEFAULTS: dict[str, dict[str, Any]] = {
    name: dict(inchannels=4, outchannels=4, channels=32, **FORM_DEFAULTS)
    for name in ("led-unet", "led-cunet")
}
NAMES = (*DEFAULTS, shapes_nafnet.NAME, shapes_restormer.NAME)
# Second convolutions that are residual pairs in the controlled U-Net.
PAIRS = ("conv3_2", "conv4_2", "conv6_2", "conv7_2")


@dataclass(frozen=True)
class Facts:
    """Facts of one configured network.

    Attributes:
        shapes: every state-dict key with its shape, in upstream's order.
        radius: halo of a tile whose borders are multiples of `align`, itself such a multiple, or
            None where a pixel depends on statistics of the whole image.
        align: sides are padded to multiples of this inside the network.
    """

    shapes: Shapes
    radius: int | None
    align: int


def complete(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of "led-unet" or "led-cunet" with defaults filled in.

    Raises:
        WeightsError: an unknown network or option, or values that cannot be built.
    """
    made = complete_form(fill(DEFAULTS[name], config, f"network '{name}'"), name)
    for key in ("inchannels", "outchannels", "channels"):
        require_count(name, key, made[key])
    if name == "led-cunet" and made["channels"] != CONTROL_WIDTHS[1] // 4:
        raise WeightsError(f"network '{name}' has channels = {made['channels']}, expected "
                           f"{CONTROL_WIDTHS[1] // 4}, which its control needs")
    return made


def describe(name: str, config: Mapping[str, Any]) -> Facts:
    """Facts of network `name` of `NAMES`; keys left out of `config` take their defaults.

    Raises:
        WeightsError: an unknown network or option, or values that cannot be built.
    """
    if name == shapes_restormer.NAME:
        return Facts(shapes_restormer.describe(config), None, shapes_restormer.ALIGN)
    if name == shapes_nafnet.NAME:
        shapes, config = shapes_nafnet.describe(config), shapes_nafnet.complete(config)
        return Facts(shapes, None, shapes_nafnet.align(config))
    config = complete(name, config)
    controlled = name == "led-cunet"
    return Facts(_shapes(config, controlled), _radius(controlled), ALIGN)


@cache
def _radius(controlled: bool) -> int:
    found = reach.halo(lambda x: _reach(x, controlled), ALIGN)
    return -(-found // ALIGN) * ALIGN


def widths(channels: int) -> list[int]:
    """Channels of the levels 1 to 5."""
    return [channels * 2**level for level in range(LEVELS + 1)]


def _shapes(config: Mapping[str, Any], controlled: bool) -> Shapes:
    wide = widths(config["channels"])
    shapes: Shapes = {}
    if controlled:
        for key, a, b in (("conv0_1", CONTROL_BINS, CONTROL_WIDTHS[0]),
                          ("conv0_2", *CONTROL_WIDTHS)):
            shapes[f"{key}.weight"], shapes[f"{key}.bias"] = (b, a), (b,)
    inputs = config["inchannels"]
    for level, width in enumerate(wide, 1):
        _pair(shapes, level, inputs, width, controlled, config)
        inputs = width
    for level, width in enumerate(reversed(wide[:-1]), LEVELS + 2):
        # Transposed convolutions are stored as (in, out, 2, 2).
        shapes[f"upv{level}.weight"] = (2 * width, width, 2, 2)
        shapes[f"upv{level}.bias"] = (width,)
        _pair(shapes, level, 2 * width, width, controlled, config)
    plain(shapes, "conv10_1", wide[0], config["outchannels"], 1, True)
    return shapes


def _pair(shapes: Shapes, level: int, inputs: int, width: int, controlled: bool,
          config: Mapping[str, Any]) -> None:
    convertible(shapes, f"conv{level}_1", inputs, width, 3, True, config)
    second = f"conv{level}_2"
    keys = (f"{second}.conv1", f"{second}.conv2") if controlled and second in PAIRS else (second,)
    for key in keys:
        convertible(shapes, key, width, width, 3, True, config)


def _reach(x: reach.Reach, controlled: bool) -> reach.Reach:
    """The control is left out: it is the same everywhere where the ratio is."""
    skips = []
    for level in range(1, LEVELS + 2):
        if skips:
            x = reach.pool(x)
        first, x = reach.conv(x), reach.conv(x, _convolutions(level, controlled))
        # The controlled network's third skip leaves before the second convolutions.
        skips.append(first if controlled and level == 3 else x)
    skips.pop()
    for level in range(LEVELS + 2, 2 * LEVELS + 2):
        up = reach.Reach(x.first.repeat(2), x.last.repeat(2))
        x = reach.conv(reach.union(up, skips.pop()), _convolutions(level, controlled))
    return x


def _convolutions(level: int, controlled: bool) -> int:
    return 3 if controlled and f"conv{level}_2" in PAIRS else 2
