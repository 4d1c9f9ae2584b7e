"""A worker process: does items that the run hands it, and tells the run what becomes of them.

`python -c START PATH` starts one, PATH being the run's `sys.path` as JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, Terminated
from restore_cli.media import atomic
from restore_cli.pipeline.crew_link import Link, Portion
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import Failure, Report

START = ("import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
         "from restore_cli.pipeline import crew_worker; crew_worker.main()")

_TICK = 0.2  # seconds between messages of a bar


def main() -> None:
    """Serves one run and ends the process.

    The task names the module to import, whose ``share(task, items, console, report)`` does the
    work: `items` is an iterator that hands out an item when one is asked for.
    """
    link = Link.over_standard_streams()
    status = ExitStatus.TERMINATED
    with contextlib.suppress(Terminated):
        _heed_signals()
        link.listen()
        status = _serve(link)
        link.over = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(int(status))


def _serve(link: Link) -> ExitStatus:
    try:
        task = link.inbox.get()[1]
        atomic.mark = task["mark"]
        atomic.announce = lambda target, inode: link.send("placing", str(target), inode)
        numbers: dict[Item, int] = {}
        share = importlib.import_module(task["module"]).share
        share(task["task"], _handed(link, numbers), WorkerConsole(link, task["console"]),
              WorkerReport(link, numbers))
    except Exception as error:
        link.over = True  # what is said now ends the run, which must not cut it short
        told = error
        if not isinstance(error, RestoreError):  # a bug
            told = RestoreError(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
            told.status = ExitStatus.BUG
        link.send("fatal", {"message": told.message, "hint": told.hint, "path": told.path,
                            "status": int(told.status),
                            "trace": "".join(traceback.format_exception(error)).rstrip()})
        return told.status
    return ExitStatus.OK


def _heed_signals() -> None:
    """Ctrl-C reaches every process of a terminal; the run decides what it means and says so."""
    def stop(signum, frame):
        raise Terminated()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, stop)


def _handed(link: Link, numbers: dict[Item, int]) -> Iterator[Item]:
    """Asks for an item whenever one is wanted."""
    while True:
        link.send("want")
        kind, *rest = link.inbox.get()
        if kind == "end":
            return
        number, source, target, told = rest
        item = Item(Path(source), Path(target))
        if told is not None:
            item = Portion(item.source, item.target, told=told)
        numbers[item] = number
        yield item


class WorkerReport(Report):
    """Sends on what becomes of items."""

    def __init__(self, link: Link, numbers: dict[Item, int]):
        super().__init__(Console(), str, None)
        self._link, self._numbers = link, numbers

    def entered(self, item: Item, stage: str) -> None:
        self._link.send("at", self._numbers[item], stage)

    def part(self, item: Item, facts: dict[str, Any]) -> None:
        self._link.send("part", self._numbers[item], facts)

    def done(self, item: Item, facts: dict[str, Any], seconds: float) -> None:
        self._link.send("done", self._numbers[item], facts, seconds)

    def failed(self, item: Item, failure: Failure, seconds: float) -> None:
        self._link.send("failed", self._numbers[item], vars(failure), seconds)


class WorkerConsole(Console):
    """Sends on what the run's console is to say.

    Args:
        link: to the run.
        settings: "quiet", "json_lines" and "debug" of the run's console; "bars": its progress
            bars are shown, added up, too.
    """

    def __init__(self, link: Link, settings: dict[str, bool]):
        super().__init__(stdin=io.BytesIO(), stdout=io.BytesIO(), environ=dict(os.environ))
        self._link, self._bars = link, settings["bars"]
        self.quiet, self.json_lines = settings["quiet"], settings["json_lines"]
        self.debug, self.show_progress = settings["debug"], False

    def info(self, message: str) -> None:
        if not self.quiet:
            self._link.send("info", message)

    def warn(self, message: str, *, once: str | None = None) -> None:
        self._link.send("warn", message, once)

    def error(self, error: RestoreError | str) -> None:
        self._link.send("error", str(error))

    def result(self, text: str, record: dict[str, Any] | None = None) -> None:
        self._link.send("result", text, record)

    def progress(self, iterable=None, *, total: float | None = None, desc: str = "",
                 unit: str = "it", **options: Any):
        if not self._bars or iterable is not None:
            return super().progress(iterable, total=total, desc=desc, unit=unit, **options)
        return _Bar(self._link, total or 0, options.get("initial", 0))


class _Bar(contextlib.AbstractContextManager):
    """A part of the run's bar: what is added here is added there."""

    def __init__(self, link: Link, total: float, initial: float):
        self._link, self._left, self._more = link, total - initial, 0
        self._sent = time.monotonic()
        link.send("bar", self._left)

    def update(self, count: float = 1) -> None:
        self._more += count
        if time.monotonic() - self._sent >= _TICK:
            self._send()

    def _send(self) -> None:
        self._link.send("tick", self._more)
        self._left -= self._more
        self._more, self._sent = 0, time.monotonic()

    def __exit__(self, *_) -> None:
        self._send()
        self._link.send("bar", -self._left)  # what will not come is no longer waited for
