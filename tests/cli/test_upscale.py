"""`restore upscale` through the command line, in process, on images made here."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import load, picture, save

from restore_cli.media import images


def test_one_image(upscale):
    save("a.png", picture(20, 30))
    found = upscale("a.png", "--scale", "7.5")
    assert found.status == 0, found.stderr
    assert load("a_x7.5.png").shape == (150, 225, 3)
    assert found.stdout == b"" and "a.png -> a_x7.5.png  30x20 -> 225x150" in found.stderr


def test_stdin_to_stdout(upscale):
    save("a.png", picture(10, 12))
    data = Path("a.png").read_bytes()
    found = upscale("-", "-s", 2, "-o", "-", stdin=data)
    assert found.status == 0
    assert upscale("a.png", "-s", 2).status == 0
    np.testing.assert_array_equal(images.read(io.BytesIO(found.stdout)).pixels, load("a_x2.png"))
    assert upscale("-", "-s", 2, stdin=data).stdout == found.stdout  # - means - for the output


def test_stdout_keeps_the_format_or_takes_the_asked_one(upscale):
    save("a.jpg", picture(10, 12))
    found = upscale("a.jpg", "-s", 2, "-o", "-")
    assert images.read(io.BytesIO(found.stdout)).format == "JPEG"
    found = upscale("a.jpg", "-s", 2, "-o", "-", "--format", "png")
    assert images.read(io.BytesIO(found.stdout)).format == "PNG"


@pytest.mark.parametrize("format,extension", [("png", ".png"), ("jpeg", ".jpg"), ("tiff", ".tif"),
                                              ("webp", ".webp"), ("JXL", ".jxl")])
def test_formats(upscale, format, extension):
    save("a.bmp", picture(10, 12))
    assert upscale("a.bmp", "-s", 2, "--format", format).status == 0
    assert load(f"a_x2{extension}").shape == (20, 24, 3)


def test_a_folder_of_mixed_files_with_broken_ones(upscale):
    for i in range(6):
        save(f"in/{i}.png", picture(8 + i, 9, seed=i))
    save("in/deep/grey.jpg", picture(9, 9, 1))
    save("in/deep/wide.tif", picture(6, 20, dtype=np.uint16))
    good = Path("in/1.png").read_bytes()
    Path("in/cut.png").write_bytes(good[:len(good) // 2])
    Path("in/text.png").write_text("not a picture\n")
    Path("in/empty.jpg").write_bytes(b"")
    found = upscale("in", "-r", "-o", "out", "-s", 2, "--json")
    assert found.status == 3
    assert sorted(str(p.relative_to("out")) for p in Path("out").rglob("*") if p.is_file()) == [
        "0.png", "1.png", "2.png", "3.png", "4.png", "5.png",
        os.path.join("deep", "grey.jpg"), os.path.join("deep", "wide.tif")]
    by_source = {Path(r["source"]).name: r for r in found.records}
    assert len(by_source) == 11
    for name in ("cut.png", "text.png", "empty.jpg"):
        assert by_source[name]["status"] == "failed" and by_source[name]["error"]
    assert by_source["wide.tif"]["size"] == [40, 12]
    assert by_source["wide.tif"]["input_size"] == [20, 6]
    assert found.stderr.count("error:") == 3 and "8 done, 3 failed" in found.stderr


def test_existing_outputs(upscale):
    save("a.png", picture(8, 8))
    save("b.png", picture(8, 8))
    save("a_x2.png", picture(2, 2))
    before = Path("a_x2.png").read_bytes()
    assert upscale("a.png", "b.png", "-s", 2).status == 2
    assert Path("a_x2.png").read_bytes() == before and not Path("b_x2.png").exists()
    found = upscale("a.png", "b.png", "-s", 2, "--skip-existing")
    assert found.status == 0 and "1 done, 1 skipped" in found.stderr
    assert Path("a_x2.png").read_bytes() == before
    assert upscale("a.png", "b.png", "-s", 2, "--skip-existing").status == 0
    assert upscale("a.png", "-s", 2, "--overwrite").status == 0
    assert load("a_x2.png").shape == (16, 16, 3)


def test_never_onto_the_input(upscale):
    save("a.png", picture(8, 8))
    before = Path("a.png").read_bytes()
    assert upscale("a.png", "-s", 2, "-o", "a.png", "--overwrite").status == 2
    assert Path("a.png").read_bytes() == before


def test_shards_together_are_the_whole(upscale):
    for i in range(5):
        save(f"in/{i}.png", picture(6, 6, seed=i))
    assert upscale("in", "-s", 2, "-o", "whole").status == 0
    for part in (1, 2, 3):
        assert upscale("in", "-s", 2, "-o", "parts", "--shard", f"{part}/3").status == 0
    for i in range(5):
        assert Path(f"whole/{i}.png").read_bytes() == Path(f"parts/{i}.png").read_bytes()


def test_names_from_stdin(upscale):
    save("a b.png", picture(6, 6))
    save("c.png", picture(6, 6))
    assert upscale("--files-from", "-", "-0", "-s", 2, stdin=b"a b.png\0c.png\0").status == 0
    assert Path("a b_x2.png").exists() and Path("c_x2.png").exists()


def test_dry_run_does_nothing_and_tells(upscale):
    save("a.png", picture(6, 6))
    found = upscale("a.png", "gone.png", "-s", 2, "--dry-run", network=None)
    assert found.status == 0
    assert found.stdout.decode().splitlines() == [
        "a.png -> a_x2.png", "gone.png -> gone_x2.png (will fail: no such file)"]
    assert os.listdir() == ["a.png"]
    assert upscale("a.png", "-s", 2, "--dry-run", "--json", network=None).records == [
        {"source": "a.png", "output": "a_x2.png", "status": "planned"}]


def test_suffix_quality_and_effort(upscale):
    save("a.png", picture(40, 60))
    for options in (["--png-level", 0, "--suffix", "_0"], ["--png-level", 9, "--suffix", "_9"],
                    ["--format", "jpeg", "--quality", 20, "--suffix", "_low"],
                    ["--format", "jpeg", "--quality", 98, "--suffix", "_high"]):
        assert upscale("a.png", "-s", 2, "--threads", 1, *options).status == 0
    np.testing.assert_array_equal(load("a_0.png"), load("a_9.png"))
    assert os.path.getsize("a_9.png") < os.path.getsize("a_0.png")
    assert os.path.getsize("a_low.jpg") < os.path.getsize("a_high.jpg")


def test_quiet_says_nothing_on_success(upscale):
    save("a.png", picture(6, 6))
    found = upscale("a.png", "-s", 2, "--quiet")
    assert found.status == 0 and found.stderr == "" and found.stdout == b""
