"""A NAFNet block with its gradients as operators, against the stock layers."""

from __future__ import annotations

import fused_checks
import numpy as np
import pytest

# channels, (N, H, W): no multiples of a vector, one pixel.
CASES = [(16, (2, 12, 20)), (5, (3, 9, 33)), (3, (1, 1, 1)), (48, (1, 17, 50))]
EPS = 1e-6


def _case(channels, size):
    """The operator and the stock layers as functions of x and the parameters; and values."""
    import jittor as jt
    from jittor import nn

    from restore_cli.nets.led.layers import halves
    from restore_cli.nets.ops import naf_train

    if not naf_train.usable():
        pytest.skip("the operators cannot run here")
    rng = np.random.default_rng(channels)

    def draw(*shape, scale=1.0, mean=0.0):
        return jt.array((mean + scale * rng.standard_normal(shape)).astype(np.float32))

    c = channels
    shapes = {"conv1": (2 * c, c, 1, 1), "depthwise": (2 * c, 1, 3, 3), "sca": (c, c, 1, 1),
              "conv3": (c, c, 1, 1), "conv4": (2 * c, c, 1, 1), "conv5": (c, c, 1, 1)}
    parameters = []
    for name in naf_train.NAMES:
        layer, _, part = name.partition(".")
        if layer in ("beta", "gamma"):
            parameters.append(draw(1, c, 1, 1, scale=0.3, mean=0.5))
        elif layer.startswith("norm"):
            parameters.append(draw(c, scale=0.3, mean=float(part == "weight")))
        elif part == "bias":
            parameters.append(draw(shapes[layer][0], scale=0.3))
        else:
            parameters.append(draw(*shapes[layer], scale=np.prod(shapes[layer][1:])**-0.5))

    def norm(x, weight, bias):
        off = x - x.mean(1, keepdims=True)
        scale = 1 / jt.sqrt((off * off).mean(1, keepdims=True) + EPS)
        return off * scale * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)

    def plain(x, parameters):
        p = dict(zip(naf_train.NAMES, parameters))

        def conv(x, name, **more):
            return nn.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], **more)

        made = conv(norm(x, p["norm1.weight"], p["norm1.bias"]), "conv1")
        first, second = halves(conv(made, "depthwise", padding=1, groups=2 * channels))
        gated = first * second
        mean = gated.mean(3, keepdims=True).mean(2, keepdims=True)
        x = x + conv(gated * conv(mean, "sca"), "conv3") * p["beta"]
        first, second = halves(conv(norm(x, p["norm2.weight"], p["norm2.bias"]), "conv4"))
        return x + conv(first * second, "conv5") * p["gamma"]

    def fused(x, parameters):
        return naf_train.block(x, dict(zip(naf_train.NAMES, parameters)), EPS)

    shape = (size[0], channels, *size[1:])
    return plain, fused, draw(*shape), parameters, draw(*shape)


@pytest.mark.parametrize("channels,size", CASES)
def test_gradients_equal_plain(engine, channels, size):
    fused_checks.gradients_equal_plain(_case(channels, size))


def test_more_images_than_are_done_at_a_time(engine):
    """Their gradients add up. (The stock layers are no reference: they add naively in float32.)"""
    _, fused, x, parameters, probe = _case(16, (3, 190, 191))
    whole = fused_checks.gradients(fused, x, parameters, probe)
    each = [fused_checks.gradients(fused, x[i:i + 1], parameters, probe[i:i + 1])
            for i in range(3)]
    for got, *parts in zip(whole[2:], *(one[2:] for one in each), strict=True):
        fused_checks.close(got, sum(parts), 5e-6)


def test_repeats_to_the_last_bit(engine):
    fused_checks.repeats_to_the_last_bit(_case(*CASES[1]))


def test_training_and_inference_agree_and_see_new_weights(engine):
    fused_checks.training_and_inference_agree_and_see_new_weights(_case(*CASES[0]), changed=2)


def test_images_of_a_batch_do_not_meet(engine):
    fused_checks.images_of_a_batch_do_not_meet(_case(*CASES[1]))


def test_usable_where_it_is_wanted(engine, monkeypatch):
    from restore_cli.nets.ops import naf_train

    if not naf_train.usable():
        pytest.skip("the operators cannot run here")
    monkeypatch.setenv("RESTORE_FUSED", "0")
    assert not naf_train.usable()
