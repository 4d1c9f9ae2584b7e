"""Imports Jittor as a plan says. The only place that does so for the first time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from importlib import util
from types import ModuleType

from restore_cli.runtime import guard
from restore_cli.runtime.environment import Plan


def load(plan: Plan, *, compilers: int = 0) -> ModuleType:
    """Imports Jittor, undisturbing the process, and sets it up; returns the module.

    Args:
        plan: carried out on disk already (`folders.apply`).
        compilers: processes that compile the core, as far as it has to be; 0: it is complete.

    Raises:
        SystemExit: Jittor has compiled its helper module again and wants a fresh process.
        Exception: anything else Jittor raises when it cannot be built or loaded.
    """
    os.environ.update(plan.lasting)
    with guard.undisturbed(plan.environment):
        with _hastened(plan, compilers) if compilers else _complete():
            import jittor
    flags = jittor.flags
    if plan.wrapper:
        flags.python_path = plan.wrapper
    if plan.jittor_path:
        flags.jittor_path = plan.jittor_path
    flags.use_cuda = int(plan.device != "cpu")
    # Jittor's threads that compile kernels side by side race in its relay of fused operators
    # (VarRelayManager): now and then a first run crashed there, or hung in the exit handlers.
    flags.use_parallel_op_compiler = 0
    _keep_memory()
    set_threads(plan.threads)
    # Jittor's kernels are linked with fast-math start-up code, which switches subnormal numbers
    # off; NumPy tells so on stderr whenever something asks for the limits of a type.
    warnings.filterwarnings("ignore", message="The value of the smallest subnormal")
    return jittor


def set_threads(threads: int) -> None:
    """Sets the number of OpenMP threads for operators called from this thread.

    ``OMP_NUM_THREADS`` does it for all threads, if the OpenMP library read it after it was set:
    not when another package has loaded the library earlier.
    """
    for name in (None, "libgomp.so.1", "vcomp140.dll", "libomp.dylib"):
        try:
            ctypes.CDLL(name).omp_set_num_threads(threads)
        except (OSError, AttributeError, TypeError):
            continue
        return


def _hastened(plan: Plan, compilers: int) -> contextlib.AbstractContextManager[None]:
    from restore_cli.runtime import core_build  # needs what is slow to import

    return core_build.hastened(compilers, plan.base, plan.wrapper)


@contextlib.contextmanager
def _complete() -> Iterator[None]:
    """Lets Jittor, if it is imported inside, take what it has compiled for up to date.

    At every start it writes half of the core's sources anew, and reads all of them with all that
    they include, to see whether anything has changed; that takes longer than all else that it
    does. What would change them changes the plan's fingerprint. What is missing is still made.
    """
    import jittor_utils

    # Of its own the module needs the helper package only; Jittor will find it imported.
    name = "jittor.pyjt_compiler"
    package = os.path.dirname(util.find_spec("jittor").origin)
    spec = util.spec_from_file_location(name, os.path.join(package, "pyjt_compiler.py"))
    writer = util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    sys.modules[name] = writer
    write, run_all = writer.compile_single, jittor_utils.run_cmds
    writer.compile_single = lambda header, source, src=None: (
        os.path.exists(source) or write(header, source, src))
    jittor_utils.run_cmds = lambda commands, *place: run_all(
        [command for command in commands if not _has_run(command)], *place)
    try:
        yield
    finally:
        writer.compile_single, jittor_utils.run_cmds = write, run_all


def _has_run(command: str) -> bool:
    """Whether the object that the command makes exists; Windows' commands name it otherwise."""
    return os.path.exists(command.rpartition('-o "')[2].partition('"')[0])


def _keep_memory() -> None:
    """Lets glibc keep large blocks: giving them back and faulting them in again costs a third
    of the time of a convolution."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # not glibc
        return
    threshold, trim = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    mallopt(threshold, 1 << 30)
    mallopt(trim, (1 << 31) - 1)
