"""State dicts of the RAW networks turned into one another, without Jittor but for the outputs."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.nets.led import fold

NAFNET = {"img_channel": 4, "width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1],
          "dec_blk_nums": [1, 1]}
RESTORMER = {"dim": 8, "num_blocks": [1, 1, 1, 1]}
NETWORKS = [("led-unet", {"channels": 8}), ("led-cunet", {}), ("led-nafnet", NAFNET),
            ("led-restormer", RESTORMER), ("led-restormer", {**RESTORMER, "bias": True})]


def _shapes(state):
    return [(key, value.shape) for key, value in state.items()]


def test_golden_tensors(golden):
    case = golden("repnr_unet_finetune", "led")
    config = {"channels": 8, "repnr": recipe.FINETUNE}
    plain, state = fold.fold("led-unet", config, recipe.weights("led-unet", config))
    assert plain == {"channels": 8, "repnr": None}
    folds = [key for key in case if key.startswith("fold_")]
    assert len(folds) == 6
    for key in folds:
        layer, part = key.removeprefix("fold_").rsplit("_", 1)
        assert recipe.error(state[f"{layer}.{part}"], case[key]) < 1e-6


@pytest.mark.parametrize("kernel", [1, 3])
def test_golden_layers(golden, kernel):
    case = golden(f"repnr_conv_k{kernel}", "led")
    parts = {f"a.{key.removeprefix('p_')}": value for key, value in case.items()
             if key.startswith("p_")}
    for branch, index in ((0, 0), (3, 3), (-1, 5)):
        weight, bias = fold.folded(parts, "a", index)
        assert recipe.error(weight, case[f"weight_branch{branch}"]) < 1e-6
        assert recipe.error(bias, case[f"bias_branch{branch}"]) < 1e-6


@pytest.mark.parametrize("arch,config", NETWORKS)
@pytest.mark.parametrize("repnr", [recipe.PRETRAIN, recipe.FINETUNE, {"branches": 1}, {}])
def test_folded_weights_fit_the_plain_network(arch, config, repnr):
    config = {**config, "repnr": repnr}
    given = recipe.weights(arch, config)
    kept = {key: value.copy() for key, value in given.items()}
    plain, state = fold.fold(arch, config, given, 0)
    assert list(layout(arch, plain).shapes.items()) == _shapes(state)
    assert plain.get("folded", False) == (arch == "led-restormer")
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}
    for key, value in given.items():
        np.testing.assert_array_equal(value, kept[key], err_msg=key)
        if key in state:
            np.testing.assert_array_equal(state[key], value)  # residual scales, norms, ...


def test_formula_in_double_precision():
    config = {"channels": 6, "repnr": {"branches": 2, "aux": True}}
    given = recipe.weights("led-unet", config)
    _, state = fold.fold("led-unet", config, given, 1)
    wide = {key: value.astype(np.float64) for key, value in given.items()}
    for layer in fold.layers(given):
        main = wide[f"{layer}.main_weight"]
        weight = main * wide[f"{layer}.align_weights.1"] + wide[f"{layer}.aux_weight"]
        bias = (wide[f"{layer}.main_bias"] + wide[f"{layer}.aux_bias"]
                + (main * wide[f"{layer}.align_biases.1"]).sum((1, 2, 3)))
        assert recipe.error(state[f"{layer}.weight"], weight) < 1e-7
        assert recipe.error(state[f"{layer}.bias"], bias) < 1e-7


def _random_cases(count):
    rng = np.random.default_rng(4)
    for index in range(count):
        config = {"channels": int(rng.integers(4, 17)), "repnr": {
            "branches": int(rng.integers(1, 7)), "aux": bool(rng.integers(2))}}
        yield index, config, (int(rng.integers(1, 3)), 4, *map(int, rng.integers(1, 40, 2)))


@pytest.mark.parametrize("index,config,shape", list(_random_cases(5)))
def test_every_branch_is_its_folded_network(engine, index, config, shape):
    from restore_cli.nets.led.repnr import use_branch

    x, given = recipe.noise(index, *shape), recipe.weights("led-unet", config)
    module = recipe.network("led-unet", config, given)
    count = config["repnr"]["branches"]
    for branch in (*range(count + 1), -1, "mean"):
        use_branch(module, branch)
        state = fold.generalise(given) if branch == "mean" else given
        plain, folded = fold.fold("led-unet", config, state, -1 if branch == "mean" else branch)
        out = recipe.run(recipe.network("led-unet", plain, folded), x)
        assert recipe.error(recipe.run(module, x), out) < 3e-6, branch


@pytest.mark.parametrize("arch,config", NETWORKS[1:])
@pytest.mark.parametrize("repnr", [{"branches": 2}, {"branches": 2, "aux": True}])
def test_every_network_is_its_folded_one(engine, arch, config, repnr):
    from restore_cli.nets.led.repnr import use_branch

    config = {**config, "repnr": repnr}
    x, given = recipe.noise(6, 1, 4, 16, 24), recipe.weights(arch, config)
    more = (40.0,) if arch == "led-cunet" else ()
    module = recipe.network(arch, config, given)
    use_branch(module, -1 if repnr.get("aux") else "mean")
    folded = recipe.network(arch, *fold.ready(arch, config, given))
    out = recipe.run(module, x, *more)
    assert recipe.error(recipe.run(folded, x, *more), out) < 5e-6
    use_branch(module, 0)
    assert recipe.error(recipe.run(module, x, *more), out) > 1e-3


def test_averaging_touches_only_the_target_branch():
    config = {"channels": 4, "repnr": {"branches": 3, "aux": True}}
    given = recipe.weights("led-unet", config)
    made = fold.generalise(given)
    assert list(made) == list(given)
    for key, value in made.items():
        if ".align_" in key and key.endswith(".3"):
            own = [given[f"{key[:-1]}{i}"] for i in range(3)]
            np.testing.assert_allclose(value, np.mean(own, axis=0), rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(value, given[key])
    plain = recipe.weights("led-unet", {"channels": 4})
    assert fold.generalise(plain) == plain


def test_fine_tuning_starts_from_the_average(engine):
    config = {"channels": 4, "repnr": recipe.PRETRAIN}
    given = recipe.weights("led-unet", config)
    tuned, state = fold.to_finetune("led-unet", config, given)
    assert tuned == {"channels": 4, "repnr": recipe.FINETUNE}
    assert list(layout("led-unet", tuned).shapes.items()) == _shapes(state)
    assert all(not value.any() for key, value in state.items() if ".aux_" in key)
    x = recipe.noise(5, 1, 4, 20, 33)
    first, start = (recipe.run(recipe.network("led-unet", *fold.ready("led-unet", *form)), x)
                    for form in ((config, given), (tuned, state)))
    np.testing.assert_array_equal(first, start)


@pytest.mark.parametrize("arch,config", NETWORKS)
def test_fine_tuning_starts_from_a_plain_network(arch, config):
    given = recipe.weights(arch, config)
    tuned, state = fold.to_finetune(arch, config, given)
    assert list(layout(arch, tuned).shapes.items()) == _shapes(state)
    assert tuned["repnr"]["aux"] and fold.branches(state) == tuned["repnr"]["branches"]
    _, back = fold.ready(arch, tuned, state)
    for key, value in given.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)
    assert all(not back[key].any() for key in set(back) - set(given))


def test_fine_tuned_weights_are_continued():
    config = {"channels": 4, "repnr": recipe.FINETUNE}
    given = recipe.weights("led-unet", config)
    tuned, state = fold.to_finetune("led-unet", config, given)
    assert tuned == config
    for key, value in given.items():
        np.testing.assert_array_equal(state[key], value)


@pytest.mark.parametrize("arch,config", NETWORKS)
def test_what_inference_runs(arch, config):
    given = recipe.weights(arch, config)
    same, state = fold.ready(arch, config, given)
    assert same == config and _shapes(state) == list(layout(arch, config).shapes.items())
    for repnr, branch in ((recipe.PRETRAIN, "mean"), (recipe.FINETUNE, -1)):
        form = {**config, "repnr": repnr}
        given = recipe.weights(arch, form)
        plain, state = fold.ready(arch, form, given)
        source = fold.generalise(given) if branch == "mean" else given
        _, expected = fold.fold(arch, form, source, 5)
        assert plain["repnr"] is None
        for key, value in expected.items():
            np.testing.assert_array_equal(state[key], value, err_msg=key)


def test_half_precision_weights_are_folded_in_single():
    config = {"channels": 4, "repnr": recipe.PRETRAIN}
    given = {key: value.astype(np.float16)
             for key, value in recipe.weights("led-unet", config).items()}
    _, state = fold.ready("led-unet", config, given)
    wide = {key: value.astype(np.float32) for key, value in given.items()}
    _, expected = fold.ready("led-unet", config, wide)
    for key, value in expected.items():
        assert state[key].dtype == np.float32
        np.testing.assert_array_equal(state[key], value, err_msg=key)


def test_what_does_not_fit_is_refused():
    config = {"channels": 4, "repnr": recipe.PRETRAIN}
    given = recipe.weights("led-unet", config)
    for branch in (6, -2):
        with pytest.raises(WeightsError, match="no branch"):
            fold.fold("led-unet", config, given, branch)
    lacking = {key: value for key, value in given.items() if key != "conv3_1.main_bias"}
    with pytest.raises(WeightsError, match="lack conv3_1.main_bias"):
        fold.fold("led-unet", config, lacking)
    with pytest.raises(WeightsError, match="has shape"):
        fold.fold("led-unet", {**config, "channels": 8}, given)
    with pytest.raises(WeightsError, match="alignments"):
        fold.generalise({key: value for key, value in given.items()
                         if key != "conv5_2.align_biases.5"})
    with pytest.raises(WeightsError, match="folded"):
        fold.to_finetune("led-restormer", {"folded": True}, {})
