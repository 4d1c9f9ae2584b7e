"""The weight store: shipped files in the package, fetched ones in the user's cache."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import OutputError, RestoreError, WeightsError, did_you_mean
from restore_cli.media.atomic import atomic_path
from restore_cli.runtime.paths import cache_dir
from restore_cli.weights import manifest as manifests
from restore_cli.weights.fetch import Fetched, Fetcher, is_offline
from restore_cli.weights.hashing import sha256_of
from restore_cli.weights.manifest import Entry, Manifest

SHIPPED = Path(__file__).resolve().parent / "shipped"
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Status:
    """One line of the list.

    Attributes:
        entry: what the manifest says.
        state: "shipped", "cached", "damaged", or "not fetched" ("missing" if it should ship).
        path: the local file, or None.
        size: its bytes, or None.
        detail: what is wrong with it, or "".
    """

    entry: Entry
    state: str
    path: Path | None = None
    size: int | None = None
    detail: str = ""

    @property
    def usable(self) -> bool:
        """Whether the file is here and sound."""
        return self.state in ("shipped", "cached")


class Store:
    """Finds, fetches, checks and removes weight files.

    Args:
        root: folder of fetched files; default ``<cache>/weights``.
        environ: ``RESTORE_CACHE``, ``RESTORE_OFFLINE`` and ``RESTORE_MANIFEST``.
        manifest: the known files; default the installation's.
        console: for progress and warnings; None is silent.
        fetcher: how to fetch; default made from the above.
        shipped: folder of shipped files.
    """

    def __init__(self, root: Path | None = None, environ: Mapping[str, str] = os.environ, *,
                 manifest: Manifest | None = None, console: Console | None = None,
                 fetcher: Fetcher | None = None, shipped: Path = SHIPPED):
        self.root = Path(root) if root is not None else cache_dir(environ) / "weights"
        self.environ, self.console, self.shipped = environ, console, shipped
        self.manifest = manifest if manifest is not None else manifests.load(environ)
        self.fetcher = fetcher or Fetcher(console, environ)

    # Finding

    def find(self, name_or_path: str | Path | None = None, task: str = "upscale") -> Path:
        """A local file for a name or a path, fetched if need be.

        Args:
            name_or_path: a manifest name, a file, or None for the task's default.
            task: refuses names of another task.

        Raises:
            WeightsError: unknown name, missing file, offline, or damaged beyond repair.
        """
        if name_or_path is None:
            return self._local(self.manifest.default(task))
        text = str(name_or_path)
        known = self.manifest.entries.get(text)
        path = Path(name_or_path).expanduser()
        if known is None or isinstance(name_or_path, Path):
            if path.is_file():
                return path
            if isinstance(name_or_path, Path) or path.suffix in SUFFIXES or path.name != text:
                raise WeightsError("no such weight file", path=path)
        entry = self.entry(text)
        if entry.task != task:
            raise WeightsError(f"'{text}' are weights for '{entry.task}', not for '{task}'",
                               hint=f"See 'restore weights list --task {task}'")
        return self._local(entry)

    def entry(self, name: str) -> Entry:
        """The manifest entry of a name.

        Raises:
            WeightsError: unknown; suggests near ones.
        """
        if name in self.manifest.entries:
            return self.manifest.entries[name]
        raise WeightsError(f"no weights are called '{name}'", hint=did_you_mean(
            name, self.manifest.entries) or "'restore weights list' shows the names")

    def status(self, name: str) -> Status:
        """State of one entry; its file, if any, is read and hashed."""
        entry = self.entry(name)
        if entry.shipped is not None:
            path = self.shipped / entry.shipped
            if not path.is_file():
                return Status(entry, "missing", detail=f"{path.name} is not in this installation")
            if not entry.accepts(sha256_of(path)):
                return Status(entry, "damaged", path, path.stat().st_size,
                              "differs from the hash in the manifest")
            return Status(entry, "shipped", path, path.stat().st_size)
        path = self._path(name)
        if not path.is_file():
            return Status(entry, "not fetched")
        size = path.stat().st_size
        record = self._record(name)
        if record is None:
            return Status(entry, "damaged", path, size, "its record is missing or unreadable")
        if record.get("sha256") != sha256_of(path):
            return Status(entry, "damaged", path, size, "has changed since it was stored")
        if not entry.accepts(str(record.get("source_sha256"))):
            return Status(entry, "damaged", path, size, "was made from a file that is not the one "
                                                        "in the manifest")
        return Status(entry, "cached", path, size)

    def list(self, task: str | None = None) -> list[Status]:
        """State of every entry, of one task if given, in the manifest's order."""
        return [self.status(entry.name) for entry in self.manifest.entries.values()
                if task is None or entry.task == task]

    def verify(self, names: list[str] | None = None) -> list[Status]:
        """State of the named entries; without names, of all that are or should be here.

        Files that are sound by their hash are also read and held against their network.
        """
        chosen = [self.status(name) for name in names] if names else [
            status for status in self.list() if status.state != "not fetched"]
        return [self._deeper(status) for status in chosen]

    # Changing

    def fetch(self, name: str, *, force: bool = False, source: str | None = None) -> Path:
        """Fetches, converts and stores one entry; returns the local file.

        Args:
            force: fetch even if a sound copy is here.
            source: another URL or file to take it from; checked just the same.

        Raises:
            WeightsError: nothing acceptable could be had.
        """
        entry = self.entry(name)
        if entry.shipped is not None:
            return self._local(entry)
        with self._lock(name):
            status = self.status(name)  # another process may have been quicker
            if status.usable and not force and status.path is not None:
                return status.path
            return self._fetch(entry, source)

    def remove(self, name: str, *, forget: bool = False) -> int:
        """Deletes a fetched file; returns the bytes freed.

        Args:
            forget: also forget the hash trusted on first use.

        Raises:
            WeightsError: unknown, shipped with the package, or not removable.
        """
        entry = self.entry(name)
        if entry.shipped is not None:
            raise WeightsError(f"'{name}' belong to the package and stay")
        with self._lock(name):
            freed = 0
            for path in (self._path(name), self._record_path(name), self._download(name),
                         *self._partials(name)):
                try:
                    freed += path.stat().st_size if path.exists() else 0
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise WeightsError(f"cannot be removed: {error.strerror or error}",
                                       path=path) from error
            if forget:
                self._trust(name, None)
        return freed

    # Below

    def _local(self, entry: Entry) -> Path:
        status = self.status(entry.name)
        if status.usable and status.path is not None:
            return status.path
        if entry.shipped is not None:
            raise WeightsError(f"the weights '{entry.name}' are {status.state}: {status.detail}",
                               path=status.path, hint="Install the package again, or name a file "
                                                      "with --weights")
        if status.state == "damaged":
            if is_offline(self.environ):
                raise WeightsError(f"the stored weights are damaged ({status.detail})",
                                   path=status.path,
                                   hint=f"Unset RESTORE_OFFLINE and use 'restore weights fetch "
                                        f"{entry.name}'")
            self._warn(f"{status.path}: {status.detail}; fetching again")
        return self.fetch(entry.name)

    def _fetch(self, entry: Entry, source: str | None) -> Path:
        # Imported here: listing must not load NumPy.
        from restore_cli.weights import files
        from restore_cli.weights.convert import convert, feed, tell

        trusted = self._trusted().get(entry.name, {}).get("sha256")
        urls = entry.urls if source is None else (_as_url(source),)
        if not urls:
            raise WeightsError(
                f"'{entry.name}' cannot be fetched: only a page to download by hand is published",
                hint=f"Save the file from {entry.page}, then 'restore weights fetch {entry.name} "
                     "--from FILE'")

        def check(sha256: str) -> str | None:
            if not entry.accepts(sha256):
                return (f"it is another file (SHA-256 {sha256[:16]}…, expected "
                        f"{entry.sha256.removeprefix('prefix:')[:16]}…)")
            if trusted is not None and sha256 != trusted:
                return (f"the file has changed since it was first fetched (SHA-256 {sha256[:16]}…, "
                        f"first {trusted[:16]}…; 'restore weights remove --forget {entry.name}' "
                        "accepts the new one)")
            return None

        if entry.commercial == "no":
            self._warn(f"{entry.name}: {entry.licence}, not for commercial use ({entry.source})")
        download = self._download(entry.name)
        fetched = self.fetcher.fetch(urls, download, limit=entry.limit, size=entry.size,
                                     check=check, name=entry.name)
        try:
            weights, _ = convert(download, source=fetched.url, licence=entry.licence,
                                 expect=(entry.arch, entry.config))
            weights.metadata["name"] = entry.name
            feed(weights, entry.normalisation)
            tell(weights, entry.facts)
            files.write(self._path(entry.name), weights)
        except RestoreError as error:
            raise WeightsError(f"was fetched from {fetched.url} but cannot be used: "
                               f"{error.message}", path=entry.name, hint=error.hint) from error
        finally:
            download.unlink(missing_ok=True)
        self._remember(entry, fetched)
        return self._path(entry.name)

    def _remember(self, entry: Entry, fetched: Fetched) -> None:
        path = self._path(entry.name)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._write_json(self._record_path(entry.name), {
            "name": entry.name, "url": fetched.url, "source_size": fetched.size,
            "source_sha256": fetched.sha256, "sha256": sha256_of(path),
            "size": path.stat().st_size, "fetched": now})
        if entry.name not in self._trusted():
            self._trust(entry.name, {"sha256": fetched.sha256, "url": fetched.url,
                                     "first": now})

    def _deeper(self, status: Status) -> Status:
        from restore_cli.weights import files
        from restore_cli.weights.convert import must_be

        if not status.usable or status.path is None:
            return status
        entry = status.entry
        try:
            must_be(files.read(status.path), entry.arch, entry.config, status.path)
        except WeightsError as error:
            return Status(status.entry, "damaged", status.path, status.size, error.message)
        return status

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.safetensors"

    def _record_path(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def _download(self, name: str) -> Path:
        return self.root / f"{name}.download"

    def _partials(self, name: str) -> tuple[Path, Path]:
        download = self._download(name)
        return (download.with_name(download.name + ".part"),
                download.with_name(download.name + ".part.json"))

    def _record(self, name: str) -> dict[str, Any] | None:
        return _read_json(self._record_path(name))

    def _trusted(self) -> dict[str, Any]:
        path = self.root / "trusted.json"
        found = _read_json(path)
        sound = found is not None and all(isinstance(facts, dict) for facts in found.values())
        if path.exists() and not sound:
            # Silently trusting anew would defeat the record's purpose.
            raise WeightsError("the record of trusted files is damaged", path=path,
                               hint="Delete it to trust the next downloads anew")
        return found or {}

    def _trust(self, name: str, facts: dict[str, Any] | None) -> None:
        with self._lock("trusted"):
            trusted = self._trusted()
            trusted.pop(name, None)
            if facts is not None:
                trusted[name] = facts
            self._write_json(self.root / "trusted.json", trusted)

    def _write_json(self, path: Path, value: Any) -> None:
        try:
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
        except OutputError as error:
            raise WeightsError(error.message, path=path, hint=error.hint) from error

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / f".{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._warn(f"waiting for another process that works on '{name}'")
                lock.acquire()
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this disk
            why = getattr(error, "strerror", None) or error
            raise WeightsError(f"the cache cannot be written: {why}", path=self.root,
                               hint="Set RESTORE_CACHE to a folder you may write to") from error
        try:
            yield
        finally:
            lock.release()

    def _warn(self, message: str) -> None:
        if self.console is not None:
            self.console.warn(message)


def _as_url(source: str) -> str:
    if source.startswith(("https://", "http://", "file://")):
        return source
    return Path(source).expanduser().resolve().as_uri()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
