"""What the plan says, made on disk; and housekeeping there."""

from __future__ import annotations

import io
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from restore_cli.errors import DeviceError
from restore_cli.runtime import environment, folders
from restore_cli.runtime.environment import Link


@pytest.fixture
def planned(machine, tmp_path):
    """A plan below `tmp_path`, with two files to be linked."""
    (tmp_path / "real").mkdir()
    for name in ("lib", "header"):
        (tmp_path / "real" / name).write_text(name)
    facts = machine(cache=str(tmp_path / "cache"))
    facts = replace(facts, onednn=replace(
        facts.onednn, library=str(tmp_path / "real" / "lib"),
        headers=(("dnnl.hpp", str(tmp_path / "real" / "header")),)))
    return environment.plan(facts)


def test_apply_is_complete_and_repeatable(planned):
    for _ in range(2):
        folders.apply(planned)
        assert all(Path(link.path).read_text() in ("lib", "header") for link in planned.links)
        assert all(os.access(path, os.X_OK) for path in planned.scripts)
        assert Path(planned.base).stat().st_mode & 0o077 == 0
    assert not list(Path(planned.base).rglob(".new-*"))


def test_apply_at_once_from_many_threads(planned):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(folders.apply, [planned] * 24))
    assert all(Path(link.path).read_text() in ("lib", "header") for link in planned.links)
    assert not list(Path(planned.base).rglob(".new-*"))


def test_broken_links_and_changed_scripts_are_mended(planned, tmp_path):
    folders.apply(planned)
    link, script = Path(planned.links[0].path), Path(planned.wrapper)
    link.unlink()
    link.symlink_to(tmp_path / "removed environment")
    script.write_text("exit 1")
    folders.apply(planned)
    assert link.read_text() == "lib" and script.read_text() == planned.scripts[planned.wrapper]


def test_another_environments_link_stays_while_it_leads_somewhere(planned, tmp_path):
    folders.apply(planned)
    other = tmp_path / "other"
    other.write_text("lib")
    link = Path(planned.links[0].path)
    link.unlink()
    link.symlink_to(other)
    folders.apply(planned)
    assert os.readlink(link) == str(other)
    other.write_text("another version")
    folders.apply(planned)
    assert os.readlink(link) == planned.links[0].target


def test_copies_where_links_are_refused(planned, monkeypatch):
    def refuse(*args):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    folders.apply(planned)
    assert not Path(planned.links[0].path).is_symlink()
    assert Path(planned.links[0].path).read_text() == "lib"


def test_older_onednn_is_removed(planned):
    # Jittor takes the first dnnl folder it finds, whatever its version.
    mkl = Path(planned.base, ".cache", "jittor", "mkl")
    (mkl / "dnnl_lnx_1.0_old").mkdir(parents=True)
    folders.apply(planned)
    assert [path.name for path in mkl.iterdir()] == ["dnnl_lnx_2.2.0_cpu_gomp"]


def test_base_through_a_link(machine, tmp_path):
    real = tmp_path / "jörg's cache" / "kernels"
    made = replace(environment.plan(machine()), base=str(tmp_path / "short" / "x"),
                   folders=(str(real), str(tmp_path / "short")),
                   links=(Link(str(tmp_path / "short" / "x"), str(real)),),
                   scripts={str(tmp_path / "short" / "x" / "bin" / "compile"): "#!/bin/sh\n"})
    folders.apply(made)
    assert (real / "bin" / "compile").is_file()


def test_unwritable_folder_is_an_error_with_a_way_out(planned, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(DeviceError) as error:
        folders.apply(planned)
    assert "RESTORE_CACHE" in error.value.hint


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs chown")
def test_strangers_folder_is_refused(planned):
    os.makedirs(planned.base)
    os.chown(planned.base, 12345, 12345)
    with pytest.raises(DeviceError, match="another user"):
        folders.apply(planned)


def test_archive_is_unpacked_once_and_safely(machine, tmp_path):
    archive, goal = tmp_path / "dnnl.tgz", tmp_path / "base" / "mkl" / "dnnl_x"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("dnnl/include/dnnl.hpp", "dnnl/lib/libdnnl.so.2", "dnnl/examples/a.cpp",
                     "dnnl/lib/../../../evil"):
            tar.addfile(_member(name, 4), io.BytesIO(b"text"))
        link = tarfile.TarInfo("dnnl/lib/libmkldnn.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libdnnl.so.2"
        tar.addfile(link)
        out = tarfile.TarInfo("dnnl/lib/out")
        out.type, out.linkname = tarfile.SYMTYPE, "../../../../etc/passwd"
        tar.addfile(out)
    made = replace(environment.plan(machine()), base=str(tmp_path / "base"), folders=(), links=(),
                   scripts={}, archive=(str(archive), str(goal)))
    folders.apply(made)
    found = {str(path.relative_to(goal)) for path in goal.rglob("*") if not path.is_dir()}
    assert found == {"include/dnnl.hpp", "lib/libdnnl.so.2", "lib/libmkldnn.so"}
    assert (goal / "lib" / "libmkldnn.so").read_text() == "text"
    archive.unlink()
    folders.apply(made)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def test_stale_kernels(tmp_path):
    root = tmp_path / ".cache" / "jittor" / "jt1.3.11"
    used, old, fresh = (root / f"g++{n}" / "py" / "os" / "cpu" / "7c3f" / "restore-cpu-1"
                        for n in (1, 2, 3))
    for folder in (used, old, fresh):
        (folder / "jit").mkdir(parents=True)
        (folder / "jit" / "kernel.so").write_bytes(b"x" * 1000)
    long_ago = time.time() - 40 * 86400
    for folder in (used, old):
        os.utime(folder, (long_ago, long_ago))
    (tmp_path / "cuda-13.0-abc" / "bin").mkdir(parents=True)
    (tmp_path / "cuda-13.0-abc" / "bin" / "nvcc").write_text('#!/bin/sh\nexec "/gone/nvcc" "$@"\n')
    found = folders.stale(str(tmp_path), used / "cu13.0")
    assert found == [old, tmp_path / "cuda-13.0-abc"]
    assert folders.remove(found) > 1000
    assert not old.exists() and used.exists() and fresh.exists()
    assert folders.compiled_kernels(used) == 1


def test_leftovers(tmp_path):
    temp = tmp_path / "temp"
    names = [".new-old", ".new-young", "temp/restore-note-old", "temp/restore-warm-young",
             "temp/restore-other-old", "temp/someone-elses-old"]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        if name.endswith("old"):
            os.utime(tmp_path / name, (0, 0))
    assert folders.leftovers(str(tmp_path), str(temp)) == [tmp_path / ".new-old",
                                                           temp / "restore-note-old"]
