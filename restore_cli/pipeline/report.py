"""What becomes of each item of a run: counted, told to people, and recorded for programs."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import DeviceError, ExitStatus, RestoreError, WeightsError
from restore_cli.pipeline.naming import Item

FATAL = (WeightsError, DeviceError, BrokenPipeError)
"""Failures that concern the run, not one item."""


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        done, failed, skipped: numbers of items.
        seconds: wall time of the run.
        statuses: how often failures of each status occurred.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    statuses: Counter = field(default_factory=Counter)

    @property
    def status(self) -> ExitStatus:
        """The run's exit status.

        0 when nothing failed. When nothing was done and everything failed alike (one huge image:
        memory), that failure's own status; else 3. A bug is never hidden: 1.
        """
        if not self.failed:
            return ExitStatus.OK
        if ExitStatus.BUG in self.statuses:
            return ExitStatus.BUG
        if not self.done and len(self.statuses) == 1:
            return ExitStatus(next(iter(self.statuses)))
        return ExitStatus.SOME_FAILED

    def __str__(self) -> str:
        parts = [f"{self.done} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        return f"{', '.join(parts)} in {self.seconds:.1f} s"


@dataclass(frozen=True)
class Failure:
    """Why an item failed.

    Attributes:
        status: exit status of a run of this item alone.
        text: the line for people.
        trace: where it happened, for `--debug`.
    """

    status: int
    text: str
    trace: str = ""

    @classmethod
    def of(cls, error: Exception, item: Item) -> Failure:
        """What an exception says; one that is no `RestoreError` is a bug."""
        if isinstance(error, RestoreError):
            status, shown = error.status, error
        else:
            status = ExitStatus.BUG
            shown = RestoreError(f"unexpected {type(error).__name__}: {error}", path=item.source,
                                 hint="--debug shows where")
        return cls(int(status), str(shown), "".join(traceback.format_exception(error)).rstrip())


class Report:
    """Counts and tells what becomes of the items of one run; for any thread.

    Args:
        console: gets one error line a failure, one result a success, and a bar.
        describe: the line for people about a finished record.
        unit: what the bar counts; None shows none.
    """

    def __init__(self, console: Console, describe: Callable[[dict[str, Any]], str],
                 unit: str | None = "file"):
        self.summary = Summary()
        self._console, self._describe, self._unit = console, describe, unit
        self._lock = threading.Lock()
        self._bar: Any = None

    def begin(self, items: Sequence[Item]) -> list[Item]:
        """Tells the skipped items; returns the others."""
        for item in items:
            if item.skip is not None:
                self.summary.skipped += 1
                self._console.result("", record(item, "skipped", reason=item.skip))
        return [item for item in items if item.skip is None]

    @contextlib.contextmanager
    def showing(self, total: int) -> Iterator[None]:
        """Shows a bar over `total` items while its block runs."""
        if self._unit is None:
            yield
            return
        with self._console.progress(total=total, unit=self._unit) as self._bar:
            yield

    def entered(self, item: Item, stage: str) -> None:
        """Notes that work on an item enters "read", "compute" or "write"."""

    def part(self, item: Item, facts: dict[str, Any]) -> None:
        """Notes that part of an item is finished, of which a process has told."""

    def done(self, item: Item, facts: dict[str, Any], seconds: float) -> None:
        """An item has been written."""
        found = record(item, "done", **facts, seconds=round(seconds, 3))
        with self._lock:
            self.summary.done += 1
            self._advance()
            if self._console.json_lines:
                self._console.result("", found)
            else:
                self._console.info(self._describe(found))

    def failed(self, item: Item, failure: Failure, seconds: float) -> None:
        """An item could not be done."""
        with self._lock:
            self.summary.failed += 1
            self.summary.statuses[ExitStatus(failure.status)] += 1
            self._advance()
            if self._console.debug and failure.trace:
                self._console.info(failure.trace)
            self._console.error(failure.text)
            self._console.result("", record(item, "failed", error=failure.text,
                                            seconds=round(seconds, 3)))

    def lost(self, item: Item, failure: Failure) -> None:
        """The process that had an item has died."""
        self.failed(item, failure, 0.0)

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.update()


def record(item: Item, status: str, **facts: Any) -> dict[str, Any]:
    """An item's JSON object."""
    return {"source": str(item.source), "output": str(item.target), "status": status, **facts}
