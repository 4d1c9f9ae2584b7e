"""State dicts of the EDSR authors' fixed-scale up-samplers (``edsr_baseline_x2-….pt`` …)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from restore_cli.weights.convert import LIIF_NORMALISATION, Draft, as_state_dict
from restore_cli.weights.converters import shapes
from restore_cli.weights.torch_file import shape_of


class EdsrConverter:
    """A bare EDSR state dict with a tail, without ``encoder.`` before its keys.

    The authors' networks see ``255 x - 255 mean`` where LIIF's see ``2 x - 1``. Zero padding
    makes the two impossible to fold into the weights exactly, so the tensors stay as they are
    and the metadata says how to feed them.
    """

    name = "EDSR up-samplers (sanghyun-son/EDSR-PyTorch)"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        tensors = as_state_dict(value)
        if tensors is None or not {"head.0.weight", "tail.1.weight",
                                   "body.0.body.0.weight"} <= set(tensors):
            return None
        sizes = {key: shape_of(item) for key, item in tensors.items()}
        if any(".conv_du." in key for key in sizes):
            return None  # RCAN's names are EDSR's plus these
        config = {**shapes.edsr_args(sizes), "scale": shapes.edsr_scale(sizes),
                  "no_upsampling": False}
        draft = Draft("edsr", config, tensors)
        draft.notes.append(f"residual scale {config['res_scale']} was assumed from "
                           f"{config['n_feats']} channels")
        mean = _mean_shift(tensors, array)
        if mean is None:
            draft.normalisation = LIIF_NORMALISATION
            draft.notes.append("sub_mean and add_mean are no mean shift; the network is fed as "
                               "LIIF's encoders are")
        else:
            draft.normalisation = mean
        return draft


def _mean_shift(tensors: dict[str, Any], array: Callable[[Any], np.ndarray]):
    """(mean, std) as in `Draft.normalisation` when the file's mean shifts are a plain pair."""
    keys = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")
    expected = ((3, 3, 1, 1), (3,), (3, 3, 1, 1), (3,))
    if any(key not in tensors or shape_of(tensors[key]) != shape
           for key, shape in zip(keys, expected, strict=True)):
        return None
    sub, subtracted, add, added = (array(tensors[key]).astype(np.float64) for key in keys)
    identity = np.eye(3).reshape(3, 3, 1, 1)
    if not (np.allclose(sub, identity) and np.allclose(add, identity)
            and np.allclose(subtracted, -added) and (added >= 0).all()):
        return None
    levels = 255.0 if added.max() > 1 else 1.0
    mean = [round(float(value) / levels, 6) for value in added]
    return tuple(mean), (1 / levels,) * 3
