"""What can go wrong, and the exit status each kind of failure ends with.

This is the only module that knows the numbers. Code below the command line raises a
`RestoreError`; `restore_cli.cli.app.main` turns it into one line on stderr and a status.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path


class ExitStatus(IntEnum):
    """Exit statuses of the `restore` command."""

    OK = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    WEIGHTS = 4
    MEMORY = 5
    DEVICE = 6
    INTERRUPTED = 130
    TERMINATED = 143


class RestoreError(Exception):
    """A failure the user can understand.

    Args:
        message: what failed and why, without a trailing full stop.
        path: the file it concerns, named first in the printed line.
        hint: what to do or type next.
    """

    status = ExitStatus.SOME_FAILED

    def __init__(self, message: str, *, path: str | Path | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path is not None else self.message
        return f"{text}. {self.hint}" if self.hint else text


class UsageError(RestoreError):
    """The command line asks for something impossible or contradictory."""

    status = ExitStatus.USAGE


class InputError(RestoreError):
    """One input cannot be read or processed; the other inputs go on."""


class OutputError(RestoreError):
    """One output cannot be written; the other inputs go on."""


class WeightsError(RestoreError):
    """Weights are missing, damaged, of another architecture, or cannot be fetched."""

    status = ExitStatus.WEIGHTS


class OutOfMemory(RestoreError):
    """The job does not fit the memory ceiling even with the smallest tile.

    Args:
        short: bytes that were missing; 0 where that is not known.
    """

    status = ExitStatus.MEMORY

    def __init__(self, message: str, *, path: str | Path | None = None, hint: str | None = None,
                 short: float = 0):
        super().__init__(message, path=path, hint=hint)
        self.short = short


class DeviceError(RestoreError):
    """No usable compiler, oneDNN or accelerator."""

    status = ExitStatus.DEVICE


class ShapeError(RestoreError, ValueError):
    """An array has the wrong shape.

    Args:
        what: the argument's name.
        expected: the expected shape in words or symbols, such as ``"(N, 3, H, W)"``.
        actual: the shape that came.
    """

    status = ExitStatus.BUG

    def __init__(self, what: str, expected: str, actual: tuple[int, ...]):
        super().__init__(f"{what} has shape {tuple(actual)}, expected {expected}")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known name nearest to a mistyped one, or None when none is near."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else None


class Terminated(BaseException):
    """SIGTERM arrived; raised in the main thread so that clean-up code runs."""
