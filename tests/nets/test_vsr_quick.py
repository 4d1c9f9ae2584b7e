"""The video network prepared for a film equals the network."""

from __future__ import annotations

import numpy as np
import pytest
import vsr_recipe as recipe

EXACT = 1e-5
SCALE2 = {**recipe.COMPACT, "scale": 2, "n_sequence": 3}
WIDE = {**recipe.COMPACT, "n_feat": 16, "flow_channels": [8, 20, 16, 17, 14, 12],
        "flow_dense": [32, 20, 16, 8, 4], "flow_refine": [20, 16, 8, 8, 8, 4]}


def quick(config):
    from restore_cli.nets.vsr.quick import Quick

    network = recipe.network(config)
    return network, Quick(network)


@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.parametrize(("config", "size"), [
    (recipe.COMPACT, (40, 50)), (WIDE, (70, 33)), (SCALE2, (20, 130))])
def test_parts(engine, monkeypatch, config, size, fused):
    import jittor as jt

    monkeypatch.setenv("RESTORE_FUSED", fused)
    network, made = quick(config)
    assert made.fused == (fused == "1")
    length = 3 if config is SCALE2 else 5
    frames = jt.array(0.2 * recipe.noise(3, 1, length, 3, *size) + 0.5)
    with jt.no_grad():
        features = [network.features(frames[:, i]) for i in range(length)]
        got = made.features(frames[:, 1])
        assert recipe.error(got, features[1].numpy()) < EXACT
        pyramids = [network.pyramid(frames[:, i]) for i in range(length)]
        others = [one for i, one in enumerate(pyramids) if i != network.centre]
        flows = jt.concat(network.flows_between(pyramids), dim=0).numpy()
        assert recipe.error(made.between(pyramids[network.centre], others), flows) < EXACT
        body = network.recons_net(network.fuse(features, list(jt.array(flows).split(1))))
        moved = [x if i == network.centre else made.moved(
            x, jt.array(np.ascontiguousarray(flows[i - (i > network.centre)][None])))
            for i, x in enumerate(features)]
        assert recipe.error(made.body(moved), body.numpy()) < EXACT
        assert recipe.error(made.detail(body), network.tail(body).numpy()) < EXACT
        expected = network.tail(body) + network.base(frames[:, 1])
        assert recipe.error(made.picture(body, frames[:, 1]), expected.numpy()) < EXACT


@pytest.mark.parametrize("config", [
    SCALE2, recipe.COMPACT, {**recipe.COMPACT, "scale": 8, "n_feat": 4},
    {**recipe.COMPACT, "HR_in": True}])
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (3, 8)])
def test_borders(engine, config, size):
    import jittor as jt

    network, made = quick(config)
    x = jt.array(recipe.noise(1, 2, network.features(jt.zeros((1, 3, 2, 2))).shape[1], *size))
    with jt.no_grad():
        expected = network.tail(x)
        assert recipe.error(made.detail(x), expected.numpy()) < EXACT
        frame = jt.array(recipe.noise(4, 2, 3, *size))
        expected = expected + network.base(frame)
        assert recipe.error(made.picture(x, frame), expected.numpy()) < EXACT


@pytest.mark.parametrize("ends", [(True, False, False, True), (False, True, True, False),
                                  (True, True, False, False), (False,) * 4])
def test_borders_of_tiles(engine, ends):
    """What lies 2 pixels from a tile's own sides is that of the picture."""
    import jittor as jt

    network, made = quick(recipe.COMPACT)
    x = recipe.noise(2, 1, 16, 20, 22)
    (top, bottom), (left, right) = ((0 if ends[0] else 5, 20 if ends[1] else 14),
                                    (0 if ends[2] else 6, 22 if ends[3] else 17))
    frame = recipe.noise(4, 1, 3, 20, 22)
    tile, near = (jt.array(np.ascontiguousarray(one[:, :, top:bottom, left:right]))
                  for one in (x, frame))
    with jt.no_grad():
        detail, base = network.tail(jt.array(x)), network.base(jt.array(frame))
        pairs = [(made.detail(tile, ends), detail), (made.picture(tile, near, ends), detail + base)]
    for found, expected in pairs:
        whole = expected.numpy()[..., 4 * top:4 * bottom, 4 * left:4 * right]
        cut = [0 if end else 8 for end in ends]
        keep = (..., slice(cut[0], whole.shape[2] - cut[1]),
                slice(cut[2], whole.shape[3] - cut[3]))
        assert recipe.error(found.numpy()[keep], whole[keep]) < EXACT


def test_the_published_size(engine, golden):
    import jittor as jt

    case = golden("recons_full_32x48", "vsr")
    network, made = quick({})
    frames = recipe.frames(case["x_u8"])
    with jt.no_grad():
        pyramids = [network.pyramid(frames[:, i]) for i in range(5)]
        flows = made.between(pyramids[2], [*pyramids[:2], *pyramids[3:]])
        flows = [flows[i:i + 1] for i in range(4)]
        features = [made.features(frames[:, i]) for i in range(5)]
        for i, flow in zip((0, 1, 3, 4), flows, strict=True):
            features[i] = made.moved(features[i], flow)
        out = made.picture(made.body(features), frames[:, 2])
    assert recipe.error(out, case["recons"]) < EXACT
