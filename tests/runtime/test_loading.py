"""Starting a core that is complete, with a make-believe Jittor in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import restore_cli

_WRITER = """
from pathlib import Path

def compile_single(header, source, src=None):
    if "plain" in header:
        return False
    Path(source).write_text(src or "new")
    return True
"""
_UTILS = """
ran = []

def run_cmds(commands, cache_path, jittor_path, msg=""):
    ran.extend(commands)
"""
_JITTOR = """
import os
import jittor_utils
from . import pyjt_compiler

told = [pyjt_compiler.compile_single(name + ".h", name + ".cc", src)
        for name, src in (("old", None), ("missing", "text"), ("plain", None))]
jittor_utils.run_cmds([f'"g++" "{name}.cc" -O2 -c -o "{name}.o"' for name in ("old", "missing")]
                      + ['cl.exe old.cc -c -Fo: "old.obj"'], "", "", "core")
"""
_CHECK = """
import sys
sys.path[:0] = [".", sys.argv[1]]  # the real Jittor may lie beside restore_cli
from pathlib import Path
from restore_cli.runtime import loading
import jittor_utils
run = jittor_utils.run_cmds
with loading._complete():
    import jittor
assert jittor.told == [True, True, False]
assert Path("old.cc").read_text() == "old" and Path("missing.cc").read_text() == "text"
assert [command.split()[1] for command in jittor_utils.ran] == ['"missing.cc"', "old.cc"]
assert jittor_utils.run_cmds is run
from jittor.pyjt_compiler import compile_single
assert compile_single("old.h", "old.cc") and Path("old.cc").read_text() == "new"
print("fine")
"""


@pytest.fixture
def pretended(tmp_path) -> Path:
    (tmp_path / "jittor").mkdir()
    (tmp_path / "jittor" / "__init__.py").write_text(_JITTOR)
    (tmp_path / "jittor" / "pyjt_compiler.py").write_text(_WRITER)
    (tmp_path / "jittor_utils.py").write_text(_UTILS)
    for name in ("old.cc", "old.o"):
        (tmp_path / name).write_text("old")
    return tmp_path


def test_only_what_is_missing_is_made(pretended):
    package = Path(restore_cli.__file__).parents[1]
    answer = subprocess.run([sys.executable, "-c", _CHECK, str(package)], cwd=pretended, text=True,
                            capture_output=True, timeout=60, check=False)
    assert answer.stdout == "fine\n", answer.stderr
