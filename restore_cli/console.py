"""The only place that prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import IO, Any, BinaryIO, Iterable, TextIO

from restore_cli.errors import RestoreError, UsageError

_STYLES = {"warning": "\x1b[33m", "error": "\x1b[31m", "good": "\x1b[32m"}
_RESET = "\x1b[0m"


class Console:
    """Streams and output settings of one run, passed to whatever may speak.

    Args:
        stdin, stdout: binary streams for data (``-`` on the command line).
        stderr: text stream for messages and progress.
        environ: environment variables; ``NO_COLOR`` switches colour off.

    Attributes:
        quiet: no messages but warnings and errors.
        json_lines: results are JSON objects, one a line, on stdout.
        show_progress: progress bars; None means "when stderr is a terminal".
        debug: tracebacks are shown.
        data_on_stdout: stdout carries an image or video; see `reserve_stdout`.
    """

    def __init__(
        self,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        stderr: TextIO | None = None,
        environ: dict[str, str] | None = None,
    ):
        self.stdin = stdin if stdin is not None else getattr(sys.stdin, "buffer", sys.stdin)
        self.stdout = stdout if stdout is not None else getattr(sys.stdout, "buffer", sys.stdout)
        self.stderr = stderr if stderr is not None else sys.stderr
        self._environ = os.environ if environ is None else environ
        self._lock = threading.RLock()
        self._told: set[str] = set()
        self.quiet = False
        self.json_lines = False
        self.show_progress: bool | None = None
        self.debug = False
        self.data_on_stdout = False

    @property
    def color(self) -> bool:
        """Whether stderr gets ANSI colours."""
        return _is_terminal(self.stderr) and "NO_COLOR" not in self._environ

    def info(self, message: str) -> None:
        """A line for the curious; silent with ``--quiet``."""
        if not self.quiet:
            self._line(message)

    def warn(self, message: str, *, once: str | None = None) -> None:
        """A line the user should read even with ``--quiet``.

        Args:
            once: of the lines with the same `once`, only the first is shown.
        """
        if once is not None:
            with self._lock:
                if once in self._told:
                    return
                self._told.add(once)
        self._line(f"{self._paint('warning', 'warning:')} {message}")

    def error(self, error: RestoreError | str) -> None:
        """One line for one failure."""
        self._line(f"{self._paint('error', 'error:')} {_one_line(str(error))}")

    def result(self, text: str, record: dict[str, Any] | None = None) -> None:
        """One result: `record` as a JSON line with ``--json``, else `text`.

        Text goes to stdout, unless stdout carries image or video data.
        """
        if self.json_lines:
            if record is not None:
                self._emit(json.dumps(record, ensure_ascii=False, default=str, allow_nan=False))
        elif self.data_on_stdout:
            self.info(text)
        elif text:
            self._emit(text)

    def reserve_stdout(self) -> None:
        """Keeps stdout for an image or video: texts go to stderr from now on.

        Raises:
            UsageError: JSON lines are asked for there, or it is a terminal.
        """
        if self.json_lines:
            raise UsageError("--json and an image cannot share stdout", hint="Give -o a file")
        if _is_terminal(self.stdout):
            raise UsageError("an image would be printed on the terminal",
                             hint="Give -o a file, or redirect stdout")
        self.data_on_stdout = True

    def progress(self, iterable: Iterable | None = None, *, total: float | None = None,
                 desc: str = "", unit: str = "it", **options: Any):
        """A tqdm bar on stderr (silent off a terminal, with --quiet or --no-progress)."""
        from tqdm import tqdm

        disable = True if self.quiet else (None if self.show_progress is None
                                           else not self.show_progress)
        options.setdefault("leave", False)
        return tqdm(iterable, total=total, desc=desc, unit=unit, file=self.stderr,
                    disable=disable, dynamic_ncols=True, **options)

    def _emit(self, text: str) -> None:
        with self._lock:
            self.stdout.write(text.encode("utf-8", "surrogateescape") + b"\n")
            self.stdout.flush()

    def _line(self, text: str) -> None:
        with self._lock:
            if "tqdm" in sys.modules and _is_terminal(self.stderr):
                sys.modules["tqdm"].tqdm.write(text, file=self.stderr)
            else:
                print(text, file=self.stderr, flush=True)

    def _paint(self, style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if self.color else text


def _is_terminal(stream: IO) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _one_line(text: str) -> str:
    return " ".join(text.split())
