"""How amounts are written in messages."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def show(size: float) -> str:
    """`size` bytes for people, in powers of 1000: ``512 bytes``, ``6.1 MB``, ``740 MB``.

    `--memory` reads the same letters as powers of 1024, so that an amount of some megabytes or
    more that a message asks for is enough when it is typed back.
    """
    if size < 999.5:
        return f"{size:.0f} byte" + ("" if round(size) == 1 else "s")
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"
