"""Small random networks and made RAW files for the tests of `restore denoise-raw`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.nets.layout import layout
from restore_cli.weights.files import Weights, write

# The RAW files that the tests of readers and writers make serve here too.
_spec = importlib.util.spec_from_file_location(
    "raw_files_of_media", Path(__file__).parents[1] / "media" / "raw_files.py")
raw_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(raw_files)

NAFNET = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}
RESTORMER = {"dim": 8, "num_blocks": [1, 1, 1, 1]}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("led-unet", {"channels": 4}),
    "repnr": ("led-unet", {"channels": 4, "repnr": {"branches": 5, "aux": False}}),
    "cunet": ("led-cunet", {}),
    "nafnet": ("led-nafnet", NAFNET),
    "restormer": ("led-restormer", RESTORMER),
}


def tensors(arch: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random ones, of gains that keep the signal's size."""
    rng = np.random.default_rng(3)
    made = {}
    for key, shape in layout(arch, config).shapes.items():
        if ".align_weights." in key or "norm" in key and key.endswith("weight"):
            made[key] = 1 + 0.1 * rng.normal(size=shape)
        elif key.endswith(("beta", "gamma")):
            made[key] = 0.3 + 0.1 * rng.normal(size=shape)
        elif key.endswith("temperature"):
            made[key] = np.full(shape, 3.0)
        elif len(shape) > 1:
            made[key] = rng.normal(size=shape) * (1.9 / np.prod(shape[1:])) ** 0.5
            if key == "output.weight":  # Restormer's attention grows with the picture
                made[key] *= 0.1
        else:
            made[key] = rng.normal(size=shape) * 0.02
    return {key: value.astype(np.float32) for key, value in made.items()}


def make(folder: Path, name: str = "unet", cameras: list[str] | None = None,
         ratios: tuple[float, float] = (1, 300), label: str = "") -> Path:
    """Writes random weights of one of `CONFIGS`."""
    arch, config = CONFIGS[name]
    path = folder / f"{name}{label}.safetensors"
    write(path, Weights(arch, config, tensors(arch, config), {
        "cameras": json.dumps(["any"] if cameras is None else cameras),
        "ratios": json.dumps(list(ratios))}))
    return path


def planes(shape: tuple[int, int] = (48, 64), seed: int = 0) -> np.ndarray:
    """(4, h, w) soft light, 0 at black and 1 at white, without noise."""
    y, x = np.mgrid[:shape[0] // 2, :shape[1] // 2] / 6.0
    rng = np.random.default_rng(seed)
    waves = [np.sin(a * x + b) * np.cos(a * y - b) for a, b in rng.uniform(0.4, 1.2, (4, 2))]
    return 0.4 + 0.25 * np.stack(waves)


def dark(path: str | Path, light: np.ndarray | None = None, ratio: float = 100.0, seed: int = 0,
         black: int = 512, white: int = 16383, pattern: str = "RGGB", **options) -> Path:
    """Writes a DNG whose light is `planes() / ratio`, with noise; returns its path."""
    from restore_cli.media import bayer

    light = planes(seed=seed) if light is None else light
    rng = np.random.default_rng(seed + 1)
    height, width = 2 * light.shape[1], 2 * light.shape[2]
    electrons = rng.poisson(np.maximum(light / ratio * (white - black) / 2, 0))
    stored = electrons * 2 + rng.normal(0, 3, electrons.shape) + black
    mosaic = np.zeros((height, width), np.uint16)
    bayer.unpack(np.clip(np.rint(stored), 0, 65535).astype(np.uint16), bayer.PATTERNS[pattern],
                 mosaic)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return raw_files.write_dng(path, mosaic, black=black, white=white, pattern=pattern, **options)
