"""`restore vsr`: from names on the command line to enlarged films."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import (
    ExitStatus,
    InputError,
    OutOfMemory,
    OutputError,
    RestoreError,
    UsageError,
)
from restore_cli.jobs import (
    files,
    precision,
    vsr_divide,
    vsr_names,
    vsr_network,
    vsr_preview,
    workers,
)
from restore_cli.jobs.vsr_begin import Settings
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.jobs.vsr_film import Film
from restore_cli.jobs.vsr_journal import Sent
from restore_cli.media import video
from restore_cli.pipeline import memory, scenes
from restore_cli.pipeline.crew_link import Portion
from restore_cli.pipeline.naming import Item
from restore_cli.pipeline.report import FATAL, Failure, Report, record
from restore_cli.weights.hashing import sha256_of


@dataclass
class VsrRequest(files.PictureRequest):
    """What the command line asks for; see `restore vsr --help` for the meanings."""

    scale: int = 4
    start: str | None = None
    end: str | None = None
    frames: int | None = None
    preview: int | None = None
    rate: str | None = None
    scene_threshold: str | None = None
    codec: str = "x264"
    crf: float | None = None
    pixel_format: str | None = None
    ffmpeg_args: str | None = None
    segment: int = 48
    resume: bool = False
    model: str | None = None
    weights: str | None = None


@precision.applied
def run(request: VsrRequest, console: Console) -> ExitStatus:
    """Does what `request` says.

    Returns:
        The run's exit status; failures of single films have been reported.

    Raises:
        RestoreError: what concerns the whole run.
    """
    if request.memory is not None:
        memory.parse(request.memory)
    settings = _settings(request)
    items = vsr_names.plan(request, files.names(request, console), f"_x{request.scale}",
                           request.codec, console)
    sheets = vsr_preview.plan(request.preview, request, request.resume, items)
    several = workers.several(request, items)
    if request.dry_run:
        return _tell(items, console, sheets)
    begun = time.perf_counter()
    divided = vsr_divide.parts(settings, items, console)
    if divided:
        path = vsr_network.find(request.model, request.weights, console)
        summary = vsr_divide.run(__name__, settings, items, divided, console, _describe, _shown,
                                 path, sheets)
        if len(items) > 1:
            console.info(str(summary))
        return summary.status
    if several:
        path = vsr_network.find(request.model, request.weights, console)
        return workers.run(__name__, request, items, console, _describe, weights=path, frames=True,
                           reporting=vsr_divide.FilmReport, sheets=sheets).status
    report = Report(console, _describe, None)
    work = report.begin(items)
    if work:
        path = vsr_network.find(request.model, request.weights, console)
        film = _film(dataclasses.replace(settings, request=workers.alone(request)), path, console,
                     sheets)
        for item in work:
            _one(item, film, report)
    report.summary.seconds = time.perf_counter() - begun
    if len(items) > 1:
        console.info(str(report.summary))
    return report.summary.status


@precision.applied_to_share
def share(task: dict[str, Any], items: Iterator[Item], console: Console, report: Report) -> None:
    """One of several processes' part of a run; see `jobs.workers`."""
    request = VsrRequest(**task["request"])
    film = _film(_settings(request), Path(request.weights), console,
                 {target: Path(sheet) for target, sheet in task["sheets"].items()})
    for item in items:
        if isinstance(item, Portion):
            _part(item, film, report)
        else:
            _one(item, film, report)


def _film(settings: Settings, path: Path, console: Console, sheets: Mapping[str, Path]) -> Film:
    """Starts the engine and loads the network of `path`."""
    request = settings.request
    loaded = vsr_network.load(path, device=request.device, threads=request.threads,
                              console=console)
    if request.scale > loaded.config["scale"]:
        raise UsageError(f"--scale {request.scale} is more than the x{loaded.config['scale']} "
                         f"of {loaded.name}")
    loaded.quick()
    precision.confirm(loaded.name, loaded.device)
    return Film(settings, loaded, sha256_of(path), console, sheets)


def _settings(request: VsrRequest) -> Settings:
    if request.scale not in (2, 3, 4):
        raise UsageError(f"--scale {request.scale} is impossible", hint="Use 2, 3 or 4")
    if request.segment < 1:
        raise UsageError("--segment must be at least 1")
    threshold: float | None = scenes.THRESHOLD
    if request.scene_threshold is not None:
        try:
            threshold = (None if request.scene_threshold == "off"
                         else float(request.scene_threshold))
        except ValueError:
            raise UsageError(f"--scene-threshold {request.scene_threshold} is no number",
                             hint="Write 0.35, or off") from None
        if threshold is not None and not 0 < threshold < float("inf"):
            raise UsageError(f"--scene-threshold {request.scene_threshold} is impossible",
                             hint=f"Use more than 0, or off; the default is {scenes.THRESHOLD:g}")
    rate = None
    if request.rate is not None:
        from fractions import Fraction

        try:
            rate = Fraction(request.rate)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0:
            raise UsageError(f"--rate {request.rate} is no number of frames a second",
                             hint="Write 25 or 30000/1001")
    import shlex

    try:
        arguments = tuple(shlex.split(request.ffmpeg_args or ""))
    except ValueError as error:
        raise UsageError(f"--ffmpeg-args cannot be read: {error}") from None
    video.split_arguments(arguments)  # refuses file names
    if request.codec not in video.CODECS:
        from restore_cli.errors import did_you_mean

        raise UsageError(f"--codec {request.codec} is unknown",
                         hint=did_you_mean(request.codec, video.CODECS)
                         or "Use one of " + ", ".join(video.CODECS))
    kind = video.CODECS[request.codec]
    if request.crf is not None and (kind.crf is None
                                    or not kind.best <= request.crf <= kind.worst):
        raise UsageError(f"--crf {request.crf:g} is not possible with {request.codec}",
                         hint="Leave it out, or see --codec" if kind.crf is None else
                         f"Use {kind.best:g} (best) to {kind.worst:g}")
    return Settings(request, Cut.of(request.start, request.end, request.frames), rate, threshold,
                    arguments, vsr_names.kind(request))


def _one(item: Item, film: Film, report: Report) -> None:
    """Enlarges one film and reports it; failures that concern the whole run pass."""
    _reported(item, report, lambda: film.run(item))


def _part(item: Portion, film: Film, report: Report) -> None:
    """Does what a process has to do for a film that several share, and reports it."""
    task = json.loads(item.told)
    sent = Sent(Path(item.target), lambda facts: report.part(item, facts),
                task.get("again", False))
    _reported(item, report, lambda: film.part(item, task, sent))


def _reported(item: Item, report: Report, work: Callable[[], dict[str, Any]]) -> None:
    begun = time.perf_counter()
    report.entered(item, "compute")
    try:
        facts = work()
    except FATAL:
        raise
    except Exception as error:
        report.failed(item, Failure.of(_shown(error, item), item), time.perf_counter() - begun)
        return
    report.done(item, facts, time.perf_counter() - begun)


def _shown(error: Exception, item: Item) -> Exception:
    """`error` as something the user can understand, where it is no bug."""
    if isinstance(error, RestoreError):
        if error.path is None:
            error.path = item.source
        return error
    if isinstance(error, MemoryError):
        found: RestoreError = OutOfMemory("memory ran out", path=item.source,
                                          hint="Close other programs")
    elif isinstance(error, OSError):
        kind = OutputError if getattr(error, "filename", None) == str(item.target) else InputError
        found = kind(f"failed: {error.strerror or error}", path=error.filename or item.source)
    else:
        return error
    found.__cause__ = error
    return found


def _tell(items: list[Item], console: Console, sheets: Mapping[str, Path]) -> ExitStatus:
    for item in items:
        sheet = sheets.get(str(item.target))
        status, note = ("skipped", f" (skipped: {item.skip})") if item.skip else ("planned", "")
        if not item.skip and isinstance(item.source, Path) and not (
                item.source.exists() or vsr_names.is_pictures(str(item.source))):
            status, note = "failed", " (will fail: no such file)"
        beside = f", {sheet}" if sheet is not None else ""
        told = {"preview": str(sheet)} if sheet is not None else {}
        console.result(f"{item.source} -> {item.target}{beside}{note}",
                       record(item, status, **told))
    return ExitStatus.OK


def _describe(done: dict[str, Any]) -> str:
    (width, height), (new_width, new_height) = done["input_size"], done["size"]
    return (f"{done['source']} -> {done['output']}  {width}x{height} -> "
            f"{new_width}x{new_height}  {done['frames']} frames, {done['shots']} shots  "
            f"{done['seconds']:.1f} s")
