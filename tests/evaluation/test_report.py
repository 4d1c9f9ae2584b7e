"""Means, tables, records, CSV and plots."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from restore_cli.evaluation import plots, report
from restore_cli.evaluation.cases import Case
from restore_cli.evaluation.protocols import Result, Score


def _result(name="a", scale=2.0, psnr=30.0, baseline=28.0, model=True, lr=Path("lr.png"),
            data="Set", ssim=0.9):
    return Result(Case(data, name, scale, Path("hr.png"), lr), (20, 24),
                  Score(psnr, ssim) if model else None, Score(baseline, 0.8), 0.5)


def test_means_are_of_decibels_by_set_and_scale():
    rows = report.means([_result("a", psnr=30), _result("b", psnr=34, lr=None),
                         _result("a", scale=3.0, psnr=20, ssim=None)])
    assert [(row.scale, row.images, row.source) for row in rows] == [(2, 2, "mixed"),
                                                                     (3, 1, "given")]
    assert rows[0].model.psnr == pytest.approx(32) and rows[0].seconds == 1
    assert rows[1].model.ssim is None


def test_table_lines_up():
    text = report.table(report.means([_result(psnr=30.126), _result(scale=4.0, psnr=9.5)]), "net")
    lines = text.splitlines()
    assert lines[0].split() == ["data", "scale", "images", "LR", "bicubic", "SSIM", "net", "SSIM",
                                "gain", "s/image"]
    assert lines[1].split() == ["Set", "x2", "1", "given", "28.00", "0.8000", "30.13", "0.9000",
                                "+2.13", "0.50"]
    assert len({len(line) for line in lines}) == 1


def test_table_of_the_baseline_alone():
    text = report.table(report.means([_result(model=False)]), "bicubic")
    assert text.splitlines()[0].split() == ["data", "scale", "images", "LR", "bicubic", "SSIM"]


def test_records_are_strict_json_even_for_equal_images():
    result = _result(psnr=float("inf"))
    record = report.result_record(result)
    assert record["psnr"] is None and record["identical"] is True
    mean = report.mean_record(report.means([result])[0], model="net", protocol="rgb",
                              quantised=False)
    assert mean["bicubic_psnr"] == 28 and mean["low_resolution"] == "given"
    json.dumps([record, mean], allow_nan=False)


def test_csv_has_images_then_means():
    rows = list(csv.DictReader(io.StringIO(report.csv_text([_result("a, b"), _result("c")]))))
    assert [row["image"] for row in rows] == ["a, b", "c", "mean"]
    assert rows[2]["psnr"] == "30.0000" and rows[2]["bicubic_psnr"] == "28.0000"
    assert rows[0]["width"] == "24" and rows[0]["low_resolution"] == "given"


@pytest.mark.parametrize("model", [True, False])
def test_plots_are_pictures(tmp_path, model):
    pytest.importorskip("matplotlib")
    from PIL import Image

    results = [_result(str(i), scale, 30 + i, 28 + i / 2, model, data=data)
               for i in range(3) for scale in (2.0, 3.0) for data in ("A", "B")]
    results.append(_result("same", 2.0, float("inf"), float("inf"), model, data="A"))
    drawn = plots.write(results, tmp_path / "plots", model="net", protocol="rgb")
    assert [path.name for path in drawn] == (["psnr.png", "images.png"] if model
                                             else ["psnr.png"])
    for path in drawn:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG" and len(picture.getcolors(1 << 20)) > 5
    assert len(list((tmp_path / "plots").iterdir())) == len(drawn)
