"""Converting denoising checkpoints: Noise2Void_jittor, noise2noise-pytorch and CAREamics."""

from __future__ import annotations

import io
import json
import zipfile

import crafted
import numpy as np
import pytest

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.weights import convert as module
from restore_cli.weights import files, manifest
from restore_cli.weights.convert import convert

FIELD = {"conv_dims": 2, "depth": 2, "num_channels_init": 4, "in_channels": 1, "num_classes": 1,
         "n2v2": False, "use_batch_norm": True, "independent_channels": True, "residual": False,
         "final_activation": None}
CONTAINERS = ("best.pth", "legacy_nonzip.pth", "epoch_statedict.pth", "jtsave.pkl")


def state_of(arch, config, seed=0):
    """Random tensors under the layout's keys."""
    random = np.random.default_rng(seed)
    return {key: random.standard_normal(shape).astype(np.float32)
            for key, shape in layout(arch, config).shapes.items()}


def field(**changes):
    """Configuration and random tensors of a small U-Net of CAREamics."""
    config = {**FIELD, **changes}
    return config, state_of("n2v-field", config)


def lightning(state, model=None, data=None, prefix="model.", **more):
    """A file for `store`: the container of a Lightning checkpoint around a state dict."""
    hyper = {"algorithm_config": {"algorithm": "n2v", "loss": "n2v",
                                  "model": {"architecture": "UNet", **(model or {})}}}
    if data is not None:
        hyper["data_config"] = data
    return ({prefix + key: value for key, value in state.items()},
            lambda inner: {"epoch": 3, "state_dict": inner, "hyper_parameters": hyper, **more})


@pytest.fixture
def store(saved):
    """Writes a state dict in a container and returns the file's path."""
    return lambda tensors, wrap=lambda state: state: saved(crafted.state_file(tensors, wrap=wrap))


@pytest.fixture
def golden_path():
    from pathlib import Path

    return lambda name: Path(__file__).parents[1] / "data" / "n2v" / name


def fed(weights):
    return json.loads(weights.metadata["normalisation"])


def run(weights, x):
    """The network's output for a batch."""
    import jittor as jt

    from restore_cli.nets import registry

    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    with jt.no_grad():
        return network(jt.array(x)).numpy()


# Containers of the Noise2Void code


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_reference_output(engine, golden, golden_path, tmp_path,
                                                    container):
    weights, report = convert(golden_path(f"ckpt_rednet10_f8_{container}"))
    assert (weights.arch, weights.config) == ("rednet10", {
        "in_channels": 1, "out_channels": 1, "num_features": 8, "residual": True})
    assert fed(weights) == {"kind": "unit", "clip": False}
    assert report.unused == (("epoch",) if "epoch" in container else ())
    files.write(tmp_path / "w.safetensors", weights)
    case = golden("ckpt_rednet10_f8", "n2v")
    found = run(files.read(tmp_path / "w.safetensors"), case["input"])
    assert np.abs(found - case["output"]).max() < 1e-4 * np.abs(case["output"]).max()


def test_a_pickled_module_is_refused_with_a_way_out(golden_path):
    with pytest.raises(WeightsError, match="model.REDNet10.*nothing was run") as caught:
        convert(golden_path("ckpt_rednet10_f8_epoch_module.pth"))
    assert "state_dict()" in caught.value.hint and caught.value.path is not None


def test_published_weights_denoise_as_published(engine, shared_data):
    folder = shared_data.parent / "golden" / "n2v"
    path = folder / "weights" / "best_N2V_Unet_[25].pth"
    if not path.exists():
        pytest.skip("no published weights in the shared test data")
    weights, report = convert(path)
    assert (weights.arch, weights.config) == ("n2v-unet", {"in_channels": 1, "out_channels": 1})
    assert weights.metadata["licence"] == "MIT" and report.fits
    with np.load(folder / "unet_real25_camera.npz") as case:
        expected = np.squeeze(case["output"])
        found = run(weights, case["noisy"].reshape(1, 1, *expected.shape).astype(np.float32))
    assert np.abs(np.squeeze(found) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("sigma", [10, 25, 30, 50])
def test_published_files_are_those_of_the_manifest(shared_data, sigma):
    path = shared_data.parent / "golden" / "n2v" / "weights" / f"best_N2V_Unet_[{sigma}].pth"
    if not path.exists():
        pytest.skip("no published weights in the shared test data")
    entry = manifest.load({}).entries[f"n2v-unet-sigma{sigma}"]
    weights, _ = convert(path, expect=(entry.arch, entry.config))
    assert path.stat().st_size == entry.size
    assert entry.accepts(weights.metadata["source_sha256"])


# Networks of the Noise2Void code


@pytest.mark.parametrize("arch", ["rednet10", "rednet20", "rednet30"])
@pytest.mark.parametrize("channels", [1, 3])
def test_rednets_are_told_by_their_depth(store, arch, channels):
    config = {"in_channels": channels, "out_channels": channels, "num_features": 4,
              "residual": True}
    state = state_of(arch, config)
    weights, report = convert(store(state))
    assert (weights.arch, weights.config) == (arch, config)
    assert all(np.array_equal(weights.tensors[key], value) for key, value in state.items())
    assert any("adds the input" in note for note in report.notes)


def test_a_rednet_of_another_depth(store):
    state = {key: value for key, value in state_of("rednet10", {"num_features": 2}).items()
             if "layers.4" not in key}
    with pytest.raises(WeightsError, match="REDNet of 4 layers.*rednet10 of 5"):
        convert(store(state))


def test_misfits_of_a_unet_are_listed(store):
    state = state_of("n2v-unet", {})
    del state["_block3.0.bias"]
    state["_block7.0.weight"] = np.zeros((1, 1))
    with pytest.raises(WeightsError, match=r"1 missing \(_block3.0.bias\); 1 unexpected"):
        convert(store(state))


def test_colour_weights_are_told_apart_by_their_hash(store, monkeypatch):
    config = {"in_channels": 3, "out_channels": 3}
    path = store(state_of("n2v-unet", config))
    weights, report = convert(path)
    assert weights.config == config and fed(weights) == {"kind": "unit", "clip": False}
    assert any("unit-8bit" in note for note in report.notes)
    known = manifest.load({}).entries["n2n-gaussian"]
    table = {**{key: getattr(known, key) for key in (
        "task", "arch", "config", "licence", "commercial", "source", "training_data", "urls",
        "normalisation")}, "sha256": weights.metadata["source_sha256"]}
    made = manifest.Manifest({"x": manifest.entry("x", table)}, path)
    monkeypatch.setattr(module.manifest, "load", lambda: made)
    weights, _ = convert(path)
    assert fed(weights) == {"kind": "unit", "clip": True, "quantise": True}
    assert weights.metadata["licence"] == "MIT"


# CAREamics


@pytest.mark.parametrize("changes", [
    {}, {"n2v2": True}, {"conv_dims": 3}, {"depth": 1}, {"depth": 3, "n2v2": True},
    {"in_channels": 3, "num_classes": 3},
    {"in_channels": 3, "num_classes": 3, "independent_channels": False},
    {"in_channels": 2, "num_classes": 2, "n2v2": True, "conv_dims": 3}])
def test_shapes_tell_the_architecture(store, changes):
    config, state = field(**changes)
    weights, report = convert(store(state))
    found = {**FIELD, **weights.config}
    assert (weights.arch, found) == ("n2v-field", config)
    assert all(np.array_equal(weights.tensors[key], value) for key, value in state.items())
    assert fed(weights) == {"kind": "image"}
    assert any("no normalisation" in note for note in report.notes)
    assert any("without residual" in note for note in report.notes)


def test_unused_batch_norm_is_told_by_its_values(store):
    _, state = field()
    for key in state:
        if "batch_norm" in key:
            state[key][...] = key.endswith(("weight", "running_var"))
    weights, report = convert(store(state))
    assert weights.config["use_batch_norm"] is False
    assert any("out of use" in note for note in report.notes)
    state["decoder.bottleneck.batch_norm2.running_mean"][0] = 0.25
    assert convert(store(state))[0].config["use_batch_norm"] is True


@pytest.mark.parametrize("prefix", ["model.", "model.model."])
def test_lightning_files_tell_the_rest(store, prefix):
    stated = {"conv_dims": 2, "residual": True, "use_batch_norm": False,
              "final_activation": "Sigmoid", "num_channels_init": 4, "dropout": 0.0}
    _, state = field()
    tensors, wrap = lightning(state, stated, {"image_means": ["1.1072e+02"],
                                              "image_stds": ["6.3656e+01"]}, prefix)
    tensors["noise_model.weight"] = np.zeros(2, np.float32)
    weights, report = convert(store(tensors, wrap))
    assert weights.config["residual"] is True and weights.config["use_batch_norm"] is False
    assert weights.config["final_activation"] == "Sigmoid"
    assert fed(weights) == {"kind": "fixed", "mean": [110.72], "std": [63.656]}
    assert {"noise_model.weight", "epoch", "hyper_parameters"} <= set(report.unused)
    assert not report.notes


@pytest.mark.parametrize(("table", "mean", "std"), [
    ({"name": "mean_std", "input_means": [5.0], "input_stds": [2.0], "target_means": None},
     [5.0, 5.0], [2.0, 2.0]),
    ({"name": "min_max", "input_mins": [-1, 0], "input_maxes": [3, 1]}, [-1, 0], [4, 1]),
    ({"name": "quantile", "input_lower_quantile_values": [10, 20],
      "input_upper_quantile_values": [110, 220]}, [10, 20], [100, 200]),
    ({"name": "none"}, [0, 0], [1, 1])])
def test_normalisations_of_the_data_module(store, table, mean, std):
    _, state = field(in_channels=2, num_classes=2)
    tensors, wrap = lightning(state, datamodule_hyper_parameters={
        "data_config": {"axes": "CYX", "normalization": table}})
    assert fed(convert(store(tensors, wrap))[0]) == {"kind": "fixed", "mean": mean, "std": std}


@pytest.mark.parametrize(("model", "data", "message"), [
    ({"depth": 3}, None, "states depth = 3 .* depth = 2"),
    ({"n2v2": True}, None, "states n2v2 = True"),
    ({"architecture": "LVAE"}, None, "'LVAE' of CAREamics"),
    ({"pool_kernel": 4}, None, "pool_kernel = 4"),
    ({"final_activation": "ELU"}, None, "final_activation"),
    ({"use_batch_norm": "yes"}, None, "use_batch_norm"),
    ({"x": crafted.Name("torch", "FloatStorage")}, None, "settings inside hold"),
    ({}, {"image_means": [1, 2], "image_stds": [1, 2]}, "makes no sense.*1 channels"),
    ({}, {"image_means": [1], "image_stds": [0]}, "makes no sense"),
    ({}, {"image_means": ["nan"], "image_stds": [1]}, "makes no sense"),
    ({}, {"image_means": [{}], "image_stds": [1]}, "makes no sense"),
    ({}, {"image_means": [1], "image_stds": [1], "target_means": [2], "target_stds": [1]},
     "another brightness"),
    ({}, {"normalization": {"name": "histogram"}}, "normalisation 'histogram'"),
])
def test_contradictions_and_nonsense(store, model, data, message):
    tensors, wrap = lightning(field()[1], model, data)
    with pytest.raises(WeightsError, match=message) as caught:
        convert(store(tensors, wrap))
    assert caught.value.path is not None


def test_two_networks_in_one_file(store):
    _, state = field()
    tensors = {f"{name}.{key}": value for name in ("model", "average")
               for key, value in state.items()}
    with pytest.raises(WeightsError, match="holds 2 networks"):
        convert(store(tensors, lambda inner: {"state_dict": inner}))


@pytest.mark.parametrize(("key", "shape", "message"), [
    ("final_conv.weight", (400, 4, 1, 1), "1 channels into 400"),
    ("encoder.encoder_blocks.0.conv2.weight", (12, 2, 3, 3), "6 channels into 1"),
    ("encoder.encoder_blocks.0.conv1.weight", (4, 2, 3, 3), "2 channels into 1"),
    ("encoder.encoder_blocks.0.conv2.weight", (0,), "strange"),
    ("encoder.encoder_blocks.0.conv1.weight", (4,), "strange"),
    ("decoder.bottleneck.conv1.weight", (16, 8, 5, 5), "instead of"),
    ("encoder.encoder_blocks.9.conv1.weight", (1, 1, 3, 3), "lacks decoder.decoder_blocks.5"),
])
def test_shapes_that_make_no_sense(store, key, shape, message):
    _, state = field()
    state[key] = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match=message):
        convert(store(state))


@pytest.mark.parametrize(("arch", "config", "message"), [
    ("rednet10", {"num_layers": 60_000}, "60000 blocks"),
    ("n2v-field", {"depth": 60_000}, "at most"),
    ("n2v-field", {"num_channels_init": 10**9}, "no sense"),
    ("n2v-unet", {"in_channels": -1}, "no sense")])
def test_settings_of_our_own_files_are_bounded(tmp_path, arch, config, message):
    path = tmp_path / "w.safetensors"
    files.write(path, files.Weights(arch, config, {"x": np.zeros(1, np.float32)}))
    with pytest.raises(WeightsError, match=message):
        files.read(path)


def test_groups_that_are_no_channels(store):
    _, state = field()
    state["encoder.encoder_blocks.0.conv1.weight"] = np.zeros((4, 2, 3, 3), np.float32)
    state["encoder.encoder_blocks.0.conv2.weight"] = np.zeros((4, 2, 3, 3), np.float32)
    with pytest.raises(WeightsError, match="4 channels into 2 groups"):
        convert(store(state))


def test_a_bioimage_package_says_what_to_do(saved):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rdf.yaml", "type: model")
        archive.writestr("weights.pth", b"PK")
    with pytest.raises(WeightsError, match="bioimage.io package") as caught:
        convert(saved(buffer.getvalue(), "model.zip"))
    assert "Unpack it" in caught.value.hint
