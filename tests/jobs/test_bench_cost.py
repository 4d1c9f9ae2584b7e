"""What bfloat16 costs each network whose weights are shipped, on a piece of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import DeviceError, UsageError
from restore_cli.jobs import bench_cost, upscale_network
from restore_cli.media import images
from restore_cli.media.model import Image
from restore_cli.runtime import bf16

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.png"
LOSS = 0.02  # dB against the truth
NEAR = {"liif-compact": 50, "n2v-grey": 55, "n2v-colour": 55, "led-compact": 50,
        "vsr-compact": 42}  # dB against the result in float32


@pytest.fixture
def piece(engine, tmp_path):
    """A file with a piece of a photograph; skips where there is no bfloat16."""
    try:
        bf16.require()
    except DeviceError as error:
        pytest.skip(str(error))
    pixels = images.read(PHOTO).pixels[60:172, 120:248, :3]
    path = tmp_path / "piece.png"
    images.write(path, Image(np.ascontiguousarray(pixels)))
    return path


def _small(cost):
    assert cost.between > NEAR[cost.name], str(cost)
    assert cost.full > 20 and abs(cost.full - cost.half) < LOSS, str(cost)
    assert np.isfinite(cost.between)  # the results differ: it was bfloat16


@pytest.mark.parametrize("task", ["denoise", "denoise-raw", "vsr"])
def test_shipped(piece, task):
    found = bench_cost.shipped(task, [piece], Console())
    assert [cost.name for cost in found] == {
        "denoise": ["n2v-grey", "n2v-colour"], "denoise-raw": ["led-compact"],
        "vsr": ["vsr-compact"]}[task]
    for cost in found:
        _small(cost)


@pytest.mark.parametrize("scale", [2, 3.3])
def test_upscale(piece, scale):
    loaded = upscale_network.load(upscale_network.find(None, None, Console()), device="cpu")
    [picture] = bench_cost.pictures([piece])
    _small(bench_cost.measure(loaded.name, [bench_cost.upscale(
        loaded.network, loaded.weights.normalisation, scale, picture)]))


def test_pictures(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for name, shape, dtype in (("grey.png", (40, 50, 1), np.uint8),
                               ("deep.tif", (600, 33, 3), np.uint16)):
        pixels = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        images.write(tmp_path / "many" / name, Image(pixels))
    (tmp_path / "many" / "notes.txt").write_text("no picture\n")
    found = bench_cost.pictures([tmp_path / "many"])
    assert [one.shape for one in found] == [(512, 32, 3), (32, 48, 3)]
    assert all(one.dtype == np.uint8 for one in found) and (np.ptp(found[1], axis=2) == 0).all()
    [made] = bench_cost.pictures([])
    assert made.shape == (256, 256, 3)


def test_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no pictures"):
        bench_cost.pictures([tmp_path])
    images.write(tmp_path / "a.png", Image(np.zeros((15, 40, 3), np.uint8)))
    with pytest.raises(UsageError, match="smaller than 16x16"):
        bench_cost.pictures([tmp_path / "a.png"])
