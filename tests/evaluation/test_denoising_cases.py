"""Finding test images for denoising, and what is reported of their scores."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import InputError
from restore_cli.evaluation import denoising_cases, denoising_report
from restore_cli.evaluation.denoising import PROTOCOLS, DenoisingResult
from restore_cli.evaluation.denoising_cases import MadeNoise, NoisyCase
from restore_cli.evaluation.protocols import Score


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((12, 12), np.uint8)).save(path)


def _names(found: list[NoisyCase]) -> list[tuple]:
    return [(case.name, case.noisy.name, case.clean.name) for case in found]


def test_clean_images_come_with_every_noise(tmp_path):
    _touch(tmp_path / "b.png", tmp_path / "a.png")
    noises = [MadeNoise("gaussian", 10), MadeNoise("gaussian", 25)]
    found = denoising_cases.made(tmp_path, noises, label="set")
    assert [(case.label, case.name) for case in found] == [
        ("sigma 10", "a"), ("sigma 10", "b"), ("sigma 25", "a"), ("sigma 25", "b")]
    assert len(denoising_cases.made(tmp_path, noises, label="set", limit=1)) == 2


def test_source_split_is_the_second_half_of_the_shuffle(tmp_path):
    names = [f"test{i:03d}.png" for i in range(1, 69)]
    for name in names:
        (tmp_path / name).touch()
    random.seed(123)  # as the source document's script does it
    expected = list(names)
    random.shuffle(expected)
    found = denoising_cases.made(tmp_path, [MadeNoise("gaussian", 25)], label="set", split=True)
    assert len(found) == 34 and {case.clean.name for case in found} == set(expected[34:])
    (tmp_path / names[0]).unlink()
    whole = denoising_cases.made(tmp_path, [MadeNoise("gaussian", 25)], label="set", split=True)
    assert len(whole) == 67


@pytest.mark.parametrize(("noisy", "clean"), [
    ("noisy/a.png", "clean/a.tif"), ("Noisy/a.png", "GT/a.png"),
    ("noisy_a.tif", "target_a.tif"), ("a_real.png", "a_mean.png"), ("a-noisy.png", "a-clean.png"),
])
def test_layouts_of_pairs(tmp_path, noisy, clean):
    _touch(tmp_path / noisy, tmp_path / clean)
    found = denoising_cases.pairs(tmp_path, label="set")
    assert _names(found) == [("a", Path(noisy).name, Path(clean).name)]
    assert found[0].noise is None and found[0].label == ""


def test_a_pair_without_a_name_of_its_own_is_named_after_its_folder(tmp_path):
    _touch(tmp_path / "cells" / "noisy.png", tmp_path / "cells" / "target.png")
    assert _names(denoising_cases.pairs(tmp_path / "cells", label="set")) == [
        ("cells", "noisy.png", "target.png")]


def test_two_folders_are_matched_by_name(tmp_path):
    _touch(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png", tmp_path / "out" / "b.bmp",
           tmp_path / "out" / "c.png")
    heard = []
    found = denoising_cases.pairs(tmp_path / "in", tmp_path / "out", label="set",
                                  on_error=heard.append)
    assert _names(found) == [("b", "b.png", "b.bmp")]
    assert [error.path.name for error in heard] == ["a.png"]
    with pytest.raises(InputError, match="no counterpart"):
        denoising_cases.pairs(tmp_path / "in", tmp_path / "out", label="set")


def test_words_inside_names_are_no_marks(tmp_path):
    """`realm` is not `real`, and `noisy` in the middle says nothing."""
    _touch(tmp_path / "realm.png", tmp_path / "a_noisy_b.png", tmp_path / "meanwhile.png")
    with pytest.raises(InputError, match="no pairs") as caught:
        denoising_cases.pairs(tmp_path, label="set")
    assert "noisy_*" in caught.value.hint


@pytest.mark.parametrize("find", [
    lambda folder: denoising_cases.made(folder, [MadeNoise("gaussian", 1)], label="x"),
    lambda folder: denoising_cases.pairs(folder, label="x")])
@pytest.mark.parametrize("what", ["absent", "empty", "file"])
def test_nothing_there_is_an_input_error(tmp_path, what, find):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "file":
        folder.write_text("")
    with pytest.raises(InputError) as caught:
        find(folder)
    assert caught.value.path == folder


def _result(name="a", sigma=25.0, psnr=27.0, noisy=20.0, affine=None, data="Set", model=True):
    noise = MadeNoise("gaussian", sigma) if sigma else None
    case = NoisyCase(data, name, Path("clean.png"), None if noise else Path("noisy.png"), noise)
    base = None if affine is None else affine - 10
    return DenoisingResult(case, (20, 24), 255.0, Score(psnr, 0.8, affine) if model else None,
                           Score(noisy, 0.4, base), 0.5)


def test_means_are_of_decibels_by_set_and_noise():
    rows = denoising_report.means([_result(psnr=26), _result("b", psnr=30), _result(sigma=50.0)])
    assert [(row.noise.label, row.images) for row in rows] == [("sigma 25", 2), ("sigma 50", 1)]
    assert rows[0].model.psnr == pytest.approx(28) and rows[0].gain == pytest.approx(8)
    assert rows[0].baseline.affine is None


def test_table_lines_up():
    rows = denoising_report.means([_result(), _result(sigma=9.5, psnr=30.126)])
    lines = denoising_report.table(rows, "net").splitlines()
    assert lines[0].split() == ["data", "noise", "images", "noisy", "SSIM", "net", "SSIM", "gain",
                                "s/image"]
    assert lines[2].split() == ["Set", "sigma", "9.5", "1", "20.00", "0.4000", "30.13", "0.8000",
                                "+10.13", "0.50"]
    assert len({len(line) for line in lines}) == 1


def test_table_of_pairs_gains_in_the_affine_score():
    rows = denoising_report.means([_result(sigma=None, psnr=22, affine=30.5)])
    header, line = denoising_report.table(rows, "net").splitlines()
    assert header.split().count("affine") == 2
    assert line.split()[1:3] == ["as", "given"] and line.split()[-2] == "+10.00"


def test_table_of_the_noisy_images_alone():
    text = denoising_report.table(denoising_report.means([_result(model=False)]), "noisy")
    assert text.splitlines()[0].split() == ["data", "noise", "images", "noisy", "SSIM"]


def _rows(count, sigma=25.0):
    return denoising_report.means([_result(str(i), sigma) for i in range(count)])


def test_published_figures_stand_beside_the_same_measurement_only():
    """The same protocol, noise and number of images; all else would not compare."""
    found = denoising_report.published(_rows(68), "bsd68")
    assert {figure.psnr for figure in found} >= {27.71, 28.59}
    assert [figure.psnr for figure in denoising_report.published(_rows(34), "source")] == [23.89,
                                                                                          23.89]
    assert denoising_report.published(_rows(67), "bsd68") == []
    assert denoising_report.published(_rows(68), "colour") == []
    assert denoising_report.published(_rows(68, 15.0), "bsd68") == []
    photons = [denoising_report.Mean("Set", MadeNoise("poisson", 25), 68, None, Score(1, 1), 0)]
    assert denoising_report.published(photons, "bsd68") == []


def test_remarks_say_what_was_done_and_what_was_not_measured_here():
    text = denoising_report.remarks(_rows(68), PROTOCOLS["bsd68"], ["a note"])
    assert "not measured here" in text and "27.71" in text and "- a note" in text
    assert "neither clipped nor rounded" in text and "peak 255" in text
    text = denoising_report.remarks(_rows(3), PROTOCOLS["source"])
    assert "Published" not in text and "truncated" in text and "black bars" in text


def test_records_are_strict_json_even_for_equal_images():
    result = _result(psnr=float("inf"), affine=float("inf"), sigma=None)
    record = denoising_report.result_record(result)
    assert record["psnr"] is None and record["affine_psnr"] is None and record["identical"] is True
    assert record["noise"] == "given" and record["noisy"] == "noisy.png"
    rows = denoising_report.means([result])
    records = [record, denoising_report.mean_record(rows[0], model="net", protocol="pairs"),
               *denoising_report.remark_records(_rows(68), PROTOCOLS["bsd68"])]
    assert records[-1]["type"] == "protocol" and records[-2]["type"] == "published"
    json.dumps(records, allow_nan=False)


def test_csv_has_images_then_means():
    results = [_result("a, b"), _result("c"), _result("d", None, affine=30.0)]
    rows = list(csv.DictReader(io.StringIO(denoising_report.csv_text(results))))
    assert [row["image"] for row in rows] == ["a, b", "c", "d", "mean", "mean"]
    assert rows[0]["level"] == "25" and rows[0]["affine_psnr"] == ""
    assert rows[2]["noise"] == "given" and rows[4]["noisy_affine_psnr"] == "20.0000"


@pytest.mark.parametrize("model", [True, False])
def test_plots_are_pictures(tmp_path, model):
    pytest.importorskip("matplotlib")
    results = [_result(str(i), sigma, 26 + i, model=model) for i in range(3)
               for sigma in (10.0, 25.0)]
    results.append(_result("same", 25.0, float("inf"), float("inf"), model=model))
    drawn = denoising_report.plot(results, tmp_path / "plots", model="net", protocol="bsd68")
    assert [path.name for path in drawn] == (["psnr.png", "images.png"] if model else ["psnr.png"])
    for path in drawn:
        with Image.open(path) as picture:
            picture.load()
            assert len(picture.getcolors(1 << 20)) > 5
