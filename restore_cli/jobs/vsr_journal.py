"""What a run has finished, on disk, so that another run can go on from there.

Beside the output lies a folder with the finished segments and a journal: a line of JSON for the
run, then one for each segment, in the order in which they are finished. A line is written once its
segment is safe; a torn last line, after a power failure, does not count. A lock in the folder,
which ends with the run however that ends, keeps other runs out; so does one for each process that
helps.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.jobs.vsr_windows import Place
from restore_cli.media.atomic import output_error

SUFFIX = ".parts"
_NAME, _VERSION, _LOCK = "journal.jsonl", 1, ".restore-lock"
_HELPER, _PATIENCE = ".restore-helper-", 20.0  # seconds that a stopped run's helpers may take
_OURS = re.compile(r"journal\.jsonl|\.restore-.+|segment_\d{5,}\.\w+")


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
    """The journal of one output; a context manager that keeps other runs out.

    The block's end removes what is of no use to a later run.

    Args:
        target: the output.
        facts: everything that decides the result, as values JSON can hold.
        resume: go on from what is there, if anything is.
        overwrite: begin anew over what is there.

    Attributes:
        folder: for the segments.
        segments: records of the finished ones, by their numbers.
        plan: what was noted of the first run beside the facts; None in a new one.

    Raises (as the block begins):
        UsageError: an unfinished run is there and neither is asked for, it was another one, or
            its journal is damaged.
        OutputError: the folder cannot be written, or another run is at work on this output.
    """

    def __init__(self, target: Path, facts: Mapping[str, Any], *, resume: bool, overwrite: bool):
        self.folder = folder_of(target)
        self._target, self._path = target, self.folder / _NAME
        self._facts = json.loads(json.dumps(facts))
        self.segments: list[dict[str, Any]] = []
        self.plan: dict[str, Any] | None = None
        self._resume, self._overwrite, self._begun = resume, overwrite, False
        self._lock: Any = None
        self._made: list[Path] = []

    def __enter__(self) -> Journal:
        try:
            self._make_folders()
            self._keep_others_out()
            if self._resume:
                self._read()
            elif not self._overwrite and self._path.exists():
                raise UsageError("an unfinished run has left its parts here", path=self.folder,
                                 hint="--resume goes on with it, --overwrite begins anew")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun and not self.segments:
            with suppress(OSError):  # what has failed before is what counts
                self.remove()
        self._leave()

    def _make_folders(self) -> None:
        missing, folder = [], self.folder
        while not folder.is_dir() and folder != folder.parent:
            missing.append(folder)
            folder = folder.parent
        try:
            for folder in reversed(missing):
                with suppress(FileExistsError):  # another run has made it
                    folder.mkdir()
                    self._made.append(folder)
        except OSError as error:
            raise output_error(error, self._target) from error

    def _keep_others_out(self) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):  # the latter: it is just being removed
            raise OutputError("another run is at work on this output", path=self._target,
                              hint="Wait for it to end, or choose another -o") from None
        except NotImplementedError:
            return  # no locks on this disk
        except OSError as error:
            raise output_error(error, self._target) from error
        self._lock = lock
        for path in self.folder.glob(f"{_HELPER}*"):
            # Its run was killed; it notices that and ends.
            try:
                with FileLock(path, timeout=_PATIENCE):
                    with suppress(OSError):
                        path.unlink()
            except (Timeout, OSError):
                raise OutputError("a process of a killed run is still at work on this output",
                                  path=self._target, hint="Wait for it to end") from None

    def _leave(self) -> None:
        """Lets others in, and removes folders with nothing in them."""
        lock, self._lock = self._lock, None
        if lock is not None:
            # Removed while it is held, or it could be the next run's; Windows forbids that.
            steps = [(self.folder / _LOCK).unlink, lock.release]
            for step in reversed(steps) if os.name == "nt" else steps:
                with suppress(OSError):
                    step()
        with suppress(OSError):  # until one has something in it
            for folder in dict.fromkeys((self.folder, *reversed(self._made))):
                folder.rmdir()

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
            if not isinstance(found[-1], dict):
                found.pop()
                break
        head = found[0] if found else {}
        plan = head.get("plan")
        if (head.get("version") != _VERSION or not isinstance(head.get("facts"), dict)
                or not isinstance(plan, dict) or not _is_plan(plan)):
            raise UsageError("is damaged, or no journal of this version", path=self._path,
                             hint="--overwrite begins anew")
        self._compare(head["facts"])
        self.plan = plan
        for place, record in enumerate(found[1:]):
            record = {"segment": place, **record}
            if not self._sound(record) or any(
                    one["segment"] == record["segment"] for one in self.segments):
                break
            self.segments.append(record)
        self._sort()

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
        """Whether a segment's record is whole and its file, if any, there as it was written."""
        name = record.get("file")
        numbers = ["segment", "frames"]
        if name is not None:
            numbers += ["first", "last", "duration", "bytes"]
        if (any(type(record.get(key)) is not int for key in numbers) or record["frames"] < 1
                or record["segment"] < 0):
            return False
        if name is None:
            return True
        try:
            return (self.folder / str(name)).stat().st_size == record["bytes"]
        except (OSError, ValueError):
            return False

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Makes the folder ready: nothing in it but what counts; notes `plan` beside the facts."""
        try:
            self._begun = True
            kept = {_LOCK, *(record.get("file") for record in self.segments)}
            for path in self.folder.iterdir():
                if path.name not in kept and _OURS.fullmatch(path.name):
                    path.unlink()
            self.plan = dict(plan)
            self._write()
        except OSError as error:
            raise output_error(error, self._target) from error

    def _write(self) -> None:
        temporary = self.folder / f".restore-{_NAME}"
        with open(temporary, "w", encoding="utf-8") as file:
            for line in ({"version": _VERSION, "facts": self._facts, "plan": self.plan},
                         *self.segments):
                file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)

    def drop(self, numbers: Collection[int]) -> None:
        """Forgets finished segments, which are to be made again."""
        self.segments = [one for one in self.segments if one["segment"] not in numbers]
        try:
            self._write()
        except OSError as error:
            raise output_error(error, self._target) from error

    def _sort(self) -> None:
        self.segments.sort(key=lambda record: record["segment"])

    def add(self, record: dict[str, Any], place: Place | None = None) -> None:
        """Notes a finished segment, safe against loss of power.

        Args:
            record: with its number as "segment".
            place: from where a later run may go on after it.
        """
        record = _with(record, place)
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(error, self._target) from error
        self.segments.append(record)
        self._sort()

    def remove(self) -> None:
        """Removes what this program has put into the folder; the block's end removes the rest."""
        for path in self.folder.iterdir():
            if path.name != _LOCK and _OURS.fullmatch(path.name):
                path.unlink()
        self.segments = []

    def place(self, number: int) -> Place | None:
        """Where to go on with segment `number`; None when that is the film's start."""
        before = next((one for one in self.segments if one["segment"] == number - 1), None)
        return Place.from_record(before.get("place")) if before is not None else None

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(record["frames"] for record in self.segments)

    @property
    def shots(self) -> int:
        """Shots that begin in the finished segments."""
        return sum(record.get("shots", 0) for record in self.segments)


class Sent:
    """Stands for the journal in a process that helps: what it finishes is told to the run.

    Args:
        target: the output.
        send: takes "record", a segment's, and "told", what there is to say of it.
        again: pictures of its segments may be there from a process that was killed.

    Attributes:
        folder: for the segments.
        plan: None in a new run, as that of `Journal`.
    """

    def __init__(self, target: Path, send: Callable[[dict[str, Any]], None], again: bool):
        self.folder = folder_of(target)
        self.plan: dict[str, Any] | None = {} if again else None
        self._send = send

    def add(self, record: dict[str, Any], place: Place | None = None) -> None:
        """As `Journal.add`."""
        self._send({"record": _with(record, place)})

    def tell(self, told: dict[str, Any]) -> None:
        """Says that a segment is there."""
        self._send({"told": told})


def _with(record: dict[str, Any], place: Place | None) -> dict[str, Any]:
    return record if place is None else {**record, "place": place.record()}


@contextmanager
def helping(folder: Path) -> Iterator[None]:
    """A lock in a run's folder for another process of it: while it is held, no other run begins."""
    from filelock import FileLock

    path = folder / f"{_HELPER}{os.getpid()}"
    lock = FileLock(path)
    with suppress(NotImplementedError):  # no locks on this disk
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        steps = [path.unlink, lock.release]
        for step in reversed(steps) if os.name == "nt" else steps:
            with suppress(OSError):
                step()


def _is_plan(plan: Mapping[str, Any]) -> bool:
    """Whether it has a tile of two sides and a number of pairs, all at least 1."""
    tile = plan.get("tile")
    return isinstance(tile, list) and len(tile) == 2 and all(
        type(one) is int and one > 0 for one in (*tile, plan.get("pairs")))


def _show(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:12] + "..."
