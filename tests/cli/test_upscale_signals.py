"""`restore upscale` stopped from outside, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from processes import begin
from upscale_weights import make

from restore_cli.media import images
from restore_cli.media.images import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def start(tmp_path):
    weights = make(tmp_path / "weights", "liif")
    (tmp_path / "work").mkdir()

    def go(*arguments, **streams):
        return begin("upscale", *arguments, "--weights", str(weights), "--device", "cpu",
                     cwd=tmp_path / "work", **streams)

    return go


def save(path, side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    images.write(path, Image(pixels))


@pytest.mark.parametrize("sent,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_whole_outputs_only(start, tmp_path, sent, status):
    work = tmp_path / "work"
    save(work / "a.png", 16)
    save(work / "b.png", 2000)
    process = start("a.png", "b.png", "--scale", "8")
    for _ in range(1200):  # until the first is done, so that the second is under way
        if (work / "a_x8.png").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors.decode()
    assert sorted(os.listdir(work)) == ["a.png", "a_x8.png", "b.png"]
    assert images.read(work / "a_x8.png").pixels.shape == (128, 128, 3)
    assert "Traceback" not in errors.decode()


def test_ctrl_c_while_waiting_for_stdin(start):
    process = start("-", "--scale", "2", "-o", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    errors = process.stderr.read().decode()
    process.stdin.close()
    assert process.returncode == 130, errors
    assert "Fatal" not in errors and "Traceback" not in errors


def test_a_reader_that_goes_away_is_no_error(start, tmp_path):
    save(tmp_path / "work" / "a.png", 200)
    process = start("a.png", "--scale", "4", "-o", "-", stdout=subprocess.PIPE)
    process.stdout.read(8)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=120) == 0, errors
    assert errors == ""
