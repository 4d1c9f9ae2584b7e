"""Looking for CUDA and dressing up new toolkits, with make-believe ones; no GPU is needed."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from restore_cli.runtime import cuda
from restore_cli.runtime.cuda import Cuda


@pytest.fixture
def toolkit(tmp_path):
    """A folder that looks like CUDA 13 with cuDNN 9; its nvcc prints its arguments."""
    root = tmp_path / "cuda-13.0"
    for name in ("bin", "include", "lib64"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "nvcc").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Cuda compilation tools, release 13.0, V13.0.88" '
        '&& exit\nfor a; do echo "$a"; done\n')
    (root / "bin" / "nvcc").chmod(0o755)
    (root / "include" / "cuda_runtime.h").write_text("// runtime\n")
    (root / "include" / "cudnn.h").write_text(
        "typedef enum { CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_NOT_SUPPORTED = 3000 } "
        "cudnnStatus_t;\n")
    (root / "include" / "cudnn_version.h").write_text("#define CUDNN_MAJOR 9\n")
    for name in cuda.LIBRARIES:
        (root / "lib64" / f"lib{name}.so.13").touch()
    for name in ("ops", "cnn"):
        (root / "lib64" / f"libcudnn_{name}.so.9").touch()
    return root


@pytest.fixture(autouse=True)
def gpu(request, monkeypatch):
    if "hardware" not in request.node.name:
        monkeypatch.setattr(cuda, "may_have_gpu", lambda system: True)


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(cuda, "probe", lambda system: (0, "no NVIDIA driver is installed"))


def test_toolkit_is_found(toolkit, monkeypatch):
    monkeypatch.setattr(cuda, "probe", lambda system: (1, None))
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")})
    assert found.nvcc == str(toolkit / "bin" / "nvcc") and found.version == (13, 0)
    assert found.cudnn == 9 and found.missing == () and found.usable and found.needs_shims


def test_cuda_home_comes_before_path(toolkit, no_driver):
    found = cuda.find("Linux", {"CUDA_HOME": str(toolkit), "PATH": "/usr/bin"})
    assert found.nvcc == str(toolkit / "bin" / "nvcc")
    assert not found.usable and "driver" in found.problem


def test_missing_library_is_named(toolkit, no_driver):
    (toolkit / "lib64" / "libcurand.so.13").unlink()
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")})
    if not any(name.startswith("libcurand.so") for folder in found.libraries
               for name in os.listdir(folder)):
        assert found.missing == ("curand",)


def test_nvcc_that_does_not_run(toolkit, no_driver):
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    assert cuda.find("Linux", {"PATH": str(toolkit / "bin")}).version is None


def test_driver_is_asked_only_when_it_matters(monkeypatch):
    asked = []
    monkeypatch.setattr(cuda, "probe", lambda system: asked.append(system) or (0, "none"))
    monkeypatch.setattr(cuda, "_nvcc", lambda system, environ: None)
    assert cuda.find("Linux", {}) == Cuda() and not asked
    assert cuda.find("Linux", {}, ask_driver=True).problem == "none" and asked


@pytest.mark.parametrize("files, seen", [
    ({"dev/null": "", "sys/bus/pci/devices/a/vendor": "0x8086\n",
      "sys/bus/pci/devices/b/vendor": "0x1af4\n"}, False),
    ({"sys/bus/pci/devices/a/vendor": "0x8086\n",
      "sys/bus/pci/devices/b/vendor": "0x10de\n"}, True),
    ({"sys/bus/pci/devices/a/vendor": "0x8086\n", "dev/nvidiactl": ""}, True),
    ({"sys/bus/pci/devices/a/vendor": "0x1414\n", "dev/dxg": ""}, True),
    ({"sys/bus/pci/devices/a/vendor": "0x8086\n", "dev/nvhost-gpu": ""}, True),
    ({"sys/bus/pci/devices/a/vendor": "0x8086\n", "dev/nvme0": ""}, False),
    ({}, True),
])
def test_hardware(tmp_path, files, seen):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cuda.may_have_gpu("Linux", str(tmp_path)) is seen
    assert cuda.may_have_gpu("Windows", str(tmp_path))


def test_toolkit_without_hardware(toolkit, monkeypatch):
    asked = []
    monkeypatch.setattr(cuda, "probe", lambda system: asked.append(system) or (1, None))
    monkeypatch.setattr(cuda, "may_have_gpu", lambda system: False)
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")})
    assert found.nvcc and not found.usable and not found.hardware and not asked
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")}, ask_driver=True)
    assert found.usable and asked
    monkeypatch.setattr(cuda, "probe", lambda system: (0, "no NVIDIA driver is installed"))
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")}, ask_driver=True)
    assert not found.hardware and "no NVIDIA GPU" in found.problem


_DRIVER = """
#include <stdlib.h>
#include <unistd.h>
int cuInit(unsigned flags) {{ {init} }}
int cuDeviceGetCount(int* count) {{ *count = {count}; return 0; }}
"""


@pytest.mark.parametrize("init, count, devices, said", [
    ("return 0;", 2, 2, None),
    ("return 0;", 0, 0, "no GPU"),
    ("return 999;", 0, 0, "cuInit answers 999"),
    ("abort();", 0, 0, "broken"),
    ("sleep(60); return 0;", 0, 0, "does not answer"),
])
def test_probe(tmp_path, monkeypatch, init, count, devices, said):
    source = tmp_path / "cuda.c"
    source.write_text(_DRIVER.format(init=init, count=count))
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", tmp_path / "libcuda.so.1", source],
                   check=True, timeout=60)
    monkeypatch.setattr(cuda, "_PROBE",
                        cuda._PROBE.replace("sys.argv[1]", repr(str(tmp_path / "libcuda.so.1"))))
    found, problem = cuda.probe("Linux", timeout=2 if "sleep" in init else 30)
    assert found == devices
    assert problem is None if said is None else said in problem


def test_probe_without_a_driver(monkeypatch):
    monkeypatch.setattr(cuda, "_PROBE", cuda._PROBE.replace("sys.argv[1]", "'libnone.so.1'"))
    assert cuda.probe("Linux") == (0, "no NVIDIA driver is installed")
    assert "Darwin" in cuda.probe("Darwin")[1]


def test_private_toolkit(toolkit, tmp_path, no_driver):
    found = cuda.find("Linux", {"PATH": str(toolkit / "bin")})
    folder = tmp_path / "private"
    for _ in range(2):
        nvcc = cuda.assemble(found, str(folder))
    assert os.path.realpath(folder / "include" / "cuda_runtime.h") \
        == str(toolkit / "include" / "cuda_runtime.h")
    for name in ("libcudart.so", "libcudnn.so", "libcublasLt.so"):
        assert os.path.isfile(folder / "lib64" / name)
    assert os.readlink(folder / "lib64" / "libcudnn_ops_infer.so").endswith("libcudnn_ops.so.9")
    assert os.readlink(folder / "lib64" / "libcudnn_cnn_train.so").endswith("libcudnn_cnn.so.9")
    answer = subprocess.run([nvcc, "-std=c++14", "-I/a b", "x.cu"], capture_output=True,
                            text=True, check=True, timeout=10).stdout.splitlines()
    assert answer == ["-std=c++17", "-I/a b", "x.cu"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_headers_compile(toolkit, tmp_path, no_driver):
    cuda.assemble(cuda.find("Linux", {"PATH": str(toolkit / "bin")}), str(tmp_path / "private"))
    source = tmp_path / "use.cc"
    source.write_text("#include <cudnn.h>\n#include <npp.h>\n"
                      "cudnnStatus_t s = cudnnRNNForwardTraining(1, 2.0, nullptr);\n"
                      "long long low = NPP_MIN_64S; int least = NPP_MIN_32S;\n"
                      "static_assert(NPP_MAX_32U == 4294967295U, \"\");\n")
    subprocess.run(["g++", "-std=c++14", "-fsyntax-only", "-I", tmp_path / "private" / "include",
                    source], check=True, timeout=60)
