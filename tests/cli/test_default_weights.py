"""The shipped network, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ExitStatus
from restore_cli.evaluation import metrics
from restore_cli.weights.store import SHIPPED, Store

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def test_shipped_files_are_small_and_as_the_manifest_says(tmp_path):
    for name, entry in Store(tmp_path).manifest.entries.items():
        if entry.shipped:
            path = SHIPPED / entry.shipped
            assert path.stat().st_size <= 2_000_000, name
            assert len(entry.sha256) == 64, name
            assert path.with_suffix(".md").is_file(), f"{name} has no model card"
            (checked,) = Store(tmp_path).verify([name])
            assert (checked.state, checked.detail) == ("shipped", "")


@pytest.mark.parametrize("scale, gain", [(2, 2.5), (3, 1.5), (4, 1.0)])
def test_photograph_is_enlarged_better_than_by_bicubic(engine, restore, tmp_path, scale, gain):
    photo = Image.open(PHOTOS / "astronaut.png").convert("RGB").crop((130, 20, 322, 212))
    small = photo.resize((192 // scale, 192 // scale), Image.BICUBIC)
    small.save(tmp_path / "small.png")
    status, _, err = restore("upscale", tmp_path / "small.png", "--scale", scale, "-o",
                             tmp_path / "large.png", "--device", "cpu")
    assert status == ExitStatus.OK, err
    true, ours, plain = (np.asarray(p, np.float64) / 255 for p in (
        photo, Image.open(tmp_path / "large.png"), small.resize((192, 192), Image.BICUBIC)))
    assert metrics.psnr(ours, true) > metrics.psnr(plain, true) + gain
    # No colour cast: each channel keeps its mean.
    np.testing.assert_allclose(ours.mean((0, 1)), plain.mean((0, 1)), atol=2 / 255)
