"""Makes training batches ahead of their use, in background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from restore_cli.errors import UsageError
from restore_cli.training.datasets.samplers import Sampler


class Prefetcher:
    """Batches of consecutive steps, in order.

    Threads, because they share the decoded images. The engine keeps the interpreter lock while it
    computes on the CPU, so that batches are made almost only between updates; a batch of 16 crops
    takes about 5 ms of an update's seconds.

    Use as a context manager, or call `close`. At most ``workers + ahead`` batches exist at a time.

    Args:
        sampler: makes the batch of a step; must be safe to call from several threads.
        start_step: the first step.
        workers: threads.
        ahead: batches ready or in work beyond one for each worker.

    Raises:
        UsageError: no workers.
    """

    def __init__(self, sampler: Sampler, start_step: int = 0, workers: int = 2, ahead: int = 2):
        if workers < 1:
            raise UsageError(f"at least one data worker is needed, not {workers}")
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._make = sampler.batch
        self._next = start_step
        self._waiting: deque[Future] = deque()
        for _ in range(workers + ahead):
            self._submit()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The batch of the next step.

        Raises:
            StopIteration: the prefetcher is closed.
            RestoreError: whatever making the batch raised.
        """
        if not self._waiting:
            raise StopIteration
        batch = self._waiting.popleft().result()
        self._submit()
        return batch

    def close(self) -> None:
        """Stop: batches not begun are dropped, those in work are waited for."""
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _submit(self) -> None:
        self._waiting.append(self._pool.submit(self._make, self._next))
        self._next += 1
