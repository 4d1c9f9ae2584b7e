"""Checkpoints of nobugs666/Noise2Void_jittor (both folders) and joeylitalien/noise2noise-pytorch.

Their U-Net has the same 28 keys in both projects; only how it is fed differs, which no tensor
tells. `convert` corrects the colour files of noise2noise-pytorch it knows by their hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.nets.n2v.shapes import REDNET_LAYERS
from restore_cli.weights.convert import Draft, as_state_dict
from restore_cli.weights.converters.shapes import Shapes, count, side
from restore_cli.weights.torch_file import shape_of

UNIT = {"kind": "unit", "clip": False}


class Noise2VoidConverter:
    """A bare state dict of N2V_Unet or REDNet, or ``{'epoch', 'model': state dict}``."""

    name = "Noise2Void U-Net and REDNet10/20/30 (nobugs666/Noise2Void_jittor)"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        inner = value.get("model", value) if isinstance(value, dict) else None
        tensors = as_state_dict(inner)
        if tensors is None:
            return None
        shapes = {key: shape_of(item) for key, item in tensors.items()}
        if "_block1.0.weight" in shapes and "_block6.4.weight" in shapes:
            draft = _unet(tensors, shapes)
        elif "conv_layers.0.0.weight" in shapes:
            draft = _rednet(tensors, shapes)
        else:
            return None
        if inner is not value:
            draft.unused += [str(key) for key in value if key != "model"]
        return draft


def denoiser(arch: str, config: dict[str, Any], tensors: dict[str, Any],
             normalisation: Mapping[str, Any]) -> Draft:
    """A draft of a denoising network, fed as `normalisation` says."""
    return Draft(arch, config, tensors, normalisation=None,
                 metadata={"normalisation": json.dumps(normalisation)})


def _unet(tensors: dict[str, Any], shapes: Shapes) -> Draft:
    config = {"in_channels": side(shapes, "_block1.0.weight", 1),
              "out_channels": side(shapes, "_block6.4.weight", 0)}
    draft = denoiser("n2v-unet", config, tensors, UNIT)
    if config["in_channels"] == 3:
        draft.notes.append("fed with data in 0..1 as Noise2Void_jittor does; a network that "
                           "noise2noise-pytorch trained wants --normalisation unit-8bit")
    return draft


def _rednet(tensors: dict[str, Any], shapes: Shapes) -> Draft:
    layers = count(shapes, r"conv_layers\.(\d+)\.0\.weight$")
    names = {number: name for name, number in REDNET_LAYERS.items()}
    if layers not in names:
        known = " and ".join(f"{name} of {number}" for number, name in names.items())
        raise WeightsError(f"holds a REDNet of {layers} layers, where there are {known}")
    config = {"in_channels": side(shapes, "conv_layers.0.0.weight", 1),
              "out_channels": side(shapes, f"deconv_layers.{layers - 1}.weight", 1),
              "num_features": side(shapes, "conv_layers.0.0.weight", 0), "residual": True}
    draft = denoiser(names[layers], config, tensors, UNIT)
    draft.notes.append("the published form was assumed, which adds the input to the output")
    return draft
