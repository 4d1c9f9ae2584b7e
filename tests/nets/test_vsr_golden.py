"""The video network against its golden cases, and against the mistakes they name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import vsr_recipe as recipe

from restore_cli.errors import ShapeError, WeightsError
from restore_cli.nets.layout import layout

CASES = json.loads((recipe.DATA / "cases.json").read_text())
NETWORKS = [name for name in CASES if name.startswith(("recons", "train"))]
MISTAKE = 0.02  # of the scale: the smallest error of a trap is more than twice that


@pytest.fixture
def vsr(golden):
    return lambda name: golden(name, "vsr")


@pytest.fixture(scope="module")
def full(engine):
    """The published size."""
    return recipe.network({})


@pytest.fixture(scope="module")
def small(engine):
    return recipe.network(recipe.SMALL)


@pytest.mark.parametrize("name", NETWORKS)
def test_layout_is_upstreams_list_of_keys(name):
    assert list(layout("vsr", CASES[name]).shapes.items()) == recipe.keys(name)


@pytest.mark.parametrize("name,part", [("pwc_flow", "flow_net."),
                                       ("kernelnet_32x48", "kernel_net."), ("subset", "")])
def test_parts_have_upstreams_keys(name, part):
    shapes = layout("vsr", CASES.get(name, {}) if not part else {}).shapes
    told = recipe.keys(name)
    if part:
        assert told == [(key, shape) for key, shape in shapes.items() if key.startswith(part)]
    else:
        assert all(shapes[key] == shape for key, shape in told)


def test_sizes():
    told = layout("vsr", {})
    assert (told.parameters, len(told.shapes)) == (18_900_215, 272)
    assert (told.scale, told.align, told.receptive_radius) == (4, 1, None)
    assert layout("vsr", {"HR_in": True}).scale == 1
    flow, kernel = (sum(int(np.prod(shape)) for key, shape in told.shapes.items()
                        if key.startswith(part)) for part in ("flow_net.", "kernel_net."))
    assert (flow, kernel) == (9_374_274, 664_370)


@pytest.mark.parametrize("config", [{}, recipe.SMALL, recipe.COMPACT,
                                    {**recipe.COMPACT, "HR_in": True},
                                    {**recipe.COMPACT, "scale": 2, "n_sequence": 3, "ksize": 7,
                                     "n_colors": 1, "extra_RBS": 0, "recons_RBS": 0}])
def test_built_network_has_the_layouts_keys(engine, config):
    from restore_cli.nets import registry

    module = registry.build("vsr", config)
    module.train()
    built = module.state_dict()
    assert [(key, tuple(value.shape)) for key, value in built.items()] == \
        list(layout("vsr", config).shapes.items())
    assert not any(value.is_stop_grad() for value in built.values())


def test_correlation(engine, vsr):
    import jittor as jt

    from restore_cli.nets.vsr.warp import correlation

    case = vsr("correlation")
    a, b = jt.array(case["a"]), jt.array(case["b"])
    out = correlation(a, b)
    grads = jt.grad((out * jt.array(case["g"])).sum(), [a, b])
    for got, key in zip([out, *grads], ("out", "grad_a", "grad_b"), strict=True):
        assert recipe.error(got, case[key]) < 1e-5


def test_inner_warp(engine, vsr):
    import jittor as jt

    from restore_cli.nets.vsr.warp import warp

    case = vsr("backward_pwc")
    got = warp(jt.array(case["x"]), jt.array(case["flow"]), border=False)
    assert recipe.error(got, case["out"]) < 1e-5
    assert recipe.error(got, case["trap_align_corners_false"]) > MISTAKE


def test_feature_warp(engine, vsr):
    import jittor as jt

    from restore_cli.nets.vsr.warp import valid, warp

    case = vsr("feature_warp")
    x, flow = jt.array(case["x"]), jt.array(case["flow"])
    out = warp(x, flow, border=True)
    grads = jt.grad((out * jt.array(case["g"])).sum(), [x, flow])
    for got, key in zip([out, *grads], ("out", "grad_x", "grad_flow"), strict=True):
        assert recipe.error(got, case[key]) < 1e-5
    np.testing.assert_array_equal(valid(flow).numpy(), case["mask"])
    assert recipe.error(out, case["trap_align_corners_false"]) > MISTAKE
    assert (valid(flow).numpy() != case["trap_mask_align_corners_false"]).any()
    still = warp(x, flow * 0, border=True).numpy()
    np.testing.assert_array_equal(still, case["x"])
    np.testing.assert_allclose(still, case["out_zero_flow"], atol=1e-5)


@pytest.mark.parametrize("name", ["pwc_flow_37x50", "pwc_flow_64x64"])
def test_flow(full, vsr, name):
    import jittor as jt

    case = vsr(name)
    seen: dict[str, np.ndarray] = {}
    inner = full.flow_net.moduleNetwork

    def keep(key):
        def hook(_layer, _inputs, out):
            seen[key] = (out[0] if isinstance(out, tuple) else out).numpy()

        return hook

    levels = dict(zip((2, 3, 4, 5, 6), ("Two", "Thr", "Fou", "Fiv", "Six"), strict=True))
    hooked = [inner.moduleRefiner]
    inner.moduleRefiner.register_forward_hook(keep("refine"))
    for level, part in levels.items():
        hooked.append(getattr(inner, f"module{part}"))
        hooked[-1].register_forward_hook(keep(f"flow_l{level}"))
    with jt.no_grad():
        first, second = (recipe.frames(case[key][None]) for key in ("first_u8", "second_u8"))
        flow = full.flow(first, second).numpy()
        pyramid = full.pyramid(first)
        seen["feat1_l3"], seen["feat1_l6"] = pyramid.levels[1].numpy(), pyramid.levels[4].numpy()
    for layer in hooked:
        layer.remove_forward_hook()
    seen["net_out"] = seen["flow_l2"] + seen["refine"]
    assert recipe.error(flow, case["flow"]) < 1e-4
    for key, value in seen.items():
        assert recipe.error(value, case[key]) < 1e-4, key
    traps = [key for key in case if key.startswith("trap_")]
    assert len(traps) == 3
    for key in traps:
        assert recipe.error(flow, case[key]) > MISTAKE, key


def test_frames_are_resized_as_upstream_does(engine, vsr):
    from restore_cli.nets.vsr.pwc import resize

    case = vsr("pwc_flow_37x50")
    got = resize(recipe.frames(case["first_u8"][None]), (64, 64)).numpy()
    assert recipe.error(got[:, :, :8, :8], case["resized_first"]) < 1e-5


@pytest.mark.parametrize("name", ["kernelnet_32x48", "kernelnet_26x39"])
def test_kernel(full, vsr, name):
    import jittor as jt

    from restore_cli.nets.vsr.kernel import adaptive_average

    case, net = vsr(name), full.kernel_net
    with jt.no_grad():
        x = recipe.frames(case["x_u8"])
        start = net.in_conv(x)
        body = net.body1(start)
        pooled = adaptive_average(body, 13)
        last, out = net.body2(pooled), net(x)
        frames = x.reshape(x.shape[0], 5, 3, *x.shape[2:])
        np.testing.assert_array_equal(full.kernel(frames).numpy(), out.numpy())
    for got, key in ((start[:, :4], "in_conv_c0_3"), (body[:, :4], "body1_c0_3"),
                     (pooled[:, :16], "pooled_c0_15"), (last, "body2"), (out, "est_kernel")):
        assert recipe.error(got, case[key]) < 1e-4, key


@pytest.mark.parametrize("name", ["recons_n16_32x48", "recons_n16_b2_19x30",
                                  "recons_full_32x48"])
def test_output(small, full, vsr, name):
    import jittor as jt

    case, net = vsr(name), full if "full" in name else small
    x = recipe.frames(case["x_u8"])
    with jt.no_grad():
        out = net(x).numpy()
        assert recipe.error(net.kernel(x), case["est_kernel"]) < 1e-4
        for i, flow in enumerate(net.flows(x)):
            assert recipe.error(flow, case["flows"][:, i]) < 1e-4
            single = net.flow(x[:, 2], x[:, (0, 1, 3, 4)[i]])
            assert recipe.error(single, flow.numpy()) < 1e-5
    assert recipe.error(out, case["recons"]) < 1e-4
    u8 = np.clip(np.rint(out[0].transpose(1, 2, 0) * np.float32(255)), 0, 255)
    off = np.abs(u8 - case["recons_u8_hwc"])
    assert off.max() <= 1 and (off > 0).mean() <= 5e-4


def test_inside(small, vsr):
    import jittor as jt

    from restore_cli.nets.vsr.warp import warp

    case = vsr("recons_n16_32x48")
    x = recipe.frames(case["x_u8"])
    with jt.no_grad():
        features = [small.features(x[:, i]) for i in range(5)]
        flows = small.flows(x)
        fused = small.fuse(features, flows)
        body = small.recons_net(fused)
        for got, key in ((features[2], "feat_centre"), (fused, "fusion"), (body, "recons_feat"),
                         (warp(features[0], flows[0], border=True), "warped0")):
            assert recipe.error(got[:, :8], case[f"{key}_c0_7"]) < 1e-4, key
        base = small.base(x[:, 2]).numpy()[:, :, :16, :16]
        assert recipe.error(base, case["base_topleft"]) < 1e-5
        out = small.reconstruct(fused, x[:, 2]).numpy()[:, :, :32, :32]
    assert recipe.error(out, case["recons"][:, :, :32, :32]) < 1e-4
    assert recipe.error(out, case["trap_align_corners_false_topleft"]) > 1e-3


def test_blur_down(engine, vsr):
    import jittor as jt

    from restore_cli.nets.vsr.kernel import blur_down

    case = vsr("blur_down")
    got = blur_down(jt.array(case["x"]), jt.array(case["kernel"]))
    assert recipe.error(got, case["out"]) < 1e-5


def _losses(cycle, centre):
    """The five losses of the recipe; those of the kernel as the paper's section 3.2 has them."""
    import jittor as jt

    k = cycle.kernel
    axis = np.arange(-6, 7, dtype=np.float64)
    gauss = np.exp(-(axis[:, None] ** 2 + axis ** 2) / (2 * 13**2))
    border = 30 * (1 - gauss / gauss.max())
    border[2:-2, 2:-2] = 0
    place = np.arange(13, dtype=np.float32)
    row, column = ((k * jt.array(where)).sum(3).sum(2).reshape(-1) for where in (
        place.reshape(1, 1, 13, 1), place.reshape(1, 1, 1, 13)))
    return {"recons": (cycle.recons_down - centre).abs().mean(),
            "cycle": (cycle.input_cycle - centre).abs().mean(),
            "boundaries": (k * jt.array(border.astype(np.float32))).abs().mean(),
            "sparse": jt.sqrt(k).mean(),
            "center": ((row - 6).sqr().mean() + (column - 6).sqr().mean()) / 2}


def test_training_form(engine, vsr):
    """Outputs, losses and gradients of one step."""
    import jittor as jt

    case = vsr("train_n16_32x48")
    small = recipe.network(recipe.SMALL)
    small.train()
    x = recipe.frames(case["x_u8"])
    cycle = small.cycle(x)
    losses = _losses(cycle, x[:, 2])
    parts = {"boundaries": 0.5, "sparse": 0.04}
    losses["total"] = sum(value * parts.get(key, 1) for key, value in losses.items())
    named = small.state_dict()
    grads = dict(zip(named, jt.grad(losses["total"], list(named.values())), strict=True))
    for key in ("recons_down", "input_cycle", "kernel"):
        reference = case["est_kernel" if key == "kernel" else key]
        assert recipe.error(getattr(cycle, key), reference) < 1e-4, key
    assert recipe.error(cycle.frames_down[:, 2], case["val_input_down"]) < 1e-4
    assert recipe.error(cycle.recons[:, :, :16, :16], case["val_recons_topleft"]) < 1e-4
    for key, value in losses.items():
        assert recipe.error(value, case[f"loss_{key}"]) < 1e-4, key
    checked = [key for key in case if key.startswith("grad_")]
    assert len(checked) == 7
    for key in checked:
        name = key.removeprefix("grad_").replace("__", ".")
        assert recipe.error(grads[name], case[key]) < 1e-3, key
    norms = {}
    for key in (key for key in case if key.startswith("gradnorm_")):
        part = key.removeprefix("gradnorm_").replace("__", ".")
        norms[key] = np.sqrt(sum(np.sum(value.numpy().astype(np.float64) ** 2)
                                 for name, value in grads.items() if name.startswith(part + ".")))
        assert recipe.error(norms[key], case[key]) < 1e-4, key
    extractor = norms["gradnorm_flow_net__moduleNetwork__moduleExtractor"]
    assert recipe.error(extractor, case["trap_gradnorm_extractor_corr_detached"]) > 5e-3


@pytest.mark.parametrize("config,part", [
    ({"n_feat": 0}, "n_feat"), ({"n_sequence": 4}, "n_sequence"), ({"n_sequence": 1}, "n_seq"),
    ({"scale": 3}, "scale"), ({"ksize": 12}, "ksize"), ({"HR_in": 1}, "HR_in"),
    ({"width": 3}, "no option"), ({"flow_channels": [1, 2]}, "flow_channels"),
    ({"flow_dense": 3}, "flow_dense"), ({"kernel_channels": 8}, "kernel_channels"),
    ({"recons_RBS": -1}, "recons_RBS")])
def test_impossible_settings_are_refused(config, part):
    with pytest.raises(WeightsError, match=part):
        layout("vsr", config)


def test_wrong_frames_are_refused(small):
    import jittor as jt

    for shape in ((1, 4, 3, 16, 16), (1, 5, 1, 16, 16), (5, 3, 16, 16)):
        with pytest.raises(ShapeError, match="frames has shape"):
            small(jt.zeros(shape))
