"""`restore evaluate vsr`: scores enlarged films frame by frame, and cubic enlargement beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.evaluation import plots, video_baseline, video_cases, video_report
from restore_cli.evaluation.video_cases import Clip
from restore_cli.evaluation.video_metrics import ClipScore
from restore_cli.evaluation.video_report import Times, VideoResult
from restore_cli.jobs import evaluate_common as common
from restore_cli.media.atomic import check_target
from restore_cli.media.video import FrameWriter, open_source
from restore_cli.media.video_model import Frame
from restore_cli.pipeline import windows
from restore_cli.training.degradations.blur import SCALE


@dataclass(frozen=True)
class VsrEvaluation:
    """What to score, how, and where results go.

    Attributes:
        data: sets, see `evaluation.video_cases.find`.
        low, high: a single clip: small frames and sharp ones, films or folders.
        border: also score the two frames at each end, whose windows repeat frames.
        limit: only the first so many frames of each clip are read.
        identity: score only cubic enlargement.
        restored: score enlarged frames of this folder instead of a network's.
        model, weights: what enlarges; neither: the default weights.
        csv, plots, save: file and folders to write, or None.
        overwrite: replace existing ones.
    """

    data: Sequence[Path] = ()
    low: Path | None = None
    high: Path | None = None
    border: bool = False
    limit: int | None = None
    identity: bool = False
    restored: Path | None = None
    model: str | None = None
    weights: str | None = None
    csv: Path | None = None
    plots: Path | None = None
    save: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None


def run(request: VsrEvaluation, console: Console) -> ExitStatus:
    """Scores all clips; one failing does not stop the others.

    Raises:
        UsageError: options that contradict each other.
        WeightsError, DeviceError: the network cannot run.
        OutputError: results that exist already.
    """
    _check(request)
    failures = common.Failures(console)
    work = _clips(request, failures)
    enlarger, name = None, "bicubic"
    if request.restored is not None:
        name = request.restored.resolve().name
    elif work and not request.identity:
        enlarger = Enlarger(request, console)
        name = enlarger.loaded.name

    def score(clip: Clip) -> VideoResult:
        with common.naming_the_path(clip.low):
            result = _score(clip, enlarger, request)
        if not console.json_lines and len(work) > 1:
            console.info(video_report.text([result], name).splitlines()[1])
        return result

    record: Callable[[VideoResult], dict[str, Any]] = lambda result: (  # noqa: E731
        video_report.result_record(result, name))
    results = common.score_all(work, score, record, console, failures)
    if results:
        _report(request, results, name, console)
    return failures.status(bool(results))


class Enlarger:
    """The network as `restore vsr` runs it.

    Attributes:
        loaded: the network.
    """

    def __init__(self, request: VsrEvaluation, console: Console):
        from restore_cli.jobs import vsr_network

        path = vsr_network.find(request.model, request.weights, console)
        self.loaded = vsr_network.load(path, device=request.device, threads=request.threads,
                                       console=console)
        if self.loaded.network.scale != SCALE:
            raise UsageError(f"the network enlarges {self.loaded.network.scale} times; clips are "
                             f"scored at {SCALE}")
        self._limit, self._tile = request.memory, request.tile

    def stream(self, size: tuple[int, int], itemsize: int):
        """The network for frames of a size (height, width)."""
        from restore_cli.jobs import vsr_plan
        from restore_cli.jobs.vsr_stream import Stream
        from restore_cli.nets.layout import layout
        from restore_cli.nets.vsr import shapes
        from restore_cli.pipeline import memory

        config = self.loaded.config
        model = vsr_plan.cost(layout(shapes.NAME, config), config, size, itemsize, SCALE,
                              self.loaded.fused)
        plan = vsr_plan.choose(model, memory.budget(self._limit).room, self._tile)
        return Stream(self.loaded, size, plan, SCALE)


def _check(request: VsrEvaluation) -> None:
    if (request.low is None) != (request.high is None):
        raise UsageError("--low and --high belong together")
    if bool(request.data) == (request.low is not None):
        raise UsageError("give either --data or --low and --high" if request.data else
                         "nothing to score", hint="--data SET, or --low FRAMES --high FRAMES")
    if request.identity and (request.model or request.weights or request.restored):
        raise UsageError("--identity scores no network and no frames")
    if request.restored is not None and (request.model or request.weights or request.save):
        raise UsageError("--restored scores frames that are there, without a network")
    if request.save is not None and request.identity:
        raise UsageError("--save saves a network's frames, --identity has none")
    if request.restored is not None and len(request.data) > 1:
        raise UsageError("--restored belongs to one set", hint="Score one --data at a time")
    if request.memory is not None:
        from restore_cli.pipeline import memory

        memory.parse(request.memory)
    if request.plots is not None:
        plots.require()
    for path in [*([request.csv] if request.csv else []),
                 *([request.plots / name for name in video_report.NAMES]
                   if request.plots else [])]:
        check_target(path, overwrite=request.overwrite)


def _clips(request: VsrEvaluation, failures: common.Failures) -> list[Clip]:
    if request.low is not None and request.high is not None:
        name = request.low.resolve().name if request.low.is_dir() else request.low.stem
        return [Clip(name, name, request.low, request.high, request.restored)]
    work: list[Clip] = []
    for folder, label in common.labelled(request.data):
        try:
            work += video_cases.find(folder, label, request.restored)
        except InputError as error:
            failures.add(error)
    return work


@dataclass
class _Seen:
    """A small frame, its sharp one, and what the network remembers of it."""

    low: Frame
    high: np.ndarray
    held: Any


def _score(clip: Clip, enlarger: Enlarger | None, request: VsrEvaluation) -> VideoResult:
    times, stream, writer = Times(), None, None
    baseline = ClipScore(clip.name)
    found = None if request.identity else ClipScore(clip.name)
    size: tuple[int, int] | None = None
    with ExitStack() as stack:
        pairs = _pairs(clip, request.limit, times, stack)
        restored = None
        if clip.restored is not None:
            restored = stack.enter_context(_restored(clip, request.border))
        for window in windows.sliding(((one, one.low.index == 0) for one in pairs),
                                      border=request.border):
            middle = window[len(window) // 2]
            high, size = middle.high, middle.high.shape[:2]
            number = str(middle.low.index)
            plain = _bytes(video_baseline.enlarge(middle.low.rgb, SCALE), middle.low.rgb.dtype)
            plain = plain[:size[0], :size[1]]  # sides of sharp frames need not be multiples of 4
            baseline.add(number, plain, high)
            if found is None:
                continue
            begun = time.perf_counter()
            if restored is not None:
                made = _next(restored, clip)
            else:
                if stream is None:
                    stream = enlarger.stream(middle.low.rgb.shape[:2],
                                             middle.low.rgb.dtype.itemsize)
                made = stream.enlarge([one.held for one in window])
                times.compute += time.perf_counter() - begun
            made = made[:size[0], :size[1]]
            if made.shape != high.shape:
                raise InputError(f"enlarged frames of {made.shape[1]}x{made.shape[0]}, sharp ones "
                                 f"of {high.shape[1]}x{high.shape[0]}", path=clip.high)
            found.add(number, made, high)
            if request.save is not None:
                begun = time.perf_counter()
                writer = writer or FrameWriter(request.save / clip.name,
                                               overwrite=request.overwrite)
                writer.write(made)
                times.encode += time.perf_counter() - begun
    if size is None:
        raise InputError(f"has fewer than {windows.LENGTH} frames, so that none is scored",
                         path=clip.low, hint="--border scores all")
    return VideoResult(clip.data, found, baseline, size, times)


def _pairs(clip: Clip, limit: int | None, times: Times, stack: ExitStack) -> Iterator[_Seen]:
    """The frames of a clip with their sharp ones.

    Raises:
        InputError: their numbers or sizes do not agree.
    """
    low = stack.enter_context(open_source(clip.low, end=limit))
    high = stack.enter_context(open_source(clip.high, end=limit))
    while True:
        begun = time.perf_counter()
        small = next(low, None)
        times.decode += time.perf_counter() - begun
        sharp = next(high, None)
        if small is None and sharp is None:
            return
        if small is None or sharp is None:
            which = clip.high if sharp is None else clip.low
            raise InputError("has fewer frames than its partner", path=which,
                             hint="The frames of a test clip come in pairs")
        height, width = (SCALE * side for side in small.rgb.shape[:2])
        rows, columns = sharp.rgb.shape[:2]
        if not (height - SCALE < rows <= height and width - SCALE < columns <= width):
            raise InputError(f"sharp frames of {columns}x{rows} do not belong to small ones of "
                             f"{width // SCALE}x{height // SCALE}", path=clip.high,
                             hint=f"They are {SCALE} times as large")
        from restore_cli.jobs.vsr_stream import Held

        yield _Seen(small, sharp.rgb, Held(small))


def _restored(clip: Clip, border: bool):
    """The enlarged frames that are there: one for each small frame, or for each that is scored."""
    found = open_source(clip.restored)
    with open_source(clip.low) as low:
        same = found.info.frame_count == low.info.frame_count
    if border or not same:
        return found
    found.close()
    return open_source(clip.restored, start=windows.LENGTH // 2)


def _next(restored, clip: Clip) -> np.ndarray:
    frame = next(restored, None)
    if frame is None:
        raise InputError("has fewer frames than are scored", path=clip.restored,
                         hint="--border scores the frames at both ends, too")
    return frame.rgb


def _bytes(made: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(np.clip(made, 0, np.iinfo(dtype).max)).astype(dtype)


def _report(request: VsrEvaluation, results: Sequence[VideoResult], name: str,
            console: Console) -> None:
    if console.json_lines:
        for record in video_report.mean_records(results, name):
            console.result("", record)
    else:
        console.result(video_report.text(results, name))
    common.write_csv(request.csv, video_report.csv_text(results), overwrite=request.overwrite)
    if request.plots is not None:
        for path in video_report.plot(results, request.plots, name):
            console.info(f"{path}: written")
