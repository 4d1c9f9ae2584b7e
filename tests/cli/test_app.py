"""The entry point: statuses, signals, and an answer to --help that loads nothing heavy."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest
import typer

from restore_cli import __version__
from restore_cli.cli import app as entry
from restore_cli.console import Console
from restore_cli.errors import (
    DeviceError,
    ExitStatus,
    InputError,
    OutOfMemory,
    RestoreError,
    Terminated,
    UsageError,
    WeightsError,
)

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def console():
    return Console(stdin=io.BytesIO(), stdout=io.BytesIO(), stderr=io.StringIO(), environ={})


@pytest.fixture
def command(monkeypatch):
    """Makes `restore` a program whose only command raises what it is given."""
    def install(action):
        app = typer.Typer(cls=entry.Group, pretty_exceptions_enable=False)

        @app.command()
        def boom() -> None:
            action()

        @app.command()
        def other() -> None:
            pass

        monkeypatch.setattr(entry, "application", lambda names: app)

    return install


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize("error,status", [
    (UsageError("x"), 2), (InputError("x"), 3), (WeightsError("x"), 4), (OutOfMemory("x"), 5),
    (DeviceError("x"), 6), (RestoreError("x"), 3), (typer.Exit(7), 7)])
def test_failures_become_their_status(command, console, error, status):
    command(raiser(error))
    assert entry.main(["boom"], console) == status


def test_a_failure_is_one_line_with_file_reason_and_hint(command, console):
    command(raiser(InputError("is\ndamaged", path="a.png", hint="Try b.png")))
    entry.main(["boom"], console)
    assert console.stderr.getvalue() == "error: a.png: is damaged. Try b.png\n"


def test_debug_shows_where(command, console):
    console.debug = True
    command(raiser(InputError("x")))
    entry.main(["boom"], console)
    assert "Traceback" in console.stderr.getvalue()


def test_a_bug_is_status_1_and_one_line(command, console):
    command(raiser(ZeroDivisionError("oh no")))
    assert entry.main(["boom"], console) == ExitStatus.BUG
    text = console.stderr.getvalue()
    assert "ZeroDivisionError" in text and "--debug" in text and text.count("\n") == 1


def test_ctrl_c_is_130(command, console):
    command(raiser(KeyboardInterrupt()))
    assert entry.main(["boom"], console) == ExitStatus.INTERRUPTED
    assert "interrupted" in console.stderr.getvalue()


def test_termination_is_143(command, console):
    command(raiser(Terminated()))
    assert entry.main(["boom"], console) == ExitStatus.TERMINATED


@posix
def test_sigterm_raises_so_that_cleaning_up_runs(command, console):
    cleaned = []

    def action():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    try:
        command(action)
        assert entry.main(["boom"], console) == ExitStatus.TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cleaned


def test_a_closed_pipe_is_nobodys_fault(command, console, monkeypatch):
    monkeypatch.setattr(entry, "_silence_stdout", lambda: None)
    command(raiser(BrokenPipeError(32, "Broken pipe")))
    assert entry.main(["boom"], console) == ExitStatus.OK
    assert console.stderr.getvalue() == ""


@pytest.mark.parametrize("argv", [["--nonsense"], ["upscale", "--nonsense"], ["nonsense"],
                                  ["upscale", "a.png", "--tile", "many"]])
def test_unknown_words_are_usage_errors(argv, console, capfd):
    assert entry.main(argv, console) == ExitStatus.USAGE


def run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True,
                          timeout=60, **options)


def test_version_and_help():
    assert run("-m", "restore_cli", "--version").stdout.strip() == f"restore {__version__}"
    found = run("-m", "restore_cli", "--help")
    assert found.returncode == 0
    for name in ("upscale", "train", "evaluate", "weights", "compare", "doctor", "bench"):
        assert name in found.stdout


def test_a_command_is_told_of_no_other():
    """Working out the options of all of them takes longer than the rest of the start."""
    for name in entry.COMMANDS:
        alone = {*entry.application((name,)).registered_commands,
                 *entry.application((name,)).registered_groups}
        assert len(alone) == 1, name
    code = ("import sys\n"
            "from restore_cli.cli.app import main\n"
            "main(['weights', 'list', '--help'])\n"
            "sys.exit('|'.join(name for name in ('upscale', 'train', 'bench')"
            " if f'restore_cli.cli.{name}' in sys.modules) or None)")
    found = run("-c", code)
    assert found.returncode == 0, found.stderr
    assert "restore weights list" in found.stdout


@pytest.mark.parametrize("words", [["--help"], [], ["upscal"], ["--vers"], ["-h", "upscale"]])
def test_words_that_name_no_command_see_all_of_them(words):
    assert entry._needed(words) == tuple(entry.COMMANDS)


def test_a_shell_that_completes_sees_all_commands(monkeypatch):
    monkeypatch.setenv("_RESTORE_COMPLETE", "complete_bash")
    assert entry._needed(["upscale"]) == tuple(entry.COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["upscale", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    code = ("import sys\n"
            "from restore_cli.cli.app import main\n"
            f"main({arguments!r})\n"
            "heavy = {'jittor', 'numpy', 'PIL', 'psutil', 'tifffile', 'imagecodecs', 'tqdm',"
            " 'matplotlib', 'restore_cli.runtime.engine'}\n"
            "sys.exit('|'.join(sorted(heavy & set(sys.modules))) or None)")
    found = run("-c", code)
    assert found.returncode == 0, found.stderr


def test_no_word_of_help_is_taken_for_markup():
    """Rich drops what stands in brackets, such as an optional word of a list's lines."""
    from rich.text import Text
    from typer.main import get_command

    from restore_cli.cli.app import application

    waiting, seen = [get_command(application())], 0
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for words in (command.help, *(getattr(one, "help", "") for one in command.params)):
            plain = (words or "").replace("\\[", "[")
            assert Text.from_markup(words or "").plain == plain
            seen += bool(words)
    assert seen > 200


@pytest.mark.skipif(os.name == "nt", reason="shell redirection")
def test_json_into_a_closed_stdout():
    done = subprocess.run(f'"{sys.executable}" -m restore_cli doctor --json >&-', shell=True,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitStatus.SOME_FAILED
    assert done.stderr == "error: standard output, where --json writes, is closed\n"
