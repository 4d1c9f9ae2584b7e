"""The virtual cameras that Srameo/LED saves beside its pretrained networks, as a camera file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from restore_cli.errors import InputError, WeightsError
from restore_cli.training.degradations.raw_noise_camera import cameras_from_json
from restore_cli.training.degradations.raw_noise_virtual import K_RANGE, from_arrays
from restore_cli.weights import files
from restore_cli.weights.torch_file import TorchFile, is_tensor

# Two of the eight arrays; no network has parameters of these names at its root.
_TELLING = ("tukey_lambdas", "color_biases")
NOTE = (f"the system gain K was taken to be {K_RANGE[0]:g} to {K_RANGE[1]:g}, as published: the "
        "file does not hold it")


def is_generator(value: Any) -> bool:
    """Whether a checkpoint's object is a noise generator (VirtualNoisyPairGenerator)."""
    return isinstance(value, dict) and all(is_tensor(value.get(key)) for key in _TELLING)


def camera_file(path: str | Path) -> tuple[str, int] | None:
    """The text of a camera file for a saved noise generator, and its number of cameras.

    Returns:
        None for a file of another kind.

    Raises:
        WeightsError: not a checkpoint, or arrays that make no sense; names the file.
    """
    if files.is_safetensors(path):
        return None
    with TorchFile(path) as file:
        if not is_generator(file.value):
            return None
        arrays = {key: file.array(item) for key, item in file.value.items() if is_tensor(item)}
    try:
        if any(array.dtype.kind not in "fiu" for array in arrays.values()):
            raise InputError("the arrays of the virtual cameras hold no real numbers")
        text = json.dumps({camera.name: camera.to_dict() for camera in from_arrays(arrays)},
                          indent=1) + "\n"
        return text, len(cameras_from_json(text))
    except InputError as error:
        raise WeightsError(error.message, path=path) from error
