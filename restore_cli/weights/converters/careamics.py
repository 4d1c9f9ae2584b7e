"""Checkpoints of CAREamics' U-Net (Noise2Void, N2V2): Lightning files and plain state dicts.

Written from the published source (versions 0.1 and 0.2). Shapes give the architecture; what no
shape tells (batch norm in use, residual, final activation, normalisation) is taken from the
configuration inside a Lightning file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.weights.convert import Draft
from restore_cli.weights.converters.n2v import denoiser
from restore_cli.weights.converters.shapes import Shapes, count, side
from restore_cli.weights.torch_file import is_tensor, plain, shape_of

_FIRST = "encoder.encoder_blocks.0.conv1.weight"
# What shapes determine, by CAREamics' argument names.
_SHAPED = ("conv_dims", "depth", "num_channels_init", "in_channels", "num_classes", "n2v2",
           "independent_channels")
# (offset, divisor or upper end, whether it is an upper end) of each kind of normalisation.
_STATISTICS = {
    "mean_std": ("input_means", "input_stds", False),
    "min_max": ("input_mins", "input_maxes", True),
    "quantile": ("input_lower_quantile_values", "input_upper_quantile_values", True),
}


class CareamicsConverter:
    """``{'state_dict': {'model.…'}, 'hyper_parameters': …}``, or the bare state dict."""

    name = "U-Net of CAREamics"

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """See `Converter.draft`."""
        if not isinstance(value, dict):
            return None
        inner = value.get("state_dict", value)
        if not isinstance(inner, dict):
            return None
        firsts = [key for key in inner if isinstance(key, str)
                  and (key == _FIRST or key.endswith("." + _FIRST))]
        if not firsts:
            return None
        if len(firsts) > 1:
            raise WeightsError(f"holds {len(firsts)} networks ({', '.join(firsts)[:200]})",
                               hint="Save the state_dict() of the one you want")
        prefix = firsts[0][:-len(_FIRST)]
        tensors = {key[len(prefix):]: item for key, item in inner.items()
                   if isinstance(key, str) and key.startswith(prefix) and is_tensor(item)}
        settings = _settings(value) if inner is not value else {}
        config, notes = _config(tensors, settings.get("model", {}), array)
        normalisation, note = _normalisation(settings.get("data", {}), config["in_channels"])
        draft = denoiser("n2v-field", config, tensors, normalisation)
        draft.notes += [*notes, *note]
        draft.unused += [str(key) for key in inner if not str(key).startswith(prefix)]
        draft.unused += [str(key) for key in value if inner is not value and key != "state_dict"]
        return draft


def _settings(value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Model and data configuration of a Lightning file, as far as it has them.

    Raises:
        WeightsError: it is of another network than the U-Net, or nested beyond reason.
    """
    algorithm = _table(value, "hyper_parameters", "algorithm_config")
    model = _table(algorithm, "model")
    if model.get("architecture", "UNet") != "UNet":
        raise WeightsError(f"holds the network {str(model['architecture'])[:40]!r} of CAREamics, "
                           "of which only the U-Net is known here")
    data = _table(value, "datamodule_hyper_parameters", "data_config") or \
        _table(value, "hyper_parameters", "data_config")
    return {"model": plain(dict(model)), "data": plain(dict(data))}


def _table(value: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _config(tensors: Mapping[str, Any], stated: Mapping[str, Any],
            array: Callable[[Any], np.ndarray]) -> tuple[dict[str, Any], list[str]]:
    """The configuration by shapes and by what the file states, and notes on assumptions.

    Raises:
        WeightsError: shapes of no such U-Net, or that contradict what the file states.
    """
    shapes = {key: shape_of(item) for key, item in tensors.items()}
    config = _shaped(shapes)
    for key in _SHAPED:
        same_either_way = key == "independent_channels" and config["in_channels"] == 1
        if stated.get(key, config[key]) != config[key] and not same_either_way:
            raise WeightsError(f"states {key} = {stated[key]!r} where its tensors are of a network "
                               f"with {key} = {config[key]!r}")
    if stated.get("pool_kernel", 2) != 2:
        raise WeightsError(f"states pool_kernel = {stated['pool_kernel']!r}, which is not "
                           "supported; every CAREamics release uses 2")
    if config["num_classes"] != config["in_channels"]:
        raise WeightsError(f"turns {config['in_channels']} channels into "
                           f"{config['num_classes']}, which is no plain denoiser",
                           hint="Probabilistic Noise2Void and segmentation are not supported")
    config |= {key: stated[key] for key in ("use_batch_norm", "residual", "final_activation")
               if key in stated}
    notes = []
    if "use_batch_norm" not in config:
        config["use_batch_norm"] = _normed(tensors, array)
        notes.append("batch norm is taken to be "
                     f"{'in' if config['use_batch_norm'] else 'out of'} use by its values")
    if not stated:
        notes.append("a network without residual and final activation was assumed")
    return config, notes


def _shaped(shapes: Shapes) -> dict[str, Any]:
    dims = len(shapes[_FIRST]) - 2
    features = side(shapes, "encoder.encoder_blocks.0.conv2.weight", 1)
    width = side(shapes, "encoder.encoder_blocks.0.conv2.weight", 0)
    groups = width // max(features, 1)
    channels = side(shapes, _FIRST, 1) * groups
    depth = count(shapes, r"encoder\.encoder_blocks\.(\d+)\.conv1\.weight$")
    if groups not in (1, channels):
        raise WeightsError(f"splits {channels} channels into {groups} groups, which the U-Net "
                           "of CAREamics never does")
    top = side(shapes, f"decoder.decoder_blocks.{2 * depth - 1}.conv1.weight", 1)
    return {"conv_dims": dims, "depth": depth, "num_channels_init": features,
            "in_channels": channels, "num_classes": side(shapes, "final_conv.weight", 0),
            "n2v2": top == features, "independent_channels": groups == channels}


def _normed(tensors: Mapping[str, Any], array: Callable[[Any], np.ndarray]) -> bool:
    """Whether any batch norm has left the state it starts in; unused ones are stored too."""
    starts = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
    for key, item in tensors.items():
        found = re.search(r"\.batch_norm[12]\.(\w+)$", key)
        if found and found[1] in starts and (array(item) != starts[found[1]]).any():
            return True
    return False


def _normalisation(data: Mapping[str, Any], channels: int) -> tuple[dict[str, Any], list[str]]:
    """Metadata "normalisation" of a data configuration, and notes on what was assumed.

    Raises:
        WeightsError: a kind that is not known, or numbers that make no sense.
    """
    table = _table(data, "normalization")
    kind = table.get("name", "mean_std")
    if kind == "none":
        return {"kind": "fixed", "mean": [0.0] * channels, "std": [1.0] * channels}, []
    if kind not in _STATISTICS:
        raise WeightsError(f"was trained with the normalisation {kind!r}, which is not known "
                           "here", hint="Known: none, " + ", ".join(_STATISTICS))
    first, second, upper = _STATISTICS[kind]
    if not table:  # as versions before 0.2 store it
        table, first, second = data, "image_means", "image_stds"
    if table.get(first) is None or table.get(second) is None:
        return {"kind": "image"}, ["the file has no normalisation: every image's own mean and "
                                   "standard deviation will be used"]
    mean, std = _numbers(table[first], channels), _numbers(table[second], channels)
    if upper:
        std = [b - a for a, b in zip(mean, std, strict=True)]
    if min(std) <= 0:
        raise WeightsError(f"has a normalisation that makes no sense: {first} {mean}, scale {std}")
    targets = [table.get(name.replace("input", "target").replace("image", "target"))
               for name in (first, second)]
    if any(targets) and targets != [table[first], table[second]]:
        raise WeightsError("was trained towards images of another brightness than its input's, "
                           "which is not supported")
    return {"kind": "fixed", "mean": mean, "std": std}, []


def _numbers(values: Any, channels: int) -> list[float]:
    """One finite number a channel; version 0.1 stores them as text."""
    if isinstance(values, (int, float, str)):
        values = [values]
    try:
        made = [float(value) for value in values] if isinstance(values, Sequence) else []
    except (TypeError, ValueError):
        made = []
    if len(made) == 1:
        made *= channels
    if len(made) != channels or not np.isfinite(made).all():
        raise WeightsError(f"has a normalisation that makes no sense: {str(values)[:100]} for "
                           f"{channels} channels")
    return made
