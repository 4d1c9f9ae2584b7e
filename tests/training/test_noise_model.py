"""Generated noise has the variance it says, in each channel alone."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import UsageError
from restore_cli.training.degradations.noise import Noise, NoiseModel


def _flat(value, channels=1, side=256):
    return np.full((channels, side, side), value, np.float32)


@pytest.mark.parametrize("text, value, expected", [
    ("gaussian:25", 0.5, 25 / 255), ("gaussian:25", 0.0, 25 / 255),
    ("poisson:20", 0.5, (0.5 / 20) ** 0.5), ("poisson:20", 0.01, (0.01 / 20) ** 0.5),
    ("poisson:4000", 1.0, (1 / 4000) ** 0.5),
])
def test_strength_and_mean(text, value, expected):
    rng = np.random.default_rng(0)
    noise = NoiseModel.parse(text).draw(1, rng)
    noisy = noise.add(_flat(value), rng)
    assert noisy.dtype == np.float32
    assert noisy.std() == pytest.approx(expected, rel=0.02)
    assert noisy.mean() == pytest.approx(value, abs=4 * expected / 256)
    assert noise.variance(np.array([value]))[0] ** 0.5 == pytest.approx(expected, rel=1e-6)


def test_nothing_is_clipped_or_rounded():
    rng = np.random.default_rng(0)
    noisy = NoiseModel.parse("gaussian:50").draw(1, rng).add(_flat(0.0), rng)
    assert noisy.min() < -0.5 and len(np.unique(noisy)) > 30_000


def test_values_below_zero_stay():
    noisy = Noise(np.array([0.01]), np.array([0.0])).add(_flat(-0.25), np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, -0.25)


def test_mixed_noise_has_the_variance_it_says_and_spreads_over_the_range():
    rng = np.random.default_rng(1)
    model = NoiseModel.parse("mixed:3-75")
    drawn = [model.draw(3, rng) for _ in range(400)]
    middle = np.array([noise.variance(np.full(3, 0.5)) for noise in drawn]) ** 0.5 * 255
    assert 2.5 < np.quantile(middle, 0.02) < 5 and 50 < np.quantile(middle, 0.98) < 110
    pure_gaussian = sum((noise.gain == 0).all() for noise in drawn)
    pure_poisson = sum((noise.sigma == 0).all() for noise in drawn)
    assert 60 < pure_gaussian and 25 < pure_poisson and pure_gaussian + pure_poisson < 300
    equal = sum(np.ptp(row) < 1e-9 for row in middle)
    assert 140 < equal < 260
    for noise in drawn[:10]:
        for value in (0.1, 0.8):
            found = noise.add(_flat(value, 3), rng).reshape(3, -1).var(axis=1)
            np.testing.assert_allclose(found, noise.variance(np.full(3, value)), rtol=0.05)


def test_channels_and_neighbours_are_independent():
    rng = np.random.default_rng(0)
    for text in ("gaussian:25", "poisson:30", "mixed"):
        noise = NoiseModel.parse(text).draw(3, rng).add(_flat(0.5, 3), rng) - 0.5
        noise /= noise.std(axis=(1, 2), keepdims=True)
        assert abs((noise[0] * noise[1]).mean()) < 0.02
        assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < 0.02


def test_equal_generators_give_equal_noise():
    model = NoiseModel.parse("mixed")
    one, two, other = (model.draw(1, rng).add(_flat(0.5, side=16), rng)
                       for rng in map(np.random.default_rng, (4, 4, 5)))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_ranges_are_read_and_used():
    model = NoiseModel.parse("Gaussian:5-50")
    drawn = [255 * model.draw(1, np.random.default_rng(i)).sigma[0] for i in range(300)]
    assert 5 <= min(drawn) < 8 and 47 < max(drawn) <= 50
    assert not model.fixed and NoiseModel.parse("poisson:20").fixed
    assert not NoiseModel.parse("mixed").fixed


@pytest.mark.parametrize("text", ["", "salt:3", "gaussian", "gaussian:", "gaussian:a", "poisson:-3",
                                  "poisson:0", "gaussian:50-5", "gaussian:nan", "mixed:1-inf"])
def test_refusals(text):
    with pytest.raises(UsageError):
        NoiseModel.parse(text)
