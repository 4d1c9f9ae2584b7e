"""Streaming: overlap, bounds, failures that stay where they are, clean stops, true summaries."""

from __future__ import annotations

import errno
import io
import json
import threading
import time
from pathlib import Path

import pytest

from restore_cli.console import Console
from restore_cli.errors import (
    DeviceError,
    ExitStatus,
    InputError,
    OutOfMemory,
    OutputError,
    Terminated,
    UsageError,
    WeightsError,
)
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.stream import Summary, run


@pytest.fixture
def console():
    return Console(stdin=io.BytesIO(), stdout=io.BytesIO(), stderr=io.StringIO(), environ={})


def items(count: int) -> list[Item]:
    return [Item(Path(f"{i}.png"), Path(f"out/{i}.png")) for i in range(count)]


def number(item: Item) -> int:
    return int(item.source.stem)


def go(work, console, *, read=number, compute=lambda item, x: x * 10, write=None, **options):
    written = []

    def keep(item, result):
        written.append((item.source.name, result))
        return {"size": result}

    summary = run(work, read, compute, write or keep, console=console,
                  describe=lambda record: f"{record['source']} ok", **options)
    return summary, written


def test_every_item_goes_through_in_order(console):
    summary, written = go(items(20), console)
    assert written == [(f"{i}.png", i * 10) for i in range(20)]
    assert (summary.done, summary.failed, summary.skipped) == (20, 0, 0)
    assert summary.status == ExitStatus.OK
    lines = console.stderr.getvalue().splitlines()
    assert lines[:2] == ["0.png ok", "1.png ok"]
    assert lines[-1].startswith("20 done in ")


def test_nothing_to_do(console):
    summary, written = go([], console)
    assert written == [] and summary.status == ExitStatus.OK


def test_one_item_has_no_summary_line(console):
    go(items(1), console)
    assert console.stderr.getvalue() == "0.png ok\n"


def test_reading_computing_and_writing_overlap(console):
    """Each stage of one item waits for another stage of a neighbour: no deadlock, so overlap."""
    reading, writing = threading.Event(), threading.Event()

    def read(item):
        if number(item) == 2:
            reading.set()
        return number(item)

    def compute(item, x):
        if x == 1:
            assert reading.wait(10), "the next input is not read during compute"
            assert writing.wait(10), "the last result is not written during compute"
        return x

    def write(item, x):
        if x == 0:
            writing.set()
        return {}

    summary, _ = go(items(4), console, read=read, compute=compute, write=write)
    assert summary.done == 4


def test_compute_runs_in_the_calling_thread(console):
    seen = set()
    go(items(3), console, compute=lambda item, x: seen.add(threading.current_thread()))
    assert seen == {threading.current_thread()}


@pytest.mark.parametrize("depth", [1, 3])
def test_at_most_depth_images_wait_on_each_side(console, depth):
    lock, held, worst = threading.Lock(), {"read": 0, "made": 0}, {"read": 0, "made": 0}

    def count(key, by):
        with lock:
            held[key] += by
            worst[key] = max(worst[key], held[key])

    def read(item):
        count("read", 1)
        return number(item)

    def compute(item, x):
        count("read", -1)
        time.sleep(0.005 * (x % 3))
        count("made", 1)
        return x

    def write(item, x):
        time.sleep(0.004 * (x % 4))
        count("made", -1)
        return {}

    go(items(30), console, read=read, compute=compute, write=write, depth=depth)
    assert worst["read"] <= depth + 1  # one more for the moment between taking and computing
    assert worst["made"] <= depth + 1  # one more just finished


def test_items_in_flight_fit_the_room_and_a_larger_one_runs_alone(console):
    lock, flying, seen = threading.Lock(), [], []
    sizes = [10, 10, 10, 500, 10, 60, 60, 10]

    def read(item):
        with lock:
            flying.append(number(item))
            seen.append(sorted(flying))
        return number(item)

    def write(item, x):
        time.sleep(0.003)
        with lock:
            flying.remove(x)
        return {}

    summary, _ = go(items(8), console, read=read, compute=lambda item, x: x, write=write, depth=3,
                    weigh=lambda item: sizes[number(item)], room=100)
    assert summary.done == 8
    for together in seen:
        assert together == [3] or sum(sizes[i] for i in together) <= 100
    assert max(map(len, seen)) > 1


def test_a_bad_item_in_any_stage_does_not_stop_the_others(console):
    def read(item):
        if number(item) == 1:
            raise InputError("is damaged", path=item.source)
        return number(item)

    def compute(item, x):
        if x == 2:
            raise OutOfMemory("too large")
        return x

    def write(item, x):
        if x == 3:
            raise OutputError("the disk is full", path=item.target)
        return {}

    summary, _ = go(items(6), console, read=read, compute=compute, write=write)
    assert (summary.done, summary.failed) == (3, 3)
    assert summary.status == ExitStatus.SOME_FAILED
    errors = [line for line in console.stderr.getvalue().splitlines() if "error:" in line]
    assert errors == ["error: 1.png: is damaged", "error: 2.png: too large",
                      "error: out/3.png: the disk is full"]
    assert "3 done, 3 failed in" in console.stderr.getvalue()


def test_a_bad_weight_is_a_bad_item(console):
    def weigh(item):
        if number(item) == 0:
            raise InputError("no header", path=item.source)
        return 5

    summary, written = go(items(3), console, weigh=weigh, room=4)
    assert (summary.done, summary.failed) == (2, 1)


def test_system_errors_of_files_are_failures_not_bugs(console):
    def read(item):
        if number(item) == 0:
            raise PermissionError(errno.EACCES, "Permission denied")
        return number(item)

    def write(item, x):
        if x == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return {}

    summary, _ = go(items(3), console, read=read, write=write)
    assert summary.status == ExitStatus.SOME_FAILED
    text = console.stderr.getvalue()
    assert "0.png: cannot be read (Permission denied)" in text
    assert "out/1.png: cannot be written (No space left on device)" in text


@pytest.mark.parametrize("error,status", [
    (OutOfMemory("x"), ExitStatus.MEMORY), (UsageError("x"), ExitStatus.USAGE),
    (InputError("x"), ExitStatus.SOME_FAILED), (MemoryError(), ExitStatus.MEMORY),
    (ValueError("x"), ExitStatus.BUG)])
def test_when_all_fail_alike_the_run_has_their_status(console, error, status):
    def compute(item, x):
        raise error

    summary, _ = go(items(2), console, compute=compute)
    assert summary.status == status


def test_a_bug_is_reported_as_one_and_does_not_stop_the_others(console):
    def compute(item, x):
        if x == 0:
            raise ZeroDivisionError("oh")
        return x

    summary, _ = go(items(3), console, compute=compute)
    assert (summary.done, summary.status) == (2, ExitStatus.BUG)
    assert "Traceback" not in console.stderr.getvalue()
    console.debug = True
    go(items(1), console, compute=compute)
    assert "Traceback" in console.stderr.getvalue()


@pytest.mark.parametrize("error", [WeightsError("gone"), DeviceError("gone")])
def test_errors_of_the_run_stop_it(console, error):
    seen = []

    def compute(item, x):
        seen.append(x)
        raise error

    with pytest.raises(type(error)):
        go(items(50), console, compute=compute)
    assert seen == [0]


def test_a_closed_stdout_stops_the_run(console):
    def write(item, x):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        go(items(50), console, write=write)
    assert "error" not in console.stderr.getvalue()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_an_interrupt_waits_for_the_write_in_progress_and_starts_no_other(console, stop):
    started, written = threading.Event(), []

    def compute(item, x):
        if x == 1:
            assert started.wait(10)
            raise stop()
        return x

    def write(item, x):
        started.set()
        time.sleep(0.05)
        written.append(x)
        return {}

    with pytest.raises(stop):
        go(items(9), console, compute=compute, write=write)
    assert written == [0]


def test_an_interrupt_does_not_wait_for_a_reader_that_hangs(console):
    never = threading.Event()

    def read(item):
        if number(item) == 1:
            never.wait(30)
        return 0

    def compute(item, x):
        raise KeyboardInterrupt

    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        go(items(3), console, read=read, compute=compute)
    assert time.perf_counter() - start < 15
    never.set()


def test_skipped_items_are_counted_and_not_touched(console):
    work = [Item(Path("0.png"), Path("o"), skip="output exists"), *items(3)[1:]]
    summary, written = go(work, console)
    assert (summary.done, summary.skipped) == (2, 1)
    assert [name for name, _ in written] == ["1.png", "2.png"]
    assert "2 done, 1 skipped" in console.stderr.getvalue()


def test_json_has_one_object_an_item(console):
    console.json_lines = True

    def compute(item, x):
        if x == 2:
            raise InputError("bad \u00e9")
        return x

    go([Item(Path("0.png"), Path("o"), skip="output exists"), *items(3)[1:]], console,
       compute=compute)
    records = [json.loads(line) for line in console.stdout.getvalue().decode().splitlines()]
    records.sort(key=lambda record: record["source"])  # what is written and what fails may overtake
    assert [r["status"] for r in records] == ["skipped", "done", "failed"]
    assert records[0]["reason"] == "output exists"
    assert records[1]["source"] == "1.png" and records[1]["output"] == "out/1.png"
    assert records[1]["size"] == 1 and records[1]["seconds"] >= 0
    assert records[2]["error"] == "2.png: bad \u00e9"


def test_summary_words():
    assert str(Summary(done=12, failed=3, skipped=1, seconds=8.24)) == (
        "12 done, 3 failed, 1 skipped in 8.2 s")
    assert str(Summary(done=1, seconds=0.04)) == "1 done in 0.0 s"
