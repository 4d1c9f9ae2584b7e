"""What importing Jittor does to a process, undone; first with an impostor, then with Jittor."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from restore_cli.runtime import guard

SIGNALS = (signal.SIGINT, signal.SIGCHLD, signal.SIGQUIT, signal.SIGSEGV)


def disturb():
    """Everything that Jittor's import is known to do."""
    ssl._create_default_https_context = ssl._create_unverified_context
    sys.setrecursionlimit(10**6)
    resource.setrlimit(resource.RLIMIT_STACK, (2**29, resource.getrlimit(3)[1]))
    for number in SIGNALS:
        signal.signal(number, lambda *args: None)
    sys.exit, sys.excepthook, sys.executable = print, print, "python"
    os.environ.update(cache_name="x", cc_path="x", use_parallel_op_compiler="0", A="inside")
    os.write(1, b"noise\n")


def state():
    """What must be the same before and after."""
    return {"ssl": ssl._create_default_https_context, "recursion": sys.getrecursionlimit(),
            "stack": resource.getrlimit(resource.RLIMIT_STACK), "exit": sys.exit,
            "hook": sys.excepthook, "executable": sys.executable, "node": platform.node,
            "platform": platform.platform, "environ": dict(os.environ),
            "handlers": [signal.getsignal(number) for number in SIGNALS]}


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(capfd, fails):
    before = state()
    try:
        with guard.undisturbed({"A": "1", "HOME": None}):
            assert os.environ["A"] == "1" and "HOME" not in os.environ
            assert platform.node() == "n" and platform.platform(aliased=True) == "linux"
            disturb()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert state() == before
    out, err = capfd.readouterr()
    assert "noise" not in out and "noise" in err


def test_works_off_the_main_thread():
    from concurrent.futures import ThreadPoolExecutor

    def body():
        with guard.undisturbed({"A": "1"}):
            return os.environ["A"]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(body).result(10) == "1"
    assert "A" not in os.environ


def test_works_without_standard_output():
    code = ("import os, sys; os.close(1)\nfrom restore_cli.runtime import guard\n"
            "with guard.undisturbed({}): pass\nsys.exit(7)")
    status = subprocess.run([sys.executable, "-c", code], timeout=20, check=False,
                            cwd=Path(__file__).parents[2]).returncode
    assert status == 7


# Run in a process of its own, with real Jittor: starts it and tells what it finds.
_REAL = """
import json, os, platform, resource, signal, ssl, subprocess, sys, threading
handlers = {}
def ours(*args): handlers["int"] = handlers.get("int", 0) + 1
signal.signal(signal.SIGINT, ours)
before = dict(os.environ); stack = resource.getrlimit(resource.RLIMIT_STACK)
recursion, node, home = sys.getrecursionlimit(), platform.node(), os.path.expanduser("~")
leave, hook = sys.exit, sys.excepthook
from restore_cli.runtime import engine
before = {k: v for k, v in before.items() if not k.startswith("RESTORE_KERNEL")}
found = {"current before": engine.current() is None}
started = engine.start("cpu", threads=1)
import jittor as jt
found["restarted"] = engine.start("cpu") is started is engine.current()
found["https"] = ssl._create_default_https_context is ssl.create_default_context
found["stack"] = resource.getrlimit(resource.RLIMIT_STACK) == stack
found["recursion"] = sys.getrecursionlimit() == recursion
after = {k: v for k, v in os.environ.items() if k != "RESTORE_KERNEL_NOTE"}
found["environment"] = after == before
found["nothing compiled"] = engine.kernels_compiled() == 0
found["home"] = os.path.expanduser("~") == home
found["node"] = platform.node() == node
found["exit"] = sys.exit is leave and sys.excepthook is hook
os.kill(os.getpid(), signal.SIGINT)
found["interrupt"] = handlers.get("int") == 1
# Jittor ends a program one of whose children is killed by a signal.
child = subprocess.Popen(["sleep", "30"]); child.kill(); child.wait()
found["killed child"] = child.returncode == -9
found["onednn"] = started.onednn and jt.mkl_ops is not None
x = jt.ones((1, 16, 8, 8))
found["numbers"] = float(jt.nn.Conv(16, 16, 3, bias=False)(x).shape[2]) == 6
found["cpu only"] = not jt.has_cuda
found["threads"] = started.threads == 1
found["quiet flags"] = jt.flags.python_path.endswith("/bin/compile") and not jt.flags.gdb_path
found["numpy"] = jt.array([1.5]).numpy().tolist() == [1.5]
# Compilers run later do not depend on HOME, nor on anything else of the import.
os.environ["HOME"] = "/nonexistent"
found["kernel"] = float(jt.code((1,), "float32", [x], cpu_src='''
    // RANDOM
    for (int i = 0; i < 1; i++) @out(i) = @in0(0,0,0,0) + 41;''').item()) == 42
found["one compiled"] = engine.kernels_compiled() == 1
try:
    engine.start("cuda")
except Exception as error:
    found["no way to cuda"] = type(error).__name__ == "DeviceError"
found["more threads"] = engine.start("cpu", threads=2).threads == 2
print(json.dumps(found))
"""


def run_python(code: str, timeout: float = 300, **environ: str) -> subprocess.CompletedProcess:
    """Runs `code` in a fresh Python that finds this checkout."""
    root = str(Path(__file__).parents[2])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=timeout, cwd=root, env={**os.environ, **environ}, check=False)


def test_jittor_disturbs_nothing(engine):
    done = run_python(_REAL.replace("RANDOM", os.urandom(8).hex()))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # and nothing else was written there
    assert [name for name, fine in found.items() if not fine] == []
    assert done.stderr == ""
