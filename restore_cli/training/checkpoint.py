"""Training checkpoints: one safetensors file with everything a run needs to continue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media.atomic import atomic_path

_HEADER = "restore-checkpoint"


@dataclass
class Checkpoint:
    """A run's state after `step` updates.

    Attributes:
        step: number of updates made.
        recipe: the settings that define the run; resuming compares them.
        groups: named groups of arrays, such as "weights", "average" and "adam".
    """

    step: int
    recipe: dict[str, Any]
    groups: dict[str, dict[str, np.ndarray]]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes atomically: a crash leaves the previous checkpoint.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {f"{group}:{key}": np.ascontiguousarray(value)
              for group, items in checkpoint.groups.items() for key, value in items.items()}
    header = json.dumps({"step": checkpoint.step, "recipe": checkpoint.recipe})
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(to_bytes(arrays, {_HEADER: header}))


def load(path: Path) -> Checkpoint:
    """Reads what `save` wrote.

    Raises:
        InputError: missing, damaged, or not a checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(_HEADER)
            if header is None:
                raise InputError("not a training checkpoint", path=path)
            groups: dict[str, dict[str, np.ndarray]] = {}
            for name in file.keys():
                group, key = name.split(":", 1)
                groups.setdefault(group, {})[key] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the checkpoint: {error}", path=path) from error
    facts = json.loads(header)
    return Checkpoint(facts["step"], facts["recipe"], groups)
