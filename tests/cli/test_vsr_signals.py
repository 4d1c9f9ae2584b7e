"""`restore vsr` stopped from outside, as a process of its own, and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import begin
from vsr_films import film, films, small

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
COUNT = 24


@pytest.fixture
def start(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    weights = small.weights(tmp_path / "weights")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def go(*arguments, **streams):
        return begin("vsr", *arguments, "--weights", str(weights), "--device", "cpu", "--segment",
                     "4", cwd=tmp_path / "work", **streams)

    return go


def segments(target="a_x4.mp4") -> int:
    """How many the journal counts."""
    try:
        lines = Path(f"{target}.parts/journal.jsonl").read_text().splitlines()
    except OSError:
        return 0
    return len(lines) - 1


def wait(process, count):
    for _ in range(2400):
        if segments() >= count or process.poll() is not None:
            break
        time.sleep(0.02)


@pytest.mark.parametrize("sent,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_cleanly(start, sent, status):
    film(Path("a.mp4"), COUNT, size="96x64")
    process = start("a.mp4", "--tile", "16")
    wait(process, 2)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors.decode()
    text = errors.decode()
    assert "Traceback" not in text and "--resume goes on" in text
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4.parts"]
    names = os.listdir("a_x4.mp4.parts")
    assert len(names) == segments() + 1 and not any(name.startswith(".") for name in names)


def test_killed_again_and_again(start):
    """Each run goes on from the segments of the one before; the end equals a run in one go."""
    films.ffmpeg(*films.picture(str(COUNT / 10), "96x64"), "-f", "lavfi", "-i",
                 f"sine=d={COUNT / 10}", "-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p",
                 "-c:a", "aac", "a.mp4")
    done, kills = 0, 0
    for _ in range(2):
        process = start("a.mp4", "--resume", "--tile", "16")
        wait(process, done + 1)
        time.sleep(0.05 * kills)
        process.kill()
        _, errors = process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
        assert not Path("a_x4.mp4").exists(), errors.decode()
        assert segments() > done
        done = segments()
    assert kills == 2
    last = json.loads(Path("a_x4.mp4.parts/journal.jsonl").read_text().splitlines()[-1])
    assert last["place"]["frame"] == done * 4 - 2  # the film is read from there on
    process = start("a.mp4", "--resume", "--json", "--tile", "16", stdout=subprocess.PIPE)
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors.decode()
    records = [json.loads(line) for line in out.decode().splitlines()]
    assert [one["segment"] for one in records[:-1]] == list(range(done, COUNT // 4))
    process = start("a.mp4", "-o", "whole.mp4", "--tile", "16")
    assert process.communicate(timeout=100) and process.returncode == 0
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4", "whole.mp4"]
    assert (films.decoded("a_x4.mp4") == films.decoded("whole.mp4")).all()
    assert films.times("a_x4.mp4") == films.times("whole.mp4") and len(
        films.times("a_x4.mp4")) == COUNT
    assert films.packets("a_x4.mp4", "audio") == films.packets("whole.mp4", "audio")
