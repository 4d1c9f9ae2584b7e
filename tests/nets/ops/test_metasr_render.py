"""MetaSR's forms of rendering against arbitrary-coordinate queries and each other."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

RULES = ((r"^imnet\.layers\.2\.(weight|bias)$", 1 / 16), (r"^imnet\.layers\.0\.weight$", 1.5))
SIZES = [(8, 10), (16, 20), (24, 30), (32, 20), (20, 25), (60, 75), (33, 50), (5, 4), (1, 1),
         (52, 67)]
SHAPE = (8, 10)


@pytest.fixture(scope="module")
def module(engine):
    return recipe.network(recipe.metasr_spec(), RULES)


@pytest.fixture(scope="module")
def features(engine):
    import jittor as jt

    rng = np.random.default_rng(3)
    return jt.array(rng.standard_normal((2, 16, *SHAPE)).astype(np.float32))


def _render(form, module, features, size, ratio_scale=1.0):
    import jittor as jt

    from restore_cli.nets.ops import metasr_render

    row, col = (metasr_render._corner(n, count, 0, count)
                for n, count in zip(SHAPE, size, strict=True))
    with jt.no_grad():
        return getattr(metasr_render, form)(module, features, row, col,
                                            SHAPE[0] / size[0] * ratio_scale).numpy()


@pytest.mark.parametrize("form", ["phased", "fused", "plain"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forms_are_query(module, features, form, size):
    import jittor as jt

    with jt.no_grad():
        expected = module.query(features, *recipe.grid_query(size, 1.0, 2)).numpy()
    got = _render(form, module, features, size).transpose(0, 2, 3, 1)
    assert recipe.error(got, expected.reshape(got.shape)) < recipe.TOLERANCE


@pytest.mark.parametrize("form", ["phased", "fused"])
def test_stripes_change_nothing(module, features, monkeypatch, form):
    from restore_cli.nets.ops import native

    for size in ((16, 20), (24, 30), (33, 50), (5, 4)):
        whole = _render(form, module, features, size)
        with monkeypatch.context() as patch:
            patch.setattr(native, "STRIPE_BYTES", 1)
            assert recipe.error(_render(form, module, features, size), whole) < 1e-5, size


def test_chunks_change_nothing(module, features, monkeypatch):
    from restore_cli.nets.ops import metasr_render

    whole = _render("plain", module, features, (33, 50))
    monkeypatch.setattr(metasr_render, "PIXELS_PER_CHUNK", 321)
    np.testing.assert_allclose(_render("plain", module, features, (33, 50)), whole, atol=1e-6)


def test_the_cheapest_form_is_chosen(module, features, monkeypatch):
    import jittor as jt

    from restore_cli.nets.ops import metasr_render

    taken = []
    for form in ("phased", "fused", "plain"):
        real = getattr(metasr_render, form)
        monkeypatch.setattr(metasr_render, form, lambda *args, form=form, real=real:
                            (taken.append(form), real(*args))[1])
    with jt.no_grad():
        for size in ((32, 40), (60, 75), (61, 75)):
            module.render(features, size)
    module.render(features, (61, 75))
    # x4 has 16 offsets, x7.5 225; 61 rows and 75 columns have 61 x 15.
    assert taken == ["phased", "phased", "fused", "plain"]
