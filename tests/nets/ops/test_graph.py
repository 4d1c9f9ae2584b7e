"""REDNet and N2V_Unet as one operator each, against the same networks in stock operators."""

from __future__ import annotations

import ctypes

import fused_checks
import numpy as np
import pytest

# name, configuration, (N, H, W)
CASES = [
    ("rednet10", {"residual": False, "num_features": 16}, (2, 10, 14)),
    ("rednet10", {"num_features": 24, "in_channels": 3, "out_channels": 3}, (1, 4, 38)),
    ("rednet20", {"residual": False, "num_features": 32}, (3, 18, 10)),
    ("rednet30", {"num_features": 16, "residual": False, "out_channels": 2}, (1, 2, 2)),
    ("n2v-unet", {}, (2, 32, 64)),
    ("n2v-unet", {"in_channels": 3, "out_channels": 3}, (1, 64, 32)),
]


def _case(name, config, size, positive=False):
    """The operator and its stock counterpart as functions of x and the parameters; and values."""
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.nets.ops import graph

    if not graph.available():
        pytest.skip("the operator cannot run here")
    network = registry.build(name, config)
    network.train()
    rng = np.random.default_rng(7)

    def draw(shape, scale=1.0):
        values = (scale * rng.standard_normal(shape)).astype(np.float32)
        return np.abs(values) if positive else values

    network.load_state_dict({
        key: draw(value.shape, 0.1 if value.ndim == 1 else (2 / (9 * value.shape[1])) ** 0.5)
        for key, value in network.state_dict().items()})
    parameters = list(network.state_dict().values())

    def form(fused):
        def call(x, _parameters):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RESTORE_FUSED", fused)
                return network(x)
        return call

    channels = config.get("in_channels", 1), config.get("out_channels", 1)
    x, probe = (jt.array(draw((size[0], count, *size[1:]))) for count in channels)
    return form("0"), form("1"), x, parameters, probe


@pytest.mark.parametrize("name,config,size", CASES[:4])
def test_gradients_equal_plain(engine, name, config, size):
    fused_checks.gradients_equal_plain(_case(name, config, size))


@pytest.mark.parametrize("name,config,size", CASES[4:])
def test_gradients_of_many_activations_equal_plain(engine, name, config, size):
    """Of a million activations some are so near 0 that rounding decides about their gradients.

    One of those of a deep level, which has few pixels, makes a hundredth of them.
    """
    plain, fused, *values = _case(name, config, size)
    results = [fused_checks.gradients(form, *values) for form in (plain, fused)]
    fused_checks.close(results[1][0], results[0][0])
    for expected, got in zip(*results, strict=True):
        assert got.shape == expected.shape
        assert 0 < np.linalg.norm(expected)
        assert np.linalg.norm(got - expected) < 3e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("config,size", [({}, (1, 32, 32)),
                                         ({"in_channels": 3, "out_channels": 3}, (2, 32, 64))])
def test_gradients_without_activations_near_0_equal_plain(engine, config, size):
    """Nothing is below 0 where image and weights are not."""
    fused_checks.gradients_equal_plain(_case("n2v-unet", config, size, positive=True))


@pytest.mark.parametrize("size", [(2, 2, 2), (1, 10, 14), (3, 6, 18), (1, 24, 40)])
def test_doubling_at_all_borders_equals_plain(engine, size):
    """Sides of 1 to 20 before the transposed convolution: whole tiles of 4, and parts of one."""
    import jittor as jt
    from jittor import nn

    from restore_cli.nets.n2v.layers import max_pool
    from restore_cli.nets.ops import graph

    if not graph.available():
        pytest.skip("the operator cannot run here")
    rng = np.random.default_rng(3)
    shapes = [(20, 2, 3, 3), (20, 20, 3, 3), (1, 22, 3, 3)]
    parameters = [jt.array(rng.standard_normal(shape).astype(np.float32))
                  for weight in shapes for shape in (weight, weight[:1])]
    told = graph.Graph(2)
    small = told.pool(told.convolve([0], 0, shapes[0], "none"))
    told.convolve([told.doubled(small, 1, shapes[1]), 0], 2, shapes[2], "none")
    told.end(1)

    def plain(x, parameters):
        w0, b0, w1, b1, w2, b2 = parameters
        small = max_pool(nn.conv2d(x, w0, b0, padding=1))
        up = nn.conv_transpose2d(small, w1, b1, stride=2, padding=1, output_padding=1)
        return nn.conv2d(jt.concat([up, x], dim=1), w2, b2, padding=1)

    x, probe = (jt.array(rng.standard_normal((size[0], channels, *size[1:])).astype(np.float32))
                for channels in (2, 1))
    case = plain, told.run, x, parameters, probe
    fused_checks.inference_equals_plain(case)
    fused_checks.gradients_equal_plain(case)


@pytest.mark.parametrize("name,config,size", CASES[1:5:3])
def test_inference_equals_plain(engine, name, config, size):
    fused_checks.inference_equals_plain(_case(name, config, size))


def test_two_forwards_then_their_gradients(engine):
    import jittor as jt

    _, fused, x, parameters, probe = _case(*CASES[2])
    other = jt.array(x.numpy()[:2, :, ::-1, :8].copy())
    alone = [fused_checks.gradients(fused, image, parameters,
                                    probe[:len(image), :, :, :image.shape[3]])
             for image in (x, other)]
    first, second = fused(x, parameters), fused(other, parameters)
    loss = (first * probe).sum() + (second * probe[:2, :, :, :8]).sum()
    for together, a, b in zip(jt.grad(loss, parameters), alone[0][2:], alone[1][2:], strict=True):
        fused_checks.close(together.numpy(), a + b, 1e-6)


def test_repeats_to_the_last_bit(engine):
    fused_checks.repeats_to_the_last_bit(_case(*CASES[2]))


def test_training_and_inference_agree_and_see_new_weights(engine):
    fused_checks.training_and_inference_agree_and_see_new_weights(_case(*CASES[0]), changed=4)


def test_images_of_a_batch_do_not_meet(engine):
    fused_checks.images_of_a_batch_do_not_meet(_case(*CASES[0]))


@pytest.mark.parametrize("channels,size", [(1, (1, 32, 32)), (3, (2, 32, 96)), (1, (1, 96, 160))])
def test_merged_layers_equal_plain(engine, monkeypatch, channels, size):
    """A transposed convolution and the one after it as one, but for the outermost pixels."""
    import jittor as jt

    from restore_cli.nets.ops import graph

    case = _case("n2v-unet", {"in_channels": channels, "out_channels": channels}, size)
    _, fused, x, parameters, _ = case
    with jt.no_grad():
        apart = fused(x, parameters).numpy()
    monkeypatch.setattr(graph, "_MERGED", 0)
    fused_checks.inference_equals_plain(case)
    with jt.no_grad():
        merged = fused(x, parameters).numpy()
    assert (merged != apart).any()
    border = np.ones(merged.shape, bool)
    border[..., 1:-1, 1:-1] = False
    for where in (border, ~border):
        assert np.abs(merged - apart)[where].max() < 1e-5 * np.abs(apart).max()


@pytest.fixture
def threads():
    """Sets the number of OpenMP's threads, of which there may be more than processors."""
    try:
        openmp = ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("another OpenMP than GCC's")
    before = openmp.omp_get_max_threads()
    yield openmp.omp_set_num_threads
    openmp.omp_set_num_threads(before)


@pytest.mark.parametrize("name,config,size", [CASES[2], ("n2v-unet", {}, (1, 32, 96))])
def test_one_thread_and_five_agree(engine, threads, monkeypatch, name, config, size):
    import jittor as jt

    from restore_cli.nets.ops import graph

    monkeypatch.setattr(graph, "_MERGED", 0)
    _, fused, *values = _case(name, config, size, positive=True)
    found = []
    for count in (1, 5):
        threads(count)
        found.append(fused_checks.gradients(fused, *values))
        with jt.no_grad():
            found[-1].append(fused(*values[:2]).numpy())
    for one, other in zip(*found, strict=True):
        fused_checks.close(other, one)
