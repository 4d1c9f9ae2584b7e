"""Parameter names, shapes and radii of the denoising networks, told without building them.

N2V_Unet and REDNet as in the published Noise2Void code, `n2v-field` the U-Net with the argument
names, keys and defaults of CAREamics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.liif.shapes import fill
from restore_cli.nets.n2v import reach

Shapes = dict[str, tuple[int, ...]]

UNET_LEVELS = 5
REDNET_LAYERS = {"rednet10": 5, "rednet20": 10, "rednet30": 15}
ACTIVATIONS = ("sigmoid", "softmax", "tanh", "relu", "leakyrelu")
MAX_DEPTH = 8

DEFAULTS: dict[str, dict[str, Any]] = {
    "n2v-unet": dict(in_channels=1, out_channels=1),
    **{name: dict(in_channels=1, out_channels=1, num_features=64, residual=True, num_layers=layers)
       for name, layers in REDNET_LAYERS.items()},
    "n2v-field": dict(conv_dims=2, depth=2, num_channels_init=32, in_channels=1, num_classes=1,
                      n2v2=False, use_batch_norm=True, independent_channels=True, residual=False,
                      final_activation=None),
}
NAMES = tuple(DEFAULTS)


@dataclass(frozen=True)
class Facts:
    """Facts of one configured network.

    Attributes:
        shapes: every state-dict key with its shape, in upstream's order.
        unused: keys that never influence the output.
        buffers: keys that are not trained (batch statistics).
        radius: smallest exact halo of a tile whose borders are multiples of `align`, in pixels.
        align: input sides must be multiples of this.
        dims: 2 for (N, C, H, W), 3 for (N, C, D, H, W).
        inputs, outputs: channels.
    """

    shapes: Shapes
    unused: frozenset[str]
    buffers: frozenset[str]
    radius: int
    align: int
    dims: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class BlockPlan:
    """One double convolution of the field's U-Net: its key and its widths (all groups)."""

    key: str
    inputs: int
    middle: int
    outputs: int


def complete(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in.

    Raises:
        WeightsError: an unknown network or option, or values that cannot be built.
    """
    if name not in DEFAULTS:
        raise WeightsError(f"unknown network '{name}'", hint="Known: " + ", ".join(NAMES))
    made = fill(DEFAULTS[name], config, f"network '{name}'")
    for key, default in DEFAULTS[name].items():
        if isinstance(default, bool):
            _require(isinstance(made[key], bool), name, key, made[key], "true or false")
        elif isinstance(default, int):
            _require(_is_count(made[key]), name, key, made[key], "a whole number from 1")
    if name in REDNET_LAYERS and made["residual"]:
        _require(made["in_channels"] == made["out_channels"], name, "out_channels",
                 made["out_channels"], "in_channels, which are added to the output")
    return _complete_field(made) if name == "n2v-field" else made


def groups(config: Mapping[str, Any]) -> int:
    """Channel groups of a completed `n2v-field` configuration."""
    return config["in_channels"] if config["independent_channels"] else 1


def describe(name: str, config: Mapping[str, Any]) -> Facts:
    """Facts of network `name` of `NAMES`; keys left out of `config` take their defaults.

    Raises:
        WeightsError: an unknown network or option, or values that cannot be built.
    """
    config = complete(name, config)
    if name == "n2v-field":
        return _field(config)
    channels = dict(inputs=config["in_channels"], outputs=config["out_channels"])
    none: frozenset[str] = frozenset()
    if name == "n2v-unet":
        align = 2 ** UNET_LEVELS
        return Facts(_unet_shapes(**channels), none, none, reach.halo(_unet_reach, align), align,
                     2, **channels)
    layers = config["num_layers"]
    return Facts(_rednet_shapes(layers, config["num_features"], **channels), none, none,
                 reach.halo(lambda x: _rednet_reach(x, layers), 2), 2, 2, **channels)


def field_blocks(config: Mapping[str, Any]) -> list[BlockPlan]:
    """Double convolutions of the field's U-Net in state-dict order: encoder, bottleneck, decoder.

    Args:
        config: completed `n2v-field` configuration.
    """
    depth, parts = config["depth"], groups(config)
    width = [parts * config["num_channels_init"] * 2**i for i in range(depth + 1)]
    plans = []
    for i in range(depth):
        inputs = config["in_channels"] if i == 0 else width[i - 1]
        plans.append(BlockPlan(f"encoder.encoder_blocks.{2 * i}", inputs, width[i], width[i]))
    plans.append(BlockPlan("decoder.bottleneck", width[depth - 1], width[depth],
                           width[depth - 1]))
    for j in range(depth):
        own = width[depth - 1 - j]
        top = j == depth - 1
        inputs = own if top and config["n2v2"] else 2 * own
        plans.append(BlockPlan(f"decoder.decoder_blocks.{2 * j + 1}", inputs, own,
                               own if top else own // 2))
    return plans


def _require(holds: bool, name: str, key: str, value: Any, expected: str) -> None:
    if not holds:
        raise WeightsError(f"network '{name}' has {key} = {value!r}, expected {expected}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _complete_field(config: dict[str, Any]) -> dict[str, Any]:
    name = "n2v-field"
    _require(config["conv_dims"] in (2, 3), name, "conv_dims", config["conv_dims"], "2 or 3")
    _require(config["depth"] <= MAX_DEPTH, name, "depth", config["depth"],
             f"at most {MAX_DEPTH}")
    _require(config["num_classes"] % groups(config) == 0, name, "num_classes",
             config["num_classes"], "a multiple of in_channels, which stay independent")
    if config["residual"]:
        _require(config["num_classes"] == config["in_channels"], name, "num_classes",
                 config["num_classes"], "in_channels, which are added to the output")
    activation = config["final_activation"]
    if activation is None or str(activation).lower() == "none":
        config["final_activation"] = None
    else:
        config["final_activation"] = str(activation).lower()
        _require(config["final_activation"] in ACTIVATIONS, name, "final_activation", activation,
                 "none, " + ", ".join(ACTIVATIONS))
    return config


def _conv(shapes: Shapes, key: str, inputs: int, outputs: int, kernel: int = 3,
          dims: int = 2) -> None:
    shapes[f"{key}.weight"] = (outputs, inputs, *(kernel,) * dims)
    shapes[f"{key}.bias"] = (outputs,)


def _field(config: Mapping[str, Any]) -> Facts:
    dims, parts = config["conv_dims"], groups(config)
    shapes: Shapes = {}
    unused, buffers = set(), set()
    for plan in field_blocks(config):
        _conv(shapes, f"{plan.key}.conv1", plan.inputs // parts, plan.middle, dims=dims)
        _conv(shapes, f"{plan.key}.conv2", plan.middle // parts, plan.outputs, dims=dims)
        for index, width in ((1, plan.middle), (2, plan.outputs)):
            norm = {f"{plan.key}.batch_norm{index}.{part}": (width,)
                    for part in ("weight", "bias", "running_mean", "running_var")}
            counter = f"{plan.key}.batch_norm{index}.num_batches_tracked"
            shapes.update(norm)
            shapes[counter] = ()
            buffers.update([*list(norm)[2:], counter])
            unused.update([counter] if config["use_batch_norm"] else [*norm, counter])
    _conv(shapes, "final_conv", config["num_channels_init"], config["num_classes"], 1, dims)
    align = 2 ** config["depth"]
    radius = reach.halo(lambda x: _field_reach(x, config["depth"], config["n2v2"]), align)
    return Facts(shapes, frozenset(unused), frozenset(buffers), radius, align, dims,
                 config["in_channels"], config["num_classes"])


def _field_reach(x: reach.Reach, depth: int, n2v2: bool) -> reach.Reach:
    skips = []
    for _ in range(depth):
        skips.append(reach.conv(x, 2))
        x = (reach.blur_pool if n2v2 else reach.pool)(skips[-1])
    x = reach.conv(x, 2)
    for level in reversed(range(depth)):
        x = reach.linear_up(x)
        x = reach.conv(x if n2v2 and level == 0 else reach.union(x, skips[level]), 2)
    return x


def _unet_shapes(inputs: int, outputs: int) -> Shapes:
    shapes: Shapes = {}
    for key, a, b in (("_block1.0", inputs, 48), ("_block1.2", 48, 48), ("_block2.0", 48, 48),
                      ("_block3.0", 48, 48), ("_block3.2", 48, 48), ("_block4.0", 96, 96),
                      ("_block4.2", 96, 96), ("_block4.4", 96, 96), ("_block5.0", 144, 96),
                      ("_block5.2", 96, 96), ("_block5.4", 96, 96),
                      ("_block6.0", 96 + inputs, 64), ("_block6.2", 64, 32),
                      ("_block6.4", 32, outputs)):
        _conv(shapes, key, a, b)
    return shapes


def _unet_reach(x: reach.Reach) -> reach.Reach:
    pooled = [reach.pool(reach.conv(x, 2))]
    for _ in range(UNET_LEVELS - 1):
        pooled.append(reach.pool(reach.conv(pooled[-1])))
    up = reach.transposed(reach.conv(pooled.pop()))
    while pooled:
        up = reach.transposed(reach.conv(reach.union(up, pooled.pop()), 2))
    return reach.conv(reach.union(up, x), 3)


def _rednet_shapes(layers: int, features: int, inputs: int, outputs: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(layers):
        _conv(shapes, f"conv_layers.{i}.0", features if i else inputs, features)
    for i in range(layers - 1):
        _conv(shapes, f"deconv_layers.{i}.0", features, features)
    # Transposed convolutions are stored as (in, out, 3, 3).
    shapes[f"deconv_layers.{layers - 1}.weight"] = (features, outputs, 3, 3)
    shapes[f"deconv_layers.{layers - 1}.bias"] = (outputs,)
    return shapes


def _rednet_reach(x: reach.Reach, layers: int) -> reach.Reach:
    return reach.transposed(reach.conv(reach.strided(x), 2 * layers - 2))
