"""Compiling the core sooner: the same objects, and no harm where a short cut does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from restore_cli.runtime import core_build

pytestmark = pytest.mark.skipif(shutil.which("g++") is None or os.name == "nt", reason="needs g++")
GCC = shutil.which("g++")
HEADER = "#pragma once\n#define SEEN 7\ninline int twice(int x) { return 2 * x; }\n"


def shell(command, *_, **__) -> str:
    return subprocess.run(command, shell=True, check=True, text=True, capture_output=True).stdout


@pytest.fixture
def jittor_utils(tmp_path, monkeypatch):
    """What the module uses of Jittor, running commands as they come."""
    monkeypatch.delenv("COMPILER_PATH", raising=False)
    monkeypatch.setattr(core_build, "_FEW", 1)
    made = SimpleNamespace(run_cmd=shell, run_cmds=None, do_compile=lambda task: shell(task[0]),
                           cc_path=GCC, cache_path=str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "jittor_utils", made)
    (tmp_path / "base").mkdir()
    (tmp_path / "cache").mkdir()
    yield made
    assert made.run_cmd is shell and made.run_cmds is None
    assert os.environ.get("COMPILER_PATH") is None
    assert list((tmp_path / "base").iterdir()) == []


def hastened(tmp_path, headers=('"common.h"', "<vector>")):
    return core_build.hastened(2, str(tmp_path / "base"), headers=headers)


@pytest.fixture
def compile_one(jittor_utils, tmp_path):
    """Compiles `source`, which may include `header`; gives the object, or None where that
    fails."""

    def run(source, header, usual=False, name="one.cc"):
        (tmp_path / "common.h").write_text(header)
        path, made = tmp_path / name, tmp_path / "one.o"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        made.unlink(missing_ok=True)
        command = f'"{GCC}" "{path}" -O2 -fPIC -I"{tmp_path}"  -c -o "{made}"'
        try:
            if usual:
                shell(command)
            else:
                with hastened(tmp_path):
                    jittor_utils.run_cmds([command], "", "")
        except subprocess.CalledProcessError:
            return None
        return made.read_bytes()

    return run


def test_an_object_is_the_same_as_without(compile_one):
    source = '#include "common.h"\n#include <vector>\nint f(int x) { return twice(x) + SEEN; }\n'
    quick = compile_one(source, HEADER)
    assert quick is not None and quick == compile_one(source, HEADER, usual=True)


def test_headers_are_there_before_a_file_begins(compile_one, monkeypatch):
    monkeypatch.setattr(core_build.multiprocessing, "Pool", Alone)
    assert compile_one("int f() { return SEEN; }\n", HEADER) is not None
    assert compile_one("int f() { return SEEN; }\n", HEADER, usual=True) is None


class Alone:
    """A pool that does one thing after the other, so that headers are ready."""

    def __init__(self, *_) -> None:
        pass

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_) -> None:
        pass

    def imap_unordered(self, function, tasks):
        return map(function, tasks)


def test_a_file_they_do_not_fit_is_compiled_without_them(compile_one, monkeypatch):
    monkeypatch.setattr(core_build.multiprocessing, "Pool", Alone)
    assert compile_one("double twice(int x) { return x; }\n", HEADER) is not None


def test_a_header_that_cannot_be_compiled_changes_nothing(compile_one):
    assert compile_one("int f() { return 1; }\n", "#error never\n") is not None


def test_what_is_wrong_with_a_file_is_still_an_error(compile_one):
    assert compile_one("int f() { return nothing; }\n", HEADER) is None


def test_only_what_need_not_be_fast_is_left_unoptimised(compile_one):
    source = "#ifdef __OPTIMIZE__\n#error optimised\n#endif\n"
    assert compile_one(source, "#error never\n", name="gen/pyjt_one.cc") is not None
    for name in ("gen/one.cc", "gen/pyjt_jit_op_maker.cc"):
        assert compile_one(source, "#error never\n", name=name) is None


def test_tests_of_jittor_are_left_out(compile_one):
    source = "namespace jittor {\nJIT_TEST(one) { nothing; }\nJIT_TEST(other_one) {\n  no;\n}\n}\n"
    usual = "namespace jittor { void jit_test_one() {} void jit_test_other_one() {} }\n"
    for name, text in (("jittor/src/test/test_one.cc", source), ("one.cc", usual)):
        made = compile_one(text, HEADER, name=name)
        assert made is not None
        assert b"_ZN6jittor12jit_test_oneEv" in made
        assert b"_ZN6jittor18jit_test_other_oneEv" in made
    assert compile_one(source, HEADER, name="one.cc") is None


def test_files_of_one_command_are_compiled_once_for_both_its_runs(jittor_utils, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.cc").write_text(f"int {name}() {{ return 1; }}\n")
    made = tmp_path / "both.so"
    command = (f'"{GCC}" "{tmp_path}/one.cc" "{tmp_path}/two.cc" -O2 -fPIC -shared '
               f'-lstdc++ -o "{made}"')
    shell(command)
    usual = made.read_bytes()
    with hastened(tmp_path):
        for _ in range(2):
            made.unlink()
            jittor_utils.run_cmd(command)
            assert made.read_bytes() == usual
            (tmp_path / "two.cc").write_text("not even read again")


@pytest.fixture
def large(jittor_utils, tmp_path):
    """Runs Jittor's command of data.o as Jittor does, with the rest of the core after it."""

    def run(text):
        source, made, mark = (tmp_path / "cache" / f"data.{end}" for end in ("cc", "o", "md5"))
        source.write_text(text)
        made.write_bytes(b"old")
        with hastened(tmp_path):
            jittor_utils.run_cmd(f'"{GCC}" -O2 "{source}" -c -o "{made}"')
            source.unlink()
            mark.write_text("sum")
            assert not made.exists()
            jittor_utils.run_cmds([], "", "")
        assert not source.exists()
        return made, mark

    return run


def test_the_large_file_is_compiled_with_the_others(large):
    made, mark = large("int f() { return 1; }\n")
    assert made.read_bytes()[:4] == b"\x7fELF"
    assert mark.read_text() == "sum"


def test_a_large_file_that_failed_is_not_noted_as_done(large, tmp_path):
    with pytest.raises(RuntimeError, match="data.o"):
        large("int f() { return nothing; }\n")
    assert not (tmp_path / "cache" / "data.md5").exists()


def test_a_note_without_its_object_is_taken_back(jittor_utils, tmp_path):
    for name in ("whole", "half"):
        (tmp_path / "cache" / name).mkdir()
        (tmp_path / "cache" / name / "data.md5").touch()
    (tmp_path / "cache" / "whole" / "data.o").touch()
    with hastened(tmp_path):
        pass
    assert (tmp_path / "cache" / "whole" / "data.md5").exists()
    assert not (tmp_path / "cache" / "half" / "data.md5").exists()


def test_long_files_come_first(tmp_path):
    for size in (3, 9, 5):
        (tmp_path / f"{size}.cc").write_text("x" * size)
    commands = [f'"{GCC}" "{tmp_path}/{size}.cc" -c -o "{size}.o"' for size in (3, 9, 5)]
    found = sorted([*commands, "echo"], key=core_build._size)
    assert found == ["echo", commands[0], commands[2], commands[1]]


def test_another_compiler_is_left_alone(tmp_path):
    with core_build.stand_in("/usr/bin/clang++", str(tmp_path)) as folder:
        assert folder is None
    assert list(tmp_path.iterdir()) == []
