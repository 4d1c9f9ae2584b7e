"""The memory model of denoising bounds what is measured, and `--memory` the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from denoise_weights import make, noisy

from restore_cli.jobs import denoise_plan
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.nets.layout import layout

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
from restore_cli.jobs import denoise_network, denoise_plan, denoise_train
from restore_cli.jobs.denoise_image import Denoiser
from restore_cli.jobs.denoise_network import Units
from restore_cli.pipeline import memory
choice, dims, side = json.loads(sys.argv[1])
arch, config = denoise_network.architecture(choice, 1, dims)
loaded = denoise_network.build(arch, config, None, "random", "cpu")
model = denoise_plan.cost(arch, config, loaded.layout)
one = Units(np.zeros(1, np.float32), np.ones(1, np.float32))
def measured(work):
    memory.release()
    before = memory.rss()
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return memory.peak_rss() - before
def predict(shape):
    noise = np.random.default_rng(0).random((1, *shape), np.float32)
    denoiser = Denoiser(loaded)
    axes = [denoiser.axis(n, max(shape)) for n in shape]
    return measured(lambda: denoiser.run(lambda *where: noise[(slice(None), *where)],
                                         lambda where, made: None, axes, one)), model.of(shape)
def train(steps):
    patch = denoise_train.patch_shape(loaded)
    noise = np.random.default_rng(0).random((1, *patch), np.float32)
    part = denoise_train.Part(patch, one, lambda *where: noise[(slice(None), *where)])
    took = measured(lambda: denoise_train.train(
        loaded, denoise_train.Patches([part], 1), denoise_train.Recipe(None, steps)))
    return took, model.training(denoise_train.BATCH[dims], patch)
tiny = (32,) * 2 if dims == 2 else (8, 32, 32)
predict(tiny)
whole = predict((side,) * 2 if dims == 2 else (16, side, side))
patch, denoise_train.PATCH = denoise_train.PATCH, 32
train(1)
denoise_train.PATCH = patch
print(json.dumps([whole, train(2)]))
"""


@linux
@pytest.mark.parametrize("choice,dims,side", [("field", 2, 384), ("n2v-unet", 2, 256),
                                              ("rednet10", 2, 384), ("field", 3, 64)])
def test_no_more_than_the_model_says(choice, dims, side):
    found = subprocess.run([sys.executable, "-c", MEASURE, json.dumps([choice, dims, side])],
                           capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    for taken, predicted in json.loads(found.stdout.splitlines()[-1]):
        assert 0.1 * predicted < taken < predicted


@linux
def test_the_ceiling_holds_for_the_whole_process(tmp_path):
    """4 megapixels of 16 bits: Python, Jittor, training, tiles, both images and the encoder."""
    images.write(tmp_path / "a.tif", Image(noisy(2048, 2048, 1, np.uint16)))
    code = ("import sys\nfrom restore_cli.cli.app import main\n"
            "from restore_cli.pipeline.memory import peak_rss\n"
            "status = main(sys.argv[1:])\nprint(peak_rss())\nsys.exit(status)")
    weights = make(tmp_path, "grey")
    command = [sys.executable, "-c", code, "denoise", "a.tif", "--memory", "400M",
               "--weights", str(weights), "--device", "cpu", "--quiet"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout.split()[-1]) < 400 << 20
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "a_denoised.tif", "grey.safetensors"]


def test_volumes_are_cut_along_z_only_where_they_must():
    arch, config = "n2v-field", {"depth": 1, "conv_dims": 3, "num_channels_init": 16,
                                 "use_batch_norm": False, "independent_channels": False}
    facts = layout(arch, config)
    model = denoise_plan.cost(arch, config, facts)
    shape = (100, 512, 512)
    roomy = denoise_plan.choose(model, facts, shape, 1 << 50)
    assert roomy.sides[0] == 100
    room = 200 << 20
    tight = denoise_plan.choose(model, facts, shape, room)
    windows = [denoise_plan.window(n, tile, facts)
               for n, tile in zip(shape, tight.sides, strict=True)]
    assert model.of(windows) <= room and tight.sides[0] < 100
