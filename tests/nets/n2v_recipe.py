"""Denoising networks filled by the recipe of their golden cases."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.nets.layout import layout

DATA = Path(__file__).parents[1] / "data" / "n2v"
TOLERANCE = 1e-4  # of the largest output, what the golden cases promise

RGB = {"in_channels": 3, "out_channels": 3}
SEED_CASES = {"unet_gray": ("n2v-unet", {}), "unet_rgb": ("n2v-unet", RGB),
              "rednet10_gray": ("rednet10", {}), "rednet20_gray": ("rednet20", {}),
              "rednet30_gray": ("rednet30", {}), "rednet30_rgb": ("rednet30", RGB)}
FIELD_CASES = ("care_n2v_2d", "care_n2v2_2d", "care_n2v_3d", "care_n2v_rgb_independent",
               "care_n2v_rgb_joint_residual")


def case(name: str) -> tuple[str, dict[str, Any]]:
    """Architecture and configuration of a golden case."""
    if name in SEED_CASES:
        return SEED_CASES[name]
    return "n2v-field", json.loads((DATA / f"{name}.config.json").read_text())


def tensor(key: str, shape: Sequence[int]) -> np.ndarray:
    """The recipe's values for one state-dict key."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    values = values.astype(np.float32)
    if len(shape) >= 2:
        return values * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if key.endswith("running_var") or ("batch_norm" in key and key.endswith("weight")):
        return 1 + np.float32(0.1) * values
    return np.float32(0.02) * values


def weights(arch: str, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A whole state dict; a REDNet's last layer is small, so that its last ReLU lets through."""
    made = {key: tensor(key, shape) for key, shape in layout(arch, config).shapes.items()}
    if arch.startswith("rednet"):
        last = [key for key in made if key.endswith(".weight")][-1]
        made[last] = made[last] * np.float32(0.02)
    return made


def network(arch: str, config: Mapping[str, Any]):
    """The network with the recipe's weights, in evaluation mode."""
    from restore_cli.nets import registry

    module = registry.build(arch, config)
    module.load_state_dict(weights(arch, config))
    return module


def error(actual, reference: np.ndarray) -> float:
    """Largest error relative to the largest reference value."""
    actual = actual if isinstance(actual, np.ndarray) else actual.numpy()
    assert actual.shape == reference.shape
    difference = np.abs(actual.astype(np.float64) - reference)
    assert np.isfinite(difference).all()
    return float(difference.max() / np.abs(reference).max())


def noise(seed: int, *shape: int) -> np.ndarray:
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
