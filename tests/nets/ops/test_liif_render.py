"""The fused decoder against the same arithmetic in plain Jittor operators."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

HIDDEN = [(256, 256, 256, 256), (64, 64, 64), (64, 64), (20,), (40, 33, 70), (1, 5)]
OPTIONS = [{}, {"feat_unfold": False}, {"local_ensemble": False}, {"cell_decode": False}]
SIZES = [((7, 9), (14, 18)), ((7, 9), (21, 27)), ((7, 9), (33, 50)), ((7, 9), (7, 9)),
         ((7, 9), (5, 4)), ((1, 1), (1, 1)), ((1, 40), (3, 200)), ((30, 1), (77, 2))]
RULES = ((r"^imnet\.layers\.(\d+)\.weight$", 1.5),)


def _features(h, w, count=2, channels=16):
    import jittor as jt

    rng = np.random.default_rng(h * 100 + w)
    return jt.array(rng.standard_normal((count, channels, h, w)).astype(np.float32))


def _both(module, features, size):
    import jittor as jt

    from restore_cli.nets.liif import grid
    from restore_cli.nets.ops import liif_render

    h, w = features.shape[2:]
    rows = grid.corners(h, size[0], 0, size[0], module.ensemble)
    cols = grid.corners(w, size[1], 0, size[1], module.ensemble)
    cell = np.array([2 * h / size[0], 2 * w / size[1]], np.float32)
    with jt.no_grad():
        return [form(module, features, rows, cols, cell).numpy()
                for form in (liif_render.fused, liif_render.plain)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
def test_fused_is_plain(engine, hidden, options):
    module = recipe.network(recipe.liif_spec(hidden=hidden, **options), RULES)
    for (h, w), size in SIZES:
        fused, plain = _both(module, _features(h, w), size)
        assert fused.shape == plain.shape == (2, 3, *size)
        assert recipe.error(fused, plain) < 1e-5, size


def test_other_numbers_of_colours(engine):
    spec = recipe.liif_spec()
    spec["args"]["imnet_spec"]["args"]["out_dim"] = 5
    fused, plain = _both(recipe.network(spec, RULES), _features(6, 5), (13, 17))
    assert fused.shape == (2, 5, 13, 17)
    assert recipe.error(fused, plain) < 1e-5


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_stripes_change_nothing(engine, monkeypatch, options):
    from restore_cli.nets.ops import native

    module = recipe.network(recipe.liif_spec(**options), RULES)
    features = _features(23, 9)
    for size in ((60, 31), (23, 9), (23, 20), (115, 9), (11, 9)):
        whole, _ = _both(module, features, size)
        with monkeypatch.context() as patch:
            patch.setattr(native, "STRIPE_BYTES", 4 * 64 * 2 * 9 * 5)  # five rows
            striped, _ = _both(module, features, size)
        assert recipe.error(striped, whole) < 1e-5, size


def test_a_pixel_does_not_depend_on_its_window(engine):
    """Bit for bit, wherever it falls in a block of queries."""
    import jittor as jt

    module = recipe.network(recipe.liif_spec(), RULES)
    features = _features(8, 9)
    with jt.no_grad():
        whole = module.render(features, (30, 41)).numpy()
        for rows, cols in (((0, 30), (1, 41)), ((7, 8), (13, 14)), ((3, 29), (5, 38))):
            part = module.render(features, (30, 41), window=(rows, cols, (8, 9), (0, 0))).numpy()
            np.testing.assert_array_equal(
                part, whole[:, :, rows[0]:rows[1], cols[0]:cols[1]])


def test_changed_weights_are_seen(engine):
    import jittor as jt

    module = recipe.network(recipe.liif_spec(), RULES)
    features = _features(4, 4)
    with jt.no_grad():
        before = module.render(features, (8, 8)).numpy()
        for key, value in module.state_dict().items():
            if key.startswith("imnet"):
                value.update(value * 1.25)
                changed = module.render(features, (8, 8)).numpy()
                assert np.abs(changed - before).max() > 1e-5, key
                assert recipe.error(*_both(module, features, (8, 8))) < 1e-5, key
                before = changed


def test_used_only_where_nothing_is_trained(engine, monkeypatch):
    """The operator has no gradients; with gradients wanted, `render` has them all the same."""
    import jittor as jt

    from restore_cli.nets.ops import liif_render

    taken = []
    for form in ("fused", "plain"):
        real = getattr(liif_render, form)
        monkeypatch.setattr(liif_render, form, lambda *args, form=form, real=real:
                            (taken.append(form), real(*args))[1])
    module = recipe.network(recipe.liif_spec(), RULES)
    module.train()
    features = _features(4, 4)
    with jt.no_grad():
        inferred = module.render(features, (8, 8)).numpy()
    out = module.render(features, (8, 8))
    gradient = jt.grad(out.sum(), module.imnet.linears()[1].weight).numpy()
    assert taken == ["fused", "plain"]
    assert np.abs(gradient).max() > 1e-3
    assert recipe.error(out.numpy(), inferred) < 1e-5
