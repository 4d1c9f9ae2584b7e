"""Starting the engine: twice at once, with things in the way, and with broken machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from restore_cli.console import Console
from restore_cli.errors import DeviceError, UsageError
from restore_cli.runtime import engine as engines
from restore_cli.runtime import environment, folders, loading, prepare

ROOT = Path(__file__).parents[2]
_TINY = ("from restore_cli.runtime import engine; engine.start('cpu'); import jittor as jt; "
         "assert (jt.ones(3) + 1).numpy().tolist() == [2, 2, 2]; print('done')")


def test_processes_starting_at_once(engine):
    running = [subprocess.Popen([sys.executable, "-c", _TINY], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(3)]
    for process in running:
        out, err = process.communicate(timeout=300)
        assert (out, err, process.returncode) == ("done\n", "", 0)


def test_import_of_the_package_leaves_jittor_alone():
    code = ("import sys, restore_cli, restore_cli.runtime.engine, restore_cli.runtime.prepare; "
            "sys.exit('jittor' in sys.modules or 'jittor_utils' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60,
                          check=False).returncode == 0


def test_jittor_imported_by_somebody_else(monkeypatch):
    monkeypatch.setattr(engines, "_started", None)
    monkeypatch.setitem(sys.modules, "jittor", SimpleNamespace())
    with pytest.raises(DeviceError, match="before restore could set it up"):
        engines.start("cpu")


def test_started_engine_cannot_change_its_device(engine):
    assert engines.start("auto").cache == engine.cache
    with pytest.raises(UsageError):
        engines.start("gpu")
    with pytest.raises(DeviceError, match="cannot change"):
        engines.start("cuda")


@pytest.fixture
def fresh(monkeypatch, machine, tmp_path):
    """No engine yet, and a machine whose folders are below `tmp_path`."""
    monkeypatch.setattr(engines, "_started", None)
    for name in [name for name in sys.modules if name.split(".")[0] == "jittor"]:
        monkeypatch.delitem(sys.modules, name)
    header = tmp_path / "dnnl.hpp"
    header.write_text("// oneDNN")
    facts = machine(cache=str(tmp_path), jittor=str(tmp_path))
    from dataclasses import replace
    facts = replace(facts, onednn=replace(facts.onednn, library=str(header),
                                          headers=(("dnnl.hpp", str(header)),)))
    monkeypatch.setattr(engines.facts, "collect", lambda **options: facts)
    monkeypatch.setattr(prepare, "ensure", lambda plan, console: None)
    return facts


@pytest.mark.parametrize("ending, said", [
    (SystemExit(0), "compiled by another program"),  # Jittor's way after a change of flags
    (ImportError("undefined symbol"), "undefined symbol"),
    (RuntimeError("g++ not found"), "g\\+\\+ not found"),
])
def test_jittor_never_ends_the_program(fresh, monkeypatch, ending, said):
    def fails(plan):
        raise ending

    forgotten = []
    monkeypatch.setattr(loading, "load", fails)
    monkeypatch.setattr(folders, "forget_core", forgotten.append)
    with pytest.raises(DeviceError, match=said):
        engines.start("cpu")
    assert len(forgotten) == 1 and engines.current() is None


class Listener(Console):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.said = []

    def warn(self, message):
        self.said.append(message)


def test_cuda_that_breaks_jittor_falls_back_with_one_warning(fresh, monkeypatch):
    from dataclasses import replace

    from restore_cli.runtime.cuda import Cuda
    gpu = Cuda(nvcc="/usr/local/cuda/bin/nvcc", version=(12, 2), devices=1,
               includes=("/i",), libraries=("/l",), cudnn=8)

    def ensure(plan, console):
        if plan.device != "cpu":
            raise DeviceError("Jittor's core could not be compiled (ended by signal 6)")

    monkeypatch.setattr(prepare, "ensure", ensure)
    monkeypatch.delenv("RESTORE_DEVICE", raising=False)
    console = Listener()
    made = engines.ready(replace(fresh, cuda=gpu), "auto", console=console)
    assert made.device == "cpu"
    assert len(console.said) == 1 and "signal 6" in console.said[0]
    with pytest.raises(DeviceError, match="signal 6"):
        engines.ready(replace(fresh, cuda=gpu), "cuda", console=console)
    monkeypatch.setenv("RESTORE_DEVICE", "cuda")
    with pytest.raises(DeviceError, match="signal 6"):
        engines.ready(replace(fresh, cuda=gpu, environ={"RESTORE_DEVICE": "cuda"}),
                      console=console)


def test_plan_is_carried_out_before_the_core_is_made(fresh):
    made = engines.ready(fresh, "cpu")
    root = Path(made.base, ".cache", "jittor", "mkl", "dnnl_lnx_2.2.0_cpu_gomp")
    assert (root / "include" / "dnnl.hpp").read_text() == "// oneDNN"
    assert (root / "lib" / "libmkldnn.so").exists()
    assert environment.plan(fresh, "cpu") == made


def test_limits_of_types_are_asked_for_in_silence(engine):
    """Jittor's kernels switch subnormal numbers off; that is no news to users."""
    code = ("from restore_cli.runtime import engine; engine.start('cpu', 1)\n"
            "import jittor as jt, numpy as np; (jt.ones((3,)) * 2).sync()\n"
            "str(np.finfo(np.float32)); str(np.finfo(np.float64))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_kernels_are_compiled_one_at_a_time(engine):
    """Jittor's parallel compiler crashes or hangs now and then."""
    import jittor

    assert jittor.flags.use_parallel_op_compiler == 0
