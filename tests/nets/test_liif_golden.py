"""Every network golden of the LIIF family."""

from __future__ import annotations

import numpy as np
import pytest
import recipe

GRID_CASES = ["02_edsr_baseline_liif", "04_edsr_full_liif", "05_rdn_liif",
              "06_rcan_liif_small", "07_metasr_edsr_baseline", "08_metasr_rdn", "09_liif_c",
              "10_liif_u", "11_liif_e", "12_liif_d", "21_tiling"]
QUERY_LIMIT = 4000  # queries of larger grids are checked through `render` alone


def _features(module, case):
    import jittor as jt

    return module.encode(jt.array(recipe.normalised(case["x"])))


@pytest.mark.parametrize("name", GRID_CASES)
def test_grid_case(engine, golden, name):
    import jittor as jt

    case = golden(name)
    meta = case["meta"]
    module = recipe.network(meta["model"], meta["rules"], meta.get("last_layer_gain"))
    with jt.no_grad():
        features = _features(module, case)
        if "feat" in case:
            assert recipe.error(features.numpy(), case["feat"]) < recipe.TOLERANCE
        for query, size in meta["queries"].items():
            factor = meta.get("cell_factor", {}).get(query, 1.0)
            reference = case[f"y_{query}"]
            skip = recipe.mask(case, f"ill_{query}", size)
            if skip is None:
                skip = recipe.mask(case, f"tie_{query}", size)
            out = recipe.images(module.render(features, tuple(size), cell_scale=factor))
            assert recipe.error(out, reference, skip) < recipe.TOLERANCE, query
            if size[0] * size[1] <= QUERY_LIMIT:
                out = module.query(features, *recipe.grid_query(size, factor)).numpy()
                out = out.reshape(reference.shape)
                assert recipe.error(out, reference, skip) < recipe.TOLERANCE, query


def test_intermediate_activations(engine, golden):
    import jittor as jt

    case = golden("02_edsr_baseline_liif")
    module = recipe.network(case["meta"]["model"], case["meta"]["rules"])
    encoder = module.encoder
    with jt.no_grad():
        head = encoder.head(jt.array(recipe.normalised(case["x"])))
        first = encoder.body[0](head)
        body = encoder.body(head)
    for key, value in (("encoder.head.0", head), ("encoder.body.0", first),
                       ("encoder.body.16", body)):
        assert recipe.error(value.numpy(), case[f"t/{key}"]) < recipe.TOLERANCE, key


@pytest.mark.parametrize("variant", ["full", "c", "u", "e", "d", "metasr"])
def test_random_queries(engine, golden, variant):
    import jittor as jt

    case = golden("03_random_queries")
    told = case["meta"]["variants"][variant]
    module = recipe.network(told["model"], told["rules"])
    with jt.no_grad():
        out = module(jt.array(recipe.normalised(case["x"])), case["coord"], case["cell"])
    assert recipe.error(out.numpy(), case[f"y_{variant}"]) < recipe.TOLERANCE


@pytest.mark.parametrize("tag", ["edsr_x2", "edsr_x3", "edsr_x4", "edsr_x8", "rdn_x2", "rdn_x3",
                                 "rdn_x4"])
def test_fixed_scale(engine, golden, tag):
    import jittor as jt

    case = golden("13_fixed_scale")
    told = case["meta"]["models"][tag]
    module = recipe.network(told["spec"], case["meta"]["rules"])
    with jt.no_grad():
        encoded = module.encode(jt.array(recipe.normalised(case[f"{tag}/x"])))
        assert recipe.error(encoded.numpy(), case[f"{tag}/enc"]) < recipe.TOLERANCE
        same = module.render(encoded, tuple(encoded.shape[2:]))
        np.testing.assert_array_equal(same.numpy(), encoded.numpy())
        for query, size in told["queries"].items():
            skip = recipe.mask(case, f"{tag}/tie_{query}", size)
            reference = case[f"{tag}/y_{query}"]
            out = recipe.images(module.render(encoded, tuple(size)))
            assert recipe.error(out, reference, skip) < recipe.TOLERANCE
            out = module.query(encoded, *recipe.grid_query(size)).numpy()
            assert recipe.error(out.reshape(reference.shape), reference, skip) < recipe.TOLERANCE


def test_demo_bytes(engine, golden):
    import jittor as jt

    case = golden("17_demo")
    module = recipe.network(case["meta"]["model"], case["meta"]["rules"])
    image = case["in_u8"].transpose(2, 0, 1)[None] / np.float32(255)
    with jt.no_grad():
        features = module.encode(jt.array(recipe.normalised(image)))
        for height, width in case["meta"]["targets"]:
            out = recipe.images(module.render(features, (height, width)))[0]
            colours = np.clip(out * np.float32(0.35) * np.float32(0.5) + np.float32(0.5), 0, 1)
            if f"float_{height}x{width}" in case:
                assert recipe.error(colours, case[f"float_{height}x{width}"]) < recipe.TOLERANCE
            for kind, shift in (("trunc", 0.0), ("round", 0.5)):
                got = np.floor(colours * np.float32(255) + np.float32(shift)).astype(np.int64)
                off = np.abs(got - case[f"{kind}_{height}x{width}"])
                assert off.max() <= 1
                assert (off > 0).mean() <= 5e-4


@pytest.mark.parametrize("name", ["20_checkpoint_zip", "20_checkpoint_metasr_legacy"])
def test_checkpoint_outputs(engine, golden, name):
    import jittor as jt

    case = golden(name)
    module = recipe.network(case["meta"]["model"], case["meta"]["rules"])
    with jt.no_grad():
        features = _features(module, case)
        for size in case["meta"]["targets"]:
            out = recipe.images(module.render(features, tuple(size)))
            assert recipe.error(out, case[f"y_{size[0]}x{size[1]}"]) < recipe.TOLERANCE


def test_bare_upsampler_outputs(engine, golden):
    import jittor as jt

    case = golden("20_checkpoint_edsr_pt")
    args = case["meta"]["args"]
    module = recipe.network({"name": "edsr-baseline", "args": args}, recipe.COMMON_RULES)
    assert [(key, tuple(value.shape)) for key, value in module.state_dict().items()] == \
        [(key, tuple(shape)) for key, shape in case["meta"]["keys"]]
    with jt.no_grad():
        out = module(jt.array(recipe.normalised(case["x"])))
    assert recipe.error(out.numpy(), case["y"]) < recipe.TOLERANCE


def test_tiles_reproduce_the_whole(engine, golden):
    """Halo 8 of the small network is exact; 4 must visibly not be, or the test proves nothing."""
    import jittor as jt

    case = golden("21_tiling")
    module = recipe.network(case["meta"]["model"], case["meta"]["rules"])
    x, reference = recipe.normalised(case["x"]), case["y_x2.5"]
    worst = {}
    for halo in (8, 4):
        out = np.zeros_like(reference)
        for y0 in range(0, 115, 40):
            for x0 in range(0, 100, 35):
                part = _tile(jt, module, x, (115, 100), (y0, min(y0 + 40, 115)),
                             (x0, min(x0 + 35, 100)), halo)
                out[:, y0:y0 + 40, x0:x0 + 35] = part
        worst[halo] = recipe.error(out, reference)
    assert worst[8] < recipe.TOLERANCE
    assert worst[4] > 1e-3


def _tile(jt, module, x, size, rows, cols, halo):
    h, w = x.shape[2:]
    spans = []
    for n, count, (low, high) in ((h, size[0], rows), (w, size[1], cols)):
        first, last = (low * 2 + 1) * n // (2 * count), (high * 2 - 1) * n // (2 * count)
        spans.append((max(0, first - halo), min(n, last + halo + 1)))
    (ya, yb), (xa, xb) = spans
    with jt.no_grad():
        features = module.encode(jt.array(np.ascontiguousarray(x[:, :, ya:yb, xa:xb])))
        return recipe.images(module.render(features, size, window=(rows, cols, (h, w),
                                                                   (ya, xa))))
