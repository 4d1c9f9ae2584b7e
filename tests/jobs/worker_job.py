"""A job without a network, for the tests of worker processes: does what its files' texts say."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from restore_cli.errors import InputError, WeightsError
from restore_cli.media import atomic
from restore_cli.pipeline import stream


def share(task, items, console, report):
    """What `jobs.workers` asks of a job."""
    console.warn("told by each")
    if task.get("trouble") == "weights":
        raise WeightsError("are damaged", path="net.safetensors", hint="Fetch them again")
    if task.get("trouble") == "bug":
        raise ZeroDivisionError("nought")
    if task.get("trouble") == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    stream.serve(items, lambda item: read(item, task), lambda item, text: compute(
        item, text, console), write, report=report)


def read(item, task):
    text = item.source.read_text()
    if text == "die reading":
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("mark "):
        Path(text.partition(" ")[2]).touch()
    return text


def compute(item, text, console):
    verb, _, rest = text.partition(" ")
    if verb == "wait":  # for a file
        try:
            console.info("waiting")
            Path(f"{rest}.awaited").touch()
            wait(rest)
        except BaseException:
            console.info("cleaned up")
            raise
    elif verb == "deaf":  # goes on whatever it is told
        try:
            Path("deaf").touch()
            wait("never")
        except BaseException:
            console.info("does not hear")
            wait("never")
    elif verb == "touch":
        Path(rest).touch()
    elif verb == "refuse":
        raise InputError("is refused")
    elif verb == "stumble":
        raise KeyError("bug")
    elif text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "once" and rest != "placed":  # the first process dies, the next does it
        wait(rest)
        if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "bar":
        total, count = map(int, rest.split())
        with console.progress(total=total, unit="frame") as bar:
            for _ in range(count):
                bar.update()
    elif verb == "warn":
        console.warn(rest, once=rest)
    return text


def wait(name):
    until = time.monotonic() + 30
    while not Path(name).exists():
        time.sleep(0.02)
        if time.monotonic() > until:
            raise InputError("waited in vain")


def write(item, text):
    with atomic.atomic_path(item.target) as path:
        if text == "die writing":
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_text(text.upper())
    if text == "once placed":  # the first process dies before it can tell of the file
        wait("placed")
        if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"pid": os.getpid(), "path": Path("some/path")}
