"""Which devices `--device` names, and what each of several processes on them may take."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from restore_cli.errors import UsageError

_NAMES = "Use auto, cpu, cuda, cuda:N, or several GPUs such as cuda:0,1"


@dataclass(frozen=True)
class Share:
    """What one process of several computes on, and with.

    Attributes:
        device: "cpu" or "cuda:N".
        threads: CPU threads.
        memory: ceiling for its peak, in bytes.
    """

    device: str
    threads: int
    memory: int


def parse(text: str, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The devices that a `--device` value names.

    Args:
        text: such as "auto", "cpu", "cuda", "cuda:1", "cuda:0,1" or "cuda:0,cuda:1".
        environ: with "auto", its ``RESTORE_DEVICE`` decides.

    Returns:
        One of ("auto",), ("cpu",), ("cuda",), or GPUs as "cuda:N" in the order given.

    Raises:
        UsageError: no such device, a GPU twice, or GPUs beside others.
    """
    asked = environ.get("RESTORE_DEVICE") or "auto" if text == "auto" else text
    words = [word.strip() for word in asked.split(",")]
    if len(words) == 1:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", words[0]):
            raise UsageError(f"there is no device {asked!r}", hint=_NAMES)
        return (words[0],)
    found: list[str] = []
    for word in words:
        number = re.fullmatch(r"(cuda:|cuda$)?(\d*)", word)
        if number is None or not (number[2] or word == "cuda") or not (number[1] or found):
            raise UsageError(f"there is no list of devices {asked!r}",
                             hint="Write GPUs as cuda:0,1; for the CPU, --device cpu --jobs N")
        name = f"cuda:{int(number[2] or 0)}"
        if name in found:
            raise UsageError(f"--device {asked} names {name} twice",
                             hint="One process runs on a GPU; name each once")
        found.append(name)
    return tuple(found)


def processes(devices: Sequence[str], jobs: int | None) -> int:
    """How many processes are asked for: one a GPU of a list, or `--jobs` on the CPU.

    Raises:
        UsageError: `--jobs` with GPUs.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is impossible", hint="Use 1 or more")
    if jobs is None or jobs == len(devices):
        return len(devices)
    if devices[0].startswith("cuda"):
        raise UsageError("--jobs is for the CPU: one process runs on a GPU",
                         hint="Name several GPUs, as in --device cuda:0,1, or use --device cpu")
    return jobs


def share(devices: Sequence[str], count: int, threads: int, memory: int) -> list[Share]:
    """Divides a machine among `count` processes.

    Threads are rounded down alike for all, so that every file is computed the same whichever
    process takes it.

    Args:
        devices: as `environment.plan` says, one a process, or one for all.
        threads, memory: of all together.
    """
    return [Share(devices[number % len(devices)], max(1, threads // count),
                  max(1, memory // count)) for number in range(count)]
