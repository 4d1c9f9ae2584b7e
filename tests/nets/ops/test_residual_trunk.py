"""The residual trunk as one operator, against the same blocks in stock operators."""

from __future__ import annotations

import numpy as np
import pytest


def _case(engine, count, channels, height, width, blocks):
    import jittor as jt

    from restore_cli.nets.ops import residual_trunk

    if not residual_trunk.usable(channels):
        pytest.skip("no oneDNN on this machine")
    rng = np.random.default_rng(5)
    weights = []
    for _ in range(2 * blocks):
        kernel = rng.standard_normal((channels, channels, 3, 3)) / (6 * channels**0.5)
        weights += [jt.array(kernel.astype(np.float32)),
                    jt.array(0.1 * rng.standard_normal(channels).astype(np.float32))]
    x, probe = (jt.array(rng.standard_normal((count, channels, height, width)).astype(np.float32))
                for _ in range(2))
    return residual_trunk, x, weights, probe


def _plain(x, weights):
    from jittor import nn

    for i in range(0, len(weights), 4):
        hidden = nn.relu(nn.conv2d(x, weights[i], weights[i + 1], padding=1))
        x = x + nn.conv2d(hidden, weights[i + 2], weights[i + 3], padding=1)
    return x


SHAPES = [(1, 16, 1, 1, 1), (2, 32, 9, 13, 3), (1, 64, 20, 17, 2), (3, 16, 5, 40, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("winograd", ["0", "1"])
def test_inference_equals_plain(engine, monkeypatch, shape, winograd):
    import jittor as jt

    monkeypatch.setenv("RESTORE_WINOGRAD", winograd)
    ops, x, weights, _ = _case(engine, *shape)
    with jt.no_grad():
        expected, got = _plain(x, weights).numpy(), ops.trunk(x, weights).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_plain(engine, shape):
    import jittor as jt

    ops, x, weights, probe = _case(engine, *shape)
    results = []
    for form in (_plain, ops.trunk):
        y = form(x, weights)
        results.append([v.numpy() for v in (y, *jt.grad((y * probe).sum(), [x, *weights]))])
    for expected, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (2, 32, 9, 13), (1, 64, 20, 17)])
@pytest.mark.parametrize("winograd", ["0", "1"])
@pytest.mark.parametrize("maps", [1, 4])
def test_sum_of_convolutions(engine, monkeypatch, shape, winograd, maps):
    import jittor as jt
    from jittor import nn

    monkeypatch.setenv("RESTORE_WINOGRAD", winograd)
    ops, x, weights, _ = _case(engine, *shape, 2)
    inputs, kernels, bias = [x * (i + 1) for i in range(maps)], weights[::2][:maps], weights[1]
    with jt.no_grad():
        expected = bias.reshape(1, -1, 1, 1)
        for one, kernel in zip(inputs, kernels, strict=True):
            expected = expected + nn.conv2d(one, kernel, padding=1)
        expected = expected.numpy()
        got = ops.convolution_sum(inputs, kernels, bias).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_changed_weights_are_seen(engine):
    import jittor as jt

    ops, x, weights, _ = _case(engine, 1, 16, 8, 8, 1)
    with jt.no_grad():
        ops.trunk(x, weights).sync()
        weights[2].update(weights[2] * 3)
        np.testing.assert_allclose(ops.trunk(x, weights).numpy(), _plain(x, weights).numpy(),
                                   atol=1e-4)


@pytest.mark.parametrize("scale", [1, 0.1])
def test_encoder_uses_it_and_can_do_without(engine, monkeypatch, scale):
    import jittor as jt

    from restore_cli.nets import registry

    network = registry.build("edsr-baseline", {"n_resblocks": 2, "n_feats": 32,
                                               "res_scale": scale, "no_upsampling": True})
    x = jt.array(np.random.default_rng(0).standard_normal((1, 3, 11, 7)).astype(np.float32))
    with jt.no_grad():
        fused = network(x).numpy()
        monkeypatch.setenv("RESTORE_FUSED", "0")
        plain = network(x).numpy()
    np.testing.assert_allclose(fused, plain, atol=1e-5 * np.abs(plain).max())
