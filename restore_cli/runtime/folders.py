"""Makes on disk what the plan says, and keeps house there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from restore_cli.errors import DeviceError
from restore_cli.runtime.environment import Link, Plan
from restore_cli.runtime.onednn import LAYOUTS


def apply(plan: Plan) -> None:
    """Creates the plan's folders, links and scripts; what is there and right stays.

    Raises:
        DeviceError: something cannot be made, or a folder belongs to somebody else.
    """
    try:
        for folder in plan.folders:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _check_owner(folder)
        for link in plan.links:
            show(link)
        if plan.archive:
            _unpack(*plan.archive)
        for path, text in plan.scripts.items():
            _write_script(Path(path), text)
        _leave_one_onednn(plan)
    except (OSError, tarfile.TarError) as error:
        raise DeviceError(f"the folder for compiled kernels cannot be set up ({error})",
                          path=plan.base,
                          hint="Free space, or set RESTORE_CACHE to another folder") from error


def core(plan: Plan) -> Path | None:
    """Jittor's cache folder if the core for exactly this plan has been compiled, else None."""
    try:
        folder = Path(_mark(plan).read_text(encoding="utf-8"))
    except OSError:
        return None
    return folder if any(folder.glob("jittor_core*")) else None


def remember_core(plan: Plan, folder: str) -> None:
    """Notes that the core for `plan` is complete in `folder`."""
    _mark(plan).parent.mkdir(parents=True, exist_ok=True)
    with _beside(_mark(plan)) as new:
        new.write_text(folder, encoding="utf-8")


def forget_core(plan: Plan) -> None:
    """Makes the next start check and, where needed, compile the core again."""
    _mark(plan).unlink(missing_ok=True)


def compiled_objects(base: str, cache_name: str) -> int:
    """How many of the core's object files for this plan exist (about 160 when all do)."""
    return sum(1 for _ in Path(base, ".cache", "jittor").glob(f"jt*/*/*/*/*/*/{cache_name}/**/*.o"))


def compiled_kernels(folder: Path) -> int:
    """How many kernels lie in Jittor's cache folder."""
    return sum(1 for path in Path(folder, "jit").glob("*") if path.suffix in (".so", ".dll"))


def stale(base: str, keep: Path | None, *, older_than: float = 30 * 86400) -> list[Path]:
    """What nothing uses any more below `base`.

    That is: kernel folders of other compilers, Pythons, processors or versions of Jittor than
    `keep`'s, last used more than `older_than` seconds ago, and private CUDA toolkits whose
    compiler is gone.
    """
    limit = time.time() - older_than
    root = Path(base, ".cache", "jittor")
    found = [path for path in root.glob("jt*/*/*/*/*/*/*") if path.is_dir()
             and not (keep and (keep == path or path in keep.parents)) and _used(path) < limit]
    return found + [folder for folder in Path(base).glob("cuda-*") if not _toolkit_lives(folder)]


def _used(folder: Path) -> float:
    """When Jittor last started from `folder`: it writes these files anew each time."""
    times = [path.stat().st_mtime for path in (folder, folder / "gen" / "jit_flags.h")
             if path.exists()]
    return max(times)


def remove(paths: list[Path]) -> int:
    """Removes files, folders and links, and gives the number of bytes that were in them."""
    freed = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            freed += size(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                freed += path.lstat().st_size
                path.unlink()
    return freed


def size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def leftovers(base: str, temp: str, *, older_than: float = 86400) -> list[Path]:
    """Temporary files of runs that were killed, untouched for `older_than` seconds: in `base`,
    and those of this program and this user in the folder `temp`."""
    limit = time.time() - older_than
    mine = os.getuid() if hasattr(os, "getuid") else None
    found = [*Path(base).glob(".new-*"), *Path(base, "bin").glob(".new-*"),
             *Path(base, "ready").glob(".new-*"), *Path(base, "tmp").glob("*")]
    found += [path for name in ("note", "warm") for path in Path(temp).glob(f"restore-{name}-*")
              if mine is None or path.lstat().st_uid == mine]
    return [path for path in found if path.lstat().st_mtime < limit]


def show(link: Link) -> None:
    """Makes `link.path` show `link.target`, by a link or, where that is refused, by a copy."""
    if os.path.islink(link.path):
        if os.readlink(link.path) == link.target:
            return
        # Another installation of the same version serves as well, as long as it is there: two
        # that share a cache must not turn the link back and forth.
        if os.path.isfile(link.path) and _same_file_size(link.path, link.target):
            return
    elif os.path.isfile(link.path) and _same_file_size(link.path, link.target):
        return
    os.makedirs(os.path.dirname(link.path), exist_ok=True)
    with _beside(Path(link.path)) as new:
        try:
            os.symlink(link.target, new)
        except (OSError, NotImplementedError):
            shutil.copyfile(link.target, new)


def _same_file_size(one: str, other: str) -> bool:
    return os.path.getsize(one) == os.path.getsize(other)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A free name in the folder of `path`, renamed to it at the end: whoever starts at the same
    time sees the old or the new one, never half of it."""
    folder = tempfile.mkdtemp(dir=path.parent, prefix=".new-")
    try:
        new = Path(folder, path.name)
        yield new
        os.replace(new, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _leave_one_onednn(plan: Plan) -> None:
    """Removes other versions of oneDNN: Jittor takes the first folder that it comes upon."""
    mkl = Path(plan.base, ".cache", "jittor", "mkl")
    known = {layout[0] for layout in LAYOUTS.values()}
    wanted = {part for link in plan.links for part in Path(link.path).parts} & known
    wanted |= {Path(plan.archive[1]).name} if plan.archive else set()
    if wanted:
        remove([path for path in mkl.glob("dnnl*") if path.name not in wanted])


def _write_script(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8") == text and os.access(path, os.X_OK):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as new:
        new.write_text(text, encoding="utf-8")
        new.chmod(0o755)


def _unpack(archive: str, folder: str) -> None:
    """Unpacks include and lib of a oneDNN archive into `folder`, once."""
    goal = Path(folder)
    if (goal / "lib" / "libmkldnn.so").exists():
        return
    goal.parent.mkdir(parents=True, exist_ok=True)
    with _beside(goal) as new, tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = PurePosixPath(member.name).parts[1:]
            if not parts or parts[0] not in ("include", "lib") or ".." in parts:
                continue
            target = new.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.issym() and "/" not in member.linkname:
                target.symlink_to(member.linkname)
            elif member.isfile():
                target.write_bytes(tar.extractfile(member).read())


def _toolkit_lives(folder: Path) -> bool:
    try:
        text = (folder / "bin" / "nvcc").read_text(encoding="utf-8")
    except OSError:
        return False
    return os.path.exists(text.rpartition('exec "')[2].partition('"')[0])


def _check_owner(folder: str) -> None:
    if hasattr(os, "getuid") and os.stat(folder).st_uid not in (os.getuid(), 0):
        raise DeviceError("the folder belongs to another user; compiled code from there would "
                          "not be safe", path=folder, hint="Set RESTORE_CACHE to a folder of yours")


def _mark(plan: Plan) -> Path:
    return Path(plan.base, "ready", plan.fingerprint)
