"""Why there is no bfloat16, in one line."""

from __future__ import annotations

import pytest

from restore_cli.errors import DeviceError, ExitStatus
from restore_cli.runtime import bf16
from restore_cli.runtime.compiler import Compiler

GCC = Compiler("g++", "/usr/bin/g++", "g++ 9.4.0", "")
HAS = frozenset({"avx512f", "avx512_bf16"})


@pytest.mark.parametrize("flags,known,words", [
    (frozenset({"avx512f"}), True, "this one lacks them"),
    (frozenset(), False, "this one lacks them"),
    (HAS, False, r"/usr/bin/g\+\+ \(g\+\+ 9.4.0\) makes no such code"),
    (None, False, "makes no such code")])
def test_refused(flags, known, words):
    with pytest.raises(DeviceError, match=words) as caught:
        bf16.refuse(flags, GCC, known)
    assert caught.value.status == ExitStatus.DEVICE
    assert "\n" not in str(caught.value) and "Leave --precision out" in str(caught.value)


@pytest.mark.parametrize("flags", [HAS, None])
def test_not_refused(flags):
    bf16.refuse(flags, GCC, True)


def test_flags(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16\n")
    assert bf16.cpu_flags(str(path)) == {"fpu", "avx512_bf16"}
    assert bf16.cpu_flags(str(tmp_path / "absent")) is None


def test_a_compiler_that_does_not_run_knows_nothing(tmp_path):
    assert bf16.macros(Compiler("g++", str(tmp_path / "g++"), "", "")) == ""
