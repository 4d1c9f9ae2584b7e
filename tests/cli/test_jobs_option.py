"""`--jobs` and lists of devices: the files that one process writes, to the last byte."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from denoise_raw_weights import dark
from denoise_weights import noisy
from pictures import picture, save
from processes import begin
from vsr_films import film, small

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.media import images
from restore_cli.runtime import facts

two_cores = pytest.mark.skipif(facts.cores() < 2, reason="threads are for two processes")


class Result:
    def __init__(self, status: int, console: Console):
        self.status, self.stderr = status, console.stderr.getvalue()
        self.records = [json.loads(line) for line in console.stdout.getvalue().splitlines()]


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs a command line in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTORE_DEVICE", "cpu")

    def run(*words, stdin=b"") -> Result:
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        return Result(main([str(word) for word in words], console), console)

    return run


@pytest.fixture
def one_thread(engine):
    """The engine computes with one thread, as each of two processes on two cores does."""
    from restore_cli.runtime import engine as runtime

    before = runtime.current().threads
    yield
    runtime.start("cpu", before)


def written(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def check(go, command, source, *options):
    """Two processes of one thread do what one process of one thread does; both results."""
    words = (command, source, *options, "--json")
    one = go(*words, "-o", "one", "--threads", 1)
    two = go(*words, "-o", "two", "--threads", 2, "--jobs", 2)
    assert two.status == one.status, two.stderr

    def ends(found: Result, folder: str) -> list[dict]:
        ended = [{key: value for key, value in record.items() if key not in
                  ("seconds", "fps", "training", "segment", "output")}
                 for record in found.records if record["status"] in ("done", "failed")]
        for record in ended:
            if "error" in record:
                record["error"] = record["error"].replace(folder, "")
        return sorted(ended, key=lambda record: record["source"])

    assert ends(two, "two") == ends(one, "one") and ends(one, "one")
    assert written("two") == written("one")
    return one, two


@two_cores
def test_upscale(go, one_thread, weights):
    for number in range(3):
        save(f"in/{number}.png", picture(40 + number, 50, seed=number))
    Path("in/bad.png").write_bytes(b"no picture")
    one, two = check(go, "upscale", "in", "--scale", 2.5, "-w", weights())
    assert two.status == 3 and "3 done, 1 failed in" in two.stderr
    assert two.stderr.count("error:") == one.stderr.count("error:") == 1
    again = go("upscale", "in", "--scale", 2.5, "-w", weights(), "-o", "two", "--skip-existing",
               "--jobs", 2, "--json")  # one file is left, which is done here
    assert again.status == 3 and [record["status"] for record in again.records].count(
        "skipped") == 3


@two_cores
def test_denoise_raw_with_one_ratio(go, one_thread, raw_weights):
    for number in range(3):
        dark(f"in/{number}.dng", seed=number, ratio=60 + 20 * number)
    one, two = check(go, "denoise-raw", "in", "--same-ratio", "-w",
                     raw_weights("unet", ["Some Camera"], label="-some"))
    assert len({record["ratio"] for record in two.records}) == 1
    assert two.stderr.count("do not know the") == one.stderr.count("do not know the") == 1


@two_cores
def test_denoise_each(go, one_thread):
    for number in range(3):
        save(f"in/{number}.png", noisy(70, 72 + number, 1, seed=number))
    check(go, "denoise", "in", "--each", "--steps", 3)


@two_cores
def test_vsr(go, one_thread, tmp_path_factory):
    Path("in").mkdir()
    for number in range(2):
        film(Path(f"in/{number}.mp4"), 3 + number)
    _, two = check(go, "vsr", "in", "-w", small.weights(tmp_path_factory.mktemp("jobs-vsr")))
    assert sum(record["status"] == "segment" for record in two.records) == 2


@pytest.mark.parametrize("words,text", [
    (("upscale", "a.png", "b.png", "-s2", "--device", "cuda:0", "--jobs", "2"), "is for the CPU"),
    (("upscale", "a.png", "b.png", "-s2", "--device", "cuda:1,1"), "names cuda:1 twice"),
    (("upscale", "a.png", "b.png", "-s2", "--device", "cuda:0,cpu"), "no list of devices"),
    (("upscale", "-", "b.png", "-s2", "-o", "out/", "--jobs", "2"), "cannot be shared"),
    (("denoise-raw", "a.dng", "b.dng", "--device", "cuda:0,0"), "twice"),
    (("vsr", "a.mp4", "b.mp4", "--device", "cuda:0,0"), "twice"),
    (("denoise", "a.png", "b.png", "--jobs", "2"), "one training serves all images"),
    (("denoise", "a.png", "b.png", "--device", "cuda:0,1"), "one training serves all images"),
    (("denoise", "a.png", "b.png", "--each", "--jobs", "2"), "--steps 400")])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_refusals(go, words, text, dry):
    found = go(*words, *dry)
    assert found.status == 2 and text in " ".join(found.stderr.split()), found.stderr
    assert not os.listdir()


def test_a_dry_run_starts_nothing(go, monkeypatch):
    save("a.png", picture(8, 8))
    save("b.png", picture(8, 8))
    monkeypatch.setattr(subprocess, "Popen", None)
    found = go("upscale", "a.png", "b.png", "-s2", "--jobs", 2, "--dry-run", "--json")
    assert found.status == 0 and [record["status"] for record in found.records] == [
        "planned", "planned"]


def test_too_little_memory_is_told_once(go, weights):
    save("a.png", picture(8, 8))
    save("b.png", picture(8, 8))
    found = go("upscale", "a.png", "b.png", "-s2", "-w", weights(), "--jobs", 2, "--memory", "40M")
    assert found.status == 5 and found.stderr.count("error:") == 1, found.stderr
    assert "--jobs" in found.stderr or "fewer processes" in found.stderr
    assert sorted(os.listdir()) == ["a.png", "b.png"]


@two_cores
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_a_terminal_ends_all(tmp_path, weights):
    """Every process of the group hears it; whole outputs are left, and one line is said."""
    pixels = picture(1500, 1500)
    for name in "ab":
        images.write(tmp_path / f"{name}0.png", images.Image(picture(16, 16)))
        images.write(tmp_path / f"{name}1.png", images.Image(pixels))
    process = begin("upscale", "a0.png", "a1.png", "b1.png", "--scale", "8", "-w", str(weights()),
                    "--device", "cpu", "--jobs", "2", cwd=tmp_path, start_new_session=True)
    until = time.monotonic() + 60
    while not (tmp_path / "a0_x8.png").exists() and process.poll() is None:
        time.sleep(0.05)
        assert time.monotonic() < until
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert "Traceback" not in errors.decode()
    assert errors.decode().splitlines()[-1] == "error: interrupted"
    assert sorted(os.listdir(tmp_path)) == ["a0.png", "a0_x8.png", "a1.png", "b0.png", "b1.png"]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
