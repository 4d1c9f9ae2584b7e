"""The script between Jittor and the compiler, run with other programs in their places."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from dataclasses import replace

import pytest

from restore_cli.runtime import environment
from restore_cli.runtime.facts import Folder, candidates


@pytest.fixture
def wrapper(machine, tmp_path):
    """The script of a plan below `tmp_path`, and a compiler that tells its arguments."""
    compiler = tmp_path / "my g++"
    compiler.write_text('#!/bin/sh\nfor a; do echo "<$a>"; done\n[ "$1" != bad ] || exit 3\n')
    compiler.chmod(0o755)
    facts = machine(cache=str(tmp_path))
    folder = Folder(exists=True, writable=True, free=1 << 40)
    first = candidates("Linux", "x86_64", {}, str(tmp_path), "/tmp", "1000")[0]
    made = environment.plan(replace(facts, folders={**facts.folders, first: folder}))
    script = tmp_path / "compile"
    text = made.scripts[made.wrapper].replace(f'"{made.base}/compiler.log"', '"$LOG"')
    script.write_text(text)
    script.chmod(0o755)

    def run(*arguments, **environ):
        return subprocess.run(
            [str(script), "/x/asm_tuner.py", f"--cc_path={compiler}", *arguments], text=True,
            capture_output=True, timeout=20, check=False,
            env={"PATH": os.environ["PATH"], "LOG": str(tmp_path / "log"), **environ})

    return run


def test_arguments_pass_unchanged(wrapper):
    done = wrapper("a b", "-DX='1'", '-I"y"')
    assert done.returncode == 0 and done.stderr == ""


def test_failure_is_told_and_kept(wrapper, tmp_path):
    done = wrapper("bad", "a b")
    assert done.returncode == 3 and done.stdout == "<bad>\n<a b>\n"
    assert (tmp_path / "log").read_text() == done.stdout


def test_terminal_is_told_once(wrapper, tmp_path):
    note = tmp_path / "note"
    note.touch()
    reading, writing = pty.openpty()
    for _ in range(5):
        wrapper("x", RESTORE_KERNEL_NOTE=str(note), RESTORE_KERNEL_TERMINAL=os.ttyname(writing))
    assert note.stat().st_size == 5
    assert os.read(reading, 1000).count(b"compiling kernels") == 1
    os.close(reading)
    os.close(writing)


def test_count_without_a_terminal(wrapper, tmp_path):
    note = tmp_path / "note"
    note.touch()
    for _ in range(4):
        done = wrapper("x", RESTORE_KERNEL_NOTE=str(note))
        assert (done.stdout, done.stderr) == ("", "")
    assert note.stat().st_size == 4
    note.unlink()  # the program has ended: nothing is left behind
    wrapper("x", RESTORE_KERNEL_NOTE=str(note))
    assert not note.exists()


@pytest.fixture
def source(tmp_path):
    """A kernel, whose headers are there in name only."""
    folder = tmp_path / "src"
    (folder / "ops").mkdir(parents=True)
    for name in ("var.h", "fused_op.h", "executor.h", "ops/op_register.h"):
        (folder / name).write_text("#pragma once\n")
    (folder / "var.h").write_text("#pragma once\nenum { SEEN = JIT };\n")
    kernel = tmp_path / "kernel_op.cc"
    kernel.write_text('// name\n#define JIT 1\n#include "var.h"\nint main() { return SEEN - 1; }\n')
    return kernel


def test_headers_are_compiled_once(wrapper, source, tmp_path):
    gcc = shutil.which("g++")
    if gcc is None:
        pytest.skip("needs g++")
    link = tmp_path / "my g++"
    link.write_text(f'#!/bin/sh\necho "$@" >> "$LOG"\nexec {gcc} "$@"\n')
    out = tmp_path / "out"
    for _ in range(3):
        done = wrapper(str(source), "-O1", f"-I{source.parent / 'src'}", "-o", str(out))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert subprocess.run([out], check=False).returncode == 0
    calls = (tmp_path / "log").read_text().splitlines()
    assert len(calls) == 4 and sum("c++-header" in call for call in calls) == 1
    assert all(call.startswith("-include ") for call in calls[1:])
    wrapper(str(source), "-O2", f"-I{source.parent / 'src'}", "-o", str(out))
    assert sum("c++-header" in call for call in (tmp_path / "log").read_text().splitlines()) == 2
    headers = next((tmp_path).rglob("headers"))
    assert sorted(path.suffix for path in headers.iterdir()) == [".gch", ".gch", ".h", ".h"]
    source.write_text("#include <cmath>\nint main() { return 0; }\n")  # not a kernel
    assert wrapper(str(source), "-O1", "-o", str(out)).returncode == 0
    assert not (tmp_path / "log").read_text().splitlines()[-1].startswith("-include")


def test_headers_that_cannot_be_compiled_are_left_out(wrapper, source, tmp_path):
    done = wrapper(str(source), "-O1", f"-I{tmp_path}")
    assert done.returncode == 0 and done.stderr == ""
    assert not [*tmp_path.rglob("*.gch"), *tmp_path.rglob("headers/*")]
