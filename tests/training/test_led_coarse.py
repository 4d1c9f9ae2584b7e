"""The loss of averages over areas."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("size", [(40, 56), (33, 70), (5, 90)])
def test_averages_are_those_of_whole_squares(engine, size):
    import jittor as jt

    from restore_cli.training.led import averages

    x = np.random.default_rng(0).standard_normal((2, 4, *size)).astype(np.float32)
    found = averages(jt.array(x), 8).numpy()
    rows = min(8, size[0])
    assert found.shape == (2, 4, size[0] // rows, size[1] // 8)
    for row in range(found.shape[2]):
        for column in range(found.shape[3]):
            part = x[:, :, row * rows:(row + 1) * rows, column * 8:(column + 1) * 8]
            np.testing.assert_allclose(found[:, :, row, column], part.mean(axis=(2, 3)), atol=1e-6)


def test_noise_costs_little_and_a_cast_costs_more(engine):
    """Of errors of one size, those that stay over an area weigh three times as much."""
    from restore_cli.training.datasets.raw_pairs import RawBatch
    from restore_cli.training.led import LedRecipe

    shape = (1, 4, 64, 64)
    recipe = LedRecipe("led-unet", {"channels": 1, "repnr": None}, None, (), {"seed": 0}, {},
                       coarse=1.0)
    recipe.network = lambda x: x
    signs = np.where(np.indices((64, 64)).sum(axis=0) % 2, 0.1, -0.1).astype(np.float32)
    checks = np.broadcast_to(signs, shape).copy()
    zeros = np.zeros(shape, np.float32)
    assert recipe.loss(RawBatch(checks, zeros)).item() == pytest.approx(0.1, rel=1e-3)
    cast = recipe.loss(RawBatch(zeros + np.float32(0.1), zeros)).item()
    assert cast == pytest.approx(0.3, rel=1e-3)
