"""The denoising networks against PyTorch: outputs, gradients and batch statistics."""

from __future__ import annotations

import n2v_recipe as recipe
import numpy as np
import pytest
from n2v_torch import Reference

from restore_cli.nets.n2v import shapes

NO_NORM = {"use_batch_norm": False}
RGB = {"in_channels": 3, "num_classes": 3}
JOINT = {**RGB, "independent_channels": False}
FIELDS = [
    ({"depth": 1, "num_channels_init": 5}, (3, 1, 6, 2)),
    ({"depth": 3, "num_channels_init": 4, **NO_NORM}, (1, 1, 8, 24)),
    ({"depth": 4, "num_channels_init": 3, "n2v2": True}, (2, 1, 32, 48)),
    ({"num_channels_init": 16, **NO_NORM}, (5, 1, 12, 20)),
    ({"num_channels_init": 16, "n2v2": True, **NO_NORM}, (2, 1, 8, 12)),
    ({"num_channels_init": 6, "n2v2": True, **RGB}, (1, 3, 16, 12)),
    ({"num_channels_init": 6, "n2v2": True, "residual": True, **JOINT}, (3, 3, 8, 8)),
    ({"num_channels_init": 8, "in_channels": 2, "num_classes": 4}, (1, 2, 8, 12)),
    ({"num_channels_init": 6, **JOINT, "num_classes": 1, "final_activation": "sigmoid"},
     (1, 3, 8, 8)),
    ({"num_channels_init": 4, **JOINT, "final_activation": "softmax", "residual": True},
     (2, 3, 8, 8)),
    ({"depth": 1, "num_channels_init": 4, "final_activation": "Tanh"}, (1, 1, 4, 4)),
    ({"depth": 1, "num_channels_init": 4, "final_activation": "LeakyReLU"}, (1, 1, 4, 4)),
    ({"depth": 1, "num_channels_init": 4, "final_activation": "ReLU"}, (1, 1, 4, 4)),
    ({"conv_dims": 3, "depth": 1, "num_channels_init": 4, **NO_NORM}, (2, 1, 2, 6, 4)),
    ({"conv_dims": 3, "num_channels_init": 4, "n2v2": True}, (1, 1, 4, 8, 12)),
    ({"conv_dims": 3, "num_channels_init": 4, "n2v2": True, **RGB}, (1, 3, 4, 8, 4)),
    ({"conv_dims": 3, "num_channels_init": 4, "residual": True, **JOINT}, (1, 3, 8, 4, 4)),
]
SEEDS = [("n2v-unet", {}, (1, 1, 32, 32)), ("n2v-unet", recipe.RGB, (2, 3, 32, 64)),
         ("n2v-unet", {"in_channels": 3}, (1, 3, 64, 32)),
         ("rednet10", {"num_features": 8}, (3, 1, 2, 2)),
         ("rednet20", {"num_features": 8, **recipe.RGB}, (1, 3, 6, 10)),
         ("rednet30", {"num_features": 8, "residual": False}, (2, 1, 10, 8))]
CASES = [*SEEDS, *(("n2v-field", config, shape) for config, shape in FIELDS)]


def _both(arch, config, training=False):
    pytest.importorskip("torch")
    tensors = recipe.weights(arch, config)
    return (recipe.network(arch, config),
            Reference(arch, shapes.complete(arch, config), tensors, training))


@pytest.mark.parametrize("arch,config,shape", CASES)
def test_output(engine, arch, config, shape):
    import jittor as jt

    network, reference = _both(arch, config)
    import torch

    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    with jt.no_grad(), torch.no_grad():
        assert recipe.error(network(jt.array(x)), reference(torch.tensor(x)).numpy()) < 1e-5


def test_plain_modules_where_the_operator_would_run(engine, monkeypatch):
    import jittor as jt

    monkeypatch.setenv("RESTORE_FUSED", "0")
    for config, shape in (FIELDS[3], FIELDS[4]):
        network, reference = _both("n2v-field", config)
        import torch

        x = np.random.default_rng(6).random(shape, dtype=np.float32)
        with torch.no_grad():
            expected = reference(torch.tensor(x)).numpy()
        assert recipe.error(network(jt.array(x)), expected) < 1e-5


@pytest.mark.parametrize("arch,config,shape", [
    CASES[1], CASES[4], SEEDS[5], ("n2v-field", *FIELDS[3]), ("n2v-field", *FIELDS[5]),
    ("n2v-field", *FIELDS[0]), ("n2v-field", *FIELDS[15])])
def test_gradients_in_training(engine, arch, config, shape, monkeypatch):
    import jittor as jt

    # Rounding decides about the gradient of an activation next to 0, and N2V_Unet has millions:
    # here the stock layers, whose sums are PyTorch's; ops/test_graph.py compares its operator.
    if arch == "n2v-unet":
        monkeypatch.setenv("RESTORE_WINOGRAD", "0")
    network, reference = _both(arch, config, training=True)
    import torch

    network.train()
    # Odd numbers of samples for statistics; a target makes the gradient depend on the output.
    x, target = recipe.noise(2, *shape), recipe.noise(3, *shape)
    given, told = jt.array(x), torch.tensor(x, requires_grad=True)
    out, expected = network(given), reference(told)
    target = target[:, :out.shape[1]]
    trained = {k: v for k, v in network.state_dict().items() if not v.is_stop_grad()}
    grads = jt.grad(((out - jt.array(target)) ** 2).mean(), [given, *trained.values()])
    ((expected - torch.tensor(target)) ** 2).mean().backward()
    assert recipe.error(out, expected.detach().numpy()) < 1e-5
    assert recipe.error(grads[0], told.grad.numpy()) < 1e-3
    whole = max(float(reference.tensors[key].grad.abs().max()) for key in trained)
    for key, grad in zip(trained, grads[1:], strict=True):
        # A bias in front of batch normalisation has no gradient but rounding.
        wanted = reference.tensors[key].grad.numpy()
        assert np.abs(grad.numpy() - wanted).max() < 1e-4 * whole, key


def test_batch_statistics(engine):
    """Running statistics after a training step, and values with a mean far above their spread."""
    import jittor as jt

    torch = pytest.importorskip("torch")
    from restore_cli.nets.n2v.layers import BatchNorm

    mine, theirs = BatchNorm(5), torch.nn.BatchNorm2d(5)
    x = recipe.noise(4, 3, 5, 7, 9) * 0.01 + 100
    for _ in range(3):
        out, expected = mine(jt.array(x)), theirs(torch.tensor(x))
    assert recipe.error(out, expected.detach().numpy()) < 2e-3  # float32 holds 100 +- 4e-6
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(getattr(mine, key).numpy().reshape(value.shape),
                                   value.numpy(), rtol=1e-5)
    mine.eval(), theirs.eval()
    assert recipe.error(mine(jt.array(x)), theirs(torch.tensor(x)).detach().numpy()) < 1e-5


def test_evaluation_leaves_the_statistics_alone(engine):
    import jittor as jt

    config = {"num_channels_init": 4, "depth": 1}
    network = recipe.network("n2v-field", config)
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    network(jt.array(recipe.noise(5, 2, 1, 4, 4))).sync()
    after = network.state_dict()
    assert all(np.array_equal(value, after[key].numpy()) for key, value in before.items())
