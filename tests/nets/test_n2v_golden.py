"""Every network golden of the denoising family."""

from __future__ import annotations

import json

import n2v_recipe as recipe
import numpy as np
import pytest

from restore_cli.nets.layout import layout

CASES = [*recipe.SEED_CASES, *recipe.FIELD_CASES]


@pytest.fixture
def n2v(golden):
    return lambda name: golden(name, "n2v")


@pytest.mark.parametrize("name", CASES)
def test_layout_is_upstreams_list_of_keys(name):
    upstream = json.loads((recipe.DATA / f"{name}.keys.json").read_text())
    told = layout(*recipe.case(name))
    assert [[key, list(shape)] for key, shape in told.shapes.items()] == upstream


@pytest.mark.parametrize("name", CASES)
def test_built_network_has_the_layouts_keys(engine, name):
    from restore_cli.nets import registry

    told = layout(*recipe.case(name))
    module = registry.build(*recipe.case(name))
    module.train()
    built = module.state_dict()
    # Jittor holds a scalar as a vector of one.
    assert {key: shape or (1,) for key, shape in told.shapes.items()} == \
        {key: tuple(value.shape) for key, value in built.items()}
    assert list(built) == list(told.shapes)
    trained = {key for key, value in built.items() if not value.is_stop_grad()}
    assert trained == set(told.shapes) - told.buffers - told.optional


@pytest.mark.parametrize("name", CASES)
def test_output(engine, n2v, name):
    import jittor as jt

    case = n2v(name)
    with jt.no_grad():
        out = recipe.network(*recipe.case(name))(jt.array(case["input"]))
    assert recipe.error(out, case["output"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name", [n for n in recipe.SEED_CASES if n.startswith("unet")])
def test_output_of_merged_layers(engine, n2v, name, monkeypatch):
    """As it is for large images."""
    import jittor as jt

    from restore_cli.nets.ops import graph

    monkeypatch.setattr(graph, "_MERGED", 0)
    case = n2v(name)
    with jt.no_grad():
        out = recipe.network(*recipe.case(name))(jt.array(case["input"]))
    assert recipe.error(out, case["output"]) < recipe.TOLERANCE


def test_number_of_trained_values():
    assert layout("n2v-unet", {}).parameters == 698_017
    assert layout("n2v-unet", recipe.RGB).parameters == 700_611
    assert [layout(f"rednet{n}", {}).parameters for n in (10, 20, 30)] == \
        [296_641, 665_921, 1_035_201]


def test_unet_inside(engine, n2v):
    import jittor as jt

    case = n2v("unet_gray")
    module = recipe.network("n2v-unet", {})
    with jt.no_grad():
        pooled = module.pooled(jt.array(case["input"]))
    assert recipe.error(pooled[0][:, :4], case["pool1_c0_3"]) < recipe.TOLERANCE
    assert recipe.error(pooled[2][:, ::6], case["pool3"]) < recipe.TOLERANCE
    assert recipe.error(pooled[4], case["pool5"]) < recipe.TOLERANCE


def test_padded_image(engine, n2v):
    """The convention for any size: `reflect` at the bottom and right, run, crop."""
    import jittor as jt

    case = n2v("unet_gray_pad32")
    height, width = case["input"].shape[2:]
    padded = np.pad(case["input"], ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)),
                    "reflect")
    with jt.no_grad():
        out = recipe.network("n2v-unet", {})(jt.array(padded))
    assert recipe.error(out[:, :, :height, :width], case["output"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name", [n for n in recipe.SEED_CASES if n.startswith("rednet")])
def test_rednet_inside(engine, n2v, name):
    import jittor as jt

    case = n2v(name)
    arch, config = recipe.case(name)
    module = recipe.network(arch, {**config, "residual": False})
    with jt.no_grad():
        x = jt.array(case["input"])
        last, kept = module.encode(x)
        # Without the residual, the last deconvolution is the output.
        assert recipe.error(module(x), case["decoded"]) < recipe.TOLERANCE
    if "conv_last_c0_3" in case:
        assert recipe.error(last[:, :4], case["conv_last_c0_3"]) < recipe.TOLERANCE
    if "conv1_c0_3" in case and kept:
        assert recipe.error(kept[0][:, :4], case["conv1_c0_3"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name", recipe.FIELD_CASES)
def test_field_inside(engine, n2v, name):
    import jittor as jt

    case = n2v(name)
    with jt.no_grad():
        deep, skips = recipe.network(*recipe.case(name)).encode(jt.array(case["input"]))
    assert recipe.error(deep, case["enc_out"]) < recipe.TOLERANCE
    assert recipe.error(skips[0], case["enc_skip0"]) < recipe.TOLERANCE


def test_max_blur_pool(engine, n2v):
    import jittor as jt

    from restore_cli.nets.n2v import layers

    case = n2v("maxblurpool_2d")
    out = layers.blur_pool(jt.array(case["input"]))
    assert recipe.error(out, case["output"]) < 1e-6


def test_saved_networks_load_again(engine, tmp_path):
    """Jittor's one-element counters are upstream's scalars, in either direction."""
    from restore_cli.nets import registry
    from restore_cli.weights import files

    config = {"num_channels_init": 4, "depth": 1}
    module = recipe.network("n2v-field", config)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    state["decoder.bottleneck.batch_norm1.num_batches_tracked"][:] = 7
    files.write(tmp_path / "net.safetensors", files.Weights("n2v-field", config, state, {}))
    read = files.read(tmp_path / "net.safetensors").tensors
    assert {key: value.shape for key, value in read.items()} == \
        layout("n2v-field", config).shapes
    again = registry.build("n2v-field", config)
    again.load_state_dict(read)
    for key, value in again.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key], err_msg=key)


def test_wrong_sides_are_refused(engine):
    import jittor as jt

    from restore_cli.errors import ShapeError
    from restore_cli.nets import registry

    for arch, config, shape in (
            ("n2v-unet", {}, (1, 1, 32, 48)), ("n2v-unet", {}, (1, 3, 32, 32)),
            ("rednet10", {"num_features": 4}, (1, 1, 6, 5)),
            ("n2v-field", {"num_channels_init": 4}, (1, 1, 8, 6)),
            ("n2v-field", {"num_channels_init": 4}, (1, 8, 8)),
            ("n2v-field", {"num_channels_init": 4, "conv_dims": 3}, (1, 1, 2, 8, 8))):
        with pytest.raises(ShapeError, match="multiples of"):
            registry.build(arch, config)(jt.zeros(shape))


@pytest.mark.parametrize("arch,config,part", [
    ("n2v-field", {"conv_dims": 1}, "conv_dims"), ("n2v-field", {"depth": 0}, "depth"),
    ("n2v-field", {"depth": 30}, "depth"), ("n2v-field", {"n2v2": 1}, "true or false"),
    ("n2v-field", {"in_channels": 3}, "num_classes"),
    ("n2v-field", {"in_channels": 3, "independent_channels": False, "residual": True},
     "num_classes"),
    ("n2v-field", {"final_activation": "gelu"}, "final_activation"),
    ("n2v-field", {"kernel": 5}, "no option kernel"),
    ("rednet10", {"in_channels": 3}, "out_channels"),
    ("rednet30", {"num_layers": True}, "num_layers")])
def test_impossible_settings_are_refused(arch, config, part):
    from restore_cli.errors import WeightsError

    with pytest.raises(WeightsError, match=part):
        layout(arch, config)
