"""Finding a compiler, and oneDNN, among make-believe ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_cli.runtime import compiler, onednn


def program(folder: Path, name: str, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_compiler_is_found_and_run(tmp_path):
    path = program(tmp_path, "g++", "echo 'g++ (Test) 12.2.0'")
    found, problem = compiler.find("Linux", {"PATH": str(tmp_path)})
    assert (found.kind, found.path, found.version) == ("g++", path, "g++ (Test) 12.2.0")
    assert problem is None
    program(tmp_path, "g++", "echo 'g++ (Test) 13.1.0, upgraded'")
    assert compiler.find("Linux", {"PATH": str(tmp_path)})[0].stamp != found.stamp


def test_none(tmp_path):
    assert compiler.find("Linux", {"PATH": str(tmp_path)}) == (None, None)


@pytest.mark.parametrize("text", ["echo broken >&2; exit 1", "kill -9 $$"])
def test_broken(tmp_path, text):
    program(tmp_path, "g++", text)
    found, problem = compiler.find("Linux", {"PATH": f"{tmp_path}:/bin"})
    assert found is None and "does not run" in problem


@pytest.mark.parametrize("name, used", [("g++-13", "g++-13"), ("clang++", "g++"), ("c++", "g++"),
                                        ("ccache g++", "g++"), ("gone-g++", "g++")])
def test_cxx(tmp_path, name, used):
    for each in ("g++", "g++-13", "clang++", "c++"):
        program(tmp_path, each, "echo 1.0")
    found, _ = compiler.find("Linux", {"PATH": str(tmp_path), "CXX": name})
    assert Path(found.path).name == used


def test_windows_needs_the_developer_prompt(tmp_path):
    program(tmp_path, "cl.exe", "echo 'Version 19.29'; exit 2")
    found, problem = compiler.find("Windows", {"PATH": str(tmp_path)})
    assert found is None and "headers" in problem
    found, _ = compiler.find("Windows", {"PATH": str(tmp_path), "INCLUDE": "x", "LIB": "y"})
    assert found.kind == "cl"


def test_own_onednn(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "include" / "oneapi" / "dnnl").mkdir(parents=True)
    named = {"RESTORE_ONEDNN": str(tmp_path)}
    assert onednn.find("Darwin", "arm64", named) is None
    (tmp_path / "lib" / "libdnnl.2.dylib").touch()
    (tmp_path / "include" / "dnnl.hpp").touch()
    (tmp_path / "include" / "oneapi" / "dnnl" / "dnnl.hpp").touch()
    found = onednn.find("Darwin", "arm64", named)
    assert [name for name, _ in found.headers] == ["dnnl.hpp", "oneapi/dnnl/dnnl.hpp"]


def test_installed_onednn():
    import platform

    found = onednn.find(platform.system(), platform.machine(), {})
    assert found is not None and found.version == onednn.PINNED
    assert Path(found.library).is_file()
