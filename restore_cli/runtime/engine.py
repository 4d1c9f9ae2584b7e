"""Starts Jittor, once a process, without a sound and without side effects."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import DeviceError, UsageError
from restore_cli.runtime import cuda, environment, facts, folders, loading, prepare
from restore_cli.runtime.environment import Plan
from restore_cli.runtime.facts import Facts

_lock = threading.RLock()
_started: Engine | None = None


@dataclass(frozen=True)
class Engine:
    """The running Jittor.

    Attributes:
        device: "cpu" or "cuda:N".
        threads: CPU threads of one operator.
        onednn: whether convolutions run through oneDNN.
        cache: folder of the compiled kernels (they are in jit/ below it).
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

    On a machine's first call Jittor's core is compiled, which takes some minutes.

    Args:
        device: "auto" (or what ``RESTORE_DEVICE`` says), "cpu", "cuda" or "cuda:N". With "auto"
            CUDA that is there but broken costs one warning.
        threads: CPU threads; None means ``OMP_NUM_THREADS`` or all processors this process may
            use. A later call with another number changes it.
        console: where progress of the first compilation and warnings go.

    Raises:
        DeviceError: no usable compiler, package, folder or accelerator; or Jittor already runs
            on another device.
        UsageError: `device` is no device's name.
    """
    global _started
    with _lock:
        if _started is not None:
            _started = _again(_started, device, threads)
            return _started
        if "jittor" in sys.modules:
            raise DeviceError("Jittor was imported before restore could set it up",
                              hint="Call restore_cli.runtime.engine.start first")
        made = ready(facts.collect(device=_wish(device)), device, threads, console)
        try:
            jittor = loading.load(made)
        except SystemExit as stop:
            # The core was complete a moment ago: another program has changed it since.
            folders.forget_core(made)
            raise DeviceError("Jittor's core is being compiled by another program",
                              hint="Type the command again") from stop
        except (ImportError, OSError, RuntimeError) as error:
            folders.forget_core(made)
            raise DeviceError(f"Jittor does not start ({error})", path=made.base,
                              hint="Type: restore doctor --fix") from error
        _explain_waits(made, console)
        _started = Engine(device=made.device, threads=made.threads, onednn=made.onednn,
                          cache=Path(jittor.flags.cache_path),
                          jittor_version=jittor.__version__)
        return _started


def ready(found: Facts, device: str = "auto", threads: int | None = None,
          console: Console | None = None) -> Plan:
    """Plans for `found`, makes the folders and compiles the core; imports nothing.

    Raises:
        DeviceError: as `start`.
    """
    made = environment.plan(found, device, threads)
    say = console.warn if console is not None else (lambda message: None)
    for warning in made.warnings:
        say(warning)
    try:
        _carry_out(made, found, console)
    except DeviceError as error:
        if made.device == "cpu" or _wish(device) != "auto":
            raise
        say(environment.cuda_left_out(error.message))
        made = environment.plan(found, "cpu", threads)
        _carry_out(made, found, console)
    return made


def _carry_out(made: Plan, found: Facts, console: Console | None) -> None:
    folders.apply(made)
    if made.toolkit:
        try:
            cuda.assemble(found.cuda, made.toolkit)
        except OSError as error:
            raise DeviceError(f"the folder for CUDA cannot be set up ({error})",
                              path=made.toolkit) from error
    prepare.ensure(made, console)


def _wish(device: str) -> str:
    return os.environ.get("RESTORE_DEVICE") or "auto" if device == "auto" else device


def _again(engine: Engine, device: str, threads: int | None) -> Engine:
    wish = _wish(device)
    if wish not in ("auto", engine.device, engine.device.partition(":")[0]):
        if not wish.startswith(("cpu", "cuda")):
            raise UsageError(f"there is no device {wish!r}", hint="Use auto, cpu, cuda or cuda:N")
        raise DeviceError(f"Jittor already computes on {engine.device} in this process, which "
                          f"cannot change to {wish}")
    if threads is None or threads == engine.threads:
        return engine
    loading.set_threads(threads)
    return replace(engine, threads=threads)


def kernels_compiled() -> int:
    """How many kernels this process has compiled; counted on Linux, 0 elsewhere."""
    note = os.environ.get("RESTORE_KERNEL_NOTE")
    return os.path.getsize(note) if note and os.path.exists(note) else 0


def _explain_waits(plan: Plan, console: Console | None) -> None:
    """Lets the compiler script count kernels and tell a terminal when they take long.

    Jittor compiles in C++ without letting Python threads run, so only the script can.
    """
    if plan.wrapper is None:
        return
    try:
        handle, note = tempfile.mkstemp(prefix="restore-note-")
    except OSError:  # no room: then there is no hint
        return
    os.close(handle)
    atexit.register(_forget, note, os.getpid())
    os.environ["RESTORE_KERNEL_NOTE"] = note
    os.environ.pop("RESTORE_KERNEL_TERMINAL", None)
    if console is not None and not console.quiet:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not a terminal
            os.environ["RESTORE_KERNEL_TERMINAL"] = os.ttyname(console.stderr.fileno())


def _forget(note: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked process ends with a copy of this
        Path(note).unlink(missing_ok=True)
