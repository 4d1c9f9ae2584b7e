"""Networks for RAW planes, filled by the recipe of their golden cases."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.nets.layout import layout

DATA = Path(__file__).parents[1] / "data" / "led"
TOLERANCE = 1e-4  # of the largest output, what the golden cases promise
PRETRAIN, FINETUNE = {"branches": 5, "aux": False}, {"branches": 5, "aux": True}


def keys(name: str) -> list[tuple[str, tuple[int, ...]]]:
    """Upstream's keys and shapes of a golden case, in order."""
    return [(key, tuple(shape)) for key, shape in json.loads(
        (DATA / f"{name}.keys.json").read_text())]


def tensor(key: str, shape: Sequence[int], family: str = "unet") -> np.ndarray:
    """The recipe's values for one state-dict key."""
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    values = values.astype(np.float32)
    root = np.float32(np.sqrt(np.prod(shape[1:])))
    *parents, last = key.split(".")
    if parents and parents[-1] == "align_weights":
        return 1 + np.float32(0.1) * values
    if parents and parents[-1] == "align_biases":
        return np.float32(0.05) * values
    if last == "aux_weight":
        return np.float32(0.3) * values / root
    if last in ("beta", "gamma") and len(shape) == 4:
        return np.float32(0.5) + np.float32(0.1) * values
    if last == "temperature":
        return 5 * (1 + np.float32(0.1) * values)
    if len(shape) >= 2:
        gain = 1.4 if family in ("unet", "cunet") else 1.0
        gain = 200.0 if family == "cunet" and key == "conv0_1.weight" else gain
        return np.float32(gain) * values / root
    if "norm" in key and last == "weight":
        return 1 + np.float32(0.1) * values
    return np.float32(0.02) * values


def weights(arch: str, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A whole state dict of registry name `arch`."""
    family = arch.removeprefix("led-")
    return {key: tensor(key, shape, family) for key, shape in layout(arch, config).shapes.items()}


def network(arch: str, config: Mapping[str, Any],
            tensors: Mapping[str, np.ndarray] | None = None):
    """The network with `tensors`, or the recipe's."""
    from restore_cli.nets import registry

    module = registry.build(arch, config)
    module.load_state_dict(weights(arch, config) if tensors is None else tensors)
    return module


def run(module, x: np.ndarray, *more) -> np.ndarray:
    """The network's output without gradients."""
    import jittor as jt

    with jt.no_grad():
        return module(jt.array(x), *(jt.array(one) if isinstance(one, np.ndarray) else one
                                     for one in more)).numpy()


def trained(arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None):
    """The same in training mode, with gradients."""
    module = network(arch, config, tensors)
    module.train()
    return module


def watch(module, key: str, seen: dict[str, np.ndarray]) -> None:
    """Keeps what layer `key` returns in `seen`, from now on."""
    def keep(_layer, _inputs, out) -> None:
        seen[key] = out.numpy()

    getattr(module, key).register_forward_hook(keep)


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
