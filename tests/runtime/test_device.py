"""Lists of devices, and a machine divided among processes."""

from __future__ import annotations

import pytest

from restore_cli.errors import DeviceError, UsageError
from restore_cli.jobs import workers
from restore_cli.jobs.files import PictureRequest
from restore_cli.runtime import device
from restore_cli.runtime.cuda import Cuda
from restore_cli.runtime.environment import plan

TWO = Cuda(nvcc="/usr/local/cuda-12.2/bin/nvcc", version=(12, 2), devices=2, cudnn=8,
           includes=("/usr/local/cuda-12.2/include",), libraries=("/usr/local/cuda-12.2/lib64",))
GB = 1 << 30


@pytest.mark.parametrize("text,found", [
    ("auto", ("auto",)), ("cpu", ("cpu",)), ("cuda", ("cuda",)), ("cuda:3", ("cuda:3",)),
    ("cuda:0,1", ("cuda:0", "cuda:1")), ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
    ("cuda:2, 0", ("cuda:2", "cuda:0")), ("cuda,cuda:1", ("cuda:0", "cuda:1")),
    ("cuda:03,1", ("cuda:3", "cuda:1"))])
def test_lists(text, found):
    assert device.parse(text, {}) == found


@pytest.mark.parametrize("text", ["gpu", "0,1", "cuda:", "cuda:0,", ",1", "cuda:0,cpu", "cpu,cpu",
                                  "auto,cuda:1", "cuda:0,0", "cuda,cuda:0", "cuda:0-1", "cuda:x,1"])
def test_what_is_no_list(text):
    with pytest.raises(UsageError):
        device.parse(text, {})


def test_the_environment_decides_for_auto_alone():
    environ = {"RESTORE_DEVICE": "cuda:0,1"}
    assert device.parse("auto", environ) == ("cuda:0", "cuda:1")
    assert device.parse("cpu", environ) == ("cpu",)


def test_processes():
    assert device.processes(("cpu",), None) == 1
    assert device.processes(("auto",), 3) == 3
    assert device.processes(("cuda:0", "cuda:1"), None) == 2
    assert device.processes(("cuda:0", "cuda:1"), 2) == 2
    assert device.processes(("cuda",), 1) == 1
    for devices, jobs in ((("cuda",), 2), (("cuda:0", "cuda:1"), 3), (("cpu",), 0)):
        with pytest.raises(UsageError, match="--jobs"):
            device.processes(devices, jobs)


def shares(found, count=10, *, own=0, free=10 * GB, **asked):
    return workers.plan(PictureRequest(**asked), found, count, own, free)


def test_each_gpu_of_a_list_gets_a_process_that_sees_it_alone(machine):
    found = machine(cuda=TWO)
    made, notes = shares(found, device="cuda:0,1", memory="8G", own=2 * GB)
    assert notes == ()
    assert [(one.device, one.threads, one.memory) for one in made] == [
        ("cuda:0", 2, 3 * GB), ("cuda:1", 2, 3 * GB)]
    assert [plan(found, one.device).lasting["CUDA_VISIBLE_DEVICES"] for one in made] == ["0", "1"]


def test_gpus_are_counted_among_the_visible_ones(machine):
    found = machine(cuda=TWO, environ={"CUDA_VISIBLE_DEVICES": "5,GPU-7a"})
    made, _ = shares(found, device="cuda:1,0")
    assert [plan(found, one.device).lasting["CUDA_VISIBLE_DEVICES"] for one in made] == [
        "GPU-7a", "5"]


def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(machine):
    with pytest.raises(DeviceError, match="no cuda:2"):
        shares(machine(cuda=TWO), device="cuda:0,2")
    with pytest.raises(DeviceError, match="cuda:0 cannot be used"):
        shares(machine(), device="cuda:0,1")


def test_jobs_do_not_crowd_a_gpu_that_auto_finds(machine):
    with pytest.raises(UsageError, match="--jobs is for the CPU"):
        shares(machine(cuda=TWO), device="auto", jobs=2)
    made, _ = shares(machine(cuda=TWO), device="cpu", jobs=2)
    assert [one.device for one in made] == ["cpu", "cpu"]
    made, _ = shares(machine(), device="auto", jobs=2)
    assert [one.device for one in made] == ["cpu", "cpu"]


def test_threads_are_shared_alike_and_never_too_many(machine):
    made, notes = shares(machine(cores=16), device="cpu", jobs=3)
    assert [one.threads for one in made] == [5, 5, 5] and notes == ()
    made, _ = shares(machine(cores=16), device="cpu", jobs=3, threads=7)
    assert [one.threads for one in made] == [2, 2, 2]
    made, notes = shares(machine(cores=2), device="cpu", jobs=3)
    assert [one.threads for one in made] == [1, 1]
    assert "3 processes" in notes[0] and "2 threads" in notes[0]


def test_no_more_processes_than_files(machine):
    assert len(shares(machine(cores=16), 3, device="cpu", jobs=8)[0]) == 3


def test_memory_is_for_all_together(machine):
    made, _ = shares(machine(), device="cpu", jobs=2, memory="4G", own=GB)
    assert [one.memory for one in made] == [3 * GB // 2] * 2
    made, _ = shares(machine(), device="cpu", jobs=2, free=10 * GB)
    assert [one.memory for one in made] == [7 * GB // 2] * 2
