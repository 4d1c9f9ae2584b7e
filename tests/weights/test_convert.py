"""Converters: every known kind of checkpoint, and what does not fit."""

from __future__ import annotations

import json

import crafted
import numpy as np
import pytest

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.weights import convert as module
from restore_cli.weights.convert import Draft, convert

MLP = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [8, 8]}}
TINY = {"encoder_spec": {"name": "edsr-baseline",
                         "args": {"no_upsampling": True, "n_resblocks": 2, "n_feats": 4}},
        "imnet_spec": MLP}
RCAN = {"encoder_spec": {"name": "rcan", "args": {
    "no_upsampling": True, "n_resgroups": 2, "n_resblocks": 3, "n_feats": 8, "reduction": 4}},
    "imnet_spec": MLP}
RDN = {"encoder_spec": {"name": "rdn", "args": {"no_upsampling": True, "G0": 4,
                                                "RDNconfig": "A"}}, "imnet_spec": MLP}


def state_of(arch, config, seed=0):
    """Random tensors under the layout's keys."""
    random = np.random.default_rng(seed)
    return {key: random.standard_normal(shape).astype(np.float32)
            for key, shape in layout(arch, config).shapes.items()}


def container(name, args, **more):
    """The LIIF authors' container around a state dict."""
    return lambda state: {"model": {"name": name, "args": args, "sd": state}, **more}


@pytest.fixture
def saved(tmp_path):
    def save(tensors, wrap=lambda state: state):
        path = tmp_path / "weights.pth"
        path.write_bytes(crafted.state_file(tensors, wrap=wrap))
        return path

    return save


def same(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == np.float32 and np.array_equal(found[key], array), key


@pytest.mark.parametrize("case,unused", [("20_checkpoint_zip", ["optimizer", "epoch"]),
                                         ("20_checkpoint_metasr_legacy", []),
                                         ("20_checkpoint_edsr_pt", [])])
def test_reference_checkpoints_bit_exactly(golden, golden_file, case, unused):
    meta = golden(case)["meta"]
    weights, report = convert(golden_file(meta["file"]))
    assert [[key, list(tensor.shape)] for key, tensor in weights.tensors.items()] == meta["keys"]
    shifts = [key for key, _ in meta["keys"] if "sub_mean" in key or "add_mean" in key]
    assert list(report.unused) == shifts + unused
    assert report.fits and not report.filled
    if "model" in meta:
        assert (weights.arch, weights.config) == (meta["model"]["name"], meta["model"]["args"])
    else:
        assert weights.arch == "edsr"
        assert {key: weights.config[key] for key in meta["args"]} == meta["args"]
    rules = meta.get("rules", COMMON_RULES)
    for key, tensor in weights.tensors.items():
        assert np.array_equal(tensor, recipe(key, tensor.shape, rules)), key


COMMON_RULES = [[r"(^|\.)body\.2\.weight$", 0.25], [r"(^|\.)LFF\.weight$", 0.25],
                [r"(^|\.)conv_du\.2\.weight$", 4.0], [r"^imnet\.layers\.(\d+)\.weight$", 1.5]]


def recipe(key, shape, rules):
    """The reference weights, as the golden data's README defines them."""
    import re
    import zlib

    random = np.random.default_rng(zlib.crc32(key.encode()))
    values = random.standard_normal(shape).astype(np.float32)
    values *= np.float32(1 / np.sqrt(np.prod(shape[1:]))) if len(shape) > 1 else np.float32(0.02)
    for pattern, factor in rules:
        if re.search(pattern, key):
            return values * np.float32(factor)
    return values


@pytest.mark.parametrize("arch,config", [("liif", TINY), ("liif", RCAN), ("liif", RDN),
                                         ("metasr", {"encoder_spec": TINY["encoder_spec"]})])
def test_container_with_settings(saved, arch, config):
    state = state_of(arch, config)
    weights, report = convert(saved(state, container(arch, config, epoch=3)), licence="BSD")
    same(weights.tensors, state)
    assert (weights.arch, weights.config) == (arch, config)
    assert "epoch" in report.unused and weights.metadata["licence"] == "BSD"
    assert len(weights.metadata["source_sha256"]) == 64
    assert weights.normalisation == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("config", [
    TINY, RCAN, RDN, {**TINY, "cell_decode": False}, {**TINY, "feat_unfold": False},
    {**TINY, "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [5]}}}])
def test_settings_are_read_off_a_bare_state_dict(saved, config):
    state = state_of("liif", config)
    weights, report = convert(saved(state))
    same(weights.tensors, state)
    assert layout("liif", weights.config) == layout("liif", config)
    assert any("read off the shapes" in note for note in report.notes)


def test_bare_metasr(saved):
    state = state_of("metasr", {"encoder_spec": TINY["encoder_spec"]})
    weights, _ = convert(saved(state))
    assert weights.arch == "metasr"
    same(weights.tensors, state)


def test_module_prefix_is_removed(saved):
    state = state_of("liif", TINY)
    path = saved({f"module.{key}": value for key, value in state.items()},
                 container("liif", TINY))
    weights, report = convert(path)
    same(weights.tensors, state)
    assert any("module." in note for note in report.notes)


def test_misfits_are_listed(saved):
    state = state_of("liif", TINY)
    state["imnet.layers.9.weight"] = np.zeros((1, 1))
    del state["encoder.head.0.bias"], state["imnet.layers.0.bias"]
    state["imnet.layers.2.weight"] = np.zeros((8, 9))
    with pytest.raises(WeightsError) as caught:
        convert(saved(state, container("liif", TINY)))
    text = str(caught.value)
    assert "2 missing (encoder.head.0.bias, imnet.layers.0.bias)" in text
    assert "1 unexpected (imnet.layers.9.weight)" in text
    assert "imnet.layers.2.weight [8, 9] instead of [8, 8]" in text


def test_mean_shifts_that_are_absent_are_filled(saved):
    state = state_of("liif", TINY)
    lean = {key: value for key, value in state.items() if "_mean" not in key}
    weights, report = convert(saved(lean, container("liif", TINY)))
    assert len(report.filled) == 4 and list(weights.tensors) == list(state)
    assert np.array_equal(weights.tensors["encoder.sub_mean.weight"][:, :, 0, 0], np.eye(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(saved, value):
    state = state_of("liif", TINY)
    state["imnet.layers.0.bias"][3] = value
    with pytest.raises(WeightsError, match="imnet.layers.0.bias holds infinite or undefined"):
        convert(saved(state, container("liif", TINY)))


# EDSR


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("levels", [1, 255])
def test_edsr_authors_networks(saved, scale, levels):
    config = {"n_resblocks": 3, "n_feats": 8, "res_scale": 1, "scale": scale,
              "no_upsampling": False}
    state = state_of("edsr", config)
    mean = np.array([0.4488, 0.4371, 0.4040]) * levels
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{name}.weight"] = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
        state[f"{name}.bias"] = (sign * mean).astype(np.float32)
    weights, _ = convert(saved(state))
    assert (weights.arch, weights.config) == ("edsr", config)
    same(weights.tensors, state)
    found_mean, std = weights.normalisation
    # (x - mean) / std is what the network was trained on: levels * x - levels * mean
    assert np.allclose(found_mean, [0.4488, 0.4371, 0.4040], atol=1e-6)
    assert np.allclose(std, 1 / levels)


def test_wide_edsr_scales_its_residuals(saved):
    config = {"n_resblocks": 1, "n_feats": 256, "res_scale": 0.1, "scale": 2,
              "no_upsampling": False}
    weights, report = convert(saved(state_of("edsr", config)))
    assert weights.config == config
    assert any("no mean shift" in note for note in report.notes)
    assert weights.normalisation == ((0.5,) * 3, (0.5,) * 3)


# OpenMMLab


def openmmlab(state, prefix=""):
    """Renames LIIF keys to OpenMMLab's, written independently of the converter."""
    blocks = max((int(key.split(".")[2]) for key in state if key.startswith("encoder.body.")),
                 default=0)
    renamed = {}
    for key, value in state.items():
        if "_mean" in key:
            continue
        parts = key.split(".")
        if parts[0] == "imnet":
            name = f"generator.{key}"
        elif parts[1] == "head":
            name = f"generator.{prefix}conv_first.{parts[-1]}"
        elif parts[1] == "body" and parts[2] == str(blocks):
            name = f"generator.{prefix}conv_after_body.{parts[-1]}"
        elif parts[1] == "body":
            name = (f"generator.{prefix}body.{parts[2]}."
                    f"conv{1 if parts[4] == '0' else 2}.{parts[-1]}")
        elif parts[1].startswith("SFENet"):
            name = f"generator.{prefix}sfe{parts[1][-1]}.{parts[-1]}"
        elif parts[1] == "RDBs" and parts[3] == "LFF":
            name = f"generator.{prefix}rdbs.{parts[2]}.lff.{parts[-1]}"
        elif parts[1] == "RDBs":
            name = f"generator.{prefix}rdbs.{parts[2]}.layers.{parts[4]}.conv.{parts[-1]}"
        else:
            name = f"generator.{prefix}gff.{parts[2]}.{parts[-1]}"
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("config,mean,std", [(TINY, (0.4488, 0.4371, 0.4040), (1.0, 1.0, 1.0)),
                                             (RDN, (0.5,) * 3, (0.5,) * 3)])
@pytest.mark.parametrize("prefix", ["", "encoder."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_openmmlab_names(saved, config, mean, std, prefix, wrapped):
    state = state_of("liif", config)
    theirs = openmmlab(state, prefix)
    theirs[f"generator.{prefix}conv_last.weight"] = np.zeros((3, 4, 3, 3), np.float32)
    path = saved(theirs, (lambda inner: {"meta": {"epoch": 1}, "state_dict": inner}) if wrapped
                 else lambda inner: inner)
    weights, report = convert(path)
    assert weights.normalisation == (mean, std)
    assert layout("liif", weights.config) == layout("liif", config)
    for key, value in state.items():
        if "_mean" not in key:
            assert np.array_equal(weights.tensors[key], value), key
    assert f"generator.{prefix}conv_last.weight" in report.unused
    assert ("meta" in report.unused) == wrapped


def test_openmmlab_key_of_no_known_layer(saved):
    theirs = openmmlab(state_of("liif", TINY))
    theirs["generator.attention.weight"] = np.zeros((3, 4), np.float32)
    with pytest.raises(WeightsError, match="unexpected .generator.attention.weight"):
        convert(saved(theirs))


# Hostile or foreign settings


@pytest.mark.parametrize("args,message", [
    ({"encoder_spec": {"name": "edsr-baseline", "args": {"n_resblocks": 10**9}}}, "no sense"),
    ({"encoder_spec": {"name": "rcan", "args": {"n_resblocks": 900, "n_resgroups": 900}}},
     "810000 blocks"),
    ({"encoder_spec": {"name": "edsr-baseline", "args": {"n_feats": -4}}}, "no sense"),
    ({"encoder_spec": {"name": "edsr-baseline", "args": {"n_feats": "64"}}}, ""),
    ({"encoder_spec": {"name": "edsr-baseline", "args": {"colour": 1}}}, "no option colour"),
    ({"encoder_spec": {"name": "vgg"}}, "unknown encoder"),
    ({"encoder_spec": 3}, "table with a name"), ({"encoder_spec": {"name": 3}}, ""),
    ({"encoder_spec": None}, ""), ({}, ""),
    ({**TINY, "imnet_spec": {"name": "mlp", "args": {"hidden_list": [1] * 100}}}, "100 values"),
    ({**TINY, "imnet_spec": {"name": "mlp", "args": {"hidden_list": [2.5]}}}, ""),
    ({**TINY, "x": crafted.Persistent(("storage",))}, ""),
    ({**TINY, "local_ensemble": float("nan")}, "absurd number"),
    ({"a": {"b": crafted.Name("torch", "FloatStorage")}}, "settings inside hold"),
])
def test_settings_that_make_no_sense(saved, args, message):
    with pytest.raises(WeightsError, match=message or None) as caught:
        convert(saved(state_of("liif", TINY), container("liif", args)))
    assert caught.value.path is not None


@pytest.mark.parametrize("wrap", [
    container("unet", {}), container(["liif"], TINY), lambda state: {"model": 3},
    lambda state: {"model": {"sd": 3}}, lambda state: [state], lambda state: {},
    lambda state: {1: 2}, lambda state: {"state": state}, lambda state: 7,
    container("liif", TINY, model={"name": "liif", "args": TINY, "sd": {"a": 1}})])
def test_unknown_kinds_of_checkpoint(saved, wrap):
    with pytest.raises(WeightsError, match="unknown kind"):
        convert(saved(state_of("liif", TINY), wrap))


def test_announced_network_must_be_the_one_inside(saved):
    path = saved(state_of("liif", TINY), container("liif", TINY))
    assert convert(path, expect=("liif", TINY))[0].arch == "liif"
    for arch, config in (("liif", RCAN), ("metasr", {"encoder_spec": TINY["encoder_spec"]})):
        with pytest.raises(WeightsError, match="not the .* announced"):
            convert(path, expect=(arch, config))


def test_other_systems_register_converters(saved, monkeypatch):
    class Other:
        name = "other"

        def draft(self, value, array):
            if not isinstance(value, dict) or "weird" not in value:
                return None
            return Draft("liif", TINY, value["weird"], ["rest"], normalisation=None,
                         metadata={"training": json.dumps({"seed": 1})})

    module.converters()
    monkeypatch.setattr(module, "_CONVERTERS", list(module._CONVERTERS))
    module.register(Other())
    state = state_of("liif", TINY)
    weights, report = convert(saved(state, lambda inner: {"weird": inner}))
    same(weights.tensors, state)
    assert weights.metadata["training"] == '{"seed": 1}' and "rest" in report.unused


def test_half_precision_tensors_become_float32(tmp_path):
    value = np.arange(6, dtype="<f2")
    path = tmp_path / "x.pth"
    state = {"a": crafted.tensor(crafted.storage_id("0", "HalfStorage"), (6,), (1,))}
    path.write_bytes(crafted.zip_file(state, {"0": value.tobytes()}))
    from restore_cli.weights.torch_file import TorchFile

    with TorchFile(path) as file:
        found = module._numbers("a", file.array(file.value["a"]), path)
    assert found.dtype == np.float32 and np.array_equal(found, value)


def test_complex_tensors_are_refused():
    with pytest.raises(WeightsError, match="complex64"):
        module._numbers("a", np.zeros(3, np.complex64), "x.pth")
