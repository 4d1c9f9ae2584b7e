"""Looks for CUDA, and makes toolkits newer than Jittor look like those it knows.

Jittor 1.3.11 compiles and loads everything of CUDA while being imported, and aborts the process
if the driver does not answer. So the driver is asked first, in a process of its own. Jittor
knows CUDA up to 12.2 with cuDNN 8. For newer ones `assemble` builds a private toolkit folder:
links to the real headers and libraries (of the toolkit and of NVIDIA's Python wheels), a compiler
script that asks for C++17, a cudnn.h that answers "not supported" for the RNN functions that
cuDNN 9 dropped, and the constants of npp.h. With it all kernel kinds but a masked `where` and the
fused softmax compiled for sm_90 under nvcc 13.0; nothing of it has been run on a GPU.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass

# What Jittor loads while being imported.
LIBRARIES = ("cudart", "cublas", "cublasLt", "cudnn", "curand", "cufft", "cusparse")
# Names of cuDNN 8 that Jittor loads -> the libraries of cuDNN 9 that hold their contents.
_CUDNN_8 = {"libcudnn_ops_infer.so": "libcudnn_ops.so.9", "libcudnn_ops_train.so":
            "libcudnn_ops.so.9", "libcudnn_cnn_infer.so": "libcudnn_cnn.so.9",
            "libcudnn_cnn_train.so": "libcudnn_cnn.so.9"}
_GONE = ("GetRNNLinLayerBiasParams", "GetRNNLinLayerMatrixParams", "GetRNNParamsSize",
         "GetRNNTrainingReserveSize", "GetRNNWorkspaceSize", "RNNBackwardData",
         "RNNBackwardWeights", "RNNForwardInference", "RNNForwardTraining", "SetRNNDescriptor_v6")
_NPP = {"MIN_32U": "0", "MAX_32U": "4294967295U", "MIN_32S": "(-2147483647 - 1)",
        "MAX_32S": "2147483647", "MIN_64U": "0", "MAX_64U": "18446744073709551615ULL",
        "MIN_64S": "(-9223372036854775807LL - 1)", "MAX_64S": "9223372036854775807LL"}

_PROBE = """
import ctypes, sys
cuda = ctypes.CDLL(sys.argv[1])
status = cuda.cuInit(0)
if status:
    sys.exit(f"cuInit answers {status}")
count = ctypes.c_int()
status = cuda.cuDeviceGetCount(ctypes.byref(count))
if status:
    sys.exit(f"cuDeviceGetCount answers {status}")
print(count.value)
"""


@dataclass(frozen=True)
class Cuda:
    """What is there of CUDA.

    Attributes:
        nvcc: the compiler, links resolved; None: there is none.
        version: of the compiler.
        devices: GPUs that the driver reports.
        problem: why they cannot be used.
        includes, libraries: folders of headers and of libraries, the toolkit's first.
        missing: libraries Jittor needs that are in none of them.
        cudnn: major version of cuDNN, 0 if unknown.
        hardware: whether an NVIDIA GPU may be in this machine at all.
    """

    nvcc: str | None = None
    version: tuple[int, int] | None = None
    devices: int = 0
    problem: str | None = None
    includes: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    cudnn: int = 0
    hardware: bool = True

    @property
    def usable(self) -> bool:
        """Whether a GPU, a compiler and all libraries are there."""
        return bool(self.nvcc and self.devices and not self.problem and not self.missing)

    @property
    def needs_shims(self) -> bool:
        """Whether Jittor as published cannot use this toolkit as it lies."""
        return (self.version or (0, 0)) > (12, 2) or self.cudnn > 8 or len(self.libraries) > 1


def find(system: str, environ: Mapping[str, str], *, ask_driver: bool = False) -> Cuda:
    """Looks for nvcc, the driver (in a process of its own) and the libraries.

    Without nvcc, or without a GPU, that is all there is to know, unless `ask_driver`.
    """
    nvcc = _nvcc(system, environ)
    if nvcc is None and not ask_driver:
        return Cuda()
    devices, problem = probe(system) if ask_driver or may_have_gpu(system) else (0, None)
    if not devices and not may_have_gpu(system):
        return Cuda(nvcc=nvcc, problem="there is no NVIDIA GPU in this machine", hardware=False)
    if nvcc is None:
        return Cuda(devices=devices, problem=problem)
    version = _version(nvcc)
    if version is None:
        return Cuda(nvcc=nvcc, devices=devices, problem=problem or f"{nvcc} does not run")
    root = os.path.dirname(os.path.dirname(nvcc))
    wheels = os.path.join(sysconfig.get_path("platlib"), "nvidia")
    places = [root] + [os.path.join(root, "targets", f"{machine}-linux")
                       for machine in ("x86_64", "sbsa", "aarch64")]
    if os.path.isdir(wheels):
        places += [os.path.join(wheels, name) for name in sorted(os.listdir(wheels))]
    includes = _folders(places, "include")
    libraries = _folders(places, "lib64", "lib", os.path.join("lib", "x64"), "bin") \
        if system == "Windows" else _folders(places, "lib64", "lib")
    if system == "Linux":
        libraries += _folders(["/usr/lib"], "x86_64-linux-gnu", "aarch64-linux-gnu")
        includes += _folders(["/usr"], "include")
    missing = tuple(name for name in LIBRARIES
                    if system == "Linux" and _library(libraries, f"lib{name}.so") is None)
    return Cuda(nvcc=nvcc, version=version, devices=devices, problem=problem, includes=includes,
                libraries=libraries, missing=missing, cudnn=_cudnn_major(includes))


def may_have_gpu(system: str, root: str = "/") -> bool:
    """Whether there may be an NVIDIA GPU, with or without a driver that works.

    Linux tells: a driver makes files in /dev, under Windows and on Jetson boards too, and without
    one the GPU is on the PCI bus, also inside containers. In doubt there may.
    """
    if system != "Linux":
        return True
    if any(glob.glob(os.path.join(root, "dev", name))
           for name in ("nvidia*", "dxg", "nvhost*", "nvmap")):
        return True
    vendors = []
    for path in glob.glob(os.path.join(root, "sys", "bus", "pci", "devices", "*", "vendor")):
        try:
            with open(path, encoding="ascii") as file:
                vendors.append(file.read().strip())
        except OSError:
            return True
    return not vendors or "0x10de" in vendors


def probe(system: str, timeout: float = 30) -> tuple[int, str | None]:
    """How many GPUs the driver reports, and what is wrong with it if it does not answer.

    The question is put in another process: a broken driver may abort or hang the one that asks.
    """
    library = {"Linux": "libcuda.so.1", "Windows": "nvcuda"}.get(system)
    if library is None:
        return 0, f"there is no CUDA for {system}"
    try:
        answer = subprocess.run([sys.executable, "-I", "-c", _PROBE, library], timeout=timeout,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False)
    except subprocess.TimeoutExpired:
        return 0, "the NVIDIA driver does not answer"
    except OSError as error:
        return 0, f"the NVIDIA driver could not be asked ({error})"
    if answer.returncode:
        lines = answer.stderr.strip().splitlines()
        if lines and "OSError" in lines[-1]:
            return 0, "no NVIDIA driver is installed"
        return 0, "the NVIDIA driver is broken ({})".format(
            lines[-1] if lines else f"status {answer.returncode}")
    devices = int(answer.stdout.split()[-1])
    return devices, None if devices else "the NVIDIA driver reports no GPU"


def assemble(found: Cuda, folder: str) -> str:
    """Builds the private toolkit in `folder` and returns the path of its nvcc.

    Args:
        found: CUDA with `nvcc`, `includes` and `libraries`.
        folder: is created; links in it that point elsewhere are replaced.
    """
    for name in ("bin", "include", "lib64"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    include, lib = os.path.join(folder, "include"), os.path.join(folder, "lib64")
    for source in found.includes:
        # The system's own include folder is searched by the compiler anyhow.
        for name in os.listdir(source) if source != "/usr/include" else ():
            if name not in ("cudnn.h", "npp.h"):
                _link(os.path.join(source, name), os.path.join(include, name))
    cudnn = _library(found.includes, "cudnn.h")
    if cudnn:
        _write(os.path.join(include, "cudnn.h"), _cudnn_header(cudnn, found.cudnn))
    _write(os.path.join(include, "npp.h"), _npp_header())
    for name in (f"lib{library}.so" for library in LIBRARIES):
        target = _library(found.libraries, name)
        if target:
            _link(target, os.path.join(lib, name))
    for name, newer in _CUDNN_8.items():
        target = _library(found.libraries, newer) if found.cudnn > 8 \
            else _library(found.libraries, name)
        if target:
            _link(target, os.path.join(lib, name))
    nvcc = os.path.join(folder, "bin", "nvcc")
    _write(nvcc, _NVCC.format(nvcc=found.nvcc), mode=0o755)
    return nvcc


# A script, not a link: nvcc finds its own parts from the path it is called by. CUB of CUDA 12.4
# and later wants C++17; Jittor would turn that flag into one of the Microsoft compiler.
_NVCC = """#!/bin/sh
for argument; do
  shift
  case "$argument" in -std=c++14) argument=-std=c++17;; esac
  set -- "$@" "$argument"
done
exec "{nvcc}" "$@"
"""


def _cudnn_header(real: str, major: int) -> str:
    lines = ["#pragma once", f'#include "{real}"']
    if major > 8:
        lines.append("#ifdef __cplusplus")
        lines += [f"template<class... A> inline cudnnStatus_t cudnn{name}(A&&...) "
                  "{ return CUDNN_STATUS_NOT_SUPPORTED; }" for name in _GONE]
        lines.append("#endif")
    return "\n".join(lines) + "\n"


def _npp_header() -> str:
    return "#pragma once\n" + "".join(f"#define NPP_{k} ( {v} )\n" for k, v in _NPP.items())


def _nvcc(system: str, environ: Mapping[str, str]) -> str | None:
    name = "nvcc.exe" if system == "Windows" else "nvcc"
    homes = [environ[key] for key in ("CUDA_HOME", "CUDA_PATH") if environ.get(key)]
    places = [os.path.join(home, "bin") for home in homes] + [environ.get("PATH", "")]
    places += ["/usr/local/cuda/bin", "/opt/cuda/bin"] if system == "Linux" else []
    found = shutil.which(name, path=os.pathsep.join(places))
    return os.path.realpath(found) if found else None


def _version(nvcc: str) -> tuple[int, int] | None:
    try:
        answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60,
                                stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"release (\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match and not answer.returncode else None


def _folders(places: list[str], *names: str) -> tuple[str, ...]:
    found = [os.path.join(place, name) for place in places for name in names]
    return tuple(dict.fromkeys(path for path in found if os.path.isdir(path)))


def _library(folders: tuple[str, ...], name: str) -> str | None:
    """The file called `name`, or `name` with a version behind it, in the first folder with one."""
    for folder in folders:
        exact = os.path.join(folder, name)
        if os.path.isfile(exact):
            return exact
        if name.endswith(".so"):
            versions = [entry for entry in os.listdir(folder) if entry.startswith(name + ".")]
            if versions:
                return os.path.join(folder, min(versions, key=len))
    return None


def _cudnn_major(includes: tuple[str, ...]) -> int:
    path = _library(includes, "cudnn_version.h")
    if path is None:
        return 0
    with open(path, encoding="utf-8", errors="replace") as file:
        match = re.search(r"#define\s+CUDNN_MAJOR\s+(\d+)", file.read())
    return int(match[1]) if match else 0


def _link(target: str, path: str) -> None:
    if os.path.islink(path) and os.readlink(path) == target:
        return
    if os.path.lexists(path):
        # The first folder wins; a link of an earlier toolkit that no longer leads anywhere goes.
        if os.path.exists(path):
            return
        os.unlink(path)
    os.symlink(target, path)


def _write(path: str, text: str, mode: int = 0o644) -> None:
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
