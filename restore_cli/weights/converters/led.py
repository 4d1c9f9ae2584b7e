"""Checkpoints of Srameo/LED (Jin et al., ICCV 2023) and of the plain networks it compares with.

Pretrained files keep their alignments, so that they can be fitted to a camera. Fitted ones are
folded here, always from `params`: what upstream's own deployment stores beside it
(`params_deploy`) has lost NAFNet's residual scales, Restormer's temperatures and the biases that
folding makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.nets.led import fold
from restore_cli.weights.convert import Draft, as_state_dict, fit
from restore_cli.weights.converters import led_noise, led_shapes
from restore_cli.weights.torch_file import shape_of

LICENCE = "CC BY-NC 4.0"
_TRAINED, _DEPLOYED = ("params_ema", "params"), ("params_ema_deploy", "params_deploy")

# {method}_{phase}_{data set}_{camera}_{training setting}_Setting_Ratio{range}, upstream's names.
_NAME = re.compile(r"(?:LED(?:\+\w+)?|ELD|PG|SID)_(?:Pretrain|Deploy)_[A-Za-z0-9]+_([A-Za-z0-9]+)_"
                   r"[A-Za-z0-9]+_Setting_Ratio(\d{1,4})-(\d{1,4})(?!\d)")
# How RAW files name the cameras.
_CAMERAS = {"SonyA7S2": "SONY ILCE-7SM2", "NikonD850": "NIKON D850", "SonyA7M4": "SONY ILCE-7M4"}

# What upstream's deployment leaves as it starts: keys, value, and what they are.
_LOST: Mapping[str, tuple[str, float, str]] = {
    "led-nafnet": (r"\.(beta|gamma)$", 0.0, "residual scales (beta and gamma)"),
    "led-restormer": (r"\.temperature$", 1.0, "temperatures")}


class LedConverter:
    """``{'params': …}``, with ``'params_deploy'`` where upstream deployed it, or a state dict."""

    name = "LED and its U-Net, NAFNet and Restormer for RAW files (Srameo/LED)"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        if not isinstance(value, dict):
            return None
        if led_noise.is_generator(value):
            raise WeightsError("holds the noise of virtual cameras, not a network",
                               hint="'restore weights convert' makes a file of it for "
                                    "'restore train led --cameras FILE.json'")
        source = next((key for key in (*_TRAINED, *_DEPLOYED)
                       if as_state_dict(value.get(key)) is not None), None)
        tensors = as_state_dict(value if source is None else value[source])
        if tensors is None:
            return None
        shapes = {key: shape_of(item) for key, item in tensors.items()}
        arch = led_shapes.kind(shapes)
        if arch is None:
            return None
        draft = Draft(arch, led_shapes.config(arch, shapes), tensors, normalisation=None,
                      metadata={"task": "denoise-raw"}, named=facts_of_name)
        if source is not None:
            draft.unused += [str(key) for key in value if key != source]
            if any(key.startswith("module.") for key in value[source]):
                draft.notes.append("the prefix 'module.' was removed from all keys")
            if source == _TRAINED[0] and _TRAINED[1] in value:
                draft.notes.append("the averaged weights (params_ema) were taken")
        return _finished(draft, array, deployed=any(key in value for key in _DEPLOYED))


def facts_of_name(name: str) -> dict[str, str]:
    """Metadata that the name of a published file tells: cameras, ratios, licence.

    Args:
        name: of the file, as upstream names them; others tell nothing.
    """
    found = _NAME.search(name)
    if found is None:
        return {}
    camera, low, high = found[1], int(found[2]), int(found[3])
    facts = {"licence": LICENCE}
    if 1 <= low <= high:
        facts["ratios"] = json.dumps([low, high])
    if camera != "None":
        facts["cameras"] = json.dumps([_CAMERAS.get(camera, camera)])
    return facts


def _finished(draft: Draft, array: Callable[[Any], np.ndarray], deployed: bool) -> Draft:
    form = draft.config["repnr"]
    if form is None:
        _check_deployment(draft, array)
        draft.metadata["stage"] = "plain"
        return draft
    if not form["aux"] and not deployed:
        draft.metadata |= {"stage": "pretrain", "cameras": json.dumps(["any"])}
        draft.notes.append(f"pretrained with {form['branches']} virtual cameras: fit it to yours "
                           "with 'restore train led --finetune'")
        return draft
    weights, _ = fit(draft, array)  # every misfit is told before anything is computed
    with np.errstate(over="ignore", invalid="ignore"):  # `fit` looks for infinities again
        draft.config, draft.tensors = fold.fold(draft.arch, draft.config, weights.tensors)
    draft.metadata["stage"] = "finetune"
    draft.notes.append("the alignment of its camera was folded into a plain network")
    if deployed and draft.arch in _LOST:
        draft.notes.append("what upstream's deployment stored beside it is wrong and was not used")
    return draft


def _check_deployment(draft: Draft, array: Callable[[Any], np.ndarray]) -> None:
    """Refuses what upstream's deployment ruined: it copies layers, not single parameters.

    Raises:
        WeightsError: single parameters have the values they start with, in every block.
    """
    if draft.arch not in _LOST:
        return
    pattern, start, words = _LOST[draft.arch]
    parts = [item for key, item in draft.tensors.items() if re.search(pattern, key)]
    if parts and all((array(item) == start).all() for item in parts):
        raise WeightsError(
            f"holds a {led_shapes.WORDS[draft.arch]} whose {words} are all {start:g}: upstream's "
            "deployment loses them, and nothing in the file brings them back",
            hint="Convert the file that also holds the fine-tuned network, 'params'")
