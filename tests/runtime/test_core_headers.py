"""Precompiled headers: the same objects, made sooner, and no harm where they do not fit."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from restore_cli.runtime import core_headers

pytestmark = pytest.mark.skipif(shutil.which("g++") is None or os.name == "nt", reason="needs g++")


@pytest.fixture
def compile_one(tmp_path, monkeypatch):
    """Compiles `source` among other commands; what it includes is `header`. Gives the object, or
    None where the compiler refuses."""
    monkeypatch.delenv("COMPILER_PATH", raising=False)
    (tmp_path / "base").mkdir()

    def run(source, header, few=False):
        (tmp_path / "common.h").write_text(header)
        (tmp_path / "one.cc").write_text(source)
        made = tmp_path / "one.o"
        made.unlink(missing_ok=True)
        command = (f'"{shutil.which("g++")}" "{tmp_path}/one.cc" -O2 -fPIC -I"{tmp_path}"  '
                   f'-c -o "{made}"')
        with core_headers.precompiled([command] * (3 if few else 30), str(tmp_path / "base"),
                                      ['"common.h"', "<vector>"]) as found:
            done = subprocess.run(command, shell=True, capture_output=True, check=False)
        assert os.environ.get("COMPILER_PATH") is None
        assert list((tmp_path / "base").iterdir()) == []
        return found, made.read_bytes() if done.returncode == 0 else None

    return run


HEADER = "#pragma once\n#define SEEN 7\ninline int twice(int x) { return 2 * x; }\n"


def test_an_object_is_the_same_as_without(compile_one):
    source = '#include "common.h"\n#include <vector>\nint f(int x) { return twice(x) + SEEN; }\n'
    found, quick = compile_one(source, HEADER)
    assert found
    found, usual = compile_one(source, HEADER, few=True)
    assert not found
    assert quick is not None and quick == usual


def test_the_headers_are_there_before_the_file_begins(compile_one):
    found, made = compile_one("int f() { return SEEN; }\n", HEADER)
    assert found and made is not None
    assert compile_one("int f() { return SEEN; }\n", HEADER, few=True)[1] is None


def test_a_file_they_do_not_fit_is_compiled_without_them(compile_one):
    found, made = compile_one("double twice(int x) { return x; }\n", HEADER)
    assert found and made is not None


def test_a_header_that_cannot_be_compiled_changes_nothing(compile_one):
    found, made = compile_one("int f() { return 1; }\n", "#error never\n")
    assert not found and made is not None


def test_what_is_wrong_with_a_file_is_still_an_error(compile_one):
    assert compile_one("int f() { return nothing; }\n", HEADER) == (True, None)


def test_another_compiler_is_left_alone(tmp_path):
    with core_headers.precompiled(['"/usr/bin/clang++" "a.cc" -c -o "a.o"'] * 30,
                                  str(tmp_path)) as found:
        assert not found
    assert list(tmp_path.iterdir()) == []
