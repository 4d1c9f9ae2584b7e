"""What a run and its worker processes say to each other: JSON lists, one a line, over two pipes.

The run says ``["task", {...}]`` first, then ``["item", number, source, target, part]`` for each
``["want"]`` of the worker, `part` being None or what a `Portion` says, ``["end"]`` when there is
nothing left, and ``["stop"]`` when the run is over before that. A worker that loses its run (the
pipe is closed) stops, too.

The worker says ``["at", number, stage]``, ``["done", number, facts, seconds]`` and ``["failed",
number, failure, seconds]`` of its items, ``["part", number, facts]`` of what it has finished of
one, ``["placing", target, inode]`` of a file that is about to get its name, ``["info" | "warn" |
"error" | "result" | "bar" | "tick", ...]`` for the run's console, and ``["fatal", {...}]`` of what
ends the run.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from dataclasses import dataclass
from typing import Any

from restore_cli.pipeline.naming import Item

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Portion(Item):
    """Part of the work on one item.

    Attributes:
        told: what part, as JSON.
    """

    told: str = "{}"


def encode(message: list[Any]) -> bytes:
    """A message as a line; what JSON does not know is told as text."""
    return json.dumps(message, default=str).encode("ascii") + b"\n"


def decode(line: bytes) -> list[Any] | None:
    """The inverse of `encode`; None for a line that a killed process left unfinished."""
    try:
        return json.loads(line)
    except ValueError:
        return None


class Link:
    """The worker's end.

    Args:
        given, taken: descriptors to read from and to write to.

    Attributes:
        inbox: messages that came and are no "stop".
        over: nothing stops the process any more; it is about to end.
    """

    def __init__(self, given: int, taken: int):
        self.inbox: queue.Queue[list[Any]] = queue.Queue()
        self.over = False
        self._given, self._taken = given, taken
        self._lock = threading.Lock()

    @classmethod
    def over_standard_streams(cls) -> Link:
        """Takes standard input and output for itself.

        Children read nothing then, and whatever prints goes to standard error.
        """
        link = cls(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return link

    def send(self, *message: Any) -> None:
        """Sends a message; a run that is no longer there misses it."""
        line = encode(list(message))
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._taken, line):]
            except OSError:
                pass  # `listen` sees the same and stops the process

    def listen(self) -> None:
        """Fills `inbox` in a thread; stops the main thread, as SIGTERM does, when it is time."""
        threading.Thread(target=self._listen, daemon=True, name="link").start()

    def _listen(self) -> None:
        rest = b""
        # Descriptors, not streams: a thread that waits in a buffered read cannot be left behind.
        while chunk := _read(self._given):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                message = decode(line)
                if message and message[0] == "stop":
                    _stop(self)
                elif message:
                    self.inbox.put(message)
        _stop(self)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""


def _stop(link: Link) -> None:
    if link.over:
        return
    link.over = True  # once is enough: a second one would disturb the clean-up
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
    else:  # Windows
        import _thread

        _thread.interrupt_main(signal.SIGTERM)
