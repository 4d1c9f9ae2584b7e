"""Parameter names, shapes and settings of the video network, without building it.

Keys and the names of the first eight settings are upstream's. The widths of the flow and kernel
networks are fixed there; here they are settings too, for compact networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.led.shapes_parts import Shapes, require, require_count, require_counts
from restore_cli.nets.liif.shapes import fill

NAME, FLOW_NAME = "vsr", "vsr-flow"
DEFAULTS: dict[str, Any] = {
    "n_colors": 3, "n_sequence": 5, "n_feat": 128, "extra_RBS": 3, "recons_RBS": 20, "scale": 4,
    "ksize": 13, "HR_in": False,
    # Extractor by level, dense blocks and refiner of the flow network by layer.
    "flow_channels": [16, 32, 64, 96, 128, 196], "flow_dense": [128, 128, 96, 64, 32],
    "flow_refine": [128, 128, 128, 96, 64, 32],
    "kernel_channels": 64, "kernel_reduction": 16, "kernel_hidden": 1000,
}

_FLOW_KEYS = ("n_colors", "flow_channels", "flow_dense", "flow_refine")

LEVELS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")  # upstream's numbers
FIRST = 1  # place in LEVELS of the finest level with a decoder
ALIGN = 2 ** len(LEVELS)  # the flow network works on sides that are multiples of this
REACH = 4  # pixels the correlation looks to each side
SHIFTS = (2 * REACH + 1) ** 2
DILATIONS = (1, 2, 4, 8, 16, 1, 1)
BLOCKS = 2  # residual blocks before and after the kernel network's pooling


@dataclass(frozen=True)
class Facts:
    """Facts of one configured network.

    Attributes:
        shapes: every state-dict key with its shape, in upstream's order.
        scale: magnification of the frames it is given.
    """

    shapes: Shapes
    scale: int


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in.

    Raises:
        WeightsError: an unknown setting, or values that cannot be built.
    """
    made = fill(DEFAULTS, config, f"network '{NAME}'")
    for key in ("n_colors", "n_feat", "kernel_channels", "kernel_reduction", "kernel_hidden"):
        require_count(NAME, key, made[key])
    for key in ("extra_RBS", "recons_RBS"):
        require_count(NAME, key, made[key], 0)
    for key in ("n_sequence", "ksize"):
        require_count(NAME, key, made[key])
        require(made[key] % 2 == 1, NAME, key, made[key], "an odd number")
    require(made["n_sequence"] >= 3, NAME, "n_sequence", made["n_sequence"], "at least 3")
    scale = made["scale"]
    require_count(NAME, "scale", scale)
    require(scale & (scale - 1) == 0, NAME, "scale", scale, "a power of two")
    require(isinstance(made["HR_in"], bool), NAME, "HR_in", made["HR_in"], "true or false")
    for key in ("flow_channels", "flow_dense", "flow_refine"):
        require_counts(NAME, key, made[key], len(DEFAULTS[key]), 1)
        made[key] = list(made[key])
    if made["kernel_reduction"] > made["kernel_channels"] or made["kernel_channels"] < 2:
        raise WeightsError(f"network '{NAME}' has kernel_channels = {made['kernel_channels']}, "
                           "expected at least 2 and kernel_reduction")
    return made


def complete_flow(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the flow network alone, whose settings are four of those.

    Raises:
        WeightsError: an unknown setting, or values that cannot be built.
    """
    defaults = {key: DEFAULTS[key] for key in _FLOW_KEYS}
    fill(defaults, config, f"network '{FLOW_NAME}'")
    made = complete(config)
    return {key: made[key] for key in _FLOW_KEYS}


def describe_flow(config: Mapping[str, Any]) -> Facts:
    """Facts of the flow network alone; see `describe`."""
    shapes: Shapes = {}
    _flow(shapes, "", complete_flow(config))
    return Facts({key.removeprefix("."): shape for key, shape in shapes.items()}, 1)


def describe(config: Mapping[str, Any]) -> Facts:
    """Facts of the configured network; settings left out take their defaults.

    Raises:
        WeightsError: an unknown setting, or values that cannot be built.
    """
    config = complete(config)
    shapes: Shapes = {}
    colours, feat = config["n_colors"], config["n_feat"]
    _conv(shapes, "in_conv.0", colours, feat)
    _blocks(shapes, "extra_feat", config["extra_RBS"], feat)
    _conv(shapes, "fusion_conv.0", config["n_sequence"] * feat, feat)
    _blocks(shapes, "recons_net", config["recons_RBS"], feat)
    _conv(shapes, "out_conv.0", feat, feat)
    _conv(shapes, "out_conv.1", feat, colours)
    for stage in range(stages(config)):
        _conv(shapes, f"upsample_layers.{2 * stage}", feat, 4 * feat)
    _flow(shapes, "flow_net.moduleNetwork", config)
    _kernel(shapes, "kernel_net", config)
    return Facts(shapes, 1 if config["HR_in"] else config["scale"])


def stages(config: Mapping[str, Any]) -> int:
    """How many times the reconstruction doubles the sides."""
    return 0 if config["HR_in"] else config["scale"].bit_length() - 1


def halo(config: Mapping[str, Any]) -> int:
    """Pixels of the warped features on each side that an output pixel depends on: fusion,
    residual blocks and the linear end. The flow depends on the whole frame."""
    return 1 + 2 * complete(config)["recons_RBS"] + 2


def decoder_inputs(config: Mapping[str, Any], level: int) -> int:
    """Channels that enter the dense block of a level (place in `LEVELS`)."""
    last = level == len(LEVELS) - 1
    return SHIFTS if last else SHIFTS + config["flow_channels"][level] + 2 + 2


def decoder_features(config: Mapping[str, Any], level: int) -> int:
    """Channels that leave it."""
    return decoder_inputs(config, level) + sum(config["flow_dense"])


def _flow(shapes: Shapes, key: str, config: Mapping[str, Any]) -> None:
    inputs = config["n_colors"]
    for name, width in zip(LEVELS, config["flow_channels"], strict=True):
        for place in (0, 2, 4):
            _conv(shapes, f"{key}.moduleExtractor.module{name}.{place}", inputs, width)
            inputs = width
    for level, name in list(enumerate(LEVELS))[FIRST:]:
        if level + 1 < len(LEVELS):
            coarser = decoder_features(config, level + 1)
            for part, width in (("Upflow", 2), ("Upfeat", coarser)):
                # Transposed convolutions are stored as (in, out, 4, 4).
                shapes[f"{key}.module{name}.module{part}.weight"] = (width, 2, 4, 4)
                shapes[f"{key}.module{name}.module{part}.bias"] = (2,)
        inputs = decoder_inputs(config, level)
        for part, width in zip(LEVELS, config["flow_dense"]):
            _conv(shapes, f"{key}.module{name}.module{part}.0", inputs, width)
            inputs += width
        _conv(shapes, f"{key}.module{name}.moduleSix.0", inputs, 2)
    inputs = decoder_features(config, FIRST)
    for place, width in enumerate((*config["flow_refine"], 2)):
        _conv(shapes, f"{key}.moduleRefiner.moduleMain.{2 * place}", inputs, width)
        inputs = width


def _kernel(shapes: Shapes, key: str, config: Mapping[str, Any]) -> None:
    wide, taps = config["kernel_channels"], config["ksize"] ** 2
    narrow = wide // config["kernel_reduction"]
    _conv(shapes, f"{key}.in_conv", config["n_colors"] * config["n_sequence"], wide)
    for body in ("body1", "body2"):
        for block in range(BLOCKS):
            name = f"{key}.{body}.{block}.body"
            _conv(shapes, f"{name}.0", wide, wide)
            _conv(shapes, f"{name}.2", wide, wide)
            _conv(shapes, f"{name}.3.conv_du.0", wide, narrow, 1)
            _conv(shapes, f"{name}.3.conv_du.2", narrow, wide, 1)
    _conv(shapes, f"{key}.body2.{BLOCKS}", wide, wide // 2)
    _conv(shapes, f"{key}.body2.{BLOCKS + 1}", wide // 2, 1)
    hidden = config["kernel_hidden"]
    for place, shape in enumerate(((hidden, taps), (taps, hidden))):
        shapes[f"{key}.fc_net.{place}.weight"] = shape
        shapes[f"{key}.fc_net.{place}.bias"] = shape[:1]


def _blocks(shapes: Shapes, key: str, count: int, feat: int) -> None:
    for block in range(count):
        for part in ("conv1", "conv2"):
            _conv(shapes, f"{key}.{block}.{part}", feat, feat)


def _conv(shapes: Shapes, key: str, inputs: int, outputs: int, side: int = 3) -> None:
    shapes[f"{key}.weight"] = (outputs, inputs, side, side)
    shapes[f"{key}.bias"] = (outputs,)
