"""Makes training batches ahead of their use, in background threads or processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from restore_cli.errors import UsageError
from restore_cli.training.datasets import workers as worker_processes
from restore_cli.training.datasets.samplers import Sampler


class Prefetcher:
    """Batches of consecutive steps, in order.

    The engine keeps the interpreter lock while it computes on the CPU, so that threads make
    batches almost only between updates. There a batch of 16 crops costs about 5 ms of seconds,
    and threads, which share the decoded images, are the better choice. Processes are for updates
    that are quicker than that, or images that must be decoded for every batch.

    Use as a context manager, or call `close`. At most ``workers + ahead`` batches exist at a time.

    Args:
        sampler: makes the batch of a step; must be safe to call from several threads, or, for
            processes, to pickle.
        start_step: the first step.
        workers: threads or processes.
        ahead: batches ready or in work beyond one for each worker.
        processes: processes instead of threads. Each caches decoded images for itself.

    Raises:
        UsageError: no workers.
    """

    def __init__(self, sampler: Sampler, start_step: int = 0, workers: int = 2, ahead: int = 2,
                 processes: bool = False):
        if workers < 1:
            raise UsageError(f"at least one data worker is needed, not {workers}")
        if processes:
            self._pool = worker_processes.processes(workers, _keep, sampler)
            self._make = _make
        else:
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


_sampler: Sampler


def _keep(sampler: Sampler) -> None:
    global _sampler
    _sampler = sampler


def _make(step: int) -> Any:
    return _sampler.batch(step)
