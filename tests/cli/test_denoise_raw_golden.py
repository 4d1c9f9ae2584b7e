"""`restore denoise-raw` against what the original program made of two small files."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from restore_cli.media import bayer, raw
from restore_cli.nets.layout import layout
from restore_cli.weights.files import Weights, write

DATA = Path(__file__).parents[1] / "data" / "led"
WHITE_FROM = 0.95  # mean around a sample from where ours goes to white, which upstream's does not


def recipe(path: Path, channels: int) -> Path:
    """The golden cases' U-Net."""
    config = {"channels": channels}
    tensors = {}
    for key, shape in layout("led-unet", config).shapes.items():
        values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        gain = 1.4 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.02
        tensors[key] = (gain * values.astype(np.float32)).astype(np.float32)
    write(path, Weights("led-unet", config, tensors, {"cameras": '["any"]'}))
    return path


@pytest.mark.parametrize("name", ["dng_rggb", "dng_bggr_odd"])
def test_ratio_and_mosaic(denoise_raw, tmp_path, golden, name):
    case = golden(name, "led")
    facts = json.loads(str(case["config_json"]))
    weights = recipe(tmp_path / "w.safetensors", facts["channels"])
    found = denoise_raw(DATA / f"{name}.dng", "-o", "out.dng", "--json", "--target-exposure",
                        facts["target_exposure"], network=weights)
    assert found.status == 0, found.stderr
    assert found.records[0]["ratio"] == pytest.approx(facts["ratio"], rel=1e-4)
    before, after = raw.read(DATA / f"{name}.dng"), raw.read("out.dng")
    factor = after.white[0] / before.white[0]
    assert factor == (16 if name == "dng_bggr_odd" else 1)  # 10 bits become 14
    planes = np.lib.stride_tricks.sliding_window_view(np.pad(np.minimum(
        before.planes() * facts["ratio"], 2), ((0, 0), (2, 2), (2, 2)), mode="edge"), (5, 5),
        (1, 2)).mean((3, 4))
    kept = np.zeros(before.mosaic.shape, bool)
    bayer.unpack(planes < WHITE_FROM - 0.01, before.pattern, kept)
    assert kept.mean() > 0.2
    # Upstream cuts fractions, ours rounds, and stores finer steps where the file has few.
    difference = after.mosaic / factor - case["mosaic_net"].astype(float)
    assert -0.51 < difference[kept].min() and difference[kept].max() < 1.01
