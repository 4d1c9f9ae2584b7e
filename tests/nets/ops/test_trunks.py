"""Encoders whose trunks are operators, against the same layers in stock operators."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

ENCODERS = {
    "edsr": ("edsr-baseline", {"n_resblocks": 3, "n_feats": 32, "res_scale": 1}),
    "edsr-scaled": ("edsr", {"n_resblocks": 2, "n_feats": 48, "res_scale": 0.1}),
    "rcan": ("rcan", {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 32, "reduction": 8}),
    "rdn": ("rdn", {"G0": 48, "RDNconfig": "A"}),
}
CALLS = {"rcan": ["residual", "residual"], "rdn": ["dense"]}  # one for each group


def _network(name, **more):
    arch, args = ENCODERS[name]
    return recipe.network({"name": arch, "args": {**args, "no_upsampling": True, **more}},
                          recipe.COMMON_RULES)


def _image(*shape):
    import jittor as jt

    return jt.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _close(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def calls(engine, monkeypatch):
    """Names of the operators that have run."""
    from restore_cli.nets.ops import trunks

    made = []
    for name in ("residual", "dense"):
        function = getattr(trunks, name)
        monkeypatch.setattr(trunks, name, lambda *args, name=name, function=function, **more:
                            made.append(name) or function(*args, **more))
    return made


@pytest.mark.parametrize("shape", [(1, 1), (9, 13), (20, 31)])
@pytest.mark.parametrize("name", ENCODERS)
def test_equals_plain(calls, monkeypatch, name, shape):
    import jittor as jt

    network, x = _network(name), _image(2, 3, *shape)
    with jt.no_grad():
        fused = network(x).numpy()
        assert calls == CALLS.get(name, ["residual"])
        calls.clear()
        monkeypatch.setenv("RESTORE_FUSED", "0")
        plain = network(x).numpy()
    assert not calls
    _close(fused, plain)


@pytest.mark.parametrize("name", ["edsr", "rdn"])
def test_changed_weights_are_seen(calls, monkeypatch, name):
    import jittor as jt

    network, x = _network(name), _image(1, 3, 7, 6)
    with jt.no_grad():
        before = network(x).numpy()
        for weight in network.parameters():
            weight.update(weight * 1.1)
        after = network(x).numpy()
        assert np.abs(after - before).max() > 0.01
        monkeypatch.setenv("RESTORE_FUSED", "0")
        _close(after, network(x).numpy())


def test_other_ways_are_taken_where_it_cannot_run(calls, monkeypatch):
    import jittor as jt

    x = _image(1, 3, 6, 6)
    _network("edsr")(x).sync()  # gradients are wanted
    with jt.no_grad():
        _network("edsr", n_feats=24)(x).sync()
        _network("rdn", RDNkSize=5)(x).sync()
        monkeypatch.setenv("RESTORE_WINOGRAD", "0")
        _network("edsr")(x).sync()
    assert not calls


def test_no_more_layers_than_an_operator_takes(engine):
    import jittor as jt

    from restore_cli.nets.base import conv
    from restore_cli.nets.ops import trunks

    layer = conv(16, 16)
    with jt.no_grad():
        assert trunks.usable([layer] * 499) and not trunks.usable([layer] * 500)
