"""Loss, gradients and weights of the first training steps (golden 19)."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

FROZEN = (".sub_mean.", ".add_mean.")


@pytest.fixture
def case(golden):
    return golden("19_train_step")


@pytest.fixture
def module(engine, case):
    made = recipe.network(case["meta"]["model"], case["meta"]["rules"])
    made.train()
    return made


def _trained(module):
    return {key: value for key, value in module.state_dict().items()
            if not any(part in key for part in FROZEN)}


def _loss(module, case):
    import jittor as jt

    out = module(jt.array(recipe.normalised(case["x"])), case["coord"], case["cell"])
    return (out - jt.array(recipe.normalised(case["gt"]))).abs().mean()


def test_loss_and_gradients(module, case):
    import jittor as jt

    meta = case["meta"]
    loss = _loss(module, case)
    assert abs(float(loss.item()) - meta["loss"][0]) < 1e-5
    named = _trained(module)
    assert list(named) == list(meta["grad_l2_step1"])
    gradients = dict(zip(named, jt.grad(loss, list(named.values())), strict=True))
    for key, norm in meta["grad_l2_step1"].items():
        got = np.linalg.norm(gradients[key].numpy().astype(np.float64))
        assert abs(got - norm) < 1e-4 * norm, key
    stored = [key for key in case if key.startswith("grad1/")]
    assert stored
    for key in stored:
        got = gradients[key.removeprefix("grad1/")].numpy()
        scale = np.abs(case[key]).max()
        np.testing.assert_allclose(got, case[key], atol=1e-4 * scale, err_msg=key)


def test_three_adam_steps(module, case):
    from restore_cli.training.adam import Adam

    meta = case["meta"]
    named = _trained(module)
    frozen = {key: value.numpy().copy() for key, value in module.state_dict().items()
              if key not in named}
    assert frozen
    adam = Adam(named)
    for step in range(meta["steps"]):
        loss = _loss(module, case)
        assert abs(float(loss.item()) - meta["loss"][step]) < 1e-5, step
        adam.step(loss, meta["lr"])
    after = module.state_dict()
    stored = [key for key in case if key.startswith("after3/")]
    assert stored
    for key in stored:
        got = after[key.removeprefix("after3/")].numpy()
        np.testing.assert_allclose(got, case[key], rtol=0, atol=2e-6, err_msg=key)
    for key, value in frozen.items():
        np.testing.assert_array_equal(after[key].numpy(), value)
