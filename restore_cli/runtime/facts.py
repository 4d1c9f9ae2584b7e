"""What this machine is and has: everything the plan depends on, gathered in one place."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from restore_cli.runtime import compiler, cuda, onednn, paths
from restore_cli.runtime.compiler import Compiler
from restore_cli.runtime.cuda import Cuda
from restore_cli.runtime.onednn import OneDnn


@dataclass(frozen=True)
class Folder:
    """A folder as the disk shows it.

    `writable` tells whether a file can be made in it or, while it is absent, whether it can be
    created; `private` whether nobody else could have put something there; `free` is in bytes.
    """

    exists: bool
    writable: bool
    private: bool = True
    free: int | None = None


@dataclass(frozen=True)
class Python:
    """The interpreter: its version, its headers' folder, and what its config tool would say.

    `headers` is None when Python.h is not there; `suffix` is that of extension modules.
    """

    executable: str
    version: tuple[int, int, int]
    headers: str | None
    suffix: str


@dataclass(frozen=True)
class Facts:
    """Everything `environment.plan` looks at.

    `folders` maps a path to what the disk says of it; a path that was not looked at counts as
    absent and unwritable. `cpu` changes with the processor's instruction set, `memory` is in
    bytes and free, `openmp` is only looked for on macOS.
    """

    system: str
    machine: str
    environ: Mapping[str, str]
    python: Python
    cache: str
    temp: str
    user: str
    cpu: str
    cores: int
    memory: int
    jittor: str | None
    jittor_version: str | None
    numpy_version: str | None
    compiler: Compiler | None
    compiler_problem: str | None = None
    onednn: OneDnn | None = None
    cuda: Cuda = field(default_factory=Cuda)
    folders: Mapping[str, Folder] = field(default_factory=dict)
    distribution: Mapping[str, str] = field(default_factory=dict)
    openmp: bool = True


def candidates(system: str, machine: str, environ: Mapping[str, str], cache: str, temp: str,
               user: str) -> list[str]:
    """Folders that could hold compiled kernels, best first.

    The first is in the user's cache folder, one for each kind of machine, for homes on a network.
    The others are short, ASCII and private to the user; they serve when the first cannot be
    written or bears a name compilers stumble over.
    """
    usual = machine in ("x86_64", "AMD64")
    found = [paths.join(system, cache, "kernels" if usual else f"kernels-{machine}")]
    if system == "Windows":
        drive = environ.get("SystemDrive", "C:")
        shared = environ.get("ProgramData") or drive + "\\ProgramData"
        public = environ.get("PUBLIC") or drive + "\\Users\\Public"
        name = f"restore-{paths.short_hash(user, found[0])}"
        found += [f"{folder}\\{name}" for folder in (shared, public, drive)]
    else:
        folders = ["/var/tmp", "/tmp", temp]
        name = f"restore-{user}/{paths.short_hash(found[0])}"
        found += [f"{folder.rstrip('/')}/{name}" for folder in folders]
    return list(dict.fromkeys(found))


def look(path: str) -> Folder:
    """What the disk says of folder `path`; creates nothing that stays."""
    existing = path
    while not os.path.lexists(existing):
        parent = os.path.dirname(existing)
        if parent == existing:
            return Folder(exists=False, writable=False)
        existing = parent
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        free = None
    return Folder(exists=existing == path and os.path.isdir(path),
                  writable=os.path.isdir(existing) and _can_write(existing),
                  private=_is_private(path), free=free)


def collect(environ: Mapping[str, str] = os.environ, *, device: str = "auto") -> Facts:
    """Looks at this machine, as far as it matters for `device` ("cpu": CUDA is left alone)."""
    system = platform.system()
    cache, temp, user = str(paths.cache_dir(environ)), _temp(environ), _user()
    found, problem = compiler.find(system, environ)
    jittor, jittor_version = _jittor()
    names = candidates(system, platform.machine(), environ, cache, temp, user) + [temp]
    return Facts(
        system=system, machine=platform.machine(), environ=dict(environ), python=_python(),
        cache=cache, temp=temp, user=user, cpu=_cpu(system), cores=cores(), memory=_memory(),
        jittor=jittor, jittor_version=jittor_version,
        numpy_version=version("numpy"), compiler=found, compiler_problem=problem,
        onednn=onednn.find(system, platform.machine(), environ),
        cuda=Cuda() if device == "cpu" else cuda.find(system, environ, ask_driver=device != "auto"),
        folders={name: look(name) for name in names}, distribution=_distribution(),
        openmp=system != "Darwin" or _has_libomp(environ),
    )


def cores() -> int:
    """Processors this process may use: affinity and, on Linux, the control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            found = min(found, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return found


def version(package: str) -> str | None:
    """The version of an installed package; None when it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _can_write(folder: str) -> bool:
    # os.access does not know of read-only mounts on every system, nor of quotas: try it.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_private(path: str) -> bool:
    """Whether no other user owns or may write `path` or the restore-USER folder above it."""
    if not hasattr(os, "getuid"):
        return True
    for folder in (path, os.path.dirname(path)):
        if folder != path and not os.path.basename(folder).startswith("restore-"):
            continue
        try:
            found = os.lstat(folder)
        except OSError:
            continue
        open_to_all = not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o002
        if found.st_uid not in (os.getuid(), 0) or open_to_all:
            return False
    return True


def _python() -> Python:
    include = sysconfig.get_path("include") or ""
    headers = include if os.path.isfile(os.path.join(include, "Python.h")) else None
    return Python(executable=sys.executable, version=tuple(sys.version_info[:3]), headers=headers,
                  suffix=sysconfig.get_config_var("EXT_SUFFIX") or ".so")


def _jittor() -> tuple[str | None, str | None]:
    from importlib.util import find_spec

    spec = find_spec("jittor")  # of a top-level name: does not import it
    folder = os.path.dirname(spec.origin) if spec and spec.origin else None
    return folder, version("jittor")


def _temp(environ: Mapping[str, str]) -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none can be written; the plan makes another
        return environ.get("TMPDIR") or environ.get("TEMP") or "/tmp"


def _has_libomp(environ: Mapping[str, str]) -> bool:
    places = ["/opt/homebrew/opt/libomp/lib", "/usr/local/opt/libomp/lib", "/usr/local/lib",
              os.path.join(environ.get("CONDA_PREFIX", ""), "lib")]
    return any(os.path.isfile(os.path.join(place, "libomp.dylib")) for place in places)


def _user() -> str:
    if hasattr(os, "getuid"):
        return str(os.getuid())
    import getpass

    return getpass.getuser()


def _cpu(system: str) -> str:
    """Text that changes whenever the processor understands other instructions."""
    if system == "Linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith(("flags", "Features")):
                        return " ".join(sorted(line.partition(":")[2].split()))
        except OSError:
            pass
    return f"{platform.machine()} {platform.processor()}"


def _memory() -> int:
    import psutil

    return psutil.virtual_memory().available


def _distribution() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
