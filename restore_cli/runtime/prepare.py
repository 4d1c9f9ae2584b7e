"""Compiles Jittor's core ahead, in a process of its own.

Whatever can go wrong while Jittor builds itself (it may end the process without a word, abort,
hang, or leave pools of processes behind) goes wrong there; the program watches, shows progress,
and can be interrupted at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import DeviceError
from restore_cli.runtime import folders
from restore_cli.runtime.environment import Plan

# Object files of the core and of the oneDNN operators, on Linux; only progress depends on it.
OBJECTS = 158
# Status of a child that found a working core and has noted that it is complete.
_READY = 77
_CHILD = ("import json, sys; task = json.load(sys.stdin); sys.path[:] = task['path']; "
          "from restore_cli.runtime import prepare; prepare.compile_core(task['plan'])")


def ensure(plan: Plan, console: Console | None = None) -> None:
    """Makes sure that Jittor's core for `plan` is compiled and works.

    Takes no time when it is. Otherwise takes one to some minutes, with progress on standard
    error. Two programs that come here at once share the work: one compiles, one waits.

    Raises:
        DeviceError: it cannot be compiled, or does not work; the log's place is in the message.
    """
    if folders.core(plan) is not None:
        return
    log = Path(plan.base, "prepare.log")
    for _ in range(3):  # Jittor ends a process that found an outdated helper module
        status = _watch(plan, log, console)
        if status == _READY:
            return
        if status != 0:
            break
    raise DeviceError(f"Jittor's core could not be compiled ({_reason(log, status)}; all of it "
                      f"in {log})", hint="Type: restore doctor")


def compile_core(text: str) -> None:
    """The child's part: imports Jittor, computes something, and ends with status 77.

    Args:
        text: the plan as JSON.
    """
    from restore_cli.runtime import loading

    plan = Plan.from_json(text)
    jittor = loading.load(plan, compilers=max(1, min(plan.cores, _memory_allows())))
    found = (jittor.array([1.0, 2.0]) * 2 + 1).numpy().tolist()
    if found != [3.0, 5.0]:
        raise SystemExit(f"Jittor computes nonsense: 2*[1,2]+1 = {found}")
    folders.remember_core(plan, jittor.flags.cache_path)
    sys.stdout.flush()
    # Without the clean-up of CUDA and the like, which may fail after all has gone well.
    os._exit(_READY)


def _memory_allows() -> int:
    import psutil

    return max(1, int(psutil.virtual_memory().available // (600 << 20)))


def _watch(plan: Plan, log: Path, console: Console | None) -> int:
    """Runs the child, shows progress, and returns its exit status (negative: a signal)."""
    task = json.dumps({"path": [str(Path(path).absolute()) for path in sys.path],
                       "plan": plan.to_json()})
    with tempfile.TemporaryFile() as stdin, open(log, "wb") as output:
        stdin.write(task.encode())
        stdin.seek(0)
        # A group of its own, so that compilers die with it when the user gives up.
        child = subprocess.Popen([sys.executable, "-c", _CHILD], stdin=stdin, stdout=output,
                                 stderr=subprocess.STDOUT,
                                 start_new_session=os.name == "posix")
        try:
            _show(child, plan, console)
            return child.wait()
        except BaseException:
            _end(child)
            raise


def _show(child: subprocess.Popen, plan: Plan, console: Console | None) -> None:
    begun = time.monotonic()
    if _wait(child, 2) or console is None:  # a core that is there after all loads in a second
        child.wait()
        return
    console.info("preparing Jittor for first use: compiling its core, once, takes about "
                 f"{_minutes(plan)} ...")
    said, shown = begun, 0
    with console.progress(total=OBJECTS, desc="compiling", unit="file") as bar:
        while not _wait(child, 0.5):
            done = min(folders.compiled_objects(plan.base, plan.cache_name), OBJECTS - 1)
            bar.update(done - shown)
            bar.refresh()
            shown = done
            if bar.disable and time.monotonic() - said >= 20:
                said = time.monotonic()
                console.info(f"compiled {done} of about {OBJECTS} files "
                             f"in {said - begun:.0f} s ...")
    console.info(f"Jittor is ready ({time.monotonic() - begun:.0f} s)")


def _minutes(plan: Plan) -> str:
    seconds = 115 / max(1, min(plan.cores, 8))
    return "a minute" if seconds < 80 else f"{seconds / 60:.0f} minutes"


def _wait(child: subprocess.Popen, seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(child: subprocess.Popen) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _reason(log: Path, status: int) -> str:
    """The last line that tells an error, or how the process ended."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    telling = [line.strip() for line in lines if "error" in line.lower()]
    if telling:
        return telling[-1][:300]
    if status < 0:
        return f"ended by signal {-status}"
    return f"status {status}"
