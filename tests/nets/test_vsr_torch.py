"""The video network against PyTorch, where no golden case is: other sizes and configurations."""

from __future__ import annotations

import numpy as np
import pytest
import vsr_recipe as recipe

COMPACT = recipe.COMPACT
CASES = [(COMPACT, (1, 5, 3, 13, 70)), (COMPACT, (2, 5, 3, 64, 64)),
         (COMPACT, (1, 5, 3, 2, 9)),
         ({**COMPACT, "n_sequence": 3, "scale": 2, "n_feat": 7}, (1, 3, 3, 66, 20)),
         ({**COMPACT, "HR_in": True, "n_sequence": 7}, (1, 7, 3, 15, 18)),
         ({**COMPACT, "n_colors": 1, "extra_RBS": 0, "recons_RBS": 0, "scale": 8, "ksize": 7},
          (1, 5, 1, 9, 8))]


@pytest.fixture(autouse=True)
def _needs_torch():
    pytest.importorskip("torch")


def _frames(shape):
    """A picture that moves, a little blurred, in [0, 1]."""
    rng, count = np.random.default_rng(4), shape[1]
    wide = rng.random((shape[0], shape[2], shape[3] + 2 + 2 * count, shape[4] + 2 + 2 * count))
    wide = sum(wide[:, :, y:wide.shape[2] - 2 + y, x:wide.shape[3] - 2 + x]
               for y in range(3) for x in range(3)) / 9
    views = [wide[:, :, 2 * i:2 * i + shape[3], i:i + shape[4]] for i in range(count)]
    return np.stack(views, 1).astype(np.float32)


def _reference(config, tensors, dtype="float64", grad=False):
    import torch
    from vsr_torch import Reference

    from restore_cli.nets.vsr.shapes import complete

    made = {key: torch.tensor(value).to(getattr(torch, dtype)).requires_grad_(grad)
            for key, value in tensors.items()}
    return Reference(made, complete(config))


@pytest.mark.parametrize("config,shape", CASES)
def test_output(engine, monkeypatch, config, shape):
    """In both forms of the residual blocks."""
    import jittor as jt
    import torch

    tensors, frames = recipe.weights(config), _frames(shape)
    reference, x = _reference(config, tensors), torch.tensor(frames).double()
    network = recipe.network(config, tensors)
    scale = network.scale
    with torch.no_grad(), jt.no_grad():
        centre = shape[1] // 2
        expected = reference.flow(x[:, centre], x[:, 0]).numpy()
        assert recipe.error(network.flows(jt.array(frames))[0], expected) < 1e-4
        assert recipe.error(network.kernel(jt.array(frames)), reference.kernel(x).numpy()) < 1e-4
        expected = reference(x).numpy()
        assert expected.shape[2:] == (scale * shape[3], scale * shape[4])
        for fused in ("1", "0"):
            monkeypatch.setenv("RESTORE_FUSED", fused)
            assert recipe.error(network(jt.array(frames)), expected) < 1e-4


def test_gradients_of_the_training_form(engine):
    """Of every parameter, against the same form in PyTorch in double precision."""
    import jittor as jt
    import torch
    from vsr_torch import blur_down

    config = {**COMPACT, "n_sequence": 3, "extra_RBS": 1}
    tensors, frames = recipe.weights(config), _frames((2, 3, 3, 40, 36))
    reference, x = _reference(config, tensors, grad=True), torch.tensor(frames).double()
    kernel = reference.kernel(x)
    down = blur_down(x.flatten(1, 2), kernel, 4).reshape(2, 3, 3, 10, 9)
    with torch.no_grad():
        made = reference(x)
    (((reference(down) - x[:, 1]) ** 2).mean()
     + ((blur_down(made, kernel, 4) - x[:, 1]) ** 2).mean()).backward()

    network = recipe.network(config, tensors)
    network.train()
    y = jt.array(frames)
    cycle = network.cycle(y)
    loss = (cycle.recons_down - y[:, 1]).sqr().mean() + (cycle.input_cycle - y[:, 1]).sqr().mean()
    named = network.state_dict()
    grads = dict(zip(named, jt.grad(loss, list(named.values())), strict=True))
    assert recipe.error(cycle.recons, made.numpy()) < 1e-4
    for key, value in reference.w.items():
        expected = value.grad.numpy()
        assert np.abs(expected).max() > 0, key
        assert recipe.error(grads[key], expected) < 2e-3, key


@pytest.mark.parametrize("sides", [(1, 1), (5, 40), (12, 13), (26, 39), (100, 14)])
def test_adaptive_average(engine, sides):
    import jittor as jt
    import torch

    from restore_cli.nets.vsr.kernel import adaptive_average

    x = recipe.noise(1, 2, 3, *sides)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), 13).numpy()
    assert recipe.error(adaptive_average(jt.array(x), 13), expected) < 1e-6


@pytest.mark.parametrize("shape,size,scale", [((2, 3, 22, 30), 13, 4), ((1, 1, 1, 1), 13, 4),
                                              ((3, 2, 9, 16), 5, 2), ((1, 3, 8, 8), 3, 1)])
def test_blur_down(engine, shape, size, scale):
    """With gradients; every sample has its own kernel, and frames can ride as channels."""
    import jittor as jt
    import torch
    from vsr_torch import blur_down as reference

    from restore_cli.nets.vsr.kernel import blur_down

    values, taps = recipe.noise(1, *shape), recipe.noise(2, shape[0], 1, size, size)
    x, k = (torch.tensor(v).double().requires_grad_() for v in (values, taps))
    expected = reference(x, k, scale)
    probe = recipe.noise(3, *expected.shape)
    (expected * torch.tensor(probe)).sum().backward()
    a, b = jt.array(values), jt.array(taps)
    got = blur_down(a, b, scale)
    grads = jt.grad((got * jt.array(probe)).sum(), [a, b])
    assert recipe.error(got, expected.detach().numpy()) < 1e-5
    assert recipe.error(grads[0], x.grad.numpy()) < 1e-5
    assert recipe.error(grads[1], k.grad.numpy()) < 1e-5


def test_enlarged_frames_have_no_training_form(engine):
    import jittor as jt

    from restore_cli.errors import WeightsError

    network = recipe.network({**COMPACT, "HR_in": True})
    with pytest.raises(WeightsError, match="HR_in"):
        network.cycle(jt.zeros((1, 5, 3, 16, 16)))
