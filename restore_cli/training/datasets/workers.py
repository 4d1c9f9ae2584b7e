"""Processes that prepare data, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def processes(count: int, begin: Callable[..., None], *arguments) -> ProcessPoolExecutor:
    """A pool of fresh processes, each of which first calls ``begin(*arguments)``.

    Fresh, because a fork of a process with a running engine would inherit its locks. Shut it down
    with `cancel_futures=True`.
    """
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin,
                               initargs=(begin, arguments))


def _begin(begin: Callable[..., None], arguments: tuple) -> None:
    # Ctrl-C reaches the whole process group; the parent decides what to do. A parent that was
    # killed can tell nothing any more: then the worker ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*arguments)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
