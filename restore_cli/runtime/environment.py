"""Decides, from facts alone, how Jittor is to be started on a machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from restore_cli.errors import DeviceError
from restore_cli.runtime import paths
from restore_cli.runtime.facts import Facts, candidates

JITTOR = "1.3.11.0"
# Room that the core and the kernels of all networks take, with some to spare.
NEEDED_BYTES = 200 << 20


@dataclass(frozen=True)
class Link:
    """`path` shall show `target`: by a symbolic link, or by a copy where links are not allowed."""

    path: str
    target: str


@dataclass(frozen=True)
class Plan:
    """How Jittor is started.

    Attributes:
        device: "cpu" or "cuda:N".
        base: the folder Jittor takes for the home folder.
        folders: folders to create, private to the user.
        links: files and folders to make visible below `base`.
        environment: variables set while Jittor is imported, put back afterwards; None unsets.
        lasting: variables that stay set, for compilers started later.
        jittor_path: the Jittor package by a path without spaces, if its own has one.
        wrapper: script that calls the compiler in place of Jittor's assembler tuner.
        warnings: what the user should know.
    """

    device: str
    threads: int
    cores: int
    base: str
    compiler: str
    onednn: bool
    cache_name: str
    folders: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    environment: dict[str, str | None] = field(default_factory=dict)
    lasting: dict[str, str] = field(default_factory=dict)
    jittor_path: str | None = None
    wrapper: str | None = None
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""

    def to_json(self) -> str:
        """The plan as JSON, for the process that compiles ahead."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The inverse of `to_json`."""
        values = json.loads(text)
        values["links"] = tuple(Link(**link) for link in values["links"])
        for name in ("folders", "warnings"):
            values[name] = tuple(values[name])
        return cls(**values)


def plan(facts: Facts, device: str = "auto", threads: int | None = None) -> Plan:
    """How to start Jittor on the machine that `facts` describe. Touches nothing.

    Raises:
        DeviceError: a required part is missing; the hint says what to type.
    """
    _check_packages(facts)
    if facts.compiler is None:
        raise DeviceError(facts.compiler_problem or "no C++ compiler was found",
                          hint="install g++")
    base = _base(facts)
    threads = threads or facts.cores
    cpu_key = paths.short_hash(facts.cpu, facts.machine)
    cache_name = f"restore-cpu-{cpu_key}"
    links = _onednn_links(facts, base)
    wrapper = paths.join(facts.system, base, "bin", "compile") if facts.system == "Linux" else None
    environment: dict[str, str | None] = {
        "HOME": base, "JITTOR_HOME": None, "cc_path": facts.compiler.path, "cc_flags": None,
        "nvcc_path": "", "gdb_path": "", "use_mpi": "0", "FIX_TORCH_ERROR": "0",
        "log_silent": "1", "log_v": "0", "cache_name": cache_name, "debug": None,
        "use_mkl": "1" if links else "0", "OMP_NUM_THREADS": str(threads),
        "python_config_path": facts.python.config_tool,
    }
    made = Plan(device="cpu", threads=threads, cores=facts.cores, base=base,
                compiler=facts.compiler.path, onednn=bool(links), cache_name=cache_name,
                folders=(base,), links=links, environment=environment, wrapper=wrapper)
    mark = paths.short_hash(str(facts.compiler), str(facts.python), str(facts.jittor),
                            str(facts.jittor_version), cache_name,
                            json.dumps({**environment, "OMP_NUM_THREADS": ""}, sort_keys=True))
    return Plan(**{**made.__dict__, "fingerprint": mark})


def _check_packages(facts: Facts) -> None:
    if facts.jittor is None:
        raise DeviceError("the package jittor is not installed",
                          hint=f"Type: pip install jittor=={JITTOR}")
    if int((facts.numpy_version or "0").split(".")[0]) >= 2:
        raise DeviceError(f"numpy {facts.numpy_version} is installed, with which Jittor computes "
                          "wrong numbers", hint="Type: pip install 'numpy<2'")


def _base(facts: Facts) -> str:
    for path in candidates(facts.system, facts.environ, facts.cache, facts.temp, facts.user):
        folder = facts.folders.get(path)
        if folder and folder.writable and folder.private and paths.fits(path, facts.system):
            return path
    raise DeviceError("no folder for compiled kernels can be written",
                      hint="Set RESTORE_CACHE to a folder that can")


def _onednn_links(facts: Facts, base: str) -> tuple[Link, ...]:
    found = facts.onednn
    if found is None or (facts.system, facts.machine) != ("Linux", "x86_64"):
        return ()
    root = paths.join(facts.system, base, ".cache", "jittor", "mkl", "dnnl_lnx_2.2.0_cpu_gomp")
    libraries = [Link(f"{root}/lib/{name}", found.library)
                 for name in ("libdnnl.so.2", "libmkldnn.so")]
    return (*libraries, *(Link(f"{root}/include/{name}", path) for name, path in found.headers))
