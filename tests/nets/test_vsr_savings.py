"""The cheaper forms of the video network's parts are the plain ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import vsr_recipe as recipe

EXACT = 1e-5
SCALE2 = {**recipe.COMPACT, "scale": 2, "n_sequence": 3}
ENLARGED = {**recipe.COMPACT, "HR_in": True}
CASES = json.loads((recipe.DATA / "cases.json").read_text())


@pytest.mark.parametrize("config", [recipe.SMALL, SCALE2, ENLARGED,
                                    {**recipe.COMPACT, "scale": 8, "n_feat": 4}])
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (12, 7), (3, 8), (1, 1)])
def test_tail(engine, config, size):
    """Everywhere, and not only inside: the border strips matter."""
    import jittor as jt

    net = recipe.network(config)
    x = jt.array(recipe.noise(1, 2, net.features(jt.zeros((1, 3, 2, 2))).shape[1], *size))
    with jt.no_grad():
        made = net.compose_tail()
        expected, got = net.tail(x).numpy(), net.quick_tail(x, made).numpy()
        inside = net.quick_tail(x, made, (False,) * 4).numpy()
    assert recipe.error(got, expected) < EXACT
    edge = 2 * net.scale
    if min(size) > 4:
        cut = (slice(None), slice(None), slice(edge, -edge), slice(edge, -edge))
        assert recipe.error(inside[cut], expected[cut]) < EXACT
        assert recipe.error(inside, expected) > 1e-3


@pytest.mark.parametrize("sides", [{0}, {1}, {2}, {3}, {0, 2}, {1, 2}, {1, 3}, {0, 1}, set()])
def test_tail_of_a_tile(engine, sides):
    """A tile at some sides of the picture, cut from it with a halo of 2 pixels elsewhere."""
    import jittor as jt

    net = recipe.network(recipe.SMALL)
    x = recipe.noise(2, 1, 16, 20, 22)
    ends = tuple(side in sides for side in range(4))
    rows = slice(0 if ends[0] else 5, 20 if ends[1] else 14)
    columns = slice(0 if ends[2] else 6, 22 if ends[3] else 17)
    with jt.no_grad():
        made = net.compose_tail()
        whole = net.tail(jt.array(x)).numpy()
        tile = net.quick_tail(jt.array(np.ascontiguousarray(x[:, :, rows, columns])), made,
                              ends).numpy()
    whole = whole[:, :, 4 * rows.start:4 * rows.stop, 4 * columns.start:4 * columns.stop]
    cut = [0 if end else 8 for end in ends]
    keep = (slice(None), slice(None), slice(cut[0], whole.shape[2] - cut[1]),
            slice(cut[2], whole.shape[3] - cut[3]))
    assert recipe.error(tile[keep], whole[keep]) < EXACT


def test_composed_tail_sees_new_weights(engine):
    import jittor as jt

    net = recipe.network(recipe.COMPACT)
    x = jt.array(recipe.noise(3, 1, 16, 8, 8))
    with jt.no_grad():
        old = net.quick_tail(x, net.compose_tail()).numpy()
        net.upsample_layers[0].weight.update(net.upsample_layers[0].weight * 2)
        new = net.quick_tail(x, net.compose_tail()).numpy()
        assert recipe.error(new, net.tail(x).numpy()) < EXACT
    assert recipe.error(old, new) > 0.1


@pytest.mark.parametrize("config", [recipe.SMALL, ENLARGED])
def test_tail_in_training(engine, config):
    """Composed with gradients: values and gradients of the layers themselves."""
    import jittor as jt

    net = recipe.network(config)
    net.train()
    x = jt.array(recipe.noise(1, 2, 16, 25, 28))
    weights = jt.array(recipe.noise(2, 2, 3, 25 * net.scale, 28 * net.scale))
    parts = [value for key, value in net.named_parameters() if key.startswith(("out", "upsam"))]
    found = []
    for form in (net.tail, net._plain_tail):
        made = form(x)
        found.append([made, *jt.grad((made * weights).sum(), [x, *parts])])
    assert found[0][0].shape == found[1][0].shape
    for quick, plain in zip(*found, strict=True):
        assert recipe.error(quick, plain.numpy()) < 1e-4


def test_fusion_is_a_sum(engine):
    """Equal to upstream's convolution of all features side by side, with its gradients."""
    import jittor as jt

    from restore_cli.nets.vsr.warp import warp

    net = recipe.network(recipe.SMALL)
    net.train()
    features = [jt.array(recipe.noise(i, 2, 16, 9, 11)) for i in range(5)]
    flows = [jt.array(2 * recipe.noise(10 + i, 2, 2, 9, 11)) for i in range(4)]
    probe = jt.array(recipe.noise(20, 2, 16, 9, 11))
    moved = [warp(x, flow, border=True)
             for x, flow in zip(features[:2] + features[3:], flows, strict=True)]
    moved.insert(2, features[2])
    layer = net.fusion_conv[0]
    results = []
    for made in (net.fusion_conv(jt.concat(moved, dim=1)), net.fuse(features, flows)):
        grads = jt.grad((made * probe).sum(), [*features, *flows, layer.weight, layer.bias])
        results.append([value.numpy() for value in (made, *grads)])
    for expected, got in zip(*results, strict=True):
        assert recipe.error(got, expected) < EXACT
    with jt.no_grad():  # and as one operator
        assert recipe.error(net.fuse(features, flows), results[0][0]) < EXACT


def test_a_film_frame_by_frame(engine, golden):
    """Features and pyramids once a frame, the kernel left out, the tail composed."""
    import jittor as jt

    case = golden("recons_n16_32x48", "vsr")
    net = recipe.network(CASES["recons_n16_32x48"])
    x = recipe.frames(case["x_u8"])
    with jt.no_grad():
        features = [net.features(x[:, i]) for i in range(5)]
        pyramids = [net.pyramid(x[:, i]) for i in range(5)]
        flows = net.flows_between(pyramids)
        fused = net.recons_net(net.fuse(features, flows))
        out = net.quick_tail(fused, net.compose_tail()) + net.base(x[:, 2])
    for i, flow in enumerate(flows):
        assert recipe.error(flow, case["flows"][:, i]) < EXACT
    assert recipe.error(out, case["recons"]) < EXACT


def test_parts_of_the_full_network(engine, golden):
    """At the published size: the composed tail and the cached form against the golden case."""
    import jittor as jt

    case = golden("recons_full_32x48", "vsr")
    net = recipe.network({})
    x = recipe.frames(case["x_u8"])
    with jt.no_grad():
        features = [net.features(x[:, i]) for i in range(5)]
        flows = net.flows_between([net.pyramid(x[:, i]) for i in range(5)])
        fused = net.recons_net(net.fuse(features, flows))
        made = net.compose_tail()
        out = net.quick_tail(fused, made) + net.base(x[:, 2])
    assert tuple(made.weight.shape) == (48, 128, 5, 5)
    assert recipe.error(out, case["recons"]) < EXACT
    u8 = np.clip(np.rint(out.numpy()[0].transpose(1, 2, 0) * np.float32(255)), 0, 255)
    off = np.abs(u8 - case["recons_u8_hwc"])
    assert off.max() <= 1 and (off > 0).mean() <= 5e-4


def test_fusion_by_tiles(engine):
    """A tile's share, from a window of the features, with a halo of 1 pixel for the sum."""
    import jittor as jt

    from restore_cli.nets.vsr.warp import Place

    net = recipe.network(recipe.SMALL)
    x, flow = recipe.noise(1, 1, 16, 30, 40), np.clip(2 * recipe.noise(2, 1, 2, 30, 40), -4, 4)
    with jt.no_grad():
        whole = net.fusion_term(3, jt.array(x), jt.array(flow)).numpy()
        part = jt.array(np.ascontiguousarray(x[:, :, 3:27, 10:40]))
        tile = net.fusion_term(3, part, jt.array(np.ascontiguousarray(flow[:, :, 9:21, 20:40])),
                               Place((30, 40), (3, 10), (9, 20))).numpy()
    assert recipe.error(tile[:, :, 1:-1, 1:], whole[:, :, 10:20, 21:]) < EXACT


def _tile(net, features, flows, keep, halo):
    """Rows and columns `keep` of the picture's detail, all of it computed from a window."""
    from restore_cli.nets.vsr.warp import Place

    sides = tuple(features[0].shape[2:])
    read = [(max(0, a - halo), min(side, b + halo))
            for (a, b), side in zip(keep, sides, strict=True)]
    (y0, y1), (x0, x1) = read
    near = max(0, y0 - 9), max(0, x0 - 9)  # the flows reach less than nine pixels
    place = Place(sides, near, (y0, x0))
    total = net.fuse([x[:, :, near[0]:y1 + 10, near[1]:x1 + 10] for x in features],
                     [flow[:, :, y0:y1, x0:x1] for flow in flows], place)
    ends = (y0 == 0, y1 == sides[0], x0 == 0, x1 == sides[1])
    made = net.quick_tail(net.recons_net(total), net.compose_tail(), ends).numpy()
    (ky0, ky1), (kx0, kx1) = keep
    return made[:, :, 4 * (ky0 - y0):4 * (ky1 - y0), 4 * (kx0 - x0):4 * (kx1 - x0)]


@pytest.mark.parametrize("fused", ["1", "0"])
def test_the_halo_is_the_smallest(engine, monkeypatch, fused):
    """Tiles inside and at the border are exact with it, and visibly not with a pixel less."""
    import jittor as jt

    from restore_cli.nets.vsr.shapes import halo

    monkeypatch.setenv("RESTORE_FUSED", fused)
    assert halo({}) == 43 and halo(recipe.SMALL) == 7
    net = recipe.network(recipe.SMALL)
    features = [jt.array(recipe.noise(i, 1, 16, 40, 44)) for i in range(5)]
    flows = [jt.array(np.clip(2 * recipe.noise(10 + i, 1, 2, 40, 44), -8, 8)) for i in range(4)]
    keeps = [((0, 16), (0, 16)), ((12, 28), (14, 30)), ((24, 40), (14, 30)), ((24, 40), (28, 44))]
    with jt.no_grad():
        whole = net.tail(net.recons_net(net.fuse(features, flows))).numpy()
        for keep in keeps:
            (a, b), (c, d) = keep
            expected = whole[:, :, 4 * a:4 * b, 4 * c:4 * d]
            assert recipe.error(_tile(net, features, flows, keep, 7), expected) < EXACT
            assert recipe.error(_tile(net, features, flows, keep, 6), expected) > 3 * EXACT
