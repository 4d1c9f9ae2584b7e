"""Which file becomes which: inputs, outputs, and everything that must not happen to either.

All of it is decided before any work starts, so that a clash costs no computing time. Nothing here
opens a file for writing.
"""

from __future__ import annotations

import glob
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from restore_cli.errors import InputError, UsageError

STREAM: Literal["-"] = "-"
"""Stands for stdin as a source and stdout as a target."""

Place = Path | Literal["-"]
Extension = str | Callable[[str], str] | None


@dataclass(frozen=True)
class Item:
    """One piece of work.

    Attributes:
        source: file to read, or ``"-"`` for stdin.
        target: file to write, or ``"-"`` for stdout.
        skip: why it is left out (its output exists), or None.
    """

    source: Place
    target: Place
    skip: str | None = None


@dataclass(frozen=True)
class _Found:
    """An input and where its name lies below the folder it was found through."""

    source: Place
    below: Path
    listed: bool = False  # found in a folder or through a pattern, not named by the user


def plan(inputs: Sequence[str | os.PathLike], *, output: str | None, suffix: str,
         extension: Extension = None, overwrite: bool = False, skip_existing: bool = False,
         recursive: bool = False, shard: str | tuple[int, int] | None = None,
         readable: Collection[str] = (), suffix_in_folder: bool = False) -> list[Item]:
    """Pairs every input with its output.

    Without `output` a result lies beside its input, with `suffix` before the extension. In an
    output folder it keeps the input's name, and the tree below an input folder is mirrored.

    Args:
        inputs: files, folders, patterns that no shell expanded, or ``"-"``.
        output: a file (one input only), a folder, ``"-"``, or None.
        suffix: put between stem and extension, such as ``"_x2"``.
        extension: the outputs' extension with its dot, or a function from the input's; None keeps
            it.
        overwrite: existing outputs may be replaced.
        skip_existing: existing outputs are left, their items carry `skip`.
        recursive: folders are entered to any depth; else only their own files count.
        shard: ``"I/N"`` or ``(I, N)``, counted from 1: this part of the work only.
        readable: extensions that count as inputs when a folder is listed.
        suffix_in_folder: `suffix` also in an output folder.

    Returns:
        Items in a fixed order: that of `inputs`, names within folders and patterns sorted.

    Raises:
        UsageError: two inputs would become one output (also if names differ only in case), an
            output would be an input, an output exists (and neither `overwrite` nor
            `skip_existing`), or the arguments contradict each other.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other")
    part, parts = parse_shard(shard) if isinstance(shard, str) else shard or (1, 1)
    folder = _output_folder(inputs, output, readable)
    found = _expand(inputs, recursive, readable, folder)

    def target(item: _Found) -> Place:
        return _target(item, output, folder, suffix, extension, suffix_in_folder)

    found = _without_own_outputs(found, target)
    items = [Item(item.source, target(item)) for item in found]
    _check_streams(items, output)
    _check_collisions(items)
    _check_inputs_are_safe(items, skip_existing)
    items = items[part - 1::parts]
    return _existing(items, overwrite, skip_existing)


def parse_shard(text: str) -> tuple[int, int]:
    """``"I/N"`` as numbers, 1 <= I <= N."""
    first, _, second = text.partition("/")
    if first.strip().isdecimal() and second.strip().isdecimal():
        part, parts = int(first), int(second)
        if 1 <= part <= parts:
            return part, parts
    raise UsageError(f"--shard {text} is not I/N with 1 <= I <= N", hint="Write 2/8, for instance")


def read_names(source: str, *, null: bool, stdin: BinaryIO) -> list[str]:
    """The names in a `--files-from` list, one a line or ended by NUL, empty ones left out.

    Args:
        source: the list's file name, or ``"-"`` for `stdin`.
    """
    try:
        data = stdin.read() if source == STREAM else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"the list cannot be read ({error.strerror})", path=source,
                         hint="--files-from takes a file of names, or - for stdin") from error
    names = data.split(b"\0") if null else data.splitlines()
    return [os.fsdecode(name) for name in names if name]


def require_input(source: Place) -> None:
    """Raises an `InputError` that says so when a source is not there or is a folder."""
    if source == STREAM:
        return
    if source.is_dir():
        raise InputError("is a folder, not a file", path=source)
    if not source.exists():
        if glob.has_magic(str(source)):
            raise InputError("no file matches this pattern", path=source)
        raise InputError("no such file", path=source)


def _output_folder(inputs: Sequence, output: str | None,
                   readable: Collection[str]) -> Path | None:
    """`output` as a folder, or None when it is a file, a stream or not given."""
    if output is None or output == STREAM:
        return None
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        return path
    names = [os.fspath(name) for name in inputs]
    several = len(names) > 1 or any(
        name != STREAM and (os.path.isdir(name)
                            or (glob.has_magic(name) and not os.path.lexists(name)))
        for name in names)
    if not several:
        return None
    if path.suffix.lower() in {extension.lower() for extension in readable} or path.is_file():
        raise UsageError("several inputs cannot become one file", path=output,
                         hint="Give -o a folder")
    return path


def _expand(inputs: Sequence, recursive: bool, readable: Collection[str],
            folder: Path | None) -> list[_Found]:
    found: list[_Found] = []
    for name in map(os.fspath, inputs):
        if name == STREAM:
            found.append(_Found(STREAM, Path("stdin")))
        elif os.path.isdir(name):
            found += _in_folder(Path(name), recursive, readable, folder)
        elif glob.has_magic(name) and not os.path.lexists(name):
            found += _matching(name, readable, recursive, folder)
        else:
            found.append(_Found(Path(name), Path(Path(name).name)))
    if sum(item.source == STREAM for item in found) > 1:
        raise UsageError("- (stdin) can be an input only once")
    unique: dict[str, _Found] = {}
    for item in found:  # the same file named twice is done once
        unique.setdefault(os.path.abspath(item.source) if item.source != STREAM else STREAM, item)
    return list(unique.values())


def _matching(pattern: str, readable: Collection[str], recursive: bool,
              folder: Path | None) -> list[_Found]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        return [_Found(Path(pattern), Path(Path(pattern).name))]  # fails by itself, with a reason
    found: list[_Found] = []
    for match in map(Path, matches):
        if not match.is_dir():
            found.append(_Found(match, Path(match.name), listed=True))
        elif recursive:
            found += _in_folder(match, recursive, readable, folder)
    return found


def _in_folder(root: Path, recursive: bool, readable: Collection[str],
               output: Path | None) -> list[_Found]:
    """The readable files in `root`, hidden ones and those in the output folder left out."""
    wanted = {extension.lower() for extension in readable}
    out = os.path.realpath(output) if output is not None else None
    if out == os.path.realpath(root):
        out = None  # results go beside their inputs; names tell them apart
    found = []
    for at, folders, files in os.walk(root):
        if not recursive:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith(".")
                            and os.path.realpath(os.path.join(at, name)) != out)
        for name in sorted(files):
            path = Path(at, name)
            if not name.startswith(".") and path.suffix.lower() in wanted:
                found.append(_Found(path, path.relative_to(root), listed=True))
    return found


def _target(item: _Found, output: str | None, folder: Path | None, suffix: str,
            extension: Extension, suffix_in_folder: bool) -> Place:
    if output == STREAM or (item.source == STREAM and output is None):
        return STREAM
    if output is not None and folder is None:
        return Path(output)
    below = item.below
    ending = extension(below.suffix) if callable(extension) else extension
    ending = below.suffix if ending is None else ending
    middle = suffix if folder is None or suffix_in_folder else ""
    name = f"{below.stem}{middle}{ending}"
    if folder is not None:
        return folder / below.parent / name
    return item.source.with_name(name)


def _without_own_outputs(found: list[_Found], target: Callable) -> list[_Found]:
    """Drops listed files that another input's result would be called: an earlier run's results.

    They go before sharding, so that a part of the work started later sees the same list.
    """
    if not any(item.listed for item in found):
        return found
    results = {_key(place): item for item in found if (place := target(item)) != STREAM}
    return [item for item in found
            if not item.listed or results.get(_key(item.source), item) is item]


def _check_streams(items: Iterable[Item], output: str | None) -> None:
    if output == STREAM and len(list(items)) > 1:
        raise UsageError("only one result can go to stdout", hint="Give -o a folder")


def _check_collisions(items: Iterable[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        if item.target == STREAM:
            continue
        other = seen.setdefault(_key(item.target), item)
        if other is not item:
            raise UsageError(
                f"would be the output of both {other.source} and {item.source}"
                + ("" if other.target == item.target else
                   " (names that differ only in case are one file on many systems)"),
                path=item.target, hint="Rename one, or give them different output folders")


def _check_inputs_are_safe(items: Iterable[Item], skip_existing: bool) -> None:
    """No output may be an input, by name or through a symbolic or hard link."""
    items = list(items)
    inputs = {}
    for item in items:
        if item.source != STREAM:
            inputs[_key(item.source)] = item.source
            identity = _identity(item.source)
            if identity:
                inputs[identity] = item.source
    for item in items:
        if item.target == STREAM:
            continue
        identity = _identity(item.target)
        if identity and skip_existing and not _same(item.source, item.target):
            continue  # it exists, so it will be left alone
        hit = inputs.get(_key(item.target)) or inputs.get(identity)
        if hit is not None:
            raise UsageError(f"would be written over the input {hit}", path=item.target,
                             hint="Inputs are never replaced: choose another -o, or leave it out")


def _existing(items: list[Item], overwrite: bool, skip_existing: bool) -> list[Item]:
    exist = [item for item in items if item.target != STREAM and os.path.lexists(item.target)]
    for item in exist:
        if item.target.is_dir():
            raise UsageError("is a folder, but would be an output file", path=item.target)
    if overwrite or not exist:
        return items
    if not skip_existing:
        more = f" (and {len(exist) - 1} more outputs)" if len(exist) > 1 else ""
        raise UsageError(f"exists already{more}", path=exist[0].target,
                         hint="Use --overwrite or --skip-existing, or another -o")
    there = set(map(id, exist))
    return [replace(item, skip="output exists") if id(item) in there else item for item in items]


def _same(first: Place, second: Place) -> bool:
    return first != STREAM and (_key(first) == _key(second)
                                or (_identity(first) or "") == _identity(second))


def _key(path: Place) -> str:
    """Equal for names that are one file on some file system: folded in case and normalised."""
    return unicodedata.normalize("NFC", os.path.abspath(path)).casefold()


def _identity(path: Place) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
