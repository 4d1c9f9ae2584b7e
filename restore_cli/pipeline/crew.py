"""One run over several worker processes.

Every item is handed out when a process asks for it, so that a slow one holds up nothing else. The
run alone speaks: what workers find comes back to it (`crew_link`), is counted, and is told as if
one process had done it all, in the order in which items end. When a worker dies, the item that it
had has failed; if it had several, each is done again by itself, and only what kills a worker then
has failed. The rest goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, OutOfMemory, RestoreError
from restore_cli.media import atomic
from restore_cli.pipeline import crew_worker
from restore_cli.pipeline.crew_link import decode, encode
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import Failure, Report

_POLL = 0.2  # seconds; waits are cut into these so that Ctrl-C is seen on Windows too
_LAST = 10.0  # seconds that a process may take to end once it has nothing left to do


class Member:
    """A worker process as the run sees it.

    Args:
        number: of its share of the machine.
        task: the "task" message's content.
        environ: variables to set for it.
        heard: gets (member, message), and (member, None) at its end.

    Attributes:
        held: the items it has, by number, and the stage each is in ("read", "compute", "write").
        placing: inodes of files that it has given, or was about to give, their names.
        ready: it is set up.
        waiting: it has asked for an item.
        ended: it was told that nothing is left, or to stop.
        gone: it is no more.
        lonely: the item it has was in a process that died, and is alone here.
    """

    def __init__(self, number: int, task: dict[str, Any], environ: dict[str, str],
                 heard: queue.Queue):
        self.number, self.mark = number, task["mark"]
        self.held: dict[int, str] = {}
        self.placing: dict[str, int] = {}
        self.ready = self.waiting = self.ended = self.gone = self.lonely = False
        self._heard = heard
        with _interrupts_held():
            self.process = subprocess.Popen(
                [sys.executable, "-c", crew_worker.START,
                 json.dumps([os.path.abspath(path) for path in sys.path])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environ},
                # Ctrl-C is for the run, which passes on what it means.
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))
        threading.Thread(target=self._hear, daemon=True, name="crew").start()
        self.send("task", task)

    def send(self, *message: Any) -> None:
        """Sends a message; one that is no more misses it."""
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(encode(list(message)))
            self.process.stdin.flush()

    def stop(self) -> None:
        """Lets it clean up and end."""
        self.ended = True
        self.send("stop")

    @property
    def busy(self) -> bool:
        """Whether it reads or computes."""
        return any(stage != "write" for stage in self.held.values())

    def _hear(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                message = decode(line)
                if message is not None:
                    self._heard.put((self, message))
        self._heard.put((self, None))


class Crew:
    """Worker processes that share the items of one run.

    Args:
        module: name of the module whose `share` a worker calls.
        tasks: what it is told, one a process.
        environs: variables to set, one a process.
        console: of the run.
        report: of the run.
        bar: of what workers' own bars count, if those are shown.
        said: what of a worker's set-up has been told already.
        growing: items may be added while it runs; all processes are started for them.
    """

    def __init__(self, module: str, tasks: Sequence[dict[str, Any]],
                 environs: Sequence[dict[str, str]], console: Console, report: Report,
                 bar: Any = None, said: Iterable[str] = (), growing: bool = False):
        self._module, self._tasks, self._environs = module, tasks, environs
        self._console, self._report, self._bar = console, report, bar
        self._heard: queue.Queue[tuple[Member, list[Any] | None]] = queue.Queue()
        self._members: list[Member] = []
        self._items: list[Item] = []
        self._growing = growing
        self._left: deque[int] = deque()
        self._again: deque[int] = deque()
        self._open: set[int] = set()
        self._said = set(said)

    def run(self, items: Sequence[Item]) -> None:
        """Does `items`; their ends are in the report.

        Raises:
            RestoreError: what a worker says of the whole run, or none can be started.
            KeyboardInterrupt, Terminated: passed on once all workers have cleaned up.
        """
        self.add(items)
        try:
            # One first: what it compiles, and says of weights and devices, serves for all.
            self._start(0)
            while self._open:
                self._heed(*self._next())
            for member in self._alive():
                member.send("end") if member.waiting else member.stop()
            self._wait(_LAST)
        except BaseException as error:
            self._stop(telling=not isinstance(error, BrokenPipeError))
            raise
        finally:
            for member in self._alive():
                member.process.kill()
                self._bury(member)

    def add(self, items: Iterable[Item]) -> None:
        """More items to do; called by the report while the crew runs, or before."""
        for item in items:
            self._open.add(len(self._items))
            self._left.append(len(self._items))
            self._items.append(item)

    def _start(self, number: int) -> None:
        mark = os.urandom(4).hex() + "-"
        console = self._console
        task = {"module": self._module, "task": self._tasks[number], "mark": mark, "console": {
            "quiet": console.quiet, "json_lines": console.json_lines, "debug": console.debug,
            "bars": self._bar is not None}}
        self._members.append(Member(number, task, self._environs[number], self._heard))

    def _alive(self) -> list[Member]:
        return [member for member in self._members if not member.gone]

    def _next(self) -> tuple[Member, list[Any] | None]:
        """What is heard next."""
        ended: set[Member] = set()
        while True:
            try:
                return self._heard.get(timeout=_POLL)
            except queue.Empty:
                # A child of a killed worker may hold its pipe open.
                over = {one for one in self._alive() if one.process.poll() is not None}
                if over & ended:
                    return (over & ended).pop(), None
                ended = over

    def _heed(self, member: Member, message: list[Any] | None) -> None:
        if message is None:
            if not member.gone:
                self._died(member)
            return
        kind, *rest = message
        if kind == "want":
            self._wanted(member)
        elif kind == "at":
            member.held[rest[0]] = rest[1]
        elif kind == "placing":
            member.placing[rest[0]] = rest[1]
        elif kind == "part":
            self._report.part(self._items[rest[0]], rest[1])
        elif kind in ("done", "failed"):
            self._finished(member, kind, *rest)
        elif kind == "fatal":
            raise self._fatal(member, **rest[0])
        else:
            self._say(member, kind, rest)
        self._hand_out()

    def _wanted(self, member: Member) -> None:
        member.waiting = True
        if not member.ready:
            member.ready = True
            if member is self._members[0]:
                most = len(self._tasks) if self._growing else len(self._open)
                for number in range(1, min(len(self._tasks), most)):
                    self._start(number)

    def _finished(self, member: Member, kind: str, number: int, found: dict[str, Any],
                  seconds: float) -> None:
        member.held.pop(number, None)
        member.placing.pop(str(self._items[number].target), None)
        member.lonely = False
        self._open.discard(number)
        item = self._items[number]
        if kind == "done":
            self._report.done(item, found, seconds)
        elif kind == "lost":
            self._report.lost(item, Failure(**found))
        else:
            self._report.failed(item, Failure(**found), seconds)
        if self._bar is not None and not self._growing:
            self._bar.set_postfix_str(
                f"{len(self._items) - len(self._open)} of {len(self._items)} files")

    def _hand_out(self) -> None:
        for member in self._alive():
            if member.waiting and not member.ended:
                number = self._choose(member)
                if number is not None:
                    item = self._items[number]
                    member.waiting, member.held[number] = False, "read"
                    member.send("item", number, str(item.source), str(item.target),
                                getattr(item, "told", None))

    def _choose(self, member: Member) -> int | None:
        """The item that a waiting member gets now, if any."""
        if member.lonely:
            return None
        if self._again and not member.held:
            member.lonely = True
            return self._again.popleft()
        # The last ones are for whoever is free first; before that, each reads ahead.
        if not self._left or (member.busy and len(self._left) <= len(self._tasks)):
            return None
        return self._left.popleft()

    def _say(self, member: Member, kind: str, rest: list[Any]) -> None:
        console = self._console
        if kind in ("info", "warn") and not member.ready:  # each worker says it
            if rest[0] in self._said:
                return
            self._said.add(rest[0])
        if kind == "info":
            console.info(rest[0])
        elif kind == "warn":
            console.warn(rest[0], once=rest[1])
        elif kind == "error":
            console.error(rest[0])
        elif kind == "result":
            console.result(*rest)
        elif self._bar is not None:
            if kind == "bar":
                self._bar.total = (self._bar.total or 0) + rest[0]
                self._bar.refresh()
            else:
                self._bar.update(rest[0])

    def _fatal(self, member: Member, message: str, status: int, trace: str,
               hint: str | None = None, path: str | None = None) -> RestoreError:
        """What a worker says of the whole run, as if it had happened here."""
        if self._console.debug:
            self._console.info(trace)
        if status == ExitStatus.MEMORY and len(self._tasks) > 1:
            return OutOfMemory(f"{message} (in each of {len(self._tasks)} processes)", path=path,
                               hint="Use fewer processes, or give more with --memory")
        error = RestoreError(message, path=path, hint=hint)
        error.status = ExitStatus(status)
        return error

    def _died(self, member: Member) -> None:
        """A worker ended although it was not told to."""
        status = self._bury(member)
        if not member.ready:
            fate = _fate(status, "a worker process", "while it was set up")
            if not self._alive():
                raise fate
            self._console.warn(f"{fate.message}; going on with fewer")
            return
        held = list(member.held)
        if not held and not self._alive():
            raise _fate(status, "a worker process", "between two files")
        if len(held) == 1:
            error = _fate(status, "its process")
            error.path = self._items[held[0]].source
            self._finished(member, "lost", held[0], vars(Failure.of(
                error, self._items[held[0]])), 0.0)
        elif held:
            self._console.warn(f"{_fate(status, 'a worker process').message}; the {len(held)} "
                               "files that it had are done again, one by one")
            for number in held:
                self._unplace(member, self._items[number].target)
            self._again.extend(held)
        idle = sum(one.waiting and not one.held for one in self._alive())
        if len(self._left) + len(self._again) > idle:
            self._start(member.number)
        self._hand_out()

    @staticmethod
    def _unplace(member: Member, target: Path) -> None:
        """Takes away a whole output of which the dead could not tell any more."""
        with contextlib.suppress(OSError):
            if os.stat(target).st_ino == member.placing.get(str(target)):
                os.unlink(target)

    def _bury(self, member: Member) -> int:
        """Clears up after a process that has ended; returns its exit status."""
        member.gone = True
        status = member.process.wait()
        with contextlib.suppress(OSError):
            member.process.stdin.close()
        for target in {Path(self._items[number].target) for number in member.held}:
            for folder in (target.parent, target):  # pictures lie in the latter
                atomic.sweep(folder, member.mark)
        return status

    def _wait(self, seconds: float) -> None:
        """Lets processes end that have nothing left to do."""
        for member in self._alive():
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(seconds)
                self._bury(member)

    def _stop(self, telling: bool) -> None:
        """Lets all workers clean up and end, and passes on what they still say."""
        for member in self._alive():
            member.stop()
        while self._alive():
            member, message = self._next()
            if message is None:
                if not member.gone:
                    self._bury(member)
            elif message[0] == "part":
                self._report.part(self._items[message[1]], message[2])
            elif telling and message[0] in ("done", "failed") and not self._growing:
                self._finished(member, *message)
            elif telling and message[0] in ("info", "warn", "result"):
                self._say(member, message[0], message[1:])


def _fate(status: int, who: str, when: str = "") -> RestoreError:
    """How a process ended, in words."""
    when = f" {when}" if when else ""
    if status == -getattr(signal, "SIGKILL", 9):
        return RestoreError(f"{who} was killed{when}, for want of memory perhaps",
                            hint="Use fewer processes, or give less with --memory")
    if status in (-signal.SIGTERM, ExitStatus.TERMINATED):
        return RestoreError(f"{who} was terminated{when}")
    how = f"died of signal {-status}" if status < 0 else f"ended with status {status}"
    error = RestoreError(f"{who} {how}{when}")
    error.status = ExitStatus.BUG
    return error


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keeps Ctrl-C waiting, and from a process that starts meanwhile until it can heed it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
