"""`restore bench` from the command line. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from restore_cli.jobs import bench, bench_worker

SMALL = ("--size", "20x14", "--scale", "2.5", "--repeat", "2", "--device", "cpu")


def test_network_parts_with_random_weights(restore, engine):
    status, out, err = restore("bench", "upscale", *SMALL, "--random", "--part",
                               "decoder,encoder")
    assert status == 0, err
    about, header, encoder, decoder = out.splitlines()
    assert "20x14 -> 50x35" in about and "2 rounds" in about and "random weights" in about
    assert header.split() == ["part", "ms", "min", "median", "max"]
    assert encoder.split()[0] == "encoder" and decoder.split()[0] == "decoder"
    assert all(float(value) > 0 for value in encoder.split()[1:])


def test_pipeline_of_a_weight_file_as_json_and_file(restore, engine, tmp_path, tiny):
    target = tmp_path / "bench.md"
    command = ["bench", "upscale", *SMALL, "--weights", tiny, "--json", "-o", target]
    status, out, err = restore(*command)
    assert status == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["part"] for record in records] == list(bench.PARTS)
    assert all(len(record["seconds"]) == 2 for record in records)
    assert records[0]["model"] == "liif_tiny" and records[0]["output"] == "50x35"
    assert "| pipeline |" in target.read_text()
    status, _, err = restore(*command)
    assert status == 2 and "exists already" in err


@pytest.fixture
def tiny():
    from pathlib import Path

    return Path(__file__).parents[1] / "data" / "liif" / "liif_tiny.pth"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("config", [
    ("liif", {"encoder_spec": {"name": "edsr-baseline",
                               "args": {"no_upsampling": True, "n_resblocks": 2, "n_feats": 8}},
              "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16, 16]}}}),
    ("liif", {"encoder_spec": {"name": "rcan", "args": {
                  "no_upsampling": True, "n_resgroups": 2, "n_resblocks": 2, "n_feats": 8,
                  "reduction": 4}},
              "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16]}},
              "feat_unfold": False, "cell_decode": False}),
    ("metasr", {"encoder_spec": {"name": "edsr-baseline", "args": {
        "no_upsampling": True, "n_resblocks": 1, "n_feats": 8}}}),
])
def test_against_torch_both_compute_the_same(restore, engine, tmp_path, config):
    from restore_cli.weights import files

    path = tmp_path / "net.safetensors"
    files.write(path, bench.random_weights(*config))
    status, out, err = restore("bench", "upscale", *SMALL, "--weights", path, "--against", "torch",
                               "--json", "--part", "network")
    assert status == 0, err
    record, = [json.loads(line) for line in out.splitlines()]
    assert max(record["differences"].values()) < 1e-4
    assert len(record["torch_seconds"]) == len(record["ratios"]) == 2
    assert record["torch_threads"] == record["threads"]


def test_against_torch_without_torch_says_how_to_get_it(restore, monkeypatch):
    monkeypatch.setattr(bench_worker.importlib.util, "find_spec", lambda name: None)
    status, out, err = restore("bench", "upscale", "--against", "torch")
    assert status == 2 and out == "" and "pip install torch" in err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--size", "128"], "WIDTHxHEIGHT"),
    (["--size", "0x5"], "WIDTHxHEIGHT"),
    (["--size", "60000x10", "--scale", "2"], "too large"),
    (["--scale", "nan"], "from 1 to 100"),
    (["--part", "network,all"], "unknown part 'all'"),
    (["--against", "tensorflow"], "Known: torch"),
    (["--output", "x.txt"], ".json or .md"),
    (["--random", "--weights", "x.pth"], "--model"),
])
def test_usage_errors(restore, arguments, expected):
    status, out, err = restore("bench", "upscale", *arguments)
    assert status == 2 and out == "" and expected in err


def test_fixed_scale_networks_are_refused(restore, engine, tmp_path):
    from restore_cli.weights import files

    path = tmp_path / "edsr.safetensors"
    files.write(path, bench.random_weights(
        "edsr-baseline", {"n_resblocks": 1, "n_feats": 8, "scale": 2}))
    status, _, err = restore("bench", "upscale", *SMALL, "--weights", path, "--part", "encoder")
    assert status == 2 and "edsr-baseline" in err


def test_a_network_too_large_for_the_memory_is_refused(restore, engine, tiny):
    status, _, err = restore("bench", "upscale", "--size", "8000x8000", "--scale", "2",
                             "--memory", "8G", "--weights", tiny, "--part", "encoder")
    assert status == 5 and "--part pipeline" in err
