"""Our C++ operators, compiled once for each compiler and processor.

Jittor compiles a kernel for each number and kind of arrays that an operator takes, which for
thousands of lines takes seconds. So they live in libraries, and what Jittor compiles is a call.

An operator ``RESTORE_OPERATOR(name) { ... }`` stands at the end of its C++ file, reads arrays and
numbers from ``call`` (call.h), and is run by `Library.run`. Libraries are kept beside Jittor's
kernels and go with them. What they hold at file level is one for all operators of a library.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import jittor as jt

from restore_cli.errors import DeviceError
from restore_cli.nets.ops import native, onednn

_HEADER = """
{call}
RESTORE_OPERATOR({name});
"""
_SOURCE = """
  restore::Call call{data};
  auto told = [](Var* one) {
    restore::Array made;
    made.data = one->ptr<char>();
    made.bytes = one->size;
    for (int i = 0; i < one->shape.size(); i++) made.shape[i] = one->shape[i];
    return made;
  };
  for (Var* one : _inputs) call.inputs.push_back(told(one));
  for (Var* one : _outputs) call.outputs.push_back(told(one));
  restore_operator_%s(call);
"""


class Library:
    """C++ files of this package that are compiled together, in this order.

    Args:
        names: of the files.
        with_onednn: they use the oneDNN that Jittor has loaded; see `onednn.usable`.
    """

    def __init__(self, *names: str, with_onednn: bool = False):
        self._names, self._with_onednn = names, with_onednn
        self._loaded: ctypes.CDLL | None = None
        self._lock = threading.Lock()

    def run(self, name: str, shapes: Sequence[Sequence[int]], inputs: Sequence[jt.Var],
            **numbers: float) -> list[jt.Var]:
        """The results of an operator, float32 arrays of these shapes; not differentiable.

        Args:
            name: of the operator.
            inputs: arrays of float32 or int32, 999 at most.
            numbers: by the names under which the operator asks for them.

        Raises:
            DeviceError: the library cannot be compiled.
        """
        self.load()
        made = jt.code([tuple(shape) for shape in shapes], ["float32"] * len(shapes),
                       list(inputs), cpu_src=_SOURCE % name,
                       cpu_header=_HEADER.format(call=native.source("call.h"), name=name),
                       data={key: float(value) for key, value in numbers.items()})
        return list(made) if isinstance(made, (list, tuple)) else [made]

    def load(self) -> None:
        """Compiles the library, if that was never done here, and loads it.

        Raises:
            DeviceError: as `run`.
        """
        with self._lock:
            if self._loaded is not None:
                return
            try:
                # Kernels find the operators among all that the process has loaded.
                self._loaded = ctypes.CDLL(str(self._compiled()), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise DeviceError(f"operators cannot be compiled or loaded ({error})",
                                  path=str(_folder()), hint="Type: restore doctor") from error

    def _compiled(self) -> Path:
        text = "\n".join(native.source(name) for name in ("call.h", *self._names))
        flags = [*filter(_is_ours, shlex.split(jt.flags.cc_flags)), "-fvisibility=hidden"]
        if self._with_onednn:
            flags += onednn.compile_flags()
        key = hashlib.sha256("\0".join([jt.flags.cc_path, *flags, text]).encode())
        folder = _folder()
        path = folder / f"{self._names[-1].partition('.')[0]}-{key.hexdigest()[:16]}.so"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as place:
                made = _compile(text, Path(place), flags)
                made.replace(path)  # another process may have done the same meanwhile
        return path


def _folder() -> Path:
    return Path(jt.flags.cache_path, "restore")


def _is_ours(flag: str) -> bool:
    """Whether a flag of Jittor's kernels tells how to compile, not where Jittor lies."""
    return not (flag.startswith(("-I", "-L", "-fdiagnostics-color"))
                or (flag.startswith("-l") and "cpython" in flag))


def _compile(text: str, place: Path, flags: Sequence[str]) -> Path:
    source, made = place / "source.cc", place / "made.so"
    source.write_text(text, encoding="utf-8")
    compiler = [jt.flags.cc_path]
    if sys.platform == "linux":
        # As Jittor does for kernels: what stands in for its script counts and explains waits.
        tuner = os.path.join(jt.flags.jittor_path, "utils", "asm_tuner.py")
        compiler = [jt.flags.python_path, tuner, f"--cc_path={jt.flags.cc_path}"]
    found = subprocess.run([*compiler, str(source), *flags, "-o", str(made)], text=True,
                           errors="replace", capture_output=True, stdin=subprocess.DEVNULL)
    if found.returncode or not made.exists():
        words = [line for line in (found.stdout + found.stderr).splitlines() if "error" in line]
        raise DeviceError(f"{Path(jt.flags.cc_path).name} does not compile our operators"
                          + (f" ({words[0].strip()})" if words else ""), path=str(place.parent),
                          hint="Type: restore doctor")
    return made
