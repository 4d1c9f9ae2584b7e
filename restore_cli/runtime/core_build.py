"""Compiles Jittor's core by Jittor's own commands, in half the time they would take.

Left alone, Jittor compiles its helper module on one processor, and twice; then one large file while
nothing else runs; then the others side by side, with the longest somewhere among them. Each file
reads the same headers. Here all processors work from the first file to the last, the longest files
come first, headers are read once, files whose speed never matters are optimised less, and Jittor's
tests of itself are left out.

Jittor puts the command of every file, word by word, into the keys that tell whether the file is
up to date, so nothing may be added to the commands themselves. But the program that GCC calls for
the proper work, cc1plus, is looked for in ``COMPILER_PATH`` first. There a script stands in for it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from restore_cli.runtime import compiler

# What most files of the core begin with, sooner or later.
HEADERS = ('"var.h"', '"op_compiler.h"', '"fused_op.h"', '"executor.h"', '"ops/op_register.h"',
           '"opt/pass_manager.h"', '"ops/array_op.h"', '"pyjt/py_converter.h"',
           '"pyjt/py_arg_printer.h"', '"utils/seh.h"', "<algorithm>", "<cmath>", "<sstream>",
           "<fstream>", "<functional>")
# Precompiling takes about as long as it saves on seven files.
_FEW = 20

# Gives what has been compiled already; else lets the real program read the headers precompiled, or
# in the usual way where they do not fit. Left out, as functions that do nothing: Jittor's tests of
# itself. Optimised for nothing but the compiler's time: an example, and what turns Python's
# arguments into C++'s in functions that are rarely called (the macros are those of the optimised
# headers). A little: the same of operators, which takes a sixth of all the time otherwise, and what
# writes the kernels' source. Precompiled inline functions stay fully optimised; of those
# operators' there are many.
_STAND_IN = r"""#!/bin/sh
source= output= last=
for word; do
  case $word in /*.cc|/*.cpp) source=${{source:-$word}};; esac
  [ "$last" = -o ] && output=$word
  last=$word
done
ready={folder}/ahead/${{source##*/}}.s
[ -f "$ready" ] && exec cp "$ready" "$output"
level= macros=
case $source in
*/gen/pyjt_jit_op_maker.cc) exec {real} "$@" -Og;;
*/jittor/src/test/*)
  short={folder}/${{source##*/}}
  sed -n 's/^JIT_TEST(\(.*\)).*/namespace jittor {{ void jit_test_\1() {{}} }}/p' \
    "$source" > "$short"
  [ -s "$short" ] && exec {real} -quiet "$short" -o "$output";;
*/gen/pyjt_*|*/mkl/ops/cpu_cnn_*)
  level=-O0 macros='-D__OPTIMIZE__=1 -U__NO_INLINE__';;
*/jittor/src/opt/*|*/jittor/src/op_compiler.cc|*/jittor/src/misc/miniz.cc|*/jittor/src/profiler/*)
  level=-O1;;
esac
case $source in
*.cc) [ -f {folder}/core.h.gch ] &&
  {real} -include {folder}/core.h -Wfatal-errors "$@" $level $macros 2>/dev/null && exit;;
esac
exec {real} "$@" $level
"""


@contextlib.contextmanager
def hastened(processes: int, base: str, wrapper: str | None = None,
             headers: Sequence[str] = HEADERS) -> Iterator[None]:
    """Lets Jittor compile its core, if it is imported inside, in `processes` processes.

    Its own pool is as large as the memory divided by 3 GB, whatever the number of processors,
    and stays for the life of the program.

    Args:
        processes: compilers that run at once.
        base: folder for a temporary folder of some 90 MB.
        wrapper: the script that compiles kernels; it is made to precompile their headers too.
        headers: what is precompiled for the core, as it follows ``#include``.
    """
    import jittor_utils

    _forget_unfinished(Path(jittor_utils.cache_path))
    before = jittor_utils.run_cmd, jittor_utils.run_cmds
    with stand_in(jittor_utils.cc_path, base) as folder:
        build = Build(processes, jittor_utils.cc_path, folder, wrapper, headers)
        jittor_utils.run_cmd, jittor_utils.run_cmds = build.run, build.run_all
        try:
            yield
        finally:
            build.folder = None  # Jittor's modules keep the methods
            jittor_utils.run_cmd, jittor_utils.run_cmds = before


@contextlib.contextmanager
def stand_in(program: str, base: str) -> Iterator[Path | None]:
    """Lets GCC start the script in place of cc1plus; yields the script's folder.

    None, and nothing happens, where `program` is another compiler or the script cannot be made.
    """
    before = os.environ.get("COMPILER_PATH")
    with contextlib.ExitStack() as stack:
        folder = _script(program, base, stack)
        if folder is None:
            yield None
            return
        os.environ["COMPILER_PATH"] = os.pathsep.join(filter(None, (str(folder), before)))
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["COMPILER_PATH"]
            else:
                os.environ["COMPILER_PATH"] = before


def _script(program: str, base: str, stack: contextlib.ExitStack) -> Path | None:
    """A new folder with the script, removed by `stack`; None where that fails."""
    if compiler.kind(program) != "g++":
        return None
    try:
        folder = Path(tempfile.mkdtemp(dir=base, prefix=".new-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        real = subprocess.run([program, "-print-prog-name=cc1plus"], check=True, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL).stdout.strip()
        if not os.path.isabs(real):  # GCC would look for it, and find the script
            return None
        (folder / "ahead").mkdir()
        script = folder / "cc1plus"
        script.write_text(_STAND_IN.format(real=shlex.quote(real), folder=shlex.quote(str(folder))),
                          encoding="utf-8")
        script.chmod(0o755)
    except (OSError, subprocess.SubprocessError):
        return None
    return folder


class Build:
    """What stands in for the two functions by which Jittor runs its compiler.

    Args:
        processes: compilers that run at once.
        program: the C++ compiler.
        folder: that of `stand_in`; None: commands are run as they come.
        wrapper: as for `hastened`.
        headers: as for `hastened`.
    """

    def __init__(self, processes: int, program: str, folder: Path | None,
                 wrapper: str | None = None, headers: Sequence[str] = HEADERS) -> None:
        import jittor_utils

        self.processes, self.program, self.folder = processes, program, folder
        self.wrapper, self.headers = wrapper, headers
        self._usual = jittor_utils.run_cmd
        self._later: tuple[str, Path, bytes, Path] | None = None

    def run(self, command: str, cwd: str | None = None, err_msg: str | None = None,
            print_error: bool = True) -> str:
        """Stands in for ``jittor_utils.run_cmd``: runs one command, gives what it printed.

        Of a command of several files each is compiled on a processor of its own. The command of
        data.o, which nothing else waits for, is put off until the core's others are run.

        Raises:
            Exception: the command fails.
        """
        if self.folder and command.startswith(f'"{self.program}" '):
            words = shlex.split(command)
            sources = [word for word in words[1:] if word.endswith(".cc")]
            if os.path.basename(words[-1]) == "data.o" and len(sources) == 1:
                made, source = Path(words[-1]), Path(sources[0])
                made.unlink(missing_ok=True)
                self._later = command, source, source.read_bytes(), made
                return ""
            if len(sources) > 1 and "-c" not in words:
                self._compile_ahead(words, sources)
        return self._usual(command, cwd, err_msg, print_error)

    def _compile_ahead(self, words: list[str], sources: list[str]) -> None:
        """Makes assembly of each of `sources`: the command finds it, and once more when Jittor
        runs it a second time, to note that it has been run."""
        flags = [word for word in words[:words.index("-o")] if word not in sources]

        def assembly(source: str) -> None:
            made = self.folder / "ahead" / f"{os.path.basename(source)}.s"
            done = subprocess.run([*flags, "-S", source, "-o", f"{made}.new"], check=False,
                                  capture_output=True, stdin=subprocess.DEVNULL)
            if done.returncode == 0:  # else the command itself will tell
                os.replace(f"{made}.new", made)

        with ThreadPoolExecutor(self.processes) as threads:
            list(threads.map(assembly, sources))

    def run_all(self, commands: Sequence[str], cache_path: str, jittor_path: str,
                msg: str = "") -> None:
        """Stands in for ``jittor_utils.run_cmds``: runs commands of one file each.

        Raises:
            Exception: a command fails.
        """
        tasks = [(_compile, command, cache_path, jittor_path)
                 for command in sorted(commands, key=_size, reverse=True)]
        process = multiprocessing.current_process()
        # The pool's own kind of process may not have children otherwise.
        daemon, process._config["daemon"] = process._config.get("daemon"), False
        try:
            with self._put_off() as first, \
                    multiprocessing.Pool(self.processes, _ignore_interrupts) as pool:
                for _ in pool.imap_unordered(_call, [*first, *self._headers(commands), *tasks]):
                    pass
        finally:
            process._config["daemon"] = daemon

    @contextlib.contextmanager
    def _put_off(self) -> Iterator[list[tuple]]:
        """The command that was put off, as a task. Jittor has noted it as done, and removed the
        source: while it is not done, the note is taken back."""
        if self._later is None:
            yield []
            return
        (command, source, text, made), self._later = self._later, None
        mark = made.with_name("data.md5")
        noted = mark.read_bytes()
        mark.unlink()
        source.write_bytes(text)
        try:
            yield [(_command, shlex.split(command))]
        finally:
            source.unlink(missing_ok=True)
        mark.write_bytes(noted)

    def _headers(self, commands: Sequence[str]) -> list[tuple]:
        """Tasks that precompile headers: of the core, if it is this that is to be compiled; of
        kernels afterwards, when their flags are known."""
        if not self.folder:
            return []
        missing = [words for words in map(shlex.split, commands)
                   if words[0] == self.program and not os.path.exists(words[-1])]
        if len(missing) >= _FEW:
            program, _, *flags = missing[0]
            shutil.rmtree(self.folder / "ahead", ignore_errors=True)
            return [(_precompile, [program, *flags[:flags.index("-c")]], self.headers,
                     self.folder)]
        flags = getattr(sys.modules.get("jittor.compiler"), "flags", None)
        if not (missing and flags and self.wrapper):
            return []
        kernel = self.folder / "kernel.cc"
        kernel.write_text("#define JIT 1\n", encoding="utf-8")
        words = [word for word in shlex.split(flags.cc_flags) if not word.startswith(("-l", "-L"))]
        return [(_quietly, [self.wrapper, "asm_tuner.py", f"--cc_path={self.program}", str(kernel),
                            *words, "-c", "-o", f"{kernel}.o"])]


def _forget_unfinished(cache: Path) -> None:
    """Takes back notes that data.o is there where it is not: a run was killed in between."""
    for mark in cache.glob("**/data.md5"):
        if not mark.with_name("data.o").exists():
            mark.unlink(missing_ok=True)


def _size(command: str) -> int:
    """Bytes of the source that `command` compiles: how long that takes, roughly."""
    try:
        return os.path.getsize(shlex.split(command)[1])
    except (OSError, ValueError, IndexError):
        return 0


def _call(task: tuple) -> None:
    function, *arguments = task
    function(*arguments)


def _compile(*task: str) -> None:
    import jittor_utils

    jittor_utils.do_compile(task)


def _command(words: list[str]) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise RuntimeError(f"the compiler ended with status {done.returncode}: {words[-1]}")


def _quietly(words: list[str]) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _precompile(words: list[str], headers: Sequence[str], folder: Path) -> None:
    """Makes core.h.gch in `folder`; where that fails, headers are read as usual."""
    header = folder / "core.h"
    with contextlib.suppress(OSError):
        header.write_text("".join(f"#include {name}\n" for name in headers), encoding="utf-8")
        _quietly([*words, "-x", "c++-header", str(header), "-o", f"{header}.new"])
        os.replace(f"{header}.new", f"{header}.gch")


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the one that waits for the pool ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
