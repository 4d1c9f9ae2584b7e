"""Parameter names and shapes of NAFNet (Chen et al., ECCV 2022), told without building it."""

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

NAME = "led-nafnet"
MAX_LEVELS = 8
DEFAULTS: dict[str, Any] = dict(img_channel=4, width=32, middle_blk_num=2,
                                enc_blk_nums=[2, 2, 2, 2], dec_blk_nums=[2, 2, 2, 2],
                                **FORM_DEFAULTS)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in.

    Raises:
        WeightsError: an unknown option, or a value that cannot be built.
    """
    made = complete_form(fill(DEFAULTS, config, f"network '{NAME}'"), NAME)
    for key in ("img_channel", "width"):
        require_count(NAME, key, made[key])
    require_count(NAME, "middle_blk_num", made["middle_blk_num"], 0)
    blocks = made["enc_blk_nums"]
    levels = len(blocks) if isinstance(blocks, (list, tuple)) else 0
    require(1 <= levels <= MAX_LEVELS, NAME, "enc_blk_nums", blocks,
            f"a list of 1 to {MAX_LEVELS} whole numbers")
    for key in ("enc_blk_nums", "dec_blk_nums"):
        require_counts(NAME, key, made[key], levels)
    return made


def align(config: Mapping[str, Any]) -> int:
    """Sides are padded to multiples of this many pixels."""
    return 2 ** len(complete(config)["enc_blk_nums"])


def describe(config: Mapping[str, Any]) -> Shapes:
    """Every state-dict key with its shape, in upstream's order.

    Args:
        config: keys left out take their defaults; "repnr" chooses the form. All convolutions
            that RepNR replaces have a bias, so "folded" changes nothing here.

    Raises:
        WeightsError: an unknown option, or a value that cannot be built.
    """
    config = complete(config)
    images, width, levels = config["img_channel"], config["width"], len(config["enc_blk_nums"])
    shapes: Shapes = {}
    convertible(shapes, "intro", images, width, 3, True, config)
    plain(shapes, "ending", width, images, 3, True)
    for level, blocks in enumerate(config["enc_blk_nums"]):
        for block in range(blocks):
            _block(shapes, f"encoders.{level}.{block}", width << level, config)
    for step, blocks in enumerate(config["dec_blk_nums"]):
        for block in range(blocks):
            _block(shapes, f"decoders.{step}.{block}", width << levels - 1 - step, config)
    for block in range(config["middle_blk_num"]):
        _block(shapes, f"middle_blks.{block}", width << levels, config)
    for step in range(levels):
        wide = width << levels - step
        plain(shapes, f"ups.{step}.upconv", wide, 2 * wide, 1, False)
    for level in range(levels):
        wide = width << level
        plain(shapes, f"downs.{level}.downconv", wide, 2 * wide, 2, True)
    return shapes


def _block(shapes: Shapes, key: str, channels: int, config: Mapping[str, Any]) -> None:
    for scale in ("beta", "gamma"):
        shapes[f"{key}.{scale}"] = (1, channels, 1, 1)
    convertible(shapes, f"{key}.conv1", channels, 2 * channels, 1, True, config)
    plain(shapes, f"{key}.dwconv2", 1, 2 * channels, 3, True)
    convertible(shapes, f"{key}.conv3", channels, channels, 1, True, config)
    convertible(shapes, f"{key}.sca.1", channels, channels, 1, True, config)
    convertible(shapes, f"{key}.conv4", channels, 2 * channels, 1, True, config)
    convertible(shapes, f"{key}.conv5", channels, channels, 1, True, config)
    for norm in ("norm1", "norm2"):
        shapes[f"{key}.{norm}.weight"] = shapes[f"{key}.{norm}.bias"] = (channels,)
