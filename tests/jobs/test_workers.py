"""Worker processes that share the items of a run, with a job that takes no time."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, Terminated
from restore_cli.pipeline import crew_worker
from restore_cli.pipeline.crew import Crew
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import Report

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs texts through `count` workers; returns their crew's report, console and results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    Path("out").mkdir()

    def run(*texts, count=2, report=Report, debug=False, bar=None, **task):
        console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
        console.json_lines, console.debug = True, debug
        go.console, go.report = console, report(console, str)
        items = []
        for number, text in enumerate(texts):
            Path(f"{number}.txt").write_text(text)
            items.append(Item(Path(f"{number}.txt"), Path(f"out/{number}.txt")))
        Crew("worker_job", [task] * count, [{}] * count, console, go.report, bar).run(items)
        return [json.loads(line) for line in console.stdout.getvalue().splitlines()]

    def go(*texts, **options):
        return run(*texts, **options)

    return go


def outputs() -> dict[str, str]:
    return {path.name: path.read_text() for path in Path("out").iterdir()}


def test_a_slow_item_holds_up_nothing(go):
    """The first waits for the last, which the other process must come to."""
    records = go("wait last", *["text"] * 5, "touch last")
    assert [one["status"] for one in records] == ["done"] * 7
    assert records[-1]["path"] == "some/path"
    assert len({one["pid"] for one in records}) == 2
    assert len(outputs()) == 7 and outputs()["3.txt"] == "TEXT"
    assert go.report.summary.done == 7 and go.report.summary.status == ExitStatus.OK


def test_what_each_process_says_of_its_setup_is_told_once(go):
    records = go("wait last", "warn of it", *["text"] * 3, "warn of it", "touch last")
    assert len({one["pid"] for one in records}) == 2
    assert go.console.stderr.getvalue().splitlines() == [
        "warning: told by each", "waiting", "warning: of it"]


def test_failures_are_told_as_one_process_tells_them(go):
    records = go("text", "refuse", "stumble", count=1)
    assert sorted(one["status"] for one in records) == ["done", "failed", "failed"]
    assert go.report.summary.statuses == {ExitStatus.SOME_FAILED: 1, ExitStatus.BUG: 1}
    assert go.console.stderr.getvalue().splitlines()[1:] == [
        "error: 1.txt: is refused",
        "error: 2.txt: unexpected KeyError: 'bug'. --debug shows where"]
    assert "1.txt: is refused" in [one.get("error") for one in records]


def test_debug_shows_where_in_the_worker(go):
    go("stumble", count=1, debug=True)
    assert "worker_job.py" in go.console.stderr.getvalue()


@pytest.mark.parametrize("verb", ["die", "die reading", "die writing"])
def test_a_killed_process_is_one_failed_file(go, verb):
    texts = ["text"] * 7
    texts[2] = verb
    records = go(*texts)
    failed = [one for one in records if one["status"] == "failed"]
    assert len(records) == 7 and len(failed) == 1
    assert "was killed" in failed[0]["error"] and failed[0]["source"] == "2.txt"
    assert go.report.summary.status == ExitStatus.SOME_FAILED
    assert sorted(outputs()) == [f"{n}.txt" for n in range(7) if n != 2]  # and no temporary file


def test_what_a_killed_process_had_besides_is_done_again(go):
    records = go("once ahead", "mark ahead", "text", "die", "text", count=1)
    assert [one["source"] for one in records if one["status"] == "failed"] == ["3.txt"]
    assert len(records) == 5 and len(outputs()) == 4
    assert "the 2 files that it had are done again" in go.console.stderr.getvalue()


def test_a_file_of_which_a_killed_process_could_not_tell_is_made_again(go):
    records = go("once placed", "mark placed", "text", count=1)
    assert [one["status"] for one in records] == ["done"] * 3
    assert "2 files that it had" in go.console.stderr.getvalue() and len(outputs()) == 3


@pytest.mark.parametrize("trouble,status,text", [
    ("weights", ExitStatus.WEIGHTS, "net.safetensors: are damaged. Fetch them again"),
    ("bug", ExitStatus.BUG, "unexpected ZeroDivisionError: nought"),
    ("death", ExitStatus.SOME_FAILED, "a worker process was killed while it was set up")])
def test_what_concerns_the_run_ends_it_once(go, trouble, status, text):
    with pytest.raises(RestoreError) as caught:
        go("text", "text", "text", trouble=trouble)
    assert caught.value.status == status and str(caught.value).startswith(text)
    assert go.console.stderr.getvalue() == "warning: told by each\n"
    assert go.report.summary.failed == 0 and not outputs()


class Interrupted(Report):
    """Ctrl-C comes as soon as an item is done."""

    def done(self, item, facts, seconds):
        super().done(item, facts, seconds)
        raise KeyboardInterrupt


def test_an_interrupt_lets_all_processes_clean_up(go):
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        go("wait never", "wait never.awaited", "text", report=Interrupted)
    assert time.monotonic() - begun < 15  # nobody waited for what never comes
    assert "cleaned up" in go.console.stderr.getvalue()
    assert "0.txt" not in outputs() and all(name.endswith(".txt") for name in outputs())


def test_a_second_signal_ends_them_at_once(go, monkeypatch):
    """One process does not hear of the first; none outlives the run."""
    from restore_cli.pipeline import crew

    begun = []
    start = subprocess.Popen

    def note(*arguments, **options):
        begun.append(start(*arguments, **options))
        return begun[-1]

    def signalled(console, message):
        if message == "does not hear":
            raise Terminated

    monkeypatch.setattr(crew.subprocess, "Popen", note)
    monkeypatch.setattr(Console, "info", signalled)
    with pytest.raises(Terminated):
        go("deaf", "wait deaf", "text", report=Interrupted)
    assert len(begun) == 2 and all(one.poll() is not None for one in begun)
    assert -signal.SIGKILL in [one.returncode for one in begun]


def test_a_worker_whose_run_is_gone_stops(tmp_path):
    source = tmp_path / "0.txt"
    source.write_text("wait never")
    worker = subprocess.Popen(
        [sys.executable, "-c", crew_worker.START,
         json.dumps([str(Path(__file__).parent), *map(os.path.abspath, sys.path)])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    flags = dict.fromkeys(("quiet", "json_lines", "debug", "bars"), False)

    def say(*message):
        worker.stdin.write(json.dumps(message).encode() + b"\n")
        worker.stdin.flush()

    def heard(kind):
        while (message := json.loads(worker.stdout.readline()))[0] != kind:
            pass
        return message

    say("task", {"module": "worker_job", "task": {}, "mark": "m-", "console": flags})
    heard("want")
    say("item", 0, str(source), str(tmp_path / "o.txt"), None)
    assert heard("at") == ["at", 0, "read"] and heard("at") == ["at", 0, "compute"]
    assert heard("info") == ["info", "waiting"]
    worker.send_signal(signal.SIGINT)  # the terminal's, which is the run's business
    worker.stdin.close()
    assert heard("info") == ["info", "cleaned up"]
    assert worker.wait(20) == ExitStatus.TERMINATED
    worker.stdout.close()


class Bar:
    """What a bar was told."""

    def __init__(self):
        self.total = self.n = 0
        self.says = ""

    def update(self, count):
        self.n += count

    def refresh(self):
        pass

    def set_postfix_str(self, text):
        self.says = text


def test_bars_of_all_processes_are_added_up(go):
    bar = Bar()
    go("bar 5 5", "bar 8 2", "text", bar=bar)  # the second ends early
    assert (bar.n, bar.total, bar.says) == (7, 7, "3 of 3 files")
