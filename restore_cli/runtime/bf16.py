"""Whether this CPU and this compiler have products of bfloat16 (AVX512_BF16)."""

from __future__ import annotations

import functools
import os
import platform
import subprocess

from restore_cli.errors import DeviceError
from restore_cli.runtime import compiler
from restore_cli.runtime.compiler import Compiler

MACRO = "__AVX512BF16__"  # set by GCC and Clang where the code they make may use it


@functools.cache
def require() -> None:
    """Nothing where it has.

    Raises:
        DeviceError: the CPU lacks the instruction, or the compiler does not know it.
    """
    found, problem = compiler.find(platform.system(), os.environ)
    if found is None:
        raise DeviceError(f"--precision bf16 needs a C++ compiler ({problem or 'there is none'})",
                          hint="Type: restore doctor")
    refuse(cpu_flags(), found, found.kind != "cl" and MACRO in macros(found))


def refuse(flags: frozenset[str] | None, found: Compiler, known: bool) -> None:
    """Says why there is no bfloat16, if so.

    Args:
        flags: of the CPU; None where the system does not tell them.
        found: the compiler.
        known: whether its code for this CPU may use the instruction.

    Raises:
        DeviceError: as `require`.
    """
    hint = "Leave --precision out"
    if flags is not None and "avx512_bf16" not in flags:
        raise DeviceError("--precision bf16 needs a CPU with the instructions AVX512_BF16, and "
                          "this one lacks them", hint=hint)
    if not known:
        raise DeviceError("--precision bf16 needs a CPU with the instructions AVX512_BF16 and a "
                          f"compiler that knows them (GCC from 10 on), and {found.path} "
                          f"({found.version}) makes no such code here", hint=hint)


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str] | None:
    """What Linux says that the CPU can do; None elsewhere."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        return None
    return None


def macros(found: Compiler) -> str:
    """Macros that a compiler defines for this CPU; nothing where it cannot say."""
    try:
        answer = subprocess.run(
            [found.path, "-march=native", "-dM", "-E", "-x", "c++", os.devnull],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace")
