"""One film: frames in, shots and windows, the network, segments out, joined at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, OutOfMemory, UsageError
from restore_cli.jobs import files, vsr_journal, vsr_names, vsr_output, vsr_plan, vsr_preview
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.jobs.vsr_journal import Journal
from restore_cli.jobs.vsr_network import Loaded
from restore_cli.jobs.vsr_output import Made, Output
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_stream import Held, Stream
from restore_cli.jobs.vsr_windows import Place, Windows
from restore_cli.media import frames, video
from restore_cli.media.atomic import check_target
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.nets.layout import layout
from restore_cli.pipeline import buffers, memory, naming
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.overlap import Ahead, Behind

if TYPE_CHECKING:
    from restore_cli.jobs.vsr import VsrRequest

_NEXT = 1.3  # as much as one encoder, that one and the beginning of the next take on a CPU


@dataclass(frozen=True)
class Settings:
    """The command line's wishes, understood.

    Attributes:
        request: the rest of them.
        cut: the part of each film.
        rate: frames a second of pictures, None for the usual.
        threshold: of scene cuts, None looks for none.
        arguments: for ffmpeg.
        kind: form for standard output.
    """

    request: VsrRequest
    cut: Cut
    rate: Fraction | None
    threshold: float | None
    arguments: tuple[str, ...]
    kind: str


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
        cut = self._settings.cut
        if item.source != STREAM and not vsr_names.is_pictures(str(item.source)):
            naming.require_input(item.source)
        source = item.source if item.source == STREAM else str(item.source)
        film = video.open_source(source, stdin=self._console.stdin, rate=self._settings.rate,
                                 start=cut.first, end=cut.stop)
        ahead: Ahead[Frame] | None = None
        try:
            info = film.info
            for note in info.notes:
                self._console.warn(f"{item.source}: {note}")
            with contextlib.ExitStack() as stack:
                journal = self._journal(item, film)
                if journal is not None:
                    stack.enter_context(journal)
                    stack.push(self._kept(item, journal))
                    if not vsr_names.to_pictures(item.target):  # another run may have ended by now
                        check_target(item.target, overwrite=self._request.overwrite)
                place, shown = _placed(film, journal.place if journal is not None else None, cut)
                ahead = stack.enter_context(Ahead(cut.of_film(
                    shown, info, place.number if place is not None else 0)))
                facts = self._enlarge(item, info, Windows(
                    ahead, self._loaded.config["n_sequence"], self._settings.threshold, place),
                    film, journal)
            for note in film.problems:
                self._console.warn(f"{item.source}: {note}")
            return {**facts, "problems": list(film.problems)}
        finally:
            if ahead is None or ahead.idle:
                film.close()
            memory.release(young=True)  # the next film has frames of another size

    def _enlarge(self, item: Item, info: VideoInfo, windows: Windows, film: video.Source,
                 journal: Journal | None) -> dict[str, Any]:
        scale, size = self._request.scale, (info.height, info.width)
        out_size = scale * info.width, scale * info.height
        plan = self._plan(item, info, journal)
        self._preview(item, info, plan)
        total = self._settings.cut.count(info)
        with self._console.progress(total=total, unit="frame", initial=journal.frames
                                    if journal is not None else 0) as bar:
            output = self._output(item, info, out_size, journal, film)
            if journal is not None:
                journal.begin({"tile": list(plan.tile), "pairs": plan.pairs})
            done = journal.frames if journal is not None else 0
            if done:
                self._console.info(f"{item.target}: going on after {done} finished frames")
            enlarger = _Enlarger(self._loaded, size, plan, self._request, self._console)
            try:
                with Behind(output.use) as behind:
                    for window in windows:
                        if windows.number <= done:
                            continue
                        middle = window[len(window) // 2].frame
                        # Times that were mended, and damage, come again only from the start.
                        place = None if film.problems else windows.place()
                        behind.put(Made(dataclasses.replace(middle, rgb=None),
                                        enlarger(window), place))
                        bar.update()
                        del window
                if not windows.number:
                    raise InputError("has no frames" if self._settings.cut.whole else
                                     "has no frames between --start and --end", path=item.source)
                if done > windows.number:
                    raise InputError(f"has {windows.number} frames, and {done} were finished "
                                     "before", path=item.source, hint="--overwrite begins anew")
                output.finish()
            except BaseException:
                output.abandon()
                raise
        for note in output.notes:
            self._console.warn(f"{item.source}: {note}")
        return {"input_size": [info.width, info.height], "size": list(out_size),
                "shots": windows.shots, "frames": windows.number,
                "weights": self._loaded.name, "tile": list(plan.tile),
                "notes": [*info.notes, *output.notes]}

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

    def _kept(self, item: Item, journal: Journal) -> Callable[..., None]:
        """What says, at the end of a block that fails, what the run leaves behind."""
        def say(kind: type[BaseException] | None, *rest: object) -> None:
            if kind is not None and journal.frames:
                self._console.info(f"{item.target}: {journal.frames} frames are kept in "
                                   f"{journal.folder.name}; --resume goes on after them")

        return say

    def _plan(self, item: Item, info: VideoInfo, journal: Journal | None) -> Plan:
        model = vsr_plan.cost(
            layout("vsr", self._loaded.config), self._loaded.config, (info.height, info.width),
            2 if info.deep else 1, self._request.scale, self._loaded.fused)
        before = None
        if journal is not None and journal.plan is not None:
            before = Plan(tuple(journal.plan["tile"]), journal.plan["pairs"])
        try:
            with self._budget.telling():
                plan = vsr_plan.choose(model, self._budget.room, self._request.tile, before,
                                       self._beside(item, info))
        except OutOfMemory as error:
            error.path = error.path or info.path
            raise
        if before is not None and (plan.tile, plan.pairs) != (
                before.tile, before.pairs) and journal.frames:
            self._console.warn(f"{info.path}: less memory than before: smaller tiles, whose "
                               "rounding may differ")
        return plan

    def _beside(self, item: Item, info: VideoInfo) -> int:
        """Bytes of what writes the enlarged frames, ffmpeg's process above all."""
        width, height = (self._request.scale * side for side in (info.width, info.height))
        if item.target == STREAM:
            return 0
        if vsr_names.to_pictures(item.target):
            return buffers.encoding("PNG", height, width)
        encoding, _ = self._encoding(info, (width, height))
        # While a segment ends, the next one's encoder begins: to fill, where frames come fast.
        return int(encoding.memory * (_NEXT if self._loaded.fused else 2))

    def _encoding(self, info: VideoInfo, size: tuple[int, int]
                  ) -> tuple[video.Encoding, tuple[str, ...]]:
        """How a film of frames of this (width, height) is encoded, and what that cannot keep."""
        request, (picture, _) = self._request, video.split_arguments(self._settings.arguments)
        return video.choose(info, *size, codec=request.codec, crf=request.crf,
                            pixel_format=request.pixel_format, arguments=picture)

    def _journal(self, item: Item, film: video.Source) -> Journal | None:
        """The journal, for what goes to files; frames of a pipe cannot come again."""
        request = self._request
        if item.target == STREAM or item.source == STREAM:
            if request.resume:
                raise UsageError("--resume does not go with pipes")
            if item.target == STREAM:
                return None
        if isinstance(film, frames.FrameFolder):
            identity = vsr_journal.fingerprint(film.files)
        elif item.source == STREAM:
            identity = f"stdin {time.time_ns()}"
        else:
            identity = vsr_journal.fingerprint([Path(item.source)])
        names = ("scale", "start", "end", "frames", "rate", "codec", "crf", "pixel_format",
                 "ffmpeg_args", "segment")
        facts = {**{name: getattr(request, name) for name in names},
                 "scene_threshold": self._settings.threshold, "input": identity,
                 "weights": self._sha256}
        if request.precision != "fp32":  # journals from before there was a choice lack it
            facts["precision"] = request.precision
        return Journal(item.target, facts, resume=request.resume, overwrite=request.overwrite)

    def _output(self, item: Item, info: VideoInfo, size: tuple[int, int],
                journal: Journal | None, film: video.Source) -> Output:
        request = self._request

        def tell(record: dict[str, Any]) -> None:
            if self._console.json_lines:
                self._console.result("", {"source": str(item.source), "output": str(item.target),
                                          "status": "segment", **record})

        if journal is None:
            writer = video.PipeWriter(self._console.stdout, info, size, self._settings.kind)
            for note in writer.notes:
                self._console.warn(f"{item.source}: {note}")
            writer.notes = ()
            return vsr_output.Pipe(writer, length=request.segment, tell=tell)
        if vsr_names.to_pictures(item.target):
            return vsr_output.Pictures(item.target, journal, names=_names(film, self._settings),
                                       overwrite=request.overwrite, length=request.segment,
                                       tell=tell, png_level=request.png_level)
        encoding, notes = self._encoding(info, size)
        _, rest = video.split_arguments(self._settings.arguments)
        for note in notes:
            self._console.warn(f"{item.source}: {note}")
        return vsr_output.Film(
            item.target, encoding, journal, source=info,
            carry=item.source != STREAM and not isinstance(film, frames.FrameFolder),
            whole=self._settings.cut.whole, arguments=rest, overwrite=request.overwrite,
            length=request.segment, tell=tell)


class _Enlarger:
    """The network on one film, with smaller tiles once memory runs out after all."""

    def __init__(self, loaded: Loaded, size: tuple[int, int], plan: Plan, request: VsrRequest,
                 console: Console):
        self._loaded, self._size, self._plan = loaded, size, plan
        self._request, self._console = request, console
        self._stream = Stream(loaded, size, plan, request.scale)

    def __call__(self, window: tuple[Held, ...]) -> np.ndarray:
        """The middle frame, enlarged."""
        return memory.halving(
            lambda side: self._attempt(side, window), max(self._plan.tile),
            smallest=vsr_plan.SMALLEST_TILE, fixed=self._request.tile is not None,
            on_retry=lambda half: self._console.warn(
                f"memory ran out; again with tiles of {half} pixels"))

    def _attempt(self, side: int, window: tuple[Held, ...]) -> np.ndarray:
        if side != max(self._plan.tile):
            self._plan = Plan((side, side), 1, True)
            self._stream = Stream(self._loaded, self._size, self._plan, self._request.scale)
        return self._stream.enlarge(window)


def _placed(film: video.Source, place: Place | None, cut: Cut
            ) -> tuple[Place | None, Iterator[Frame]]:
    """Puts a film to where an earlier run is continued, if the same frames are found there.

    Args:
        film: opened for `cut`.
        place: that of the earlier run.

    Returns:
        `place`, or None for the start of the part, and the frames from there.
    """
    if place is not None:
        film.go_on(place.frame, place.pts)
        seen = list(itertools.islice(film, len(place.seen)))
        if place.matches(seen) and not film.problems:
            return place, itertools.chain(_handed_out(seen), film)
        film.go_on(cut.first or 0)
    begins = cut.place(film.info)
    if begins is not None:
        film.go_on(*begins)
    return None, iter(film)


def _handed_out(held: list[Frame]) -> Iterator[Frame]:
    """The frames of a list, which lets go of them."""
    while held:
        yield held.pop(0)


def _names(film: video.Source, settings: Settings) -> Callable[[int], str] | None:
    """Pictures keep the names they had, as PNG; those of a film are numbered."""
    if not isinstance(film, frames.FrameFolder):
        return None
    stems = [path.stem for path in film.files][settings.cut.first or 0:]
    if isinstance(settings.cut.start, Fraction) or len({one.casefold() for one in stems}) < len(
            stems):
        return None
    return lambda number: f"{stems[number]}.png"
