"""`--precision`: whether a run's networks may take their products in bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from restore_cli.errors import DeviceError, UsageError
from restore_cli.nets.ops import precision
from restore_cli.runtime import bf16, device

FULL, HALF = "fp32", "bf16"
NAMES = (FULL, HALF)


def check(name: str, asked: str = "cpu") -> None:
    """Refuses what cannot be, before any work.

    Args:
        name: of `--precision`.
        asked: what `--device` says.

    Raises:
        UsageError: no such precision.
        DeviceError: the CPU or the compiler has no bfloat16, or the run is to be on a GPU.
    """
    if name not in NAMES:
        raise UsageError(f"there is no precision '{name}'", hint="Use " + " or ".join(NAMES))
    if name == HALF:
        for one in device.parse(asked):
            _refuse_gpu(one)
        bf16.require()


def confirm(what: str, where: str) -> None:
    """Refuses bfloat16 that would change nothing; to be called once a network has run.

    Args:
        what: the network's name.
        where: the engine's device.

    Raises:
        DeviceError: the engine is on a GPU.
        UsageError: none of the network's operators takes products in bfloat16.
    """
    if not precision.chosen():
        return
    _refuse_gpu(where)
    if not precision.used():
        raise UsageError(f"{what} has no part that computes in {HALF} here",
                         hint="Leave --precision out")


def applied(run: Callable[..., Any]) -> Callable[..., Any]:
    """A job's ``run(request, console)`` that checks the request's precision and computes in it."""
    @functools.wraps(run)
    def inner(request: Any, *rest: Any) -> Any:
        check(request.precision, request.device)
        with precision.using(request.precision == HALF):
            return run(request, *rest)

    return inner


def applied_to_share(share: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a ``share(task, items, console, report)`` of `jobs.workers`."""
    @functools.wraps(share)
    def inner(task: dict[str, Any], *rest: Any) -> Any:
        name = task["request"]["precision"]
        check(name, task["request"]["device"])
        with precision.using(name == HALF):
            return share(task, *rest)

    return inner


def _refuse_gpu(name: str) -> None:
    if name.startswith("cuda"):
        raise DeviceError(f"--precision {HALF} is for CPUs, and this run is to compute on {name}",
                          hint="Leave --precision out, or add --device cpu")
