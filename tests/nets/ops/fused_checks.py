"""Checks that every network computed by one operator has to pass.

A case is (plain, fused, x, parameters, probe): the network in stock operators and as one
operator, both functions of x and the parameters; values for these; and one of the output's shape.
"""

from __future__ import annotations

import numpy as np


def close(got, expected, tolerance=1e-5):
    """Within `tolerance` of the largest value."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def gradients(form, x, parameters, probe):
    """The output, and the gradients of its product with `probe`."""
    import jittor as jt

    y = form(x, parameters)
    return [v.numpy() for v in (y, *jt.grad((y * probe).sum(), [x, *parameters]))]


def inference_equals_plain(case):
    import jittor as jt

    plain, fused, x, parameters, _ = case
    with jt.no_grad():
        close(fused(x, parameters).numpy(), plain(x, parameters).numpy())


def gradients_equal_plain(case, tolerance=1e-5):
    plain, fused, *values = case
    results = [gradients(form, *values) for form in (plain, fused)]
    for expected, got in zip(*results, strict=True):
        assert got.shape == expected.shape
        close(got, expected, tolerance)


def repeats_to_the_last_bit(case):
    _, fused, *values = case
    first = gradients(fused, *values)
    for again in (gradients(fused, *values) for _ in range(2)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)


def training_and_inference_agree_and_see_new_weights(case, changed):
    """`changed`: number of the parameter that is made three times as large."""
    import jittor as jt

    plain, fused, x, parameters, _ = case
    before = fused(x, parameters).numpy()
    with jt.no_grad():
        np.testing.assert_array_equal(fused(x, parameters).numpy(), before)
        parameters[changed].update(parameters[changed] * 3)
        after = fused(x, parameters).numpy()
        close(after, plain(x, parameters).numpy())
    assert np.abs(after - before).max() > 0.01


def images_of_a_batch_do_not_meet(case):
    import jittor as jt

    _, fused, x, parameters, _ = case
    with jt.no_grad():
        whole = fused(x, parameters).numpy()
        each = [fused(x[i:i + 1], parameters).numpy() for i in range(x.shape[0])]
    close(np.concatenate(each), whole, 1e-6)
