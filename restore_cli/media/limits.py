"""Refuses pictures that would not fit, from their header alone."""

from __future__ import annotations

import os
from pathlib import Path

from restore_cli import units
from restore_cli.errors import InputError

MAX_PIXELS = 1_000_000_000
VARIABLE = "RESTORE_MAX_PIXELS"


def max_pixels(environ: dict[str, str] | None = None) -> int:
    """Most pixels a picture may have: `RESTORE_MAX_PIXELS`, else one gigapixel."""
    text = (os.environ if environ is None else environ).get(VARIABLE, "")
    try:
        return max(1, int(float(text)))
    except (ValueError, OverflowError):
        return MAX_PIXELS


def check(width: int, height: int, pixel_bytes: float, path: str | Path,
          limit: int | None = None) -> None:
    """Raises InputError when a picture of this size should not be decoded.

    Args:
        width, height: pixels, as the header states them.
        pixel_bytes: bytes a pixel takes while decoding.
        limit: most pixels; None asks `max_pixels()`.
    """
    if width < 1 or height < 1:
        raise InputError(f"has no pixels ({width}x{height})", path=path)
    limit = max_pixels() if limit is None else limit
    if width * height > limit:
        raise InputError(f"{width}x{height} is more than {limit / 1e6:.0f} megapixels", path=path,
                         hint=f"If it is genuine, set {VARIABLE}={width * height}")
    needed = width * height * pixel_bytes
    if needed > 64 << 20:
        free = _available()
        if needed > free:
            raise InputError(f"{width}x{height} needs {units.show(needed)} to decode, "
                             f"{units.show(free)} are free", path=path)


def _available() -> int:
    import psutil

    return psutil.virtual_memory().available
