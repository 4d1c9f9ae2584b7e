"""Products in bfloat16: near those in float32, only on request, and refused where there are none.
"""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import DeviceError
from restore_cli.runtime import bf16


@pytest.fixture
def half(engine):
    """Runs something with and without bfloat16; skips where the CPU has none."""
    try:
        bf16.require()
    except DeviceError as error:
        pytest.skip(str(error))
    import jittor as jt

    from restore_cli.nets.ops import precision

    jt.set_global_seed(0)  # networks draw their weights

    def both(work):
        with jt.no_grad():
            full = work()
            with precision.using(True):
                rough = work()
        return full, rough

    return both


def _near(both, most):
    """The error is that of bfloat16: there, and `most` of the scale at most (both RMS)."""
    full, rough = both
    error = np.sqrt(((full - rough) ** 2).mean() / (full**2).mean())
    assert 1e-5 < error < most


def _conv(rng, inputs, outputs):
    weight = rng.standard_normal((outputs, inputs, 3, 3)) / (3 * inputs**0.5)
    return weight.astype(np.float32), 0.1 * rng.standard_normal(outputs).astype(np.float32)


def _array(rng, *shape):
    import jittor as jt

    return jt.array(rng.standard_normal(shape).astype(np.float32))


# Channels of the map and of the result: with whole and broken panels, and padding.
@pytest.mark.parametrize("inputs,outputs", [(3, 16), (16, 48), (40, 64)])
def test_a_convolution(half, inputs, outputs):
    from restore_cli.nets.ops import chain

    rng = np.random.default_rng(0)
    given, layer = _array(rng, 2, inputs, 9, 14), _conv(rng, inputs, outputs)

    def run():
        packed = chain.pack([chain.layer(*layer, [range(inputs)])])
        return chain.chain([given], packed, outputs, 0).numpy()

    # Rounding of inputs and weights by 2^-9, made six times as large by the transforms.
    _near(half(run), 0.015)


def test_weights_stay_as_they_were_packed(half):
    from restore_cli.nets.ops import chain, precision

    rng = np.random.default_rng(0)
    given = _array(rng, 1, 16, 8, 8)
    packed = chain.pack([chain.layer(*_conv(rng, 16, 16), [range(16)])])
    full, rough = half(lambda: chain.chain([given], packed, 16, 0).numpy())
    np.testing.assert_array_equal(full, rough)
    assert not precision.chosen()


@pytest.mark.parametrize("name,args", [
    ("edsr-baseline", {"n_resblocks": 2, "n_feats": 32}),
    ("rdn", {"RDNconfig": "A", "G0": 16}),
    ("rcan", {"n_resgroups": 1, "n_resblocks": 2, "n_feats": 16, "reduction": 4})])
def test_encoders(half, name, args):
    from restore_cli.nets.liif import encoders

    rng = np.random.default_rng(0)
    network = encoders.build(name, {**args, "no_upsampling": True})
    given = _array(rng, 1, 3, 21, 18)
    _near(half(lambda: network(given).numpy()), 0.02)


# Depth of the decoder's hidden layers and whether widths are odd.
@pytest.mark.parametrize("hidden", [[48], [64, 64, 40], [37, 33]])
def test_the_decoder_of_liif(half, hidden):
    from restore_cli.nets import registry

    rng = np.random.default_rng(0)
    network = registry.build("liif", {
        "encoder_spec": {"name": "edsr-baseline",
                         "args": {"n_resblocks": 1, "n_feats": 16, "no_upsampling": True}},
        "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": hidden}}})
    features = _array(rng, 1, 16, 9, 11)
    full, rough = half(lambda: network.render(features, (23, 31)).numpy())
    if len(hidden) == 1:  # nothing but the first and the last layer
        np.testing.assert_array_equal(full, rough)
    else:
        _near((full, rough), 0.02)


@pytest.mark.parametrize("name,config,channels", [
    ("led-unet", {"channels": 16}, 4),
    ("n2v-field", {"num_channels_init": 16, "depth": 2, "use_batch_norm": False,
                   "independent_channels": False, "conv_dims": 2, "in_channels": 3,
                   "num_classes": 3}, 3),
    ("n2v-unet", {}, 1), ("rednet10", {"residual": False}, 1)])
def test_unets(half, name, config, channels):
    from restore_cli.nets import registry

    rng = np.random.default_rng(0)
    network = registry.build(name, config)
    given = _array(rng, 1, channels, 32, 64)
    _near(half(lambda: network(given).numpy()), 0.03)


def test_training_does_not_see_it(half):
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.nets.ops import precision

    rng = np.random.default_rng(0)
    network = registry.build("led-unet", {"channels": 16})
    given = _array(rng, 1, 4, 16, 16)

    def gradients():
        return [one.numpy() for one in jt.grad(network(given).sqr().mean(), network.parameters())]

    full = gradients()
    with precision.using(True):
        rough = gradients()
    for one, other in zip(full, rough, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_is_known_whether_an_operator_took_it(half):
    import jittor as jt

    from restore_cli.nets.ops import chain, precision

    with precision.using(True), jt.no_grad():
        assert precision.chosen() and not precision.used()
        chain.pack([chain.layer(*_conv(np.random.default_rng(0), 16, 16), [range(16)])])
        assert precision.used()
    assert not precision.used()
