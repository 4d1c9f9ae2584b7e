"""`restore evaluate liif`: scores a network, and bicubic beside it, on test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.evaluation import cases, plots, protocols, report
from restore_cli.evaluation.cases import Case
from restore_cli.evaluation.protocols import Result, Upscale
from restore_cli.jobs import evaluate_common as common

BICUBIC = "bicubic"


@dataclass(frozen=True)
class EvaluateRequest:
    """What to score, how, and where results go.

    Attributes:
        data: folders of test images; see `evaluation.cases.find`.
        scales: None takes those for which there are given pairs, else 2, 3 and 4.
        protocol: a name in `evaluation.protocols.PROTOCOLS`.
        model: name of known weights; None is the default, "bicubic" no network at all.
        weights: weight file instead of a name.
        quantise: round predictions to 8 bits before comparing.
        csv, plots, save: file, folder and folder to write, or None.
        overwrite: replace existing ones.
        memory, tile: as for `restore upscale`.
    """

    data: Sequence[Path]
    scales: Sequence[float] | None = None
    protocol: str = "benchmark"
    model: str | None = None
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
    _check(request)
    failures = common.Failures(console)
    work: list[Case] = []
    for folder, label in common.labelled(request.data):
        try:
            work += cases.find(folder, request.scales, label=label, on_error=failures.add)
        except InputError as error:
            failures.add(error)
    results: list[Result] = []
    if work:
        name, upscale = BICUBIC, None
        if request.model != BICUBIC:
            name, upscale = _network(request, console)
        protocol = protocols.PROTOCOLS[request.protocol]
        results = common.score_all(
            work, lambda case: _score(request, case, upscale, protocol), report.result_record,
            console, failures)
    if results:
        _report(request, name, results, console)
    return failures.status(bool(results))


def _score(request: EvaluateRequest, case: Case, upscale: Upscale | None, protocol) -> Result:
    def keep(case: Case, image: np.ndarray) -> None:
        save_prediction(request.save, case, image, overwrite=request.overwrite)

    with common.naming_the_path(case.hr):
        return protocols.evaluate(case, upscale, protocol, quantise=request.quantise,
                                  keep=keep if request.save else None)


def save_prediction(folder: Path, case: Case, image: np.ndarray, *, overwrite: bool) -> Path:
    """Writes ``folder/set/x2/name.png``, 8 bits, from (H, W, 3) in [0, 1]; returns the path."""
    from restore_cli.media import images
    from restore_cli.media.model import Image
    from restore_cli.media.samples import from_float

    target = folder / Path(case.data).name / f"x{case.scale:g}" / f"{case.name}.png"
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
    common.write_csv(request.csv, report.csv_text(results), overwrite=request.overwrite)
    if request.plots:
        for path in plots.write(results, request.plots, model=name, protocol=request.protocol):
            console.info(f"{path}: written")


def _check(request: EvaluateRequest) -> None:
    """Refuses before hours of work what would fail after them."""
    if request.protocol not in protocols.PROTOCOLS:
        raise common.unknown_protocol(request.protocol, protocols.PROTOCOLS)
    common.check_results(request.csv, request.plots, overwrite=request.overwrite)


def _network(request: EvaluateRequest, console: Console) -> tuple[str, Upscale]:
    """The network's name, and the function that enlarges with it as `restore upscale` does."""
    from restore_cli.jobs import upscale_network, upscale_plan
    from restore_cli.jobs.upscale_image import Upscaler
    from restore_cli.pipeline import memory
    from restore_cli.pipeline.pixels import Levels

    path = upscale_network.find(request.model, request.weights, console)
    loaded = upscale_network.load(path, device=request.device, threads=request.threads,
                                  console=console)
    radius = loaded.layout.receptive_radius
    if radius is None and request.tile is not None:
        raise UsageError(f"{loaded.name} looks at the whole image and cannot be tiled",
                         hint="Leave --tile out")
    upscaler = Upscaler(loaded.network, loaded.layout, loaded.weights.normalisation)
    model = upscale_plan.cost(loaded.layout, False, loaded.fused, loaded.encoder_fused)
    levels = Levels(np.dtype(np.float32), 0.0, 1.0)  # predictions are not rounded to 8 bits
    fixed = request.tile is not None

    def enlarge(low: np.ndarray, size: tuple[int, int], room: int) -> np.ndarray:
        geometry = upscale_plan.Geometry(low.shape[:2], size, radius)
        tile = (memory.check_tile(request.tile, lambda t: geometry.cost(model, t, True), room)
                if fixed else geometry.choose(model, room))
        out = np.empty((*size, 3), np.float32)
        upscaler.run(low, out, geometry.blocks(tile, fixed), levels, alpha=False)
        return out

    # Kernels are compiled and loaded before what is held without any image is measured.
    side = 16 if request.tile is None else max(16, request.tile)
    enlarge(np.zeros((side, side, 3), np.float32), (2 * side, 2 * side), 1 << 50)
    memory.release()
    budget = memory.budget(request.memory)

    def upscale(low: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        # Besides the tiles: the input, the truth, the result, and room to compare them.
        held = low.nbytes + 5 * size[0] * size[1] * 3 * 4
        return enlarge(low, size, budget.room - held)

    return path.stem, upscale
