"""`--device cuda:0,1` and `--jobs N`: one run's files over several processes.

Names, refusals and weights are settled before, once; each process then does files by itself, as a
run with its device, its threads and its part of the memory would. So a result is the same as that
of one process with as many threads (`--threads`) and the same tiles.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.jobs.files import PictureRequest
from restore_cli.media import atomic
from restore_cli.pipeline import memory
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.report import Report, Summary
from restore_cli.runtime import device, environment
from restore_cli.runtime.device import Share
from restore_cli.runtime.facts import Facts


def several(request: PictureRequest, items: Sequence[Item]) -> bool:
    """Whether the items of a run are shared among processes; a single one never is.

    Raises:
        UsageError: `--device` and `--jobs` make no sense, or stdin is among several inputs.
    """
    count = device.processes(device.parse(request.device), request.jobs)
    work = [item for item in items if item.skip is None]
    if count < 2 or len(work) < 2:
        return False
    if any(item.source == STREAM for item in work):
        raise UsageError("- (stdin) cannot be shared among several processes",
                         hint="Leave --jobs out and name one device, or do it by itself")
    return True


def alone(request: PictureRequest) -> PictureRequest:
    """The request for the one process that does all: on the first of several GPUs."""
    devices = device.parse(request.device)
    return request if len(devices) == 1 else dataclasses.replace(request, device=devices[0])


def plan(request: PictureRequest, found: Facts, count: int, own: int, free: int
         ) -> tuple[list[Share], tuple[str, ...]]:
    """What each process may take, and what the user should know. Touches nothing.

    Args:
        found: the machine.
        count: pieces of work; no more processes than these.
        own: bytes that this process holds.
        free: bytes of memory that are free.

    Raises:
        DeviceError: there is no compiler, or no such GPU.
        UsageError: `--jobs` on a GPU.
    """
    plans = [environment.plan(found, name, request.threads)
             for name in device.parse(request.device, found.environ)]
    devices = [one.device for one in plans]
    processes, threads = device.processes(devices, request.jobs), plans[0].threads
    notes = plans[0].warnings
    if devices == ["cpu"] and processes > threads:
        notes += (f"{processes} processes were asked for, and there "
                  f"{'is 1 thread' if threads == 1 else f'are {threads} threads'} for them: "
                  f"using {threads}",)
        processes = threads
    room = (int(free * memory.SHARE) if request.memory is None
            else memory.parse(request.memory) - own)
    return device.share(devices, min(processes, count), threads, room), notes


def run(module: str, request: PictureRequest, items: Sequence[Item], console: Console,
        describe: Callable[[dict[str, Any]], str], *, weights: Path | None = None,
        frames: bool = False, reporting: type[Report] = Report, **told: Any) -> Summary:
    """Does `items` in several processes.

    Args:
        module: whose ``share(task, items, console, report)`` a process calls, with a task of
            "request" and what is `told`.
        request: of the run, `--device` and `--jobs` included.
        describe: the line for people about a finished record.
        weights: the file that `--model`, `--weights` or neither means.
        frames: the bar counts what the processes' own bars count, not files.
        reporting: counts and tells what becomes of the items.
        told: more for the tasks, as JSON knows it.

    Raises:
        RestoreError: what concerns the whole run.
    """
    from restore_cli.pipeline.crew import Crew

    begun = time.perf_counter()
    report = reporting(console, describe, None if frames else "file")
    work = report.begin(items)
    tasks, environs, notes = shared(request, len(work), weights, console, **told)
    with contextlib.ExitStack() as stack:
        stack.enter_context(atomic.folders([Path(item.target) for item in work]))
        stack.enter_context(report.showing(len(work)))
        bar = stack.enter_context(console.progress(total=0, unit="frame")) if frames else None
        Crew(module, tasks, environs, console, report, bar, notes).run(work)
    report.summary.seconds = time.perf_counter() - begun
    console.info(str(report.summary))
    return report.summary


def shared(request: PictureRequest, count: int, weights: Path | None, console: Console,
           **told: Any) -> tuple[list[dict[str, Any]], list[dict[str, str]], set[str]]:
    """What each process is told, the variables to set for it, and what has been said of that.

    Args:
        count: pieces of work; no more processes than these.
        weights, told: as for `run`.
    """
    from restore_cli.runtime import facts

    wanted = device.parse(request.device)
    shares, notes = plan(request, facts.collect(device=wanted[0]), count, memory.rss(),
                         memory.available())
    for note in notes:
        console.warn(note, once=note)
    tasks = [{"request": _request(request, share, weights), **told} for share in shares]
    return tasks, [{"OMP_NUM_THREADS": str(share.threads)} for share in shares], set(notes)


def _request(request: PictureRequest, share: Share, weights: Path | None) -> dict[str, Any]:
    """The request of one process, as JSON knows it."""
    own: dict[str, Any] = {"inputs": [], "files_from": None, "device": share.device, "jobs": None,
                           "threads": share.threads,
                           "memory": f"{max(1, share.memory >> 20)}M"}
    if weights is not None:
        own.update(model=None, weights=os.fspath(weights))
    return dataclasses.asdict(dataclasses.replace(request, **own))
