"""The one entry point: parses the command line and turns failures into exit statuses."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from functools import lru_cache
from importlib import import_module
from typing import Optional, Sequence

import typer
from typer.core import TyperGroup

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, Terminated


class _Passed(BaseException):
    """Carries what the command line library would swallow: Ctrl-C and a closed pipe."""


class Group(TyperGroup):
    """A command group whose commands' interrupts reach `main` whatever the library's version."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Passed() from error


# Name of each command and the module that registers it, in the order of the help.
COMMANDS = {"upscale": "upscale", "denoise": "denoise", "denoise-raw": "denoise_raw",
            "vsr": "vsr", "train": "train", "evaluate": "evaluate", "degrade": "degrade",
            "weights": "weights", "compare": "compare", "doctor": "doctor", "bench": "bench"}


@lru_cache
def application(names: tuple[str, ...] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with the commands `names`, keys of `COMMANDS`; all of them by default."""
    app = typer.Typer(
        name="restore",
        cls=Group,
        help="Restore photographs, RAW files, micrographs and film.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        import_module(f"restore_cli.cli.{COMMANDS[name]}").register(app)
    return app


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"restore {__version__}")
        raise typer.Exit()


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Restore photographs, RAW files, micrographs and film."""


def _needed(argv: Sequence[str]) -> tuple[str, ...]:
    """The commands that `argv` can be about.

    The library works out every option of every command that it is told of, which takes longer
    than the rest of what happens before a command begins.
    """
    if "_RESTORE_COMPLETE" in os.environ:  # the shell asks what may follow
        return tuple(COMMANDS)
    if argv and argv[0] in COMMANDS:
        return (argv[0],)
    return () if argv and argv[0] == "--version" else tuple(COMMANDS)


def main(argv: Optional[Sequence[str]] = None, console: Optional[Console] = None) -> int:
    """Runs one command line and returns its exit status.

    Args:
        argv: arguments after the program's name; None means `sys.argv[1:]`.
        console: streams and settings; None means the process's own.
    """
    console = console or Console()
    _raise_on_sigterm()
    try:
        try:
            status = application(_needed(sys.argv[1:] if argv is None else argv))(
                args=list(argv) if argv is not None else None,
                prog_name="restore",
                obj=console,
                standalone_mode=True,
            )
        except _Passed as carried:
            raise carried.__cause__ from None
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except RestoreError as error:
        if console.debug:
            traceback.print_exc(file=console.stderr)
        console.error(error)
        status = error.status
    except KeyboardInterrupt:
        console.error("interrupted")
        status = ExitStatus.INTERRUPTED
    except Terminated:
        console.error("terminated")
        status = ExitStatus.TERMINATED
    except BrokenPipeError:
        # The reader went away (`restore ... | head`): nobody is left to tell.
        _silence_stdout()
        status = ExitStatus.OK
    except Exception as error:  # a bug: say so, and keep the promise of one line
        if console.debug:
            traceback.print_exc(file=console.stderr)
        console.error(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        status = ExitStatus.BUG
    return int(status or 0)


def _raise_on_sigterm() -> None:
    def stop(signum, frame):
        raise Terminated()

    try:
        signal.signal(signal.SIGTERM, stop)
    except ValueError:
        pass  # not the main thread: an embedding program keeps its own handlers


def _silence_stdout() -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
