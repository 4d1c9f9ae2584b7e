"""Reads the settings of a RAW denoising network off the shapes of its tensors."""

from __future__ import annotations

import math
import re
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.led import shapes_restormer
from restore_cli.nets.led.shapes_parts import REPNR_DEFAULTS
from restore_cli.weights.converters.shapes import Shapes, count, side

PLANES = 4
WORDS = {"led-unet": "U-Net", "led-cunet": "U-Net with a control", "led-nafnet": "NAFNet",
         "led-restormer": "Restormer"}

# Layers that RepNR never replaces, and some of every block: their bias tells the network's own.
_FIRST = {"led-unet": "conv1_1", "led-cunet": "conv1_1", "led-nafnet": "intro",
          "led-restormer": "patch_embed.proj"}
_LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")


def kind(shapes: Shapes) -> str | None:
    """Registry name of the network whose keys these are, or None."""
    if _has(shapes, "intro") and "ending.weight" in shapes and \
            any(".sca.1." in key for key in shapes):
        return "led-nafnet"
    if _has(shapes, "patch_embed.proj") and any(key.endswith(".attn.temperature")
                                                for key in shapes):
        return "led-restormer"
    if _has(shapes, "conv1_1") and ("conv10_1.weight" in shapes or "upv6.weight" in shapes):
        return "led-cunet" if _has(shapes, "conv3_2.conv1") else "led-unet"
    return None


def config(arch: str, shapes: Shapes) -> dict[str, Any]:
    """The configuration of a network of `kind`.

    Raises:
        WeightsError: shapes of no such network, or of one for other data than packed RAW planes.
    """
    made = {"led-nafnet": _nafnet, "led-restormer": _restormer}.get(arch, _unet)(arch, shapes)
    made["repnr"] = _repnr(shapes)
    inputs, outputs = side(shapes, _weight(shapes, _FIRST[arch]), 1), _outputs(arch, shapes)
    if (inputs, outputs) != (PLANES, PLANES):
        raise WeightsError(f"holds a {WORDS[arch]} that makes {outputs} channels of {inputs}, not "
                           f"the {PLANES} planes of a RAW file from {PLANES}",
                           hint="Networks for developed pictures cannot denoise RAW files")
    return made


def _unet(arch: str, shapes: Shapes) -> dict[str, Any]:
    return {"inchannels": PLANES, "outchannels": PLANES,
            "channels": side(shapes, _weight(shapes, _FIRST[arch]), 0)}


def _nafnet(arch: str, shapes: Shapes) -> dict[str, Any]:
    levels = count(shapes, r"downs\.(\d+)\.")
    blocks = {part: [count(shapes, rf"{part}\.{level}\.(\d+)\.") for level in range(levels)]
              for part in ("encoders", "decoders")}
    return {"img_channel": PLANES, "width": side(shapes, _weight(shapes, _FIRST[arch]), 0),
            "middle_blk_num": count(shapes, r"middle_blks\.(\d+)\."),
            "enc_blk_nums": blocks["encoders"], "dec_blk_nums": blocks["decoders"]}


def _restormer(arch: str, shapes: Shapes) -> dict[str, Any]:
    dim = side(shapes, _weight(shapes, _FIRST[arch]), 0)
    blocks = [count(shapes, rf"{level}\.(\d+)\.") for level in _LEVELS]
    some = next(key for key in shapes if key.endswith(".attn.temperature"))
    block = some[:-len(".attn.temperature")]
    biased = f"{block}.attn.qkv_dwconv.bias" in shapes
    heads = [side(shapes, f"{level}.0.attn.temperature", 0) if number else 1
             for level, number in zip(_LEVELS, blocks, strict=True)]
    return {"inp_channels": PLANES, "out_channels": PLANES, "dim": dim, "num_blocks": blocks,
            "num_refinement_blocks": count(shapes, r"refinement\.(\d+)\."), "heads": heads,
            "ffn_expansion_factor": _expansion(shapes), "bias": biased,
            "LayerNorm_type": ("WithBias" if f"{block}.norm1.body.bias" in shapes
                               else "BiasFree"),
            "folded": not biased and f"{block}.attn.qkv.bias" in shapes}


def _expansion(shapes: Shapes) -> float:
    """The factor whose products with all widths, rounded down, are the hidden widths."""
    least, most = 0.0, math.inf
    for key in shapes:
        if re.search(r"\.ffn\.project_out\.(main_)?weight$", key):
            channels, hidden = side(shapes, key, 0), side(shapes, key, 1)
            if channels:
                least, most = max(least, hidden / channels), min(most, (hidden + 1) / channels)
    usual = shapes_restormer.DEFAULTS["ffn_expansion_factor"]
    if least <= usual < most:
        return usual
    if not least < most < math.inf:
        raise WeightsError("has feed-forward widths that follow from no single expansion factor")
    return (least + most) / 2


def _repnr(shapes: Shapes) -> dict[str, Any] | None:
    first = next((key for key in shapes if key.endswith(".main_weight")), None)
    if first is None:
        return None
    layer = re.escape(first[:-len(".main_weight")])
    found = count(shapes, rf"{layer}\.align_weights\.(\d+)$")
    if found < 2:
        raise WeightsError(f"has {found} alignments a layer, where there is one for each virtual "
                           "camera and one for the target camera")
    return {**REPNR_DEFAULTS, "branches": found - 1,
            "aux": any(key.endswith(".aux_weight") for key in shapes)}


def _outputs(arch: str, shapes: Shapes) -> int:
    last = {"led-nafnet": "ending", "led-restormer": "output"}.get(arch, "conv10_1")
    return side(shapes, f"{last}.weight", 0)


def _has(shapes: Shapes, layer: str) -> bool:
    return _weight(shapes, layer) in shapes


def _weight(shapes: Shapes, layer: str) -> str:
    """Key of a layer's weight in whichever form it has."""
    main = f"{layer}.main_weight"
    return main if main in shapes else f"{layer}.weight"
