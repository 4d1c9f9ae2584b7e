"""Small random networks and noisy pictures for the tests of `restore denoise`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from restore_cli.nets.layout import layout
from restore_cli.weights.files import Weights, write

FIELD = {"depth": 2, "num_channels_init": 4, "use_batch_norm": False,
         "independent_channels": False}
CONFIGS = {
    "grey": ("n2v-field", FIELD),
    "colour": ("n2v-field", {**FIELD, "in_channels": 3, "num_classes": 3}),
    "n2v2": ("n2v-field", {**FIELD, "n2v2": True}),
    "volume": ("n2v-field", {**FIELD, "depth": 1, "conv_dims": 3}),
    "unet": ("n2v-unet", {}),
    "unet-colour": ("n2v-unet", {"in_channels": 3, "out_channels": 3}),
    "rednet": ("rednet10", {"num_features": 8}),
    "rednet-plain": ("rednet10", {"num_features": 8, "residual": False}),
}


def make(folder: Path, name: str, normalisation: dict | None = None, label: str = "") -> Path:
    """Writes random weights of one of `CONFIGS`."""
    arch, config = CONFIGS[name]
    rng = np.random.default_rng(3)
    tensors = {key: (rng.normal(size=shape) * (2.4 / max(1, np.prod(shape[1:]))) ** 0.5
                     ).astype(np.float32) if len(shape) > 1
               else np.full(shape, 0.01, np.float32)
               for key, shape in layout(arch, config).shapes.items()}
    metadata = {} if normalisation is None else {"normalisation": json.dumps(normalisation)}
    path = folder / f"{name}{label}.safetensors"
    write(path, Weights(arch, config, tensors, metadata))
    return path


def noisy(height: int, width: int, channels: int = 1, dtype=np.uint8, seed: int = 0,
          sigma: float = 0.08):
    """(H, W, C) smooth waves with independent noise; integers within their range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 9.0
    waves = np.stack([np.sin(x + c) * np.cos(y - c) for c in range(channels)], axis=-1)
    values = 0.5 + 0.25 * waves + rng.normal(0, sigma, waves.shape)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    top = np.iinfo(dtype).max
    return np.clip(np.rint(values * top), 0, top).astype(dtype)
