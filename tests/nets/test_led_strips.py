"""Strips give what the whole image gives, with the memory that was told."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.nets.led import fold, strips_cost

NAF = ("led-nafnet", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 2],
                      "dec_blk_nums": [1, 1]})
RESTORMER = ("led-restormer", {"dim": 8, "num_blocks": [1, 1, 1, 1]})
REPNR = {"branches": 2, "aux": True}


def _folded(arch, config):
    config = {**config, "repnr": REPNR}
    return recipe.network(arch, *fold.ready(arch, config, recipe.weights(arch, config)))


@pytest.mark.parametrize("rows", [2, 7, 16, 1000])
@pytest.mark.parametrize("shape", [(37, 53), (64, 24), (9, 90)])
@pytest.mark.parametrize("arch,config", [NAF, RESTORMER])
def test_strips_are_the_whole(engine, arch, config, shape, rows):
    from restore_cli.nets.led import strips

    network, planes = recipe.network(arch, config), recipe.noise(1, 4, *shape)
    whole = recipe.run(network, planes[None])[0]
    assert recipe.error(strips.run(network, planes, rows=rows), whole) < 1e-5


@pytest.mark.parametrize("arch,config", [NAF, RESTORMER])
def test_strips_of_the_folded_form(engine, arch, config):
    """Also of several images, each with statistics of its own."""
    from restore_cli.nets.led import strips

    network, planes = _folded(arch, config), recipe.noise(2, 2, 4, 22, 31)
    planes[1] *= 5
    whole = recipe.run(network, planes)
    assert recipe.error(strips.run(network, planes, rows=6), whole) < 1e-5
    assert recipe.error(strips.run(network, planes[1], rows=6), whole[1]) < 1e-5


@pytest.mark.parametrize("arch,config", [
    NAF, RESTORMER, (RESTORMER[0], {**RESTORMER[1], "bias": True, "LayerNorm_type": "BiasFree"}),
    (NAF[0], {**NAF[1], "repnr": REPNR}), (RESTORMER[0], {**RESTORMER[1], "repnr": REPNR})])
def test_strips_of_the_stock_layers(engine, arch, config, monkeypatch):
    """As they run where the operators cannot, and for layers that are re-parameterised."""
    from restore_cli.nets.led import strips

    network, planes = recipe.network(arch, config), recipe.noise(3, 4, 27, 18)
    if "repnr" not in config:
        monkeypatch.setenv("RESTORE_FUSED", "0")
    whole = recipe.run(network, planes[None])[0]
    assert recipe.error(strips.run(network, planes, rows=4), whole) < 1e-5


def test_statistics_are_the_whole_images(engine):
    """A window alone gives something else: the test above could fail."""
    from restore_cli.nets.led import strips

    for arch, config in (NAF, RESTORMER):
        network, planes = recipe.network(arch, config), recipe.noise(4, 4, 128, 8)
        planes[:, 64:] *= 4
        out = strips.run(network, planes, rows=8)
        alone = strips.run(network, planes[:, :64], rows=8)
        assert recipe.error(alone[:, :8], out[:, :8]) > 1e-3


@pytest.mark.parametrize("arch,config", [NAF, RESTORMER])
def test_buffers_end_early_and_always(engine, arch, config):
    """No more than what `cost` counts is open at once, and nothing after an error."""
    from restore_cli.nets.led import strips

    open_now, most, fail = [], [0], [False]

    @contextmanager
    def buffer(shape, dtype):
        made = np.full(shape, np.nan, dtype)
        open_now.append(made.nbytes)
        most[0] = max(most[0], sum(open_now))
        try:
            yield made
        finally:
            open_now.remove(made.nbytes)

    def progress(share):
        told.append(share)
        if fail[0] and share > 0.5:
            raise KeyboardInterrupt

    planes, told = recipe.noise(5, 4, 64, 48), []
    network = recipe.network(arch, config)
    out = strips.run(network, planes, rows=8, make_buffer=buffer, progress=progress)
    assert recipe.error(out, recipe.run(network, planes[None])[0]) < 1e-5
    assert told == sorted(told) and told[0] > 0 and told[-1] == pytest.approx(1)
    channels = 8 if arch == "led-nafnet" else 16
    assert not open_now and most[0] <= (2 * channels + 4) * 4 * 64 * 48
    fail[0] = True
    with pytest.raises(KeyboardInterrupt):
        strips.run(network, planes, rows=8, make_buffer=buffer, progress=progress)
    assert not open_now


def test_what_cannot_be_run_is_refused(engine):
    from restore_cli.nets.led import strips

    network = recipe.network(*NAF)
    for shape in ((3, 8, 8), (8, 8), (4, 0, 8)):
        with pytest.raises(ShapeError, match="planes"):
            strips.run(network, np.zeros(shape, np.float32), rows=8)
    with pytest.raises(ValueError, match="at least 2"):
        strips.run(network, np.zeros((4, 8, 8), np.float32), rows=1)


def test_cost_grows_with_what_it_depends_on():
    for arch in ("led-nafnet", "led-restormer"):
        base = strips_cost.cost(arch, {}, 1424, 2128, 64, spilled=True)
        assert base < strips_cost.cost(arch, {}, 1424, 2128, 128, spilled=True)
        assert base < strips_cost.cost(arch, {}, 1424, 2128, 64)
        assert base < strips_cost.cost(arch, {}, 1424, 2128, 64, spilled=True, fused=False)
        assert strips_cost.cost(arch, {}, 1424, 2128, 64) < \
            strips_cost.cost(arch, {}, 1424, 2128, None)
        # Strips need not hold a number of rows that the image does not have.
        assert strips_cost.cost(arch, {}, 64, 512, 1000) == \
            strips_cost.cost(arch, {}, 64, 512, 64)


_MEASURE = """
import sys, threading, time
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
import jittor as jt
from restore_cli.nets import registry
from restore_cli.nets.led import strips

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

arch, rows = sys.argv[1], int(sys.argv[2])
network = registry.build(arch, {})
planes = np.random.default_rng(0).random((4, 192, 512), np.float32)

def go(planes):
    if rows:
        return strips.run(network, planes, rows=rows)
    with jt.no_grad():
        return network(jt.array(planes[None])).numpy()

go(planes[:, :16, :16])
jt.gc()
peak, before, stop = [0], anonymous(), []

def watch():
    while not stop:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
go(planes)
stop.append(1)
thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("rows", [0, 16])
@pytest.mark.parametrize("arch", ["led-nafnet", "led-restormer"])
def test_memory_is_what_was_told(engine, arch, rows):
    made = subprocess.run([sys.executable, "-c", _MEASURE, arch, str(rows)], check=True,
                          capture_output=True, text=True)
    told = strips_cost.cost(arch, {}, 192, 512, rows or None)
    assert 0.3 * told < int(made.stdout) < told
