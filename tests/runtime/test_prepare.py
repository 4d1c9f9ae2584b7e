"""The watched process that compiles the core, with other programs in its place."""

from __future__ import annotations

import io
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from restore_cli.console import Console
from restore_cli.errors import DeviceError
from restore_cli.runtime import environment, folders, prepare


@pytest.fixture
def planned(machine, tmp_path):
    made = environment.plan(machine())
    return replace(made, base=str(tmp_path), folders=(str(tmp_path),), links=(), scripts={})


def child(monkeypatch, code: str) -> None:
    monkeypatch.setattr(prepare, "_CHILD", code)


def test_compiled_core_costs_nothing(planned, monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "jittor_core.so").touch()
    folders.remember_core(planned, str(tmp_path / "cache"))
    child(monkeypatch, "raise SystemExit('not to be run')")
    prepare.ensure(planned)
    with pytest.raises(DeviceError):
        prepare.ensure(replace(planned, fingerprint="other"))
    (tmp_path / "cache" / "jittor_core.so").unlink()
    with pytest.raises(DeviceError):
        prepare.ensure(planned)


def test_silent_exit_after_a_change_of_flags_is_tried_again(planned, monkeypatch, tmp_path):
    child(monkeypatch, f"import sys; p = {str(tmp_path / 'tries')!r}; open(p, 'a').write('x'); "
                       "sys.exit(77 if len(open(p).read()) == 2 else 0)")
    prepare.ensure(planned)
    assert (tmp_path / "tries").read_text() == "xx"


def test_silent_exit_for_ever_is_an_error(planned, monkeypatch):
    child(monkeypatch, "pass")
    with pytest.raises(DeviceError, match="status 0"):
        prepare.ensure(planned)


@pytest.mark.parametrize("code, said", [
    ("print('a.cc:1: fatal error: Python.h: No such file', flush=True); raise SystemExit(1)",
     "Python.h"),
    ("import os; os.abort()", "signal 6"),
    ("import os; os.kill(os.getpid(), 11)", "signal 11"),
])
def test_failure_is_told(planned, monkeypatch, code, said):
    child(monkeypatch, code)
    with pytest.raises(DeviceError, match=said) as error:
        prepare.ensure(planned)
    assert error.value.status == 6 and "prepare.log" in error.value.message


def test_interrupt_ends_all_compilers(planned, monkeypatch, tmp_path):
    child(monkeypatch, "import subprocess, time; c = subprocess.Popen(['sleep', '60']); "
                       f"open({str(tmp_path / 'pid')!r}, 'w').write(str(c.pid)); time.sleep(60)")

    def interrupt(process, seconds):
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare.ensure(planned)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _watched(planned, monkeypatch, stderr, steps: int) -> str:
    """Shows a compilation that grows by 50 files at each look."""
    looks = iter(range(steps))
    monkeypatch.setattr(prepare, "_wait", lambda process, seconds: next(looks, None) is None)
    monkeypatch.setattr(folders, "compiled_objects", lambda *args: 50)
    clock = iter(range(0, 10000, 15))
    monkeypatch.setattr(prepare.time, "monotonic", lambda: next(clock))
    console = Console(stdout=io.BytesIO(), stderr=stderr, environ={"NO_COLOR": ""})
    prepare._show(subprocess.Popen(["true"]), planned, console)
    return stderr.getvalue()


def test_progress_off_a_terminal_is_told_in_lines(planned, monkeypatch):
    text = _watched(planned, monkeypatch, io.StringIO(), 8)
    assert "preparing Jittor for first use" in text and "only" not in text
    assert text.count("compiled 50 of about 158 files") >= 2
    assert "Jittor is ready" in text and "\r" not in text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar(planned, monkeypatch):
    text = _watched(planned, monkeypatch, Terminal(), 8)
    assert "50/158" in text and "compiled 50" not in text


def test_warm_start_says_nothing(planned, monkeypatch):
    monkeypatch.setattr(prepare, "_wait", lambda process, seconds: True)
    stderr = io.StringIO()
    prepare._show(subprocess.Popen(["true"]), planned, Console(stderr=stderr))
    assert stderr.getvalue() == ""


def test_child_finds_what_the_program_finds(planned, monkeypatch, tmp_path):
    # Installed anywhere, started from anywhere: the child imports the same package.
    child(monkeypatch, "import json, sys; task = json.load(sys.stdin); sys.path[:] = task['path'];"
                       "from restore_cli.runtime.environment import Plan; "
                       "raise SystemExit(77 if Plan.from_json(task['plan']).cores == 4 else 5)")
    monkeypatch.chdir(tmp_path)
    assert prepare._watch(planned, tmp_path / "log", None) == 77
