"""`restore bench denoise` from the command line. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from restore_cli.jobs import bench_worker

SMALL = ("--size", "70x48", "--repeat", "2", "--steps", "3", "--batch", "2", "--patch", "32",
         "--device", "cpu")


def test_parts_of_one_network(restore, engine):
    status, out, err = restore("bench", "denoise", *SMALL, "--part", "network,train")
    assert status == 0, err
    about, header, train, network = out.splitlines()
    assert "field, 70x48, cpu" in about and "2 rounds" in about
    assert header.split() == ["part", "ms", "min", "median", "max", "per", "second"]
    assert train.split()[:2] == ["field", "train"] and train.split()[-1] == "steps"
    assert network.split()[:2] == ["field", "network"] and network.split()[-1] == "Mpx"
    assert all(float(value) > 0 for value in train.split()[2:-1])


def test_pipeline_in_colour_as_json_and_file(restore, engine, tmp_path):
    target = tmp_path / "bench.md"
    command = ["bench", "denoise", *SMALL, "--part", "pipeline", "--channels", "3", "--json",
               "--network", "rednet10", "-o", target]
    status, out, err = restore(*command)
    assert status == 0, err
    record, = [json.loads(line) for line in out.splitlines()]
    assert record["part"] == "rednet10 pipeline" and record["unit"] == "Mpx"
    assert len(record["seconds"]) == 2 and record["rate"] > 0 and record["channels"] == 3
    assert "| rednet10 pipeline |" in target.read_text()
    status, _, err = restore(*command)
    assert status == 2 and "exists already" in err


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_against_torch_both_compute_the_same(restore, engine):
    status, out, err = restore("bench", "denoise", *SMALL, "--network", "rednet10",
                               "--network", "n2v2", "--against", "torch", "--json")
    assert status == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    names = ["n2v2", "rednet10"]
    assert [record["part"] for record in records] == [
        f"{name} {part}" for name in names for part in ("train", "network", "pipeline")]
    found = records[0]["differences"]
    assert set(found) == {f"{name} {what}" for name in names for what in ("output", "loss")}
    assert max(value for name, value in found.items() if name.endswith("output")) < 1e-5
    # Adam's first step goes by the signs of gradients, and rounding decides those of tiny ones.
    assert max(value for name, value in found.items() if name.endswith("loss")) < 1e-3
    assert all(len(record["torch_seconds"]) == len(record["ratios"]) == 2 for record in records)
    assert records[0]["torch_threads"] == records[0]["threads"]


def test_against_torch_without_torch_says_how_to_get_it(restore, monkeypatch):
    monkeypatch.setattr(bench_worker.importlib.util, "find_spec", lambda name: None)
    status, out, err = restore("bench", "denoise", "--against", "torch")
    assert status == 2 and out == "" and "pip install torch" in err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--size", "128"], "WIDTHxHEIGHT"),
    (["--size", "70000x10"], "too large"),
    (["--part", "encoder"], "unknown part 'encoder'"),
    (["--network", "liif"], "unknown network 'liif'"),
    (["--channels", "2"], "1 or 3"),
    (["--against", "tensorflow"], "Known: torch"),
    (["--output", "x.txt"], ".json or .md"),
    (["--network", "n2v-unet", "--patch", "48"], "multiples of 32"),
    (["--size", "40x90"], "larger than the image"),
])
def test_usage_errors(restore, arguments, expected):
    status, out, err = restore("bench", "denoise", *arguments)
    assert status == 2 and out == "" and expected in err


def test_a_network_too_large_for_the_memory_is_refused(restore, engine):
    status, _, err = restore("bench", "denoise", "--size", "20000x20000", "--memory", "4G",
                             "--part", "network", "--device", "cpu")
    assert status == 5 and "--part pipeline" in err
