"""Reading ahead, writing behind and ending aside."""

from __future__ import annotations

import threading

import pytest

from restore_cli.pipeline.overlap import Ahead, Aside, Behind


def test_ahead_gives_all_in_order_and_not_too_many():
    given = []

    def source():
        for number in range(20):
            given.append(number)
            yield number

    with Ahead(source(), depth=2) as ahead:
        for number, item in enumerate(ahead):
            assert item == number
            assert len(given) <= number + 5  # taken, two waiting, one about to, one being made
        assert list(ahead) == []
    assert ahead.idle


def test_ahead_raises_the_sources_error_after_what_came_before():
    def source():
        yield 1
        raise ValueError("damaged")

    with Ahead(source()) as ahead:
        assert next(ahead) == 1
        for _ in range(2):  # and again, should anybody ask
            with pytest.raises(ValueError, match="damaged"):
                next(ahead)


def test_ahead_stops_early():
    with Ahead(iter(range(10**9)), depth=1) as ahead:
        assert next(ahead) == 0
    assert ahead.idle


def test_behind_uses_all():
    used, threads = [], set()

    def use(value):
        threads.add(threading.current_thread())
        used.append(value)

    with Behind(use) as behind:
        for value in range(50):
            behind.put(value)
    assert used == list(range(50)) and threading.main_thread() not in threads


@pytest.mark.parametrize("values", [1, 50])
def test_behind_passes_its_error_on(values):
    def use(value):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Behind(use) as behind:
        for value in range(values):
            behind.put(value)


def test_behind_drops_what_waits_when_the_block_fails():
    gate, used = threading.Event(), []

    def use(value):
        gate.wait(10)
        used.append(value)

    with pytest.raises(KeyboardInterrupt), Behind(use, depth=3) as behind:
        for value in range(3):
            behind.put(value)
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert len(used) <= 1


def test_aside_works_beside_the_caller_one_at_a_time():
    aside, gate, seen = Aside(), threading.Event(), []
    aside.do(lambda: (gate.wait(10), seen.append(1)))
    aside.check()
    assert not seen  # the caller did not wait
    gate.set()
    aside.do(lambda: seen.append(2))
    aside.wait()
    assert seen == [1, 2]


def test_aside_raises_an_error_once():
    aside, seen = Aside(), []
    aside.do(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        aside.do(lambda: seen.append(1))
    aside.wait()
    assert not seen  # what came after the failure was not begun
    aside.do(lambda: 1 / 0)
    while True:
        try:
            aside.check()
        except ZeroDivisionError:
            break
    aside.check()
