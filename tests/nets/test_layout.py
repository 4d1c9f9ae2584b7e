"""Layouts told without Jittor against the modules built, and strict loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import recipe

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout

DATA = Path(__file__).parents[1] / "data" / "liif"
IMPLICIT = {"no_upsampling": True}
SPECS = [
    recipe.liif_spec(),
    recipe.liif_spec(hidden=(), local_ensemble=False),
    recipe.liif_spec(feat_unfold=False, cell_decode=False),
    recipe.metasr_spec(),
    {"name": "liif", "args": {"encoder_spec": {"name": "rdn", "args": {
        "RDNconfig": "A", "G0": 16, "scale": 4}}}},
    {"name": "edsr-baseline", "args": IMPLICIT},
    {"name": "edsr", "args": {"n_resblocks": 2, "n_feats": 8, "scale": 8}},
    {"name": "edsr", "args": {"n_resblocks": 2, "n_feats": 8, "scale": 3}},
    {"name": "rdn", "args": {"RDNconfig": "A", "G0": 8, "scale": 3}},
    {"name": "rdn", "args": {"RDNconfig": "B", "G0": 8, **IMPLICIT}},
    {"name": "rcan", "args": {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 16, "reduction": 4,
                              "scale": 2}},
    {"name": "mlp", "args": {"in_dim": 5, "out_dim": 2, "hidden_list": [7, 3]}},
]
CASES = ["02_edsr_baseline_liif", "04_edsr_full_liif", "05_rdn_liif", "06_rcan_liif_small",
         "07_metasr_edsr_baseline", "08_metasr_rdn", "09_liif_c", "10_liif_u", "11_liif_e",
         "12_liif_d", "19_train_step", "21_tiling"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_layout_is_the_built_modules_state_dict(engine, spec):
    from restore_cli.nets import registry

    told = layout(spec["name"], spec["args"])
    built = registry.build(spec["name"], spec["args"]).state_dict()
    assert list(told.shapes.items()) == [(key, tuple(v.shape)) for key, v in built.items()]
    assert told.optional <= set(told.shapes)


@pytest.mark.parametrize("name", CASES)
def test_layout_is_upstreams_list_of_keys(golden, name):
    """Key, shape and order as upstream's code builds them."""
    spec = golden(name)["meta"]["model"]
    told = layout(spec["name"], spec["args"])
    upstream = json.loads((DATA / f"{name}.keys.json").read_text())
    assert [(key, list(shape)) for key, shape in told.shapes.items()] == \
        [(entry[0], list(entry[1])) for entry in upstream]


def test_fixed_scale_layouts(golden):
    upstream = json.loads((DATA / "13_fixed_scale.keys.json").read_text())
    models = golden("13_fixed_scale")["meta"]["models"]
    assert set(models) == set(upstream)
    for tag, told in models.items():
        shapes = layout(told["spec"]["name"], told["spec"]["args"]).shapes
        assert [(key, list(shape)) for key, shape in shapes.items()] == \
            [(entry[0], list(entry[1])) for entry in upstream[tag]]


def test_published_parameter_counts():
    decoder = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256] * 4}}
    for encoder, total in (("edsr-baseline", 1_567_323), ("rdn", 22_320_835),
                           ("edsr", 39_151_643)):
        spec = {"name": encoder, "args": IMPLICIT}
        told = layout("liif", {"encoder_spec": spec, "imnet_spec": decoder})
        unused = sum(int(np.prod(told.shapes[key])) for key in told.optional)
        assert told.parameters + unused == total, encoder
        assert unused == (0 if encoder == "rdn" else 24)


@pytest.mark.parametrize("name,config,word", [
    ("lif", {}, "liif"),
    ("edsr", {"n_blocks": 3}, "n_blocks"),
    ("rdn", {"RDNconfig": "C"}, "RDNconfig"),
    ("rdn", {"scale": 8}, "x8"),
    ("edsr-baseline", {"scale": 5}, "x5"),
    ("liif", {"encoder_spec": {"name": "vgg", "args": {}}}, "vgg"),
    ("liif", {"encoder_spec": None}, "encoder_spec"),
    ("liif", {"encoder_spec": {"name": "edsr", "args": IMPLICIT},
              "imnet_spec": {"name": "siren", "args": {}}}, "siren"),
])
def test_wrong_configurations_are_refused(name, config, word):
    with pytest.raises(WeightsError) as caught:
        layout(name, config)
    assert word in str(caught.value)


@pytest.fixture
def small(engine):
    spec = recipe.liif_spec()
    module = recipe.network(spec)
    return module, recipe.fill(layout(spec["name"], spec["args"]).shapes, [("weight", 2.0)])


def _values(module):
    return {key: value.numpy().copy() for key, value in module.state_dict().items()}


def test_loading_lists_every_fault_and_loads_nothing(small):
    module, tensors = small
    before = _values(module)
    tensors.pop("imnet.layers.2.bias")
    tensors["encoder.extra"] = np.zeros(3, np.float32)
    tensors["encoder.head.0.weight"] = np.zeros((16, 3, 5, 5), np.float32)
    with pytest.raises(WeightsError) as caught:
        module.load_state_dict(tensors)
    text = str(caught.value)
    assert "missing imnet.layers.2.bias" in text
    assert "unexpected encoder.extra" in text
    assert "encoder.head.0.weight has shape (16, 3, 5, 5), expected (16, 3, 3, 3)" in text
    for key, value in _values(module).items():
        np.testing.assert_array_equal(value, before[key])


def test_a_permuted_shape_of_equal_size_is_refused(small):
    module, tensors = small
    tensors["imnet.layers.4.weight"] = tensors["imnet.layers.4.weight"].T
    with pytest.raises(WeightsError, match=r"imnet\.layers\.4\.weight has shape \(64, 3\)"):
        module.load_state_dict(tensors)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_loading_casts_to_the_parameters_type(small, dtype):
    module, tensors = small
    module.load_state_dict({key: value.astype(dtype) for key, value in tensors.items()})
    for key, value in module.state_dict().items():
        assert str(value.dtype) == "float32"
        np.testing.assert_array_equal(value.numpy(),
                                      tensors[key].astype(dtype).astype(np.float32))


def test_loading_accepts_slices_and_vars(small):
    """Arrays need not be contiguous, and another network's state dict can be given as it is."""
    module, tensors = small
    strided = {key: np.stack([value, value], axis=-1)[..., 0] for key, value in tensors.items()}
    module.load_state_dict(strided)
    other = recipe.network(recipe.liif_spec())
    other.load_state_dict(module.state_dict())
    for key, value in _values(other).items():
        np.testing.assert_array_equal(value, tensors[key])


def test_loaded_weights_do_not_alias_the_callers_arrays(small):
    module, tensors = small
    module.load_state_dict(tensors)
    kept = {key: value.copy() for key, value in tensors.items()}
    for value in tensors.values():
        value += 1
    for key, value in _values(module).items():
        np.testing.assert_array_equal(value, kept[key])


def test_loading_weights_draws_no_random_ones(engine):
    import jittor as jt

    from restore_cli.nets import registry

    args = {"n_resblocks": 1, "n_feats": 8, **IMPLICIT}
    source = registry.build("edsr", args)
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    drawn = []
    for loading in (False, True):
        jt.set_global_seed(5)
        if loading:
            network = registry.build("edsr", args)
            network.load_state_dict(state)
        drawn.append(jt.rand(3).numpy())
    np.testing.assert_array_equal(*drawn)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key])
