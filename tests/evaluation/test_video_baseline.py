"""Phase-aligned enlargement."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ShapeError
from restore_cli.evaluation import video_baseline, video_metrics


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_given_pixels_stay_and_lines_stay_straight(scale):
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    large = video_baseline.enlarge(frame, scale)
    assert large.shape == (7 * scale, 9 * scale, 3)
    assert np.allclose(large[::scale, ::scale], frame)
    line = video_baseline.enlarge(np.outer(np.arange(12.0), np.ones(5)), scale)
    inner = line[scale:-3 * scale, 0]
    assert np.allclose(inner, np.arange(scale, 9 * scale) / scale)


def test_wrong_shapes():
    with pytest.raises(ShapeError):
        video_baseline.enlarge(np.zeros((0, 4)))
    with pytest.raises(ShapeError):
        video_baseline.enlarge(np.zeros((2, 3, 4, 4)))


@pytest.mark.parametrize("sigma, sharp", [("1.6", 18.74), ("1.5", 18.79)])
def test_published_frames(shared_data, sigma, sharp):
    """Figures that were computed independently over the twelve of these files."""
    folder = shared_data / "video"

    def score(frame, high):
        return video_metrics.psnr(np.clip(frame, 0, 255) / 255, high, border=8)

    scores = []
    for path in sorted((folder / "vid4_calendar_gt").glob("*.png")):
        high = np.asarray(Image.open(path)) / 255
        low = Image.open(folder / f"vid4_calendar_lr_sigma{sigma}" / path.name)
        soft, hard = (video_baseline.enlarge(np.asarray(low), 4, slope)
                      for slope in (video_baseline.SOFT, video_baseline.SHARP))
        edges = np.asarray(low.resize((high.shape[1], high.shape[0]), Image.BICUBIC), float)
        scores.append([score(frame, high) for frame in (edges, soft, hard)])
    edges, soft, hard = np.mean(scores, 0)
    assert edges == pytest.approx(17.41, abs=0.02)
    assert hard == pytest.approx(sharp, abs=0.02)
    assert edges + 1.15 < soft < hard
