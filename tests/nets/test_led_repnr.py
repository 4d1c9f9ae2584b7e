"""RepNR convolutions: golden layers and networks, gradients, fine-tuning steps."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.nets.led import fold

LAYERS = [("repnr_conv_k3", 5, 7, 3), ("repnr_conv_k1", 6, 4, 1)]
PRETRAIN = {"channels": 8, "repnr": recipe.PRETRAIN}
SMALL = {"channels": 4, "repnr": recipe.PRETRAIN}
TUNED = {"channels": 4, "repnr": recipe.FINETUNE}


@pytest.fixture
def led(golden):
    return lambda name: golden(name, "led")


def _layer(case, inputs, outputs, kernel):
    import jittor as jt

    from restore_cli.nets.led.repnr import RepNRConv

    layer = RepNRConv(inputs, outputs, kernel, recipe.FINETUNE)
    for key, value in layer.state_dict().items():
        assert recipe.error(recipe.tensor(key, value.shape), case[f"p_{key}"]) < 1e-6
        value.update(jt.array(case[f"p_{key}"]))
    return layer


@pytest.mark.parametrize("name,inputs,outputs,kernel", LAYERS)
def test_layer(engine, led, name, inputs, outputs, kernel):
    from restore_cli.nets.led.repnr import use_branch

    case = led(name)
    layer = _layer(case, inputs, outputs, kernel)
    assert [(key, tuple(value.shape)) for key, value in layer.state_dict().items()] == \
        recipe.keys(name)
    for branch in (0, 1, 2, 3, 4, -1):
        use_branch(layer, branch)
        weight, bias = layer.effective()
        assert recipe.error(weight, case[f"weight_branch{branch}"]) < 1e-5
        assert recipe.error(bias, case[f"bias_branch{branch}"]) < 1e-5
        out = recipe.run(layer, case["x"])
        assert recipe.error(out, case[f"out_reparam_branch{branch}"]) < 1e-5


def test_the_border_is_that_of_the_folded_form(led):
    """Aligning the input before padding it with zeros is another network, along the border."""
    case = led("repnr_conv_k3")
    apart = np.abs(case["out_trivial_branch2"] - case["out_reparam_branch2"])
    assert apart[:, :, 1:-1, 1:-1].max() < 1e-5 < 0.01 < apart.max()


def test_branches_of_the_pretrained_network(engine, led):
    from restore_cli.nets.led.repnr import use_branch

    case = led("repnr_unet_pretrain")
    module = recipe.network("led-unet", PRETRAIN)
    answers = {**{branch: f"out_branch{branch}" for branch in range(5)}, "mean": "out_generalized",
               -1: "out_specific_before_generalize", 5: "out_specific_before_generalize"}
    # A new network runs the target camera's branch.
    assert recipe.error(recipe.run(module, case["x"]), case[answers[-1]]) < recipe.TOLERANCE
    for branch, answer in answers.items():
        use_branch(module, branch)
        assert recipe.error(recipe.run(module, case["x"]), case[answer]) < recipe.TOLERANCE, branch
    assert recipe.error(case["out_branch0"], case["out_branch3"]) > 0.01


def test_fine_tuned_network(engine, led):
    case = led("repnr_unet_finetune")
    module = recipe.network("led-unet", {"channels": 8, "repnr": recipe.FINETUNE})
    assert recipe.error(recipe.run(module, case["x"]), case["out"]) < recipe.TOLERANCE


def test_generalised_weights(led):
    case = led("repnr_unet_pretrain")
    made = fold.generalise(recipe.weights("led-unet", PRETRAIN))
    for layer in ("conv1_1", "conv5_1"):
        for part, name in (("weights", "weight"), ("biases", "bias")):
            assert recipe.error(made[f"{layer}.align_{part}.5"],
                                case[f"avg_{layer}_align_{name}"]) < 1e-6


def test_missing_branches_are_refused(engine):
    from restore_cli.nets.led.repnr import use_branch

    module = recipe.network("led-unet", SMALL)
    for branch in (6, -2, "average"):
        with pytest.raises(ValueError, match="branch"):
            use_branch(module, branch)


def _loss(module, case):
    import jittor as jt

    # The gradient at an exact 0 does not matter here; the golden's loss is the mean of |x|.
    return (module(jt.array(case["x"])) - jt.array(case["gt"])).abs().mean()


def _check_gradients(module, loss, case, trained):
    import jittor as jt

    own = module.state_dict()
    keys = [name.removeprefix("grad_") for name in case if name.startswith("grad_")
            and name.endswith(trained)]
    assert keys
    for key, grad in zip(keys, jt.grad(loss, [own[key] for key in keys]), strict=True):
        assert recipe.error(grad, case[f"grad_{key}"]) < 1e-3, key


def test_gradients_of_pretraining(engine, led):
    from restore_cli.nets.led.repnr import use_branch

    case = led("train_pretrain_grads")
    module = recipe.trained("led-unet", SMALL)
    use_branch(module, 2)
    loss = _loss(module, case)
    assert loss.item() == pytest.approx(case["loss"].item(), rel=1e-5)
    _check_gradients(module, loss, case, "")


def test_only_the_branch_in_use_gets_gradients(engine, led):
    import jittor as jt

    from restore_cli.nets.led.repnr import use_branch

    case, module = led("train_pretrain_grads"), recipe.trained("led-unet", SMALL)
    own = module.state_dict()
    keys = [f"conv5_1.align_{part}.{i}" for part in ("weights", "biases") for i in range(6)]
    for branch, reached in ((0, {0}), (5, {5}), (-1, {5}), ("mean", set(range(5)))):
        use_branch(module, branch)
        grads = jt.grad(_loss(module, case), [own[key] for key in keys])
        found = {int(key[-1]) for key, grad in zip(keys, grads) if np.abs(grad.numpy()).max() > 0}
        assert found == reached
        if branch == "mean":
            np.testing.assert_array_equal(grads[0].numpy(), grads[4].numpy())


def test_fine_tuning_steps(engine, led):
    """Averaging, four Adam steps on the target's alignment, two on the parallel convolutions."""
    from restore_cli.training.adam import Adam

    case = led("train_finetune_steps")
    module = recipe.trained("led-unet", TUNED,
                            fold.generalise(recipe.weights("led-unet", TUNED)))
    own, losses = module.state_dict(), []
    _check_gradients(module, _loss(module, case), case, ("align_weights.5", "align_biases.5",
                                                         "aux_weight", "aux_bias"))
    for parts, steps, lr in (((".align_weights.5", ".align_biases.5"), 4, 1e-4),
                             ((".aux_weight", ".aux_bias"), 2, 1e-5)):
        trained = {key: value for key, value in own.items() if key.endswith(parts)}
        assert len(trained) == 36
        adam = Adam(trained)
        for _ in range(steps):
            loss = _loss(module, case)
            losses.append(loss.item())
            adam.step(loss, lr)
    losses.append(_loss(module, case).item())
    np.testing.assert_allclose(losses, case["losses_f64"], rtol=1e-4)
    assert losses[-1] < losses[0]
    assert recipe.error(recipe.run(module, case["x"]), case["out_after"]) < 1e-3
    trained = {key: value.numpy() for key, value in own.items()}
    folded = recipe.network("led-unet", *fold.ready("led-unet", TUNED, trained))
    assert recipe.error(recipe.run(folded, case["x"]), case["out_after"]) < 1e-3
