"""Adam as one operator for all parameters, against the formula and the stock operators."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("engine")

SHAPES = [(1,), (3, 5), (16, 16, 3, 3), (7,), (2, 1, 1)]
FACTORS = {"1": 0.1, "3": 0.0}


def _train(shapes, fused, steps=3):
    """Parameters and moments after some steps whose gradients are the parameters' own cubes."""
    import jittor as jt

    from restore_cli.nets.ops import adam_step
    from restore_cli.training.adam import Adam

    rng = np.random.default_rng(5)
    parameters = {str(i): jt.array(rng.standard_normal(shape).astype(np.float32))
                  for i, shape in enumerate(shapes)}
    start = {key: value.numpy() for key, value in parameters.items()}
    adam = Adam(parameters, factors=FACTORS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTORE_FUSED", fused)
        if adam_step.usable(list(parameters.values())) != (fused == "1"):
            pytest.skip("the operator cannot run here")
        for step in range(steps):
            adam.step(sum((p**4).sum() / 4 for p in parameters.values()), 0.1 / (step + 1))
            jt.sync_all()
    return start, {key: value.numpy() for key, value in parameters.items()}, adam.state()


def _formula(start, steps=3):
    made = {}
    for key, p in start.items():
        p, m, v = p.astype(np.float64), 0.0, 0.0
        for t in range(1, steps + 1):
            g = p**3
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            p = p - FACTORS.get(key, 1.0) * (0.1 / t) * (m / (1 - 0.9**t)) / (
                np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        made[key] = p, m, v
    return made


@pytest.mark.parametrize("fused", ["0", "1"])
def test_steps_are_those_of_the_formula(fused):
    start, moved, state = _train(SHAPES, fused)
    for key, (p, m, v) in _formula(start).items():
        np.testing.assert_allclose(moved[key], p, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state[f"m/{key}"], m, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state[f"v/{key}"], v, rtol=1e-4, atol=1e-8)
    assert (moved["3"] == start["3"]).all()
    assert (moved["2"] != start["2"]).all()


def test_more_parameters_than_a_call_takes(monkeypatch):
    from restore_cli.nets.ops import adam_step

    monkeypatch.setattr(adam_step, "_MOST", 2)
    start, moved, _ = _train(SHAPES, "1")
    for key, (p, _, _) in _formula(start).items():
        np.testing.assert_allclose(moved[key], p, rtol=1e-5, atol=1e-6)


def test_repeats_to_the_last_bit():
    first, again = (_train(SHAPES, "1") for _ in range(2))
    for a, b in zip(first[1:], again[1:], strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
