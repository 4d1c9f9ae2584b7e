"""`restore vsr --jobs 2` on one film, as processes of their own that are killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import begin
from vsr_films import film, films, small

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.runtime import facts

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="children are read there"),
    pytest.mark.skipif(facts.cores() < 2, reason="threads are for two processes")]
COUNT = 20


@pytest.fixture
def one_thread(engine):
    """The engine computes with one thread, as each of two processes on two cores does."""
    from restore_cli.runtime import engine as runtime

    before = runtime.current().threads
    yield
    runtime.start("cpu", before)


def kept() -> list[int]:
    """Numbers of the segments in the journal."""
    try:
        lines = Path("a_x4.mp4.parts/journal.jsonl").read_text().splitlines()[1:]
    except OSError:
        return []
    return [json.loads(line)["segment"] for line in lines if line.endswith("}")]


def workers(process) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(one) for one in path.read_text().split()]


def until(process, count):
    """Waits until so many segments are finished and both processes work."""
    end = time.monotonic() + 300
    while (len(kept()) < count or len(workers(process)) < 2) and process.poll() is None:
        time.sleep(0.02)
        assert time.monotonic() < end
    assert process.poll() is None, process.communicate()


def test_a_run_and_a_process_are_killed(tmp_path, monkeypatch, one_thread):
    """The run goes on after either; the film is that of one process in one go."""
    weights = small.weights(tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    film(Path("a.mp4"), COUNT, size="96x64")
    options = ("vsr", "a.mp4", "-w", str(weights), "--device", "cpu", "--segment", "2", "--tile",
               "16")
    shared = (*options, "--jobs", "2", "--threads", "2", "--resume", "--json")
    process = begin(*shared, cwd=os.getcwd(), stdout=subprocess.PIPE)
    until(process, 2)
    process.kill()
    process.communicate(timeout=60)
    before = kept()
    assert before and not Path("a_x4.mp4").exists()
    process = begin(*shared, cwd=os.getcwd(), stdout=subprocess.PIPE)
    until(process, len(before) + 1)
    os.kill(workers(process)[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors.decode()
    assert "going on after" in errors.decode() and "a process was killed" in errors.decode()
    records = [json.loads(line) for line in out.decode().splitlines()]
    made = [one["segment"] for one in records if one["status"] == "segment"]
    assert sorted(made + before) == list(range(COUNT // 2))
    assert records[-1]["frames"] == COUNT and records[-1]["status"] == "done"
    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
    assert main([*options, "-o", "one.mp4", "--threads", "1"], console) == 0
    assert sorted(os.listdir()) == ["a.mp4", "a_x4.mp4", "one.mp4"]
    assert films.packets("a_x4.mp4", "video") == films.packets("one.mp4", "video")
