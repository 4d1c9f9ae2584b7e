"""Blur kernels, blurred frames and MATLAB's resize: goldens, SciPy, properties."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError, UsageError
from restore_cli.training.degradations import blur, blur_kernels, kernel_resampling, matlab_resize


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("sigma", ["0.4", "0.8", "1.2", "2.0"])
def test_gaussian_kernels_match(golden, sigma):
    expected = golden("blur_kernels", "vsr")[f"gauss_{sigma}_f64"]
    found = blur_kernels.gaussian(float(sigma))
    assert found.shape == expected.shape and relative(found, expected) < 1e-12


def test_the_published_test_kernel(golden):
    expected = golden("blur_kernels", "vsr")["script_gaussian_f64"]
    assert relative(blur_kernels.gaussian(blur_kernels.TEST_SIGMA), expected) < 1e-12


def test_sizes_of_all_training_widths():
    sizes = [blur_kernels.gaussian_size(sigma) for sigma in blur_kernels.SIGMAS]
    assert blur_kernels.SIGMAS[0] == 0.4 and blur_kernels.SIGMAS[-1] == 2.0 and len(sizes) == 17
    assert sizes == [5, 5, 5, 7, 7, 7, 7, 9, 9, 9, 11, 11, 11, 13, 13, 13, 13]
    assert blur_kernels.gaussian_size(0.1 * 10 / 3) == 3


@pytest.mark.parametrize("name", ["r0", "r1"])
def test_realistic_kernels_match_at_every_stage(golden, name):
    case = golden("blur_kernels", "vsr")
    draws = blur_kernels.Draws.of(case[f"{name}_uniforms_f64"], case[f"{name}_noise_uniform_f64"])
    raw = blur_kernels.raw(draws)
    assert relative(raw, case[f"{name}_raw31_f64"]) < 1e-12
    assert relative(blur_kernels.centred(raw), case[f"{name}_centred31_f64"]) < 1e-10
    final = blur_kernels.realistic(draws)
    assert relative(final, case[f"{name}_kernel13_f64"]) < 1e-6
    assert final.min() >= 0 and final.sum() == pytest.approx(1, abs=1e-12)
    # Half a sample off in 31 is a fifth of one in 13.
    assert blur_kernels.centre_of_mass(final) == pytest.approx((6.2, 6.2), abs=0.1)


def test_draws_come_in_the_published_order():
    def rand(random):
        return Draws.of(np.array([random.rand() for _ in range(3)]), random.rand(31, 31))

    Draws = blur_kernels.Draws
    expected = rand(np.random.RandomState(7))
    found = blur_kernels.draw(np.random.RandomState(7))
    assert (found.first, found.second, found.angle) == (
        expected.first, expected.second, expected.angle)
    assert np.array_equal(found.noise, expected.noise)
    assert 2.4 <= found.first <= 20 and 0 <= found.angle <= np.pi
    assert np.abs(found.noise).max() <= 0.25


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -1.7), (-2.5, 4.0), (1e-9, 0.999)])
def test_spline_shift_is_scipy_s(shift):
    ndimage = pytest.importorskip("scipy.ndimage")
    array = np.random.default_rng(3).random((31, 23))
    expected = ndimage.shift(array, shift)
    assert np.allclose(kernel_resampling.spline_shift(array, shift), expected, atol=1e-12)


def test_cubic_resize_takes_point_samples():
    line = np.linspace(0, 1, 31)[:, None] * np.ones((1, 5))
    found = kernel_resampling.cubic_resize(line, (13, 5))
    places = (np.arange(13) + 0.5) * 31 / 13 - 0.5
    # a = -0.75 reproduces constants exactly and lines nearly: 0.75 / 8 of a step at the most.
    assert np.abs(found[1:-1, 0] - places[1:-1] / 30).max() < 0.1 / 30
    assert np.allclose(kernel_resampling.cubic_resize(np.ones((9, 9)), (4, 7)), 1)


def test_test_frames_match_to_the_last_bit(golden):
    case = golden("degradation", "vsr")
    for kind in ("gauss", "real"):
        found = blur.low_resolution(case["hr_u8"], case[f"kernel_{kind}_f64"])
        assert found.dtype == np.uint8 and np.array_equal(found, case[f"lr_script_{kind}_u8"])
    whole = blur.low_resolution(case["hr_u8"], case["kernel_real_f64"], 1)
    assert np.array_equal(whole, case["blur_only_real_u8"])


def test_training_frames_are_neither_rounded_nor_clipped(golden):
    case = golden("degradation", "vsr")
    found = blur.blurred(case["hr_u8"], case["kernel_real_f64"], 4)
    assert relative(found, case["lr_train_real"]) < 1e-5
    high = blur.blurred(np.full((8, 8), 300.0), np.ones((3, 3)) / 9)
    assert np.allclose(high, 300)


def test_smoothness_matches(golden):
    case = golden("degradation", "vsr")
    assert blur.smoothness(case["hr_u8"]) == pytest.approx(float(case["cal_smooth_f64"]))
    assert blur.smoothness(np.full((9, 9, 3), 17.0)) == 0


def test_kernels_are_correlated_not_convolved_and_keep_phase_0():
    frame = np.zeros((12, 12))
    frame[4, 8] = 1
    kernel = np.arange(9.0).reshape(3, 3)
    out = blur.blurred(frame, kernel)
    assert np.array_equal(out[3:6, 7:10], kernel[::-1, ::-1])
    assert np.array_equal(blur.blurred(frame, kernel, 4), out[::4, ::4])
    assert blur.blurred(frame[:11, :9], kernel, 4).shape == (3, 3)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_bands_do_not_show(step, monkeypatch):
    rng = np.random.default_rng(2)
    frame, kernel = rng.random((37, 11, 3)), rng.random((5, 5))
    whole = blur.blurred(frame, kernel, step)
    for rows in (1, 2, 7):
        monkeypatch.setattr(blur, "_BAND", rows)
        assert np.allclose(blur.blurred(frame, kernel, step), whole, atol=1e-12)


def test_sixteen_bits_stay():
    frame = np.random.default_rng(0).integers(0, 65536, (9, 10, 3)).astype(np.uint16)
    found = blur.low_resolution(frame, blur_kernels.gaussian(1.0))
    assert found.dtype == np.uint16 and found.shape == (3, 3, 3) and found.max() > 255


def test_training_kernels_of_both_modes():
    rng = np.random.default_rng(1)
    for mode, sizes in (("gaussian", {5, 7, 9, 11, 13}), ("realistic", {13})):
        kernels = [blur_kernels.training_kernel(mode, rng) for _ in range(60)]
        assert {kernel.shape[0] for kernel in kernels} == sizes
        for kernel in kernels:
            assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
    first = [blur_kernels.training_kernel("realistic", np.random.default_rng(5)) for _ in "ab"]
    assert np.array_equal(*first)


def test_impossible_kernels_are_refused():
    for sigma in (0, -1, float("nan"), float("inf"), 51):
        with pytest.raises(UsageError, match="sigma"):
            blur_kernels.gaussian(sigma)
    with pytest.raises(ShapeError):
        blur_kernels.gaussian(1.0, 4)
    with pytest.raises(UsageError, match="motion"):
        blur_kernels.training_kernel("motion", np.random.default_rng(0))
    with pytest.raises(ShapeError):
        blur.blurred(np.zeros((5, 5)), np.ones((2, 2)))
    with pytest.raises(TypeError):
        blur.low_resolution(np.zeros((5, 5)), np.ones((1, 1)))


def test_matlab_resize_matches(golden):
    case = golden("imresize", "vsr")
    image = case["img_u8"]
    for name, scale in (("up4", 4), ("down4", 0.25)):
        assert np.array_equal(matlab_resize.resize(image, scale=scale), case[f"{name}_u8"])
        found = matlab_resize.resize(image.astype(np.float64), scale=scale)
        assert relative(found, case[f"{name}_f64"]) < 1e-12
    wide = matlab_resize.resize(image.astype(np.float64), (7, 20))
    assert relative(wide, case["to_shape_f64"]) < 1e-12
    linear = matlab_resize.resize(image.astype(np.float64), scale=3, method="bilinear")
    assert relative(linear, case["up3_bilinear_f64"]) < 1e-12


def test_matlab_resize_refuses():
    image = np.zeros((4, 4))
    with pytest.raises(UsageError):
        matlab_resize.resize(image)
    with pytest.raises(UsageError):
        matlab_resize.resize(image, (2, 2), method="lanczos")
    with pytest.raises(ShapeError):
        matlab_resize.resize(image, (0, 2))
