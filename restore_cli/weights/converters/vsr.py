"""Checkpoints of csbhr/Self-Blind-VSR, and of the PWC-Net that its training starts from.

Upstream saves bare state dicts, the published ones by PyTorch 0.4.1 on a GPU (no zip). Every
width is told by a shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.nets.vsr.shapes import FLOW_NAME, LEVELS, NAME
from restore_cli.weights.convert import Draft, as_state_dict
from restore_cli.weights.converters.shapes import Shapes, count, side
from restore_cli.weights.torch_file import shape_of

LICENCE = "CC BY-NC-SA 4.0 (it embeds PWC-Net); repository MIT"
_PUBLISHED = re.compile(r"self_blind_vsr_(gaussian|realistic)(?![a-z])")
_AS_IT_IS = ((0.0,) * 3, (1.0,) * 3)
_FLOW = "flow_net.moduleNetwork."
_FINEST = "moduleExtractor.moduleOne.0.weight"


class VsrConverter:
    """A bare state dict of the whole network, or of its flow network alone."""

    name = "Self-Blind-VSR (csbhr/Self-Blind-VSR) and PWC-Net (sniklaus/pytorch-pwc)"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        del array  # names and shapes tell everything
        tensors = as_state_dict(value)
        if tensors is None:
            return None
        shapes = {key: shape_of(item) for key, item in tensors.items()}
        prefixed = all(key.startswith("module.") for key in value)
        if _FINEST in shapes:
            draft = Draft(FLOW_NAME, _flow(shapes, ""), tensors, normalisation=_AS_IT_IS)
            draft.notes.append("a flow network alone; the published one was made for BGR, "
                               "Self-Blind-VSR goes on training it with RGB")
        elif {"fusion_conv.0.weight", "in_conv.0.weight"} & set(shapes) and any(
                key.startswith((_FLOW, "recons_net.")) for key in shapes):
            draft = Draft(NAME, _whole(shapes), tensors, normalisation=_AS_IT_IS,
                          metadata={"task": "vsr"}, named=facts_of_name)
        else:
            return None
        if prefixed:
            draft.notes.append("the prefix 'module.' was removed from all keys")
        return draft


def facts_of_name(name: str) -> dict[str, str]:
    """Metadata that the name of a published file tells: the blur it is for, its licence."""
    found = _PUBLISHED.search(name)
    return {} if found is None else {"blur": found[1], "licence": LICENCE}


def _whole(shapes: Shapes) -> dict[str, Any]:
    """The configuration of the whole network.

    Raises:
        WeightsError: shapes of no such network.
    """
    feat = side(shapes, "in_conv.0.weight", 0)
    inputs, stages = side(shapes, "fusion_conv.0.weight", 1), count(
        shapes, r"upsample_layers\.(\d+)\.weight$")
    if not feat or inputs % feat:
        raise WeightsError(f"fuses {inputs} channels where every frame has {feat}")
    wide = side(shapes, "kernel_net.in_conv.weight", 0)
    narrow = side(shapes, "kernel_net.body1.0.body.3.conv_du.0.weight", 0)
    made = {"n_colors": side(shapes, "in_conv.0.weight", 1), "n_sequence": inputs // feat,
            "n_feat": feat, "extra_RBS": count(shapes, r"extra_feat\.(\d+)\."),
            "recons_RBS": count(shapes, r"recons_net\.(\d+)\."),
            "ksize": math.isqrt(side(shapes, "kernel_net.fc_net.1.weight", 0)),
            "HR_in": stages == 0, **_flow(shapes, _FLOW), "kernel_channels": wide,
            "kernel_reduction": wide // max(narrow, 1),
            "kernel_hidden": side(shapes, "kernel_net.fc_net.0.weight", 0)}
    return {**made, "scale": 2 ** min(stages, 16)} if stages else made


def _flow(shapes: Shapes, key: str) -> dict[str, Any]:
    """The widths of the flow network whose keys begin with `key`; "n_colors" for it alone."""
    made: dict[str, Any] = {
        "flow_channels": [side(shapes, f"{key}moduleExtractor.module{level}.0.weight", 0)
                          for level in LEVELS],
        "flow_dense": [side(shapes, f"{key}moduleTwo.module{level}.0.weight", 0)
                       for level in LEVELS[:-1]],
        "flow_refine": [side(shapes, f"{key}moduleRefiner.moduleMain.{place}.weight", 0)
                        for place in range(0, 12, 2)]}
    return made if key else {"n_colors": side(shapes, _FINEST, 1), **made}
