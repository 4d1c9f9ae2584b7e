"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from restore_cli.errors import WeightsError


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        WeightsError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or error}", path=path) from error
    return digest.hexdigest()
