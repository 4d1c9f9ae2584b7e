"""The losses of blind video super-resolution: goldens, gradients, edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.training.degradations import blur


@pytest.fixture
def losses(engine):
    from restore_cli.training import vsr_losses

    return vsr_losses


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name, recorded", [
    ("boundaries", "boundaries"), ("sparse", "sparse"), ("centre", "center")])
def test_kernel_losses_and_their_gradients(losses, golden, name, recorded):
    import jittor as jt

    case = golden("kernel_losses", "vsr")
    kernel = jt.array(case["kernel"])
    loss = getattr(losses, name)(kernel)
    assert loss.item() == pytest.approx(float(case[recorded]), rel=1e-5)
    assert relative(jt.grad(loss, kernel).numpy(), case[f"grad_{recorded}"]) < 1e-4


def test_penalty_mask(losses, golden):
    case = golden("kernel_losses", "vsr")
    assert relative(losses.penalty_mask(), case["penalty_mask"]) < 1e-6
    assert not losses.penalty_mask()[0, 0, 2:-2, 2:-2].any()


def test_zeros_cost_nothing_and_have_no_gradient(losses, golden):
    import jittor as jt

    case = golden("kernel_losses", "vsr")
    values = case["kernel_with_zeros"]
    kernel = jt.array(values)
    loss = losses.sparse(kernel)
    assert loss.item() == pytest.approx(float(case["sparse_with_zeros"]), rel=1e-5)
    gradient = jt.grad(loss, kernel).numpy()
    assert np.isfinite(gradient).all() and (values == 0).any()
    assert not gradient[values == 0].any() and (gradient[values > 0] > 0).all()


def test_blur_down_matches_and_is_what_the_data_do(losses, golden):
    import jittor as jt

    case = golden("blur_down", "vsr")
    found = losses.blur_down(jt.array(case["x"]), jt.array(case["kernel"])).numpy()
    assert found.shape == case["out"].shape and relative(found, case["out"]) < 1e-5
    for sample in range(2):
        made = blur.blurred(case["x"][sample].transpose(1, 2, 0), case["kernel"][sample, 0], 4)
        assert relative(found[sample].transpose(1, 2, 0), made) < 1e-5


def test_gradients_of_blur_down(losses):
    """The operation is linear in each argument, so its gradients are the operation turned round."""
    import jittor as jt

    rng = np.random.default_rng(0)
    x, g = (rng.random(shape, dtype=np.float32) for shape in ((2, 3, 9, 10), (2, 3, 3, 3)))
    k = rng.random((2, 1, 5, 5), dtype=np.float32)
    frames, kernel = jt.array(x), jt.array(k)
    loss = (losses.blur_down(frames, kernel) * jt.array(g)).sum()
    of_frames, of_kernel = (part.numpy() for part in jt.grad(loss, [frames, kernel]))

    def value(x, k):
        made = [blur.blurred(x[b].transpose(1, 2, 0), k[b, 0], 4) for b in range(2)]
        return sum(float((made[b] * g[b].transpose(1, 2, 0)).sum()) for b in range(2))

    assert loss.item() == pytest.approx(value(x, k), rel=1e-5)
    for array, gradient, other in ((x, of_frames, lambda part: value(part, k)),
                                   (k, of_kernel, lambda part: value(x, part))):
        for place in (tuple(rng.integers(0, array.shape)) for _ in range(12)):
            unit = np.zeros_like(array)
            unit[place] = 1
            assert gradient[place] == pytest.approx(other(unit), rel=1e-4, abs=1e-5)
        assert (gradient.astype(np.float64) * array).sum() == pytest.approx(value(x, k), rel=1e-4)


def test_wrong_shapes(losses):
    import jittor as jt

    with pytest.raises(ShapeError):
        losses.centre(jt.zeros((1, 1, 4, 4)))
    with pytest.raises(ShapeError):
        losses.blur_down(jt.zeros((2, 3, 8, 8)), jt.zeros((1, 1, 3, 3)))
