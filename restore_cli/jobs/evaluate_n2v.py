"""`restore evaluate n2v`: scores denoising, and the noisy images beside it, on test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.evaluation import denoising, denoising_cases, denoising_report
from restore_cli.evaluation.denoising import Denoiser, DenoisingResult, Loaded, Protocol
from restore_cli.evaluation.denoising_cases import MadeNoise, NoisyCase
from restore_cli.jobs import evaluate_common as common

if TYPE_CHECKING:
    from restore_cli.jobs.denoise import DenoiseRequest
    from restore_cli.jobs.evaluate_restorer import Restorer

DEFAULT_LEVELS = {"gaussian": (25.0,), "poisson": (30.0,)}


@dataclass(frozen=True)
class DenoisingEvaluation:
    """What to score, how, and where results go.

    Attributes:
        data: folders of test images; see `evaluation.denoising_cases`.
        clean: folder of references when `data` is one folder of noisy files.
        protocol: a name in `evaluation.denoising.PROTOCOLS`.
        noise: "gaussian" or "poisson", for protocols that make it; None is gaussian.
        levels: of the noise; None takes one usual level.
        noise_seed: of the noise.
        peak: range of the references' values; None see `evaluation.denoising.load`.
        limit: only the first so many images of each folder.
        csv, plots, save: file, folder and folder to write, or None.
        overwrite: replace existing ones.
        restoring: what denoises, its inputs and outputs left out; None scores only the noisy
            images. What trains does so on every image by itself.
    """

    data: Sequence[Path]
    clean: Path | None = None
    protocol: str = "bsd68"
    noise: str | None = None
    levels: Sequence[float] | None = None
    noise_seed: int = 0
    peak: float | None = None
    limit: int | None = None
    csv: Path | None = None
    plots: Path | None = None
    save: Path | None = None
    overwrite: bool = False
    restoring: DenoiseRequest | None = None


def run(request: DenoisingEvaluation, console: Console) -> ExitStatus:
    """Scores all images; one failing does not stop the others."""
    protocol = _check(request)
    failures = common.Failures(console)
    work = _cases(request, protocol, failures)
    results: list[DenoisingResult] = []
    if work:
        restorer = None
        if request.restoring is not None:
            from restore_cli.jobs.evaluate_restorer import Restorer

            restorer = Restorer(request.restoring, console)
        results = common.score_all(
            work, lambda case: _score(request, case, restorer, protocol),
            denoising_report.result_record, console, failures)
    if results:
        _report(request, protocol, restorer, results, console)
    return failures.status(bool(results))


def _check(request: DenoisingEvaluation) -> Protocol:
    """Refuses before hours of work what would fail after them."""
    if request.protocol not in denoising.PROTOCOLS:
        raise common.unknown_protocol(request.protocol, denoising.PROTOCOLS)
    protocol = denoising.PROTOCOLS[request.protocol]
    if request.noise not in (None, *DEFAULT_LEVELS):
        raise UsageError(f"unknown noise '{request.noise}'",
                         hint="Known: " + ", ".join(DEFAULT_LEVELS))
    if protocol.paired and (request.noise or request.levels):
        raise UsageError("pairs of files bring their noise with them",
                         hint="Leave --noise, --sigma and --photons out")
    if request.clean is not None and not (protocol.paired and len(request.data) == 1):
        raise UsageError("--clean belongs to one --data folder of noisy files and "
                         "--protocol pairs")
    if request.peak is not None and not protocol.paired:
        raise UsageError(f"the protocol {protocol.name} has peak 255",
                         hint="--peak belongs to --protocol pairs")
    if request.restoring is not None:
        from restore_cli.jobs import evaluate_restorer

        evaluate_restorer.check(request.restoring)
    common.check_results(request.csv, request.plots, overwrite=request.overwrite)
    return protocol


def _cases(request: DenoisingEvaluation, protocol: Protocol, failures: common.Failures
           ) -> list[NoisyCase]:
    kind = request.noise or "gaussian"
    noises = [MadeNoise(kind, level) for level in request.levels or DEFAULT_LEVELS[kind]]
    work: list[NoisyCase] = []
    for folder, label in common.labelled(request.data):
        try:
            if protocol.paired:
                work += denoising_cases.pairs(folder, request.clean, label=label,
                                              limit=request.limit, on_error=failures.add)
            else:
                work += denoising_cases.made(folder, noises, label=label, limit=request.limit,
                                             split=protocol.size is not None)
        except InputError as error:
            failures.add(error)
    return work


def _score(request: DenoisingEvaluation, case: NoisyCase, denoise: Denoiser | None,
           protocol: Protocol) -> DenoisingResult:
    def keep(case: NoisyCase, planes: np.ndarray, data: Loaded) -> None:
        _save(request, case, planes, data)

    with common.naming_the_path(case.noisy or case.clean):
        return denoising.evaluate(case, denoise, protocol, seed=request.noise_seed,
                                  peak=request.peak, keep=keep if request.save else None)


def _save(request: DenoisingEvaluation, case: NoisyCase, planes: np.ndarray, data: Loaded
          ) -> None:
    """Writes ``folder/set/sigma25/name.png`` in the type the noisy image has or stands for."""
    from restore_cli.media import images
    from restore_cli.media.model import Image
    from restore_cli.media.samples import from_float

    float_file = case.noisy is not None and data.dtype.kind == "f"
    pixels = planes.transpose(1, 2, 0)
    if not float_file:
        dtype = data.dtype if case.noisy is not None else np.uint8
        pixels = from_float(pixels / np.float32(data.white), dtype)
    folder = request.save / Path(case.data).name / (case.noise.folder if case.noise else "")
    images.write(folder / f"{case.name}{'.tif' if float_file else '.png'}",
                 Image(np.ascontiguousarray(pixels)), overwrite=request.overwrite)


def _notes(request: DenoisingEvaluation, protocol: Protocol, results: list[DenoisingResult]
           ) -> list[str]:
    """What else readers must know about these figures."""
    notes = []
    counts = {row.images for row in denoising_report.means(results)}
    if protocol.paired:
        peaks = sorted({result.peak for result in results})
        notes.append("peak " + (f"{peaks[0]:g}" if len(peaks) == 1 else
                                f"{peaks[0]:g} to {peaks[-1]:g}, each reference's own range"))
    elif protocol.name == "bsd68" and counts != {68}:
        notes.append("not the 68 images of BSD68, so no published figure compares")
    elif protocol.name == "source" and counts != {34}:
        notes.append("not the 34 test images of BSD68, so no published figure compares")
    if request.noise == "poisson" and not protocol.paired:
        notes.append("Poisson noise: photons counted at white (255)")
    return notes


def _report(request: DenoisingEvaluation, protocol: Protocol, restorer: Restorer | None,
            results: list[DenoisingResult], console: Console) -> None:
    rows = denoising_report.means(results)
    notes = [*_notes(request, protocol, results), *(restorer.notes if restorer else ())]
    name = restorer.name if restorer else "noisy"
    if console.json_lines:
        for row in rows:
            console.result("", denoising_report.mean_record(row, model=name,
                                                            protocol=protocol.name))
        for record in denoising_report.remark_records(rows, protocol, notes):
            console.result("", record)
    else:
        console.result(denoising_report.table(rows, name))
        console.result(denoising_report.remarks(rows, protocol, notes))
    common.write_csv(request.csv, denoising_report.csv_text(results),
                     overwrite=request.overwrite)
    if request.plots:
        for path in denoising_report.plot(results, request.plots, model=name,
                                          protocol=protocol.name):
            console.info(f"{path}: written")
