"""Video networks filled by the recipe of their golden cases."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.nets.layout import layout

DATA = Path(__file__).parents[1] / "data" / "vsr"
SMALL = {"n_feat": 16, "extra_RBS": 1, "recons_RBS": 2}
COMPACT = {**SMALL, "flow_channels": [4, 6, 8, 10, 12, 14], "flow_dense": [12, 10, 8, 6, 4],
           "flow_refine": [12, 10, 8, 8, 6, 4], "kernel_channels": 8, "kernel_reduction": 4,
           "kernel_hidden": 30}
# Part of a key, what to divide the square of the gain by ("in" or "out" axis), gain.
_GAINS = (("moduleUpflow", 0, 1.0), ("moduleUpfeat", 0, 0.3), ("moduleExtractor", 1, 1.6),
          ("moduleNetwork.moduleSix.moduleSix.0.", 1, 6.0), (".moduleSix.0.", 1, 0.25),
          ("moduleMain.12.", 1, 0.25), ("moduleNetwork", 1, 1.4))


def keys(name: str) -> list[tuple[str, tuple[int, ...]]]:
    """Upstream's keys and shapes of a golden case, in order."""
    return [(key, tuple(shape)) for key, shape in json.loads(
        (DATA / f"{name}.keys.json").read_text())]


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The recipe's values for one state-dict key."""
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    values = values.astype(np.float32)
    if len(shape) == 1:
        return np.float32(0.02) * values
    fan, gain = np.prod(shape[1:]), 1.0
    for part, axis, found in _GAINS:
        if part in key:
            fan, gain = (shape[0] * 4 if axis == 0 else fan), found
            break
    else:
        if key.endswith(".conv2.weight"):
            gain = 0.3
        elif key == "out_conv.1.weight":
            gain = 0.15
        elif "fc_net" in key:
            gain = 1.5
    return values * np.float32(gain / np.sqrt(fan))


def weights(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A whole state dict."""
    return {key: tensor(key, shape) for key, shape in layout("vsr", config).shapes.items()}


def network(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None):
    """The network with `tensors`, or the recipe's."""
    from restore_cli.nets import registry

    module = registry.build("vsr", config)
    module.load_state_dict(weights(config) if tensors is None else tensors)
    return module


def frames(u8: np.ndarray):
    """8-bit frames as the network takes them; channels first."""
    import jittor as jt

    return jt.array(u8.astype(np.float32) * np.float32(1 / 255))


def error(actual, reference: np.ndarray) -> float:
    """Largest error relative to the largest reference value."""
    actual = np.asarray(actual.numpy() if hasattr(actual, "numpy") else actual)
    reference = np.asarray(reference)
    assert actual.size == reference.size and (reference.ndim == 0
                                              or actual.shape == reference.shape)
    difference = np.abs(actual.astype(np.float64) - reference)
    assert np.isfinite(difference).all()
    return float(difference.max() / np.abs(reference).max())


def noise(seed: int, *shape: int) -> np.ndarray:
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
