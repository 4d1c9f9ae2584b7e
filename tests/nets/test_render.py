"""`render` against `query`, windows against the whole, and odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

from restore_cli.errors import ShapeError

VARIANTS = {
    "liif": recipe.liif_spec(),
    "c": recipe.liif_spec(cell_decode=False),
    "u": recipe.liif_spec(feat_unfold=False),
    "e": recipe.liif_spec(local_ensemble=False),
    "no hidden layer": recipe.liif_spec(hidden=()),
    "metasr": recipe.metasr_spec(),
}
RULES = ((r"^imnet\.layers\.(\d+)\.weight$", 1.5),)


@pytest.fixture(scope="module")
def nets(engine):
    return {name: recipe.network(spec, RULES) for name, spec in VARIANTS.items()}


def _decided_by_rounding(name, n, count):
    """Samples of an axis at which float coordinates are ambiguous (specified, masked)."""
    doubled = (2 * np.arange(count) + 1) * n - count  # 2 count p
    if name == "metasr":
        return np.zeros(count, bool)
    if name == "e":
        return doubled % (2 * count) == count
    return doubled == 2 * count * (n - 1)


def _features(module, h, w, count=1, seed=0):
    import jittor as jt

    x = np.random.default_rng(seed).standard_normal((count, 3, h, w)).astype(np.float32)
    with jt.no_grad():
        features = module.encode(jt.array(x))
        features.sync()
    return features


@pytest.mark.parametrize("name", VARIANTS)
def test_render_is_query_on_a_grid(nets, name):
    import jittor as jt

    rng = np.random.default_rng(7)
    sizes = [tuple(int(v) for v in rng.integers(1, 10, 2)) for _ in range(8)]
    cases = [(n, tuple(int(rng.integers(a, 5 * a + 8)) for a in n)) for n in sizes]
    cases += [((1, 1), (1, 1)), ((1, 1), (5, 3)), ((1, 9), (1, 31)), ((9, 1), (20, 3)),
              ((5, 6), (15, 18)), ((5, 6), (10, 24)), ((9, 8), (4, 5))]
    compared = 0
    for (h, w), size in cases:
        features = _features(nets[name], h, w, count=2)
        # MetaSR's queries start at the pixel's corner, which a larger cell would move.
        factor = 1.0 if size[0] < 2 * h or name == "metasr" else 1.5
        with jt.no_grad():
            got = recipe.images(nets[name].render(features, size, cell_scale=factor))
            expected = nets[name].query(features, *recipe.grid_query(size, factor, 2)).numpy()
        skip = (_decided_by_rounding(name, h, size[0])[:, None]
                | _decided_by_rounding(name, w, size[1]))
        if not skip.all():
            compared += 1
            assert recipe.error(got, expected.reshape(got.shape), skip) < recipe.TOLERANCE, size
    assert compared >= 12


@pytest.mark.parametrize("name", [*VARIANTS, "fixed"])
def test_windows_are_crops_of_the_whole(nets, name):
    """Every window rendered from just the features it needs equals that part of the whole."""
    import jittor as jt

    module, scale = nets.get(name), 1
    if name == "fixed":
        scale = 2
        module = recipe.network({"name": "liif", "args": {"encoder_spec": {
            "name": "edsr-baseline", "args": {"n_resblocks": 1, "n_feats": 8, "scale": 2}}}})
    h, w = 13, 11
    features = _features(module, h, w, count=2)
    rng = np.random.default_rng(11)
    for size in ((26, 22), (39, 33), (32, 41), (98, 83), (13, 11)):
        with jt.no_grad():
            whole = module.render(features, size).numpy()
        for _ in range(6):
            rows, cols = (tuple(np.sort(rng.choice(n + 1, 2, replace=False)).tolist())
                          for n in size)
            # The nearest input pixel to the window's ends, and one more for the neighbour and
            # for the 3x3 unfolding each; a random surplus must not matter.
            spans = [(max(0, a * n // count - 2 - int(rng.integers(3))),
                      min(n, (b * n - 1) // count + 3 + int(rng.integers(3))))
                     for (a, b), n, count in zip((rows, cols), (h, w), size, strict=True)]
            (ya, yb), (xa, xb) = spans
            part = features[:, :, ya * scale:yb * scale, xa * scale:xb * scale]
            with jt.no_grad():
                got = module.render(part, size, window=(rows, cols, (h, w), (ya, xa))).numpy()
            expected = whole[:, :, rows[0]:rows[1], cols[0]:cols[1]]
            assert got.shape == expected.shape
            assert recipe.error(got, expected) < 1e-5, (size, rows, cols)


@pytest.mark.parametrize("name", ["liif", "metasr"])
def test_a_window_without_the_needed_features_is_refused(nets, name):
    features = _features(nets[name], 6, 6)
    window = ((0, 28), (0, 24), (12, 6), (0, 0))
    nets[name].render(features, (48, 24), window=((0, 20), *window[1:]))
    with pytest.raises(ShapeError, match="rows"):
        nets[name].render(features, (48, 24), window=window)
    with pytest.raises(ShapeError, match="columns"):
        nets[name].render(features, (24, 48), window=((0, 24), (0, 48), (6, 12), (0, 2)))


@pytest.mark.parametrize("name", ["liif", "metasr"])
def test_wrong_shapes_are_refused(nets, name):
    import jittor as jt

    with pytest.raises(ShapeError, match="features"):
        nets[name].render(jt.zeros((1, 7, 4, 4)), (8, 8))
    with pytest.raises(ShapeError, match="coord"):
        nets[name].query(jt.zeros((1, 16, 4, 4)), np.zeros((2, 5, 2)), np.zeros((1, 5, 2)))
    with pytest.raises(ShapeError, match="cell"):
        nets[name].query(jt.zeros((1, 16, 4, 4)), np.zeros((1, 5, 2)), np.zeros((1, 4, 2)))
    with pytest.raises(ShapeError, match="x has shape"):
        nets[name].encode(jt.zeros((1, 4, 8, 8)))


def test_scales_differ_only_by_their_grid(nets):
    """The middle row of an odd scale passes through input centres: three renderings agree."""
    import jittor as jt

    features = _features(nets["c"], 5, 5)
    with jt.no_grad():
        once, thrice, five = (nets["c"].render(features, (5 * k, 5 * k)).numpy()
                              for k in (1, 3, 5))
    np.testing.assert_allclose(thrice[:, :, 1::3, 1::3], once, atol=1e-5)
    np.testing.assert_allclose(five[:, :, 2::5, 2::5], once, atol=1e-5)
