"""Reads a network's settings off the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.liif.shapes import RDN_CONFIGS

Shapes = Mapping[str, tuple[int, ...]]

# EDSR scales its residuals by 0.1 where there are 256 channels; no shape tells.
_WIDE = 256


def count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the group of `pattern` takes among the keys."""
    found = {match.group(1) for key in shapes if (match := re.match(pattern, key))}
    return len(found)


def encoder_spec(shapes: Shapes) -> tuple[dict[str, Any], int]:
    """Name and args of a LIIF encoder without up-sampling, and its feature channels.

    Raises:
        WeightsError: none of the known encoders.
    """
    if "SFENet1.weight" in shapes:
        return _rdn(shapes)
    features = side(shapes, "head.0.weight", 0)
    attention = [key for key in shapes if key.endswith(".conv_du.0.weight")]
    if attention:
        groups = count(shapes, r"body\.(\d+)\.body\.")
        blocks = count(shapes, r"body\.0\.body\.(\d+)\.body\.")
        squeezed = max(side(shapes, attention[0], 0), 1)
        args = {"no_upsampling": True, "n_resgroups": groups, "n_resblocks": blocks,
                "n_feats": features, "reduction": features // squeezed}
        return {"name": "rcan", "args": args}, features
    return {"name": edsr_name(features),
            "args": {"no_upsampling": True, **edsr_args(shapes)}}, features


def edsr_name(features: int) -> str:
    """Which of the two published EDSR variants has so many channels."""
    return "edsr" if features >= _WIDE else "edsr-baseline"


def edsr_args(shapes: Shapes) -> dict[str, Any]:
    """Blocks, channels and residual scale of an EDSR, keys without prefix."""
    features = side(shapes, "head.0.weight", 0)
    blocks = count(shapes, r"body\.(\d+)\.body\.0\.weight$")
    return {"n_resblocks": blocks, "n_feats": features,
            "res_scale": 0.1 if features >= _WIDE else 1}


def edsr_scale(shapes: Shapes) -> int:
    """Magnification of an EDSR's tail.

    Raises:
        WeightsError: a tail of unknown build.
    """
    scale = 1
    for key, shape in shapes.items():
        if re.fullmatch(r"tail\.0\.\d+\.weight", key):
            factor = {4: 2, 9: 3}.get(shape[0] // max(shape[1], 1)) if len(shape) == 4 else None
            if factor is None:
                raise WeightsError(f"has an up-sampling layer {key} of unknown shape {list(shape)}")
            scale *= factor
    return scale


def mlp_widths(shapes: Shapes, prefix: str) -> list[int]:
    """Inputs, hidden widths and outputs of an MLP whose even layers are linear.

    Raises:
        WeightsError: layers missing or not linear.
    """
    count_ = count(shapes, re.escape(prefix) + r"layers\.(\d+)\.weight$")
    widths = [side(shapes, f"{prefix}layers.{2 * index}.weight", 0) for index in range(count_)]
    return [side(shapes, f"{prefix}layers.0.weight", 1), *widths]


def _rdn(shapes: Shapes) -> tuple[dict[str, Any], int]:
    base = side(shapes, "SFENet1.weight", 0)
    blocks = count(shapes, r"RDBs\.(\d+)\.")
    layers = count(shapes, r"RDBs\.0\.convs\.(\d+)\.")
    growth = side(shapes, "RDBs.0.convs.0.conv.0.weight", 0)
    for name, build in RDN_CONFIGS.items():
        if build == (blocks, layers, growth):
            return {"name": "rdn", "args": {"no_upsampling": True, "G0": base,
                                            "RDNconfig": name}}, base
    raise WeightsError(f"has an RDN of {blocks} blocks, {layers} layers and growth {growth}, "
                       "which is neither configuration A nor B")


def side(shapes: Shapes, key: str, axis: int) -> int:
    shape = shapes.get(key, ())
    if len(shape) <= axis:
        raise WeightsError(f"lacks {key}" if key not in shapes else f"has a strange {key}")
    return shape[axis]
