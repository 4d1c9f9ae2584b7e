"""`restore evaluate led`: scores RAW denoising, and the noisy files beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.evaluation import raw_cases, raw_denoising, raw_report
from restore_cli.evaluation.raw_denoising import Case, Protocol, RawResult
from restore_cli.jobs import evaluate_common as common
from restore_cli.media.atomic import check_target

if TYPE_CHECKING:
    from restore_cli.jobs.evaluate_led_network import Restorer

SYNTHETIC = "synthetic"
RATIOS = "100,250,300"
COUNT = 12


@dataclass(frozen=True)
class LedEvaluation:
    """What to score, how, and where results go.

    Attributes:
        data: folders and lists, see `evaluation.raw_cases`; "synthetic" generates pairs.
        protocol: a name in `evaluation.raw_denoising.PROTOCOLS`.
        correct: bring results to the truth's brightness, where the protocol does that.
        all_shots, all_scenes: see `evaluation.raw_cases.find`.
        limit: only the first so many pairs of each set.
        cameras, ratios, count, seed: of generated pairs; None takes what is usual.
        identity: score only the noisy images.
        model, weights: what denoises; neither: the default weights.
        csv, markdown, plots: files and folder to write, or None.
        overwrite: replace existing ones.
    """

    data: Sequence[Path]
    protocol: str = "led"
    correct: bool = True
    all_shots: bool = False
    all_scenes: bool = False
    limit: int | None = None
    cameras: str | None = None
    ratios: str | None = None
    count: int | None = None
    seed: int | None = None
    identity: bool = False
    model: str | None = None
    weights: str | None = None
    csv: Path | None = None
    markdown: Path | None = None
    plots: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None


def run(request: LedEvaluation, console: Console) -> ExitStatus:
    """Scores all pairs; one failing does not stop the others.

    Raises:
        UsageError: options that contradict each other.
        WeightsError, DeviceError: the network cannot run.
        OutputError: results that exist already.
    """
    protocol = _check(request)
    failures = common.Failures(console)
    work = _cases(request, protocol, failures, console)
    results: list[RawResult] = []
    restorer, name = None, "noisy"
    if work:
        if not request.identity:
            from restore_cli.jobs.evaluate_led_network import Restorer

            restorer = Restorer(request.model, request.weights, console, device=request.device,
                                threads=request.threads, memory_limit=request.memory,
                                tile=request.tile)
            name = restorer.name
        results = _score_all(work, restorer, protocol, name, console, failures)
    if results:
        _report(request, protocol, restorer, name, results, console)
    return failures.status(bool(results))


def _check(request: LedEvaluation) -> Protocol:
    """Refuses before hours of work what would fail after them."""
    if request.protocol not in raw_denoising.PROTOCOLS:
        raise common.unknown_protocol(request.protocol, raw_denoising.PROTOCOLS)
    protocol = raw_denoising.PROTOCOLS[request.protocol]
    if not request.correct:
        if not protocol.corrected:
            raise UsageError(f"the protocol {protocol.name} has no correction of brightness",
                             hint="Leave --no-correct out")
        protocol = protocol.uncorrected()
    made = [path for path in request.data if str(path) == SYNTHETIC]
    given = [option for option, value in (
        ("--cameras", request.cameras), ("--ratios", request.ratios), ("--count", request.count),
        ("--seed", request.seed)) if value is not None]
    if given and not made:
        raise UsageError(f"{given[0]} is about generated pairs", hint="Add --data synthetic")
    if request.memory is not None:
        from restore_cli.pipeline import memory

        memory.parse(request.memory)
    common.check_results(request.csv, request.plots, overwrite=request.overwrite)
    if request.markdown is not None:
        check_target(request.markdown, overwrite=request.overwrite)
    return protocol


def _cases(request: LedEvaluation, protocol: Protocol, failures: common.Failures,
           console: Console) -> list[Case]:
    work: list[Case] = []
    for path, label in common.labelled(request.data):
        if str(path) == SYNTHETIC:
            work += _synthetic(request, console)
            continue
        try:
            found = raw_cases.find(
                path, label=label, all_shots=request.all_shots or protocol.all_shots,
                all_scenes=request.all_scenes, on_error=failures.add)
        except InputError as error:
            failures.add(error)
            continue
        seen: Counter[str] = Counter()
        for case in found:
            seen[case.data] += 1
            if request.limit is None or seen[case.data] <= request.limit:
                work.append(case)
    return work


def _synthetic(request: LedEvaluation, console: Console) -> Sequence[Case]:
    from restore_cli.evaluation import raw_synthetic
    from restore_cli.jobs.train_led import cameras_of
    from restore_cli.runtime.paths import cache_dir
    from restore_cli.training.datasets.raw_pairs import Ratios

    ratios = Ratios.parse(request.ratios or RATIOS)
    if ratios.draw_as != "list":
        raise UsageError(f"--ratios {request.ratios} is a range", hint="Give a list: 100,250,300")
    cameras = request.cameras or "virtual"
    count = request.count or COUNT
    if request.limit is not None:
        count = min(count, request.limit)
    return raw_synthetic.cases(
        cameras_of(cameras), list(dict.fromkeys(ratios.values)), count, request.seed or 0,
        any_camera=cameras.startswith("virtual"), cache_folder=cache_dir() / "synthetic",
        console=console)


def _score_all(work: Sequence[Case], restorer: Restorer | None, protocol: Protocol, name: str,
               console: Console, failures: common.Failures) -> list[RawResult]:
    def score(case: Case) -> RawResult:
        with common.naming_the_path(case.noisy or Path(case.name)):
            if restorer is not None:
                restorer.require_room(case)
            result = raw_denoising.evaluate(case, restorer, protocol)
        if not console.json_lines:
            console.info(raw_report.line(result, name, protocol))
        return result

    record: Callable[[RawResult], dict] = lambda result: raw_report.result_record(  # noqa: E731
        result, protocol)
    return common.score_all(work, score, record, console, failures)


def _notes(protocol: Protocol, results: Sequence[RawResult]) -> list[str]:
    """What else readers must know about these figures."""
    origins = {result.case.origin for result in results}
    notes = []
    if "SID" in origins and not protocol.all_shots:
        counts = Counter(raw_report.group(result.ratio) for result in results
                         if result.case.origin == "SID")
        if counts != raw_cases.SID_SHOTS:
            notes.append("SID: not the 29, 29 and 35 first shots at x100, x250 and x300 of its "
                         "Sony test scenes, so no published figure compares")
    if "ELD" in origins:
        notes.append("ELD: whole images; each dark frame with the nearest clean one of its scene")
    if "synthetic" in origins:
        notes.append("synthetic: generated pictures with noise of modelled cameras; compares only "
                     "with the same options")
    return notes


def _report(request: LedEvaluation, protocol: Protocol, restorer: Restorer | None, name: str,
            results: list[RawResult], console: Console) -> None:
    rows = raw_report.means(results)
    notes = [*_notes(protocol, results), *(restorer.notes(results) if restorer else ())]
    if console.json_lines:
        for row in rows:
            console.result("", raw_report.mean_record(row, model=name, protocol=protocol))
        for record in raw_report.remark_records(rows, protocol, notes):
            console.result("", record)
    else:
        console.result(raw_report.text(rows, name, protocol, notes))
    common.write_csv(request.csv, raw_report.csv_text(results, protocol),
                     overwrite=request.overwrite)
    common.write_csv(request.markdown, raw_report.markdown(rows, name, protocol, notes),
                     overwrite=request.overwrite)
    if request.plots:
        for path in raw_report.plot(results, request.plots, model=name, protocol=protocol):
            console.info(f"{path}: written")
