"""What `restore upscale` refuses, and what it does when memory or disk run out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pictures import load, picture, save

from restore_cli.media import images


@pytest.mark.parametrize("arguments", [
    ["--scale", "0"], ["--scale", "-2"], ["--scale", "nan"], ["--scale", "inf"],
    ["--scale", "1000"], ["--scale", "0.5"], ["--scale", "two"], ["--scale", "2x"],
    ["--scale", "1x2x3"], ["--size", "10"], ["--size", "0x10"], ["--size", "axb"],
    ["--size", "4x4"], [], ["--scale", "2", "--size", "20x20"], ["-s", "2", "--memory", "lots"],
    ["-s", "2", "--format", "docx"], ["-s", "2", "-o", "b.jpg", "--format", "png"],
    ["-s", "2", "-o", "b.docx"], ["-s", "2", "-0"], ["-s", "2", "--shard", "3/2"],
    ["-s", "2", "--overwrite", "--skip-existing"], ["-s", "2", "--model", "x"],
    ["-s", "2", "-o", "-", "--json"]])
def test_contradictions_and_nonsense_are_usage_errors(upscale, arguments):
    save("a.png", picture(6, 6))
    found = upscale("a.png", *arguments)
    assert found.status == 2, found.stderr
    assert os.listdir() == ["a.png"]
    assert found.stderr.count("error:") == 1 and found.stdout == b""


def test_no_input_at_all(upscale):
    assert upscale("-s", 2).status == 2
    Path("empty").mkdir()
    assert upscale("empty", "-s", 2).status == 2


def test_shrinking_gets_a_hint(upscale):
    save("a.png", picture(6, 6))
    assert "only enlarges" in upscale("a.png", "--scale", "0.5").stderr


def test_an_absurd_output_is_refused_before_the_work(upscale, monkeypatch):
    save("a.png", picture(600, 600))
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "1000000")
    found = upscale("a.png", "--scale", "50")
    assert found.status == 2 and "30000x30000" in found.stderr
    assert os.listdir() == ["a.png"]


def test_a_strip_too_wide_for_its_format_fails_before_the_work(upscale):
    save("a.jpg", picture(1, 40000))
    found = upscale("a.jpg", "--scale", "2")
    assert found.status == 3 and "80000x2" in found.stderr and "png" in found.stderr
    assert os.listdir() == ["a.jpg"]


def test_a_65535_wide_strip(upscale):
    save("a.png", picture(1, 65535))
    found = upscale("a.png", "--scale", "1.5x2")
    assert found.status == 0, found.stderr
    assert load("a_x1.5x2.png").shape == (2, 98303, 3)


def test_a_bomb_is_refused(upscale, monkeypatch):
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "5000")
    save("a.png", picture(100, 100))
    save("b.png", picture(10, 10))
    found = upscale("a.png", "b.png", "-s", 2)
    assert found.status == 3 and "1 done, 1 failed" in found.stderr


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="needs a user whom permissions stop")
def test_an_unwritable_folder(upscale):
    save("a.png", picture(6, 6))
    Path("locked").mkdir(mode=0o500)
    assert upscale("a.png", "-s", 2, "-o", "locked/b.png").status == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_behind(upscale, monkeypatch):
    save("a.png", picture(30, 30))
    save("b.png", picture(31, 30))
    real = images.write

    def write(target, image, **options):
        if Path(target).name == "a_x2.png":
            with open("/dev/full", "wb") as full:
                return real(full, image, format="PNG")
        return real(target, image, **options)

    monkeypatch.setattr(images, "write", write)
    found = upscale("a.png", "b.png", "-s", 2)
    assert found.status == 3 and "space" in found.stderr.lower()
    assert sorted(os.listdir()) == ["a.png", "b.png", "b_x2.png"]


def test_an_unknown_model_is_told_with_the_nearest_known_one(upscale):
    save("a.png", picture(6, 6))
    found = upscale("a.png", "-s", 2, "--model", "edsr-baseline-lif", network=None)
    assert found.status == 4
    assert "Did you mean edsr-baseline-liif" in found.stderr


def test_missing_and_damaged_weights(upscale, weights):
    save("a.png", picture(6, 6))
    assert upscale("a.png", "-s", 2, "-w", "gone.safetensors", network=None).status == 4
    data = weights().read_bytes()
    Path("cut.safetensors").write_bytes(data[:len(data) // 2])
    found = upscale("a.png", "-s", 2, "-w", "cut.safetensors", network=None)
    assert found.status == 4 and "cut.safetensors" in found.stderr
    assert not Path("a_x2.png").exists()


def test_a_network_with_global_statistics_runs_whole_or_not_at_all(upscale):
    save("a.tif", picture(30, 40, dtype=np.float32))
    assert upscale("a.tif", "-s", 2, network="rcan").status == 0
    assert upscale("a.tif", "-s", 2, "-o", "b.tif", "--tile", 16, network="rcan").status == 2
    save("large.png", np.zeros((3000, 3000, 3), np.uint8))
    found = upscale("large.png", "-s", 1, "--memory", "1G", network="rcan")
    assert found.status == 5 and "whole image" in found.stderr


def test_a_tile_that_does_not_fit_is_refused_not_changed(upscale):
    save("a.png", np.zeros((2500, 2500, 3), np.uint8))
    found = upscale("a.png", "-s", 1, "--memory", "900M", "--tile", 2400)
    assert found.status == 5 and "2400" in found.stderr
    assert os.listdir() == ["a.png"]


def test_memory_below_the_program_itself(upscale):
    save("a.png", picture(6, 6))
    assert upscale("a.png", "-s", 2, "--memory", "20M").status == 5


def test_running_out_of_memory_halves_the_tile(upscale, monkeypatch):
    from restore_cli.jobs.upscale_image import Upscaler

    save("a.png", picture(100, 90))
    assert upscale("a.png", "-s", 2, "-o", "whole.png").status == 0
    real, tried = Upscaler.run, []

    def run(self, pixels, out, blocks, *rest):
        tried.append(len(blocks))
        if 1 < len(tried) < 4:  # the first call is the warm-up
            raise MemoryError
        return real(self, pixels, out, blocks, *rest)

    monkeypatch.setattr(Upscaler, "run", run)
    found = upscale("a.png", "-s", 2)
    assert found.status == 0 and "again with tiles" in found.stderr
    assert tried[-1] > tried[1]
    assert np.abs(load("whole.png").astype(int) - load("a_x2.png")).max() <= 1


def test_an_output_larger_than_the_memory_goes_through_the_disk(upscale, monkeypatch):
    from restore_cli.jobs import upscale as job

    save("a.png", picture(50, 60))
    assert upscale("a.png", "-s", 3, "-o", "whole.png").status == 0
    monkeypatch.setattr(job.buffers, "encoding", lambda *_: 1 << 60)
    found = upscale("a.png", "-s", 3)
    assert found.status == 0, found.stderr
    np.testing.assert_array_equal(load("a_x3.png"), load("whole.png"))
    assert sorted(os.listdir()) == ["a.png", "a_x3.png", "whole.png"]
    found = upscale("a.png", "-s", 3, "--format", "webp")
    assert found.status == 5 and "PNG or TIFF" in found.stderr
