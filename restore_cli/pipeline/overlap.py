"""Reading ahead, writing behind and ending aside: threads beside the one that computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_POLL = 0.2  # seconds; waits are cut into these so that Ctrl-C is seen on Windows too
_PATIENCE = 5.0  # seconds for a reader that hangs in a pipe; it is left to the exit then
_END = object()


class Ahead(Generic[Item]):
    """An iterator over what a thread takes from `source`; also a context manager.

    Args:
        source: anything; its errors are raised here.
        depth: items that may wait.

    Attributes:
        idle: once the block has ended, whether the thread has too, so that the source may be
            closed.
    """

    def __init__(self, source: Iterable[Item], depth: int = 2):
        self._source = source
        self._ready: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self.idle = False

    def __enter__(self) -> Ahead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)
        self.idle = not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
        except BaseException as error:  # raised again where the items are used
            self._error = error
        self._put(_END)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=_POLL)
                return True
        return False

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while True:
            try:
                item = self._ready.get(timeout=_POLL)
                break
            except queue.Empty:
                continue
        if item is _END:
            self._ready.put(_END)
            if self._error is not None:
                raise self._error
            raise StopIteration
        return item


class Behind:
    """A context manager whose `put` hands values to `use`, called in a thread of its own.

    The block's end waits until all are used; after a failure in the block those that wait are
    dropped, and the call in progress ends.

    Args:
        use: takes one value. Its errors are raised by the next `put`, or by the block's end.
        depth: values that may wait.
    """

    def __init__(self, use: Callable[[Any], None], depth: int = 2):
        self._use = use
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)

    def __enter__(self) -> Behind:
        self._thread.start()
        return self

    def put(self, value: Any) -> None:
        """Hands a value over; waits while too many are waiting."""
        while self._error is None:
            with suppress(queue.Full):
                self._queue.put(value, timeout=_POLL)
                return
        raise self._error

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.put(_END)
                while self._thread.is_alive():
                    self._thread.join(_POLL)
        finally:
            self._stop.set()
            self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    value = self._queue.get(timeout=_POLL)
                except queue.Empty:
                    continue
                if value is _END:
                    return
                self._use(value)
                del value
        except BaseException as error:  # raised again by `put` or the block's end
            self._error = error


class Aside:
    """Calls functions in a thread, one at a time; the caller goes on meanwhile."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Begins `work` once the work before it has ended; raises that one's error instead."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), name="aside")
        self._thread.start()

    def check(self) -> None:
        """Raises the error of the work before, if it has failed by now."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Waits for the work in progress; raises its error."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_POLL)
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again by `wait`
            self._error = error
