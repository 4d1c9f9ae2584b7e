"""What a run has finished, on disk, so that another run can go on from there.

Beside the output lies a folder with the finished segments and a journal: a line of JSON for the
run, then one for each segment. A line is written once its segment is safe; a torn last line,
after a power failure, does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_cli.errors import InputError, UsageError
from restore_cli.media.atomic import output_error

SUFFIX = ".parts"
_NAME, _VERSION = "journal.jsonl", 1


def folder_of(target: Path) -> Path:
    """The folder of a run that writes `target`."""
    return target.with_name(target.name + SUFFIX)


def fingerprint(files: list[Path]) -> str:
    """SHA-256 over names and bytes of a film's files.

    Raises:
        InputError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as file:
                digest.update(f"{path.name}\0{os.fstat(file.fileno()).st_size}\0".encode(
                    "utf-8", "surrogateescape"))
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
    return digest.hexdigest()


class Journal:
    """The journal of one output.

    Args:
        target: the output.
        facts: everything that decides the result, as values JSON can hold.
        resume: go on from what is there, if anything is.
        overwrite: begin anew over what is there.

    Attributes:
        folder: for the segments.
        segments: records of the finished ones.
        plan: what was noted of the first run beside the facts; None in a new one.

    Raises:
        UsageError: an unfinished run is there and neither is asked for, or it was another one.
        OutputError: the folder cannot be written.
    """

    def __init__(self, target: Path, facts: Mapping[str, Any], *, resume: bool, overwrite: bool):
        self.folder = folder_of(target)
        self._target, self._path = target, self.folder / _NAME
        self._facts = json.loads(json.dumps(facts))
        self.segments: list[dict[str, Any]] = []
        self.plan: dict[str, Any] | None = None
        if self.folder.is_dir():
            if resume:
                self._read()
            elif not overwrite and self._path.exists():
                raise UsageError("an unfinished run has left its parts here", path=self.folder,
                                 hint="--resume goes on with it, --overwrite begins anew")

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise output_error(error, self._path) from error
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                break  # torn; what follows cannot be relied on
        if not found:
            return
        head = found[0]
        if head.get("version") != _VERSION or not isinstance(head.get("facts"), dict):
            raise UsageError("is no journal of this version", path=self._path,
                             hint="--overwrite begins anew")
        self._compare(head["facts"])
        self.plan = head.get("plan")
        for record in found[1:]:
            if not self._sound(record):
                break
            self.segments.append(record)

    def _compare(self, before: Mapping[str, Any]) -> None:
        changed = [key for key in {**before, **self._facts}
                   if before.get(key) != self._facts.get(key)]
        if changed:
            what = "; ".join(f"{key}: {_show(before.get(key))}, now "
                             f"{_show(self._facts.get(key))}" for key in sorted(changed))
            raise UsageError(f"cannot be continued, other things were asked for ({what})",
                             path=self._target,
                             hint="Use the first run's input and options, or --overwrite to "
                                  "begin anew")

    def _sound(self, record: Mapping[str, Any]) -> bool:
        """Whether a segment's file, if it has one, is there as it was written."""
        name = record.get("file")
        if name is None:
            return True
        try:
            return (self.folder / name).stat().st_size == record["bytes"]
        except OSError:
            return False

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Makes the folder ready: nothing in it but what counts; notes `plan` beside the facts."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = {record.get("file") for record in self.segments}
            for path in self.folder.iterdir():
                if path.name not in kept and _ours(path):
                    path.unlink()
            self.plan = dict(plan)
            temporary = self.folder / f".restore-{_NAME}"
            with open(temporary, "w", encoding="utf-8") as file:
                for line in ({"version": _VERSION, "facts": self._facts, "plan": self.plan},
                             *self.segments):
                    file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            raise output_error(error, self.folder) from error

    def add(self, record: dict[str, Any]) -> None:
        """Notes a finished segment, safe against loss of power."""
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(error, self._path) from error
        self.segments.append(record)

    def remove(self) -> None:
        """Removes the folder and what this program has put there."""
        for path in self.folder.iterdir():
            if _ours(path):
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(record["frames"] for record in self.segments)


def _ours(path: Path) -> bool:
    return path.name == _NAME or path.name.startswith((".restore-", "segment_"))


def _show(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:12] + "..."
