"""Where caches live, and what Jittor and the compilers it calls can bear as a path."""

from __future__ import annotations

import hashlib
import ntpath
import os
import posixpath
import string
from collections.abc import Mapping
from pathlib import Path

# What survives unquoted use in shell commands, compiler flags and Jittor's own splitting.
_SAFE = set(string.ascii_letters + string.digits + "/._-+=@%~")
_SAFE_WINDOWS = _SAFE | {"\\", ":"}

# Jittor adds up to 221 characters below its base folder (cache keys, kernel names, ".key");
# Windows stops at 259.
WINDOWS_LIMIT = 36
POSIX_LIMIT = 120


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder of this program; it may not exist yet.

    ``RESTORE_CACHE`` names it; otherwise it is the platform's usual place. Weights lie in
    ``weights/`` below it, compiled kernels in ``kernels/`` where the path allows.
    """
    named = environ.get("RESTORE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("restore", appauthor=False)


def fits(path: str, system: str = "Linux") -> bool:
    """Whether `path` is ASCII, free of spaces and quotes, and short enough for `system`."""
    safe, limit = (_SAFE_WINDOWS, WINDOWS_LIMIT) if system == "Windows" else (_SAFE, POSIX_LIMIT)
    return 0 < len(path) <= limit and set(path) <= safe


def join(system: str, *parts: str) -> str:
    """Joins path parts the way `system` does, whatever this program runs on."""
    return (ntpath if system == "Windows" else posixpath).join(*parts)


def short_hash(*parts: str) -> str:
    """Eight hexadecimal digits that stand for `parts`."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
