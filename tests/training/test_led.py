"""Training RAW denoisers: what is trained in each phase, golden steps, resuming, exports."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.nets.layout import layout
from restore_cli.nets.led import fold
from restore_cli.training import schedules
from restore_cli.training.datasets import raw_pairs, sources
from restore_cli.training.datasets.raw_pairs import Darkness, Held, NoisySampler, Ratios, RawBatch
from restore_cli.training.datasets.raw_scenes import PictureScenes
from restore_cli.training.degradations import raw_noise

PRETRAIN = {"channels": 4, "repnr": {"branches": 5, "aux": False}}
FINETUNE = {"channels": 4, "repnr": {"branches": 5, "aux": True}}


def _golden_state(config):
    """The weights of the golden cases, from the names of their keys."""
    state = {}
    for key, shape in layout("led-unet", config).shapes.items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        values = rng.standard_normal(shape).astype(np.float32)
        if ".align_weights." in key:
            values = 1 + np.float32(0.1) * values
        elif ".align_biases." in key:
            values *= np.float32(0.05)
        elif len(shape) > 1:
            gain = 0.3 if key.endswith("aux_weight") else 1.4
            values *= np.float32(gain / np.sqrt(np.prod(shape[1:])))
        else:
            values *= np.float32(0.02)
        state[key] = values
    return state


class _Fixed:
    """The same batch at every step."""

    def __init__(self, case, branch):
        self._batch = RawBatch(case["x"], case["gt"], branch)

    def batch(self, step):
        return self._batch


def _quiet():
    console = Console()
    console.quiet = True
    return console


def _phase(folder, case, state, phase, steps, lr):
    from restore_cli.training.led import LedRecipe, untrained
    from restore_cli.training.trainer import Plan, Trainer

    folder.mkdir()
    recipe = LedRecipe("led-unet", FINETUNE, _Fixed(case, 5), [], {"seed": 0}, {},
                       frozen=untrained(list(state), phase, 5))
    recipe.network.load_state_dict(state)
    trainer = Trainer(recipe, Plan(steps, schedules.stepwise(lr, []), log_every=1), folder,
                      _quiet())
    return trainer


def _losses(folder):
    from restore_cli.training.logs import read_log

    return [row["loss"] for row in read_log(folder / "log.csv")]


def test_fine_tuning_steps_are_upstreams(engine, golden, tmp_path):
    import jittor as jt

    case = golden("train_finetune_steps", "led")
    start = fold.generalise(_golden_state(FINETUNE))
    first = _phase(tmp_path / "align", case, start, "align", 4, 1e-4)
    assert len(first.adam.parameters) == 36
    first.run()
    second = _phase(tmp_path / "aux", case, first.weights(), "aux", 2, 1e-5)
    assert len(second.adam.parameters) == 36
    second.run()
    found = _losses(tmp_path / "align") + _losses(tmp_path / "aux")
    np.testing.assert_allclose(found, case["losses_f64"][:6], rtol=1e-4)
    network = second.recipe.network
    network.eval()
    out = network(jt.array(case["x"])).numpy()
    assert np.abs(out - case["out_after"]).max() < 1e-3 * np.abs(case["out_after"]).max()
    assert np.abs(out - case["gt"]).mean() == pytest.approx(case["losses_f64"][6], rel=1e-4)
    end = second.weights()
    for key, value in start.items():
        trained = key.endswith((".5", ".aux_weight", ".aux_bias"))
        assert (value != end[key]).any() == trained, key


def test_pretraining_loss_and_gradients_are_upstreams(engine, golden):
    import jittor as jt

    from restore_cli.training.led import LedRecipe

    case = golden("train_pretrain_grads", "led")
    recipe = LedRecipe("led-unet", PRETRAIN, _Fixed(case, 2), [], {"seed": 0}, {})
    recipe.network.load_state_dict(_golden_state(PRETRAIN))
    loss = recipe.loss(recipe._sampler.batch(0))
    assert loss.item() == pytest.approx(case["loss"].item(), rel=1e-5)
    own = recipe.network.state_dict()
    keys = [key.removeprefix("grad_") for key in case if key.startswith("grad_")]
    for key, grad in zip(keys, jt.grad(loss, [own[key] for key in keys])):
        expected = case[f"grad_{key}"]
        assert np.abs(grad.numpy() - expected).max() < 1e-3 * np.abs(expected).max(), key


def test_loss_of_averages_over_areas(engine, golden):
    """What cancels within an area does not count there; an error of a whole area counts again."""
    import jittor as jt

    from restore_cli.training.led import COARSE, LedRecipe, averages

    x = np.random.default_rng(0).random((2, 4, 35, 18)).astype(np.float32)
    means = averages(jt.array(x), 8).numpy()
    assert means.shape == (2, 4, 4, 2)
    np.testing.assert_allclose(means[1, 2, 3, 1], x[1, 2, 24:32, 8:16].mean(), rtol=1e-5)
    np.testing.assert_allclose(averages(jt.array(x), 32).numpy()[..., 0, 0],
                               x[:, :, :32].mean((2, 3)), rtol=1e-5)  # squares as far as they fit
    case = golden("train_pretrain_grads", "led")
    losses, errors = {}, None
    for coarse in (0.0, 0.5):
        recipe = LedRecipe("led-unet", PRETRAIN, _Fixed(case, 2), [], {"seed": 0}, {},
                           coarse=coarse)
        losses[coarse] = recipe.loss(recipe._sampler.batch(0)).item()
        errors = recipe.network(jt.array(case["x"])).numpy() - case["gt"]
    added = sum(np.abs(averages(jt.array(errors), side).numpy()).mean() for side in COARSE)
    assert losses[0.5] == pytest.approx(losses[0.0] + 0.5 * added, rel=1e-4)
    assert added > 0


def test_what_each_phase_leaves_alone():
    from restore_cli.training.led import untrained

    keys = list(layout("led-unet", FINETUNE).shapes)
    trained = {phase: set(keys) - untrained(keys, phase, 5) for phase in ("align", "aux")}
    assert all(key.endswith((".align_weights.5", ".align_biases.5")) for key in trained["align"])
    assert all(key.endswith((".aux_weight", ".aux_bias")) for key in trained["aux"])
    keys = list(layout("led-unet", PRETRAIN).shapes)
    assert {key.rsplit(".", 1)[1] for key in untrained(keys, "pretrain", 5)} == {"5"}
    assert len(untrained(keys, "pretrain", 5)) == 36


class _Stopping:
    """Fails at one step, as a kill would."""

    def __init__(self, sampler, step):
        self._sampler, self._step = sampler, step

    def batch(self, step):
        if step == self._step:
            raise InputError("stopped on purpose")
        return self._sampler.batch(step)


def _pretraining(folder, steps=6, stop_at=None):
    from restore_cli.training.led import LedRecipe, untrained
    from restore_cli.training.trainer import Plan, Trainer

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    pictures = sources.ArraySource([rng.integers(0, 256, (72, 72, 3), np.uint8) for _ in range(3)])
    scenes = PictureScenes(pictures, 32)
    darkness = Darkness(tuple(raw_noise.virtual_cameras(5)), Ratios.parse("1-300"))
    sampler = NoisySampler(scenes, 0, darkness, batch=2, side=32, branches=5, mean_share=0.5)
    held = raw_pairs.held_out(scenes, darkness, (30, 100), 2, 32)
    if stop_at is not None:
        sampler = _Stopping(sampler, stop_at)
    frozen = untrained(list(layout("led-unet", PRETRAIN).shapes), "pretrain", 5)
    recipe = LedRecipe("led-unet", PRETRAIN, sampler, held, {"seed": 0, "steps": steps},
                       {"task": "denoise-raw", "licence": "test"}, judged="mean", frozen=frozen)
    plan = Plan(steps, schedules.cosine(1e-3, steps), average=0.9, log_every=2, validate_every=3,
                checkpoint_every=4)
    return Trainer(recipe, plan, folder, _quiet())


def test_interrupted_pretraining_continues_to_the_same_weights(engine, tmp_path):
    from restore_cli.weights import files

    whole = _pretraining(tmp_path / "a")
    before = whole.weights()
    scores = whole.run()
    assert set(scores) == {"psnr_30", "psnr_100"} and all(map(np.isfinite, scores.values()))
    with pytest.raises(InputError, match="on purpose"):
        _pretraining(tmp_path / "b", stop_at=3).run()
    second = _pretraining(tmp_path / "b")
    assert second.resume() and second.step == 3
    assert second.run() == scores
    for key, value in whole.weights(averaged=False).items():
        np.testing.assert_array_equal(value, second.weights(averaged=False)[key], err_msg=key)
        # The average's rounding may move what no gradient reached, but not the weights.
        assert key.endswith(".5") == (value == before[key]).all(), key
    exported = [(tmp_path / run / "weights.safetensors").read_bytes() for run in "ab"]
    assert exported[0] == exported[1]
    weights = files.read(tmp_path / "a" / "weights.safetensors")
    assert weights.arch == "led-unet" and weights.config == PRETRAIN
    assert json.loads(weights.metadata["training"])["step"] == 6
    # The target camera's alignment is the mean of the others in the file.
    parts = [weights.tensors[f"conv3_1.align_weights.{i}"] for i in range(6)]
    np.testing.assert_allclose(parts[5], np.mean(parts[:5], axis=0), atol=1e-6)


def test_a_file_scores_what_validation_said(engine, tmp_path):
    """What `restore denoise-raw` runs of a pretrained file is the branch that was judged."""
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.weights import files

    trainer = _pretraining(tmp_path / "run", steps=2)
    scores = trainer.run()
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    config, state = fold.ready(weights.arch, weights.config, weights.tensors)
    network = registry.build(weights.arch, config)
    network.load_state_dict(state)
    for held in trainer.recipe._held:
        assert isinstance(held, Held)
        found = network(jt.array(held.noisy)).numpy()
        assert held.psnr(found) == pytest.approx(scores[f"psnr_{held.ratio:g}"], abs=1e-3)
    assert trainer.recipe.noisy_psnr()["psnr_30"] > trainer.recipe.noisy_psnr()["psnr_100"]
