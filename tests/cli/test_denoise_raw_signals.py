"""`restore denoise-raw` stopped from outside, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from denoise_raw_weights import dark, make
from processes import begin

from restore_cli.media import raw

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def start(tmp_path):
    (tmp_path / "weights").mkdir()
    weights = make(tmp_path / "weights")
    (tmp_path / "work").mkdir()

    def go(*arguments, **streams):
        return begin("denoise-raw", *arguments, "--weights", str(weights), "--device", "cpu",
                     cwd=tmp_path / "work", **streams)

    return go


@pytest.mark.parametrize("sent,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_whole_outputs_only(start, tmp_path, sent, status):
    work = tmp_path / "work"
    dark(work / "a.dng")
    dark(work / "b.dng", light=np.full((4, 1600, 1600), 0.3, np.float32))
    process = start("a.dng", "b.dng", "--tile", "32")
    for _ in range(1200):  # until the first is done, so that the second is under way
        if (work / "a_denoised.dng").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors.decode()
    assert sorted(os.listdir(work)) == ["a.dng", "a_denoised.dng", "b.dng"]
    assert raw.read(work / "a_denoised.dng").mosaic.shape == (48, 64)
    assert "Traceback" not in errors.decode()


def test_ctrl_c_while_waiting_for_stdin_leaves_no_temporary_folder(start, tmp_path):
    (tmp_path / "temp").mkdir()
    process = start("-", "-o", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    env={**os.environ, "TMPDIR": str(tmp_path / "temp")})
    for _ in range(1200):
        if any(name.startswith("restore-raw-") for name in os.listdir(tmp_path / "temp")):
            break
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    errors = process.stderr.read().decode()
    process.stdin.close()
    assert process.returncode == 130, errors
    assert "Fatal" not in errors and "Traceback" not in errors
    assert not [name for name in os.listdir(tmp_path / "temp") if name.startswith("restore-raw-")]


def test_a_reader_that_goes_away_is_no_error(start, tmp_path):
    dark(tmp_path / "work" / "a.dng", light=np.random.default_rng(0).uniform(
        0.1, 0.6, (4, 300, 300)))
    process = start("a.dng", "-o", "-", "--quiet", stdout=subprocess.PIPE)
    process.stdout.read(8)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=120) == 0, errors
    assert errors == ""
