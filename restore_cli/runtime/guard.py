"""Keeps importing Jittor from changing the process that imports it."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping

_SIGNALS = ("SIGINT", "SIGTERM", "SIGCHLD", "SIGQUIT", "SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS",
            "SIGILL")


@contextlib.contextmanager
def undisturbed(environment: Mapping[str, str | None]) -> Iterator[None]:
    """Runs its body with `environment` set, then puts the process back as it was.

    Put back are: the variables of `environment` and those Jittor sets itself, where standard
    output goes (inside, it goes to standard error), signal handlers, HTTPS certificate checks,
    the recursion limit, the stack limit, `sys.exit`, `sys.excepthook`, `sys.executable`, and the
    functions of `platform` (inside, they hide host name and kernel version, which Jittor would
    make part of its cache path). A None in `environment` unsets the variable.
    """
    undo = contextlib.ExitStack()
    with undo:
        undo.enter_context(_variables(environment))
        undo.enter_context(_limits())
        undo.enter_context(_attributes(
            (ssl, "_create_default_https_context"), (sys, "exit"), (sys, "excepthook"),
            (sys, "executable"), (platform, "node"), (platform, "platform")))
        undo.enter_context(_handlers())
        undo.enter_context(_stdout_to_stderr())
        platform.node = lambda: "n"
        platform.platform = lambda *args, **options: platform.system().lower()
        yield


@contextlib.contextmanager
def _variables(environment: Mapping[str, str | None]) -> Iterator[None]:
    # Jittor sets the second group; PATH stays as it leaves it, Windows needs that.
    names = {*environment, "cache_name", "cc_path", "use_parallel_op_compiler", "cuda_arch",
             "log_silent", "log_sync", "CUDA_HOME"}
    before = {name: os.environ.get(name) for name in names}
    _set(environment)
    try:
        yield
    finally:
        _set(before)


def _set(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _attributes(*places: tuple[object, str]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    recursion = sys.getrecursionlimit()
    try:
        import resource
    except ImportError:  # Windows
        resource = None
    stack = resource.getrlimit(resource.RLIMIT_STACK) if resource else None
    try:
        yield
    finally:
        sys.setrecursionlimit(recursion)
        if resource:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_STACK, stack)


@contextlib.contextmanager
def _handlers() -> Iterator[None]:
    """Installs the Python handlers again, over those that Jittor's C++ code put below them."""
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not installed from Python: its owner keeps it. Off the
            # main thread Python refuses.
            with contextlib.suppress(ValueError, OSError, TypeError):
                if handler is not None:
                    signal.signal(number, handler)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    if sys.stdout is not None:  # None where the program was started with it closed
        sys.stdout.flush()
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed: nothing can be written there either
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
