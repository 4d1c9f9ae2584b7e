"""Converting Self-Blind-VSR and PWC-Net: both containers, every width by its shape, terms."""

from __future__ import annotations

import io
import json
from pathlib import Path

import crafted
import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.weights import files, manifest
from restore_cli.weights.convert import convert
from restore_cli.weights.store import Store
from restore_cli.weights.torch_file import TorchFile, shape_of

SUBSETS = Path(__file__).parents[1] / "data" / "vsr"
SMALL = {"n_colors": 3, "n_sequence": 5, "n_feat": 4, "extra_RBS": 2, "recons_RBS": 3, "scale": 4,
         "ksize": 13, "HR_in": False, "flow_channels": [2, 3, 4, 5, 6, 7],
         "flow_dense": [5, 4, 3, 2, 1], "flow_refine": [7, 6, 5, 4, 3, 2], "kernel_channels": 8,
         "kernel_reduction": 4, "kernel_hidden": 11}
FLOW = {key: SMALL[key] for key in ("n_colors", "flow_channels", "flow_dense", "flow_refine")}


def state_of(config, arch="vsr"):
    """Random tensors under the layout's keys."""
    random = np.random.default_rng(0)
    return {key: random.standard_normal(shape).astype(np.float32)
            for key, shape in layout(arch, config).shapes.items()}


def legacy(state):
    """A state dict as PyTorch 0.4.1 saves it on a GPU."""
    tensors, storages = {}, {}
    for index, (key, array) in enumerate(state.items()):
        strides = tuple(int(step) // 4 for step in array.strides)
        identity = crafted.storage_id(str(index), numel=array.size, location="cuda:0",
                                      module="torch.cuda", legacy=True)
        tensors[key] = crafted.tensor(identity, tuple(array.shape), strides)
        storages[str(index)] = (array.size, array.tobytes())
    return crafted.legacy_file(tensors, storages)


def same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def recipe_value(key, shape):
    """What the sample files hold: the recipe of the golden cases, for the keys in them."""
    import zlib

    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    values = values.astype(np.float32)
    if len(shape) == 1:
        return np.float32(0.02) * values
    fan, gain = np.prod(shape[1:]), 1.0
    if "moduleUpflow" in key:
        fan = shape[0] * 4
    elif "moduleExtractor" in key:
        gain = 1.6
    elif key.endswith(".conv2.weight"):
        gain = 0.3
    elif key == "out_conv.1.weight":
        gain = 0.15
    return values * np.float32(gain / np.sqrt(fan))


@pytest.mark.parametrize("name", ["subset_legacy_cuda.pt", "subset_zip.pt"])
def test_upstreams_containers_are_read(name):
    told = json.loads((SUBSETS / "subset.keys.json").read_text())
    with TorchFile(SUBSETS / name) as file:
        assert [[key, list(shape_of(item))] for key, item in file.value.items()] == told
        for key, item in file.value.items():
            np.testing.assert_array_equal(file.array(item), recipe_value(key, shape_of(item)))


@pytest.mark.parametrize("name", ["subset_legacy_cuda.pt", "subset_zip.pt"])
def test_parts_of_a_network_are_refused(name):
    with pytest.raises(WeightsError, match="lacks kernel_net.fc_net") as caught:
        convert(SUBSETS / name)
    assert caught.value.path == SUBSETS / name


@pytest.mark.parametrize("container", [legacy, crafted.state_file])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_width_is_told_by_a_shape(saved, tmp_path, container, prefix):
    state = state_of(SMALL)
    path = saved(container({prefix + key: value for key, value in state.items()}), "x.pt")
    weights, report = convert(path)
    assert (weights.arch, weights.config) == ("vsr", SMALL)
    assert weights.metadata["task"] == "vsr" and report.fits
    assert report.notes == (("the prefix 'module.' was removed from all keys",) if prefix else ())
    same(weights.tensors, state)
    normalisation = json.loads(weights.metadata["normalisation"])
    assert normalisation == {"mean": [0, 0, 0], "std": [1, 1, 1]}
    files.write(tmp_path / "w.safetensors", weights)
    assert files.read(tmp_path / "w.safetensors").config == SMALL


@pytest.mark.parametrize("change", [
    {"scale": 2}, {"scale": 8}, {"n_sequence": 3}, {"extra_RBS": 0}, {"recons_RBS": 0},
    {"ksize": 7}, {"n_colors": 1}, {"kernel_channels": 9, "kernel_reduction": 3}])
def test_other_builds(saved, change):
    config = {**SMALL, **change}
    weights, _ = convert(saved(crafted.state_file(state_of(config))))
    assert weights.config == config


def test_frames_enlarged_before(saved):
    """Nothing in the file tells by how much."""
    config = {key: value for key, value in SMALL.items() if key != "scale"} | {"HR_in": True}
    weights, _ = convert(saved(crafted.state_file(state_of(config))))
    assert weights.config == config and layout("vsr", config).scale == 1


def test_a_converted_network_runs(engine, saved):
    import jittor as jt

    from restore_cli.nets import registry

    state = state_of(SMALL)
    weights, _ = convert(saved(legacy(state), "self_blind_vsr_gaussian.pt"))
    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    with jt.no_grad():
        assert network(jt.zeros((1, 5, 3, 6, 7))).shape == [1, 3, 24, 28]


def test_the_flow_network_alone(engine, saved):
    """As the file that training starts from, and as a part of the whole."""
    import jittor as jt

    from restore_cli.nets import registry

    state = state_of(FLOW, "vsr-flow")
    weights, report = convert(saved(legacy(state), "network-default.pytorch"))
    assert (weights.arch, weights.config) == ("vsr-flow", FLOW)
    assert any("BGR" in note for note in report.notes)
    same(weights.tensors, state)
    whole = state_of(SMALL)
    part = {key.removeprefix("flow_net.moduleNetwork."): value for key, value in whole.items()
            if key.startswith("flow_net.")}
    assert {key: value.shape for key, value in part.items()} == layout("vsr-flow", FLOW).shapes
    alone, network = registry.build("vsr-flow", FLOW), registry.build("vsr", SMALL)
    alone.load_state_dict(part)
    network.load_state_dict(whole)
    first, second = (jt.array(np.random.default_rng(i).random((1, 3, 9, 70), np.float32))
                     for i in range(2))
    with jt.no_grad():
        np.testing.assert_array_equal(alone(first, second).numpy(),
                                      network.flow(first, second).numpy())


def test_layout_of_the_published_flow_network():
    told = layout("vsr-flow", {})
    assert (told.parameters, told.scale) == (9_374_274, 1)
    with pytest.raises(WeightsError, match="no option"):
        layout("vsr-flow", {"n_feat": 3})


@pytest.mark.parametrize(("key", "shape", "message"), [
    ("recons_net.1.conv2.weight", None, "1 missing .recons_net.1.conv2.weight"),
    ("recons_net.1.conv2.bias", (5,), "1 reshaped"), ("extra", (3,), "1 unexpected"),
    ("fusion_conv.0.weight", (4, 21, 3, 3), "21 channels"),
    ("fusion_conv.0.weight", (4, 16, 3, 3), "n_sequence = 4"),
    ("in_conv.0.weight", (4, 3), "reshaped"),
    ("kernel_net.fc_net.1.weight", (170, 11), "reshaped"),
    ("flow_net.moduleNetwork.moduleTwo.moduleOne.0.weight", None, "lacks flow_net")])
def test_misfits_are_told(saved, key, shape, message):
    state = state_of(SMALL)
    if shape is None:
        del state[key]
    else:
        state[key] = np.zeros(shape, np.float32)
    path = saved(crafted.state_file(state))
    with pytest.raises(WeightsError, match=message) as caught:
        convert(path)
    assert caught.value.path == path


def test_programs_in_the_container_are_refused(saved):
    evil = crafted.Call(crafted.Name("os", "system"), ("true",))
    path = saved(crafted.legacy_file({"in_conv.0.weight": evil}, {}))
    with pytest.raises(WeightsError, match="os.system"):
        convert(path)


@pytest.mark.parametrize(("name", "blur"), [
    ("self_blind_vsr_gaussian.pt", "gaussian"), ("self_blind_vsr_realistic (1).pt", "realistic"),
    ("mine.pt", None), ("self_blind_vsr_realistically.pt", None)])
def test_names_of_published_files(saved, name, blur):
    facts = convert(saved(crafted.state_file(state_of(SMALL)), name))[0].metadata
    assert facts.get("blur") == blur
    assert facts["licence"].startswith("CC BY-NC-SA 4.0" if blur else "unknown")


def entries():
    found = manifest.load({}).entries
    return [found[name] for name in ("self-blind-vsr-gaussian", "self-blind-vsr-realistic",
                                     "pwc-net")]


def test_published_files_are_listed_with_terms():
    for entry in entries():
        assert entry.licence.startswith("CC BY-NC-SA 4.0") and entry.commercial == "no"
        assert bool(entry.page) is (entry.arch == "vsr") is not bool(entry.urls)
        assert not entry.default and entry.note and entry.sha256 == "unpinned"


def test_what_only_a_page_offers_is_taken_from_a_file(saved, tmp_path):
    """Nothing is asked of a server; the file itself is checked as any other."""
    known = entries()[0]
    table = {key: getattr(known, key) for key in (
        "task", "arch", "licence", "commercial", "source", "training_data", "facts", "page")}
    entry = manifest.entry("x", {**table, "config": SMALL})
    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), {})
    store = Store(tmp_path / "cache", {}, manifest=manifest.Manifest({"x": entry}, tmp_path),
                  console=console)
    for attempt in (store.fetch, lambda name: store.find(name, "vsr")):
        with pytest.raises(WeightsError, match="page to download by hand") as caught:
            attempt("x")
        assert known.page in caught.value.hint and "--from" in caught.value.hint
    path = saved(legacy(state_of(SMALL)), "download.pt")
    facts = files.read(store.fetch("x", source=str(path))).metadata
    assert facts["blur"] == "gaussian" and facts["task"] == "vsr"
    assert "not for commercial use" in console.stderr.getvalue()
    assert store.status("x").state == "cached"


def test_all_leaves_out_what_only_a_page_offers(tmp_path):
    from restore_cli.errors import UsageError
    from restore_cli.jobs import weights as job

    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), {})
    with pytest.raises(UsageError, match="name the weights"):
        job.fetch(console, [], task="vsr", everything=True,
                  environ={"RESTORE_CACHE": str(tmp_path)})
