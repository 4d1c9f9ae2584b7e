"""Correlation and warping as operators, against the plain forms in Jittor."""

from __future__ import annotations

import numpy as np
import pytest
from fused_checks import close

SHAPES = [(1, 1, 1, 1), (2, 3, 1, 7), (1, 5, 6, 1), (2, 17, 9, 33), (3, 8, 20, 16), (1, 9, 4, 50)]


@pytest.fixture
def forms(engine):
    """The plain and the fused forms."""
    from restore_cli.nets.ops import motion
    from restore_cli.nets.vsr import warp

    if not motion.usable():
        pytest.skip("no operators on this machine")
    return {"correlation": (warp.correlation_plain, motion.correlation),
            "warp": (warp.warp_plain, _fused)}


def _fused(x, flow, border, place=None):
    from restore_cli.nets.ops import motion
    from restore_cli.nets.vsr import warp

    place = place or warp.Place(tuple(x.shape[2:]))
    return motion.warp(x, flow, border, warp.VALID, place.frame, place.source, place.target)


def _values(seed, *shape):
    import jittor as jt

    return jt.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def _flow(shape, size):
    """Up to `size` pixels; none along an axis of one pixel, where all else is invalid."""
    import jittor as jt

    flow = size * np.random.default_rng(5).standard_normal((shape[0], 2, *shape[2:]))
    flow[:, 0] *= shape[3] > 1
    flow[:, 1] *= shape[2] > 1
    return jt.array(flow.astype(np.float32))


def _compare(forms, inputs, probe, more=()):
    import jittor as jt

    results = []
    for form in forms:
        y = form(*inputs, *more)
        results.append([v.numpy() for v in (y, *jt.grad((y * probe).sum(), list(inputs)))])
    for expected, got in zip(*results, strict=True):
        assert got.shape == expected.shape
        if np.abs(expected).max() == 0:
            assert np.abs(got).max() == 0
        else:
            close(got, expected, 2e-6)
    with jt.no_grad():
        np.testing.assert_array_equal(forms[1](*inputs, *more).numpy(), results[1][0])
    return results[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_correlation(forms, shape):
    probe = _values(3, shape[0], 81, *shape[2:])
    _compare(forms["correlation"], (_values(1, *shape), _values(2, *shape)), probe)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("size", [0.4, 4])
def test_warp(forms, shape, border, size):
    inputs = (_values(1, *shape), _flow(shape, size))
    made = _compare(forms["warp"], inputs, _values(3, *shape), (border,))
    assert np.abs(made[0]).max() > 0  # not all of it is invalid


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38, -3e38, 2.0**31, 1e-30])
def test_flows_beyond_all_bounds_read_nothing_else(forms, border, value):
    """Nothing outside the map is read; pixels whose flow is sound are not touched by others."""
    import jittor as jt

    x = _values(1, 1, 3, 5, 6)
    flow = np.zeros((1, 2, 5, 6), np.float32)
    flow[0, :, 2, 3] = value
    got = forms["warp"][1](x, jt.array(flow), border).numpy()
    sound = np.ones((5, 6), bool)
    sound[2, 3] = False
    np.testing.assert_array_equal(got[..., sound], x.numpy()[..., sound])
    if np.isfinite(value):
        expected = x.numpy()[..., 2, 3] if abs(value) < 1 else 0
        np.testing.assert_array_equal(got[..., 2, 3], expected + 0 * got[..., 2, 3])


@pytest.mark.parametrize("border", [True, False])
def test_at_the_border(forms, border):
    """Exactly on the last pixel, and just beyond what still counts."""
    import jittor as jt

    x = jt.array(np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5))
    flow = np.zeros((1, 2, 1, 5), np.float32)
    flow[0, 0, 0] = [-0.0005, -1, 2, 1, 0.002]
    expected = [1 if border else 0.9995, 1, 5, 5, 0]
    for form in forms["warp"]:
        np.testing.assert_allclose(form(x, jt.array(flow), border).numpy().ravel(), expected,
                                   atol=1e-6)


# Rows and columns of the sampled map, then of the flow; a frame of 24 by 30.
WINDOWS = [((0, 24, 0, 30), (5, 13, 7, 20)), ((2, 20, 3, 27), (9, 12, 10, 19)),
           ((0, 14, 16, 30), (0, 7, 24, 30)), ((10, 24, 0, 12), (18, 24, 0, 4))]


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("source,target", WINDOWS)
def test_tiles_are_the_whole_cut_up(forms, border, source, target):
    """To the last bit, gradients too; the flow reaches up to six pixels."""
    import jittor as jt

    from restore_cli.nets.vsr import warp

    x = np.random.default_rng(1).standard_normal((2, 5, 24, 30)).astype(np.float32)
    flow = np.clip(3 * np.random.default_rng(2).standard_normal((2, 2, 24, 30)), -6, 6)
    flow = flow.astype(np.float32)

    def cut(values, window):
        return np.ascontiguousarray(values[..., window[0]:window[1], window[2]:window[3]])

    place = warp.Place((24, 30), source[::2], target[::2])
    whole = _fused(jt.array(x), jt.array(flow), border).numpy()
    inputs = jt.array(cut(x, source)), jt.array(cut(flow, target))
    probe = np.random.default_rng(3).standard_normal(cut(whole, target).shape).astype(np.float32)
    made = _compare(forms["warp"], inputs, jt.array(probe), (border, place))
    np.testing.assert_array_equal(made[0], cut(whole, target))
    assert np.abs(made[0]).max() > 0


def test_gradients_repeat_to_the_last_bit(forms):
    import jittor as jt

    x, flow, probe = _values(1, 2, 24, 30, 40), _flow((2, 24, 30, 40), 3), _values(2, 2, 24, 30, 40)
    runs = []
    for _ in range(3):
        y = forms["warp"][1](x, flow, True)
        runs.append([v.numpy() for v in (y, *jt.grad((y * probe).sum(), [x, flow]))])
    for again in runs[1:]:
        for a, b in zip(runs[0], again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_they_can_be_done_without(forms, monkeypatch):
    from restore_cli.nets.ops import motion
    from restore_cli.nets.vsr import warp

    a, b = _values(1, 1, 4, 8, 9), _values(2, 1, 4, 8, 9)
    fused = warp.correlation(a, b).numpy()
    monkeypatch.setenv("RESTORE_FUSED", "0")
    assert not motion.usable()
    close(warp.correlation(a, b).numpy(), fused, 1e-6)
    moved = warp.warp(a, b[:, :2], border=True).numpy()
    monkeypatch.delenv("RESTORE_FUSED")
    close(warp.warp(a, b[:, :2], border=True).numpy(), moved, 1e-6)
