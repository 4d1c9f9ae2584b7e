"""Training denoisers on many images: losses, resuming, validation, what is exported."""

from __future__ import annotations

import json

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.training import schedules
from restore_cli.training.datasets import denoising, sources
from restore_cli.training.datasets.denoising import Task
from restore_cli.training.datasets.planes import Planes
from restore_cli.training.degradations.blindspot import Masking
from restore_cli.training.degradations.noise import NoiseModel

CONFIG = {"num_channels_init": 4, "depth": 1, "use_batch_norm": False,
          "independent_channels": False}
BLIND = Task("noisy", NoiseModel.parse("gaussian:25"), masking=Masking(10))
SUPERVISED = Task("clean", NoiseModel.parse("mixed"), "fresh", blind_share=0.5)


def test_masked_losses(engine, golden):
    import jittor as jt

    from restore_cli.training.n2v import masked_mae, masked_mse

    case = golden("losses", "n2v")
    pred, target, mask = (jt.array(case[name]) for name in ("pred", "target", "mask"))
    assert masked_mse(pred, target, mask).item() == pytest.approx(case["masked_mse"], rel=1e-5)
    assert masked_mae(pred, target, mask).item() == pytest.approx(case["masked_mae"], rel=1e-5)
    error = (case["pred"] - case["target"]).astype(np.float64)
    assert masked_mse(pred, target).item() == pytest.approx((error**2).mean(), rel=1e-5)
    assert masked_mae(pred, target).item() == pytest.approx(abs(error).mean(), rel=1e-5)
    # The seed's loss looks at one pixel of each patch, masked or not.
    assert masked_mse(pred, target, mask).item() != pytest.approx(case["seed_pixel_mse"], rel=0.1)
    assert masked_mse(pred, target, mask * 0).item() == 0


def test_only_masked_pixels_have_gradients(engine):
    import jittor as jt

    from restore_cli.training.n2v import masked_mae, masked_mse

    mask = (np.random.default_rng(0).random((2, 1, 6, 6)) < 0.2).astype(np.float32)
    target = np.random.default_rng(1).random(mask.shape, np.float32)
    for loss in (masked_mse, masked_mae):
        pred = jt.array(target + 0.5)
        gradient = jt.grad(loss(pred, jt.array(target), jt.array(mask)), pred).numpy()
        np.testing.assert_array_equal(gradient != 0, mask > 0)


def _images(count=3, side=40, channels=3):
    rng = np.random.default_rng(5)
    return [rng.integers(40, 200, (side, side, channels)).astype(np.uint8) for _ in range(count)]


class _Stopping:
    """Fails at one step, as a kill would."""

    def __init__(self, sampler, step):
        self.task, self._sampler, self._step = sampler.task, sampler, step

    def batch(self, step):
        if step == self._step:
            raise InputError("stopped on purpose")
        return self._sampler.batch(step)


def _trainer(folder, task, steps=8, *, stop_at=None, images=None, loss="mse", rate=1e-3):
    from restore_cli.training.n2v import N2VRecipe
    from restore_cli.training.trainer import Plan, Trainer

    folder.mkdir(exist_ok=True)
    planes = Planes(sources.ArraySource(images or _images()), 1)
    sampler = denoising.DenoisingSampler(planes, 0, task, batch=2, side=16)
    held = denoising.held_out(Planes(sources.ArraySource(_images(2)), 1), task, 8)
    if stop_at is not None:
        sampler = _Stopping(sampler, stop_at)
    recipe = N2VRecipe("n2v-field", CONFIG, sampler, held, {"seed": 0, "steps": steps},
                       {"licence": "test", "task": "denoise"}, loss)
    plan = Plan(steps, schedules.cosine(rate, steps, 2), average=0.9, log_every=2,
                validate_every=4, checkpoint_every=3)
    console = Console()
    console.quiet = True
    return Trainer(recipe, plan, folder, console)


@pytest.mark.parametrize("task, score, loss", [(BLIND, "blind_mse", "mae"),
                                               (SUPERVISED, "psnr", "mse")])
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(engine, tmp_path, task, score,
                                                                 loss):
    whole = _trainer(tmp_path / "a", task, loss=loss)
    scores = whole.run()
    assert score in scores and np.isfinite(scores[score])
    with pytest.raises(InputError, match="on purpose"):
        _trainer(tmp_path / "b", task, stop_at=5, loss=loss).run()
    second = _trainer(tmp_path / "b", task, loss=loss)
    assert second.resume() and second.step == 5
    assert second.run() == scores
    for key, value in whole.weights().items():
        np.testing.assert_array_equal(value, second.weights()[key], err_msg=key)
    ours = (tmp_path / "b" / "weights.safetensors").read_bytes()
    assert ours == (tmp_path / "a" / "weights.safetensors").read_bytes()


def test_a_supervised_run_denoises_and_its_weights_can_be_read(engine, tmp_path):
    from restore_cli.weights import files

    flat = [np.full((40, 40, 1), value, np.uint8) for value in (60, 180)]
    ramps = [np.tile(np.linspace(0, 255, 40).astype(np.uint8)[:, None, None], (1, 40, 1))]
    task = Task("clean", NoiseModel.parse("gaussian:40"), "fresh")
    trainer = _trainer(tmp_path / "run", task, 60, images=ramps + flat, rate=1e-2)
    before, noisy = trainer.recipe.validate(), trainer.recipe.noisy_psnr()
    losses = [trainer.recipe.loss(trainer.recipe._sampler.batch(step)).item() for step in range(8)]
    trainer.run()
    after = [trainer.recipe.loss(trainer.recipe._sampler.batch(step)).item() for step in range(8)]
    assert np.mean(after) < 0.8 * np.mean(losses)
    assert noisy == pytest.approx(20 * np.log10(255 / 40), abs=0.2)
    assert set(before) == {"psnr"}
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.arch == "n2v-field" and weights.config["num_channels_init"] == 4
    assert weights.metadata["task"] == "denoise"
    assert json.loads(weights.metadata["training"])["step"] == 60


def test_fresh_weights_belong_to_their_seed(engine):
    from restore_cli.training.n2v import fresh

    first, second, other = (fresh("n2v-field", CONFIG, seed) for seed in (1, 1, 2))
    mine, same, different = ({k: v.numpy() for k, v in one.state_dict().items()}
                             for one in (first, second, other))
    for key, value in mine.items():
        np.testing.assert_array_equal(value, same[key], err_msg=key)
    assert any((mine[key] != different[key]).any() for key in mine)
