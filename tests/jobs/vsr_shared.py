"""`restore vsr` over several processes, played in this one with a network that costs nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from restore_cli.console import Console
from restore_cli.jobs import vsr, vsr_divide, vsr_film, workers
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.pipeline.report import Failure, Report

LOADED = SimpleNamespace(config={"n_sequence": 5, "scale": 4}, name="mix", fused=True)


class Mix:
    """Stands for the network: every frame of a window changes what it makes."""

    def __init__(self, loaded, size, plan, scale):
        self._scale = scale

    def enlarge(self, window):
        mixed = sum((place + 1) * held.frame.rgb.astype(np.uint32)
                    for place, held in enumerate(window))
        rgb = (mixed // 15).astype(window[0].frame.rgb.dtype)
        return rgb.repeat(self._scale, 0).repeat(self._scale, 1)


class Died(BaseException):
    """The process that does something is killed."""


class Heard(Report):
    """Passes on what a process says, as JSON."""

    def __init__(self, report, before):
        super().__init__(Console(), str, None)
        self._report, self._before = report, before

    def part(self, item, facts):
        self._before(item, facts)
        self._report.part(item, json.loads(json.dumps(facts)))

    def done(self, item, facts, seconds):
        self._report.done(item, json.loads(json.dumps(facts)), seconds)

    def failed(self, item, failure, seconds):
        self._report.failed(item, failure, seconds)


def crew_of(before=lambda item, facts: None, last_first=False):
    """A class that takes the place of `Crew`: does one item after another, in this process.

    Args:
        before: called ahead of what a process says of a part; may raise `Died`.
        last_first: items that came last are done first.
    """
    class Crew:
        seen: list = []

        def __init__(self, module, tasks, environs, console, report, bar, said, growing):
            assert growing
            self._task, self._console, self._report = tasks[0], console, report
            self._items = []
            Crew.seen = []

        def add(self, items):
            self._items += items

        def run(self, items):
            while self._items:
                item = self._items.pop(-1 if last_first else 0)
                Crew.seen.append(json.loads(item.told))
                try:
                    vsr.share(self._task, iter([item]), self._console,
                              Heard(self._report, before))
                except Died:
                    self._report.lost(item, Failure(3, "its process was killed"))

    return Crew


def play(monkeypatch):
    """Lets `restore vsr` run so; returns a function of a request's fields and a crew."""
    Path("net.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(vsr, "_film", lambda settings, path, console, sheets: vsr_film.Film(
        settings, LOADED, "digest", console, sheets))
    monkeypatch.setattr(vsr.vsr_network, "find", lambda *_: Path("net.safetensors"))
    monkeypatch.setattr(vsr_divide, "sha256_of", lambda path: "digest")
    monkeypatch.setattr(vsr_film, "Stream", Mix)
    monkeypatch.setattr(vsr_film.Film, "_warm_up", lambda self: None)
    monkeypatch.setattr(vsr_film.Film, "_plan", lambda *_: Plan((24, 32), 4))

    def shared(request, count, weights, console, **told):
        own = dataclasses.replace(request, jobs=None, inputs=[], weights=str(weights))
        tasks = [{"request": dataclasses.asdict(own), **told}] * min(count, request.jobs)
        return json.loads(json.dumps(tasks)), [{}] * len(tasks), set()

    monkeypatch.setattr(workers, "shared", shared)

    def go(source, target, crew=None, **fields):
        console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
        console.json_lines = True
        if crew is not None:
            monkeypatch.setattr(vsr_divide, "Crew", crew)
        fields = {"device": "cpu", "segment": 4, **fields}
        status = vsr.run(vsr.VsrRequest(inputs=[str(source)], output=str(target), **fields),
                         console)
        return SimpleNamespace(
            status=int(status), stderr=console.stderr.getvalue(), records=[
                json.loads(line) for line in console.stdout.getvalue().decode().splitlines()])

    return go
