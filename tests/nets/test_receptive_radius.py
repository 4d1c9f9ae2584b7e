"""The declared receptive radius, measured on networks whose weights are all positive.

With positive weights, zero biases and a black background every activation that depends on a
perturbed pixel is positive and every other one exactly zero, so the reach can be read off.
Images are one pixel high: the reach along a line is the reach of the square kernels. Weights
sit mostly on the outer columns, and on one input channel, the latest in a dense block, so that
what arrives from the farthest pixel does not vanish below the smallest float32.
"""

from __future__ import annotations

import numpy as np
import pytest
import recipe

from restore_cli.nets.layout import layout

IMPLICIT = {"no_upsampling": True}
ENCODERS = [("edsr-baseline", {**IMPLICIT, "n_feats": 8}, 34),
            ("edsr", {**IMPLICIT, "n_feats": 8}, 66),
            ("rdn", {**IMPLICIT, "G0": 8}, 131),
            ("rdn", {**IMPLICIT, "G0": 8, "RDNconfig": "A"}, 123)]


def _positive(name, args):
    """A network without cancellation."""
    from restore_cli.nets import registry

    module = registry.build(name, args)
    tensors = {}
    for key, shape in layout(name, args).shapes.items():
        tensors[key] = np.zeros(shape, np.float32)
        if len(shape) == 2:
            tensors[key][:] = 1 / shape[1]
        elif len(shape) == 4:
            tensors[key][:, -1] = 1 if shape[3] == 1 else np.array([0.7, 1e-3, 0.7])
    if "imnet.layers.0.weight" in tensors and name == "liif":
        # Offsets and cells may be negative and would hide a dependence behind a ReLU.
        features = tensors["imnet.layers.0.weight"]
        features[:, features.shape[1] - 4:] = 0
    module.load_state_dict(tensors)
    return module


def _reach(out, centre, scale):
    """Largest distance, in input pixels, of a non-zero output column from `centre`."""
    columns = np.flatnonzero(np.abs(out).max(axis=(0, 1, 2)))
    assert len(columns)
    return int(np.abs(columns // scale - centre).max())


def _impulse(radius):
    centre = radius + 12
    x = np.zeros((1, 3, 1, 2 * centre + 1), np.float32)
    x[..., centre] = 1e6
    return x, centre


@pytest.mark.parametrize("name,args,radius", ENCODERS,
                         ids=lambda value: value if isinstance(value, str) else None)
def test_encoders(engine, name, args, radius):
    import jittor as jt

    assert layout(name, args).receptive_radius == radius
    x, centre = _impulse(radius)
    with jt.no_grad():
        out = _positive(name, args)(jt.array(x)).numpy()
    assert _reach(out, centre, 1) == radius


@pytest.mark.parametrize("options,exact", [({}, True), ({"feat_unfold": False}, True),
                                           ({"local_ensemble": False}, True),
                                           ({"feat_unfold": False, "local_ensemble": False},
                                            False)])
def test_liif(engine, options, exact):
    import jittor as jt

    args = recipe.liif_spec(blocks=1, feats=4, hidden=(8,), **options)["args"]
    told = layout("liif", args).receptive_radius
    x, centre = _impulse(told)
    module = _positive("liif", args)
    with jt.no_grad():
        out = module.render(module.encode(jt.array(x)), (4, 4 * x.shape[3])).numpy()
    measured = _reach(out, centre, 4)
    assert measured == told if exact else measured <= told


def test_metasr(engine):
    import jittor as jt

    args = recipe.metasr_spec(blocks=1, feats=4)["args"]
    told = layout("metasr", args).receptive_radius
    x, centre = _impulse(told)
    module = _positive("metasr", args)
    with jt.no_grad():
        out = module.render(module.encode(jt.array(x)), (4, 4 * x.shape[3])).numpy()
    assert _reach(out, centre, 4) == told


@pytest.mark.parametrize("encoder,args", [
    ("edsr-baseline", {"n_resblocks": 1, "n_feats": 4, "scale": 2}),
    ("edsr-baseline", {"n_resblocks": 1, "n_feats": 4, "scale": 8}),
    ("edsr-baseline", {"n_resblocks": 1, "n_feats": 4, "scale": 3}),
    ("rdn", {"RDNconfig": "A", "G0": 4, "scale": 4})])
def test_fixed_scale(engine, encoder, args):
    import jittor as jt

    config = {"encoder_spec": {"name": encoder, "args": args}}
    told = layout("liif", config).receptive_radius
    x, centre = _impulse(told)
    module = _positive("liif", config)
    with jt.no_grad():
        encoded = module.encode(jt.array(x))
        # An odd size makes the nearest sample fall a pixel off now and then.
        out = module.render(encoded, (1, x.shape[3] * args["scale"] + 1)).numpy()
    columns = np.flatnonzero(out.max(axis=(0, 1, 2)))
    pixels = columns * x.shape[3] // out.shape[3]
    assert np.abs(pixels - centre).max() <= told
    assert _reach(encoded.numpy(), centre, args["scale"]) <= told


def test_rcan_depends_on_the_whole_image(engine):
    import jittor as jt

    args = {**IMPLICIT, "n_resgroups": 1, "n_resblocks": 1, "n_feats": 8, "reduction": 2}
    assert layout("rcan", args).receptive_radius is None
    module = recipe.network({"name": "rcan", "args": args})
    x = np.random.default_rng(0).standard_normal((1, 3, 1, 64)).astype(np.float32)
    with jt.no_grad():
        before = module(jt.array(x)).numpy()
        x[..., 0] += 10
        after = module(jt.array(x)).numpy()
    assert np.abs(after - before)[..., -1].max() > 1e-6
