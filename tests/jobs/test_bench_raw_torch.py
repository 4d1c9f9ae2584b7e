"""The PyTorch side of the RAW benchmark computes what the published code computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import RestoreError
from restore_cli.jobs import bench_raw, bench_raw_data, bench_raw_dng, bench_raw_torch
from restore_cli.jobs.bench_raw_networks import Network
from restore_cli.nets.layout import layout
from restore_cli.weights.convert import as_state_dict, convert
from restore_cli.weights.torch_file import TorchFile

CHECKPOINTS = Path(__file__).parents[1] / "data" / "led" / "ckpt"
torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None,
                                reason="PyTorch is not installed")


def answer(arch, config, tensors, x, branch=0, channels_last=False):
    import torch

    network = Network(arch, config, tensors, "cpu", channels_last)
    network.branch = branch
    with torch.inference_mode():
        return network(torch.from_numpy(x)).numpy()


@torch_only
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("name", "output", "branch"), [
    ("ELD_Deploy_tiny_c1", "", 0), ("LED_Pretrain_tiny_c1", "__branch1", 1),
    ("LED_Deploy_tiny_c1", "", 0), ("LED+NAFNet_Deploy_tiny_w4", "", 0),
    ("LED+Restormer_Deploy_tiny_d2", "", 0)])
def test_networks_meet_the_goldens(name, output, branch, channels_last):
    weights, _ = convert(CHECKPOINTS / f"{name}.pth")
    with np.load(CHECKPOINTS / "ckpt_outputs.npz") as case:
        expected = case[name + output]
        found = answer(weights.arch, weights.config, weights.tensors, case["x"], branch,
                       channels_last)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@torch_only
@pytest.mark.parametrize(("name", "repnr", "changes"), [
    ("LED_Deploy_tiny_c1", {"branches": 5, "aux": True}, {}),
    ("LED+NAFNet_Deploy_tiny_w4", {"branches": 5, "aux": True}, {}),
    ("LED+Restormer_Deploy_tiny_d2", {"branches": 2, "aux": True}, {"folded": False})])
def test_effective_weights_meet_the_goldens(name, repnr, changes):
    """The files' own alignments and parallel convolutions, not folded."""
    path = CHECKPOINTS / f"{name}.pth"
    weights, _ = convert(path)
    with TorchFile(path) as file:
        state = {key: file.array(item)
                 for key, item in as_state_dict(file.value["params"]).items()}
    with np.load(CHECKPOINTS / "ckpt_outputs.npz") as case:
        expected = case[name]
        found = answer(weights.arch, {**weights.config, **changes, "repnr": repnr}, state,
                       case["x"], repnr["branches"])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@torch_only
def test_a_failure_in_the_other_process_is_told_here():
    image = np.zeros((1, 4, 16, 16), np.float32)
    work = bench_raw_torch.Work(("led-unet", {"channels": 16}, {}), image)
    with bench_raw_torch.Worker({"compact": work}, [], 100.0, "cpu", 1) as worker:
        with pytest.raises(RestoreError, match="PyTorch: KeyError.*conv1_1.weight"):
            worker.load([("compact", "network")])


def test_the_frame_survives_its_file(tmp_path):
    from restore_cli.media import raw

    clean = bench_raw_data.light(24, 32)
    mosaic = bench_raw_data.darkened(clean)
    bench_raw_dng.write(tmp_path / "a.dng", mosaic)
    np.testing.assert_array_equal(bench_raw_dng.read(tmp_path / "a.dng"), mosaic)
    found = raw.read(tmp_path / "a.dng")
    assert found.pattern.name == "RGGB" and found.mosaic.shape == (48, 64)
    np.testing.assert_allclose(bench_raw_dng.pack(mosaic), found.planes(), atol=1e-7)
    np.testing.assert_array_equal(bench_raw_dng.unpack(bench_raw_dng.pack(mosaic)), mosaic)
    amplified = found.planes() * bench_raw_data.RATIO
    assert abs(amplified.mean() - clean.mean()) < 0.02 and amplified.std() > clean.std()


@pytest.mark.parametrize("name", bench_raw.CHOICES)
def test_made_weights_are_of_the_network(name):
    arch, config = bench_raw.CHOICES[name]
    made = bench_raw_data.sensible(arch, config)
    shapes = layout(arch, config).shapes
    assert {key: value.shape for key, value in made.items()} == shapes
    assert all(value.dtype == np.float32 and value.any() for value in made.values())


@pytest.mark.parametrize(("networks", "parts", "expected"), [
    (None, None, bench_raw.USUAL),
    (None, ("train",), {"compact": ("train",)}),
    (None, ("network",), dict.fromkeys(bench_raw.USUAL, ("network",))),
    (("nafnet",), None, {"nafnet": bench_raw.PARTS}),
    (("unet", "nafnet"), ("train",), {"unet": ("train",), "nafnet": ("train",)})])
def test_what_is_timed(networks, parts, expected):
    request = bench_raw.RawBenchRequest(networks=networks, parts=parts)
    assert bench_raw.chosen(request) == expected


@pytest.mark.parametrize(("name", "value", "fails"), [
    ("compact output", 1e-5, False), ("compact output", 2e-3, True),
    ("nafnet loss", float("nan"), True), ("unet file", 1 / 15871, False),
    ("unet file", 1e-3, True)])
def test_what_differs_is_not_timed(name, value, fails):
    if not fails:
        bench_raw.require_same({name: value})
        return
    with pytest.raises(RestoreError, match=f"something else: {name}"):
        bench_raw.require_same({name: value})
