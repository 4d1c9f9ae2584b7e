"""One film: frames in, shots and windows, the network, segments out, joined at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, OutOfMemory
from restore_cli.jobs import files, vsr_begin, vsr_journal, vsr_pieces, vsr_plan, vsr_preview
from restore_cli.jobs.vsr_begin import Settings
from restore_cli.jobs.vsr_journal import Journal, Sent
from restore_cli.jobs.vsr_names import to_pictures
from restore_cli.jobs.vsr_network import Loaded
from restore_cli.jobs.vsr_output import Made, Output
from restore_cli.jobs.vsr_pieces import Piece
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_stream import Held, Stream
from restore_cli.jobs.vsr_windows import Place, Windows
from restore_cli.media import video
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.nets.layout import layout
from restore_cli.pipeline import buffers, memory
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.overlap import Ahead, Behind

if TYPE_CHECKING:
    from restore_cli.jobs.vsr import VsrRequest

_NEXT = 1.3  # as much as one encoder, that one and the beginning of the next take on a CPU


class Damaged(Exception):
    """A piece has frames that may be others when the film is decoded from its start."""


class _Reading:
    """The windows of a piece of a film, decoded ahead in a thread until `close`.

    Attributes:
        sure: decoding began where it is certain that windows are those of the whole film.
        idle: once closed, whether the thread has ended, so that the film may be closed.
    """

    def __init__(self, film: video.Source, settings: Settings, piece: Piece, place: Place | None,
                 length: int):
        begin, shown = vsr_begin.placed(film, place, piece.lead, settings.cut)
        self.film, self.piece = film, piece
        self.sure = begin is None or begin is place
        self._ahead = Ahead(settings.cut.of_film(shown, film.info,
                                                 begin.number if begin is not None else 0))
        self.windows = Windows(self._ahead, length, settings.threshold, begin)
        self._ahead.__enter__()

    def close(self) -> None:
        """Ends the thread."""
        self._ahead.__exit__(None, None, None)

    @property
    def idle(self) -> bool:
        return self._ahead.idle


class Film:
    """Enlarges films with one network.

    Args:
        settings: what to do.
        loaded: the network.
        sha256: of its weight file.
        console: gets messages, progress and a record a segment.
        sheets: files of previews, by the film's output.
    """

    def __init__(self, settings: Settings, loaded: Loaded, sha256: str, console: Console,
                 sheets: Mapping[str, Path] | None = None):
        self._settings, self._request = settings, settings.request
        self._loaded, self._sha256, self._console = loaded, sha256, console
        self._sheets = sheets or {}
        self._reading: _Reading | None = None
        self._warm_up()
        self._budget = memory.budget(
            self._request.memory, base=memory.rss() + files.CODECS
            + (vsr_preview.room(self._request.preview) if self._sheets else 0))

    def _warm_up(self) -> None:
        """Compiles and loads every kernel on tiny frames, so that the base counts them."""
        side = 24
        pixels = np.zeros((side, side, 3), np.uint8)
        window = [Held(Frame(i, i, Fraction(1), 1, pixels))
                  for i in range(self._loaded.config["n_sequence"])]
        for tile in ((side, side), (8, 8)):
            Stream(self._loaded, (side, side), Plan(tile, len(window) - 1), self._request.scale
                   ).enlarge(window)
            window = [Held(one.frame) for one in window]
        memory.release(young=True)

    def run(self, item: Item) -> dict[str, Any]:
        """Enlarges one film; returns the facts for its record.

        Raises:
            RestoreError: it cannot be read, enlarged or written.
        """
        with self._opened(item) as film, contextlib.ExitStack() as stack:
            for note in film.info.notes:
                self._console.warn(f"{item.source}: {note}")
            journal = vsr_begin.journal(self._settings, self._sha256, item, film)
            if journal is not None:
                stack.enter_context(journal)
                stack.push(vsr_begin.kept(item, journal, self._console))
                vsr_begin.check(self._settings, item)
            found = self._enlarge(item, film, journal)
            for note in film.problems:
                self._console.warn(f"{item.source}: {note}")
            return {**found, "problems": list(film.problems)}

    @contextlib.contextmanager
    def _opened(self, item: Item) -> Iterator[video.Source]:
        film = vsr_begin.opened(self._settings, item, self._console)
        try:
            yield film
        finally:
            reading, self._reading = self._reading, None
            if reading is not None:
                reading.close()
            if reading is None or reading.idle:
                film.close()
            memory.release(young=True)  # the next film has frames of another size

    def _read(self, film: video.Source, piece: Piece, place: Place | None) -> _Reading:
        """Begins to decode a piece; the one before it is over."""
        if self._reading is not None:
            self._reading.close()
        self._reading = _Reading(film, self._settings, piece, place,
                                 self._loaded.config["n_sequence"])
        return self._reading

    def _enlarge(self, item: Item, film: video.Source, journal: Journal | None
                 ) -> dict[str, Any]:
        info, request, ended = film.info, self._request, False
        piece = vsr_pieces.missing(journal.segments if journal is not None else [])[0]
        reading = self._read(film, piece, journal and journal.place(piece.first))
        plan = self._plan(item, info, journal and journal.plan, bool(journal and journal.frames))
        self._preview(item, info, plan)
        with self._console.progress(
                total=self._settings.cut.count(info), unit="frame",
                initial=journal.frames if journal is not None else 0) as bar:
            output = vsr_begin.output(self._settings, item, film, journal, self._console,
                                      vsr_begin.teller(item, self._console), plan.lean)
            if journal is not None:
                journal.begin(vsr_pieces.noted(plan))
                if journal.frames:
                    self._console.info(
                        f"{item.target}: going on after {journal.frames} finished frames")
            enlarger = _Enlarger(self._loaded, (info.height, info.width), plan, request,
                                 self._console)
            try:
                while True:
                    done = journal.frames if journal is not None else 0
                    try:
                        self._make(item, reading, output, enlarger, bar, done)
                        ended = ended or piece.end is None
                    except Damaged:  # so all that follows may be other frames than were made
                        assert journal is not None
                        output.abandon()
                        journal.drop([one["segment"] for one in journal.segments
                                      if one["segment"] >= piece.first])
                    if journal is None:
                        break
                    left, ended = vsr_pieces.left(journal, ended, request.segment,
                                                  self._loaded.config["n_sequence"] // 2)
                    if not left:
                        break
                    piece = left[0]
                    reading = self._read(film, piece, journal.place(piece.first))
                frames, shots = reading.windows.number, reading.windows.shots
                if journal is not None:
                    frames, shots = journal.frames, journal.shots
                output.complete()
            except BaseException:
                output.abandon()
                raise
        for note in output.notes:
            self._console.warn(f"{item.source}: {note}")
        return vsr_begin.facts(info, request.scale, frames, shots, plan, self._loaded.name,
                               output.notes)

    def _make(self, item: Item, reading: _Reading, output: Output, enlarger: _Enlarger, bar: Any,
              done: int) -> None:
        """Makes a piece; all its segments are safe then.

        Args:
            done: frames of the film that are finished before.

        Raises:
            Damaged: it has to be made otherwise.
        """
        piece, windows, film = reading.piece, reading.windows, reading.film
        length = self._request.segment
        begin, stop = length * piece.first, None if piece.end is None else length * piece.end
        careful = stop is not None or not reading.sure
        output.go_to(piece.first)
        with contextlib.ExitStack() as stack:
            put = output.use
            if not enlarger.lean:
                put = stack.enter_context(Behind(output.use)).put
            for window in windows:
                if windows.number <= begin:
                    continue
                if careful and film.problems:
                    raise Damaged
                middle, notes = window[len(window) // 2].frame, {}
                if windows.number == begin + 1 and not reading.sure:
                    notes["marks"] = windows.marks()
                if windows.number == stop:
                    notes["ends"] = windows.marks()
                # Times that were mended, and damage, come again only from the start.
                place = None if film.problems else windows.place()
                put(Made(dataclasses.replace(middle, rgb=None), enlarger(window), place,
                         windows.begins, notes))
                bar.update()
                del window
                if windows.number == stop:
                    break
        if careful and (film.problems or (stop is not None and windows.number < stop)):
            raise Damaged
        if not windows.number:
            raise InputError("has no frames" if self._settings.cut.whole else
                             "has no frames between --start and --end", path=item.source)
        if stop is None and done > windows.number:
            raise InputError(f"has {windows.number} frames, and {done} were finished before",
                             path=item.source, hint="--overwrite begins anew")
        output.end()

    def part(self, item: Item, task: Mapping[str, Any], sent: Sent) -> dict[str, Any]:
        """One process's part in a film that several share; see `vsr_divide`.

        Args:
            task: a "piece" to make with a "plan"; or without, to find the "plan" and draw the
                "sheet".
            sent: stands for the journal.

        Returns:
            The plan, or whether the piece is "damaged" and what there is to say of it.
        """
        with self._opened(item) as film:
            info = film.info
            if "piece" not in task:
                plan = self._plan(item, info, task["before"], task["begun"])
                self._preview(item, info, plan)
                return {"plan": vsr_pieces.noted(plan), "name": self._loaded.name,
                        "half": self._loaded.config["n_sequence"] // 2}
            piece, plan = Piece.from_record(task["piece"]), vsr_pieces.plan(task["plan"])
            reading = self._read(film, piece, Place.from_record(task["place"]))
            with vsr_journal.helping(sent.folder), self._console.progress(
                    total=task["frames"], unit="frame") as bar:
                output = vsr_begin.output(self._settings, item, film, sent, Console(
                    stdout=self._console.stdout, stderr=io.StringIO()), sent.tell, plan.lean)
                try:
                    self._make(item, reading, output, _Enlarger(
                        self._loaded, (info.height, info.width), plan, self._request,
                        self._console), bar, 0)
                except Damaged:
                    output.abandon()
                    return {"damaged": True}
                except BaseException:
                    output.abandon()
                    raise
            return {"notes": list(output.notes), "problems": list(film.problems)}

    def _preview(self, item: Item, info: VideoInfo, plan: Plan) -> None:
        """Writes the film's sheet, if there is to be one, and tells of it."""
        sheet = self._sheets.get(str(item.target))
        if sheet is None:
            return
        request, settings = self._request, self._settings
        told = vsr_preview.Preview(
            str(item.source), info, settings.cut, settings.rate, settings.threshold,
            self._loaded.config["n_sequence"], request.scale, self._loaded.name).make(
            request.preview or 0, sheet,
            _Enlarger(self._loaded, (info.height, info.width), plan, request, self._console),
            request.overwrite, self._console)
        memory.release(young=True)
        if self._console.json_lines:
            self._console.result("", {"source": str(item.source), "output": str(item.target),
                                      "status": "preview", **told})
        elif told["shown"]:
            self._console.info(f"{sheet}: {len(told['shown'])} frames before and after; the film "
                               "follows, Ctrl-C stops it")

    def _plan(self, item: Item, info: VideoInfo, noted: Mapping[str, Any] | None,
              begun: bool) -> Plan:
        """How to divide the work on a frame.

        Args:
            noted: the plan of the run that is continued.
            begun: that run has finished something.
        """
        model = vsr_plan.cost(
            layout("vsr", self._loaded.config), self._loaded.config, (info.height, info.width),
            2 if info.deep else 1, self._request.scale, self._loaded.fused)
        before = vsr_pieces.plan(noted) if noted is not None else None
        try:
            with self._budget.telling():
                plan = vsr_plan.choose(model, self._budget.room, self._request.tile, before,
                                       self._beside(item, info))
        except OutOfMemory as error:
            error.path = error.path or info.path
            raise
        if begun and before is not None and vsr_pieces.noted(plan) != vsr_pieces.noted(before):
            self._console.warn(f"{info.path}: less memory than before: smaller tiles, whose "
                               "rounding may differ")
        return plan

    def _beside(self, item: Item, info: VideoInfo) -> tuple[int, int]:
        """Bytes of what writes the enlarged frames, ffmpeg's process above all; by a lean plan."""
        width, height = (self._request.scale * side for side in (info.width, info.height))
        if item.target == STREAM:
            return 0, 0
        if to_pictures(item.target):
            return (buffers.encoding("PNG", height, width),) * 2
        encoding, _ = vsr_begin.encoding(self._settings, info, (width, height))
        # While a segment ends, the next one's encoder begins: to fill, where frames come fast.
        return int(encoding.memory * (_NEXT if self._loaded.fused else 2)), encoding.memory


class _Enlarger:
    """The network on one film, with smaller tiles once memory runs out after all."""

    def __init__(self, loaded: Loaded, size: tuple[int, int], plan: Plan, request: VsrRequest,
                 console: Console):
        self._loaded, self._size, self._plan = loaded, size, plan
        self._request, self._console = request, console
        self._stream = Stream(loaded, size, plan, request.scale)

    @property
    def lean(self) -> bool:
        """Whether frames are to be written one by one."""
        return self._plan.lean

    def __call__(self, window: tuple[Held, ...]) -> np.ndarray:
        """The middle frame, enlarged."""
        return memory.halving(
            lambda side: self._attempt(side, window), max(self._plan.tile),
            smallest=vsr_plan.SMALLEST_TILE, fixed=self._request.tile is not None,
            on_retry=lambda half: self._console.warn(
                f"memory ran out; again with tiles of {half} pixels"))

    def _attempt(self, side: int, window: tuple[Held, ...]) -> np.ndarray:
        if side != max(self._plan.tile):
            self._plan = dataclasses.replace(self._plan, tile=(side, side), pairs=1, release=True)
            self._stream = Stream(self._loaded, self._size, self._plan, self._request.scale)
        return self._stream.enlarge(window)
