"""Blind-spot training in memory: what it must not learn, repeatability, time limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.training.degradations.blindspot import Masking

CONFIG = {"num_channels_init": 16, "use_batch_norm": False, "independent_channels": False}
TINY = {**CONFIG, "num_channels_init": 4, "depth": 1}


@pytest.fixture
def fit(engine):
    from restore_cli.training import fit

    return fit


@pytest.fixture
def fresh(engine):
    from restore_cli.training.n2v import fresh

    return lambda config=TINY, seed=0: fresh("n2v-field", config, seed)


def _noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _output(network, image):
    import jittor as jt

    with jt.no_grad():
        return network(jt.array(image[None])).numpy()[0]


def test_pure_noise_is_not_learnt(fit, fresh):
    """Nothing predicts independent noise: the loss stays at its variance, the result is flat."""
    network, image = fresh(CONFIG), _noise(1, 256, 256)
    report = fit.fit(network, fit.ArraySource([image]),
                     fit.FitSettings(steps=300, batch=8, patch=32))
    assert report.steps == 300 == len(report.losses) and report.repeatable
    assert report.masked_loss >= 0.9
    assert _output(network, image).std() <= 0.1


def test_a_mask_beside_the_blind_pixel_would_be_noticed(fit, fresh, monkeypatch):
    """The seed's fault, a loss one pixel beside the blind one, copies the noise within 60 steps."""
    def leaking(patches, masking, rng):
        masked = manipulate(patches, masking, rng)
        return replace(masked, mask=np.roll(masked.mask, 1, axis=-1))

    manipulate = fit.manipulate
    monkeypatch.setattr(fit, "manipulate", leaking)
    network, image = fresh(CONFIG), _noise(1, 128, 128)
    report = fit.fit(network, fit.ArraySource([image]),
                     fit.FitSettings(steps=60, batch=4, patch=32, lr=3e-3))
    assert report.masked_loss < 0.6 and _output(network, image).std() > 0.5


@pytest.mark.parametrize("augment", ["all", "flip-x", "flip-y", "none"])
def test_the_loss_looks_at_hidden_pixels_whatever_the_turn(fit, augment):
    slopes = np.exp(0.1 * np.arange(40) + 0.27 * np.arange(40)[:, None])
    source = fit.ArraySource([np.stack([slopes, 2 * slopes])])
    seen = set()
    for step in range(20):
        batch = fit.draw(source, fit.FitSettings(patch=16, augment=augment,
                                                 masking=Masking(6, "median")), step)
        np.testing.assert_array_equal(batch.inputs != batch.targets, batch.mask > 0)
        for patch in batch.targets:
            corner, right, down = np.log([patch[0, 0, 0], patch[0, 0, 1], patch[0, 1, 0]])
            seen.add((round(100 * (right - corner)), round(100 * (down - corner))))
    wanted = {"none": {(10, 27)}, "flip-x": {(10, 27), (-10, 27)},
              "flip-y": {(10, 27), (10, -27)},
              "all": {(a * s, b * t) for a, b in ((10, 27), (27, 10)) for s in (1, -1)
                      for t in (1, -1)}}
    assert seen == wanted[augment]


def test_equal_seeds_and_steps_give_equal_weights(fit, fresh):
    source = fit.ArraySource([_noise(1, 48, 40)])
    found = []
    for seed in (3, 3, 4):
        network = fresh()
        fit.fit(network, source, fit.FitSettings(steps=12, batch=2, patch=16, seed=seed))
        found.append({k: v.numpy() for k, v in network.state_dict().items()})
    for key, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][key], err_msg=key)
    assert any((value != found[2][key]).any() for key, value in found[0].items())


class _Clock:
    """Each look takes `pace` seconds."""

    def __init__(self, pace=1.0):
        self.now, self.pace = 0.0, pace

    def __call__(self):
        self.now += self.pace
        return self.now


def test_a_timed_run_is_repeated_by_its_number_of_steps(fit, fresh):
    source = fit.ArraySource([_noise(1, 32, 32)])
    settings = fit.FitSettings(steps=None, seconds=25.0, batch=1, patch=8, warmup=5)
    timed, counted, seen = fresh(), fresh(), []
    report = fit.fit(timed, source, settings, on_step=seen.append, clock=_Clock(0.5))
    assert report.repeatable and 10 < report.steps < 60
    assert [p.steps for p in seen[:4]] == [None] * 4
    assert {p.steps for p in seen[5:]} == {report.steps}
    assert [p.step for p in seen] == list(range(1, report.steps + 1))
    again = fit.fit(counted, source, replace(settings, seconds=None, steps=report.steps))
    np.testing.assert_array_equal(report.losses, again.losses)
    for key, value in timed.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), counted.state_dict()[key].numpy())


def _timed(fit, seconds, pace, warmup=10):
    """A cycle run to its end with so many seconds a step; (cycle, rates, time)."""
    clock = _Clock(0)
    cycle = fit.Cycle(fit.FitSettings(steps=None, seconds=seconds, warmup=warmup), clock)
    step, rates = 0, []
    while cycle.steps is None or step < cycle.steps:
        rates.append(cycle.rate(step))
        clock.now += pace(step)
        step += 1
        cycle.done(step)
    return cycle, rates, clock.now


def test_time_decides_the_steps(fit):
    cycle, rates, spent = _timed(fit, 100, lambda step: 30 if step < 2 else 0.5)
    assert cycle.repeatable and cycle.steps == 202
    assert spent - 60 == pytest.approx(100, abs=1)  # without the compilation
    other = fit.Cycle(fit.FitSettings(steps=202, warmup=10))
    assert rates == [other.rate(step) for step in range(202)]
    assert rates[9] == max(rates) == 1e-3 and rates[-1] < 1e-6


def test_a_slightly_slower_machine_keeps_the_steps(fit):
    cycle, _, spent = _timed(fit, 100, lambda step: 0.5 if step < 50 else 0.55)
    assert cycle.repeatable and cycle.steps == 202 and 100 < spent < 115


def test_a_much_slower_machine_shortens_the_cycle_and_says_so(fit):
    cycle, rates, spent = _timed(fit, 200, lambda step: 0.5 if step < 100 else 2.0)
    assert not cycle.repeatable and 150 < len(rates) < 300
    assert 190 < spent < 240
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))
    assert rates[-1] < 1e-5  # the cycle still ends


def test_a_short_time_still_makes_twice_the_warmup(fit):
    cycle, rates, _ = _timed(fit, 1, lambda step: 5.0)
    assert cycle.steps == len(rates) == 20 and cycle.repeatable


def test_short_runs_rise_for_half_their_steps(fit):
    cycle = fit.Cycle(fit.FitSettings(steps=6, warmup=40))
    rates = [cycle.rate(step) for step in range(6)]
    assert rates[2] == max(rates) == 1e-3 and rates[5] < 5e-4
    assert fit.Cycle(fit.FitSettings(steps=1)).rate(0) == 1e-3


def test_volumes(fit, fresh):
    network = fresh({**TINY, "conv_dims": 3})
    source = fit.ArraySource([_noise(1, 6, 20, 20)])
    report = fit.fit(network, source, fit.FitSettings(steps=3, batch=1, patch=(4, 8, 8)))
    assert np.isfinite(report.losses).all()
    assert _output(network, _noise(1, 4, 8, 8)).shape == (1, 4, 8, 8)


def test_all_pixels_are_drawn_equally_often(fit):
    source = fit.ArraySource([np.zeros((1, 10, 10)), np.ones((1, 30, 10)), np.ones((1, 4, 150))])
    rng = np.random.default_rng(0)
    ones = [source.patch((4, 4), rng)[0, 0, 0] for _ in range(2000)]
    assert np.mean(ones) == pytest.approx(0.9, abs=0.03)


def test_small_images_are_mirrored(fit):
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    found = fit.ArraySource([image]).patch((3, 6), np.random.default_rng(0))
    np.testing.assert_array_equal(found[0], np.pad(image[0], ((0, 0), (0, 2)), mode="reflect"))
    thin = fit.ArraySource([image[:, :1]]).patch((4, 4), np.random.default_rng(0))
    np.testing.assert_array_equal(thin[0], np.repeat(image[0, :1], 4, axis=0))


def test_values_that_are_no_numbers_end_the_run(fit, fresh):
    image = _noise(1, 16, 16)
    image[0, 5] = np.inf
    with pytest.raises(InputError, match="loss became"):
        fit.fit(fresh(), fit.ArraySource([image]), fit.FitSettings(steps=40, batch=2, patch=16))


def test_masked_pixels_are_never_targets(fit):
    class Source:
        channels = 1

        def patch(self, shape, rng):
            values = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
            return np.ma.array(values, mask=values % 2 == 0)

    batches = [fit.draw(Source(), fit.FitSettings(steps=9, batch=4, patch=16), step)
               for step in range(9)]
    targets = np.concatenate([batch.targets[batch.mask == 1] for batch in batches])
    assert len(targets) > 100 and (targets % 2 == 1).all()


def test_images_that_do_not_go_together(fit):
    with pytest.raises(InputError):
        fit.ArraySource([])
    for other in (_noise(2, 8, 8), _noise(1, 2, 8, 8), _noise(8, 8), _noise(1, 0, 8)):
        with pytest.raises(ShapeError):
            fit.ArraySource([_noise(1, 8, 8), other])
    with pytest.raises(ShapeError):
        fit.ArraySource([_noise(1, 8, 8)]).patch((2, 8, 8), np.random.default_rng(0))


@pytest.mark.parametrize("values", [
    {"steps": None}, {"seconds": 3.0}, {"steps": 0}, {"steps": None, "seconds": 0.0},
    {"steps": None, "seconds": float("inf")}, {"lr": 0.0}, {"lr": float("nan")}, {"loss": "l1"},
    {"augment": "some"}, {"patch": 0}, {"patch": (4, 0, 8)}, {"batch": 0}, {"warmup": 2},
    {"seed": -1}])
def test_settings_that_make_no_sense(fit, values):
    with pytest.raises(UsageError):
        fit.FitSettings(**values)


def test_recorrupted_noises_are_uncorrelated(fit):
    """Input and target carry the signal and noises whose covariance is 0, channel by channel."""
    rng, sigma = np.random.default_rng(1), (0.5, 2.0)
    noise = rng.standard_normal((4, 2, 64, 64)).astype(np.float32) * np.reshape(sigma, (1, 2, 1, 1))
    inputs, targets = fit.recorrupt(noise.astype(np.float32), sigma, rng)
    for channel, level in enumerate(sigma):
        a, b = inputs[:, channel].ravel() / level, targets[:, channel].ravel() / level
        assert np.mean(a * b) == pytest.approx(0, abs=0.1)
        assert (a.var(), b.var()) == (pytest.approx(1.25, rel=0.05), pytest.approx(5, rel=0.05))


def test_recorrupted_batches_hide_pixels_as_well(fit):
    image = np.ma.array(_noise(1, 64, 64), mask=np.zeros((1, 64, 64), bool))
    image.mask[:, :8] = True

    class Source:
        channels = 1

        def patch(self, shape, rng):
            return image

    settings = fit.FitSettings(batch=2, augment="none", sigma=(0.7,), masking=Masking(percent=6))
    batch = fit.draw(Source(), settings, 0)
    blind, seen = batch.mask > 0, batch.seen > 0
    assert not (blind & seen).any() and (blind | seen)[:, :, 8:].all()
    assert not (blind | seen)[:, :, :8].any()  # never learned from
    np.testing.assert_array_equal(batch.targets[blind],
                                  np.broadcast_to(image.data, blind.shape)[blind])
    assert (batch.targets != image.data)[seen].all() and (batch.inputs != image.data)[seen].all()
    assert fit.draw(Source(), replace(settings, sigma=None), 0).seen is None


def test_recorruption_does_not_pass_white_noise_on(fit, fresh):
    """Its loss covers visible pixels too, and still pure noise is not learnt."""
    network, image = fresh(CONFIG), _noise(1, 256, 256)
    report = fit.fit(network, fit.ArraySource([image]),
                     fit.FitSettings(steps=200, batch=8, patch=32, sigma=(1.0,)))
    assert report.masked_loss >= 0.9
    assert _output(network, image).std() <= 0.15


def test_a_teacher_speaks_where_pixels_are_masked(fit, fresh):
    """Without one, the network forgets what it knew about places it never learns from."""
    import jittor as jt

    picture = np.zeros((1, 64, 64), np.float32)
    picture[:, :, 32:] = 2
    picture += 0.3 * _noise(1, 64, 64)
    mask = np.zeros(picture.shape, bool)
    mask[:, :, 32:] = True

    class Source:
        channels = 1

        def patch(self, shape, rng):
            return np.ma.array(np.where(mask, picture, -picture), mask=mask)

    def drift(teach):
        student, teacher = fresh(CONFIG, 1), fresh(CONFIG, 1)
        teacher.eval()
        with jt.no_grad():
            before = teacher(jt.array(Source().patch((64, 64), None).data[None])).numpy()[0]
        fit.fit(student, Source(), fit.FitSettings(steps=60, batch=1, augment="none"),
                teacher=teacher if teach else None)
        after = _output(student, Source().patch((64, 64), None).data)
        return np.abs(after - before)[:, :, 36:].mean()

    assert drift(True) < 0.2 * drift(False)
