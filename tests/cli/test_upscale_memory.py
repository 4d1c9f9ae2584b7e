"""The memory model bounds what is measured, and `--memory` bounds the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from upscale_weights import MLP, encoder, make

from restore_cli.media import images
from restore_cli.media.images import Image

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")

NETWORKS = {
    "edsr-baseline": ("liif", {"encoder_spec": encoder("edsr-baseline", n_resblocks=2),
                               "imnet_spec": MLP}),
    "edsr": ("liif", {"encoder_spec": encoder("edsr", n_resblocks=1), "imnet_spec": MLP}),
    "rdn": ("liif", {"encoder_spec": encoder("rdn", RDNconfig="A"), "imnet_spec": MLP}),
    "rcan": ("liif", {"encoder_spec": encoder("rcan", n_resgroups=2, n_resblocks=2),
                      "imnet_spec": MLP}),
    "metasr": ("metasr", {"encoder_spec": encoder("edsr-baseline", n_resblocks=2)}),
    "fixed": ("liif", {"encoder_spec": {"name": "edsr-baseline", "args": {
        "n_resblocks": 2, "scale": 4}}}),
}

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
from restore_cli.jobs import upscale_plan as plan
from restore_cli.jobs.upscale_image import Upscaler
from restore_cli.nets import registry
from restore_cli.nets.layout import layout
from restore_cli.pipeline import memory
from restore_cli.pipeline.pixels import levels
arch, config = json.loads(sys.argv[1])
facts = layout(arch, config)
model = plan.cost(facts)
run = Upscaler(registry.build(arch, config), facts, ((.5,) * 3, (.5,) * 3)).run
def go(side):
    pixels = np.full((side, side, 3), 99, np.uint8)
    scale = facts.scale or 2
    out = np.ones((side * scale, side * scale, 3), np.uint8)
    geometry = plan.Geometry((side, side), out.shape[:2], facts.receptive_radius, model.cell)
    memory.release()
    before = memory.rss()
    Path("/proc/self/clear_refs").write_text("5")
    run(pixels, out, geometry.blocks(side), levels(pixels)[0], False)
    print(memory.peak_rss() - before, geometry.cost(model, side))
go(24); go(160)
"""


@linux
@pytest.mark.parametrize("name", NETWORKS)
def test_a_tile_takes_no_more_than_the_model_says(name):
    import json

    found = subprocess.run([sys.executable, "-c", MEASURE, json.dumps(NETWORKS[name])],
                           capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    taken, predicted = map(int, found.stdout.splitlines()[-1].split())
    assert 0.1 * predicted < taken < predicted


@linux
def test_the_ceiling_holds_for_the_whole_process(tmp_path):
    """A 9-megapixel output in 260 MB: Python, Jittor, tiles, both images and the encoder."""
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3)).astype(np.uint8)
    images.write(tmp_path / "a.png", Image(pixels))
    weights = make(tmp_path, "liif")
    code = ("import sys\nfrom restore_cli.cli.app import main\n"
            "from restore_cli.pipeline.memory import peak_rss\n"
            "status = main(sys.argv[1:])\nprint(peak_rss())\nsys.exit(status)")
    command = [sys.executable, "-c", code, "upscale", "a.png", "--scale", "2", "--memory", "260M",
               "--weights", str(weights), "--device", "cpu"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout.split()[-1]) < 260 << 20
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a_x2.png", "liif.safetensors"]


def test_an_encoder_of_stock_operators_is_known_to_take_more():
    from restore_cli.jobs import upscale_plan
    from restore_cli.nets.layout import layout

    for name in ("edsr", "rdn", "rcan"):
        facts = layout(*NETWORKS[name])
        stock = upscale_plan.cost(facts, encoder_fused=False)
        assert upscale_plan.cost(facts).encoded < stock.encoded
    odd = layout("liif", {"encoder_spec": encoder("edsr", n_feats=24), "imnet_spec": MLP})
    assert upscale_plan.cost(odd) == upscale_plan.cost(odd, encoder_fused=False)
