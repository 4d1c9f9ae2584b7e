"""Saves a third of the CPU time that Jittor's core takes to compile: GCC reads its headers once.

Jittor puts the command of every file, word by word, into the keys that tell whether the file is
up to date, so nothing may be added to the commands themselves. But the program that GCC calls for
the proper work, cc1plus, is looked for in ``COMPILER_PATH`` first. There a script stands in for
it that names the precompiled headers, and does without them where they do not fit.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from restore_cli.runtime import compiler

# What most files of the core begin with, sooner or later.
HEADERS = ('"var.h"', '"op_compiler.h"', '"fused_op.h"', '"executor.h"', '"ops/op_register.h"',
           '"opt/pass_manager.h"', '"ops/array_op.h"', '"pyjt/py_converter.h"',
           '"pyjt/py_arg_printer.h"', '"utils/seh.h"', "<algorithm>", "<cmath>", "<sstream>",
           "<fstream>", "<functional>")
# Precompiling takes about as long as it saves on seven files.
_FEW = 20
_STAND_IN = """#!/bin/sh
{real} -include {header} "$@" 2>/dev/null || exec {real} "$@"
"""


@contextlib.contextmanager
def precompiled(commands: Sequence[str], base: str,
                headers: Sequence[str] = HEADERS) -> Iterator[bool]:
    """Lets compilers that are started inside find `headers` precompiled; yields whether they do.

    What they make is what they would make otherwise. Where the compiler is another one,
    where precompiling fails, or where most objects exist, nothing happens.

    Args:
        commands: of GCC, each compiling one file, with the object's name at the end; the flags of
            the first are those of all.
        base: folder for a temporary folder of some 90 MB.
        headers: as they follow ``#include``.
    """
    missing = [words for words in map(shlex.split, commands) if not os.path.exists(words[-1])]
    if len(missing) < _FEW or compiler.kind(missing[0][0]) != "g++":
        yield False
        return
    before = os.environ.get("COMPILER_PATH")
    with contextlib.ExitStack() as stack:
        folder = _made(missing[0], base, headers, stack)
        if folder is None:
            yield False
            return
        os.environ["COMPILER_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield True
        finally:
            if before is None:
                del os.environ["COMPILER_PATH"]
            else:
                os.environ["COMPILER_PATH"] = before


def _made(words: Sequence[str], base: str, headers: Sequence[str],
          stack: contextlib.ExitStack) -> str | None:
    """A folder with the headers and the script, removed by `stack`; None where that fails."""
    program, _, *flags = words
    flags = flags[:flags.index("-c")] if "-c" in flags else flags
    try:
        folder = tempfile.mkdtemp(dir=base, prefix=".new-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        header = Path(folder, "core.h")
        header.write_text("".join(f"#include {name}\n" for name in headers), encoding="utf-8")
        subprocess.run([program, *flags, "-x", "c++-header", str(header), "-o", f"{header}.gch"],
                       check=True, capture_output=True, stdin=subprocess.DEVNULL)
        real = subprocess.run([program, "-print-prog-name=cc1plus"], check=True, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL).stdout.strip()
        if not os.path.isabs(real):  # GCC would look for it, and find the script
            return None
        script = Path(folder, "cc1plus")
        script.write_text(_STAND_IN.format(real=shlex.quote(real), header=shlex.quote(str(header))),
                          encoding="utf-8")
        script.chmod(0o755)
    except (OSError, subprocess.SubprocessError):
        return None
    return folder
