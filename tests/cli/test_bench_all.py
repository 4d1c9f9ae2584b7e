"""`restore bench all` from the command line. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from restore_cli.errors import ExitStatus, InputError
from restore_cli.jobs import (
    bench,
    bench_all_plan,
    bench_denoise,
    bench_raw,
    bench_vsr,
    bench_worker,
)

TINY = ("bench", "all", "--size", "tiny", "--repeat", "2", "--threads", "1", "--device", "cpu")


@pytest.fixture
def one_network(monkeypatch):
    """Only the first network of every system."""
    genuine = bench_all_plan.benches

    def benches(*arguments):
        found = {}
        for made in genuine(*arguments):
            found.setdefault(made.system, made)
        return list(found.values())

    monkeypatch.setattr(bench_all_plan, "benches", benches)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_one_system_measured_and_one_that_fails(restore, engine, monkeypatch, tmp_path,
                                                one_network):
    def refuse(request, console):
        raise InputError("no film today", hint="Come back tomorrow")

    monkeypatch.setattr(bench_vsr, "run", refuse)
    table, plot = tmp_path / "all.md", tmp_path / "all.png"
    status, out, err = restore(*TINY, "--system", "vsr,denoise", "--against", "torch", "--json",
                               "-o", table, "--plot", plot)
    assert status == ExitStatus.SOME_FAILED and "compact video network: no film today" in err
    records = [json.loads(line) for line in out.splitlines()]
    rows = [record for record in records if record["type"] == "bench-all"]
    assert [(row["network"], row.get("part")) for row in rows] == [
        ("field U-Net", "train"), ("field U-Net", "network"), ("field U-Net", "pipeline"),
        ("compact video network", None)]
    train, network, pipeline, failed = rows
    assert all(len(row["seconds"]) == len(row["ratios"]) == 2 for row in rows[:3])
    assert all(row["torch_layout"] in ("contiguous", "channels_last") for row in rows[:3])
    assert train["threads"] == train["torch_threads"] == 1
    assert network["same_arithmetic"] and network["target"] == 1 and not pipeline["target"]
    assert network["flops"] == pytest.approx(2 * 83_264 * 64 * 64) and train["flops"] is None
    assert failed["status"] == "failed" and "tomorrow" in failed["error"]
    peaks = [record for record in records if record["type"] == "roofline"]
    if peaks:
        best = max(peak["flops_per_second"] or 0 for peak in peaks)
        assert network["share"] == pytest.approx(network["flops_per_second"] / best)
    assert "| denoise | field U-Net | 64x64 | network |" in table.read_text()
    assert "Failed: vsr, compact video network: no film today" in table.read_text()
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_a_bug_in_one_system_is_told_as_one(restore, engine, monkeypatch, one_network):
    def broken(request, console):
        raise RuntimeError("oops,\n   a line")

    for module in (bench_raw, bench_vsr):
        monkeypatch.setattr(module, "run", broken)
    status, out, err = restore(*TINY, "--system", "denoise-raw,vsr")
    assert status == ExitStatus.BUG
    assert err.count("unexpected RuntimeError: oops, a line") == 2 and out.count("failed: ") == 2


@pytest.mark.parametrize("size", bench_all_plan.SIZES)
def test_every_network_is_asked_for_with_its_target(restore, engine, monkeypatch, tmp_path, size):
    asked = []
    for module in (bench, bench_denoise, bench_raw, bench_vsr):
        monkeypatch.setattr(module, "run", lambda request, console: asked.append(request)
                            or ExitStatus.OK)
    common = bench_all_plan.Common(2, None, "cpu", 1, "1G")
    made = bench_all_plan.benches(bench_all_plan.SYSTEMS, size, common, tmp_path)
    assert all(one.run(None) == ExitStatus.OK for one in made) and len(asked) == len(made)
    for one, request in zip(made, asked, strict=True):
        height, width = request.size
        assert one.size == f"{width}x{height}" and all(count > 0 for count in one.macs.values())
        assert (request.repeat, request.threads, request.memory) == (2, 1, "1G")
    targets = {(one.network, *target) for one in made for target in one.targets.items()}
    assert targets == {
        ("EDSR-baseline trunk", "encoder", 2.2), ("EDSR-baseline-LIIF x4", "network", 3.0),
        ("RDN-LIIF x4", "network", 1.8), ("EDSR-baseline-MetaSR x4", "network", 5.0),
        ("LED U-Net", "network", 1.8), ("N2V U-Net", "network", 1.8), ("N2V U-Net", "train", 1.2),
        ("published video network", "network", 4.0)}


def test_against_torch_without_torch_says_how_to_get_it(restore, monkeypatch):
    monkeypatch.setattr(bench_worker.importlib.util, "find_spec", lambda name: None)
    status, out, err = restore(*TINY, "--against", "torch")
    assert status == 2 and out == "" and "pip install torch" in err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--size", "huge"], "Known: tiny, modest, full"),
    (["--system", "upscale,liif"], "unknown system 'liif'"),
    (["--against", "tensorflow"], "Known: torch"),
    (["--output", "x.txt"], ".json or .md"),
    (["--plot", "x.png"], "--against torch"),
    (["--plot", "x.jpg", "--against", "torch"], ".png"),
])
def test_usage_errors(restore, monkeypatch, arguments, expected):
    monkeypatch.setattr(bench_worker, "require", lambda: None)
    status, out, err = restore(*TINY, *arguments)
    assert status == 2 and out == "" and expected in err
