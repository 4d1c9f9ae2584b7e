"""Runs items through read | compute | write in overlap, and tells the truth about each.

The next input is decoded in one thread and the last result encoded in another while the caller's
thread, where the networks live and signals arrive, computes. At most `depth` images wait on each
side, and never more than `room` bytes of images are in flight, so that a folder of large scans
takes the overlap that fits and no more.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import InputError, OutOfMemory, OutputError, RestoreError
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import FATAL, Failure, Report, Summary

__all__ = ["Summary", "run", "serve"]

_POLL = 0.2  # seconds; waits are cut into these so that Ctrl-C is seen on Windows too
_END = object()


def run(items: Sequence[Item], read: Callable[[Item], Any], compute: Callable[[Item, Any], Any],
        write: Callable[[Item, Any], dict[str, Any]], *, console: Console,
        describe: Callable[[dict[str, Any]], str], unit: str = "file", depth: int = 1,
        weigh: Callable[[Item], int] | None = None, room: int | None = None) -> Summary:
    """Processes `items` in order.

    Args:
        items: the work; those with `skip` are only counted.
        read: decodes one item's source; runs in a thread of its own.
        compute: makes the result from what `read` returned; runs in the calling thread.
        write: stores the result and returns facts for the item's record (sizes, notes); runs in a
            third thread. It must leave nothing behind when it fails.
        console: gets one error line a failure, one result a success, a bar over several items,
            and a summary line.
        describe: the line for people about a finished record.
        unit: what the bar counts.
        depth: how many images may wait before, and after, `compute`.
        weigh: bytes that an item's images take from reading to the end of writing.
        room: bytes that items in flight may take together; an item larger than this runs alone.

    Returns:
        The counts. A failure of one item (`RestoreError`, a system error of a file) does not stop
        the others.

    Raises:
        WeightsError, DeviceError, BrokenPipeError: they concern the whole run, which stops.
        KeyboardInterrupt, Terminated: passed on once the write in progress has ended.
    """
    several = len(items) > 1  # a single item has the caller's own bar, if any
    report = Report(console, describe, unit if several else None)
    start = time.perf_counter()
    work = report.begin(items)
    with report.showing(len(work)):
        serve(work, read, compute, write, report=report, depth=depth, weigh=weigh, room=room)
    report.summary.seconds = time.perf_counter() - start
    if several:
        console.info(str(report.summary))
    return report.summary


def serve(work: Iterable[Item], read: Callable[[Item], Any], compute: Callable[[Item, Any], Any],
          write: Callable[[Item, Any], dict[str, Any]], *, report: Report, depth: int = 1,
          weigh: Callable[[Item], int] | None = None, room: int | None = None) -> None:
    """Processes `work`, of which an item is taken when it is about to be read.

    Args:
        report: is told what becomes of each.

    The others, and what is raised, are those of `run`.
    """
    _Run(read, compute, write, report, depth, weigh, room).all(work)


class _Run:
    def __init__(self, read, compute, write, report, depth, weigh, room):
        self.read, self.compute, self.write, self.report = read, compute, write, report
        self.weigh, self.gate = weigh, _Gate(room)
        self.stop = threading.Event()
        self.fatal: BaseException | None = None
        self.ready: queue.Queue = queue.Queue()
        self.results: queue.Queue = queue.Queue()
        self.read_slots = threading.Semaphore(depth)
        self.write_slots = threading.Semaphore(depth)

    def all(self, work: Iterable[Item]) -> None:
        reader = threading.Thread(target=self._read_all, args=(work,), daemon=True, name="read")
        writer = threading.Thread(target=self._write_all, daemon=True, name="write")
        reader.start()
        writer.start()
        try:
            self._compute_all()
        except BaseException:
            self.stop.set()
            raise
        finally:
            self.results.put(_END)
            # The write in progress ends: an image is there whole or not at all. A reader that
            # hangs (a pipe that sends nothing) holds nothing and is left to the exit.
            writer.join()
        if self.fatal is not None:
            raise self.fatal

    def _read_all(self, work: Iterable[Item]) -> None:
        waiting = iter(work)
        while True:
            _wait(self.read_slots, self.stop)
            if self.stop.is_set():
                return
            item = next(waiting, None)
            if item is None:
                break
            job = _Job(item)
            try:
                with job:
                    if self.weigh is not None:
                        job.weight = self.weigh(item)
                self.gate.enter(job, self.stop)
                self.report.entered(item, "read")
                with job:
                    job.data = self.read(item)
            except BaseException as error:  # reported by the thread that counts
                job.error = _about(error, item.source, InputError, "cannot be read")
            self.ready.put(job)
        self.ready.put(_END)

    def _compute_all(self) -> None:
        while (job := _take(self.ready, self.stop)) is not _END:
            self.read_slots.release()
            if job.error is None:
                data, job.data = job.data, None
                self.report.entered(job.item, "compute")
                try:
                    with job:
                        job.data = self.compute(job.item, data)
                except Exception as error:
                    job.error = _about(error, job.item.source, InputError,
                                       "cannot be processed")
                del data
            if job.error is not None:
                self._failed(job)
                continue
            _wait(self.write_slots, self.stop)
            if not self.stop.is_set():
                self.results.put(job)
            del job  # the loop's wait would keep the image alive

    def _write_all(self) -> None:
        while (job := self.results.get()) is not _END:
            if not self.stop.is_set():
                self.report.entered(job.item, "write")
                try:
                    with job:
                        result, job.data = job.data, None
                        facts = self.write(job.item, result)
                        del result
                    self._done(job, facts)
                except BaseException as error:
                    job.error = _about(error, job.item.target, OutputError, "cannot be written")
                    try:
                        self._failed(job)
                    except BaseException as fatal:
                        self.fatal = fatal
                        self.stop.set()
            self.write_slots.release()
            del job

    def _done(self, job: _Job, facts: dict[str, Any]) -> None:
        self.gate.leave(job)
        self.report.done(job.item, facts, job.seconds)

    def _failed(self, job: _Job) -> None:
        """Counts and reports a failure; raises it when it concerns the run."""
        error = job.error
        job.data = None
        self.gate.leave(job)
        if isinstance(error, FATAL) or not isinstance(error, Exception):
            raise error
        self.report.failed(job.item, Failure.of(error, job.item), job.seconds)


class _Job:
    """One item under way; as a context it counts the seconds spent on it."""

    def __init__(self, item: Item):
        self.item = item
        self.data: Any = None
        self.error: BaseException | None = None
        self.weight = 0
        self.inside = False  # its weight counts in the gate
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> _Job:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.seconds += time.perf_counter() - self._since


class _Gate:
    """Lets items in while their bytes fit together; a larger one waits until it is alone."""

    def __init__(self, room: int | None):
        self.room = room
        self.used = self.count = 0
        self.changed = threading.Condition()

    def enter(self, job: _Job, stop: threading.Event) -> None:
        with self.changed:
            while (self.room is not None and self.count and self.used + job.weight > self.room
                   and not stop.is_set()):
                self.changed.wait(_POLL)
            self.used += job.weight
            self.count += 1
            job.inside = True

    def leave(self, job: _Job) -> None:
        if job.inside:
            with self.changed:
                job.inside = False
                self.used -= job.weight
                self.count -= 1
                self.changed.notify_all()


def _wait(slots: threading.Semaphore, stop: threading.Event) -> None:
    while not slots.acquire(timeout=_POLL):
        if stop.is_set():
            return


def _take(ready: queue.Queue, stop: threading.Event) -> Any:
    while not stop.is_set():
        try:
            return ready.get(timeout=_POLL)
        except queue.Empty:
            continue
    return _END


def _about(error: BaseException, path: Any, kind: type[RestoreError],
           what: str) -> BaseException:
    """`error` as something the user can understand, where it is no bug."""
    if isinstance(error, RestoreError):
        if error.path is None and not isinstance(error, FATAL):
            error.path = path
        return error
    if isinstance(error, BrokenPipeError):
        return error
    if isinstance(error, MemoryError):
        found = OutOfMemory("memory ran out", path=path, hint="Close other programs")
    elif isinstance(error, OSError):
        found = kind(f"{what} ({error.strerror or error})", path=path)
    else:
        return error
    found.__cause__ = error
    return found
