"""Starts the program as a process that can be stopped from outside."""

from __future__ import annotations

import signal
import subprocess
import sys


def begin(*arguments: str, **options) -> subprocess.Popen:
    """`restore` with `arguments`; heeds Ctrl-C even where the tests run in the background of a
    shell, which makes all its children deaf to it."""
    return subprocess.Popen(
        [sys.executable, "-m", "restore_cli", *arguments], stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
