"""`restore bench vsr` from the command line. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from restore_cli.jobs import bench_vsr

COMMAND = ("bench", "vsr", "--device", "cpu", "--threads", "1", "--repeat", "2")
SMALL = (*COMMAND, "--size", "32x24", "--network", "compact")


def test_network_and_pipeline(restore, engine, tmp_path):
    target = tmp_path / "bench.md"
    command = [*SMALL, "--frames", "5", "-o", target]
    status, out, err = restore(*command)
    assert status == 0, err
    about, header, *rows, overlap = out.splitlines()
    assert "compact (random), 32x24, cpu" in about and "2 rounds" in about
    assert header.split() == ["part", "ms", "min", "median", "max", "per", "second"]
    assert [row.split()[:2] for row in rows] == [["compact", part] for part in (
        "network", "decode", "compute", "encode", "pipeline")]
    assert all(float(value) > 0 for row in rows for value in row.split()[2:-1])
    assert "times as long as the larger of compute" in overlap
    assert "| compact pipeline |" in target.read_text()
    status, _, err = restore(*command)
    assert status == 2 and "exists already" in err


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_against_torch_both_compute_the_same(restore, engine):
    status, out, err = restore(*SMALL, "--frames", "5", "--against", "torch", "--json")
    assert status == 0, err
    records = {one["part"].split()[1]: one for one in map(json.loads, out.splitlines())}
    assert list(records) == ["network", "engine", "decode", "compute", "encode", "pipeline"]
    found = records["network"]["differences"]
    assert set(found) == {"compact network", "compact engine"} and max(found.values()) < 1e-4
    for part in ("network", "engine", "pipeline"):
        assert len(records[part]["torch_seconds"]) == len(records[part]["ratios"]) == 2
    assert "ratios" not in records["compute"] and records["compute"]["unit"] == "frames"
    assert records["pipeline"]["compact_overlap"] > 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--size", "128"], "WIDTHxHEIGHT"),
    (["--size", "20000x64"], "too large"),
    (["--size", "64x4"], "too small"),
    (["--part", "encoder"], "unknown part 'encoder'"),
    (["--part", "engine"], "--against torch"),
    (["--network", "liif"], "unknown network 'liif'"),
    (["--against", "tensorflow"], "Known: torch"),
    (["--part", "network", "--film", "x.mp4"], "--film is for"),
    (["--output", "x.txt"], ".json or .md"),
])
def test_usage_errors(restore, arguments, expected):
    status, out, err = restore(*COMMAND, *arguments)
    assert status == 2 and out == "" and expected in err


def test_a_missing_film(restore, tmp_path):
    status, out, err = restore(*COMMAND, "--film", tmp_path / "none.mp4")
    assert status not in (0, 2) and out == "" and "none.mp4" in err


def test_frames_too_large_for_the_memory_are_refused(restore, engine):
    status, _, err = restore(*COMMAND, "--size", "8000x8000", "--memory", "2G", "--part",
                             "network")
    assert status == 5 and "--part pipeline" in err


def test_overlap_is_the_median_of_rounds():
    split = {"decode": [1, 1, 1], "compute": [4, 2, 8], "encode": [1, 2, 1]}
    assert bench_vsr.overlapped([4, 6, 12], split) == 1.5
