"""How much memory a run may use, and what fits into it.

`--memory` is a ceiling for the whole process. A failed allocation inside Jittor on a CPU ends the
process, so sizes are planned before anything runs: a network's cost model says what a tile takes,
`choose_tile` picks the largest that fits, and `halving` is the second line of defence where
running out of memory does raise (accelerators, NumPy).
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from restore_cli import units
from restore_cli.errors import OutOfMemory, UsageError

Result = TypeVar("Result")

SHARE = 0.7
"""Part of the free memory that a run takes when `--memory` is not given."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:([KMGT])i?)?B?\s*", re.IGNORECASE)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2**63


def parse(text: str) -> int:
    """Bytes for ``1.5G``, ``800M``, ``2GiB``, ``4 GB``; units are powers of 1024.

    Raises:
        UsageError: for anything else, and for less than one byte.
    """
    found = _SIZE.fullmatch(text)
    size = float(found[1]) * 1024 ** _POWER[(found[2] or "").upper()] if found else 0.0
    if not 1 <= size < float(1 << 60):
        raise UsageError(f"{text!r} is no amount of memory", hint="Write 800M or 1.5G")
    return int(size)


def rss() -> int:
    """Bytes of memory that this process holds now."""
    import psutil

    return psutil.Process().memory_info().rss


def peak_rss() -> int:
    """The most bytes of memory that this process has held so far."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    if os.name == "nt":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available(root: Path = Path("/")) -> int:
    """Bytes this process can still take: free RAM within its cgroups and resource limits.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    import psutil

    limits = [psutil.virtual_memory().available]
    limits += _cgroup_room(root)
    limits += _address_space_room()
    return max(0, min(limits))


def _address_space_room() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return []
    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit <= 0:
        return []
    return [limit - psutil.Process().memory_info().vms]


def _cgroup_room(root: Path) -> list[int]:
    """What each enclosing control group still allows (versions 1 and 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current",
                                                   "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes",
                                                          "memory.usage_in_bytes",
                                                          "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        # In a container the path may name a group of the host that is not mounted here, so
        # every ancestor that exists counts, the mount point included.
        for depth in range(len(parts), -1, -1):
            room = _group_room(base.joinpath(*parts[:depth]), *names)
            if room is not None:
                found.append(room)
    return found


def _group_room(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    try:
        limit = (folder / limit_name).read_text().strip()
        usage = int((folder / usage_name).read_text())
    except (OSError, ValueError):
        return None
    if not limit.isdigit() or int(limit) >= _UNLIMITED:
        return None
    cache = 0  # page cache that the kernel gives up before it kills
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == cache_name:
                cache = int(value)
    except (OSError, ValueError):
        pass  # counts as use: the cautious side
    return int(limit) - usage + min(cache, usage)


@dataclass(frozen=True)
class Budget:
    """The memory of one run, in bytes.

    Attributes:
        ceiling: what the process may hold at its peak.
        base: what it holds before any image and any tile.
    """

    ceiling: int
    base: int

    @property
    def room(self) -> int:
        """What is left for images and tiles."""
        return max(0, self.ceiling - self.base)

    @contextmanager
    def telling(self, times: int = 1) -> Iterator[None]:
        """In its block, what does not fit says how much `--memory` would be enough.

        Args:
            times: bytes more of the ceiling that give one byte more to what the block plans.
        """
        try:
            yield
        except OutOfMemory as error:
            if error.short and error.hint:
                enough = units.show(self.ceiling + times * error.short)
                error.hint = error.hint.replace("more with --memory",
                                                f"at least {enough} with --memory")
            raise


def budget(asked: str | int | None, *, base: int | None = None, free: int | None = None) -> Budget:
    """The run's memory budget.

    Args:
        asked: the value of `--memory`; None takes `SHARE` of what is free.
        base: bytes held before any work; default: what the process holds now.
        free: bytes still available to the process; default: measured.

    Raises:
        UsageError: when `asked` cannot be read.
        OutOfMemory: when the program alone is larger than `asked`.
    """
    base = rss() if base is None else base
    if asked is None:
        free = available() if free is None else free
        return Budget(base + int(free * SHARE), base)
    ceiling = parse(asked) if isinstance(asked, str) else asked
    if ceiling <= base:
        raise OutOfMemory(f"--memory {asked} is less than the program itself takes "
                          f"({units.show(base)})", hint=f"Give at least {units.show(2 * base)}")
    return Budget(ceiling, base)


def choose_tile(cost: Callable[[int], int], room: int, *, smallest: int, largest: int,
                step: int = 1) -> int:
    """The largest tile whose cost fits.

    Args:
        cost: bytes a tile of this side takes, not decreasing.
        room: bytes there are.
        smallest, largest: sides to choose from, inclusive.
        step: sides are `smallest` plus multiples of this (and `largest` itself).

    Raises:
        OutOfMemory: when even `smallest` does not fit.
    """
    largest = max(smallest, largest)
    if cost(smallest) > room:
        raise OutOfMemory(
            f"even the smallest tile ({smallest} pixels) needs {units.show(cost(smallest))}, "
            f"and {units.show(room)} are left",
            hint="Give more with --memory, or close other programs",
            short=cost(smallest) - room)
    if cost(largest) <= room:
        return largest
    low, high = 0, (largest - smallest) // step  # cost(low) fits; bisect for the last that does
    while low < high:
        middle = (low + high + 1) // 2
        if cost(smallest + middle * step) <= room:
            low = middle
        else:
            high = middle - 1
    return smallest + low * step


def check_tile(tile: int, cost: Callable[[int], int], room: int) -> int:
    """`tile` as the user set it.

    Raises:
        OutOfMemory: when it does not fit; a size the user set is not changed.
    """
    need = cost(tile)
    if need > room:
        raise OutOfMemory(f"--tile {tile} needs {units.show(need)}, and {units.show(room)} "
                          "are left",
                          hint="Leave --tile out to have it chosen, or give more with --memory",
                          short=need - room)
    return tile


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in any of the ways it is said."""
    if isinstance(error, (MemoryError, OutOfMemory)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "cudaerrormemoryallocation",
                                    "memory allocation failed", "bad_alloc"))


def halving(attempt: Callable[[int], Result], tile: int, *, smallest: int, fixed: bool = False,
            on_retry: Callable[[int], None] | None = None) -> Result:
    """Runs ``attempt(tile)``, again with half the tile while memory runs out.

    Args:
        attempt: does the work with a tile size; must be repeatable.
        tile: the first size tried.
        smallest: sizes below this are not tried.
        fixed: the user set the size, so it is not changed.
        on_retry: told the new size before each retry.

    Raises:
        OutOfMemory: when it fails at the smallest allowed size. Other errors pass through.
    """
    while True:
        try:
            return attempt(tile)
        except (MemoryError, OutOfMemory, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            half = tile // 2
            if fixed or half < smallest:
                raise OutOfMemory(
                    f"memory ran out at tiles of {tile} pixels",
                    hint="Leave --tile out" if fixed else
                    "Give more with --memory, or close other programs") from error
        release()
        tile = half
        if on_retry:
            on_retry(tile)


def release(*, young: bool = False) -> None:
    """Gives memory that is no longer used back to the system, as far as that goes.

    For the thread that computes: it empties Jittor's pools too.

    Args:
        young: looks for cycles among young objects only; going through all that Jittor has
            loaded takes as long as a tile.
    """
    gc.collect(1 if young else 2)
    jittor = sys.modules.get("jittor")
    if jittor is not None:
        jittor.gc()
    trim()


def trim() -> None:
    """Gives freed heap memory back to the system; for any thread."""
    if sys.platform.startswith("linux"):
        import ctypes

        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if give_back is not None:
            give_back(0)
