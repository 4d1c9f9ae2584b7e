"""Loss and gradients of one training step (golden 19)."""

from __future__ import annotations

import numpy as np
import recipe


def test_loss_and_gradients(engine, golden):
    import jittor as jt

    case = golden("19_train_step")
    meta = case["meta"]
    module = recipe.network(meta["model"], meta["rules"])
    module.train()
    out = module(jt.array(recipe.normalised(case["x"])), case["coord"], case["cell"])
    loss = (out - jt.array(recipe.normalised(case["gt"]))).abs().mean()
    assert abs(float(loss.item()) - meta["loss"][0]) < 1e-5
    named = {key: value for key, value in module.state_dict().items()
             if key in meta["grad_l2_step1"]}
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
