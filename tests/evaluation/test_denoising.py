"""Protocols of denoising: made noise, cutting, rounding, scores; against goldens and theory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import denoising
from restore_cli.evaluation.denoising import PROTOCOLS
from restore_cli.evaluation.denoising_cases import MadeNoise, NoisyCase

BSD68, COLOUR, SOURCE, PAIRS = (PROTOCOLS[name] for name in ("bsd68", "colour", "source", "pairs"))


def _published(golden, name):
    metrics = Path(__file__).parents[1] / "data" / "n2v" / f"{name}.metrics.json"
    return golden(name, "n2v"), json.loads(metrics.read_text())


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _picture(height=40, width=56, channels=1, seed=0):
    """Smooth 8-bit pixels, (H, W) or (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, channels)
    waves = 0.5 + 0.4 * np.sin(x[..., None] / 6 + y[..., None] / 9 + phase)
    pixels = np.round(waves * 255).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def _gaussian(path, sigma=25.0):
    return NoisyCase("set", path.stem, path, noise=MadeNoise("gaussian", sigma))


def box_blur(planes, white):
    """A denoiser that needs no network: the mean of 3x3 pixels."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = planes.shape[1:]
    return sum(padded[:, i:i + height, j:j + width] for i in range(3) for j in range(3)) / 9


def test_pair_of_8_bit_images_scores_as_published(golden):
    """`metrics_a`: PSNR of peak 255 and SSIM of the 11x11 Gaussian window."""
    case, published = _published(golden, "metrics_a")
    planes = [case[name][None].astype(np.float32) for name in "ba"]
    score = BSD68.score(*planes, 255.0)
    assert score.psnr == pytest.approx(published["psnr_255"], abs=1e-6)
    assert score.ssim == pytest.approx(published["ssim_gauss11_valid"], abs=1e-6)
    # The log's forms, with the range of the prediction, are another thing.
    by_range = BSD68.score(*planes[::-1], float(np.ptp(planes[0])))
    assert by_range.psnr == pytest.approx(published["val_psnr_pred_range"], abs=1e-3)
    assert abs(by_range.psnr - score.psnr) > 0.5


def test_truncating_rounding_and_leaving_floats_differ_as_published(golden):
    """`unet_real25_camera`: the real network's output ended in the three ways."""
    case, published = _published(golden, "unet_real25_camera")
    clean = case["clean"][None].astype(np.float32)
    output = case["output"][0] * np.float32(255)
    kind = np.dtype(np.uint8)
    truncated = SOURCE.finish(output, np.dtype(np.float32), 255.0)
    np.testing.assert_array_equal(truncated[0], case["output_u8_trunc"])
    rounded = PAIRS.finish(output, kind, 255.0)
    np.testing.assert_array_equal(rounded[0], case["output_u8_round"])
    assert BSD68.finish(output, kind, 255.0) is output
    for values, name in ((truncated, "trunc"), (rounded, "round"), (output, "float"),
                         (case["noisy"][0] * np.float32(255), "noisy")):
        score = BSD68.score(values, clean, 255.0)
        assert score.psnr == pytest.approx(published[f"psnr_{name}"], abs=1e-3), name
        if f"ssim_{name}" in published:
            assert score.ssim == pytest.approx(published[f"ssim_{name}"], abs=1e-4), name


def test_float_files_are_not_rounded():
    values = np.array([[[-0.2, 0.34, 1.7]]], np.float32)
    np.testing.assert_array_equal(PAIRS.finish(values, np.dtype(np.float32), 1.0), values)
    np.testing.assert_array_equal(PAIRS.finish(values, np.dtype(np.uint16), 65535.0),
                                  [[[0, 0, 2]]])


@pytest.mark.parametrize(("sigma", "expected"), [(10, 28.13), (25, 20.17), (50, 14.15)])
def test_noisy_images_score_what_theory_says(tmp_path, sigma, expected):
    """-20 log10(sigma / 255), which holds only without clipping and rounding."""
    pixels = np.zeros((300, 300), np.uint8)  # black: a clipped draw would score 3 dB better
    result = denoising.evaluate(_gaussian(_save(tmp_path / "a.png", pixels), sigma), None, BSD68)
    assert result.baseline.psnr == pytest.approx(expected, abs=0.04)
    assert result.model is None and result.seconds == 0


def test_noise_depends_on_name_and_seed_alone(tmp_path):
    clean = _save(tmp_path / "a.png", _picture())
    other = _save(tmp_path / "b.png", _picture())
    draw = [denoising.load(case, BSD68, seed=seed).noisy for case, seed in (
        (_gaussian(clean), 0), (_gaussian(clean), 0), (_gaussian(clean), 1), (_gaussian(other), 0),
        (_gaussian(clean, 50), 0))]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert np.abs(draw[0] - draw[2]).mean() > 10 and np.abs(draw[0] - draw[3]).mean() > 10
    # Another strength is the same draw, scaled.
    planes = _picture()[None].astype(np.float32)
    np.testing.assert_allclose(draw[4] - planes, 2 * (draw[0] - planes), atol=1e-3)


def test_poisson_noise_has_the_variance_of_its_photons():
    flat = np.full((1, 200, 200), 128, np.float32)
    noisy = MadeNoise("poisson", 30).add(flat, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(128, rel=0.01)
    assert noisy.var() == pytest.approx(128 * 255 / 30, rel=0.05)
    counts = noisy * 30 / 255
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)


def test_colour_is_made_grey_or_kept(tmp_path):
    pixels = _picture(channels=3)
    case = _gaussian(_save(tmp_path / "a.png", pixels))
    grey = denoising.load(case, BSD68)
    np.testing.assert_array_equal(grey.clean[0], np.asarray(Image.fromarray(pixels).convert("L")))
    colour = denoising.load(case, COLOUR)
    assert grey.clean.shape == (1, 40, 56) and colour.clean.shape == (3, 40, 56)
    noise = (colour.noisy - colour.clean).reshape(3, -1)
    assert np.abs(np.corrcoef(noise)[np.triu_indices(3, 1)]).max() < 0.1


@pytest.mark.parametrize("size", [(321, 481), (481, 321), (100, 700), (320, 480)])
def test_source_crop_is_pillows(size):
    pixels = np.random.default_rng(0).integers(1, 256, size, dtype=np.uint8)
    left, top = (size[1] - 480) // 2, (size[0] - 320) // 2
    expected = Image.fromarray(pixels).crop((left, top, left + 480, top + 320))
    np.testing.assert_array_equal(denoising.centre(pixels, denoising.SOURCE_SIZE),
                                  np.asarray(expected))


def test_upright_images_of_the_source_protocol_have_noisy_black_bars(tmp_path):
    path = _save(tmp_path / "a.png", np.full((481, 321), 200, np.uint8))
    data = denoising.load(_gaussian(path), SOURCE)
    assert data.clean.shape == (1, 320, 480)
    assert not data.clean[:, :, :80].any() and not data.clean[:, :, -79:].any()
    assert (data.clean[:, :, 80:-79] == 200).all()
    assert data.noisy[:, :, :80].std() == pytest.approx(25, rel=0.05)


def test_a_blur_gains_and_is_given_untouched_values(tmp_path):
    seen = []

    def blur(planes, white):
        seen.append((planes.copy(), white))
        planes += 1000  # what the denoiser does to its copy must not matter
        return box_blur(planes - 1000, white)

    case = _gaussian(_save(tmp_path / "a.png", _picture(80, 80)), 50)
    kept = []
    result = denoising.evaluate(case, blur, BSD68, keep=lambda *found: kept.append(found))
    (planes, white), = seen
    assert white == 255 and planes.dtype == np.float32 and planes.min() < 0
    assert result.model.psnr > result.baseline.psnr + 5
    assert result.model.ssim > result.baseline.ssim and result.seconds > 0
    assert result.size == (80, 80) and kept[0][0] is case and kept[0][1].shape == (1, 80, 80)


def test_a_denoiser_of_another_shape_is_a_bug(tmp_path):
    case = _gaussian(_save(tmp_path / "a.png", _picture()))
    with pytest.raises(ShapeError, match="restored image"):
        denoising.evaluate(case, lambda planes, white: planes[:, 1:], BSD68)


def _pair(tmp_path, noisy, clean):
    return NoisyCase("set", "a", _save(tmp_path / "clean.png", clean),
                     _save(tmp_path / "noisy.png", noisy))


def test_pairs_forgive_contrast_in_the_affine_score_only(tmp_path):
    clean = _picture(60, 60)
    result = denoising.evaluate(_pair(tmp_path, clean // 2 + 20, clean), None, PAIRS)
    assert result.baseline.psnr < 20 < 50 < result.baseline.affine
    assert result.peak == 255


def test_pairs_of_16_bits_are_scored_on_the_references_range(tmp_path):
    rng = np.random.default_rng(0)
    clean = (1000 + 8 * _picture(64, 64).astype(np.uint16))
    noisy = (clean + rng.normal(0, 60, clean.shape)).astype(np.uint16)
    case = _pair(tmp_path, noisy, clean)
    result = denoising.evaluate(case, box_blur, PAIRS)
    assert result.peak == float(np.ptp(clean))
    assert result.baseline.psnr == pytest.approx(20 * np.log10(result.peak / 60), abs=0.2)
    assert result.model.affine > result.baseline.affine + 3
    full = denoising.evaluate(case, None, PAIRS, peak=65535)
    assert full.peak == 65535 and full.baseline.psnr > result.baseline.psnr + 20


def test_pairs_may_differ_in_depth(tmp_path):
    clean = _picture(48, 48)
    result = denoising.evaluate(_pair(tmp_path, clean.astype(np.uint16) * 257, clean),
                                lambda planes, white: planes * 1, PAIRS)
    assert result.baseline.psnr > 100 and result.model.psnr > 100


def test_grey_stored_as_colour_pairs_with_grey(tmp_path):
    clean = _picture(48, 48)
    seen = []

    def look(planes, white):
        seen.append(planes.shape)
        return planes

    result = denoising.evaluate(_pair(tmp_path, np.stack([clean] * 3, axis=-1), clean), look, PAIRS)
    assert seen == [(1, 48, 48)] and result.baseline.psnr == float("inf")


@pytest.mark.parametrize(("noisy", "words"), [
    (_picture(48, 40), "40x48 grey, but clean.png is 48x48 grey"),
    (_picture(48, 48, 3), "48x48 colour, but clean.png is 48x48 grey"),
])
def test_pairs_that_do_not_fit_are_refused_with_both_sizes(tmp_path, noisy, words):
    with pytest.raises(InputError, match=words):
        denoising.evaluate(_pair(tmp_path, noisy, _picture(48, 48)), None, PAIRS)


def test_small_images_have_no_ssim(tmp_path):
    result = denoising.evaluate(_gaussian(_save(tmp_path / "a.png", _picture(9, 30))), None, BSD68)
    assert result.baseline.ssim is None and result.baseline.psnr > 0
