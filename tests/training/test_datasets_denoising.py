"""Patches for denoisers: what is noisy, what is clean, in which units."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.training.datasets import denoising, sources
from restore_cli.training.datasets.denoising import DenoisingSampler, Task
from restore_cli.training.datasets.planes import Planes, Statistics, Tone, as_saved, planes
from restore_cli.training.degradations.blindspot import Masking
from restore_cli.training.degradations.noise import NoiseModel

SIGMA = NoiseModel.parse("gaussian:25")


def _planes(channels=1, images=None):
    if images is None:
        rng = np.random.default_rng(1)
        images = [rng.integers(a, 150 + a, (48, 56, 3)).astype(np.uint8) for a in (0, 50, 100)]
    return Planes(sources.ArraySource(images), channels)


def test_samples_of_every_type_have_white_at_one_and_keep_what_is_outside():
    grey = np.array([[[0], [51]]], np.uint8)
    np.testing.assert_allclose(planes(grey, 1), [[[0, 0.2]]], rtol=1e-6)
    deep = np.array([[[65535], [13107]]], np.uint16)
    np.testing.assert_allclose(planes(deep, 3), [[[1, 0.2]]] * 3, rtol=1e-6)
    floats = np.array([[[-0.5, 1.5, 0.25]]], np.float32)
    np.testing.assert_array_equal(planes(floats, 3)[:, 0, 0], floats[0, 0])
    luma = 0.299 * -0.5 + 0.587 * 1.5 + 0.114 * 0.25
    assert planes(floats, 1)[0, 0, 0] == pytest.approx(luma, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("task", [
    Task("noisy"), Task("noisy", SIGMA), Task("noisy", SIGMA, "fresh"),
    Task("clean", NoiseModel.parse("mixed"), "fresh", blind_share=0.5),
    Task("clean", NoiseModel.parse("mixed"), "fresh", tones=True),
    Task("clean", NoiseModel.parse("poisson:20-200"))])
def test_a_batch_depends_on_seed_and_step_alone(task, channels):
    first = DenoisingSampler(_planes(channels), 7, task, batch=3, side=16)
    batches = [first.batch(step) for step in range(3)]
    again = DenoisingSampler(_planes(channels), 7, task, batch=3, side=16).batch(2)
    for name in ("inputs", "targets", "mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(batches[2], name))
    assert again.inputs.shape == again.targets.shape == (3, channels, 16, 16)
    assert again.inputs.dtype == again.targets.dtype == np.float32
    assert (batches[0].inputs != batches[1].inputs).any()
    other = DenoisingSampler(_planes(channels), 8, task, batch=3, side=16).batch(2)
    assert (other.inputs != again.inputs).any()


def test_noisy_target_is_the_noisy_image_itself():
    task = Task("noisy", SIGMA, masking=Masking(10, "median"), augment="none")
    planes = _planes()
    sampler = DenoisingSampler(planes, 0, task, batch=4, side=48)
    fixed = {i: sampler._fixed(i) for i in range(3)}
    batch = sampler.batch(5)
    np.testing.assert_array_equal(batch.inputs != batch.targets, batch.mask > 0)
    assert batch.mask.mean() == pytest.approx(0.1, rel=0.1)
    clean_found = 0
    for target in batch.targets:
        errors = []
        for i, noisy in fixed.items():
            mean, std = sampler.normalisation(i, sampler.noise_of(i))
            back = target * std[:, None, None] + mean[:, None, None]
            errors += [abs(noisy[:, :, x:x + 48] - back).max() for x in range(9)]
            clean_found += any(abs(planes.crop(i)[:, :, x:x + 48] - back).mean() < 0.01
                               for x in range(9))
        assert min(errors) < 1e-5
    assert clean_found == 0


def test_fixed_noise_is_drawn_once_and_fresh_noise_each_time():
    image = [np.full((16, 16, 1), 100, np.uint8)]
    for draw, same in (("fixed", True), ("fresh", False)):
        task = Task("clean", SIGMA, draw, augment="none")
        sampler = DenoisingSampler(_planes(1, image), 0, task, batch=1, side=16)
        assert (sampler.batch(0).inputs == sampler.batch(1).inputs).all() == same


def test_normalisation_by_each_image_makes_mean_0_and_std_1():
    images = [np.random.default_rng(i).normal(90 + 40 * i, 20, (256, 256, 1)).clip(0, 255)
              .astype(np.uint8) for i in range(2)]
    for noise in (None, SIGMA, NoiseModel.parse("poisson:30")):
        task = Task("noisy", noise, masking=Masking(1), augment="none")
        batch = DenoisingSampler(_planes(1, images), 0, task, batch=4, side=256).batch(0)
        np.testing.assert_allclose(batch.targets.mean(axis=(1, 2, 3)), 0, atol=0.02)
        np.testing.assert_allclose(batch.targets.std(axis=(1, 2, 3)), 1, atol=0.02)


def test_targets_of_supervised_training_are_clean_and_normalised_alike():
    task = Task("clean", SIGMA, "fresh", augment="none")
    planes = _planes(3)
    batch = DenoisingSampler(planes, 0, task, batch=8, side=40).batch(0)
    assert batch.mask is None
    noise = batch.inputs - batch.targets
    # 25 levels in units of the noisy image's spread, which is about (43^2 + 25^2)^0.5 levels.
    assert noise.std() == pytest.approx(25 / 50, rel=0.06)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.05


def test_blind_share_hides_pixels_in_that_share_of_patches():
    task = Task("clean", NoiseModel.parse("gaussian:0.001"), "fresh", blind_share=0.4,
                augment="none")
    sampler = DenoisingSampler(_planes(), 0, task, batch=200, side=16)
    batch = sampler.batch(0)
    hidden = (abs(batch.inputs - batch.targets) > 0.01).mean(axis=(1, 2, 3))
    assert (hidden > 0).mean() == pytest.approx(0.4, abs=0.1)
    shares = hidden[hidden > 0]
    assert 0.01 < shares.min() < 0.04 and 0.07 < shares.max() < 0.13
    assert batch.mask is None


def test_one_normalisation_for_all_images():
    sampler = DenoisingSampler(_planes(3), 0, Task("noisy", SIGMA), batch=2, side=16)
    statistics, white = denoising.overall(sampler)
    every = np.stack([sampler._fixed(i) for i in range(3)]).transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(statistics.mean, every.mean(axis=1), atol=0.005)
    np.testing.assert_allclose(statistics.variance, every.var(axis=1), rtol=0.03)
    assert white == 255
    mixed = [np.zeros((20, 20, 1), np.uint8), np.zeros((20, 20, 1), np.uint16)]
    with pytest.raises(UsageError, match="depths"):
        denoising.overall(DenoisingSampler(_planes(1, mixed), 0, Task(), batch=1, side=8))


def test_held_out_images_stay_the_same_and_know_their_white():
    for task in (Task("noisy", SIGMA), Task("clean", SIGMA, "fresh")):
        first, second = (denoising.held_out(_planes(3), task, 16) for _ in range(2))
        assert len(first) == 3
        for one, two in zip(first, second):
            np.testing.assert_array_equal(one.noisy, two.noisy)
            np.testing.assert_array_equal(one.mask, two.mask)
            assert one.noisy.shape == (3, 48, 48)
            error = (one.noisy - one.clean) / one.white[:, None, None]
            assert error.std() * 255 == pytest.approx(25, rel=0.05)
            np.testing.assert_array_equal(one.inputs != one.noisy, one.mask > 0)
    assert all(one.clean is None for one in denoising.held_out(_planes(), Task(), 16))
    with pytest.raises(InputError, match="at least 64"):
        denoising.held_out(_planes(), Task(), 64)


def test_tones():
    tone = Tone(2.0, True, 0.5)
    np.testing.assert_allclose(tone.apply(np.array([0, 0.5, 1], np.float32)), [0.5, 0.375, 0])
    drawn = [Tone.draw(np.random.default_rng(i)) for i in range(200)]
    values = np.random.default_rng(0).random((1, 8, 8), np.float32)
    for one in drawn:
        toned = one.apply(values)
        assert 0 <= toned.min() and toned.max() <= one.exposure + 1e-6 <= 1.001
    negative = Tone(2.5, False, 1.0).apply(np.array([-0.2, 0.0, 1.5], np.float32))
    assert np.isfinite(negative).all()
    assert 60 < sum(one.gamma == 1 for one in drawn) < 140
    assert 25 < sum(one.invert for one in drawn) < 80


def test_noisy_patches_weigh_less_with_tones():
    statistics = Statistics(np.array([0.4]), np.array([0.04]))
    weights = [denoising.balance(statistics, NoiseModel.parse(f"gaussian:{s}").draw(
        1, np.random.default_rng(0))) for s in (2, 10, 50)]
    assert weights[0] > weights[1] > weights[2] > 0
    task = Task("clean", NoiseModel.parse("mixed"), "fresh", tones=True)
    batch = DenoisingSampler(_planes(), 0, task, batch=6, side=16).batch(0)
    assert (batch.mask.min(axis=(1, 2, 3)) == batch.mask.max(axis=(1, 2, 3))).all()
    assert len(np.unique(batch.mask)) == 6


@pytest.mark.parametrize("make, words", [
    (lambda: Task("blurred"), "noisy, clean"),
    (lambda: Task("clean"), "needs noise"),
    (lambda: Task("noisy", SIGMA, "often"), "fixed, fresh"),
    (lambda: Task("clean", SIGMA, blind_share=1.5), "between 0 and 1"),
    (lambda: Task("noisy", blind_share=0.5), "--target clean"),
    (lambda: Task("clean", SIGMA, tones=True), "--tones"),
    (lambda: DenoisingSampler(_planes(), 0, Task(), side=49), "do not fit"),
])
def test_refusals(make, words):
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)


def test_some_toned_patches_went_through_an_8_bit_file():
    np.testing.assert_allclose(as_saved(np.array([-0.2, 0.5, 0.501, 1.7], np.float32)) * 255,
                               [0, 128, 128, 255], rtol=1e-6)
    task = Task("clean", NoiseModel.parse("gaussian:60"), "fresh", tones=True)
    sampler = DenoisingSampler(_planes(), 5, task, batch=1, side=16)
    saved = []
    for draw in range(60):
        noisy, *_ = sampler._toned(draw % 3, 0, 0, np.random.default_rng(draw))
        levels = noisy * 255
        saved.append(np.allclose(levels, np.rint(levels), atol=1e-3)
                     and 0 <= noisy.min() and noisy.max() <= 1)
    assert 0.2 < np.mean(saved) < 0.6
