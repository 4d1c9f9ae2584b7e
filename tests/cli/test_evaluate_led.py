"""`restore evaluate led` from the command line, on RAW files made here."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from denoise_raw_weights import dark, planes, tensors

from restore_cli.console import Console
from restore_cli.media import raw
from restore_cli.weights.files import Weights, write


@pytest.fixture
def sid(tmp_path):
    """A folder in SID's layout: two scenes at x100, one of them also at x250, one burst."""
    folder = tmp_path / "Sony"
    for scene in (10001, 10002):
        light = planes((96, 128), seed=scene)
        dark(folder / "long" / f"{scene}_00_10s.dng", light, 1.0, seconds=10)
        for shot, (ratio, name) in enumerate(((100, "00_0.1s"), (100, "01_0.1s"),
                                              (250, "00_0.04s"))[:5 - 2 * (scene % 10)]):
            dark(folder / "short" / f"{scene}_{name}.dng", light, ratio, seed=shot,
                 seconds=10 / ratio)
    return folder


def _records(text):
    return [json.loads(line) for line in text.splitlines()]


def _pairs(records):
    return [record for record in records if record["type"] == "pair"]


def test_noisy_files_alone_need_no_network(restore, sid):
    status, out, err = restore("evaluate", "led", "--data", sid, "--identity")
    assert status == 0
    assert [line.split("  ")[0] for line in err.splitlines()] == [
        "Sony 10001_00_0.04s", "Sony 10001_00_0.1s", "Sony 10002_00_0.1s"]
    header, hundred, more, whole = out.splitlines()[1:5]
    assert header.split() == ["data", "ratio", "pairs", "noisy", "SSIM"]
    assert [line.split()[:3] for line in (hundred, more, whole)] == [
        ["Sony", "x100", "2"], ["Sony", "x250", "1"], ["Sony", "all", "3"]]
    assert float(hundred.split()[3]) > float(more.split()[3]) > 10
    assert "Protocol led:" in out and "no published figure compares" in out


def test_each_protocol_names_its_figures(restore, sid):
    found = {}
    for name, options in (("led", []), ("led_uncorrected", ["--no-correct"]),
                          ("source", ["--protocol", "source"])):
        status, out, _ = restore("evaluate", "led", "-d", sid, "--identity", "--json", *options)
        records = _records(out)
        assert status == 0 and records[-1]["type"] == "protocol"
        assert {record["protocol"] for record in records} == {name}
        found[name] = _pairs(records)
        assert all(f"noisy_{name}_psnr" in record for record in found[name])
    assert len(found["led"]) == len(found["led_uncorrected"]) == 3
    assert len(found["source"]) == 4  # the whole burst
    assert [record["noisy_led_uncorrected_psnr"] for record in found["led"]] == [
        record["noisy_led_uncorrected_psnr"] for record in found["led_uncorrected"]]
    first = found["led"][1]
    assert first["pair"] == "10001_00_0.1s" and first["ratio"] == 100
    assert (first["width"], first["height"], first["camera"]) == (128, 96, "Maker Model 7")
    assert first["noisy"].endswith("short/10001_00_0.1s.dng")


def test_shots_scenes_and_limits(restore, sid):
    def count(*options):
        return len(_pairs(_records(restore("evaluate", "led", "-d", sid, "--identity", "--json",
                                           *options)[1])))

    assert (count("--all-shots"), count("--limit", 2)) == (4, 2)
    for path in [*sid.glob("*/10002*")]:
        path.rename(path.with_name(path.name.replace("10002", "00002")))
    assert (count(), count("--all-scenes")) == (2, 3)


def test_weights_score_what_denoise_raw_writes(restore, sid, raw_weights, tmp_path, engine):
    """The same values, whole and in tiles, plain and re-parameterised."""
    for name, more in (("unet", []), ("repnr", ["--tile", 32])):
        weights = raw_weights(name)
        status, out, err = restore("evaluate", "led", "-d", sid, "-w", weights, "--no-correct",
                                   "--json", "--device", "cpu", *more)
        assert status == 0, err
        pair = next(one for one in _records(out) if one["pair"] == "10001_00_0.1s")
        made = tmp_path / "made.dng"
        status, _, err = restore("denoise-raw", pair["noisy"], "-w", weights, "--ratio", 100, "-o",
                                 made, "--overwrite", "--device", "cpu", *more)
        assert status == 0, err
        result, truth = raw.read(made).planes(), raw.read(pair["clean"]).planes()
        error = np.mean((np.clip(result, 0, 1) - np.clip(truth, 0, 1))[:, 2:-2, 2:-2] ** 2,
                        dtype=np.float64)
        # Levels of a 14-bit file, and highlights that the command takes back.
        assert pair["led_uncorrected_psnr"] == pytest.approx(-10 * np.log10(error + 1e-8),
                                                             abs=0.02)
        shifts = 100 * (np.clip(result, 0, 1).mean((1, 2)) / truth.mean((1, 2)) - 1)
        assert list(pair["shift_percent"].values()) == pytest.approx(list(shifts), abs=0.2)


@pytest.mark.parametrize("name", ["unet", "nafnet", "restormer"])
def test_tiles_and_strips_change_nothing(raw_weights, name, engine, monkeypatch):
    """Against the network at once over the whole picture."""
    from restore_cli.jobs import denoise_raw_network, denoise_raw_plan, denoise_raw_whole
    from restore_cli.jobs.denoise_raw_whole import Strips
    from restore_cli.jobs.evaluate_led_network import Restorer

    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), {})
    monkeypatch.setattr(denoise_raw_whole, "choose", lambda *_: Strips(6, 0))  # maps on disk
    monkeypatch.setattr(denoise_raw_plan, "LARGEST_TILE", 16)
    restorer = Restorer(None, str(raw_weights(name)), console, device="cpu")
    told, plain_call = [], denoise_raw_network.Loaded.__call__
    monkeypatch.setattr(denoise_raw_network.Loaded, "__call__", lambda self, part, ratio: (
        told.append(ratio), plain_call(self, part, ratio))[1])
    # With halos of 96 on both sides several tiles; strips have none.
    light = planes((520, 90) if name == "unet" else (46, 58)).astype(np.float32)
    noisy = np.minimum(light + np.random.default_rng(0).normal(0, 0.1, light.shape), 1)
    found = restorer(noisy.astype(np.float32), 100.0)
    assert set(told) == ({100.0} if name == "unet" else set()) and len(told) != 1
    expected = denoise_raw_network.load(raw_weights(name), device="cpu")(
        noisy.astype(np.float32), 100.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_lists_give_ratios(restore, sid, tmp_path):
    listed = tmp_path / "pairs.txt"
    listed.write_text("Sony/short/10001_00_0.1s.dng Sony/long/10001_00_10s.dng\n"
                      "Sony/short/10002_00_0.1s.dng Sony/long/10002_00_10s.dng 60\n")
    status, out, err = restore("evaluate", "led", "-d", listed, "--identity", "--json")
    assert status == 0, err
    assert [(pair["data"], pair["ratio"]) for pair in _pairs(_records(out))] == [
        ("pairs.txt", 100), ("pairs.txt", 60)]


def test_eld_takes_iso_and_time(restore, tmp_path):
    folder = tmp_path / "NikonD850" / "scene-3"
    light = planes((96, 128))
    dark(folder / "IMG_0001.dng", light, 1.0, seconds=4, iso=100)
    dark(folder / "IMG_0003.dng", light, 10.0, seconds=0.05, iso=800)
    dark(folder / "IMG_0005.dng", light, 200.0, seconds=None, iso=None)
    dark(folder / "IMG_0006.dng", light, 1.0, seconds=4, iso=100)
    status, out, err = restore("evaluate", "led", "-d", tmp_path / "NikonD850", "--identity",
                               "--json")
    assert status == 0, err
    assert [(pair["pair"], pair["ratio"]) for pair in _pairs(_records(out))] == [
        ("scene-3/IMG_0003", 10), ("scene-3/IMG_0005", 200)]


def test_csv_markdown_and_plots(restore, sid, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    command = ["evaluate", "led", "-d", sid, "--identity", "--csv", out / "s.csv", "--markdown",
               out / "s.md", "--plots", out / "plots"]
    assert restore(*command)[0] == 0
    rows = list(csv.DictReader((out / "s.csv").open()))
    assert [row["pair"] for row in rows] == ["10001_00_0.04s", "10001_00_0.1s", "10002_00_0.1s",
                                             "mean", "mean", "mean"]
    assert "| Sony | x250 | 1 |" in (out / "s.md").read_text()
    assert (out / "plots" / "psnr.png").stat().st_size > 1000
    for written in ("s.csv", "s.md"):
        others = {"s.csv": "s.md", "s.md": "s.csv"}
        (out / others[written]).unlink()
        for path in (out / "plots").iterdir():
            path.unlink()
        status, shown, err = restore(*command)
        assert status == 2 and shown == "" and written in err and "exists already" in err
        (out / others[written]).touch()
    assert restore(*command, "--overwrite")[0] == 0


def test_bad_pairs_among_good_ones(restore, sid, tmp_path):
    (sid / "short" / "10001_00_0.1s.dng").write_bytes(b"II*\0 no raw file")
    (sid / "long" / "10002_00_10s.dng").unlink()
    status, out, err = restore("evaluate", "led", "-d", sid, "-d", tmp_path / "none", "--identity",
                               "--json")
    assert status == 3
    assert [pair["pair"] for pair in _pairs(_records(out))] == ["10001_00_0.04s"]
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 3
    assert any("10001_00_0.1s.dng" in line for line in errors)
    assert any("10002_00_0.1s.dng: has no partner" in line for line in errors)
    assert any(f"{tmp_path / 'none'}: no such file or folder" in line for line in errors)
    os.unlink(sid / "short" / "10001_00_0.04s.dng")
    status, out, err = restore("evaluate", "led", "-d", sid, "--identity")
    assert status == 3 and out == ""


def test_what_the_weights_do_not_know_is_said(restore, sid, raw_weights, engine):
    weights = raw_weights("unet", ["NIKON D850"], (100, 200), "nikon")
    status, out, _ = restore("evaluate", "led", "-d", sid, "-w", weights, "--device", "cpu")
    assert status == 0
    assert "weights unetnikon: for NIKON D850, ratios 100 to 200" in out
    assert "ratios of 100 to 250 were asked for" in out
    assert "the weights do not know the Maker Model 7" in out
    status, out, _ = restore("evaluate", "led", "-d", sid, "-w", raw_weights(), "--device", "cpu")
    assert status == 0 and "do not know" not in out and "were asked for" not in out


def test_generated_pairs(restore, raw_weights, engine, monkeypatch):
    from restore_cli.evaluation import raw_synthetic

    monkeypatch.setattr(raw_synthetic, "SIDE", 32)
    monkeypatch.setattr(raw_synthetic, "_PICTURE", 128)
    command = ["evaluate", "led", "-d", "synthetic", "--count", 2, "--ratios", "50,200", "--json"]
    status, out, err = restore(*command, "-w", raw_weights(), "--device", "cpu")
    assert status == 0, err
    pairs = _pairs(_records(out))
    assert [(pair["data"], pair["ratio"], pair["width"]) for pair in pairs] == [
        ("synthetic", ratio, 64) for ratio in (50, 50, 200, 200)]
    assert pairs[0]["noisy"] is None and "led_psnr" in pairs[0]
    one, again, other, camera = (
        [pair["noisy_led_psnr"] for pair in _pairs(_records(restore(*command, "--identity", *more)[
            1]))] for more in ([], [], ["--seed", 1], ["--cameras", "SonyA7S2"]))
    assert one == again == [pair["noisy_led_psnr"] for pair in pairs]
    assert one != other and one != camera
    assert np.mean(one[:2]) > np.mean(one[2:])


def test_large_pictures_are_named_when_memory_is_short(restore, sid, raw_weights, engine,
                                                       monkeypatch):
    from restore_cli.pipeline import memory

    monkeypatch.setattr(memory, "budget", lambda asked, **more: memory.Budget(1 << 20, 0))
    status, out, err = restore("evaluate", "led", "-d", sid, "-w", raw_weights(), "--memory", "1M",
                               "--device", "cpu")
    assert status == 5 and out == ""
    assert all(f"short/{name}.dng: " in err for name in ("10001_00_0.1s", "10002_00_0.1s"))
    # Too large to be compared is noticed before anything is read.
    monkeypatch.setattr(memory, "budget", lambda asked, **more: memory.Budget(1 << 18, 0))
    monkeypatch.setattr(raw, "read", None)
    status, out, err = restore("evaluate", "led", "-d", sid, "-w", raw_weights(), "--memory", "1M",
                               "--device", "cpu")
    assert status == 5 and out == "" and err.count("to be compared") == 3


RUN = ("import sys\nfrom restore_cli.cli.app import main\n"
       "from restore_cli.pipeline.memory import peak_rss\n"
       "status = main(sys.argv[1:])\nprint(peak_rss())\nsys.exit(status)")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_ceiling_of_memory_holds(tmp_path):
    light = planes((1200, 1600)).astype(np.float32)
    config = {"channels": 16}  # wide enough for the one operator, which compiles once
    write(tmp_path / "w.safetensors", Weights("led-unet", config, tensors("led-unet", config), {}))
    dark(tmp_path / "long" / "00001_00_10s.dng", light, 1.0, seconds=10)
    dark(tmp_path / "short" / "00001_00_0.1s.dng", light, 100.0, seconds=0.1)

    def peak(*more):
        found = subprocess.run(
            [sys.executable, "-c", RUN, "evaluate", "led", "-d", tmp_path, "-w",
             tmp_path / "w.safetensors", "--json", "--device", "cpu", *more], text=True,
            capture_output=True, timeout=600)
        assert found.returncode == 0, found.stderr
        *records, last = found.stdout.splitlines()
        assert len(_pairs(map(json.loads, records))) == 1
        return int(last)

    limit = int(0.88 * peak() / 2**20)
    assert peak("--memory", f"{limit}M") <= limit * 2**20


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--protocol", "best"], "led, source"),
    (["--protocol", "source", "--no-correct"], "Leave --no-correct out"),
    (["--model", "a", "--weights", "b"], "--model and --weights exclude each other"),
    (["--identity", "--weights", "b"], "--weights and --identity exclude each other"),
    (["--cameras", "virtual"], "--cameras is about generated pairs"),
    (["--seed", "0"], "--seed is about generated pairs"),
    (["--memory", "much"], "much"),
])
def test_usage_errors(restore, sid, arguments, expected):
    status, out, err = restore("evaluate", "led", "--data", sid, *arguments)
    assert status == 2 and out == "" and expected in err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--ratios", "1-300"], "is a range"),
    (["--ratios", "ten"], "--ratios 'ten'"),
    (["--cameras", "Leica"], "unknown --cameras 'Leica'"),
])
def test_usage_errors_of_generated_pairs(restore, arguments, expected):
    status, out, err = restore("evaluate", "led", "--data", "synthetic", "--identity", *arguments)
    assert status == 2 and out == "" and expected in err


def test_networks_that_see_everything_take_no_tile(restore, sid, raw_weights, engine):
    status, _, err = restore("evaluate", "led", "-d", sid, "-w", raw_weights("nafnet"), "--tile",
                             64, "--device", "cpu")
    assert status == 2 and "cannot be tiled" in err


def test_unknown_weights_are_a_weights_error(restore, sid, tmp_path):
    status, _, err = restore("evaluate", "led", "-d", sid, "-m", "no-such-network")
    assert status == 4 and "no-such-network" in err
    status, _, err = restore("evaluate", "led", "-d", sid, "-w", tmp_path / "none.safetensors")
    assert status == 4 and "none.safetensors" in err


def test_the_real_pair_scores_as_it_was_measured(restore, shared_data):
    folder = Path(shared_data) / "raw" / "pair"
    if not folder.is_dir():
        pytest.skip("no pair of RAW files")
    status, out, _ = restore("evaluate", "led", "-d", folder, "--identity", "--all-shots",
                             "--no-correct", "--json")
    pairs = {pair["pair"]: pair for pair in _pairs(_records(out))}
    assert status == 0 and pairs["00001_00_0.04s"]["ratio"] == 250
    for name, expected in (("00001_00_0.1s", 25.61), ("00001_01_0.1s", 25.66),
                           ("00001_00_0.04s", 20.26)):
        # The expected figures have no border cut.
        assert pairs[name]["noisy_led_uncorrected_psnr"] == pytest.approx(expected, abs=0.03)
