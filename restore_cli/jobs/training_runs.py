"""What every `restore train` job shares: the run's folder, its schedule, weights to start from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore_cli.errors import UsageError, WeightsError


def check(lr: float, minutes: float | None, photo_share: float = 0.0,
          lr_option: str = "--lr") -> None:
    """Refuses values that no run can have, before anything is read or made.

    Raises:
        UsageError: says which.
    """
    if not 0 < lr < math.inf:
        raise UsageError(f"{lr_option} must be a number above 0, not {lr:g}")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes must be above 0, not {minutes:g}")
    if not 0 <= photo_share < 1:
        raise UsageError("--photo-share must lie between 0 and 1")


@contextmanager
def run_folder(out: Path, resume: bool) -> Iterator[None]:
    """Makes the run's folder; a run that fails before it wrote anything leaves none behind.

    Raises:
        UsageError: a run stands there and is not to be resumed, or the folder cannot be made.
    """
    if not resume and (out / "last.safetensors").exists():
        raise UsageError("a run stands here already", path=out,
                         hint="Continue it with --resume, or give another --out")
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder: {error.strerror}", path=out) from error
        yield
    except BaseException:
        with suppress(OSError):  # not empty: it stays
            for folder in new:
                folder.rmdir()
        raise


def schedule(name: str, lr: float, steps: int, warmup: int = 0):
    """The learning rate by step.

    Raises:
        UsageError: unknown name.
    """
    from restore_cli.training import schedules

    if name == "cosine":
        return schedules.cosine(lr, steps, warmup)
    if name == "halving":
        # LIIF's published run halves at 20, 40, 60 and 80 % of its million steps.
        return schedules.stepwise(lr, [steps * k // 5 for k in (1, 2, 3, 4)])
    if name == "constant":
        return schedules.stepwise(lr, [])
    raise UsageError(f"unknown schedule '{name}'", hint="Known: halving, cosine, constant")


def initialise(network, path: Path) -> None:
    """Loads weights to start from.

    Raises:
        WeightsError: unreadable, or of another network.
    """
    from restore_cli.weights import files

    try:
        network.load_state_dict(files.read(path).tensors)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error


def name_of(folder: str | Path) -> str:
    """How a run's settings name its data: a run may move together with its folders."""
    return str(folder) if str(folder) == "synthetic" else Path(folder).name
