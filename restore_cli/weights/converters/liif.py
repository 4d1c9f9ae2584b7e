"""Checkpoints of yinboc/liif and of what follows its format (LIIF, MetaSR, fixed scale)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.weights.convert import Draft, as_state_dict
from restore_cli.weights.converters import shapes
from restore_cli.weights.torch_file import is_tensor, plain, shape_of

ARCHITECTURES = ("liif", "metasr")


class LiifConverter:
    """``{'model': {'name', 'args', 'sd'}, ...}``, or a bare state dict with the same keys."""

    name = "LIIF and MetaSR (yinboc/liif)"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        model = value.get("model") if isinstance(value, dict) else None
        if isinstance(model, dict) and "sd" in model:
            tensors = as_state_dict(model["sd"])
            name = model.get("name")
            if not isinstance(name, str) or name not in ARCHITECTURES or tensors is None:
                return None
            draft = Draft(name, plain(model.get("args") or {}), tensors,
                          unused=[str(key) for key in value if key != "model"])
            if _is_prefixed(model["sd"]):
                draft.notes.append("the prefix 'module.' was removed from all keys")
            return draft
        tensors = as_state_dict(model if isinstance(model, dict) else value)
        if tensors is None or not any(key.startswith("encoder.") for key in tensors) or \
                not any(key.startswith("imnet.") for key in tensors):
            return None
        return infer(tensors)


def infer(tensors: dict[str, Any], unused: list[str] | None = None) -> Draft:
    """A draft for a state dict under LIIF's keys, with the settings read off its shapes."""
    encoder = {key[len("encoder."):]: shape_of(item) for key, item in tensors.items()
               if key.startswith("encoder.")}
    imnet = {key: shape_of(item) for key, item in tensors.items() if key.startswith("imnet.")}
    spec, channels = shapes.encoder_spec(encoder)
    notes = ["the file has no settings; they were read off the shapes"]
    widths = shapes.mlp_widths(imnet, "imnet.")
    if len(widths) == 3 and widths[0] == 3 and widths[2] == channels * 27:
        return Draft("metasr", {"encoder_spec": spec}, tensors, unused or [], notes)
    for unfold in (True, False):
        for cell in (True, False):
            if widths[0] == channels * (9 if unfold else 1) + 2 + 2 * cell:
                config = {
                    "encoder_spec": spec,
                    "imnet_spec": {"name": "mlp", "args": {"out_dim": widths[-1],
                                                           "hidden_list": widths[1:-1]}},
                    "local_ensemble": True, "feat_unfold": unfold, "cell_decode": cell}
                notes.append("local ensemble was assumed")
                return Draft("liif", config, tensors, unused or [], notes)
    raise WeightsError(f"has a decoder of {widths[0]} inputs, which fits no LIIF with "
                       f"{channels} feature channels")


def _is_prefixed(state: Any) -> bool:
    return all(isinstance(key, str) and key.startswith("module.") and is_tensor(item)
               for key, item in state.items())
