"""What `restore bench denoise-raw` works on: a dark frame and weights that make pictures of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from restore_cli.jobs import bench_raw_dng
from restore_cli.jobs.bench import synthetic_picture
from restore_cli.nets.layout import layout

RATIO = 100.0
"""Amplification of the frame."""


def sensible(arch: str, config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors that keep the signal's size from layer to layer.

    Returns:
        a state dict of float32 arrays.
    """
    rng, made = np.random.default_rng(seed), {}
    for key, shape in layout(arch, config).shapes.items():
        values = rng.standard_normal(shape, dtype=np.float32)
        if ".align_weights." in key or ("norm" in key and key.endswith(".weight")):
            values = 1 + 0.1 * values
        elif key.endswith((".beta", ".gamma")):
            values = 0.3 + 0.1 * values
        elif key.endswith(".temperature"):
            values = 3 + 0.1 * values
        elif ".align_biases." in key or len(shape) == 1:
            values *= 0.02
        else:
            # A transposed convolution is stored as (inputs, outputs, 2, 2): one tap an output.
            taps = shape[0] if key.startswith("upv") else math.prod(shape[1:])
            values *= (1.4 if arch == "led-unet" else 1.0) / math.sqrt(taps)
        made[key] = values.astype(np.float32)
    return made


def light(height: int, width: int) -> np.ndarray:
    """A scene with detail at every size, nowhere near white.

    Returns:
        (4, height, width) float32.
    """
    picture = synthetic_picture(height, width)[..., (0, 1, 2, 1)].transpose(2, 0, 1)
    return 0.04 + picture * np.float32(0.5 / 255)


def darkened(clean: np.ndarray) -> np.ndarray:
    """The mosaic of a scene exposed `RATIO` times too short, with noise, uint16."""
    return bench_raw_dng.unpack(dark(clean))


def dark(clean: np.ndarray) -> np.ndarray:
    """Its planes, float32, 1 at the white level."""
    rng, gain = np.random.default_rng(1), 2.0
    scale = bench_raw_dng.WHITE - bench_raw_dng.BLACK
    stored = rng.poisson(clean * (scale / RATIO / gain)) * gain + 2 * rng.standard_normal(
        clean.shape, dtype=np.float32)
    return (stored / scale).astype(np.float32)
