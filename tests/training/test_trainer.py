"""The training loop: PyTorch's Adam, resuming, averages, refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError
from restore_cli.training import checkpoint, schedules

CONFIG = {
    "encoder_spec": {"name": "edsr-baseline",
                     "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 16}},
    "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16]}},
}


def test_three_adam_steps_match_pytorch(engine, golden):
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.training.adam import Adam

    recipe = _recipe()
    case = golden("19_train_step")
    meta = case["meta"]
    network = registry.build(meta["model"]["name"], meta["model"]["args"])
    shapes = registry.layout(meta["model"]["name"], meta["model"]["args"]).shapes
    network.load_state_dict(recipe.fill(shapes, meta["rules"]))
    network.train()
    state = network.state_dict()
    adam = Adam({k: v for k, v in state.items() if not v.is_stop_grad()})
    x, target = (jt.array(recipe.normalised(case[key])) for key in ("x", "gt"))
    for expected in meta["loss"]:
        loss = (network(x, case["coord"], case["cell"]) - target).abs().mean()
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        adam.step(loss, meta["lr"])
    for name in [n for n in case if n.startswith("after3/")]:
        np.testing.assert_allclose(state[name[7:]].numpy(), case[name], atol=2e-6)


def _recipe():
    path = Path(__file__).parents[1] / "nets" / "recipe.py"
    spec = importlib.util.spec_from_file_location("golden_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_adam_state_survives(engine):
    import jittor as jt

    from restore_cli.training.adam import Adam

    def run(split: bool):
        p = jt.array(np.ones(4, np.float32))
        adam = Adam({"p": p})
        for step in range(4):
            if split and step == 2:
                saved, value = adam.state(), p.numpy()
                p = jt.array(value)
                adam = Adam({"p": p})
                adam.restore(saved, 2)
            adam.step((p * p * jt.array(np.arange(4.0, dtype=np.float32))).sum(), 0.1)
            jt.sync_all()
        return p.numpy()

    np.testing.assert_array_equal(run(False), run(True))


def _trainer(folder, steps, *, seed=0, stop_at=None, images=None, settings=None, schedule=None,
             **plan):
    from restore_cli.training.datasets.samplers import DownsampledSampler
    from restore_cli.training.datasets.sources import ArraySource
    from restore_cli.training.datasets.validation import fixed_pairs
    from restore_cli.training.liif import LiifRecipe
    from restore_cli.training.trainer import Plan, Trainer

    if images is None:
        images = np.random.default_rng(3).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8)
    sampler = DownsampledSampler(ArraySource(images), seed, batch=2, lr_size=12,
                                 scales=(1, 3), queries=64)
    if stop_at is not None:
        sampler = _Stopping(sampler, stop_at)
    settings = {"seed": seed, "steps": steps, **(settings or {})}
    recipe = LiifRecipe("liif", CONFIG, sampler, fixed_pairs(images[:1], (2,), 16), settings,
                        {"licence": "test"})
    made = Plan(steps, schedule or schedules.cosine(1e-3, 12), average=0.9, log_every=2,
                **{"validate_every": 4, "checkpoint_every": 3, **plan})
    console = Console()
    console.quiet = True
    return Trainer(recipe, made, folder, console)


class _Stopping:
    """Fails at one step, as a kill would."""

    def __init__(self, sampler, step):
        self._sampler, self._step = sampler, step

    def batch(self, step):
        if step == self._step:
            raise InputError("stopped on purpose")
        return self._sampler.batch(step)


def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(engine, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = _trainer(tmp_path / "a", 12)
    scores = whole.run()
    with pytest.raises(InputError, match="on purpose"):
        _trainer(tmp_path / "b", 12, stop_at=7).run()
    second = _trainer(tmp_path / "b", 12)
    assert second.resume()
    assert second.step == 7
    assert second.run() == scores
    for key, value in whole.weights().items():
        np.testing.assert_array_equal(value, second.weights()[key], err_msg=key)
    ours = checkpoint.load(tmp_path / "b" / "last.safetensors")
    theirs = checkpoint.load(tmp_path / "a" / "last.safetensors")
    for group, arrays in theirs.groups.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, ours.groups[group][key], err_msg=key)


def test_training_lowers_the_loss_and_exports_weights_for_upscale(engine, tmp_path):
    from restore_cli.training.logs import read_log
    from restore_cli.weights import files

    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    images = np.broadcast_to(ramp[None, None, :, None], (2, 64, 64, 3)).copy()
    trainer = _trainer(tmp_path, 60, images=images, schedule=lambda step: 3e-3)
    before = trainer.recipe.loss(trainer.recipe._sampler.batch(0)).item()
    trainer.run()
    assert trainer.recipe.loss(trainer.recipe._sampler.batch(0)).item() < before / 2
    weights = files.read(tmp_path / "weights.safetensors")
    assert (weights.arch, weights.config) == ("liif", CONFIG)
    assert json.loads(weights.metadata["training"])["step"] == 60
    np.testing.assert_array_equal(weights.tensors["imnet.layers.2.bias"],
                                  trainer.weights()["imnet.layers.2.bias"])
    assert [row["step"] for row in read_log(tmp_path / "log.csv")][-1] == 60


def test_resuming_with_other_settings_is_refused(engine, tmp_path):
    _trainer(tmp_path, 3).run()
    with pytest.raises(UsageError, match="lr"):
        _trainer(tmp_path, 3, settings={"lr": 2}).resume()
    assert _trainer(tmp_path, 6).resume()  # more steps are welcome


def test_a_run_that_fails_at_once_does_not_bar_the_next(engine, tmp_path):
    with pytest.raises(InputError, match="on purpose"):
        _trainer(tmp_path, 3, stop_at=0).run()
    assert not (tmp_path / "last.safetensors").exists()
    assert not _trainer(tmp_path, 3, settings={"lr": 2}).resume()


def test_two_runs_in_one_folder_are_refused(engine, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another process"):
        _trainer(tmp_path, 3).run()


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        checkpoint.load(path)


def test_schedules():
    rate = schedules.cosine(1.0, 100, warmup=10)
    assert rate(0) == pytest.approx(0.1)
    assert rate(9) == pytest.approx(1.0)
    assert rate(55) == pytest.approx(0.5)
    assert rate(100) == pytest.approx(0.0)
    halving = schedules.stepwise(1.0, [10, 20])
    assert [halving(s) for s in (9, 10, 20)] == [1.0, 0.5, 0.25]
