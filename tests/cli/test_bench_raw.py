"""`restore bench denoise-raw` from the command line. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from restore_cli.jobs import bench_worker

COMMAND = ("bench", "denoise-raw", "--device", "cpu", "--threads", "1", "--repeat", "2")
SMALL = (*COMMAND, "--size", "112x64", "--steps", "2", "--batch", "2", "--patch", "16")


def test_parts_of_one_network(restore, engine):
    status, out, err = restore(*SMALL, "--network", "compact", "--part", "network,train")
    assert status == 0, err
    about, header, train, network = out.splitlines()
    assert "compact, 112x64, cpu" in about and "2 rounds" in about
    assert header.split() == ["part", "ms", "min", "median", "max", "per", "second"]
    assert train.split()[:2] == ["compact", "train"] and train.split()[-1] == "steps"
    assert network.split()[:2] == ["compact", "network"] and network.split()[-1] == "Mpx"
    assert all(float(value) > 0 for value in train.split()[2:-1])


def test_pipeline_as_json_and_file(restore, engine, tmp_path):
    target = tmp_path / "bench.md"
    command = [*SMALL, "--part", "pipeline", "--network", "compact", "--json", "-o", target]
    status, out, err = restore(*command)
    assert status == 0, err
    record, = [json.loads(line) for line in out.splitlines()]
    assert record["part"] == "compact pipeline" and record["unit"] == "Mpx"
    assert len(record["seconds"]) == 2 and record["rate"] > 0
    assert "| compact pipeline |" in target.read_text()
    status, _, err = restore(*command)
    assert status == 2 and "exists already" in err


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize(("network", "parts"), [
    ("compact", ("train", "network", "pipeline")), ("nafnet", ("network",)),
    ("restormer", ("network",))])
def test_against_torch_both_compute_the_same(restore, engine, network, parts):
    status, out, err = restore(*SMALL, "--network", network, "--part", ",".join(parts),
                               "--against", "torch", "--json")
    assert status == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["part"] for record in records] == [f"{network} {part}" for part in parts]
    found = records[0]["differences"]
    kinds = {"train": "loss", "network": "output", "pipeline": "file"}
    assert set(found) == {f"{network} {kinds[part]}" for part in parts}
    assert max(found.values()) < 1e-4
    assert all(len(record["torch_seconds"]) == len(record["ratios"]) == 2 for record in records)
    assert records[0]["torch_threads"] == records[0]["threads"]


def test_against_torch_without_torch_says_how_to_get_it(restore, monkeypatch):
    monkeypatch.setattr(bench_worker.importlib.util, "find_spec", lambda name: None)
    status, out, err = restore(*COMMAND, "--against", "torch")
    assert status == 2 and out == "" and "pip install torch" in err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--size", "128"], "WIDTHxHEIGHT"),
    (["--size", "70000x64"], "too large"),
    (["--size", "129x64"], "even numbers"),
    (["--size", "62x64"], "even numbers"),
    (["--full", "--size", "128x64"], "--full is a size"),
    (["--part", "encoder"], "unknown part 'encoder'"),
    (["--network", "liif"], "unknown network 'liif'"),
    (["--against", "tensorflow"], "Known: torch"),
    (["--output", "x.txt"], ".json or .md"),
    (["--patch", "24"], "multiples of 16"),
    (["--size", "300x200", "--patch", "112"], "larger than the packed planes"),
])
def test_usage_errors(restore, arguments, expected):
    status, out, err = restore(*COMMAND, *arguments)
    assert status == 2 and out == "" and expected in err


def test_a_network_too_large_for_the_memory_is_refused(restore, engine):
    for network in ("compact", "nafnet"):
        status, _, err = restore(*COMMAND, "--size", "20000x20000", "--memory", "2G", "--part",
                                 "network", "--network", network)
        assert status == 5 and "--part pipeline" in err
