"""The random part of the raw noise model: its distributions, with fixed seeds.

Bounds are about five standard errors of each estimate.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from restore_cli.training.degradations import raw_noise
from restore_cli.training.degradations.raw_noise import CALIBRATED, Camera, Line
from restore_cli.training.probability_plots import tukey_plot

SCALE = 15871.0
# No scatter, so that the levels are known: read noise of 4 DN, rows of 3 DN at any gain.
CAMERA = Camera("test", 0.5, 8.0, tukey=Line(0.0, np.log(4.0), 0.0),
                gaussian=Line(0.0, np.log(4.0), 0.0), row=Line(0.0, np.log(3.0), 0.0),
                lambdas=(0.1,), colour_bias=((1.0, -2.0, 3.0, -4.0), (5.0, 6.0, 7.0, 8.0)))


def noise(kinds, level=0.0, *, seed=0, ratio=1.0, shape=(128, 128), camera=CAMERA, gain=None):
    """Noise in DN on a flat image of `level` DN, (4, h, w)."""
    clean = np.full((4, *shape), level * ratio / SCALE, np.float32)
    noisy, truth = raw_noise.synthesise(clean, camera, ratio, SCALE,
                                        np.random.default_rng(seed), kinds, gain=gain)
    return (noisy.astype(np.float64) - truth) * SCALE / ratio


@pytest.mark.parametrize("gain", [0.5, 4.0])
def test_variance_of_photons_is_gain_times_mean(gain):
    for level in (1.0, 10.0, 100.0, 2000.0):
        found = noise("p", level, gain=gain)
        count = found.size
        electrons = level / gain
        assert abs(found.mean()) < 5 * np.sqrt(gain * level / count)
        # The fourth moment of a Poisson variable: 3 m^2 + m.
        error = gain**2 * np.sqrt((2 * electrons**2 + electrons) / count)
        assert abs(found.var() - gain * level) < 5 * error
        skew = np.mean(found**3) / found.std() ** 3
        assert abs(skew - electrons**-0.5) < 5 * np.sqrt(6 / count) + 0.1 * electrons**-0.5


def test_photons_come_in_whole_numbers():
    found = (noise("p", 3.0, gain=2.0) + 3.0) / 2.0
    assert np.abs(found - np.rint(found)).max() < 1e-3
    counts = np.bincount(np.rint(found).astype(int).ravel(), minlength=8) / found.size
    expected = np.exp(-1.5) * 1.5 ** np.arange(4) / np.array([1, 1, 2, 6])
    assert np.abs(counts[:4] - expected).max() < 5 * 0.5 / np.sqrt(found.size)


@pytest.mark.parametrize("shape", [-0.24, -0.05, 0.0, 0.14])
def test_read_noise_has_tukeys_quantiles(shape):
    found = np.sort(noise("t", camera=dataclasses.replace(CAMERA, lambdas=(shape,))), axis=None)
    places = np.array([0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])
    values = (np.log(places / (1 - places)) if shape == 0
              else (places**shape - (1 - places) ** shape) / shape)
    below = np.searchsorted(found, 4.0 * values) / found.size
    assert np.all(abs(below - places) < 5 * np.sqrt(places * (1 - places) / found.size))


@pytest.mark.parametrize("shape", [-0.2, 0.1])
def test_the_shape_of_the_read_noise_shows_in_its_probability_plot(shape):
    found = noise("t", camera=dataclasses.replace(CAMERA, lambdas=(shape,)))
    assert tukey_plot(found).lam == pytest.approx(shape, abs=0.015)


def test_gaussian_read_noise_is_gaussian():
    found = noise("g")
    assert found.std() == pytest.approx(4.0, abs=5 * 4 / np.sqrt(2 * found.size))
    assert abs(np.mean(found**4) / found.var() ** 2 - 3) < 5 * np.sqrt(24 / found.size)


def test_rows_of_the_mosaic_share_an_offset():
    found = noise("r", shape=(2000, 3))
    assert np.ptp(found, axis=2).max() < 1e-4
    rows = found[:, :, 0]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[2], rows[3])
    assert abs(np.corrcoef(rows[0], rows[2])[0, 1]) < 5 / np.sqrt(2000)
    assert abs(np.corrcoef(rows[0][1:], rows[0][:-1])[0, 1]) < 5 / np.sqrt(2000)
    assert rows[[0, 2]].std() == pytest.approx(3.0, abs=5 * 3 / np.sqrt(8000))


def test_rounding_is_uniform():
    found = noise("q")
    assert found.min() >= -0.5 - 1e-3 and found.max() <= 0.5 + 1e-3
    counts = np.histogram(found, 20, (-0.5, 0.5))[0]
    expected = found.size / 20
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_colour_bias_moves_each_plane():
    assert noise("c", gain=1.0).mean(axis=(1, 2)) == pytest.approx([1, -2, 3, -4], abs=1e-3)
    assert noise("c", gain=6.0).mean(axis=(1, 2)) == pytest.approx([5, 6, 7, 8], abs=1e-3)


def test_parts_add_up():
    camera = dataclasses.replace(CAMERA, lambdas=(0.14,), colour_bias=())
    found = noise("pgrq", 50.0, gain=2.0, camera=camera)
    expected = 2.0 * 50.0 + 16.0 + 9.0 + 1 / 12
    # The rows' share of the variance rests on 256 draws only.
    assert found.var() == pytest.approx(expected, abs=5 * np.hypot(
        expected * np.sqrt(2 / found.size), 9 * np.sqrt(2 / 256)))


def test_the_noisy_image_is_cut_above_and_not_below():
    rng = np.random.default_rng(0)
    clean = np.array([0.0, 1.0], np.float32).repeat(2048).reshape(1, 64, 64).repeat(4, 0)
    noisy, truth = raw_noise.synthesise(clean, CALIBRATED["SonyA7S2"], 200, SCALE, rng)
    assert noisy.max() == 1.0 and np.mean(noisy == 1.0) > 0.1
    assert noisy.min() < -0.02
    assert np.array_equal(truth, clean)


def test_noise_grows_with_the_ratio():
    level = 4.0
    assert (noise("pgr", level, ratio=100.0, gain=1.0) * 100).std() == pytest.approx(
        100 * noise("pgr", level, ratio=1.0, gain=1.0).std(), rel=0.02)


def test_levels_scatter_around_their_lines():
    camera = CALIBRATED["NikonD850"]
    clean = np.zeros((4, 1, 1), np.float32)
    rng = np.random.default_rng(5)
    draws = [raw_noise.draw(clean, camera, 100, SCALE, rng, "tr") for _ in range(4000)]
    gains = np.log([d.gain for d in draws])
    low, high = np.log([camera.k_min, camera.k_max])
    assert abs(np.mean((gains - low) / (high - low)) - 0.5) < 5 / np.sqrt(12 * 4000)
    for line, levels in ((camera.tukey, [d.read_sigma for d in draws]),
                         (camera.row, [d.row_sigma for d in draws])):
        left = np.log(levels) - (line.slope * gains + line.bias)
        assert abs(left.mean()) < 5 * line.sigma / np.sqrt(4000)
        assert left.std() == pytest.approx(line.sigma, abs=5 * line.sigma / np.sqrt(8000))
    assert {d.tukey_lambda for d in draws} == set(camera.lambdas)


def test_equal_generators_give_equal_noise():
    clean = np.random.default_rng(0).random((4, 9, 7), np.float32)
    camera = CALIBRATED["SonyA7S2"]

    def once(seed):
        return raw_noise.synthesise(clean, camera, 50, [SCALE] * 4,
                                    np.random.default_rng(seed))[0]

    assert np.array_equal(once(3), once(3))
    assert not np.array_equal(once(3), once(4))


def test_extreme_uniforms_give_finite_noise():
    ends = np.array([0.0, 2.0**-25, 0.5, 1 - 2.0**-24], np.float32)
    for shape in (-0.3, 0.0, 1e-7, 0.2):
        assert np.isfinite(raw_noise.tukey_noise(ends, shape, 1.0)).all()
        assert raw_noise.tukey_noise(ends[2:3], shape, 1.0) == 0
    drawn = raw_noise.draw(np.zeros((4, 300, 300), np.float32), CAMERA, 1, SCALE,
                           np.random.default_rng(0), "t").read
    assert 0 < drawn.min() and drawn.max() < 1
