"""`--precision`: what it changes, and where it is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from denoise_raw_weights import dark
from pictures import load, picture, save

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.errors import DeviceError
from restore_cli.runtime import bf16, facts


@pytest.fixture
def able():
    """Skips where the CPU or the compiler has no bfloat16."""
    try:
        bf16.require()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def unable(monkeypatch):
    """A machine that has none."""
    def refuse():
        raise DeviceError("--precision bf16 needs another CPU", hint="Leave --precision out")

    monkeypatch.setattr(bf16, "require", refuse)


def test_it_changes_results_a_little_and_only_on_request(upscale, able):
    save("a.png", picture(24, 30, dtype=np.uint16))
    made = {}
    for name, options in (("before", ()), ("half", ("--precision", "bf16")),
                          ("full", ("--precision", "fp32"))):
        assert upscale("a.png", "-s", 2, "-o", f"{name}.png", *options).status == 0
        made[name] = load(f"{name}.png").astype(float) / 65535
    np.testing.assert_array_equal(made["before"], made["full"])  # nothing of it stays
    error = np.abs(made["half"] - made["full"])
    assert 0 < error.max() and np.sqrt((error**2).mean()) < 0.01 * made["full"].std()


@pytest.mark.skipif(facts.cores() < 2, reason="threads are for two processes")
def test_several_processes_compute_in_it_too(upscale, able):
    for number in range(2):
        save(f"in/{number}.tif", picture(20 + number, 24, seed=number, dtype=np.uint16))
    options = ("in", "-s", 2, "--precision", "bf16")
    assert upscale(*options, "-o", "one", "--threads", 1).status == 0
    assert upscale(*options, "-o", "two", "--threads", 2, "--jobs", 2).status == 0
    upscale(*options[:-2], "-o", "full", "--threads", 2)
    for number in range(2):
        one, two, full = (load(f"{name}/{number}.tif") for name in ("one", "two", "full"))
        np.testing.assert_array_equal(one, two)
        assert (one != full).any()


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs a command line in tmp_path; returns its status and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
        return main([str(word) for word in words], console), console.stderr.getvalue()

    return run


@pytest.mark.parametrize("command", ["upscale", "denoise", "denoise-raw", "vsr"])
@pytest.mark.parametrize("options,status,words", [
    (("--precision", "fp16"), 2, "Use fp32 or bf16"),
    (("--precision", "bf16", "--device", "cuda:1"), 6, "is for CPUs"),
    (("--precision", "bf16"), 6, "needs another CPU")])
def test_refused_before_any_work(go, unable, command, options, status, words):
    name = {"denoise-raw": "a.dng", "vsr": "a.mp4"}.get(command, "a.png")
    found, said = go(command, name, *(("-s", 2) if command == "upscale" else ()), *options)
    assert found == status and words in said and said.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_refused_where_nothing_would_take_it(go, able, engine, raw_weights):
    dark("a.dng", seed=0, ratio=60)
    status, said = go("denoise-raw", "a.dng", "-w", raw_weights("nafnet", ["any"]), "--precision",
                      "bf16", "--device", "cpu")
    assert status == 2 and "has no part that computes in bf16" in said


def test_the_switch_that_turns_the_operators_off(go, able, engine, monkeypatch):
    monkeypatch.setenv("RESTORE_FUSED", "0")
    save("a.png", picture(16, 16, 1))
    status, said = go("denoise", "a.png", "--quick", "--precision", "bf16", "--device", "cpu")
    assert status == 2 and "no part that computes in bf16 here" in said

