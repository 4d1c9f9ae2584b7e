"""`restore denoise` stopped from outside, as a process of its own."""

from __future__ import annotations

import os
import signal
import time

import pytest
from denoise_weights import noisy
from processes import begin

from restore_cli.media import images
from restore_cli.media.images import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.mark.parametrize("sent,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_leaves_nothing(tmp_path, sent, status):
    images.write(tmp_path / "a.png", Image(noisy(96, 96)))
    process = begin("denoise", "a.png", "--steps", "100000", "--device", "cpu", "--model-out",
                    "own.safetensors", "--cold", cwd=tmp_path)
    time.sleep(8)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors.decode()
    assert os.listdir(tmp_path) == ["a.png"]
    assert "Traceback" not in errors.decode()
