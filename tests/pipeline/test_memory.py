"""Budgets, cgroup limits, tile choice and the retry."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from restore_cli.errors import ExitStatus, OutOfMemory, UsageError
from restore_cli.pipeline import memory

MB, GB = 1024**2, 1024**3


@pytest.mark.parametrize("text,size", [
    ("1G", GB), ("1.5G", GB * 3 // 2), ("800M", 800 * MB), ("2GiB", 2 * GB), ("4 GB", 4 * GB),
    ("512k", 512 * 1024), ("123", 123), (" .5g ", GB // 2), ("1T", 1024 * GB), ("7B", 7),
])
def test_sizes(text, size):
    assert memory.parse(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1GG", "nan", "inf", "0", "0.2", "1e9",
                                  "9999999999T", "1 2"])
def test_nonsense_sizes_are_usage_errors(text):
    with pytest.raises(UsageError) as caught:
        memory.parse(text)
    assert caught.value.status == ExitStatus.USAGE


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(str(text) + "\n")


@pytest.fixture
def plenty(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GB))
    monkeypatch.setattr(memory, "_address_space_room", lambda: [])


def test_without_groups_free_ram_counts(tmp_path, plenty):
    assert memory.available(tmp_path) == 64 * GB


def test_the_tightest_of_nested_version_2_groups_counts(tmp_path, plenty):
    group(tmp_path / "proc/self", cgroup="0::/a/b")
    base = tmp_path / "sys/fs/cgroup"
    group(base / "a/b", memory__max="max", memory__current=GB)
    group(base / "a", memory__max=4 * GB, memory__current=3 * GB,
          memory__stat=f"anon 1\ninactive_file {GB // 2}")
    assert memory.available(tmp_path) == GB + GB // 2


def test_a_container_sees_its_own_group_at_the_mount_point(tmp_path, plenty):
    group(tmp_path / "proc/self", cgroup="0::/../../docker/abc")
    group(tmp_path / "sys/fs/cgroup", memory__max=2 * GB, memory__current=GB)
    assert memory.available(tmp_path) == GB


def test_version_1_groups(tmp_path, plenty):
    group(tmp_path / "proc/self", cgroup="11:cpu,cpuacct:/x\n4:memory:/job")
    group(tmp_path / "sys/fs/cgroup/memory/job", memory__limit_in_bytes=3 * GB,
          memory__usage_in_bytes=GB, memory__stat=f"total_inactive_file {256 * MB}")
    group(tmp_path / "sys/fs/cgroup/memory", memory__limit_in_bytes=2**63 - 4096,
          memory__usage_in_bytes=9 * GB)
    assert memory.available(tmp_path) == 2 * GB + 256 * MB


def test_a_group_over_its_limit_leaves_nothing(tmp_path, plenty):
    group(tmp_path / "proc/self", cgroup="0::/")
    group(tmp_path / "sys/fs/cgroup", memory__max=GB, memory__current=2 * GB)
    assert memory.available(tmp_path) == 0


def test_an_address_space_limit_counts():
    pytest.importorskip("resource")
    code = ("import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30));"
            "from restore_cli.pipeline import memory; print(memory.available())")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(found.stdout) < 2 * GB


def test_default_budget_is_a_share_on_top_of_what_is_held():
    found = memory.budget(None, base=100 * MB, free=1000 * MB)
    assert found == memory.Budget(100 * MB + int(1000 * MB * memory.SHARE), 100 * MB)
    assert found.room == int(1000 * MB * memory.SHARE)


def test_an_asked_budget_is_taken_as_it_is():
    found = memory.budget("1G", base=200 * MB, free=1)
    assert (found.ceiling, found.room) == (GB, 824 * MB)


def test_a_budget_below_the_program_itself_ends_with_5():
    with pytest.raises(OutOfMemory) as caught:
        memory.budget("64M", base=200 * MB)
    assert caught.value.status == ExitStatus.MEMORY
    assert "419 MB" in str(caught.value)


@pytest.mark.parametrize("room,step", [(10_000, 1), (40_000, 16), (123_456, 7), (900, 1)])
def test_the_chosen_tile_is_the_largest_that_fits(room, step):
    def cost(tile):
        return tile * tile + 500

    got = memory.choose_tile(cost, room, smallest=16, largest=1000, step=step)
    best = max(t for t in range(16, 1001, step) if cost(t) <= room)
    assert got == best


def test_the_largest_tile_is_taken_when_all_fit_even_off_the_step():
    assert memory.choose_tile(lambda t: t, 1 << 40, smallest=16, largest=333, step=16) == 333


def test_no_tile_fits():
    with pytest.raises(OutOfMemory, match="smallest tile"):
        memory.choose_tile(lambda t: t * t, 255, smallest=16, largest=64)


def test_a_users_tile_is_kept_or_refused_never_changed():
    assert memory.check_tile(100, lambda t: t * t, 10_000) == 100
    with pytest.raises(OutOfMemory) as caught:
        memory.check_tile(101, lambda t: t * t, 10_000)
    assert caught.value.status == ExitStatus.MEMORY


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemory("x"),
                                   RuntimeError("CUDA out of memory"),
                                   RuntimeError("cudaErrorMemoryAllocation(2)")])
def test_halving_tries_smaller_tiles(error):
    tried, told = [], []

    def attempt(tile):
        tried.append(tile)
        if tile > 64:
            raise error
        return "done"

    assert memory.halving(attempt, 256, smallest=16, on_retry=told.append) == "done"
    assert tried == [256, 128, 64] and told == [128, 64]


def test_halving_stops_at_the_smallest_and_says_so():
    tried = []

    def attempt(tile):
        tried.append(tile)
        raise MemoryError

    with pytest.raises(OutOfMemory, match="64 pixels"):
        memory.halving(attempt, 256, smallest=50)
    assert tried == [256, 128, 64]


def test_halving_leaves_a_users_tile_alone():
    tried = []

    def attempt(tile):
        tried.append(tile)
        raise MemoryError

    with pytest.raises(OutOfMemory, match="256"):
        memory.halving(attempt, 256, smallest=16, fixed=True)
    assert tried == [256]


def test_halving_passes_other_errors_through():
    with pytest.raises(RuntimeError, match="shape"):
        memory.halving(lambda t: (_ for _ in ()).throw(RuntimeError("shape")), 64, smallest=1)


def test_peak_memory_sees_an_allocation_that_is_gone():
    code = ("from restore_cli.pipeline import memory\n"
            "before = memory.peak_rss()\n"
            "block = bytearray(b'x') * (200 << 20)\n"
            "del block\n"
            "print(memory.peak_rss() - before, memory.rss())")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, held = map(int, found.stdout.split())
    assert grown > 190 * MB and held < 190 * MB


def test_release_runs_anywhere():
    memory.release()


def test_what_does_not_fit_says_what_would():
    budget = memory.Budget(300 * MB, 100 * MB)

    def cost(side):
        return side * MB

    for times, enough in ((1, "346 MB"), (2, "377 MB")):
        with pytest.raises(OutOfMemory, match=f"at least {enough} with --memory"):
            with budget.telling(times):
                memory.choose_tile(cost, budget.room, smallest=230, largest=400)
    for share in (1, 2):
        with pytest.raises(OutOfMemory) as caught, budget.telling(share):
            memory.check_tile(260, cost, budget.room // share)
        assert str(caught.value).count("at least") == 1
        more = memory.Budget(budget.ceiling + share * caught.value.short, budget.base)
        assert memory.check_tile(260, cost, more.room // share) == 260


def test_other_failures_in_a_budget_are_left_alone():
    with pytest.raises(OutOfMemory) as caught, memory.Budget(9, 0).telling():
        raise OutOfMemory("gone", hint="Give more with --memory")
    assert caught.value.hint == "Give more with --memory"
    with pytest.raises(ValueError), memory.Budget(9, 0).telling():
        raise ValueError
