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
    """Batches of consecutive steps, in order, made by background threads.

    Threads, because decoding and resizing release the interpreter lock, decoded images are shared
    and nothing has to be sent between processes.

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
        self._sampler = sampler
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
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
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _submit(self) -> None:
        self._waiting.append(self._pool.submit(self._sampler.batch, self._next))
        self._next += 1
