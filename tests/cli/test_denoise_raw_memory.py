"""The memory model bounds what is measured, and `--memory` bounds the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from denoise_raw_weights import dark, make, tensors

from restore_cli.weights.files import Weights, write

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")

NETWORKS = {
    "operator": ("led-unet", {"channels": 16}),
    "plain": ("led-unet", {"channels": 8}),
    "cunet": ("led-cunet", {}),
}

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
from restore_cli.jobs import denoise_raw_network as networks, denoise_raw_plan as plan
from restore_cli.jobs import denoise_raw_tiles as tiles
from restore_cli.jobs.denoise_raw_image import Levels, Picture, Result
from restore_cli.media import bayer
from restore_cli.pipeline import memory
loaded = networks.load(Path(sys.argv[1]), device="cpu")
model = plan.cost(loaded.arch, loaded.config, loaded.layout, loaded.fused)
black, white = np.zeros(4), np.full(4, 4095.0)
def go(side):
    picture = Picture(np.full((2 * side, 2 * side), 9, np.uint16), bayer.PATTERNS["RGGB"], black,
                      white, 100)
    result = Result(picture, Levels(black, white))
    result.mosaic[:] = 1
    memory.release()
    before = memory.rss()
    Path("/proc/self/clear_refs").write_text("5")
    tiles.run(loaded, picture, result, (side, side))
    print(memory.peak_rss() - before, model.of((side, side)))
go(64); go(304)
"""

RUN = ("import sys\nfrom restore_cli.cli.app import main\n"
       "from restore_cli.pipeline.memory import peak_rss\n"
       "status = main(sys.argv[1:])\nprint(peak_rss())\nsys.exit(status)")


def start(code: str, *arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], text=True,
                          capture_output=True, timeout=600, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tile_takes_no_more_than_the_model_says(tmp_path, name):
    arch, config = NETWORKS[name]
    write(tmp_path / "w.safetensors", Weights(arch, config, tensors(arch, config), {}))
    found = start(MEASURE, tmp_path / "w.safetensors")
    assert found.returncode == 0, found.stderr
    taken, predicted = map(int, found.stdout.splitlines()[-1].split())
    assert 0.1 * predicted < taken < predicted


@pytest.mark.parametrize("format", ["dng", "tiff"])
def test_the_ceiling_holds_for_the_whole_process(tmp_path, format):
    """6 megapixels: Python, Jittor, LibRaw, tiles, both mosaics and the writer."""
    rng = np.random.default_rng(0)
    dark(tmp_path / "a.dng", light=rng.uniform(0.1, 0.5, (4, 1200, 1200)).astype(np.float32))
    weights = make(tmp_path)
    ceiling = {"dng": 250, "tiff": 340}[format]
    found = start(RUN, "denoise-raw", "a.dng", "--memory", f"{ceiling}M", "--format", format,
                  "--weights", weights, "--device", "cpu", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout.split()[-1]) < ceiling << 20
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("name,ceiling", [("unet", 300), ("nafnet", 380)])
def test_the_ceiling_holds_for_a_real_file_in_a_batch(tmp_path, shared_data, name, ceiling):
    folder = shared_data / "raw"
    weights = make(tmp_path, name)
    found = start(RUN, "denoise-raw", folder / "native" / "ml_colorchart_rggb14.dng",
                  folder / "native" / "blackmagic_rggb.dng", folder / "wrapped" / "rose_bggr.dng",
                  "--memory", f"{ceiling}M", "--weights", weights, "--device", "cpu", "-o", "out",
                  "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    *records, peak = found.stdout.splitlines()
    assert int(peak) < ceiling << 20
    assert all(json.loads(record)["status"] == "done" for record in records) and len(records) == 3
