"""`restore evaluate liif`: scores a network, and bicubic beside it, on test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import (
    DeviceError,
    ExitStatus,
    InputError,
    OutOfMemory,
    OutputError,
    RestoreError,
    WeightsError,
)
from restore_cli.evaluation import cases, plots, protocols, report
from restore_cli.evaluation.cases import Case
from restore_cli.evaluation.protocols import Result, Upscale
from restore_cli.media.atomic import atomic_path

BICUBIC = "bicubic"
_FATAL = (WeightsError, DeviceError)  # they concern the run, not one image


@dataclass(frozen=True)
class EvaluateRequest:
    """What to score, how, and where results go.

    Attributes:
        data: folders of test images; see `evaluation.cases.find`.
        scales: None takes those for which there are given pairs, else 2, 3 and 4.
        protocol: a name in `evaluation.protocols.PROTOCOLS`.
        weights: name or file of the network; None is the default, "bicubic" no network at all.
        quantise: round predictions to 8 bits before comparing.
        csv, plots, save: file, folder and folder to write, or None.
        overwrite: replace existing ones.
        memory, tile: as for `restore upscale`.
    """

    data: Sequence[Path]
    scales: Sequence[float] | None = None
    protocol: str = "benchmark"
    weights: str | None = None
    quantise: bool = False
    csv: Path | None = None
    plots: Path | None = None
    save: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None


def run(request: EvaluateRequest, console: Console) -> ExitStatus:
    """Scores all images; one failing does not stop the others."""
    _check_outputs(request)
    failures: list[RestoreError] = []

    def failed(error: RestoreError) -> None:
        console.error(error)
        failures.append(error)

    work = _cases(request, failed)
    results: list[Result] = []
    if work:
        name, upscale = BICUBIC, None
        if request.weights != BICUBIC:
            name, upscale = _network(request, console)
        protocol = protocols.PROTOCOLS[request.protocol]
        for case in console.progress(work, desc="evaluating", unit="image"):
            try:
                result = _score(request, case, upscale, protocol)
            except _FATAL:
                raise
            except RestoreError as error:
                failed(error)
                continue
            results.append(result)
            console.result("", report.result_record(result))
    if results:
        _report(request, name, results, console)
    if not failures:
        return ExitStatus.OK
    statuses = {error.status for error in failures}
    return statuses.pop() if not results and len(statuses) == 1 else ExitStatus.SOME_FAILED


def _cases(request: EvaluateRequest, failed) -> list[Case]:
    names = [folder.resolve().name for folder in request.data]
    work: list[Case] = []
    for folder, name in zip(request.data, names, strict=True):
        label = name if names.count(name) == 1 else str(folder)
        try:
            work += cases.find(folder, request.scales, label=label, on_error=failed)
        except InputError as error:
            failed(error)
    return work


def _score(request: EvaluateRequest, case: Case, upscale: Upscale | None, protocol) -> Result:
    def keep(case: Case, image: np.ndarray) -> None:
        save_prediction(request.save, case, image, overwrite=request.overwrite)

    try:
        return protocols.evaluate(case, upscale, protocol, quantise=request.quantise,
                                  keep=keep if request.save else None)
    except MemoryError:
        raise OutOfMemory("does not fit the memory", path=case.hr) from None


def save_prediction(folder: Path, case: Case, image: np.ndarray, *, overwrite: bool) -> Path:
    """Writes ``folder/set/x2/name.png``, 8 bits, from (H, W, 3) in [0, 1]; returns the path."""
    from restore_cli.media import images
    from restore_cli.media.model import Image
    from restore_cli.media.samples import from_float

    data = Path(case.data).name
    target = folder / data / f"x{case.scale:g}" / f"{case.name}.png"
    if target.exists() and not overwrite:
        raise OutputError("exists already", path=target, hint="Use --overwrite to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    images.write(target, Image(from_float(image, np.uint8)), overwrite=overwrite)
    return target


def _report(request: EvaluateRequest, name: str, results: list[Result],
            console: Console) -> None:
    rows = report.means(results)
    if console.json_lines:
        for row in rows:
            console.result("", report.mean_record(row, model=name, protocol=request.protocol,
                                                  quantised=request.quantise))
    else:
        console.result(report.table(rows, name))
    if request.csv:
        with atomic_path(request.csv, overwrite=request.overwrite) as temporary:
            temporary.write_text(report.csv_text(results), encoding="utf-8")
    if request.plots:
        for path in plots.write(results, request.plots, model=name, protocol=request.protocol):
            console.info(f"{path}: written")


def _check_outputs(request: EvaluateRequest) -> None:
    """Refuses before hours of work what would fail after them."""
    if request.plots:
        plots.require()
    wanted = [request.csv] if request.csv else []
    if request.plots:
        wanted += [request.plots / name for name in plots.NAMES]
    for path in wanted:
        if path.exists() and not request.overwrite:
            raise OutputError("exists already", path=path,
                              hint="Use --overwrite to replace it")


def _network(request: EvaluateRequest, console: Console) -> tuple[str, Upscale]:
    """The network's name, and the function that enlarges with it as `restore upscale` does."""
    from restore_cli.jobs import upscale_plan
    from restore_cli.jobs.upscale_image import Upscaler
    from restore_cli.nets.layout import layout
    from restore_cli.pipeline import memory
    from restore_cli.pipeline.pixels import Levels
    from restore_cli.runtime import engine
    from restore_cli.weights import files
    from restore_cli.weights.store import Store

    path = Store(console=console).find(request.weights, "upscale")
    weights = files.read(path)
    engine.start(request.device, request.threads, console=console)
    from restore_cli.nets import registry

    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    facts = layout(weights.arch, weights.config)
    upscaler = Upscaler(network, facts, weights.normalisation)
    model = upscale_plan.cost(facts, self_ensemble=False)
    budget = memory.budget(request.memory)
    levels = Levels(np.dtype(np.float32), 0.0, 1.0)  # not rounded to 8 bits

    def upscale(low: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        geometry = upscale_plan.Geometry(low.shape[:2], size, facts.receptive_radius)
        out = np.empty((*size, 3), np.float32)
        # Besides the tiles: both images as floats, and the bicubic one beside them.
        room = budget.room - low.nbytes - 4 * out.nbytes
        fixed = request.tile is not None and facts.receptive_radius is not None
        if fixed:
            tile = memory.check_tile(request.tile, lambda t: geometry.cost(model, t, True), room)
        else:
            tile = geometry.choose(model, room)
        upscaler.run(low, out, geometry.blocks(tile, fixed), levels, alpha=False)
        return out

    return path.stem, upscale
