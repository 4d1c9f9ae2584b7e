"""Decides, from facts alone, how Jittor is to be started on a machine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, field

from restore_cli import units
from restore_cli.errors import DeviceError, UsageError
from restore_cli.runtime import compiler, kernel_script, onednn, paths
from restore_cli.runtime.facts import Facts, candidates

JITTOR = "1.3.11.0"
# Room for the core (21 MB), its headers (70 MB) and the kernels of all networks.
NEEDED_BYTES = 300_000_000


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
        threads: CPU threads of one operator.
        cores: compilers that may run at once.
        base: the folder Jittor takes for the home folder.
        compiler: path of the C++ compiler.
        onednn: whether oneDNN is used.
        cache_name: last part of Jittor's cache path.
        folders: folders to create, private to the user.
        links: what to make visible below `base`, in this order.
        archive: a .tgz and the folder its include and lib are to be unpacked in.
        scripts: small programs to write: path -> text.
        environment: variables set while Jittor is imported, put back afterwards; None unsets.
        lasting: variables that stay set, for compilers started later.
        jittor_path: the Jittor package by a path without spaces, if its own has one.
        wrapper: the script that calls the compiler in place of Jittor's assembler tuner.
        toolkit: folder of the private CUDA toolkit to assemble.
        warnings: what the user should know.
        fingerprint: changes with whatever may make Jittor compile its core again.
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
    archive: tuple[str, str] | None = None
    scripts: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    lasting: dict[str, str] = field(default_factory=dict)
    jittor_path: str | None = None
    wrapper: str | None = None
    toolkit: str | None = None
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
        values["archive"] = tuple(values["archive"]) if values["archive"] else None
        for name in ("folders", "warnings"):
            values[name] = tuple(values[name])
        return cls(**values)


def plan(facts: Facts, device: str = "auto", threads: int | None = None) -> Plan:
    """How to start Jittor on the machine that `facts` describe. Touches nothing.

    Args:
        facts: the machine.
        device: "auto" (then ``RESTORE_DEVICE`` of `facts.environ` decides, if set), "cpu",
            "cuda" or "cuda:N". With "auto" a GPU is used if all it takes is there.
        threads: CPU threads; None means ``OMP_NUM_THREADS`` or every processor. Never more
            than there are processors.

    Raises:
        DeviceError: a required part is missing; the hint says what to type.
        UsageError: there is no such device name.
    """
    _check_packages(facts)
    _check_compiler(facts)
    device, warnings = _choose_device(facts, device)
    threads, note = _choose_threads(facts, threads)
    base, folders, links, more = _choose_base(facts)
    dnn_links, archive = _wire_onednn(facts, base)
    scripts, wrapper = _scripts(facts, base)
    jittor_path, package_links = _reach_jittor(facts, base)
    gpu, toolkit, gpu_lasting, name = _wire_cuda(facts, device, base)
    onednn_used = bool(dnn_links or archive)
    if not onednn_used:
        more = (*more, "oneDNN is not there: convolutions take some fifty times longer. "
                + onednn.how_to_install(facts.system, facts.machine))
    windows = facts.system == "Windows"
    environment: dict[str, str | None] = {
        "HOME": base, "JITTOR_HOME": None, "cc_flags": None, "kernel_flags": None, "debug": None,
        # By its full path; on Windows by its name, for Jittor calls it unquoted there.
        "cc_path": "cl.exe" if windows else facts.compiler.path,
        "nvcc_path": "", "gdb_path": "", "use_mpi": "0", "FIX_TORCH_ERROR": "0",
        "log_silent": "1", "log_v": "0", "cache_name": name, "mkl_include_path": None,
        "mkl_lib_path": None, "use_mkl": "1" if onednn_used else "0",
        "OMP_NUM_THREADS": str(threads), "DISABLE_MULTIPROCESSING": "1",
        # Threads that wait by spinning stall each other as soon as anything else runs: with
        # two cores shared, a network took six times longer.
        "OMP_WAIT_POLICY": facts.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "python_config_path": paths.join(facts.system, base, "bin", "python-config"),
    }
    if windows:
        environment["USERPROFILE"] = base
    environment.update(gpu)
    lasting = {**_lasting(facts, base), **gpu_lasting}
    mark = json.dumps([facts.compiler.path, facts.compiler.version, facts.compiler.stamp,
                       facts.python.version, facts.python.headers, facts.jittor,
                       facts.jittor_version, facts.onednn and facts.onednn.version, base,
                       {**environment, "OMP_NUM_THREADS": None, "OMP_WAIT_POLICY": None}],
                      sort_keys=True)
    return Plan(
        device=device, threads=threads, cores=facts.cores, base=base,
        compiler=facts.compiler.path, onednn=onednn_used, cache_name=name,
        folders=(*folders, *((lasting["TMPDIR"],) if "TMPDIR" in lasting else ()),
                 *((lasting["TEMP"],) if "TEMP" in lasting else ())),
        links=(*links, *dnn_links, *package_links), archive=archive, scripts=scripts,
        environment=environment, lasting=lasting, jittor_path=jittor_path, wrapper=wrapper,
        toolkit=toolkit, warnings=(*warnings, *note, *more), fingerprint=paths.short_hash(mark))


def _check_packages(facts: Facts) -> None:
    if facts.jittor is None:
        raise DeviceError("the package jittor is not installed",
                          hint=f"Type: pip install jittor=={JITTOR}")
    if facts.jittor_version != JITTOR:
        raise DeviceError(f"jittor {facts.jittor_version} is installed, {JITTOR} is needed",
                          hint=f"Type: pip install jittor=={JITTOR}")
    if not facts.numpy_version or int(facts.numpy_version.split(".")[0]) >= 2:
        raise DeviceError(f"numpy {facts.numpy_version} is installed, with which Jittor computes "
                          "wrong numbers", hint="Type: pip install 'numpy<2'")
    if "'" in facts.jittor or '"' in facts.jittor:
        raise DeviceError("the installation folder has a quotation mark in its name, which "
                          "compilers called by Jittor stumble over", path=facts.jittor,
                          hint="Install into a folder without")
    if facts.onednn is None and facts.system != "Darwin":
        raise DeviceError("oneDNN, which computes the convolutions, is not installed",
                          hint=onednn.how_to_install(facts.system, facts.machine))


def _check_compiler(facts: Facts) -> None:
    how = compiler.how_to_install(facts.system, facts.distribution)
    if facts.compiler is None:
        raise DeviceError(facts.compiler_problem or "no C++ compiler was found, and Jittor "
                          "compiles its kernels on first use", hint=how)
    if facts.python.headers is None:
        version = facts.python.version[:2]
        raise DeviceError("the headers of Python {}.{} (Python.h) are missing, and Jittor's "
                          "kernels need them".format(*version),
                          hint=compiler.how_to_install(facts.system, facts.distribution,
                                                       headers_for=version))
    if facts.system == "Darwin" and not facts.openmp:
        raise DeviceError("OpenMP (libomp), which Jittor links to, was not found",
                          hint="Type: brew install libomp")


def cuda_left_out(problem: str) -> str:
    """The warning that the CPU computes, because of `problem`, although CUDA is installed."""
    return (f"CUDA is installed but cannot be used ({problem}); computing on the CPU "
            "(--device cpu silences this)")


def _choose_device(facts: Facts, asked: str) -> tuple[str, tuple[str, ...]]:
    wanted = facts.environ.get("RESTORE_DEVICE") or "auto" if asked == "auto" else asked
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise UsageError(f"there is no device {wanted!r}", hint="Use auto, cpu, cuda or cuda:N")
    if wanted == "cpu":
        return "cpu", ()
    problem = _cuda_problem(facts)
    if wanted == "auto":
        if problem is None:
            return "cuda:0", ()
        if facts.cuda.nvcc is None or not facts.cuda.hardware:  # a toolkit alone is no news
            return "cpu", ()
        return "cpu", (cuda_left_out(problem),)
    if problem:
        raise DeviceError(f"{wanted} cannot be used: {problem}",
                          hint="Type: restore doctor, or use --device cpu, which needs no GPU")
    index = int(wanted.partition(":")[2] or 0)
    if index >= facts.cuda.devices:
        raise DeviceError(f"there is no cuda:{index}: the driver reports {facts.cuda.devices} "
                          "GPU(s), counted from 0")
    return f"cuda:{index}", ()


def _cuda_problem(facts: Facts) -> str | None:
    found = facts.cuda
    if facts.system != "Linux":
        return f"GPUs are not supported on {facts.system}"
    if found.problem:
        return found.problem
    if found.nvcc is None:
        return "the CUDA compiler nvcc was not found"
    if found.missing:
        return "missing beside nvcc: " + ", ".join(f"lib{name}" for name in found.missing)
    return None if found.devices else "the driver reports no GPU"


def _choose_threads(facts: Facts, asked: int | None) -> tuple[int, tuple[str, ...]]:
    if asked is not None and asked > facts.cores:
        return facts.cores, (f"{asked} threads were asked for, {facts.cores} processors are "
                             f"there: using {facts.cores}",)
    usual = facts.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    wanted = asked or (int(usual) if usual.isdecimal() else 0) or facts.cores
    return max(1, min(wanted, facts.cores)), ()


def _choose_base(facts: Facts) -> tuple[str, tuple[str, ...], tuple[Link, ...], tuple[str, ...]]:
    """The base folder, what to create for it, and warnings.

    A cache folder with a bad name (spaces, quotes, other alphabets, too long) is reached by a
    link from a short folder, so that kernels stay in it; on Windows, where links take rights,
    the short folder holds them.
    """
    choices = candidates(facts.system, facts.machine, facts.environ, facts.cache, facts.temp,
                         facts.user)
    usable = [path for path in choices if _usable(facts, path)]
    own, short = choices[0], [p for p in usable if paths.fits(p, facts.system)]
    roomy = [p for p in short if facts.folders[p].exists or _room(facts, p)] or short
    if own in usable and own not in short and facts.system != "Windows" and roomy:
        base = roomy[0]
        return base, (own, _parent(base)), (Link(base, own),), ()
    if not roomy:
        raise DeviceError("compiled kernels need a folder, and none of these can be written: "
                          + ", ".join(choices),
                          hint="Set RESTORE_CACHE to a folder that can be written, with a short "
                               "plain name")
    base = roomy[0]
    low = () if facts.folders[base].exists or _room(facts, base) else (
        f"less than {units.show(NEEDED_BYTES)} are free in {base}; compiling may fail",)
    return base, (*((_parent(base),) if base != own else ()), base), (), low


def _usable(facts: Facts, path: str) -> bool:
    folder = facts.folders.get(path)
    return folder is not None and folder.writable and folder.private


def _room(facts: Facts, path: str) -> bool:
    free = facts.folders[path].free
    return free is None or free >= NEEDED_BYTES


def _parent(path: str) -> str:
    return re.split(r"[\\/][^\\/]*$", path)[0]


def _wire_onednn(facts: Facts, base: str) -> tuple[tuple[Link, ...], tuple[str, str] | None]:
    found, layout = facts.onednn, onednn.LAYOUTS.get((facts.system, facts.machine))
    if found is None or layout is None:
        return (), None
    root = paths.join(facts.system, base, ".cache", "jittor", "mkl", layout[0])
    if found.archive:
        return (), (found.archive, root)

    def at(name: str) -> str:
        return paths.join(facts.system, root, *name.split("/"))

    links = [Link(at(name), found.library) for name in layout[1]]
    if found.import_library:
        links.append(Link(at("lib/dnnl.lib"), found.import_library))
    links += [Link(at(f"include/{name}"), path) for name, path in found.headers]
    return tuple(links), None


def _scripts(facts: Facts, base: str) -> tuple[dict[str, str], str | None]:
    if facts.system == "Windows":
        return {}, None
    # Jittor asks python3.X-config for two things only. Virtual environments over pyenv, uv or
    # conda have none, or a system one of another Python answers; this one is always right.
    headers = facts.python.headers
    include = f"-I{headers}" if paths.fits(headers) else f'-I"{headers}"'
    config = ("#!/bin/sh\ncase \"$1\" in\n"
              f"--includes) echo {shlex.quote(f'{include} {include}')};;\n"
              f"--extension-suffix) echo {shlex.quote(facts.python.suffix)};;\n"
              "*) exit 1;;\nesac\n")
    scripts = {f"{base}/bin/python-config": config}
    if facts.system != "Linux":
        return scripts, None
    wrapper = f"{base}/bin/compile"
    scripts[wrapper] = kernel_script.text(facts.python.executable, base)
    return scripts, wrapper


def _reach_jittor(facts: Facts, base: str) -> tuple[str | None, tuple[Link, ...]]:
    if facts.system == "Windows" or " " not in facts.jittor:
        return None, ()
    path = f"{base}/packages/{paths.short_hash(facts.jittor)}/jittor"
    return path, (Link(path, facts.jittor),)


def _wire_cuda(facts: Facts, device: str, base: str) \
        -> tuple[dict[str, str | None], str | None, dict[str, str], str]:
    key = paths.short_hash(facts.cpu, facts.machine)
    if device == "cpu":
        return {}, None, {}, f"restore-cpu-{key}"
    found = facts.cuda
    version = "{}.{}".format(*found.version)
    nvcc, toolkit = found.nvcc, None
    if found.needs_shims:
        mark = paths.short_hash(found.nvcc, version, *found.includes, *found.libraries)
        toolkit = f"{base}/cuda-{version}-{mark}"
        nvcc = f"{toolkit}/bin/nvcc"
    environment = {"nvcc_path": nvcc, "use_cutt": "0", "use_cutlass": "0", "use_nccl": "0"}
    if found.version >= (13, 0):
        # Two fields of cudaDeviceProp are gone that Jittor prints; any others of that type do.
        environment["cc_flags"] = "-DcomputeMode=integrated -DclockRate=multiProcessorCount"
    index = int(device.partition(":")[2])
    visible = [v for v in facts.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    lasting = {"CUDA_VISIBLE_DEVICES": visible[index] if index < len(visible) else str(index)}
    # cuDNN may round float32 to 19 bits otherwise, and numbers shall match the CPU's.
    lasting["NVIDIA_TF32_OVERRIDE"] = facts.environ.get("NVIDIA_TF32_OVERRIDE", "0")
    return environment, toolkit, lasting, f"restore-cuda{version}-{key}"


def _lasting(facts: Facts, base: str) -> dict[str, str]:
    temp = paths.join(facts.system, base, "tmp")
    if facts.system == "Windows":
        # Compilers write ANSI names and messages of the user's language otherwise.
        return {"TEMP": temp, "TMP": temp, "VSLANG": "1033"}
    folder = facts.folders.get(facts.temp)
    fine = folder is not None and folder.writable and paths.fits(facts.temp, facts.system)
    return {} if fine else {"TMPDIR": temp}
