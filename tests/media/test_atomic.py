from __future__ import annotations

import errno
import os
import stat
import sys

import pytest

from restore_cli.errors import OutputError, Terminated
from restore_cli.media import atomic
from restore_cli.media.atomic import atomic_path

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_the_file_appears_only_at_the_end(tmp_path):
    target = tmp_path / "out.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary.name.startswith(".")
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole" and left(tmp_path) == ["out.png"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), Terminated(),
                                   MemoryError(), SystemExit(1), BrokenPipeError()])
def test_any_failure_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        with atomic_path(tmp_path / "deep" / "er" / "out.png") as temporary:
            temporary.write_bytes(b"half")
            raise error
    assert left(tmp_path) == []


def test_an_existing_file_is_kept(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already.*--overwrite"):
        with atomic_path(target):
            pytest.fail("the block must not run")
    assert target.read_bytes() == b"old" and left(tmp_path) == ["out.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out.png"
    with pytest.raises(OutputError, match="exists already"):
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"ours")
            target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs" and left(tmp_path) == ["out.png"]


def test_file_systems_without_links_work(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_path(tmp_path / "out.png") as temporary:
        temporary.write_bytes(b"ours")
    assert left(tmp_path) == ["out.png"] and (tmp_path / "out.png").read_bytes() == b"ours"


def test_overwrite_replaces_only_after_success(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    with pytest.raises(ValueError):
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_bytes(b"new")
            raise ValueError
    assert target.read_bytes() == b"old"
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new" and left(tmp_path) == ["out.png"]


@POSIX
def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "out.png") as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError) as caught:
        with atomic_path(tmp_path / "new" / "out.png") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "no space left" in str(caught.value) and "another folder" in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_real_full_device_is_reported(tmp_path):
    with pytest.raises(OutputError, match="no space left"):
        with atomic_path(tmp_path / "out.png"):
            with open("/dev/full", "wb", buffering=0) as device:
                device.write(b"x")
    assert left(tmp_path) == []


@POSIX
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_an_unwritable_folder_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            with atomic_path(tmp_path / "out.png"):
                pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o700)


def test_a_refusing_folder_is_reported(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(OutputError, match="permission denied.*another folder"):
        with atomic_path(tmp_path / "made" / "out.png"):
            pytest.fail("the block must not run")
    monkeypatch.undo()
    assert left(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        with atomic_path(tmp_path / "file" / "out.png"):
            pytest.fail("the block must not run")
    assert left(tmp_path) == ["file"]


def test_a_folder_or_device_is_no_target(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        with atomic_path(tmp_path, overwrite=True):
            pytest.fail("the block must not run")
    if os.path.exists("/dev/null"):
        with pytest.raises(OutputError, match="not a regular file"):
            with atomic_path("/dev/null", overwrite=True):
                pytest.fail("the block must not run")


def test_the_longest_allowed_name_works(tmp_path):
    name = "x" * 251 + ".png"
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_bytes(b"x")
    assert left(tmp_path) == [name]
