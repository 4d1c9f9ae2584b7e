"""One film over several processes.

The run alone holds the journal and its lock, and joins the segments. Processes get pieces of the
film (`vsr_pieces`), make their segments and tell of each. What one process would have made other
than several did is made again before the film is joined, so that the result is the same.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import InputError, RestoreError
from restore_cli.jobs import vsr_begin, vsr_journal, vsr_pieces, workers
from restore_cli.jobs.vsr_begin import Settings
from restore_cli.jobs.vsr_journal import Journal
from restore_cli.jobs.vsr_output import Output
from restore_cli.jobs.vsr_pieces import Part, Piece
from restore_cli.media import atomic
from restore_cli.media.video_model import VideoInfo
from restore_cli.pipeline.crew import Crew
from restore_cli.pipeline.crew_link import Portion
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.report import FATAL, Failure, Report, Summary
from restore_cli.runtime import device
from restore_cli.weights.hashing import sha256_of

Shown = Callable[[Exception, Item], Exception]


class FilmReport(Report):
    """Says of a film whose process has died how to go on with it."""

    def lost(self, item: Item, failure: Failure) -> None:
        folder = vsr_journal.folder_of(Path(item.target))
        if item.target != STREAM and folder.is_dir() and any(folder.iterdir()):
            failure = replace(failure, text=f"{failure.text}. --resume goes on after the frames "
                                            "that are finished")
        super().lost(item, failure)


def parts(settings: Settings, items: Sequence[Item], console: Console) -> dict[Item, Part]:
    """The films to divide among processes: where there are fewer films than processes.

    Says of others why they are not divided.
    """
    request = settings.request
    work = [item for item in items if item.skip is None]
    if device.processes(device.parse(request.device), request.jobs) <= len(work):
        return {}
    found: dict[Item, Part] = {}
    for item in work:
        why = "what goes through a pipe"
        if STREAM not in (item.source, item.target):
            why = "frames whose times the file does not tell"
            try:
                with vsr_begin.opened(settings, item, console) as film:
                    part = Part.known(film.info, settings.cut)
            except InputError:
                continue  # told when its turn comes
            if part is not None:
                if part.segments(request.segment) > 1:
                    found[item] = part
                continue
        console.info(f"{item.source}: {why} cannot be divided among processes")
    return found


def run(module: str, settings: Settings, items: Sequence[Item], divided: Mapping[Item, Part],
        console: Console, describe: Callable[[dict[str, Any]], str], shown: Shown,
        weights: Path, sheets: Mapping[str, Path]) -> Summary:
    """Does `items`, one after another, in several processes.

    Args:
        module: as for `workers.run`.
        divided: those to divide, as `parts` found them; others are done by one process.
        describe: the line for people about a finished record.
        shown: makes of an error one that the user can understand.
        weights: the weight file.
        sheets: files of previews, by the film's output.

    Raises:
        RestoreError: what concerns the whole run.
    """
    begun = time.perf_counter()
    report = FilmReport(console, describe, None)
    work = report.begin(items)
    most = max(part.segments(settings.request.segment) for part in divided.values())
    tasks, environs, notes = workers.shared(
        settings.request, max(most, len(work) - len(divided)), weights, console,
        sheets={target: str(sheet) for target, sheet in sheets.items()})
    with contextlib.ExitStack() as stack:
        stack.enter_context(atomic.folders([Path(item.target) for item in work]))
        bar = stack.enter_context(console.progress(total=0, unit="frame"))
        division = Division(settings, divided, console, report, shown, sha256_of(weights),
                            len(tasks))
        stack.push(division.end)
        crew = Crew(module, tasks, environs, console, division, bar, notes, growing=True)
        if division.begin_with(work, crew.add):
            crew.run([])
    report.summary.seconds = time.perf_counter() - begun
    return report.summary


@dataclass
class _Film:
    """A film under way.

    Attributes:
        stack: holds the journal open.
        plan, half, name: how frames are made, frames of a window before its middle, and the
            network's name, as the first process has found.
        pending: portions that have not ended.
        ended: the film's end has been reached.
        sound: all segments before this one are without damage; None as long as there is none.
        failure, problems: what there is to say of the film in the end.
    """

    item: Item
    info: VideoInfo
    part: Part
    journal: Journal
    output: Output
    stack: contextlib.ExitStack
    begun: float
    plan: dict[str, Any] | None = None
    half: int = 0
    name: str = ""
    pending: int = 0
    ended: bool = False
    sound: int | None = None
    failure: Failure | None = None
    problems: tuple[str, ...] = ()


class Division(Report):
    """Hands out the pieces of one film after another, and hears what becomes of them.

    Args:
        divided: films to divide.
        report: of the run.
        shown: as for `run`.
        sha256: of the weight file.
        count: processes.
    """

    def __init__(self, settings: Settings, divided: Mapping[Item, Part], console: Console,
                 report: Report, shown: Shown, sha256: str, count: int):
        super().__init__(console, str, None)
        self._settings, self._divided, self._report = settings, divided, report
        self._shown, self._sha256, self._count = shown, sha256, count
        self._work: list[Item] = []
        self._add: Callable[[list[Item]], None] = self._work.extend
        self._film: _Film | None = None

    def begin_with(self, work: Sequence[Item], add: Callable[[list[Item]], None]) -> bool:
        """Begins with the first item of `work`; `add` takes what processes are to do.

        Returns:
            Whether there is anything for them.
        """
        self._work, self._add = list(work), add
        return self._next()

    def end(self, *error: Any) -> None:
        """Ends the film under way, if one is: an exception may have stopped the run."""
        film, self._film = self._film, None
        if film is not None:
            film.stack.__exit__(*error)

    def _next(self) -> bool:
        while self._work and self._film is None:
            item = self._work.pop(0)
            if item not in self._divided:
                self._add([item])
                return True
            begun = time.perf_counter()
            try:
                self._film = self._opened(item, begun)
            except FATAL:
                raise
            except Exception as error:
                self._report.failed(item, Failure.of(self._shown(error, item), item),
                                    time.perf_counter() - begun)
        if self._film is None:
            return False
        self._give(self._film, {"before": self._film.plan,
                                "begun": bool(self._film.journal.frames)})
        return True

    def _opened(self, item: Item, begun: float) -> _Film:
        settings, console = self._settings, self._console
        with vsr_begin.opened(settings, item, console) as film, contextlib.ExitStack() as stack:
            for note in film.info.notes:
                console.warn(f"{item.source}: {note}")
            journal = vsr_begin.journal(settings, self._sha256, item, film)
            assert journal is not None
            stack.enter_context(journal)
            stack.push(vsr_begin.kept(item, journal, console))
            vsr_begin.check(settings, item)
            output = vsr_begin.output(settings, item, film, journal, console,
                                      vsr_begin.teller(item, console))
            return _Film(item, film.info, self._divided[item], journal, output, stack.pop_all(),
                         begun, plan=journal.plan)

    def _give(self, film: _Film, *tasks: dict[str, Any]) -> None:
        film.pending += len(tasks)
        self._add([Portion(film.item.source, film.item.target, told=json.dumps(task))
                   for task in tasks])

    def _pieces(self, film: _Film, pieces: Sequence[Piece], *, again: bool, lost: bool = False
                ) -> None:
        """Hands out pieces.

        Args:
            again: pictures of them may be there.
            lost: a process that was killed had them.
        """
        length, tasks = self._settings.request.segment, []
        for piece in pieces:
            place = film.journal.place(piece.first) if piece.lead is None else None
            stop = len(film.part.times)
            if piece.end is not None:
                stop = min(stop, length * piece.end)
            tasks.append({"piece": piece.record(), "plan": film.plan, "again": again,
                          "lost": lost, "place": place and place.record(),
                          "frames": max(0, stop - length * piece.first)})
        self._give(film, *tasks)

    def part(self, item: Item, facts: dict[str, Any]) -> None:
        film = self._film
        if film is None or film.item.target != item.target:
            return
        if "told" in facts:
            vsr_begin.teller(film.item, self._console)(facts["told"])
            return
        try:
            film.journal.add(facts["record"])
        except RestoreError as error:
            film.failure = film.failure or Failure.of(error, film.item)

    def done(self, item: Item, facts: dict[str, Any], seconds: float) -> None:
        film = self._film
        if not isinstance(item, Portion) or film is None:
            self._report.done(item, facts, seconds)
            self._next()
            return
        film.pending -= 1
        if "plan" in facts:
            film.plan, film.half, film.name = (facts[key] for key in ("plan", "half", "name"))
            self._guarded(film, self._divide)
            return
        piece = Piece.from_record(json.loads(item.told)["piece"])
        if facts.get("damaged"):
            film.sound = piece.first if film.sound is None else min(film.sound, piece.first)
        elif piece.end is None:
            film.ended, film.problems = True, tuple(facts["problems"])
        film.output.notes += tuple(one for one in facts.get("notes", ())
                                   if one not in film.output.notes)
        self._settle(film)

    def failed(self, item: Item, failure: Failure, seconds: float) -> None:
        film = self._film
        if not isinstance(item, Portion) or film is None:
            self._report.failed(item, failure, seconds)
            self._next()
            return
        film.pending -= 1
        film.failure = film.failure or failure
        self._settle(film)

    def lost(self, item: Item, failure: Failure) -> None:
        film, task = self._film, json.loads(getattr(item, "told", "{}"))
        if film is None or not isinstance(item, Portion):
            self._report.lost(item, failure)
            self._next()
            return
        if "piece" not in task or task["lost"] or film.failure is not None:
            self.failed(item, failure, 0.0)
            return
        film.pending -= 1
        piece = Piece.from_record(task["piece"])
        there = {record["segment"] for record in film.journal.segments}
        first = piece.first
        while first in there and first != piece.end:
            first += 1
        self._console.warn(f"{item.source}: a process was killed; another makes what is left of "
                           "its piece")
        if first == piece.end:
            self._settle(film)
        else:
            self._pieces(film, [Piece(first, piece.end, piece.lead if first == piece.first
                                      else None)], again=True, lost=True)

    def _guarded(self, film: _Film, step: Callable[[_Film], None]) -> None:
        """Takes a step of a film, whose failure is the film's."""
        try:
            step(film)
        except FATAL:
            raise
        except Exception as error:
            film.failure = Failure.of(self._shown(error, film.item), film.item)
            self._over(film, {})

    def _divide(self, film: _Film) -> None:
        """Begins with the work, now that it is known how each frame is to be made."""
        length, total = self._settings.request.segment, film.part.segments(
            self._settings.request.segment)
        assert film.plan is not None
        resumed = film.journal.plan is not None
        film.journal.begin(film.plan)
        records = film.journal.segments
        if film.journal.frames:
            self._console.info(f"{film.item.target}: going on after {film.journal.frames} "
                               "finished frames")
        film.ended = bool(records) and records[-1]["segment"] == total - 1
        pieces = vsr_pieces.divided(records, film.part, length, self._count,
                                    self._settings.threshold)
        if pieces:
            self._pieces(film, pieces, again=resumed)
        else:
            self._settle(film)

    def _settle(self, film: _Film) -> None:
        """What comes once no process has anything of the film left to do."""
        if film.pending:
            return
        if film.failure is not None:
            self._over(film, {})
        else:
            self._guarded(film, self._go_on)

    def _go_on(self, film: _Film) -> None:
        journal, length = film.journal, self._settings.request.segment
        if film.sound is not None:
            # Frames after damage may be others than the file's index says.
            journal.drop([record["segment"] for record in journal.segments
                          if record["segment"] >= film.sound])
            film.sound, film.ended = None, False
            self._console.info(f"{film.item.source}: there are damaged frames; one process makes "
                               "what follows the last sound piece")
        left, film.ended = vsr_pieces.left(journal, film.ended, length, film.half)
        if left:
            self._pieces(film, left, again=True)
            return
        frames, shots = journal.frames, journal.shots
        film.output.complete()
        for note in (*film.output.notes, *film.problems):
            self._console.warn(f"{film.item.source}: {note}")
        self._over(film, {**vsr_begin.facts(
            film.info, self._settings.request.scale, frames, shots,
            vsr_pieces.plan(film.plan or {}), film.name, film.output.notes),
            "problems": list(film.problems)})

    def _over(self, film: _Film, facts: dict[str, Any]) -> None:
        self._film = None
        seconds, failure = time.perf_counter() - film.begun, film.failure
        if failure is not None:
            error = RestoreError(failure.text)
            film.stack.__exit__(RestoreError, error, None)
            self._report.failed(film.item, failure, seconds)
        else:
            film.stack.close()
            self._report.done(film.item, facts, seconds)
        self._next()
