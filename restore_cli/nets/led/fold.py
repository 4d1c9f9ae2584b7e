"""State dicts of RAW denoising networks in their three forms, turned into one another (NumPy).

Pretraining has a RepNR convolution with one alignment for each of N virtual cameras;
fine-tuning one more for the target camera and a parallel convolution; what runs is plain. A
re-parameterised convolution is linear, so folding it is exact (Jin et al., ICCV 2023, section
3.2): with the alignment's scale a and shift b for each input channel,

    weight = main_weight * a + aux_weight
    bias = main_bias + sum over inputs and taps of (main_weight * b) + aux_bias

The shift is thus padded with itself, not with zeros, along the border, in training too.
Everything else (residual scales, temperatures, norms, layers that are never re-parameterised) is
carried over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.nets.led import shapes
from restore_cli.nets.led.shapes_parts import REPNR_DEFAULTS

State = dict[str, np.ndarray]
Config = dict[str, Any]

MAIN, ALIGNED = ".main_weight", (".align_weights.", ".align_biases.")


def layers(state: Mapping[str, Any]) -> list[str]:
    """Keys of the RepNR convolutions; empty for a plain network."""
    return [key[:-len(MAIN)] for key in state if key.endswith(MAIN)]


def branches(state: Mapping[str, Any]) -> int | None:
    """The number N of virtual cameras, or None for a plain network.

    Raises:
        WeightsError: layers with different numbers, or with a gap.
    """
    counts = {_count(state, layer, part) for layer in layers(state) for part in ALIGNED}
    if len(counts) > 1 or min(counts, default=2) < 2:
        raise WeightsError("the weights have layers with "
                           f"{' and '.join(map(str, sorted(counts)))} alignments, expected one "
                           "number of at least 2 in all")
    return counts.pop() - 1 if counts else None


def fold(arch: str, config: Mapping[str, Any], state: Mapping[str, np.ndarray],
         branch: int = -1) -> tuple[Config, State]:
    """The plain network that `branch` of a RepNR network amounts to.

    Args:
        arch: registry name.
        config: its configuration, with "repnr".
        state: its state dict.
        branch: 0..N-1 for a virtual camera, N or -1 for the target camera.

    Returns:
        Configuration and state dict (float32, in the layout's order). Convolutions without a
        bias get one; the configuration then says "folded". A plain network comes back as it is.

    Raises:
        WeightsError: `state` is not of `config`, or has no such branch.
    """
    told = shapes.describe(arch, config).shapes
    if config.get("repnr") is None:
        return dict(config), {key: _get(state, key, shape) for key, shape in told.items()}
    names = dict.fromkeys(layers(told))
    count = config["repnr"].get("branches", REPNR_DEFAULTS["branches"]) + 1
    if not -1 <= branch < count:
        raise WeightsError(f"there is no branch {branch}: the weights have 0 to {count - 1}")
    branch %= count
    made = {key: _get(state, key, shape) for key, shape in told.items()
            if key.rsplit(".", 1)[0] not in names and not any(part in key for part in ALIGNED)}
    for layer in names:
        parts = {key: _get(state, key, told[key]) for key in _used(told, layer, branch)}
        made[f"{layer}.weight"], made[f"{layer}.bias"] = folded(parts, layer, branch)
    plain = {**config, "repnr": None}
    if any(f"{layer}.main_bias" not in told for layer in names):
        plain["folded"] = True
    order = shapes.describe(arch, plain).shapes
    return plain, {key: made[key] for key in order}


def folded(parts: Mapping[str, np.ndarray], layer: str,
           branch: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the plain convolution that one layer amounts to.

    Args:
        parts: holds the layer's tensors; of the biases and the parallel convolution, what there
            is.
        layer: key of the layer.
        branch: 0..N.
    """
    main = parts[f"{layer}.main_weight"]
    scale, shift = (parts[f"{layer}{part}{branch}"] for part in ALIGNED)
    # A product adds the taps seven times faster than a sum along so short an axis.
    taps = main.reshape(main[:, :, 0, 0].size, -1) @ np.ones(main[0, 0].size, np.float32)
    bias = taps.reshape(main.shape[:2]).astype(np.float64) @ shift.reshape(-1).astype(np.float64)
    weight = main * scale
    for name, total in (("main_bias", bias), ("aux_bias", bias), ("aux_weight", weight)):
        if f"{layer}.{name}" in parts:
            total += parts[f"{layer}.{name}"]
    return weight, bias.astype(np.float32)


def generalise(state: Mapping[str, np.ndarray]) -> State:
    """The state dict with the target camera's alignments set to the mean of the virtual ones.

    Upstream does so before every validation of pretraining and before fine-tuning. A plain state
    dict comes back as it is.
    """
    count, made = branches(state), dict(state)
    for layer in layers(state):
        for part in ALIGNED:
            values = [np.asarray(state[f"{layer}{part}{i}"], np.float64) for i in range(count)]
            made[f"{layer}{part}{count}"] = np.mean(values, axis=0).astype(np.float32)
    return made


def to_finetune(arch: str, config: Mapping[str, Any],
                state: Mapping[str, np.ndarray]) -> tuple[Config, State]:
    """What fine-tuning to a camera starts from.

    Args:
        arch: registry name.
        config, state: a pretrained RepNR network (generalised here; parallel convolutions start
            as zeros), one that has been fine-tuned before (continued as it is), or a plain one
            (alignments start as 1 and 0, with one virtual camera that nothing trains).

    Raises:
        WeightsError: `state` is not of `config`, or is folded, so that its layers have biases
            which upstream's do not.
    """
    if config.get("folded"):
        raise WeightsError(f"folded weights of '{arch}' cannot be fine-tuned: their layers have "
                           "biases that its convolutions do not",
                           hint="Start from the weights they were folded from.")
    given = config.get("repnr")
    if given is not None and given.get("aux"):
        return dict(config), dict(state)
    made = {**config, "repnr": {**({"branches": 1} if given is None else given), "aux": True}}
    source = generalise(state)
    return made, {key: _started(source, key, shape)
                  for key, shape in shapes.describe(arch, made).shapes.items()}


def ready(arch: str, config: Mapping[str, Any],
          state: Mapping[str, np.ndarray]) -> tuple[Config, State]:
    """What inference runs: always plain.

    A plain network stays as it is; a fine-tuned one (with parallel convolutions) is folded for
    its camera; a pretrained one is generalised first: its own last branch was never trained.

    Raises:
        WeightsError: `state` is not of `config`.
    """
    given = config.get("repnr")
    if given is not None and not given.get("aux"):
        state = generalise(state)
    return fold(arch, config, state)


def _count(keys: Mapping[str, Any], layer: str, part: str) -> int:
    count = 0
    while f"{layer}{part}{count}" in keys:
        count += 1
    return count


def _used(told: Mapping[str, Any], layer: str, branch: int) -> list[str]:
    own = [f"{layer}.{name}" for name in ("main_weight", "main_bias", "aux_weight", "aux_bias")]
    return [key for key in (*own, *(f"{layer}{part}{branch}" for part in ALIGNED)) if key in told]


def _get(state: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key not in state:
        raise WeightsError(f"the weights lack {key}")
    value = np.asarray(state[key], np.float32)
    if value.shape != shape:
        raise WeightsError(f"{key} has shape {value.shape}, expected {shape}")
    return value


def _started(state: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...]) -> np.ndarray:
    """`key` of `state`, or what it is before anything was trained."""
    if key not in state and (".aux_" in key or ".align_biases." in key):
        return np.zeros(shape, np.float32)
    if key not in state and ".align_weights." in key:
        return np.ones(shape, np.float32)
    return _get(state, key if key in state else key.replace(".main_", "."), shape)
