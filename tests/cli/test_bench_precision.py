"""`restore bench --precision bf16`: both speeds, and what it costs. Nothing asserts a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures import picture, save

from restore_cli.errors import DeviceError
from restore_cli.runtime import bf16

BENCHES = {
    "upscale": ("--size", "24x16", "--part", "network,pipeline"),
    "denoise": ("--size", "64x48"),
    "denoise-raw": ("--size", "128x96", "--network", "compact"),
    "vsr": ("--size", "32x24", "--network", "compact", "--part", "network")}
PARTS = {"upscale": ["network", "pipeline"], "denoise": ["field network", "field pipeline"],
         "denoise-raw": ["compact network", "compact pipeline"], "vsr": ["compact network"]}
WEIGHTS = {"upscale": ["liif-compact"], "denoise": ["n2v-grey", "n2v-colour"],
           "denoise-raw": ["led-compact"], "vsr": ["vsr-compact"]}


@pytest.fixture
def able(engine, tmp_path, monkeypatch):
    """Skips where there is no bfloat16; a picture in the current folder."""
    try:
        bf16.require()
    except DeviceError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    save("a.png", picture(64, 80, dtype=np.uint8))


def go(restore, command, *options):
    return restore("bench", command, "--precision", "bf16", "--device", "cpu", "--repeat", 2,
                   *options)


@pytest.mark.parametrize("command", list(BENCHES))
def test_records(restore, able, command):
    status, out, err = go(restore, command, *BENCHES[command], "--picture", "a.png", "--json")
    assert status == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [one["part"] for one in records] == PARTS[command]
    for one in records:
        assert one["precision"] == "bf16" and "torch_seconds" not in one
        assert len(one["seconds"]) == len(one["fp32_seconds"]) == len(one["ratios"]) == 2
        assert [cost["weights"] for cost in one["costs"]] == WEIGHTS[command]
        for cost in one["costs"]:
            assert cost["pictures"] == 1 and 40 < cost["between_db"] < 90
            assert abs(cost["fp32_db"] - cost["bf16_db"]) < 0.05


def test_text_and_file(restore, able):
    status, out, err = go(restore, "upscale", *BENCHES["upscale"], "-o", "bench.md")
    assert status == 0, err
    about, header, *_, note, cost = out.splitlines()
    assert ", bf16, 2 rounds" in about and "fp32 min" in header and "PyTorch" not in out
    assert note == "ratio = time in fp32 / time in bf16, round by round"
    assert cost.startswith("liif-compact: bf16 against fp32 ") and "a loss of " in cost
    assert cost.endswith("(1 picture)")
    with open("bench.md") as file:
        assert file.read().endswith(f"\n- {cost}\n")


def test_random_weights_restore_nothing(restore, able):
    status, out, err = go(restore, "upscale", "--size", "24x16", "--random", "--part", "encoder")
    assert status == 0, err
    assert "bf16 against fp32" in out and "truth" not in out


@pytest.mark.parametrize(("command", "options", "expected"), [
    ("denoise", ("--part", "train"), "training computes in fp32"),
    ("denoise-raw", ("--part", "train"), "training computes in fp32"),
    ("upscale", ("--picture", "none.png"), "none.png"),
    ("upscale", ("--picture", "."), "smaller than 16x16")])
def test_refused(restore, able, command, options, expected):
    save("small.png", picture(8, 80))
    status, out, err = go(restore, command, *options)
    assert status in (2, 3) and out == "" and expected in err


def test_pictures_are_for_bf16(restore, able):
    status, out, err = restore("bench", "upscale", "--picture", "a.png")
    assert status == 2 and out == "" and "--picture is for the cost of --precision bf16" in err


def test_networks_without_such_products(restore, able):
    status, out, err = go(restore, "denoise-raw", "--size", "64x64", "--network", "nafnet",
                          "--part", "network")
    assert status == 2 and out == "" and "nafnet has no part that computes in bf16" in err
