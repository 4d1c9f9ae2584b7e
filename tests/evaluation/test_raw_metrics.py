"""Metrics of raw planes against reference numbers."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.evaluation import raw_metrics as rm


@pytest.fixture
def pair(golden):
    case = golden("metrics", "led")
    return lambda i: (case, case["img"][i], case["gt"][i])


@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize("border", [0, 2])
def test_four_plane_metrics_are_the_reference_ones(pair, i, border):
    case, image, truth = pair(i)
    assert rm.psnr4(image, truth, border=border) == pytest.approx(
        case[f"psnr_pt_crop{border}_f64"][i], abs=1e-4)
    assert rm.ssim4(image, truth, border=border) == pytest.approx(
        case[f"ssim_pt_crop{border}_f64"][i], abs=1e-6)


@pytest.mark.parametrize("i", [0, 1])
def test_eight_bit_metrics_are_the_reference_ones(pair, i):
    case, image, truth = pair(i)
    # The reference keeps the planes in the order B, G1, R.
    assert np.array_equal(rm.eight_bit(image)[..., ::-1], case["u8_img"][i])
    assert np.array_equal(rm.eight_bit(truth)[..., ::-1], case["u8_gt"][i])
    assert rm.psnr_u8(image, truth) == pytest.approx(case["psnr_u8_crop0_f64"][i], abs=1e-4)
    assert rm.ssim_u8(image, truth) == pytest.approx(case["ssim_u8_crop0_f64"][i], abs=1e-6)
    assert rm.psnr_u8_y(image, truth) == pytest.approx(case["psnr_u8_y_f64"][i], abs=1e-4)


@pytest.mark.parametrize("i", [0, 1])
def test_illuminance_correction_is_the_reference_one(golden, i):
    case = golden("illuminance", "led")
    corrected, factor = rm.illuminance_correction(case["pred"][i], case["source"][i])
    assert factor == pytest.approx(case["factor"][i], rel=1e-5)
    assert np.abs(corrected - case["out"][i]).max() <= 1e-5


def test_correction_finds_the_factor_and_skips_saturated_pixels():
    truth = np.random.default_rng(0).uniform(0.1, 0.6, (4, 8, 8)).astype(np.float32)
    image = truth / 1.25
    truth[0, :2], image[0, :2] = 1.0, 0.3
    corrected, factor = rm.illuminance_correction(image, truth)
    assert factor == pytest.approx(1.25, rel=1e-5)
    assert np.allclose(corrected[1:], truth[1:], atol=1e-6)


def test_a_black_image_stays_black():
    corrected, factor = rm.illuminance_correction(np.zeros((4, 3, 3)), np.full((4, 3, 3), 0.5))
    assert factor == 1 and not corrected.any()


def test_equal_images_have_eighty_decibels():
    planes = np.random.default_rng(1).random((4, 20, 20))
    assert rm.psnr4(planes, planes) == pytest.approx(80.0)
    assert rm.ssim4(planes, planes) == pytest.approx(1.0)


def test_the_second_green_counts_for_four_planes_only(pair):
    _, image, truth = pair(0)
    worse = image.copy()
    worse[3] = 0
    assert rm.psnr4(worse, truth) < rm.psnr4(image, truth) - 3
    assert rm.psnr_u8(worse, truth) == rm.psnr_u8(image, truth)


def test_wrong_shapes_are_refused():
    planes = np.zeros((4, 20, 20))
    for wrong in (planes[:3], planes[:, :10]):
        with pytest.raises(ShapeError):
            rm.psnr4(wrong, planes)
        with pytest.raises(ShapeError):
            rm.illuminance_correction(wrong, planes)
    with pytest.raises(ShapeError):
        rm.psnr4(planes[:, :4, :4], planes[:, :4, :4])
    with pytest.raises(ShapeError):
        rm.ssim4(planes[:, :14], planes[:, :14])
