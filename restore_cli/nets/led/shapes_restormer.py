"""Parameter names and shapes of Restormer (Zamir et al., CVPR 2022), told without building it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_cli.nets.led.shapes_parts import (
    FORM_DEFAULTS,
    Shapes,
    complete_form,
    convertible,
    plain,
    require,
    require_count,
    require_counts,
)
from restore_cli.nets.liif.shapes import fill

NAME = "led-restormer"
LEVELS = 4
ALIGN = 2 ** (LEVELS - 1)  # sides are padded to multiples of this many pixels
NORMS = ("WithBias", "BiasFree")
DEFAULTS: dict[str, Any] = dict(inp_channels=4, out_channels=4, dim=32, num_blocks=[2, 2, 2, 2],
                                num_refinement_blocks=1, heads=[1, 2, 4, 8],
                                ffn_expansion_factor=2.66, bias=False,
                                LayerNorm_type="WithBias", **FORM_DEFAULTS)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in.

    Raises:
        WeightsError: an unknown option, or a value that cannot be built.
    """
    made = complete_form(fill(DEFAULTS, config, f"network '{NAME}'"), NAME)
    for key in ("inp_channels", "out_channels", "dim"):
        require_count(NAME, key, made[key])
    require_counts(NAME, "num_blocks", made["num_blocks"], LEVELS)
    require_counts(NAME, "heads", made["heads"], LEVELS, 1)
    require_count(NAME, "num_refinement_blocks", made["num_refinement_blocks"], 0)

    def check(key: str, holds: bool, expected: str) -> None:
        require(holds, NAME, key, made[key], expected)

    check("out_channels", made["out_channels"] == made["inp_channels"],
          "inp_channels: the input is added to the output")
    check("dim", made["dim"] % 2 == 0, "an even number: it is halved between levels")
    check("heads", all((made["dim"] << level) % heads == 0
                       for level, heads in enumerate(made["heads"])),
          "divisors of the channels of the four levels")
    factor = made["ffn_expansion_factor"]
    check("ffn_expansion_factor",
          isinstance(factor, (int, float)) and not isinstance(factor, bool)
          and 1 <= factor * made["dim"] < 2**16, "a number that leaves at least one channel")
    check("bias", isinstance(made["bias"], bool), "true or false")
    check("LayerNorm_type", made["LayerNorm_type"] in NORMS, " or ".join(NORMS))
    return made


def hidden(channels: int, factor: float) -> int:
    """Width of each half of a feed-forward part."""
    return int(channels * factor)


def stages(config: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """(blocks, channels, heads) of every group of blocks, in upstream's order.

    Args:
        config: complete.
    """
    dim, blocks, heads = config["dim"], config["num_blocks"], config["heads"]
    return {
        **{f"encoder_level{i + 1}": (blocks[i], dim << i, heads[i]) for i in range(3)},
        "latent": (blocks[3], 8 * dim, heads[3]),
        "decoder_level3": (blocks[2], 4 * dim, heads[2]),
        "decoder_level2": (blocks[1], 2 * dim, heads[1]),
        # Level 1 is not reduced after the concatenation, so it is twice as wide.
        "decoder_level1": (blocks[0], 2 * dim, heads[0]),
        "refinement": (config["num_refinement_blocks"], 2 * dim, heads[0]),
    }


def describe(config: Mapping[str, Any]) -> Shapes:
    """Every state-dict key with its shape, in upstream's order.

    Args:
        config: keys left out take their defaults. "repnr" chooses the form; with "folded" every
            convolution that RepNR replaces has a bias, because folding makes one.

    Raises:
        WeightsError: an unknown option, or a value that cannot be built.
    """
    config = complete(config)
    dim = config["dim"]
    shapes: Shapes = {}
    # Upstream gives the first convolution and those that change the size no bias at all.
    convertible(shapes, "patch_embed.proj", config["inp_channels"], dim, 3, False, config)
    for name, (blocks, channels, heads) in stages(config).items():
        if name.startswith("decoder_level"):
            level = int(name[-1])
            wide = dim << level
            convertible(shapes, f"up{level + 1}_{level}.body.0", wide, 2 * wide, 3, False, config)
            if level > 1:
                convertible(shapes, f"reduce_chan_level{level}", wide, wide // 2, 1,
                            config["bias"], config)
        for block in range(blocks):
            _block(shapes, f"{name}.{block}", channels, heads, config)
        if name.startswith("encoder_level"):
            level = int(name[-1])
            convertible(shapes, f"down{level}_{level + 1}.body.0", channels, channels // 2, 3,
                        False, config)
    plain(shapes, "output", 2 * dim, config["out_channels"], 3, config["bias"])
    return shapes


def _block(shapes: Shapes, key: str, channels: int, heads: int, config: Mapping[str, Any]) -> None:
    bias, wide = config["bias"], hidden(channels, config["ffn_expansion_factor"])
    _norm(shapes, f"{key}.norm1.body", channels, config)
    shapes[f"{key}.attn.temperature"] = (heads, 1, 1)
    convertible(shapes, f"{key}.attn.qkv", channels, 3 * channels, 1, bias, config)
    plain(shapes, f"{key}.attn.qkv_dwconv", 1, 3 * channels, 3, bias)
    convertible(shapes, f"{key}.attn.project_out", channels, channels, 1, bias, config)
    _norm(shapes, f"{key}.norm2.body", channels, config)
    convertible(shapes, f"{key}.ffn.project_in", channels, 2 * wide, 1, bias, config)
    plain(shapes, f"{key}.ffn.dwconv", 1, 2 * wide, 3, bias)
    convertible(shapes, f"{key}.ffn.project_out", wide, channels, 1, bias, config)


def _norm(shapes: Shapes, key: str, channels: int, config: Mapping[str, Any]) -> None:
    shapes[f"{key}.weight"] = (channels,)
    if config["LayerNorm_type"] == "WithBias":
        shapes[f"{key}.bias"] = (channels,)
