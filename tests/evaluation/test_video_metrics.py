"""Scores of video frames: goldens, rounding, means."""

from __future__ import annotations

import math

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.evaluation import video_metrics


@pytest.fixture
def case(golden):
    return golden("metrics", "vsr")


def test_published_protocol(case):
    pair = case["pred_u8"], case["gt_u8"]
    assert video_metrics.psnr(*pair) == pytest.approx(float(case["psnr_f64"]), abs=1e-10)
    assert video_metrics.ssim(*pair) == pytest.approx(float(case["ssim_f64"]), abs=1e-12)
    assert video_metrics.psnr(*pair, border=0) == pytest.approx(
        float(case["psnr_nocrop_f64"]), abs=1e-10)
    assert video_metrics.ssim(*pair, border=0) == pytest.approx(
        float(case["ssim_nocrop_f64"]), abs=1e-12)


def test_validation_scores_floats_as_they_are(case):
    pair = [video_metrics.from_bytes(case[name]) for name in ("pred_u8", "gt_u8")]
    assert video_metrics.psnr(*pair) == pytest.approx(float(case["train_calc_psnr_f64"]), abs=1e-5)
    beyond = np.full((20, 20, 3), 1.5, np.float32)
    # Not clipped to 1: half of the range off.
    assert video_metrics.psnr(beyond, beyond - 0.5) == pytest.approx(20 * math.log10(2))


def test_grey_frames(case):
    grey = [case[name][..., 0] for name in ("pred_u8", "gt_u8")]
    assert video_metrics.ssim(*grey, border=0) == pytest.approx(
        float(case["ssim_gray_f64"]), abs=1e-12)


def test_bytes_and_back(case):
    found = video_metrics.to_bytes(case["post_in"])[0].transpose(1, 2, 0)
    assert np.array_equal(found, case["post_out_u8"])
    planes = case["pre_out"][0].transpose(0, 2, 3, 1)
    assert np.array_equal(video_metrics.from_bytes(case["gt_u8"]), planes[0])
    assert np.array_equal(video_metrics.from_bytes(case["pred_u8"]), planes[1])
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(video_metrics.to_bytes(video_metrics.from_bytes(every)), every)


def test_clips_and_sets():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 24, 25, 3), dtype=np.uint8)
    long, short = video_metrics.ClipScore("long"), video_metrics.ClipScore("short")
    for number in (0, 1):
        long.add(str(number), frames[number], frames[2])
    short.add("0", frames[1], frames[2])
    assert long.frames == ["0", "1"] and long.mean[0] == pytest.approx(np.mean(long.psnr))
    mean = video_metrics.total([long, short])
    assert mean[0] == pytest.approx((sum(long.psnr) + short.psnr[0]) / 3)
    assert mean[1] == pytest.approx((sum(long.ssim) + short.ssim[0]) / 3)
    assert all(math.isnan(value) for value in video_metrics.total([]))
    short.add("1", frames[2], frames[2])
    assert short.mean[0] == math.inf


def test_what_cannot_be_compared():
    clip = video_metrics.ClipScore("x")
    grey = np.zeros((30, 30), np.uint8)
    with pytest.raises(ShapeError):
        clip.add("0", grey, grey[:, :29])
    with pytest.raises(ShapeError):
        video_metrics.psnr(grey[:8], grey[:8])
    assert clip.frames == [] and clip.psnr == []
