"""What every `restore evaluate` command does around its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from restore_cli.console import Console
from restore_cli.errors import (
    DeviceError,
    ExitStatus,
    OutOfMemory,
    RestoreError,
    UsageError,
    WeightsError,
)
from restore_cli.evaluation import plots
from restore_cli.media.atomic import atomic_path, check_target

C, R = TypeVar("C"), TypeVar("R")

_FATAL = (WeightsError, DeviceError)  # they concern the run, not one image


class Failures:
    """What went wrong with single images, reported at once."""

    def __init__(self, console: Console):
        self._console = console
        self._errors: list[RestoreError] = []

    def add(self, error: RestoreError) -> None:
        """Reports one failure and keeps it for the exit status."""
        self._console.error(error)
        self._errors.append(error)

    def status(self, some_results: bool) -> ExitStatus:
        """The run's exit status, the failures' own when all failed alike."""
        if not self._errors:
            return ExitStatus.OK
        statuses = {error.status for error in self._errors}
        return (statuses.pop() if not some_results and len(statuses) == 1
                else ExitStatus.SOME_FAILED)


def labelled(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Folders of test images with what tables call them: their names, paths where those agree."""
    names = [folder.resolve().name for folder in folders]
    return [(folder, name if names.count(name) == 1 else str(folder))
            for folder, name in zip(folders, names, strict=True)]


def score_all(work: Sequence[C], score: Callable[[C], R], record: Callable[[R], dict[str, Any]],
              console: Console, failures: Failures) -> list[R]:
    """Scores every case and tells each result; one failing does not stop the others.

    Raises:
        WeightsError, DeviceError: they concern the run, not one image.
    """
    results = []
    for case in console.progress(work, desc="evaluating", unit="image"):
        try:
            result = score(case)
        except _FATAL:
            raise
        except RestoreError as error:
            failures.add(error)
            continue
        results.append(result)
        console.result("", record(result))
    return results


@contextmanager
def naming_the_path(path: Path) -> Iterator[None]:
    """Memory that ran out inside is reported for this file."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory("does not fit the memory", path=path) from None
    except OutOfMemory as error:
        error.path = error.path or path
        raise


def write_csv(path: Path | None, text: str, *, overwrite: bool) -> None:
    """Writes the scores, if a file is asked for."""
    if path is not None:
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(text, encoding="utf-8")


def unknown_protocol(name: str, known: Iterable[str]) -> UsageError:
    """The refusal of a protocol's name."""
    return UsageError(f"unknown protocol '{name}'", hint="Known: " + ", ".join(known))


def check_results(csv: Path | None, folder: Path | None, *, overwrite: bool) -> None:
    """Refuses a CSV file or plots in `folder` that exist or cannot be drawn."""
    if folder:
        plots.require()
    for path in [*([csv] if csv else []),
                 *([folder / name for name in plots.NAMES] if folder else [])]:
        check_target(path, overwrite=overwrite)
