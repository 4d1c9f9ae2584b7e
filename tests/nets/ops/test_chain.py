"""Chains of layers as one operator against the layers they stand for."""

from __future__ import annotations

import numpy as np
import pytest


def _close(got, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale)


def _conv(rng, inputs, outputs):
    weight = rng.standard_normal((outputs, inputs, 3, 3)) / (3 * inputs**0.5)
    return weight.astype(np.float32), 0.1 * rng.standard_normal(outputs).astype(np.float32)


# Maps, images, their channels, height, width, channels of the result, blocks.
@pytest.mark.parametrize("case", [(1, 1, 3, 1, 1, 16, 1), (1, 2, 3, 9, 13, 20, 2),
                                  (3, 1, 8, 20, 17, 8, 1), (2, 2, 32, 6, 5, 32, 0)])
def test_a_chain_is_its_layers(engine, case):
    import jittor as jt
    from jittor import nn

    from restore_cli.nets.ops import chain

    maps, count, channels, height, width, features, blocks = case
    rng = np.random.default_rng(0)
    given = [jt.array(rng.standard_normal((count, channels, height, width)).astype(np.float32))
             for _ in range(maps)]
    first = [_conv(rng, channels, features) for _ in given]
    first = [(weight, bias if not i else 0 * bias) for i, (weight, bias) in enumerate(first)]
    rest = [_conv(rng, features, features) for _ in range(2 * blocks)]
    with jt.no_grad():
        expected = sum(nn.conv2d(x, jt.array(weight), jt.array(bias), padding=1)
                       for x, (weight, bias) in zip(given, first, strict=True))
        for i in range(blocks):
            (w1, b1), (w2, b2) = [tuple(map(jt.array, one)) for one in rest[2 * i:2 * i + 2]]
            hidden = nn.relu(nn.conv2d(expected, w1, b1, padding=1))
            expected = expected + nn.conv2d(hidden, w2, b2, padding=1)
        packed = chain.pack([
            *(chain.layer(*one, [range(channels)]) for one in first),
            *(chain.layer(*one, [range(features)]) for one in rest)])
        _close(chain.chain(given, packed, features, blocks).numpy(), expected.numpy())


# Of the frame, of the sampled maps (their first pixels: row 3 and 2, column 1) and of the result,
# and the result's first pixel.
@pytest.mark.parametrize(("frame", "sampled", "size", "first"), [
    ((9, 12), (9, 12), (9, 12), (0, 0)), ((40, 33), (28, 30), (20, 17), (6, 9)),
    ((1, 20), (1, 20), (1, 20), (0, 0))])
def test_a_chain_samples_its_maps(engine, frame, sampled, size, first):
    import jittor as jt

    from restore_cli.nets.ops import chain, motion

    rng = np.random.default_rng(1)
    layers = [_conv(rng, 20, 16), _conv(rng, 20, 16), _conv(rng, 20, 16)]
    maps = [jt.array(rng.standard_normal((2, 20, *each)).astype(np.float32))
            for each in (sampled, size, sampled)]
    flows = [jt.array((3 * rng.standard_normal((2, 2, *size))).astype(np.float32))
             for _ in range(2)]
    starts = [(0, 0)] * 2 if sampled == frame else [(3, 1), (2, 1)]
    with jt.no_grad():
        packed = chain.pack([chain.layer(*one, [range(20)]) for one in layers])
        places = [(0.999, frame, start, first) for start in starts]
        given = [chain.Moved(x, flow, *place) for x, flow, place in zip(
            maps[::2], flows, places, strict=True)]
        moved = [motion.warp(x, flow, True, *place) for x, flow, place in zip(
            maps[::2], flows, places, strict=True)]
        expected = chain.chain([moved[0], maps[1], moved[1]], packed, 16, 0).numpy()
        _close(chain.chain([given[0], maps[1], given[1]], packed, 16, 0).numpy(), expected)


@pytest.mark.parametrize("name", ["RESTORE_FUSED", "RESTORE_WINOGRAD"])
def test_switches(engine, monkeypatch, name):
    import jittor as jt

    from restore_cli.nets.ops import chain

    with jt.no_grad():
        assert chain.usable()
        monkeypatch.setenv(name, "0")
        assert not chain.usable()
    monkeypatch.delenv(name)
    assert not chain.usable()  # gradients are wanted


def test_layers_are_padded():
    from restore_cli.nets.ops import chain

    weight = np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 3, 3) + 1
    made, bias = chain.layer(weight, np.float32([1, 2]), [[2, 0], [1]])
    assert made.shape == (16, 32, 3, 3) and bias.shape == (16,)
    np.testing.assert_array_equal(made[:2, [0, 1, 16]], weight[:, [2, 0, 1]])
    assert np.count_nonzero(made) == weight.size and bias.sum() == 3
