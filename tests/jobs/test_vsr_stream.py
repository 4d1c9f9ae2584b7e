"""The streamed, tiled form of the video network equals the plain one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import vsr_small

from restore_cli.jobs import vsr_network, vsr_plan, vsr_stream
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_stream import Held, Stream
from restore_cli.pipeline import windows

recipe = vsr_small.recipe


@pytest.fixture(scope="module")
def loaded(engine, tmp_path_factory):
    return vsr_network.load(vsr_small.weights(tmp_path_factory.mktemp("vsr")), device="cpu")


def raw(stream, window):
    """What `enlarge` makes before it is rounded."""
    import jittor as jt

    tiles = []
    with jt.no_grad():
        for held in window:
            stream._examine(held)
        flows = stream._flows(window)
        for tile in stream._tiles:
            tiles.append((tile.keep, stream._tile(window, flows, tile)))
    height, width = stream._size
    out = np.full((4 * height, 4 * width, 3), np.nan, np.float32)
    for (rows, columns), made in tiles:
        out[4 * rows.start:4 * rows.stop, 4 * columns.start:4 * columns.stop] = made
    return out


def plain(loaded, window):
    """The network as published, on the whole window."""
    import jittor as jt

    stack = np.concatenate([vsr_stream.planes(one.frame.rgb) for one in window])[None]
    with jt.no_grad():
        return loaded.network(jt.array(stack)).numpy()[0].transpose(1, 2, 0)


@pytest.mark.parametrize("tile", [(4, 4), (9, 30), (64, 64)])
@pytest.mark.parametrize("size", [(33, 41), (24, 20)])
@pytest.mark.parametrize("fused,lean", [("1", False), ("0", False), ("1", True)])
def test_tiles_change_nothing(loaded, monkeypatch, tile, size, fused, lean):
    monkeypatch.setenv("RESTORE_FUSED", fused)
    film = [Held(one) for one in vsr_small.frames(6, *size)]
    stream = Stream(loaded, size, Plan(tile, 3, lean=lean), 4)
    for window in windows.sliding((one, n == 0) for n, one in enumerate(film)):
        assert recipe.error(raw(stream, window), plain(loaded, window)) < 1e-5
        if tile != (64, 64):
            assert len(stream._tiles) > 1
        assert all((one.features is None) == lean for one in window)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_short_shots(loaded, count):
    """Two shots, the first too short for a window; nothing crosses the cut."""
    size = (18, 23)
    film = [Held(one) for seed in (0, 1) for one in vsr_small.frames(count + 3 * seed, *size,
                                                                      seed=seed)]
    stream = Stream(loaded, size, Plan((16, 16), 4), 4)
    seen = 0
    for window in windows.sliding((one, n in (0, count)) for n, one in enumerate(film)):
        assert recipe.error(raw(stream, window), plain(loaded, window)) < 1e-5
        seen += 1
    assert seen == len(film)


@pytest.mark.parametrize("lean", [False, True])
def test_large_motion(engine, tmp_path, lean):
    """Flows of many pixels read features far outside the tile."""
    import jittor as jt

    path = vsr_small.weights(tmp_path)
    found = vsr_network.load(path, device="cpu")
    last = found.network.flow_net.moduleNetwork.moduleRefiner.moduleMain[-1]
    last.weight.update(last.weight * 20)
    last.bias.update(jt.array(np.float32([0.9, -1.2])))  # in twentieths, of a frame of 64x64
    film = [Held(one) for one in vsr_small.frames(5, 40, 44)]
    stream = Stream(found, (40, 44), Plan((8, 8), 4, lean=lean), 4)
    assert recipe.error(raw(stream, film), plain(found, film)) < 1e-5
    reach = max(np.abs(one).max() for one in stream._flows(film).values())
    assert reach > 10


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_values(loaded, dtype):
    film = [Held(one) for one in vsr_small.frames(5, 20, 22, dtype)]
    made = Stream(loaded, (20, 22), Plan((12, 12), 4), 4).enlarge(film)
    white = np.iinfo(dtype).max
    expected = np.clip(plain(loaded, film).astype(np.float64) * white, 0, white)
    assert made.dtype == dtype and np.abs(made - expected).max() < 0.5 + 2e-5 * white


@pytest.mark.parametrize("scale", [2, 3])
def test_smaller_scales_keep_the_phase(loaded, scale):
    """A smooth picture, reduced, is where pixel i of the film lies on pixel `scale` i."""
    from restore_cli.jobs import vsr_reduce

    y, x = np.mgrid[:4 * 30, :4 * 26].astype(np.float32) / 4
    large = np.stack([0.5 + 0.3 * np.sin(y / 3), 0.5 + 0.3 * np.cos(x / 4), y / 60], -1)
    y, x = np.mgrid[:scale * 30, :scale * 26].astype(np.float32) / scale
    expected = np.stack([0.5 + 0.3 * np.sin(y / 3), 0.5 + 0.3 * np.cos(x / 4), y / 60], -1)
    made = vsr_reduce.reduce(large, 4, scale)
    assert made.shape == expected.shape
    inside = (slice(3 * scale, -3 * scale),) * 2
    assert np.abs(made - expected)[inside].max() < 2e-3
    # Detail beyond what the smaller grid holds is gone instead of folded back.
    stripes = np.zeros((4 * 30, 4 * 26, 3), np.float32)
    stripes[::2] = 1
    left = np.abs(vsr_reduce.reduce(stripes, 4, scale)[inside] - 0.5).max()
    assert left < (0.05 if scale == 2 else 0.2)
    film = [Held(one) for one in vsr_small.frames(5, 20, 22)]
    assert Stream(loaded, (20, 22), Plan((12, 12), 4), scale).enlarge(film).shape == (
        scale * 20, scale * 22, 3)


def test_plans(loaded):
    from restore_cli.nets.layout import layout

    config = loaded.config
    model = vsr_plan.cost(layout("vsr", config), config, (200, 320), 1, 4, True)
    whole = vsr_plan.choose(model, model.need(320, 4))
    assert whole == Plan((320, 320), 4, False)
    room = model.held + max(model.step(40), model.pair)
    less = vsr_plan.choose(model, room, beside=(0, room))
    assert max(less.tile) < 200 and less.pairs >= 1 and less.release and not less.lean
    again = vsr_plan.choose(model, model.need(320, 4), before=less)
    assert (again.tile, again.pairs, again.release) == (less.tile, less.pairs, False)
    assert vsr_plan.choose(model, 1 << 40, asked=20) == Plan((20, 20), 4, False)


def test_a_lean_plan_where_nothing_else_fits_or_tiles_would_be_tiny(loaded):
    from restore_cli.errors import OutOfMemory
    from restore_cli.nets.layout import layout
    from restore_cli.nets.vsr import shapes

    config = loaded.config
    model = vsr_plan.cost(layout("vsr", config), config, (200, 320), 1, 4, True)
    assert model.held_lean < model.held
    enough = model.held_lean + max(model.step(vsr_plan.SMALLEST_TILE, True), model.pair)
    lean = vsr_plan.choose(model, enough)
    assert lean.lean and lean.release
    assert vsr_plan.choose(model, 1 << 40, before=lean) == replace(lean, release=False)
    with pytest.raises(OutOfMemory, match="320x200") as caught:
        vsr_plan.choose(model, enough - 1)
    assert caught.value.short == 1
    # Keeping features leaves tiny tiles only, whose halos cost more than making features again.
    config = shapes.complete({**config, "n_feat": 32, "recons_RBS": 12})
    model = replace(vsr_plan.cost(layout("vsr", config), config, (1080, 1920), 1, 4, True), pair=1,
                    whole=1)
    tight = model.held + max(model.step(vsr_plan.SMALLEST_TILE), model.pair)
    assert vsr_plan.choose(model, tight).lean
    assert not vsr_plan.choose(model, tight, beside=(0, tight)).lean
    assert not vsr_plan.choose(model, 2 * tight).lean
    with pytest.raises(OutOfMemory, match="the encoder"):
        vsr_plan.choose(model, tight, beside=(tight, tight))
