"""When noise counts as white and Gaussian, which decides how networks are trained on it."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.jobs.denoise_report import Measure
from restore_cli.training.datasets import synthetic


@pytest.fixture(scope="module")
def picture():
    return synthetic.dead_leaf(5, 0, 256)[None, ..., 1].astype(np.float32) * 0.8 + 25


def _sigma(noisy, top=255.0):
    return Measure().arrays(noisy.astype(np.float32), None, top).gaussian


def test_white_gaussian_noise(picture):
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    assert _sigma(picture + noise) == pytest.approx((20,), rel=0.1)


def test_what_is_something_else(picture):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 20, picture.shape)
    assert _sigma(picture) is None
    assert _sigma(rng.poisson(picture / 8) * 8) is None
    smooth = (noise + np.roll(noise, 1, axis=2) + np.roll(noise, 1, axis=1)) / 1.5
    assert _sigma(picture + smooth) is None
    hot = rng.random(picture.shape) < 0.01
    assert _sigma(np.where(hot, 255, picture + noise / 4)) is None
    assert _sigma(np.where(hot, 0, 200) + noise * 0) is None
    assert _sigma(np.rint(picture + noise), top=255.0) is not None


def test_parts_with_the_same_noise_share_it():
    from restore_cli.jobs.denoise_network import Units
    from restore_cli.jobs.denoise_train import Part, Patches

    def part(sigma, std=10.0):
        units = Units(np.zeros(1, np.float32), np.full(1, std, np.float32))
        return Part((8, 8), units, lambda *where: None, sigma=sigma)

    assert Patches([part((5.0,)), part((5.2,))], 1).sigma == pytest.approx((0.51,))
    assert Patches([part((5.0,)), part((5.0,), 20.0)], 1).sigma is None
    assert Patches([part((5.0,)), part(None)], 1).sigma is None


def test_places_where_noise_is_cut_off():
    from restore_cli.jobs import denoise_pictures
    from restore_cli.jobs.denoise_network import Normalisation
    from restore_cli.media.images import Image
    from restore_cli.media.metadata import Metadata

    clean = np.full((96, 96), 120.0)
    clean[:, :40] = 5
    noisy = clean + np.random.default_rng(0).normal(0, 15, clean.shape)
    pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None]
    picture = denoise_pictures.prepare(Image(pixels, "grey", Metadata(), "PNG", 8))
    findings = Measure().picture(picture)
    assert findings.piled[0] > 0.1 and findings.piled[1] == 0
    part = denoise_pictures.part_of(picture, Normalisation(), findings)
    biased = part.biased(slice(0, 96), slice(0, 96))[0]
    assert biased[:, :36].all() and not biased[:, 46:].any()
    assert part.keep is None
