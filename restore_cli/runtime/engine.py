"""Starts Jittor, once a process, without a sound and without side effects."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from pathlib import Path

from restore_cli.console import Console
from restore_cli.runtime import environment, facts, folders, guard
from restore_cli.runtime.environment import Plan

_lock = threading.RLock()
_started: Engine | None = None


@dataclass(frozen=True)
class Engine:
    """The running Jittor.

    Attributes:
        device: "cpu" or "cuda:N".
        threads: CPU threads of one operator.
        onednn: whether convolutions run through oneDNN.
        cache: folder of the compiled kernels.
        jittor_version: as Jittor tells it.
    """

    device: str
    threads: int
    onednn: bool
    cache: Path
    jittor_version: str


def current() -> Engine | None:
    """The engine that `start` made in this process, if it did."""
    return _started


def start(device: str = "auto", threads: int | None = None, *,
          console: Console | None = None) -> Engine:
    """Imports Jittor for `device` and returns the engine; later calls return the same one.

    Args:
        device: "auto" (or ``RESTORE_DEVICE``), "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None means all processors this process may use.
        console: where progress of the first compilation and warnings go.

    Raises:
        DeviceError: no usable compiler, package, folder or accelerator.
    """
    global _started
    with _lock:
        if _started is None:
            made = environment.plan(facts.collect(), device, threads)
            folders.apply(made)
            _started = _import(made)
        return _started


def _import(plan: Plan) -> Engine:
    with guard.undisturbed(plan.environment):
        import jittor
    jittor.flags.use_parallel_op_compiler = 0
    if plan.wrapper:
        jittor.flags.python_path = plan.wrapper
    _keep_memory()
    return Engine(device=plan.device, threads=plan.threads, onednn=plan.onednn,
                  cache=Path(jittor.flags.cache_path), jittor_version=jittor.__version__)


def _keep_memory() -> None:
    """Lets glibc reuse large blocks: returning and faulting them in again costs a third of
    the time of a convolution."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    threshold, trim = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    mallopt(threshold, 1 << 30)
    mallopt(trim, (1 << 31) - 1)
