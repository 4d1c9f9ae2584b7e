"""What `restore denoise-raw` refuses, and what it does when memory or disk run out."""

from __future__ import annotations

import os
from pathlib import Path

import denoise_weights
import numpy as np
import pytest
from denoise_raw_weights import dark, raw_files

from restore_cli.media import raw


@pytest.mark.parametrize("arguments", [
    ["--ratio", "0"], ["--ratio", "0.5"], ["--ratio", "nan"], ["--ratio", "inf"],
    ["--ratio", "2", "--target-exposure", "100"], ["--ratio", "2", "--reference", "a.dng"],
    ["--target-exposure", "0"], ["--target-exposure", "5", "--reference", "a.dng"],
    ["--ratio", "2", "--same-ratio"], ["--reference", "gone.dng"], ["--strength", "2"],
    ["--format", "docx"], ["-o", "b.jpg", "--format", "png"], ["-o", "b.tif", "--format", "dng"],
    ["-o", "b.docx"], ["--quality", "80"], ["--format", "tiff", "--quality", "80"],
    ["--png-level", "3"], ["--format", "tiff", "--png-level", "3"],
    ["--compression", "zip"], ["--format", "png", "--compression", "none"], ["--tile", "8"],
    ["--memory", "lots"], ["-0"], ["--shard", "3/2"], ["--overwrite", "--skip-existing"],
    ["--model", "x"], ["-o", "-", "--json"]])
def test_contradictions_and_nonsense_are_usage_errors(denoise_raw, arguments):
    dark("a.dng")
    found = denoise_raw("a.dng", *arguments)
    assert found.status == 2, found.stderr
    assert os.listdir() == ["a.dng"] and found.stdout == b""


def test_several_files_cannot_become_one(denoise_raw):
    dark("a.dng")
    dark("b.dng")
    for arguments in (["-o", "c.dng"], ["-o", "c.tif"], ["-o", "c.tif", "--shard", "1/2"]):
        found = denoise_raw("a.dng", "b.dng", *arguments)
        assert found.status == 2 and "several inputs cannot become one file" in found.stderr
    assert sorted(os.listdir()) == ["a.dng", "b.dng"]


def test_no_input_at_all(denoise_raw):
    assert denoise_raw().status == 2
    Path("empty").mkdir()
    found = denoise_raw("empty")
    assert found.status == 2 and "no RAW file among the inputs" in found.stderr


def test_two_files_of_one_name(denoise_raw):
    dark("a.dng")
    dark("a.nef")
    found = denoise_raw("a.dng", "a.nef")
    assert found.status == 2 and "would be the output of both" in found.stderr


def test_a_reference_without_exposure(denoise_raw):
    dark("a.dng")
    dark("r.dng", iso=None, seconds=None)
    found = denoise_raw("a.dng", "--reference", "r.dng")
    assert found.status == 2 and "r.dng: does not say its ISO" in found.stderr


@pytest.mark.parametrize("level", [0, 512])
def test_a_picture_without_light_takes_a_given_ratio_only(denoise_raw, level):
    raw_files.write_dng(Path("a.dng"), np.full((48, 64), level, np.uint16))
    found = denoise_raw("a.dng")
    assert found.status == 3 and found.stderr.count("error:") == 1
    assert "error: a.dng: " in found.stderr and not Path("a_denoised.dng").exists()
    if level:
        assert "holds no light" in found.stderr
        assert denoise_raw("a.dng", "--ratio", 100).status == 0


def test_a_ratio_beyond_the_weights_is_warned_of(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "--ratio", 400)
    assert found.status == 0
    assert "warning: a.dng: the ratio 400 is outside the 1 to 300" in found.stderr


def test_weights_of_another_kind(denoise_raw, tmp_path):
    dark("a.dng")
    (tmp_path / "w").mkdir()
    other = denoise_weights.make(tmp_path / "w", "grey")
    found = denoise_raw("a.dng", network=other)
    assert found.status == 4 and "does not denoise RAW files" in found.stderr
    Path("broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{not json at all")
    assert denoise_raw("a.dng", network=Path("broken.safetensors")).status == 4


def test_weights_that_say_nonsense_of_themselves(denoise_raw, raw_weights):
    dark("a.dng")
    bad = raw_weights("unet", ratios=(300, 1), label="-bad")
    found = denoise_raw("a.dng", network=bad)
    assert found.status == 4 and "make no sense" in found.stderr


def test_a_jpeg_cannot_hold_very_wide_pictures(denoise_raw, monkeypatch):
    from restore_cli.media import formats

    monkeypatch.setitem(formats.FORMATS, "JPEG", formats.Holds("JPEG", ("uint8",), False, 63))
    dark("a.dng")
    dark("b.dng", light=np.full((4, 20, 24), 0.4))
    found = denoise_raw("a.dng", "b.dng", "--format", "jpeg")
    assert found.status == 3 and "64x48 is more than JPEG can hold" in found.stderr
    assert sorted(os.listdir()) == ["a.dng", "b.dng", "b_denoised.jpg"]


def test_eight_bits_for_a_dark_picture_are_warned_of(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "--format", "jpeg", "--keep-exposure", "--ratio", 100)
    assert found.status == 0 and "8 bits hold few" in found.stderr
    found = denoise_raw("a.dng", "--format", "jpeg", "--ratio", 100, "--overwrite")
    assert found.status == 0 and "warning" not in found.stderr


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="needs a user whom permissions stop")
def test_an_unwritable_folder(denoise_raw):
    dark("a.dng")
    Path("locked").mkdir(mode=0o500)
    assert denoise_raw("a.dng", "-o", "locked/b.dng").status == 3


def test_a_folder_that_cannot_be_made(denoise_raw):
    dark("a.dng")
    Path("file").write_bytes(b"")
    found = denoise_raw("a.dng", "-o", "file/b.dng")
    assert found.status == 3 and found.stderr.count("error:") == 1
    assert sorted(os.listdir()) == ["a.dng", "file"]


@pytest.mark.parametrize("format", ["dng", "linear-dng", "tiff", "png", "jpeg"])
def test_a_disk_that_fills_up_in_the_middle_leaves_nothing_behind(denoise_raw, raw_weights,
                                                                  format):
    resource = pytest.importorskip("resource")
    weights = raw_weights()
    dark("a.dng")
    dark("b.dng", light=np.random.default_rng(0).uniform(0.1, 0.7, (4, 200, 200)))
    dark("c.dng")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        found = denoise_raw("a.dng", "b.dng", "c.dng", "--format", format, "--ratio", 90,
                            *(["--quality", 100] if format == "jpeg" else []), "-o", "out",
                            network=weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found.status == 3, found.stderr
    assert found.stderr.count("error:") == 1 and "2 done, 1 failed" in found.stderr
    assert [path.split(".")[0] for path in sorted(os.listdir("out"))] == ["a", "c"]


def test_too_little_memory(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "--memory", "1M")
    assert found.status == 5 and os.listdir() == ["a.dng"]


def test_real_files_of_other_kinds(denoise_raw, shared_data):
    """Refused in one line each while the good one among them is done."""
    names = ["other/gopro_unsupported.gpr", "other/linear_rgb.dng", "other/linear_rgb_rotated.dng",
             "wrapped/park_xtrans.dng", "wrapped/rose_gbrg.dng"]
    found = denoise_raw(*(shared_data / "raw" / name for name in names), "-o", "out")
    assert found.status == 3 and found.stderr.count("error:") == 4
    assert os.listdir("out") == ["rose_gbrg.dng"]
    assert raw.read("out/rose_gbrg.dng").pattern.name == "GBRG"
    for name in names[:4]:
        assert sum(name in line and "error:" in line for line in found.stderr.splitlines()) == 1
