"""`restore doctor`: examines what the engine needs, and mends or warms it on request."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from restore_cli import __version__, units
from restore_cli.console import Console
from restore_cli.errors import DeviceError, ExitStatus, RestoreError, UsageError
from restore_cli.jobs import doctor_warm
from restore_cli.runtime import compiler as compilers
from restore_cli.runtime import engine, environment, facts, folders, onednn
from restore_cli.runtime.environment import Plan
from restore_cli.runtime.facts import Facts

WARMERS = doctor_warm.WARMERS
OK, NOTE, BAD = "ok", "note", "wrong"
LITTLE = 1_000_000_000


@dataclass(frozen=True)
class DoctorRequest:
    """What the command line asks for; `warm` names commands."""

    fix: bool = False
    warm: tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        state: "ok"; "note": works, but not as it might; "wrong": a required part is broken.
        value: what was found.
        advice: what to type, if anything.
    """

    check: str
    state: str
    value: str
    advice: str = ""


def run(request: DoctorRequest, console: Console) -> ExitStatus:
    """Mends, warms, examines and reports.

    Returns:
        OK if every required part works, DEVICE if not.

    Raises:
        UsageError: a command to warm does not exist.
    """
    unknown = [name for name in request.warm if name not in WARMERS]
    if unknown:
        raise UsageError(f"nothing is compiled for {' or '.join(unknown)}",
                         hint=f"Commands with kernels: {', '.join(WARMERS)}")
    found = facts.collect(device=_wish(request.device))
    if request.fix:
        for line in mend(found, request.device):
            console.result(line, {"fixed": line})
        found = facts.collect(device=_wish(request.device))
    wrong = []
    for finding in examine(found, request, console):
        console.result(_line(finding), asdict(finding))
        wrong += [finding.check] if finding.state == BAD else []
    for name in () if "engine" in wrong else request.warm:
        line = doctor_warm.warm(name, console)
        console.result(line, {"warmed": name, "detail": line})
    status = ExitStatus.DEVICE if wrong else ExitStatus.OK
    console.result("Everything needed works." if status == ExitStatus.OK
                   else "Something needed does not work: see the lines marked !!.",
                   {"healthy": status == ExitStatus.OK})
    return status


def examine(found: Facts, request: DoctorRequest, console: Console) -> Iterator[Finding]:
    """Findings one by one, the engine last; starts it if its core is compiled or to be."""
    yield Finding("restore", OK, f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", OK, f"{platform.python_version()} at {sys.executable}")
    yield _packages()
    yield Finding("machine", OK, f"{found.system} {found.machine}, {found.cores} processors, "
                  f"{units.show(found.memory)} of memory free")
    yield _compiler(found)
    yield _headers(found)
    yield _onednn(found)
    yield _cuda(found)
    yield _folder("cache", found.cache)
    yield _folder("temp", found.temp)
    yield _weights()
    try:
        made = environment.plan(found, request.device, request.threads)
    except DeviceError as error:
        yield Finding("engine", BAD, error.message, error.hint or "")
        return
    yield _kernels(made)
    yield _engine(made, request, console)


def mend(found: Facts, device: str) -> list[str]:
    """Mends what can be, and returns what was done, one line each."""
    done = []
    try:
        made = environment.plan(found, device)
    except DeviceError:
        return done  # what is missing must be installed; the report says how
    folders.apply(made)
    done.append(f"checked the folders and links in {made.base}")
    core = folders.core(made)
    if core is None or not _loads(made):
        broken = [path for path in Path(made.base, ".cache", "jittor").glob(
            f"jt*/*/*/*/*/*/{made.cache_name}")]
        folders.forget_core(made)
        if broken:
            done.append(f"removed broken kernels ({units.show(folders.remove(broken))})")
    old = folders.stale(made.base, core) + folders.leftovers(made.base, found.temp)
    if old:
        done.append(f"removed {len(old)} unused folders ({units.show(folders.remove(old))})")
    return done


def _wish(device: str) -> str:
    # CUDA is asked even where nvcc is absent, so that the report can tell what is missing.
    return "cuda" if device == "auto" else device


def _loads(made: Plan) -> bool:
    """Whether the compiled core works, tried in another process."""
    from restore_cli.runtime import prepare

    folders.forget_core(made)
    try:
        prepare.ensure(made)
    except DeviceError:
        return False
    return True


def _packages() -> Finding:
    missing, found = [], []
    for requirement in metadata.requires("restore-cli") or () if _installed() else ():
        if "extra ==" in requirement or not _applies(requirement):
            continue
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        version = facts.version(name)
        if version is None:
            missing.append(re.split(r"\s*;", requirement)[0])
        else:
            found.append(f"{name} {version}")
    if missing:
        return Finding("packages", BAD, "missing: " + ", ".join(missing),
                       "Type: pip install " + " ".join(f"'{name}'" for name in missing))
    if not found:
        found = [f"{name} {facts.version(name)}" for name in ("jittor", "numpy")]
    return Finding("packages", OK, ", ".join(found))


def _installed() -> bool:
    return facts.version("restore-cli") is not None


def _applies(requirement: str) -> bool:
    """Whether the requirement's marker holds here, for the few kinds of marker in use."""
    marker = requirement.partition(";")[2]
    values = {"sys_platform": sys.platform, "platform_machine": platform.machine(),
              "python_version": "{}.{}".format(*sys.version_info)}
    for name, operator, value in re.findall(r"(\w+)\s*(==|<)\s*['\"]([^'\"]+)['\"]", marker):
        here = values.get(name, value)
        same = here == value if operator == "==" else _numbers(here) < _numbers(value)
        if not same:
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _compiler(found: Facts) -> Finding:
    if found.compiler is None:
        return Finding("compiler", BAD, found.compiler_problem or "none found",
                       compilers.how_to_install(found.system, found.distribution))
    return Finding("compiler", OK, f"{found.compiler.version} at {found.compiler.path}")


def _headers(found: Facts) -> Finding:
    if found.python.headers is None:
        return Finding("python headers", BAD, "Python.h is missing", compilers.how_to_install(
            found.system, found.distribution, headers_for=found.python.version[:2]))
    return Finding("python headers", OK, found.python.headers)


def _onednn(found: Facts) -> Finding:
    if found.onednn is None:
        return Finding("oneDNN", NOTE if found.system == "Darwin" else BAD, "not found",
                       onednn.how_to_install(found.system, found.machine))
    return Finding("oneDNN", OK, f"{found.onednn.version}, "
                   f"{found.onednn.archive or found.onednn.library}")


def _cuda(found: Facts) -> Finding:
    cuda = found.cuda
    if cuda.usable:
        return Finding("CUDA", OK, "{} GPU(s), nvcc {}.{} at {}".format(
            cuda.devices, *(cuda.version or (0, 0)), cuda.nvcc))
    if not cuda.devices and (cuda.nvcc is None or not cuda.hardware):
        return Finding("CUDA", OK, f"not used ({cuda.problem or 'the CPU was asked for'})")
    if cuda.nvcc is None:
        return Finding("CUDA", NOTE, f"{cuda.devices} GPU(s), but no CUDA compiler (nvcc)",
                       "Install the CUDA toolkit with cuDNN to compute on the GPU")
    why = cuda.problem or "missing beside nvcc: " + ", ".join(cuda.missing)
    advice = "Install or update the NVIDIA driver" if cuda.problem else \
        "Install the missing libraries with the CUDA toolkit and cuDNN"
    return Finding("CUDA", NOTE, f"nvcc is at {cuda.nvcc}, but {why}; the CPU is used",
                   f"{advice}; or say --device cpu, or RESTORE_DEVICE=cpu, and it is not looked at")


def _folder(check: str, path: str) -> Finding:
    seen = facts.look(path)
    free = "unknown" if seen.free is None else units.show(seen.free)
    value = f"{path}, {free} free" + ("" if seen.exists else " (will be made)")
    if not seen.writable:
        return Finding(check, NOTE, f"{path} cannot be written",
                       "Set RESTORE_CACHE to a folder of yours" if check == "cache"
                       else "Set TMPDIR to a folder of yours")
    if seen.free is not None and seen.free < LITTLE:
        return Finding(check, NOTE, value, "Free some space")
    return Finding(check, OK, value)


def _weights() -> Finding:
    from restore_cli.weights.store import Store

    try:
        states = Store().list()
    except RestoreError as error:
        return Finding("weights", BAD, str(error))
    here = [status.entry.name for status in states if status.usable]
    wrong = {state: [s.entry.name for s in states if s.state == state]
             for state in ("damaged", "missing")}
    if wrong["missing"]:
        return Finding("weights", BAD, "missing from the package: " + ", ".join(wrong["missing"]),
                       "Type: pip install --force-reinstall --no-deps restore-cli")
    if wrong["damaged"]:
        return Finding("weights", BAD, "damaged: " + ", ".join(wrong["damaged"]),
                       f"Type: restore weights fetch --force {' '.join(wrong['damaged'])}")
    return Finding("weights", OK, f"{len(here)} of {len(states)} known files are here: "
                   + (", ".join(here) or "none"))


def _kernels(made: Plan) -> Finding:
    if folders.core(made) is None:
        return Finding("kernels", NOTE, f"none yet in {made.base}: the first run compiles, which "
                       "takes some minutes", "To do it now, type: restore doctor --warm")
    root = Path(made.base)
    count = folders.compiled_kernels(folders.core(made))
    stale = folders.stale(made.base, folders.core(made))
    value = f"{count} compiled, {units.show(folders.size(root))} in {made.base}"
    if stale:
        return Finding("kernels", NOTE, f"{value}; {len(stale)} folders are not used any more",
                       "Type: restore doctor --fix")
    return Finding("kernels", OK, value)


def _engine(made: Plan, request: DoctorRequest, console: Console) -> Finding:
    """Starts the engine and computes, if that takes no compiling or compiling was asked for."""
    if folders.core(made) is None and not (request.warm or request.fix):
        return Finding("engine", OK, f"can be built for {made.device}, {made.threads} threads")
    try:
        # What is wrong with CUDA has been told: no warning beside it.
        device = "cpu" if made.device == "cpu" else request.device
        started = engine.start(device, request.threads, console=console)
        doctor_warm.compute()
    except RestoreError as error:
        return Finding("engine", BAD, error.message, error.hint or "Type: restore doctor --fix")
    except RuntimeError as error:
        return Finding("engine", BAD, f"kernels cannot be compiled or run: {_first(error)}; see "
                       f"{Path(made.base, 'compiler.log')}",
                       "Type: restore doctor --fix")
    dnn = "with oneDNN" if started.onednn else "without oneDNN"
    return Finding("engine", OK, f"Jittor {started.jittor_version} computes on {started.device}, "
                   f"{started.threads} threads, {dnn}")


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _line(finding: Finding) -> str:
    mark = {OK: "ok", NOTE: " -", BAD: "!!"}[finding.state]
    advice = f"\n   {'':15}{finding.advice}" if finding.advice else ""
    return f"{mark} {finding.check:15}{finding.value}{advice}"
