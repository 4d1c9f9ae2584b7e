"""Finds the weight file that a command line means."""

from __future__ import annotations

from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import UsageError


def find(model: str | None, weights: str | Path | None, task: str, console: Console) -> Path:
    """The weight file that `--model` or `--weights` means; neither: the task's default.

    Raises:
        UsageError: both are given.
        WeightsError: unknown, missing, or cannot be fetched.
    """
    from restore_cli.weights.store import Store

    if model is not None and weights is not None:
        raise UsageError("give either --model or --weights")
    store = Store(console=console)
    if weights is not None:
        return store.find(Path(weights), task)
    if model is not None:
        store.entry(model)  # or a file of this name would be taken
    return store.find(model, task)
