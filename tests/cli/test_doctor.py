"""`restore doctor`: a truthful report, the right status, and mending that mends."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from restore_cli.cli import doctor as command
from restore_cli.console import Console
from restore_cli.errors import DeviceError, UsageError
from restore_cli.jobs import doctor, doctor_warm
from restore_cli.runtime import facts, folders
from restore_cli.runtime.cuda import Cuda


@pytest.fixture
def report(monkeypatch, request):
    """Runs the job and returns its status, its findings by check, and other records."""

    def run(found=None, *, weights=("shipped",), **options):
        if found is not None:
            monkeypatch.setattr(facts, "collect", lambda **ignored: found)
        states = [SimpleNamespace(entry=SimpleNamespace(name=f"w{n}"), state=state,
                                  usable=state in ("shipped", "cached"))
                  for n, state in enumerate(weights)]
        monkeypatch.setattr("restore_cli.weights.store.Store",
                            lambda: SimpleNamespace(list=lambda: states))
        console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
        console.json_lines = True
        status = doctor.run(doctor.DoctorRequest(**options), console)
        records = [json.loads(line) for line in console.stdout.getvalue().splitlines()]
        return status, {r["check"]: r for r in records if "check" in r}, records

    return run


@pytest.fixture
def here():
    """The facts of this machine."""
    return facts.collect(device="cpu")


def test_healthy(report, engine):
    status, found, records = report(device="cpu")
    assert status == 0 and records[-1] == {"healthy": True}
    assert set(found) >= {"python", "packages", "compiler", "python headers", "oneDNN", "CUDA",
                          "cache", "temp", "weights", "kernels", "engine"}
    assert all(record["state"] != "wrong" for record in found.values())
    assert "with oneDNN" in found["engine"]["value"]
    assert "free" in found["cache"]["value"] and "free" in found["temp"]["value"]


@pytest.mark.parametrize("changes, check, advice", [
    ({"compiler": None, "distribution": {"ID": "debian"}}, "compiler", "sudo apt install g++"),
    ({"onednn": None}, "oneDNN", "pip install onednn-cpu-gomp"),
    ({"jittor": None}, "engine", "pip install jittor"),
    ({"numpy_version": "2.1.0"}, "engine", "numpy<2"),
])
def test_missing_parts(report, here, changes, check, advice):
    status, found, records = report(replace(here, **changes), device="cpu")
    assert status == 6 and records[-1] == {"healthy": False}
    assert found[check]["state"] == "wrong" and advice in found[check]["advice"]
    assert found["engine"]["state"] == "wrong"


def test_missing_headers(report, here):
    python = replace(here.python, headers=None)
    status, found, _ = report(replace(here, python=python, distribution={"ID": "fedora"}))
    assert status == 6
    assert "dnf install python3." in found["python headers"]["advice"]


@pytest.mark.parametrize("state, advice", [("missing", "pip install"),
                                           ("damaged", "weights fetch --force w1")])
def test_broken_weights(report, state, advice):
    status, found, _ = report(device="cpu", weights=("shipped", state, "not fetched"))
    assert status == 6 and found["weights"]["state"] == "wrong"
    assert "w1" in found["weights"]["value"] and advice in found["weights"]["advice"]


def test_weights_not_fetched_are_no_fault(report):
    status, found, _ = report(device="cpu", weights=("shipped", "not fetched"))
    assert status == 0 and "1 of 2" in found["weights"]["value"]


@pytest.mark.parametrize("cuda, state, said", [
    (Cuda(), "ok", "not used"),
    (Cuda(nvcc="/x/nvcc", problem="there is no GPU", hardware=False), "ok", "there is no GPU"),
    (Cuda(devices=1), "note", "no CUDA compiler"),
    (Cuda(nvcc="/x/nvcc", version=(13, 0), problem="no NVIDIA driver is installed"), "note",
     "no NVIDIA driver"),
    (Cuda(nvcc="/x/nvcc", version=(12, 2), devices=1, missing=("cudnn",)), "note", "cudnn"),
])
def test_cuda(report, here, cuda, state, said):
    status, found, _ = report(replace(here, cuda=cuda))
    assert status == 0 and found["CUDA"]["state"] == state and said in found["CUDA"]["value"]
    assert found["engine"]["state"] == "ok"


def test_demanded_cuda_that_is_broken(report, here):
    status, found, _ = report(replace(here, cuda=Cuda(problem="the driver is broken")),
                              device="cuda")
    assert status == 6 and "driver is broken" in found["engine"]["value"]


def test_nothing_is_compiled_unasked(report, machine_here, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("compiled without being asked to")

    monkeypatch.setattr("restore_cli.runtime.prepare.ensure", forbidden)
    status, found, _ = report(machine_here, device="cpu")
    assert status == 0
    assert "none yet" in found["kernels"]["value"] and "--warm" in found["kernels"]["advice"]


@pytest.fixture
def machine_here(here, tmp_path):
    """This machine, with an empty cache folder."""
    names = facts.candidates(here.system, here.machine, here.environ, str(tmp_path), here.temp,
                             here.user)
    return replace(here, cache=str(tmp_path),
                   folders={**{name: facts.look(name) for name in names},
                            here.temp: here.folders[here.temp]})


def test_fix_mends(machine_here, tmp_path, monkeypatch):
    from restore_cli.runtime import environment, prepare

    made = environment.plan(machine_here, "cpu")
    folders.apply(made)
    root = Path(made.base, ".cache", "jittor", "jt1.3.11")
    broken = root / "g++12" / "py" / "os" / "cpu" / "7c3f" / made.cache_name
    old = root / "g++9" / "py" / "os" / "cpu" / "7c3f" / "restore-cpu-0"
    for folder in (broken, old):
        (folder / "jit").mkdir(parents=True)
    month = time.time() - 40 * 86400
    os.utime(old, (month, month))
    link = Path(made.links[0].path)
    link.unlink()
    left = Path(made.base, ".new-left")
    left.mkdir()
    os.utime(left, (month, month))

    def fails(plan, console=None):
        raise DeviceError("the core does not load")

    monkeypatch.setattr(prepare, "ensure", fails)
    said = "\n".join(doctor.mend(machine_here, "cpu"))
    assert "removed broken kernels" in said and "removed 2 unused" in said
    assert link.exists() and not broken.exists() and not old.exists() and not left.exists()


def test_fix_leaves_what_works(here, engine):
    before = sorted(engine.cache.glob("*.so"))
    assert before and not any("broken" in line for line in doctor.mend(here, "cpu"))
    assert sorted(engine.cache.glob("*.so")) == before


def test_fix_cannot_install_a_compiler(report, here):
    status, found, records = report(replace(here, compiler=None), fix=True, device="cpu")
    assert status == 6 and not any("fixed" in record for record in records)


def test_warm(report, monkeypatch):
    warmed = []
    monkeypatch.setitem(doctor_warm.WARMERS, "upscale",
                        warmed.append)
    status, _, records = report(device="cpu", warm=("upscale",))
    assert status == 0 and warmed == ["cpu"]
    assert any(record.get("warmed") == "upscale" for record in records)


def test_warm_of_an_unknown_command(report):
    with pytest.raises(UsageError, match="nonsense"):
        report(warm=("nonsense",))


def test_warm_upscale_leaves_nothing_to_compile(engine, tmp_path):
    import numpy as np
    from PIL import Image

    from restore_cli.jobs import upscale
    from restore_cli.runtime.engine import kernels_compiled

    console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
    assert "upscale is ready" in doctor_warm.warm("upscale", console)
    assert console.stdout.getvalue() == b""
    before = kernels_compiled()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (21, 19, 3), np.uint8)).save(
        tmp_path / "a.png")
    upscale.run(upscale.UpscaleRequest(
        inputs=[str(tmp_path / "a.png")], scale="3.3", device="cpu",
        weights=str(doctor_warm._weights("upscale", tmp_path)),
        output=str(tmp_path / "b.png")), console)
    assert Image.open(tmp_path / "b.png").size == (63, 69)
    assert kernels_compiled() == before


def test_warm_denoise_leaves_nothing_to_compile(engine, tmp_path):
    import numpy as np
    from PIL import Image

    from restore_cli.jobs import denoise
    from restore_cli.runtime.engine import kernels_compiled

    console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
    assert "denoise is ready" in doctor_warm.warm("denoise", console)
    assert "warning" not in console.stderr.getvalue()
    before = kernels_compiled()
    for name, shape in (("grey", (70, 90)), ("colour", (70, 90, 3))):
        pixels = np.random.default_rng(0).normal(128, 20, shape).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        request = denoise.DenoiseRequest(inputs=[str(tmp_path / f"{name}.png")], steps=3,
                                         device="cpu")
        assert denoise.run(request, console) == 0, console.stderr.getvalue()
    assert kernels_compiled() == before


def test_requirements_that_apply_elsewhere_are_not_missed():
    assert doctor._applies("typer>=0.12")
    assert not doctor._applies("pywin32; sys_platform == 'sunos'")
    assert not doctor._applies('tomli>=2; python_version < "3.8"')
    assert doctor._applies('tomli>=2; python_version < "3.99"')


def test_command_line(engine):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    outcome = CliRunner().invoke(app, ["doctor", "--help"])
    assert outcome.exit_code == 0 and "--warm" in outcome.output and "--fix" in outcome.output
    console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
    outcome = CliRunner().invoke(app, ["doctor", "--device", "cpu"], obj=console)
    assert outcome.exit_code in (0, 6)  # 6 while weights are missing from a development checkout
    lines = console.stdout.getvalue().decode().splitlines()
    assert any(line.startswith("ok compiler") for line in lines)
    assert any(line.startswith("ok engine") for line in lines)
    outcome = CliRunner().invoke(app, ["doctor", "upscale"], obj=console)
    assert isinstance(outcome.exception, UsageError)
