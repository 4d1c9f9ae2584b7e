"""The list of known weight files, read from ``weights_manifest.toml``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from restore_cli.errors import WeightsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

UNPINNED = "unpinned"
COMMERCIAL = ("yes", "no", "unstated")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}|prefix:[0-9a-f]{8,63}|unpinned")


@dataclass(frozen=True)
class Entry:
    """One published or shipped weight file.

    Attributes:
        name: what users type.
        task: the subcommand it serves.
        arch, config: the network it must fit.
        urls: where it can be fetched, in order of preference; empty for shipped files.
        page: where a browser finds the file, if no address of the file itself is published.
        shipped: file name inside the package's ``weights/shipped`` folder, or None.
        size: exact bytes of the published file, or None when unknown.
        limit: most bytes accepted from a server.
        sha256: 64 hexadecimal digits, "prefix:" and the published beginning, or "unpinned".
        licence, commercial: the terms; `commercial` is "yes", "no" or "unstated".
        source, training_data, note: where it is from, what it learned from, what to know.
        normalisation: how a denoiser is fed where its file does not tell: the metadata
            "normalisation" of the converted file; None leaves it to the converter.
        facts: further metadata of the converted file that the file itself does not tell.
        scores: published scores by data set and scale or noise, in dB.
        default: whether the task uses it unless told otherwise.
    """

    name: str
    task: str
    arch: str
    config: dict[str, Any]
    licence: str
    commercial: str
    source: str
    training_data: str
    sha256: str = UNPINNED
    urls: tuple[str, ...] = ()
    page: str | None = None
    shipped: str | None = None
    size: int | None = None
    limit: int = 1 << 30
    normalisation: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    default: bool = False

    def accepts(self, sha256: str) -> bool:
        """Whether a file with this hash can be the published one."""
        if self.sha256 == UNPINNED:
            return True
        return sha256.startswith(self.sha256.removeprefix("prefix:"))


@dataclass(frozen=True)
class Manifest:
    """All entries by name.

    Attributes:
        entries: in the file's order.
        path: the file they came from.
    """

    entries: Mapping[str, Entry]
    path: Path

    def default(self, task: str) -> Entry:
        """The task's default entry.

        Raises:
            WeightsError: the task has none.
        """
        for entry in self.entries.values():
            if entry.task == task and entry.default:
                return entry
        raise WeightsError(f"there are no default weights for '{task}'",
                           hint="Name some with --weights FILE")

    def published(self, sha256: str) -> Entry | None:
        """The entry of the published file with this hash, known in full."""
        return next((entry for entry in self.entries.values()
                     if entry.sha256 == sha256 != UNPINNED), None)


def find(environ: Mapping[str, str] = os.environ) -> Path:
    """The manifest's file: ``RESTORE_MANIFEST``, the package's, or the checkout's.

    Raises:
        WeightsError: none of them exists.
    """
    named = environ.get("RESTORE_MANIFEST")
    if named:
        return Path(named)
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "weights_manifest.toml",
                      package.parent / "weights_manifest.toml"):
        if candidate.is_file():
            return candidate
    raise WeightsError("the list of weights (weights_manifest.toml) is missing",
                       hint="Install the package again")


def load(environ: Mapping[str, str] = os.environ) -> Manifest:
    """The manifest of this installation.

    Raises:
        WeightsError: missing or with a mistake in it; says where.
    """
    path = find(environ)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or error}", path=path) from error
    return _read(path, stamp)


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> Manifest:
    del stamp  # only makes a changed file another key of the cache
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot be read: {error}", path=path) from error
    entries = {}
    for name, table in tables.get("weights", {}).items():
        try:
            entries[name] = entry(name, table)
        except (TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"entry '{name}': {error}", path=path) from error
    return Manifest(entries, path)


def entry(name: str, table: Mapping[str, Any]) -> Entry:
    """One checked entry from its table.

    Raises:
        TypeError, ValueError: a key is missing, unknown or makes no sense.
    """
    made = Entry(name=name, **{**table, "urls": tuple(table.get("urls", ()))})
    if not _NAME.fullmatch(name):
        raise ValueError("names are lower-case letters, digits, dots and dashes")
    if not _HASH.fullmatch(made.sha256):
        raise ValueError(f"sha256 = {made.sha256!r} is no hash")
    if made.commercial not in COMMERCIAL:
        raise ValueError(f"commercial must be one of {', '.join(COMMERCIAL)}")
    if made.shipped is None and not made.urls and not made.page:
        raise ValueError("neither urls nor shipped nor page")
    if made.shipped is not None and Path(made.shipped).name != made.shipped:
        raise ValueError("shipped is a plain file name")
    if not all(url.startswith(("https://", "http://", "file://"))
               for url in (*made.urls, *filter(None, [made.page]))):
        raise ValueError("urls start with https://, http:// or file://")
    if made.size is not None and made.size > made.limit:
        raise ValueError("size exceeds limit")
    return made
