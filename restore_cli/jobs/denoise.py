"""`restore denoise`: from names on the command line to written images and stacks."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, RestoreError, UsageError
from restore_cli.jobs import denoise_network, denoise_train, files, precision, workers
from restore_cli.jobs.denoise_pictures import Context, Example, PictureWork, common
from restore_cli.jobs.denoise_report import HELD, Measure
from restore_cli.jobs.denoise_session import Kind, Session
from restore_cli.jobs.denoise_stack import StackWork
from restore_cli.jobs.denoise_train import Recipe
from restore_cli.media import atomic, axes, formats, stack_npy, stack_probe, stacks
from restore_cli.media.images import Image
from restore_cli.media.stacks import Stack
from restore_cli.pipeline import buffers, memory, naming, stream
from restore_cli.pipeline.naming import STREAM, Item, Place
from restore_cli.pipeline.report import Report

SUFFIX = "_denoised"
_ALSO = (".npy", ".btf")  # stacks that are no pictures
_TRAINING_SHARE = 0.4
"""Part of the room that images kept for a common training may take."""


@dataclass
class DenoiseRequest(files.PictureRequest):
    """What the command line asks for; see `restore denoise --help` for the meanings."""

    quick: bool = False
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    each: bool = False
    cold: bool = False
    struct: str | None = None
    model_out: Path | None = None
    model: str | None = None
    weights: str | None = None
    strength: float = 1.0
    tta: bool = False
    axes: str | None = None
    volume: bool = False
    mask_invalid: bool = False
    network: str | None = None
    percent: float | None = None
    manipulator: str | None = None
    recorrupt: bool = True

    @property
    def trains(self) -> bool:
        """Whether networks are trained."""
        return not self.quick and self.model is None and self.weights is None

    @property
    def recipe(self) -> Recipe:
        """How.

        Raises:
            UsageError: numbers that make no sense.
        """
        from restore_cli.training.degradations.blindspot import Struct

        seconds = self.seconds
        if seconds is None and self.steps is None:
            seconds = denoise_train.SECONDS
        given = {name: value for name, value in (("percent", self.percent),
                                                 ("manipulator", self.manipulator))
                 if value is not None}
        made = Recipe(seconds, self.steps, self.seed,
                      Struct.parse(self.struct) if self.struct is not None else None,
                      recorrupt=self.recorrupt, **given)
        denoise_train.check(made)
        return made


@precision.applied
def run(request: DenoiseRequest, console: Console) -> ExitStatus:
    """Does what `request` says.

    Returns:
        The run's exit status; failures of single images have been reported.

    Raises:
        RestoreError: what concerns the whole run.
    """
    recipe = _check(request)
    format = files.asked_format(request)
    named = files.names(request, console)
    items = files.plan(request, named, SUFFIX, format, console, also=_ALSO)
    # A job array's parts train on the same files, so that their results belong together.
    everything = items if request.shard is None else files.plan(
        dataclasses.replace(request, shard=None, overwrite=False, skip_existing=True), named,
        SUFFIX, format, console, also=_ALSO)
    _check_model_out(request, everything)
    several = workers.several(request, items)
    if several:
        _check_workers(request)
    if request.dry_run:
        return files.tell(items, console)
    if all(item.skip for item in items):
        return stream.run(items, files.nothing, files.nothing, files.nothing, console=console,
                          describe=str).status
    given = None
    if request.model is not None or request.weights is not None:
        given = denoise_network.find(request.model, request.weights, console)
        denoise_network.read(given)  # damaged weights are told before the engine starts
    if several:
        return workers.run(__name__, request, items, console, _describe, weights=given).status
    job = _Job.of(workers.alone(request), recipe, given, console, alone=len(items) == 1)
    if job.session.trains and not request.each and len(everything) > 1:
        job.train_on([item.source for item in everything])
    return stream.run(items, job.read, job.compute, job.write, console=console,
                      describe=_describe, weigh=job.weigh, room=job.context.shared).status


@precision.applied_to_share
def share(task: dict[str, Any], items: Iterator[Item], console: Console, report: Report) -> None:
    """One of several processes' part of a run; see `jobs.workers`."""
    request = DenoiseRequest(**task["request"])
    given = None if request.weights is None else Path(request.weights)
    job = _Job.of(request, request.recipe, given, console, alone=False)
    stream.serve(items, job.read, job.compute, job.write, report=report, weigh=job.weigh,
                 room=job.context.shared)


class _Job:
    """One run's settings and the three stages of each image."""

    @classmethod
    def of(cls, request: DenoiseRequest, recipe: Recipe, given: Path | None, console: Console,
           alone: bool) -> _Job:
        """Starts the engine and a session, with the weights of `given` if there are any."""
        from restore_cli.runtime import engine

        started = engine.start(request.device, request.threads, console=console)
        session = Session(given=given, quick=request.quick,
                          choice=request.network or denoise_network.DEFAULT, cold=request.cold,
                          recipe=recipe, device=started.device, console=console,
                          model_out=request.model_out, overwrite=request.overwrite)
        return cls(request, files.asked_format(request), session, console, alone, started.threads)

    def __init__(self, request: DenoiseRequest, format: str | None, session: Session,
                 console: Console, alone: bool, threads: int):
        self.request, self.console, self.session = request, console, session
        session.warm_up(3 if request.volume else 2)
        precision.confirm(session.name, session.device)
        budget = memory.budget(request.memory, base=memory.rss() + files.CODECS + HELD)
        self.context = Context(request, format, session, console, alone, budget,
                               budget.room // 2, Measure(request.struct, session.trains, threads))
        self.pictures, self.stacks = PictureWork(self.context), StackWork(self.context)
        self._stdin: bytes | None = None

    def weigh(self, item: Item) -> int:
        """Bytes the item's images take at most, from reading to the end of writing."""
        found = buffers.header(item.source) if item.source != STREAM else None
        if found is None:
            return 0
        extra = buffers.encoding(files.format_of(item, "TIFF", "TIFF"), found.height, found.width,
                                 found.pixel_bytes)
        # The header is that of one page; what a stack takes goes by its file.
        return max(found.decoding, 2 * found.file_bytes + found.held, 2 * found.held,
                   found.held + extra)

    def read(self, item: Item) -> Image | Stack:
        """Decodes an image, or opens a stack."""
        return self._open(item.source)

    def _open(self, source: Place) -> Image | Stack:
        naming.require_input(source)
        given = self._bytes() if source == STREAM else source
        if self.request.axes is not None or _is_stack(given):
            opened = stacks.open_stack(given, self.request.axes)
            if self.request.volume and not opened.has_z:
                opened.close()
                raise InputError(f"has no depth: its axes are {opened.axes}", path=source,
                                 hint="Leave --volume out, or name its axes with --axes")
            return opened
        if self.request.volume:
            raise InputError("is one picture, no volume", path=source,
                             hint="Leave --volume out, or name its axes with --axes")
        found = buffers.header(source) if source != STREAM else None
        if found is not None:
            with self.context.budget.telling():
                files.check_room(source, found.decoding, self.context.room)
        return files.read(given)

    def _bytes(self) -> BinaryIO:
        """stdin, which a common training reads before its turn comes."""
        if self._stdin is None:
            self._stdin = files.opened(STREAM, self.console).getvalue()
        return io.BytesIO(self._stdin)

    def compute(self, item: Item, opened: Image | Stack) -> Any:
        """Denoises one image or stack."""
        # Of what is given, images take up to half.
        with self.context.budget.telling(2):
            if isinstance(opened, Image):
                return self.pictures.compute(item, opened)
            with opened:
                return self.stacks.compute(item, opened)

    def write(self, item: Item, result: Any) -> dict[str, Any]:
        """Stores one result; returns the facts for its record."""
        facts = result.write(item, self.request, self.console)
        for line in dict.fromkeys((*result.notes, *facts["notes"])):
            self.console.warn(f"{item.source}: {line}")
        return facts

    def train_on(self, sources: list[Place]) -> None:
        """Trains one network for each kind of image among `sources`.

        Images are taken in random order while there is room for them; what cannot be read is
        left to be reported in its turn.
        """
        room = int(self.context.room * _TRAINING_SHARE)
        kinds: dict[Kind, list[Example]] = {}
        used = taken = 0
        order = np.random.default_rng(self.request.seed).permutation(len(sources))
        with self.console.progress(total=len(sources), unit="file", desc="reading") as bar:
            for at in order:
                if used and taken >= room:
                    break
                bar.update()
                example = self._example(sources[at], room - taken)
                if example is not None:
                    kinds.setdefault(example.kind, []).append(example)
                    used, taken = used + 1, taken + example.bytes
        for kind in sorted(kinds, key=str):
            self._train(kind, kinds.pop(kind))
        memory.release()
        if taken >= room:
            self.console.info(f"{used} of {len(sources)} files, {units.show(taken)}, were used "
                              "for training")

    def _example(self, source: Place, room: int) -> Example | None:
        with contextlib.suppress(RestoreError, OSError):
            opened = self._open(source)
            if isinstance(opened, Image):
                return self.pictures.example(opened)
            with opened:
                return self.stacks.example(opened, room)
        return None

    def _train(self, kind: Kind, examples: list[Example]) -> None:
        normalisation = common(examples)
        parts = [part for example in examples for part in example.parts(normalisation)]
        shared = any(example.shared for example in examples)
        loaded, trained = self.context.train(kind, parts, normalisation, shared)
        self.session.trained[kind] = loaded, trained
        count = len(examples)
        self.console.info(f"{count} file{'s' * (count > 1)}: {trained}")
        self.session.keep(loaded, trained, len(examples))


def _is_stack(given: Path | BinaryIO) -> bool:
    """Whether a file is a stack.

    Raises:
        InputError: a TIFF whose chain of pages is broken, which would lose pages unseen.
    """
    if isinstance(given, Path):
        if not given.is_file():  # what is read from a pipe would be lost
            return False
        with given.open("rb") as stream:
            return _is_stack(stream)
    head = given.read(64)
    given.seek(0)
    if head.startswith(stack_npy.MAGIC):
        return True
    try:
        return formats.sniff(head) == "TIFF" and stack_probe.is_stack(
            given, Path(getattr(given, "name", "-")))
    except RestoreError:
        raise
    except Exception:  # tifffile raises anything on hostile files; the reader tells what is wrong
        return False
    finally:
        given.seek(0)


def _check(request: DenoiseRequest) -> Recipe:
    """Refuses contradictions; returns the recipe of trainings."""
    if request.memory is not None:
        memory.parse(request.memory)
    if request.axes is not None:
        axes.parse(request.axes)
    if request.steps is not None and request.seconds is not None:
        raise UsageError("--time and --steps contradict each other")
    ready = {"--quick": request.quick, "--model": request.model is not None,
             "--weights": request.weights is not None}
    chosen = [option for option, given in ready.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} contradict each other")
    training = {"--time": request.seconds, "--steps": request.steps, "--struct": request.struct,
                "--model-out": request.model_out, "--network": request.network,
                "--percent": request.percent, "--manipulator": request.manipulator,
                "--cold": request.cold or None, "--each": request.each or None,
                "--blind-only": None if request.recorrupt else True}
    for option, value in training.items():
        if chosen and value is not None:
            raise UsageError(f"{option} belongs to training, and {chosen[0]} does none")
    if request.network is not None:
        denoise_network.architecture(request.network, 1, 3 if request.volume else 2)
    return request.recipe


def _check_workers(request: DenoiseRequest) -> None:
    """Refuses what several processes would do otherwise than one."""
    if not request.trains:
        return
    if not request.each:
        raise UsageError("one training serves all images, which several processes cannot share",
                         hint="Add --each --steps N, --quick or --weights, or use one process")
    if request.jobs is not None and request.steps is None:
        raise UsageError("--jobs shares the processors, so that a training by time would have "
                         "fewer steps", hint="Say how many, such as --steps 400")


def _check_model_out(request: DenoiseRequest, items: list[Item]) -> None:
    if request.model_out is None:
        return
    atomic.check_target(request.model_out, overwrite=request.overwrite)
    if request.each and len(items) > 1:
        raise UsageError("--each trains for every file, and --model-out takes one training",
                         hint="Leave one of them out")
    own = request.model_out.absolute()
    for item in items:
        for place in (item.source, item.target):
            if place != STREAM and Path(place).absolute() == own:
                raise UsageError("is an image of this run, but would be overwritten by weights",
                                 path=request.model_out, hint="Choose another --model-out")


def _describe(record: dict[str, Any]) -> str:
    size = "x".join(map(str, record["size"]))
    trained = record.get("training")
    how = f"{trained['steps']} steps" if trained else record["network"] or "unchanged"
    return f"{record['source']} -> {record['output']}  {size}  {how}  {record['seconds']:.1f} s"
