"""Converting RAW denoisers of Srameo/LED: networks, containers, forms, names, virtual cameras."""

from __future__ import annotations

import json
from pathlib import Path

import crafted
import numpy as np
import pytest
from refusals import refused

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.nets.led import fold
from restore_cli.training.degradations import raw_noise
from restore_cli.training.degradations.raw_noise_virtual import to_arrays
from restore_cli.weights import convert as module
from restore_cli.weights import files, manifest
from restore_cli.weights.convert import convert
from restore_cli.weights.converters import led_noise

CHECKPOINTS = Path(__file__).parents[1] / "data" / "led" / "ckpt"
GENERATOR = "VirtualNoisyPairGenerator_ELD_ptrqc_5VirtualCameras_sample.pth"
UNET = {"inchannels": 4, "outchannels": 4, "channels": 2}
NAFNET = {"img_channel": 4, "width": 2, "middle_blk_num": 3, "enc_blk_nums": [2, 1, 0],
          "dec_blk_nums": [0, 1, 2]}
RESTORMER = {"inp_channels": 4, "out_channels": 4, "dim": 8, "num_blocks": [1, 2, 1, 1],
             "num_refinement_blocks": 2, "heads": [1, 2, 4, 8], "ffn_expansion_factor": 2.66,
             "bias": False, "LayerNorm_type": "WithBias", "folded": False}
NETWORKS = [("led-unet", UNET), ("led-cunet", {**UNET, "channels": 32}), ("led-nafnet", NAFNET),
            ("led-restormer", RESTORMER)]
PRETRAINED = {"branches": 5, "aux": False}
FITTED = {"branches": 3, "aux": True}


def state_of(arch, config, seed=0):
    """Random tensors under the layout's keys."""
    random = np.random.default_rng(seed)
    return {key: random.standard_normal(shape).astype(np.float32)
            for key, shape in layout(arch, config).shapes.items()}


def same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.fixture
def store(saved):
    """Writes state dicts in a container of upstream's and returns the file's path."""

    def write(state=None, name="x.pth", **more):
        parts = {"params": state, **more}
        parts = {key: value for key, value in parts.items() if value is not None}
        flat = {f"{part}/{key}": value for part, held in parts.items()
                for key, value in held.items()}

        def wrap(tensors):
            return {part: {key: tensors[f"{part}/{key}"] for key in held}
                    for part, held in parts.items()}

        return saved(crafted.state_file(flat, wrap=wrap), name)

    return write


# Upstream's own files


@pytest.mark.parametrize(("name", "arch", "stage"), [
    ("ELD_Deploy_tiny_c1", "led-unet", "plain"),
    ("ELD_Deploy_tiny_c1_dataparallel", "led-unet", "plain"),
    ("LED_Pretrain_tiny_c1", "led-unet", "pretrain"),
    ("LED_Deploy_tiny_c1", "led-unet", "finetune"),
    ("LED+NAFNet_Deploy_tiny_w4", "led-nafnet", "finetune"),
    ("LED+Restormer_Deploy_tiny_d2", "led-restormer", "finetune")])
def test_every_container_gives_the_reference_output(engine, tmp_path, name, arch, stage):
    import jittor as jt

    from restore_cli.nets import registry

    weights, report = convert(CHECKPOINTS / f"{name}.pth")
    assert weights.arch == arch and weights.metadata["stage"] == stage and report.fits
    assert weights.metadata["task"] == "denoise-raw"
    assert (report.unused == ("params_deploy",)) is (stage == "finetune")
    files.write(tmp_path / "w.safetensors", weights)
    weights = files.read(tmp_path / "w.safetensors")

    def run(config, tensors):
        network = registry.build(arch, config)
        network.load_state_dict(tensors)
        with jt.no_grad():
            return network(jt.array(case["x"])).numpy()

    with np.load(CHECKPOINTS / "ckpt_outputs.npz") as case:
        key = name.removesuffix("_dataparallel")
        found = {key: run(*fold.ready(arch, weights.config, weights.tensors))}
        if stage == "pretrain":
            found = {f"{key}__generalized": found[key],
                     f"{key}__branch1": run(*fold.fold(arch, weights.config, weights.tensors, 1))}
        for label, output in found.items():
            assert np.abs(output - case[label]).max() < 1e-4 * np.abs(case[label]).max(), label


def test_a_prefix_is_told():
    prefixed = convert(CHECKPOINTS / "ELD_Deploy_tiny_c1_dataparallel.pth")
    bare = convert(CHECKPOINTS / "ELD_Deploy_tiny_c1.pth")
    same(prefixed[0].tensors, bare[0].tensors)
    assert prefixed[1].notes == ("the prefix 'module.' was removed from all keys",)


def test_pretrained_files_can_be_fitted_and_know_any_camera():
    weights, report = convert(CHECKPOINTS / "LED_Pretrain_tiny_c1.pth")
    assert weights.config["repnr"] == PRETRAINED
    assert json.loads(weights.metadata["cameras"]) == ["any"]
    assert any("--finetune" in note for note in report.notes)
    config, _ = fold.to_finetune(weights.arch, weights.config, weights.tensors)
    assert config["repnr"]["aux"] is True


# Networks and forms


@pytest.mark.parametrize(("arch", "config"), NETWORKS)
@pytest.mark.parametrize("container", [{}, {"bare": True}])
def test_plain_networks_are_told_by_their_shapes(store, saved, arch, config, container):
    state = state_of(arch, config)
    path = saved(crafted.state_file(state)) if container else store(state)
    weights, _ = convert(path)
    assert (weights.arch, weights.config) == (arch, {**config, "repnr": None})
    assert weights.metadata["stage"] == "plain" and "cameras" not in weights.metadata
    same(weights.tensors, state)


@pytest.mark.parametrize(("arch", "config"), NETWORKS)
def test_pretrained_networks_stay_as_they_are(store, arch, config):
    config = {**config, "repnr": {"branches": 2, "aux": False}}
    state = state_of(arch, config)
    weights, _ = convert(store(state))
    assert (weights.arch, weights.config) == (arch, config)
    same(weights.tensors, state)


@pytest.mark.parametrize(("arch", "config"), NETWORKS)
def test_fitted_networks_are_folded_from_params(store, arch, config):
    config = {**config, "repnr": FITTED}
    state = state_of(arch, config)
    folded, expected = fold.fold(arch, config, state)
    wrong = {key: np.zeros_like(value) for key, value in expected.items()}
    weights, report = convert(store(state, params_deploy=wrong))
    assert (weights.arch, weights.config) == (arch, folded)
    same(weights.tensors, expected)
    assert report.unused == ("params_deploy",)
    assert any("is wrong" in note for note in report.notes) is (arch in ("led-nafnet",
                                                                        "led-restormer"))


def test_a_deployed_file_without_parallel_convolutions_is_fitted_too(store):
    config = {**UNET, "repnr": PRETRAINED}
    state = state_of("led-unet", config)
    expected = fold.fold("led-unet", config, state)[1]
    weights, _ = convert(store(state, params_deploy=expected))
    assert weights.config["repnr"] is None and weights.metadata["stage"] == "finetune"
    same(weights.tensors, expected)


def test_averaged_weights_go_first(store):
    average, last = state_of("led-unet", UNET, 1), state_of("led-unet", UNET, 2)
    weights, report = convert(store(last, params_ema=average))
    same(weights.tensors, average)
    assert report.unused == ("params",) and "params_ema" in report.notes[0]


@pytest.mark.parametrize("changes", [
    {"bias": True}, {"LayerNorm_type": "BiasFree"}, {"folded": True},
    {"ffn_expansion_factor": 2.0}, {"num_blocks": [1, 0, 1, 1], "heads": [2, 1, 4, 8]}])
def test_forms_of_restormer(store, changes):
    config = {**RESTORMER, **changes}
    state = state_of("led-restormer", config)
    weights, _ = convert(store(state))
    found = dict(weights.config)
    factor = found.pop("ffn_expansion_factor")
    assert int(factor * 8) == int(config.pop("ffn_expansion_factor") * 8)
    assert found == {**config, "repnr": None}
    same(weights.tensors, state)


# What cannot be used


@pytest.mark.parametrize(("arch", "config", "value", "part"), [
    ("led-nafnet", NAFNET, 0, (".beta", ".gamma")),
    ("led-restormer", RESTORMER, 1, (".temperature",))])
@pytest.mark.parametrize("container", ["params", "params_deploy"])
def test_ruined_deployments_are_refused(store, arch, config, value, part, container):
    state = state_of(arch, config)
    keys = [key for key in state if key.endswith(part)]
    for key in keys:
        state[key][...] = value
    with pytest.raises(WeightsError, match="deployment loses them") as caught:
        convert(store(**{container: state} if container != "params" else {"state": state}))
    assert "params" in caught.value.hint and caught.value.path is not None
    state[keys[0]].flat[0] += 0.25
    weights, _ = convert(store(**{container: state} if container != "params"
                               else {"state": state}))
    same(weights.tensors, state)


def test_a_deployed_unet_alone_will_do(store):
    state = state_of("led-unet", UNET)
    weights, _ = convert(store(params_deploy=state))
    same(weights.tensors, state)


@pytest.mark.parametrize("form", [None, PRETRAINED, FITTED])
def test_misfits_are_all_listed(store, form):
    state = state_of("led-unet", {**UNET, "repnr": form})
    part = ".weight" if form is None else ".main_weight"
    del state["conv3_1.bias" if form is None else "conv3_1.align_biases.1"], state["upv7.bias"]
    state[f"conv2_2{part}"] = np.zeros((4, 4, 1, 1), np.float32)
    state["conv11.weight"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match=r"2 missing.*1 unexpected \(conv11.weight\).*1 "
                                           r"reshaped \(conv2_2") as caught:
        convert(store(state))
    assert caught.value.path is not None


@pytest.mark.parametrize(("arch", "config", "message"), [
    ("led-unet", {**UNET, "outchannels": 12}, "U-Net that makes 12 channels of 4"),
    ("led-nafnet", {**NAFNET, "img_channel": 3}, "NAFNet that makes 3 channels of 3"),
    ("led-restormer", {**RESTORMER, "inp_channels": 3, "out_channels": 3},
     "Restormer that makes 3 channels of 3")])
def test_networks_for_other_pictures(store, arch, config, message):
    with pytest.raises(WeightsError, match=message) as caught:
        convert(store(state_of(arch, config)))
    assert "developed pictures" in caught.value.hint


@pytest.mark.parametrize(("arch", "config", "key", "shape", "message"), [
    ("led-unet", UNET, "conv1_1.weight", (4,), "strange conv1_1.weight"),
    ("led-unet", UNET, "conv10_1.weight", (0,), "makes 0|strange"),
    ("led-cunet", {**UNET, "channels": 32}, "conv1_1.weight", (16, 4, 3, 3), "channels = 16"),
    ("led-nafnet", NAFNET, "intro.weight", (0, 4, 3, 3), "width = 0"),
    ("led-nafnet", NAFNET, "encoders.70000.0.beta", (1,), "unexpected"),
    ("led-nafnet", NAFNET, "downs.9.x", (1,), "missing|list of 1 to"),
    ("led-restormer", RESTORMER, "latent.0.attn.temperature", (), "strange latent.0"),
    ("led-restormer", RESTORMER, "latent.0.attn.temperature", (7, 1, 1), "heads"),
    ("led-restormer", RESTORMER, "latent.0.ffn.project_out.weight", (64, 900, 1, 1),
     "no single expansion factor"),
    ("led-restormer", RESTORMER, "patch_embed.proj.weight", (65537, 4, 3, 3), "no sense")])
def test_shapes_that_make_no_sense(store, arch, config, key, shape, message):
    state = state_of(arch, config)
    state[key] = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match=message):
        convert(store(state))


def test_layers_without_alignments(store):
    state = state_of("led-unet", {**UNET, "repnr": PRETRAINED})
    state = {key: value for key, value in state.items() if "align_weights" not in key}
    with pytest.raises(WeightsError, match="0 alignments a layer"):
        convert(store(state))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38])
def test_numbers_that_overflow(store, value):
    state = state_of("led-unet", {**UNET, "repnr": FITTED})
    for part in ("main_weight", "align_weights.3"):
        state[f"conv2_1.{part}"][...] = value
    with pytest.raises(WeightsError, match="conv2_1.*infinite or undefined"):
        convert(store(state))


def test_other_state_dicts_in_the_same_container_stay_unknown(store):
    with pytest.raises(WeightsError, match="unknown kind") as caught:
        convert(store({"conv_first.weight": np.zeros((4, 3, 3, 3), np.float32)}))
    assert "LED" in caught.value.hint


def test_programs_in_the_container_are_refused(saved):
    evil = crafted.Call(crafted.Name("os", "system"), ("true",))
    path = saved(crafted.zip_file({"params": evil}, {}))
    refused(path)
    with pytest.raises(WeightsError, match="os.system"):
        convert(path)


# What the file's name tells, and the manifest


@pytest.mark.parametrize(("name", "cameras", "ratios"), [
    ("LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth", ["SONY ILCE-7SM2"], [100, 300]),
    ("LED+NAFNet_Deploy_ELD_NikonD850_MM22_Setting_Ratio1-200 (1).pth", ["NIKON D850"], [1, 200]),
    ("PG_Deploy_ELD_SonyA7M4_CVPR20_Setting_Ratio1-200.pth", ["SONY ILCE-7M4"], [1, 200]),
    ("SID_Deploy_Own_CanonR5_CVPR20_Setting_Ratio2-50.pth", ["CanonR5"], [2, 50]),
    ("LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio300-100.pth", ["SONY ILCE-7SM2"], None),
    ("LED_Pretrain_None_None_CVPR20_Setting_Ratio1-200.pth", None, [1, 200])])
def test_names_of_published_files(store, name, cameras, ratios):
    weights, _ = convert(store(state_of("led-unet", UNET), name))
    told = {key: json.loads(weights.metadata[key]) for key in ("cameras", "ratios")
            if key in weights.metadata}
    expected = {"cameras": cameras, "ratios": ratios}
    assert told == {key: value for key, value in expected.items() if value is not None}
    assert weights.metadata["licence"] == "CC BY-NC 4.0"


@pytest.mark.parametrize("name", ["mine.pth", "LED_Deploy_Ratio100-300.pth",
                                  "led_SonyA7S2_Ratio100-300.pth"])
def test_other_names_tell_nothing(store, name):
    facts = convert(store(state_of("led-unet", UNET), name))[0].metadata
    assert facts["licence"] == "unknown" and not {"cameras", "ratios"} & set(facts)


def test_known_files_are_told_by_their_hash(store, monkeypatch):
    path = store(state_of("led-unet", UNET))
    known = manifest.load({}).entries["led-eld-nikond850-cvpr20"]
    table = {key: getattr(known, key) for key in (
        "task", "arch", "config", "licence", "commercial", "source", "training_data", "urls",
        "facts")}
    table["sha256"] = convert(path)[0].metadata["source_sha256"]
    made = manifest.Manifest({"x": manifest.entry("x", table)}, path)
    monkeypatch.setattr(module.manifest, "load", lambda: made)
    facts = convert(path)[0].metadata
    assert facts["cameras"] == '["NIKON D850"]' and facts["ratios"] == "[1, 200]"
    assert facts["licence"] == "CC BY-NC 4.0"


def published():
    return [entry for entry in manifest.load({}).entries.values()
            if entry.task == "denoise-raw" and entry.shipped is None]


def test_published_files_are_listed_with_terms():
    found = published()
    assert len(found) == 19
    for entry in found:
        assert (entry.licence, entry.commercial) == ("CC BY-NC 4.0", "no")
        assert entry.urls[0].startswith("https://drive.usercontent.google.com/download?id=1")
        assert "+" not in "".join(entry.urls)  # %2B, or servers read a space
        assert not entry.default and entry.note
    assert len({url for entry in found for url in entry.urls}) == sum(
        len(entry.urls) for entry in found)


def test_entries_say_what_their_files_names_say():
    """Drive's addresses have no names in them, so the manifest tells cameras and ratios."""
    from urllib.parse import unquote

    from restore_cli.weights.converters.led import facts_of_name

    for entry in published():
        for url in entry.urls[1:]:
            told = facts_of_name(unquote(url))
            assert {key: json.loads(told[key]) for key in told if key != "licence"} == entry.facts
            assert url.rpartition("/")[2].startswith("LED") is entry.name.startswith("led-")
            assert ("Pretrain" in url) is ("pretrain" in entry.name)


def test_a_fetched_entry_knows_its_camera(store, tmp_path):
    import io

    from restore_cli.console import Console
    from restore_cli.weights.store import Store

    config = {"channels": 2}
    path = store(state_of("led-unet", {**config, "repnr": FITTED}))
    known = next(entry for entry in published() if entry.name == "led-sid-sonya7s2-mm22")
    entry = manifest.entry("x", {**{key: getattr(known, key) for key in (
        "task", "arch", "licence", "commercial", "source", "training_data", "facts")},
        "config": config, "urls": [path.as_uri()]})
    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), {})
    fetched = Store(tmp_path / "cache", {}, manifest=manifest.Manifest({"x": entry}, path),
                    console=console).fetch("x")
    facts = files.read(fetched).metadata
    assert facts["cameras"] == '["SONY ILCE-7SM2"]' and facts["stage"] == "finetune"
    notice = console.stderr.getvalue().splitlines()[0]
    assert "CC BY-NC 4.0, not for commercial use" in notice and "Srameo/LED" in notice


# The virtual cameras


def test_virtual_cameras_become_a_camera_file():
    text, count = led_noise.camera_file(CHECKPOINTS / GENERATOR)
    found = raw_noise.cameras_from_json(text)
    assert len(found) == count == 5
    assert to_arrays(found)["color_biases"].shape == (5, 16, 4)
    assert (found[0].k_min, found[0].k_max) == (0.1, 30.0)
    assert len({camera.tukey.bias for camera in found}) == 5


def test_the_file_keeps_the_numbers(saved):
    cameras = raw_noise.virtual_cameras(3, seed=4)
    arrays = to_arrays(cameras)
    text, count = led_noise.camera_file(saved(crafted.state_file(arrays)))
    again = to_arrays(raw_noise.cameras_from_json(text))
    assert count == 3
    for key, value in arrays.items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("row_biases", None, "no 'row_biases'"), ("row_biases", np.zeros(2), "do not fit together"),
    ("color_biases", np.zeros((3, 16, 3)), "do not fit together"),
    ("row_sigmas", np.full(3, np.nan), "not finite"), ("row_sigmas", np.full(3, -1), "negative"),
    ("tukey_lambdas", np.full(3, -2), "no mean")])
def test_cameras_that_make_no_sense(saved, key, value, message):
    arrays = to_arrays(raw_noise.virtual_cameras(3))
    arrays[key] = value
    path = saved(crafted.state_file({k: v for k, v in arrays.items() if v is not None}))
    with pytest.raises(WeightsError, match=message) as caught:
        led_noise.camera_file(path)
    assert caught.value.path == path


def test_networks_are_no_cameras(store, tmp_path):
    path = store(state_of("led-unet", UNET))
    assert led_noise.camera_file(path) is None
    files.write(tmp_path / "w.safetensors", convert(path)[0])
    assert led_noise.camera_file(tmp_path / "w.safetensors") is None


def test_cameras_are_no_network():
    with pytest.raises(WeightsError, match="noise of virtual cameras") as caught:
        convert(CHECKPOINTS / GENERATOR)
    assert "restore weights convert" in caught.value.hint
