"""The denoising U-Net as one operator, against the same network in stock operators."""

from __future__ import annotations

import fused_checks
import numpy as np
import pytest

from restore_cli.errors import ShapeError

# depth, first features, channels, classes, n2v2, residual, (N, H, W)
CASES = [
    (2, 32, 1, 1, False, False, (3, 12, 20)),
    (2, 16, 3, 3, False, True, (1, 64, 36)),
    (2, 16, 1, 1, True, False, (2, 8, 12)),
    (1, 48, 3, 3, True, False, (3, 10, 6)),
    (1, 16, 3, 1, False, False, (2, 2, 2)),
    (3, 16, 1, 1, False, True, (1, 24, 8)),
    (3, 16, 1, 2, True, False, (5, 8, 16)),
]


def _config(depth, first, channels, classes, n2v2, residual):
    from restore_cli.nets.n2v import shapes

    return shapes.complete("n2v-field", {
        "depth": depth, "num_channels_init": first, "in_channels": channels,
        "num_classes": classes, "n2v2": n2v2, "residual": residual, "use_batch_norm": False,
        "independent_channels": False})


def _case(case, seed=5):
    """The operator and its stock counterpart as functions of x and the parameters; and values."""
    import jittor as jt
    from jittor import nn

    from restore_cli.nets.n2v import layers
    from restore_cli.nets.ops import field_unet

    depth, first, channels, classes, n2v2, residual, (count, height, width) = case
    config = _config(*case[:6])
    if not field_unet.usable(config, channels):
        pytest.skip("the operator cannot run here")
    blocks = [(channels if i == 0 else first << i - 1, first << i, first << i)
              for i in range(depth)]
    blocks.append((first << depth - 1, first << depth, first << depth - 1))
    for level in reversed(range(depth)):
        wide = first << level
        joined = wide if n2v2 and level == 0 else 2 * wide
        blocks.append((joined, wide, wide // 2 if level else wide))
    rng = np.random.default_rng(seed)

    def draw(*shape, scale=1.0):
        return jt.array((scale * rng.standard_normal(shape)).astype(np.float32))

    parameters = []
    for inputs, middle, outputs in blocks:
        for a, b in ((inputs, middle), (middle, outputs)):
            parameters += [draw(b, a, 3, 3, scale=(2 / (9 * a)) ** 0.5), draw(b, scale=0.1)]
    parameters += [draw(classes, first, 1, 1, scale=first**-0.5), draw(classes, scale=0.1)]

    def plain(x, parameters):
        left = list(parameters)

        def block(x):
            for _ in range(2):
                x = nn.relu(nn.conv2d(x, left.pop(0), left.pop(0), padding=1))
            return x

        skips, start = [], x
        for _ in range(depth):
            skips.append(block(x))
            x = (layers.blur_pool if n2v2 else layers.max_pool)(skips[-1])
        x = block(x)
        for level in reversed(range(depth)):
            x = layers.upsample(x)
            x = block(x if n2v2 and level == 0 else jt.concat([x, skips[level]], dim=1))
        y = nn.conv2d(x, *left)
        return y + start if residual else y

    def fused(x, parameters):
        return field_unet.field_unet(x, parameters, depth, n2v2, residual)

    x, probe = draw(count, channels, height, width), draw(count, classes, height, width)
    return plain, fused, x, parameters, probe


@pytest.mark.parametrize("case", CASES)
def test_inference_equals_plain(engine, case):
    fused_checks.inference_equals_plain(_case(case))


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_plain(engine, case):
    fused_checks.gradients_equal_plain(_case(case))


def test_gradient_of_a_few_pixels(engine):
    *case, probe = _case(CASES[1])
    mask = np.random.default_rng(1).random(probe.shape) < 0.02
    fused_checks.gradients_equal_plain((*case, probe * mask.astype(np.float32)))


def test_two_forwards_then_their_gradients(engine):
    import jittor as jt

    _, fused, x, parameters, probe = _case(CASES[0])
    other = jt.array(x.numpy()[:2, :, ::-1, :12].copy())
    alone = [fused_checks.gradients(fused, image, parameters,
                                    probe[:len(image), :, :, :image.shape[3]])
             for image in (x, other)]
    first, second = fused(x, parameters), fused(other, parameters)
    first.sync()
    second.sync()
    fused(x * 2, parameters).sync()
    with jt.no_grad():
        fused(x * 3, parameters).sync()
    loss = (first * probe).sum() + (second * probe[:2, :, :, :12]).sum()
    for together, a, b in zip(jt.grad(loss, parameters), alone[0][2:], alone[1][2:], strict=True):
        fused_checks.close(together.numpy(), a + b, 1e-6)


def test_repeats_to_the_last_bit(engine):
    fused_checks.repeats_to_the_last_bit(_case(CASES[0]))


def test_training_and_inference_agree_and_see_new_weights(engine):
    fused_checks.training_and_inference_agree_and_see_new_weights(_case(CASES[0]), changed=4)


def test_images_of_a_batch_do_not_meet(engine):
    fused_checks.images_of_a_batch_do_not_meet(_case(CASES[0]))


def test_final_activation(engine):
    import jittor as jt

    from restore_cli.nets.ops.field_unet import field_unet

    _, fused, x, parameters, _ = _case(CASES[0])
    with jt.no_grad():
        expected = jt.tanh(fused(x, parameters)).numpy()
        got = field_unet(x, parameters, 2, final_activation=jt.tanh).numpy()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("n2v2", [False, True])
def test_batch_statistics_are_folded_in(engine, monkeypatch, n2v2):
    """Outside training; in training the network normalises by each batch."""
    import jittor as jt

    from restore_cli.nets import registry

    network = registry.build("n2v-field", {"num_channels_init": 16, "n2v2": n2v2})
    rng = np.random.default_rng(3)
    values = {key: 0.2 * rng.standard_normal(value.shape).astype(np.float32)
              for key, value in network.state_dict().items()}
    network.load_state_dict({key: value if key.endswith(("conv1.weight", "conv2.weight"))
                             else np.abs(value) + 0.3 * ("norm" in key)
                             for key, value in values.items()})
    x = jt.array(rng.standard_normal((2, 1, 12, 20)).astype(np.float32))

    def outputs():
        with jt.no_grad():
            return network(x).numpy()

    network.eval()
    asked = []
    monkeypatch.setattr(network, "_plain", lambda x, plain=network._plain: asked.append(x) or
                        plain(x))
    folded = outputs()
    assert not asked
    with monkeypatch.context() as patch:
        patch.setenv("RESTORE_FUSED", "0")
        fused_checks.close(folded, outputs())
    assert len(asked) == 1
    network.train()
    assert np.abs(outputs() - folded).max() > 0.01 * np.abs(folded).max()
    assert len(asked) == 2


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 1, 6, 8), (1, 1, 8, 9), (1, 8, 8)])
def test_refuses_other_shapes(engine, shape):
    import jittor as jt

    from restore_cli.nets.ops.field_unet import field_unet

    _, _, _, parameters, _ = _case(CASES[0])
    with pytest.raises(ShapeError):
        field_unet(jt.zeros(shape), parameters, 2)


def test_usable_only_for_what_it_computes(engine, monkeypatch):
    from restore_cli.nets.ops.field_unet import usable

    good = _config(2, 32, 3, 3, False, False)
    assert usable(good, 3)
    assert not usable(good, 1)
    for key, value in (("use_batch_norm", True), ("num_channels_init", 24), ("conv_dims", 3),
                       ("independent_channels", True)):
        assert not usable({**good, key: value}, 3), key
    for name in ("RESTORE_FUSED", "RESTORE_WINOGRAD"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "0")
            assert not usable(good, 3)


def test_memory_for_each_pixel(engine):
    """By hand: three maps at full size, in two of which the deeper levels find room."""
    from restore_cli.nets.ops.field_unet import bytes_per_pixel

    assert bytes_per_pixel(2, 32) == 4 * 3 * 32
    assert bytes_per_pixel(2, 32, n2v2=True) == 4 * 2 * 32
    assert bytes_per_pixel(2, 32, training=True) > bytes_per_pixel(2, 32)
