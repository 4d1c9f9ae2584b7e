"""`restore evaluate` from the command line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    """A folder of three smooth pictures, one of them grey."""
    folder = tmp_path / "Tiny Set"
    folder.mkdir()
    y, x = np.mgrid[0:48, 0:60]
    for i in range(3):
        wave = 0.5 + 0.5 * np.sin(x / (2 + i) + y / 5)[..., None] * [1, 0.8, -0.6]
        pixels = np.round(np.clip(wave, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels if i else pixels[..., 0]).save(folder / f"{i}.png")
    return folder


def _records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_bicubic_alone_needs_no_network(restore, photos):
    status, out, err = restore("evaluate", "liif", "--data", photos, "--scale", "2,3", "--model",
                               "bicubic")
    assert (status, err) == (0, "")
    header, two, three = out.splitlines()
    assert header.split()[:4] == ["data", "scale", "images", "LR"]
    assert two.startswith("Tiny Set") and two.split()[2:5] == ["x2", "3", "made"]
    assert float(two.split()[5]) > float(three.split()[5]) > 15


def test_json_has_every_image_and_the_means(restore, photos):
    status, out, _ = restore("evaluate", "liif", "--data", photos, "--scale", 2, "--model",
                             "bicubic", "--protocol", "rgb", "--json")
    *images, mean = _records(out)
    assert status == 0 and [record["image"] for record in images] == ["0", "1", "2"]
    assert mean["type"] == "mean" and mean["protocol"] == "rgb" and mean["model"] == "bicubic"
    assert mean["bicubic_psnr"] == pytest.approx(
        np.mean([record["bicubic_psnr"] for record in images]))


def test_quantised_scores_are_others(restore, photos):
    command = ["evaluate", "liif", "--data", photos, "-s", 2, "--model", "bicubic", "--json"]
    exact, rounded = (_records(restore(*command, *more)[1])[-1] for more in ([], ["--quantise"]))
    assert (exact["quantised"], rounded["quantised"]) == (False, True)
    assert 0 < abs(exact["bicubic_psnr"] - rounded["bicubic_psnr"]) < 0.5


def test_one_broken_image_does_not_stop_the_others(restore, photos):
    (photos / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    status, out, err = restore("evaluate", "liif", "--data", photos, "-s", 2, "--model", "bicubic",
                               "--json")
    assert status == 3 and len(err.splitlines()) == 1 and "1.png" in err
    assert _records(out)[-1]["images"] == 2


def test_csv_plots_and_saved_images(restore, photos, tmp_path):
    pytest.importorskip("matplotlib")
    command = ["evaluate", "liif", "--data", photos, "-s", 2, "--model", "bicubic", "--csv",
               tmp_path / "out" / "scores.csv", "--plots", tmp_path / "plots", "--save",
               tmp_path / "saved"]
    assert restore(*command)[0] == 0
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["image"] for row in rows] == ["0", "1", "2", "mean"]
    assert (tmp_path / "plots" / "psnr.png").stat().st_size > 1000
    with Image.open(tmp_path / "saved" / "Tiny Set" / "x2" / "1.png") as picture:
        assert picture.size == (60, 48) and picture.mode == "RGB"
    # A second run replaces nothing unless told so.
    status, out, err = restore(*command)
    assert status == 2 and out == "" and "exists already" in err
    assert restore(*command, "--overwrite")[0] == 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--scale", "nan"], "--scale nan"),
    (["--scale", "0.5"], "--scale 0.5"),
    (["--scale", "2,"], "--scale nothing"),
    (["--protocol", "best"], "benchmark, classic, div2k, rgb"),
    (["--model", "a", "--weights", "b"], "either --model or --weights"),
])
def test_usage_errors(restore, photos, arguments, expected):
    status, out, err = restore("evaluate", "liif", "--data", photos, *arguments)
    assert status == 2 and out == "" and expected in err


def test_missing_data_is_named(restore, tmp_path):
    status, _, err = restore("evaluate", "liif", "--data", tmp_path / "none", "--model", "bicubic")
    assert status == 3 and str(tmp_path / "none") in err


def test_unknown_model_is_a_weights_error(restore, photos):
    status, _, err = restore("evaluate", "liif", "--data", photos, "--model", "no-such-network")
    assert status == 4 and "no-such-network" in err


def test_network_from_a_file(restore, photos, golden_weights, engine):
    """The published container's tiny network, whole and in tiles: the same scores."""
    command = ["evaluate", "liif", "--data", photos, "-s", "2.5", "--weights", golden_weights,
               "--json"]
    status, whole, err = restore(*command)
    assert status == 0, err
    *images, mean = _records(whole)
    assert mean["model"] == "liif_tiny" and mean["images"] == 3
    tiled = _records(restore(*command, "--tile", 16)[1])[-1]
    assert tiled["psnr"] == pytest.approx(mean["psnr"], abs=1e-3)


def test_images_beyond_the_memory_are_named(restore, photos, golden_weights, engine, monkeypatch):
    from restore_cli.pipeline import memory

    monkeypatch.setattr(memory, "budget", lambda asked: memory.Budget(1 << 20, 0))
    status, out, err = restore("evaluate", "liif", "--data", photos, "-s", 2, "--weights",
                               golden_weights, "--memory", "1M")
    assert status == 5 and out == ""
    assert len(err.splitlines()) == 3 and all(f"{i}.png" in err for i in range(3))


@pytest.fixture
def golden_weights():
    from pathlib import Path

    path = Path(__file__).parents[1] / "data" / "liif" / "liif_tiny.pth"
    if not path.is_file():
        pytest.skip("no liif_tiny.pth among the test data")
    return path


def test_pair_of_files(restore, tmp_path):
    grey = np.full((20, 30), 100, np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(grey[..., None] + 10, 3, axis=2).astype(np.uint8)).save(
        tmp_path / "b.png")
    status, out, err = restore("evaluate", "pair", tmp_path / "a.png", tmp_path / "b.png")
    assert (status, err) == (0, "")
    header, line = out.splitlines()
    assert header.split() == ["image", "size", "PSNR", "SSIM", "PSNR-Y", "SSIM-Y"]
    decibels = -20 * np.log10(10 / 255)
    luma = decibels - 20 * np.log10(219.859 / 256)
    assert line.split()[:3] == ["b.png", "30x20", f"{decibels:.2f}"]
    assert line.split()[4] == f"{luma:.2f}"


def test_pair_of_equal_files_is_strict_json(restore, photos):
    status, out, _ = restore("evaluate", "pair", photos / "1.png", photos / "1.png", "--json")
    record, = _records(out)
    assert status == 0 and record["psnr"] is None and record["identical"] is True
    assert record["ssim"] == pytest.approx(1)


def test_pair_of_folders_matches_by_stem(restore, photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for i in (0, 1):
        Image.open(photos / f"{i}.png").save(other / f"{i}.bmp" if i else other / f"{i}.png")
    (photos / "2.png").rename(photos / "alone.png")
    status, out, err = restore("evaluate", "pair", photos, other, "--json", "--affine")
    assert status == 3 and "alone.png" in err and "no counterpart" in err
    *pairs, mean = _records(out)
    assert [record["image"] for record in pairs] == ["0", "1"] and mean["pairs"] == 2


def test_pair_of_different_sizes_names_both(restore, photos, tmp_path):
    Image.open(photos / "1.png").resize((30, 24)).save(tmp_path / "small.png")
    status, _, err = restore("evaluate", "pair", photos / "1.png", tmp_path / "small.png")
    assert status == 3 and "60x48" in err and "30x24" in err


def test_pair_of_file_and_folder_is_a_usage_error(restore, photos):
    status, _, err = restore("evaluate", "pair", photos, photos / "1.png")
    assert status == 2 and "folder with a folder" in err


def test_pair_mixes_depths(restore, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    status, out, _ = restore("evaluate", "pair", tmp_path / "a.png", tmp_path / "b.tif")
    assert status == 0 and out.splitlines()[1].split()[2] == "inf"
