"""PSNR and SSIM: goldens, scikit-image, values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.evaluation import metrics


def _pair(height=61, width=47, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.random((height, width, channels))
    noisy = np.clip(reference + 0.1 * rng.standard_normal(reference.shape), 0, 1)
    return noisy, reference


def test_constant_difference_worked_by_hand():
    black = np.zeros((5, 7, 3))
    assert metrics.psnr(black + 0.1, black) == pytest.approx(20.0)
    assert metrics.psnr(black + 25.5, black, peak=255) == pytest.approx(20.0)
    # White against black in luma: 219.859/256 of full scale.
    assert metrics.psnr_y(black + 1, black) == pytest.approx(-20 * np.log10(219.859 / 256))


def test_equal_images_are_infinitely_close():
    image, _ = _pair()
    assert metrics.psnr(image, image) == float("inf")
    assert metrics.psnr_y(image, image) == float("inf")
    assert metrics.ssim(image, image) == pytest.approx(1.0)


def test_luma_of_black_and_white_is_studio_range():
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    np.testing.assert_allclose(metrics.rgb_to_y(ends)[0] * 255, [16, 235], atol=2e-3)


def test_integers_stand_for_their_whole_range():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    expected = metrics.psnr(a / 255, b / 255)
    assert metrics.psnr(a, b) == pytest.approx(expected)
    assert metrics.psnr(a.astype(np.uint16) * 257, b) == pytest.approx(expected)
    assert metrics.ssim(a, b) == pytest.approx(metrics.ssim(a / 255, b / 255))


@pytest.mark.parametrize("height", [255, 256, 257, 266, 267, 600])
def test_bands_do_not_show(height):
    """Heights around the band size give what scikit-image computes in one piece."""
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    noisy, reference = _pair(height, 23, 1)
    expected = structural_similarity(noisy[..., 0], reference[..., 0], gaussian_weights=True,
                                     sigma=1.5, use_sample_covariance=False, data_range=1.0)
    assert metrics.ssim(noisy, reference) == pytest.approx(expected, abs=1e-12)
    assert metrics.psnr(noisy, reference) == pytest.approx(
        -10 * np.log10(np.mean((noisy - reference) ** 2)))


def test_ssim_matches_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    noisy, reference = _pair()
    expected = skimage.structural_similarity(noisy, reference, channel_axis=2, data_range=1.0,
                                             **options)
    assert metrics.ssim(noisy, reference) == pytest.approx(expected, abs=1e-12)
    expected = skimage.structural_similarity(
        metrics.rgb_to_y(noisy)[4:-4, 4:-4], metrics.rgb_to_y(reference)[4:-4, 4:-4],
        data_range=1.0, **options)
    assert metrics.ssim_y(noisy, reference, border=4) == pytest.approx(expected, abs=1e-12)


def test_affine_fit_forgives_contrast_and_only_contrast():
    noisy, reference = _pair()
    plain = metrics.psnr_affine(noisy, reference, peak=1.0)
    assert plain >= metrics.psnr(noisy, reference)
    assert metrics.psnr_affine(0.3 * noisy - 7, reference, peak=1.0) == pytest.approx(plain)
    assert metrics.psnr_affine(5 - 2 * reference, reference) > 250
    # A constant image explains nothing: what is left is the reference's variance.
    flat = metrics.psnr_affine(np.ones_like(reference), reference, peak=1.0)
    assert flat == pytest.approx(-10 * np.log10(reference.var()))


def test_affine_fit_matches_lstsq():
    noisy, reference = _pair(seed=5)
    noisy = 0.5 * noisy + 0.2
    design = np.stack([noisy.ravel(), np.ones(noisy.size)], axis=1)
    (gain, offset), *_ = np.linalg.lstsq(design, reference.ravel(), rcond=None)
    assert metrics.psnr_affine(noisy, reference, peak=1.0) == pytest.approx(
        metrics.psnr(gain * noisy + offset, reference), abs=1e-9)


def test_shave_cuts_each_side_and_refuses_to_leave_nothing():
    image = np.arange(35).reshape(5, 7)
    assert metrics.shave(image, 2).tolist() == [[16, 17, 18]]
    assert metrics.shave(image, 0) is not None and metrics.shave(image, 0).shape == (5, 7)
    with pytest.raises(ShapeError, match="more than 6 pixels"):
        metrics.shave(image, 3)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.psnr_y, metrics.psnr_affine,
                                    metrics.ssim, metrics.ssim_y])
def test_different_shapes_are_refused(metric):
    with pytest.raises(ShapeError, match=r"\(20, 20, 3\)"):
        metric(np.zeros((20, 21, 3)), np.zeros((20, 20, 3)))


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ShapeError, match="at least 11"):
        metrics.ssim(np.zeros((10, 40)), np.zeros((10, 40)))


def test_quantise_rounds_half_up_and_clips():
    values = np.array([-0.2, 0.5 / 255, 1.49 / 255, 1.5 / 255, 2.0])
    np.testing.assert_allclose(metrics.quantise(values) * 255, [0, 1, 1, 2, 255])


def test_affine_fit_on_real_micrographs(shared_data):
    """The published figure for ten noisy wide-field images against their averages."""
    tifffile = pytest.importorskip("tifffile")
    scores = []
    for path in sorted((shared_data / "micro" / "w2s").glob("noisy_*.tif")):
        noisy = tifffile.imread(path)
        target = tifffile.imread(path.with_name(path.name.replace("noisy", "target")))
        scores.append(metrics.psnr_affine(noisy, target))
    assert len(scores) == 10
    assert np.mean(scores) == pytest.approx(18.72, abs=0.006)
    assert scores[0] == pytest.approx(16.38, abs=0.006)
