"""The U-Net for RAW planes against PyTorch, where no golden case is: outputs and gradients."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest
from led_torch import Reference

from restore_cli.nets.led import fold

# Widths with and without the operator, sides from the smallest that PyTorch can mirror.
PLAIN = [({"channels": 16}, (1, 4, 6, 6)), ({"channels": 48}, (1, 4, 7, 34)),
         ({"channels": 5}, (3, 4, 16, 32)), ({"channels": 32}, (2, 4, 15, 6)),
         ({"channels": 4, "inchannels": 3, "outchannels": 2}, (1, 3, 8, 9)),
         ({"channels": 1}, (1, 4, 48, 17)), ({"channels": 17}, (1, 4, 31, 33))]
REPNR = [({"channels": 16, "repnr": {"branches": 3, "aux": False}}, 1, (2, 4, 16, 32)),
         ({"channels": 16, "repnr": {"branches": 5, "aux": False}}, "mean", (1, 4, 13, 20)),
         ({"channels": 16, "repnr": {"branches": 2, "aux": True}}, -1, (1, 4, 32, 16)),
         ({"channels": 6, "repnr": {"branches": 2, "aux": True}}, "mean", (1, 4, 21, 16)),
         ({"channels": 7, "repnr": {"branches": 1, "aux": True}}, 0, (2, 4, 16, 11)),
         ({"channels": 4, "repnr": {"branches": 4}}, 4, (1, 4, 6, 30))]


@pytest.fixture(autouse=True)
def _needs_torch():
    pytest.importorskip("torch")


@pytest.mark.parametrize("config,shape", PLAIN)
def test_output(engine, config, shape):
    import torch

    tensors, x = recipe.weights("led-unet", config), recipe.noise(1, *shape)
    with torch.no_grad():
        expected = Reference(tensors, dtype="float64")(torch.tensor(x).double()).numpy()
    module = recipe.network("led-unet", config, tensors)
    assert recipe.error(recipe.run(module, x), expected) < 1e-5


@pytest.mark.parametrize("config,branch,shape", REPNR)
def test_branches(engine, config, branch, shape):
    """The network of a branch, and the weights it is folded to."""
    import torch

    from restore_cli.nets.led.repnr import use_branch

    tensors, x = recipe.weights("led-unet", config), recipe.noise(2, *shape)
    reference = Reference(tensors, branch, "float64")
    with torch.no_grad():
        expected = reference(torch.tensor(x).double()).numpy()
    module = recipe.network("led-unet", config, tensors)
    use_branch(module, branch)
    assert recipe.error(recipe.run(module, x), expected) < 1e-5
    source = fold.generalise(tensors) if branch == "mean" else tensors
    plain, state = fold.fold("led-unet", config, source, -1 if branch == "mean" else branch)
    for layer in fold.layers(tensors):
        weight, bias = (part.detach().numpy() for part in reference.parts(layer))
        assert recipe.error(state[f"{layer}.weight"], weight) < 1e-6
        assert recipe.error(state[f"{layer}.bias"], bias) < 1e-6
    assert recipe.error(recipe.run(recipe.network("led-unet", plain, state), x), expected) < 1e-5


@pytest.mark.parametrize("config,branch,shape", [(PLAIN[0][0], -1, (1, 4, 16, 32)),
                                                 (PLAIN[2][0], -1, (1, 4, 22, 16)), *REPNR])
@pytest.mark.parametrize("fused", ["1", "0"])
def test_gradients(engine, config, branch, shape, fused, monkeypatch):
    """Of every parameter, those of other branches being zero, and of the input."""
    import jittor as jt
    import torch

    from restore_cli.nets.led.repnr import use_branch

    monkeypatch.setenv("RESTORE_FUSED", fused)
    tensors = recipe.weights("led-unet", config)
    x, target = recipe.noise(3, *shape), recipe.noise(4, *shape)
    reference = Reference(tensors, branch, "float64")
    given = torch.tensor(x).double().requires_grad_()
    (reference(given) * torch.tensor(target)).sum().backward()
    module = recipe.trained("led-unet", config, tensors)
    use_branch(module, branch)
    own, given_here = module.state_dict(), jt.array(x)
    loss = (module(given_here) * jt.array(target)).sum()
    grads = jt.grad(loss, [*(own[key] for key in tensors), given_here])
    assert recipe.error(grads[-1], given.grad.numpy()) < 1e-4
    reached = 0
    for (key, wanted), grad in zip(reference.tensors.items(), grads):
        if wanted.grad is None or not wanted.grad.any():
            assert not grad.numpy().any(), key
        else:
            assert recipe.error(grad, wanted.grad.numpy()) < 1e-3, key
            reached += 1
    assert reached >= 46
    if "repnr" in config:
        assert reached < len(tensors)


def test_fine_tuned_answer_of_plain_weights_is_theirs(engine):
    """A plain network made ready for fine-tuning has not changed its answer."""
    config = {"channels": 16}
    tensors, x = recipe.weights("led-unet", config), recipe.noise(5, 1, 4, 18, 33)
    tuned = recipe.network("led-unet", *fold.to_finetune("led-unet", config, tensors))
    plain = recipe.run(recipe.network("led-unet", config, tensors), x)
    assert np.abs(plain).max() > 0.01
    assert recipe.error(recipe.run(tuned, x), plain) < 2e-6
