"""`restore denoise-raw`: from names on the command line to written DNGs and pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, OutOfMemory, RestoreError, UsageError
from restore_cli.jobs import (
    denoise_raw_image,
    denoise_raw_network,
    denoise_raw_output,
    denoise_raw_plan,
    denoise_raw_ratio,
    denoise_raw_tiles,
    denoise_raw_whole,
    files,
    precision,
    workers,
)
from restore_cli.jobs.denoise_raw_image import Levels, Picture, Result, Style
from restore_cli.jobs.denoise_raw_ratio import Chosen, Rule, Span
from restore_cli.jobs.denoise_raw_whole import Strips
from restore_cli.media import bayer, dng
from restore_cli.media import raw as raw_files
from restore_cli.media.raw import Raw
from restore_cli.pipeline import memory, naming, stream
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.report import Report
from restore_cli.runtime import facts

SUFFIX = "_denoised"


@dataclass
class DenoiseRawRequest(files.PictureRequest):
    """What the command line asks for; see `restore denoise-raw --help` for the meanings."""

    ratio: float | None = None
    target_exposure: float | None = None
    reference: str | None = None
    same_ratio: bool = False
    keep_exposure: bool = False
    strength: float = 1.0
    compression: str | None = None
    again: bool = False
    model: str | None = None
    weights: str | None = None


@dataclass
class _Read:
    """A file on its way to the network."""

    raw: Raw
    chosen: Chosen


@dataclass
class _Made:
    """A denoised mosaic on its way to the writer."""

    raw: Raw
    mosaic: np.ndarray
    levels: Levels
    chosen: Chosen
    tile: tuple[int, int]


@precision.applied
def run(request: DenoiseRawRequest, console: Console) -> ExitStatus:
    """Does what `request` says.

    Returns:
        The run's exit status; failures of single files have been reported.

    Raises:
        RestoreError: what concerns the whole run.
    """
    if request.memory is not None:
        memory.parse(request.memory)
    if request.same_ratio and request.ratio is not None:
        raise UsageError("--ratio is the same for all files already",
                         hint="Leave --same-ratio out")
    rule = Rule(request.ratio, request.target_exposure)
    named = files.names(request, console)
    items = denoise_raw_output.plan(request, named, SUFFIX, console)
    # A job array's parts share the ratio of all files, so that their results belong together.
    everything = items if request.shard is None else denoise_raw_output.plan(
        dataclasses.replace(request, shard=None, overwrite=False, skip_existing=True), named,
        SUFFIX, console)
    several = workers.several(request, items)
    if request.dry_run:
        return files.tell(items, console)
    if all(item.skip for item in items):
        return stream.run(items, files.nothing, files.nothing, files.nothing, console=console,
                          describe=str).status
    if request.reference is not None:
        rule = dataclasses.replace(rule, reference=_reference(Path(request.reference)), target=(
            request.target_exposure))
    path = denoise_raw_network.find(request.model, request.weights, console)
    with tempfile.TemporaryDirectory(prefix="restore-raw-") as folder:
        sources = Sources(rule, request.again, Path(folder), console)
        if several:
            if request.same_ratio:
                sources.known = denoise_raw_network.read(path)[1].ratios
                sources.share_ratio(everything)
            return workers.run(
                __name__, request, items, console, _describe, weights=path, rule=vars(rule),
                folder=folder, same=sources.same and vars(sources.same)).status
        job = _Job.of(workers.alone(request), path, sources, console, alone=len(items) == 1)
        if request.same_ratio:
            sources.share_ratio(everything)
        return stream.run(items, job.read, job.compute, job.write, console=console,
                          describe=_describe, weigh=job.weigh, room=job.shared).status


@precision.applied_to_share
def share(task: dict[str, Any], items: Iterator[Item], console: Console, report: Report) -> None:
    """One of several processes' part of a run; see `jobs.workers`."""
    request = DenoiseRawRequest(**task["request"])
    sources = Sources(Rule(**task["rule"]), request.again, Path(task["folder"]), console)
    if task["same"] is not None:
        sources.same = Chosen(**task["same"])
    job = _Job.of(request, Path(request.weights), sources, console, alone=False)
    stream.serve(items, job.read, job.compute, job.write, report=report, weigh=job.weigh,
                 room=job.shared)


def _reference(path: Path) -> float:
    """ISO times seconds of the `--reference` file.

    Raises:
        UsageError: it cannot be read or does not say.
    """
    try:
        naming.require_input(path)
        exposure = raw_files.read(path).exposure
    except InputError as error:
        raise UsageError(f"--reference {error.message}", path=path, hint=error.hint) from error
    if not exposure:
        raise UsageError("does not say its ISO and exposure time", path=path,
                         hint="Give the amplification with --ratio instead of --reference")
    return exposure


class Sources:
    """The files of one run, and the ratio of each.

    Args:
        rule: how ratios are chosen.
        again: files that have been denoised are taken, too.
        folder: for what comes through stdin.
        console: for progress, and stdin.

    Attributes:
        known: ratios that the weights know.
        same: the ratio that all files share, if they do.
    """

    def __init__(self, rule: Rule, again: bool, folder: Path, console: Console):
        self.folder, self.known, self.same = folder, Span(), None
        self._rule, self._again, self._console = rule, again, console

    def share_ratio(self, items: list[Item]) -> None:
        """Chooses one ratio for all files; what cannot be read is left to its turn."""
        found: list[Chosen] = []
        with self._console.progress(total=len(items), unit="file", desc="reading") as bar:
            for item in items:
                with contextlib.suppress(RestoreError, OSError):
                    found.append(self.read(item).chosen)
                bar.update()
        memory.release(young=True)
        if found:
            self.same = denoise_raw_ratio.common(found)
            count = f"{len(found)} file{'s' * (len(found) > 1)}"
            self._console.info(f"ratio for {count}: {denoise_raw_ratio.show(self.same.ratio)}")

    def read(self, item: Item) -> _Read:
        """Decodes a source and chooses its ratio.

        Raises:
            InputError: it is no RAW file, has been denoised already, or gives no ratio.
        """
        naming.require_input(item.source)
        path = self.local(item)
        with _named(path, item):
            by = None if self._again else dng.denoised_by(path)
            if by:
                raise InputError(f"has been denoised already ({by})", path=path,
                                 hint="--again denoises it once more")
            raw = raw_files.read(path)
            return _Read(raw, self.same or self._rule.of(raw, self.known))

    def local(self, item: Item) -> Path:
        """The source as a file: what comes through stdin is stored in a temporary one."""
        if item.source != STREAM:
            return item.source
        path = self.folder / "stdin"
        if not path.exists():
            path.write_bytes(files.opened(STREAM, self._console).getvalue())
        return path


class _Job:
    """One run's settings and the three stages of each file."""

    @classmethod
    def of(cls, request: DenoiseRawRequest, path: Path, sources: Sources, console: Console,
           alone: bool) -> _Job:
        """Starts the engine and loads the network of `path`."""
        loaded = denoise_raw_network.load(path, device=request.device, threads=request.threads,
                                          console=console)
        if loaded.layout.receptive_radius is None and request.tile is not None:
            raise UsageError(f"{loaded.name} looks at the whole picture and cannot be tiled",
                             hint="Leave --tile out")
        console.info(f"weights {loaded.name}: {loaded.knowledge}")
        sources.known = loaded.knowledge.ratios
        return cls(request, loaded, sources, console, alone)

    def __init__(self, request: DenoiseRawRequest, loaded: denoise_raw_network.Loaded,
                 sources: Sources, console: Console, alone: bool):
        self.request, self.loaded, self.sources = request, loaded, sources
        self.console, self.alone = console, alone
        self.style = Style(request.keep_exposure, request.strength)
        self.whole = loaded.layout.receptive_radius is None
        self.model = denoise_raw_plan.cost(loaded.arch, loaded.config, loaded.layout,
                                           loaded.fused)
        self._warm_up()
        precision.confirm(loaded.name, loaded.device)
        self.budget = memory.budget(request.memory, base=memory.rss() + files.CODECS)
        self.shared = self.budget.room // 2
        """Bytes that files read, computed and written at the same time may take together."""

    def _warm_up(self) -> None:
        """Compiles and loads every kernel on a tiny mosaic, so that `base` counts them."""
        black, white = np.zeros(4), np.full(4, 255.0)
        picture = Picture(np.zeros((64, 64), np.uint16), bayer.PATTERNS["RGGB"], black, white, 1)
        for how in (Strips(None), Strips(8, 1 << 30)) if self.whole else ((16, 16),):
            self._run(picture, Result(picture, Levels(black, white)), how,
                      self.sources.folder)
        memory.release(young=True)

    def _run(self, picture: Picture, result: Result, how: tuple[int, int] | Strips, spill: Path,
             progress: denoise_raw_tiles.Progress = lambda megapixels: None) -> None:
        if isinstance(how, Strips):
            denoise_raw_whole.run(self.loaded, picture, result, how, spill, progress)
        else:
            denoise_raw_tiles.run(self.loaded, picture, result, how, progress)

    def weigh(self, item: Item) -> int:
        """Bytes the item takes at most, from reading to the end of writing."""
        path = self.sources.local(item)
        found = denoise_raw_plan.sides(path)
        if found is None:
            return 0
        format = denoise_raw_output.format_of(item, self.request)
        with self.budget.telling():
            files.check_room(item.source, denoise_raw_plan.reading(path), self.budget.room)
        return max(denoise_raw_plan.reading(path),
                   2 * denoise_raw_plan.MOSAIC * found[0] * found[1]
                   + denoise_raw_plan.writing(format, found))

    def read(self, item: Item) -> _Read:
        """Decodes the source and chooses its ratio."""
        found = self.sources.read(item)
        if found.raw.mosaic.nbytes > files.RELEASE:
            memory.trim()
        return found

    def compute(self, item: Item, found: _Read) -> _Made:
        """Denoises one mosaic."""
        raw, chosen = found.raw, found.chosen
        format = denoise_raw_output.format_of(item, self.request)
        denoise_raw_output.check(raw, format, item)
        self._tell(item, raw, chosen)
        picture = Picture(raw.mosaic, raw.pattern, raw.black, raw.white, chosen.ratio)
        levels = denoise_raw_image.levels(
            raw.black, raw.white, shrink=chosen.ratio if self.style.keep_exposure else 1.0)
        how = self._fit(picture, format, item)
        result = Result(picture, levels, self.style, self.request.threads or facts.cores())
        how = self._fill(picture, result, how, denoise_raw_whole.spill_folder(
            item, self.sources.folder))
        tile = (how.rows or picture.shape[0], picture.shape[1]) if isinstance(
            how, Strips) else how
        made = _Made(raw, result.finish(), levels, chosen, tile)
        if made.mosaic.nbytes > files.RELEASE:
            del picture, result
            memory.release(young=True)
        return made

    def write(self, item: Item, made: _Made) -> dict[str, Any]:
        """Stores one result; returns the facts for its record."""
        format = denoise_raw_output.format_of(item, self.request)
        with _named(self.sources.local(item), item):
            notes = denoise_raw_output.write(
                item, made.raw, made.mosaic, made.levels, format, self.request, self.console,
                ratio=made.chosen.ratio, weights=self.loaded.name)
        large = made.mosaic.nbytes > files.RELEASE
        height, width = made.mosaic.shape
        made.mosaic = None
        if large:
            memory.trim()
        for note in notes:
            self.console.warn(f"{item.source}: {note}")
        return {"size": [width, height], "camera": made.raw.camera, "format": format,
                "ratio": round(made.chosen.ratio, 4), "rule": made.chosen.rule,
                "weights": self.loaded.name, "tile": [2 * side for side in made.tile],
                "notes": [*made.chosen.warnings, *notes]}

    def _tell(self, item: Item, raw: Raw, chosen: Chosen) -> None:
        for line in chosen.warnings:
            self.console.warn(f"{item.source}: {line}")
        camera = raw.camera
        if not self.loaded.knowledge.knows(raw.make, raw.model):
            self.console.warn(
                f"the weights {self.loaded.name} do not know the {camera or 'camera'}: a best "
                "effort. Two pairs of pictures teach it to them: restore train led --finetune "
                "pairs.txt", once=f"camera {camera}")

    def _fit(self, picture: Picture, format: str, item: Item) -> tuple[int, int] | Strips:
        """The tile, or the strips, that fit beside both mosaics."""
        held = 2 * picture.mosaic.nbytes
        need = held + denoise_raw_plan.writing(format, picture.mosaic.shape)
        room = self.budget.room
        apart = self.alone or need > self.shared
        left = room - (held if apart else self.shared)
        with self.budget.telling(1 if apart else 2):
            if need > room:
                raise OutOfMemory(f"takes {units.show(need)} as {format}, and {units.show(room)} "
                                  "are left", path=item.source, hint="Give more with --memory",
                                  short=need - room)
            if self.whole:
                return denoise_raw_whole.choose(self.loaded, picture.shape, left)
            asked = None if self.request.tile is None else self.request.tile // 2
            return denoise_raw_plan.choose(self.model, self.loaded.layout, picture.shape, left,
                                           asked)

    def _fill(self, picture: Picture, result: Result, how: tuple[int, int] | Strips, spill: Path
              ) -> tuple[int, int] | Strips:
        """Runs the network, in smaller pieces where memory runs out after all."""
        total = picture.shape[0] * picture.shape[1] * 4 / 1e6
        sides = (how.rows or picture.shape[0],) if isinstance(how, Strips) else how

        def attempt(side: int) -> tuple[int, int] | Strips:
            if isinstance(how, Strips):
                now = how if side == sides[0] else Strips(side, how.held)
            else:
                now = tuple(min(side, one) for one in how)
            bar = (self.console.progress(total=round(total, 3), unit="MP") if self.alone
                   else contextlib.nullcontext())
            with bar:
                advance = bar.update if self.alone else (lambda megapixels: None)
                self._run(picture, result, now, spill, advance)
            return now

        return memory.halving(
            attempt, max(sides), smallest=2 if self.whole else denoise_raw_plan.SMALLEST_TILE,
            fixed=self.request.tile is not None,
            on_retry=lambda half: self.console.warn(
                f"memory ran out; again with {'strips' if self.whole else 'tiles'} of {2 * half} "
                "pixels"))


@contextlib.contextmanager
def _named(path: Path, item: Item) -> Iterator[None]:
    """Failures name what the user gave, not the temporary copy of stdin."""
    try:
        yield
    except RestoreError as error:
        if error.path is not None and item.source == STREAM and Path(error.path) == path:
            error.path = STREAM
        raise


def _describe(record: dict[str, Any]) -> str:
    width, height = record["size"]
    ratio = denoise_raw_ratio.show(record["ratio"])
    return (f"{record['source']} -> {record['output']}  {width}x{height}  x{ratio} "
            f"({record['rule']})  {record['seconds']:.1f} s")
