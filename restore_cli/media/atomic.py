"""Files appear whole or not at all, and never in place of one the user did not give up."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore_cli.errors import OutputError, UsageError

mark = ""
"""Part of the names of this process's temporary files, so that another can clear them away."""

announce: Callable[[Path, int], None] | None = None
"""Told the name that a file is about to get, and its inode: should this process be killed before it
can say that the file is there, another can tell it from a stranger's."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK,
             errno.EXDEV, errno.EINVAL, errno.EACCES}
_HINTS = {
    errno.ENOSPC: "Free some space or choose another folder",
    errno.EDQUOT: "Free some space or choose another folder",
    errno.EACCES: "Choose another folder",
    errno.EPERM: "Choose another folder",
    errno.EROFS: "Choose another folder",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


@contextmanager
def atomic_path(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `target` that becomes `target` when the block ends well.

    The temporary file is hidden, has the target's extension and the permissions of the umask.
    It is gone after any failure, Ctrl-C and SIGTERM included. Missing parent folders are made,
    and removed again when the block fails.

    Args:
        target: the final name.
        overwrite: replace an existing file; otherwise one that appears while the block runs
            is kept and this fails.

    Raises:
        OutputError: the file exists, or the system refuses to write; any OSError of the block
            but a closed pipe is turned into this.
    """
    target = Path(target)
    made: list[Path] = []
    temporary: Path | None = None
    try:
        try:
            _check(target, overwrite)
            made = _make_folders(target.parent)
            temporary = _create(target)
            yield temporary
            _sync(temporary)
            if announce is not None:
                announce(target, os.stat(temporary).st_ino)
            if overwrite:
                os.replace(temporary, target)
            else:
                _place(temporary, target)
            temporary, made = None, []
            _sync_folder(target.parent)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_error(error, target) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in reversed(made):
            try:
                folder.rmdir()
            except OSError:
                break  # somebody else has put something there meanwhile


def sweep(folder: str | Path, mark: str) -> None:
    """Removes what a process with this `mark` left in `folder` when it was killed."""
    for path in Path(folder).glob(f".restore-{mark}*"):
        with suppress(OSError):
            path.unlink()


@contextmanager
def folders(targets: Iterable[Path]) -> Iterator[None]:
    """Makes the folders of `targets` ahead, and removes those that are empty after the block.

    For several processes that write into them: one that fails would take a folder away just when
    another is about to use it.
    """
    made: list[Path] = []
    for folder in dict.fromkeys(target.parent for target in targets):
        with suppress(OSError):  # told by the output that needs it
            made += _make_folders(folder)
    try:
        yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def output_error(error: OSError, target: str | Path) -> OutputError:
    """The one-line failure for an OSError met while writing `target`."""
    why = error.strerror or str(error) or type(error).__name__
    why = why[0].lower() + why[1:]
    return OutputError(f"cannot be written: {why}", path=target,
                       hint=_HINTS.get(error.errno or 0))


def check_target(target: str | Path, *, overwrite: bool = False) -> None:
    """Refuses, before any work, a name that `atomic_path` would refuse after it.

    Raises:
        UsageError: a folder or device has this name, or a file has it and `overwrite` is False.
    """
    try:
        _check(Path(target), overwrite)
    except OutputError as error:
        raise UsageError(error.message, path=target, hint=error.hint) from error


def _check(target: Path, overwrite: bool) -> None:
    try:
        mode = os.lstat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise OutputError("is a folder, not a file name", path=target)
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OutputError("is not a regular file", path=target,
                          hint="Use - for standard output")
    if not overwrite:
        raise _exists(target)


def _exists(target: Path) -> OutputError:
    return OutputError("exists already", path=target, hint="Use --overwrite to replace it")


def _make_folders(folder: Path) -> list[Path]:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    made: list[Path] = []
    for step in reversed(missing):
        try:
            step.mkdir()
            made.append(step)
        except FileExistsError:
            pass  # another run made it
    return made


def _create(target: Path) -> Path:
    # Short whatever the target's length is, so that a name near the limit still works.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    temporary = target.parent / f".restore-{mark}{secrets.token_hex(6)}{target.suffix[:16]}"
    os.close(os.open(temporary, flags, 0o666))
    return temporary


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder we may write but not list
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the file itself is safe
    finally:
        os.close(handle)


def _place(temporary: Path, target: Path) -> None:
    """Gives `temporary` the name `target` unless somebody has taken it."""
    if os.name == "nt":
        try:
            os.rename(temporary, target)  # fails on Windows when the target exists
        except FileExistsError:
            raise _exists(target) from None
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _claim_and_replace(temporary, target)
        return
    os.unlink(temporary)


def _claim_and_replace(temporary: Path, target: Path) -> None:
    # No hard links here (FAT, some network shares): an exclusive empty file reserves the name.
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise _exists(target) from None
    try:
        os.replace(temporary, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
