"""The checkpoint reader refuses damaged files and files of other kinds."""

from __future__ import annotations

import struct
import zipfile
import zlib

import crafted
import numpy as np
import pytest
from crafted import legacy_file, pickled, storage_id, tensor
from refusals import refused

from restore_cli.errors import WeightsError
from restore_cli.weights.torch_file import TorchFile


def test_truncated_anywhere(saved, golden_file):
    for name in ("edsr_tiny_x2_legacy.pt", "liif_tiny.pth"):
        whole = golden_file(name).read_bytes()
        for length in (0, 1, 3, 20, 400, len(whole) // 2, len(whole) - 1):
            refused(saved(whole[:length]))


@pytest.mark.parametrize("name", ["edsr_tiny_x2_legacy.pt", "liif_tiny.pth"])
def test_changed_bytes_never_crash(saved, golden_file, name):
    """Whatever a damaged byte does, it is a WeightsError or a reading."""
    whole = golden_file(name).read_bytes()
    random = np.random.default_rng(1)
    refusals = 0
    for attempt in range(150):
        damaged = bytearray(whole)
        # The pickle is at the front of both, the zip's directory at the end.
        place = int(random.integers(0, 5000))
        damaged[place if attempt % 2 else -place - 1] = int(random.integers(0, 256))
        try:
            with TorchFile(saved(bytes(damaged))) as file:
                for item in file.value.values() if isinstance(file.value, dict) else ():
                    file.array(item)
        except WeightsError:
            refusals += 1
    assert refusals > 30


@pytest.mark.parametrize("change,message", [
    (dict(magic=0x1950A86A20F9469CFC6D), "followed by other data"),
    (dict(protocol=1002), "unknown version"), (dict(keys=["1"]), "does not match"),
    (dict(keys=["0", "0"]), "does not match"), (dict(keys="0"), "does not match"),
    (dict(keys=[["0"]]), "does not match"),
])
def test_legacy_headers(saved, change, message):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(legacy=True), (6,), (1,))}
    refused(saved(legacy_file(value, {"0": (6, raw)}, **change)), message)


@pytest.mark.parametrize("count", [5, 7, -1, 1 << 62])
def test_legacy_storage_counts(saved, count):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(legacy=True), (6,), (1,))}
    refused(saved(legacy_file(value, {"0": (count, raw)})), "truncated or of another size")


@pytest.mark.parametrize("part", [("v", 4, 4), ("v", -1, 2), ("v", 0), "v"])
def test_legacy_views_out_of_bounds(saved, part):
    _, raw = crafted.numbers()
    value = {"a": tensor((*storage_id(), part), (2,), (1,))}
    refused(saved(legacy_file(value, {"0": (6, raw)})))


def test_compressed_members_are_refused(saved):
    value = {"a": tensor(storage_id(numel=1_000_000), (1_000_000,), (1,))}
    bomb = crafted.zip_file(value, {"0": b"\0" * 4_000_000}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    refused(saved(bomb), "compressed")


def test_declared_sizes_beyond_the_file(saved):
    data = bytearray(crafted.zip_file({"a": tensor(storage_id(), (6,), (1,))}, {"0": b"\0" * 24}))
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)  # directory line of data/0
    data[entry + 20:entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    refused(saved(bytes(data)), "declares more data")


def test_damaged_member_is_noticed(saved):
    values, raw = crafted.numbers()
    data = crafted.zip_file({"a": tensor(storage_id(), (6,), (1,))}, {"0": raw})
    damaged = data.replace(raw, (values + 1).tobytes())
    assert zlib.crc32(raw) != zlib.crc32((values + 1).tobytes())
    refused(saved(damaged), "CRC")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_no_checkpoint(saved, tmp_path):
    def archive(*names):
        path = tmp_path / "archive.pth"
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.writestr(name, pickled({}))
        return path

    refused(archive("readme.txt"), "no data.pkl")
    refused(archive("a/data.pkl", "b/data.pkl"), "no data.pkl")
    refused(archive("a/data.pkl", "a/data.pkl"), "two of one name")
    refused(archive("a/b/../data.pkl"), "no data.pkl")
    refused(archive("a/data.pkl", "a/constants.pkl"), "TorchScript")
    refused(saved(crafted.zip_file({}, {}, extra={"byteorder": b"middle"})), "byte order")


@pytest.mark.parametrize("head,message", [
    (b"", "empty"), (b"<!DOCTYPE html><html>", "web page"), (b"\n  <HTML>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"\x1f\x8b\x08", "compressed"),
    (b"hello, world", "text"), (b"\x89PNG\r\n", "picture"), (b"\x00\x01\x02", "unknown"),
    (b"\0" * 257 + b"ustar\0" + b"\0" * 300, "tar"),
])
def test_files_of_other_kinds(saved, head, message):
    refused(saved(head), message)


def test_missing_file_and_folder(tmp_path):
    assert refused(tmp_path / "absent.pth", "cannot be read").path == tmp_path / "absent.pth"
    assert refused(tmp_path, "cannot be read").path == tmp_path


def test_errors_name_the_file(saved):
    path = saved(b"hello")
    assert refused(path).path == path
    _, raw = crafted.numbers()
    path = saved(crafted.zip_file({"a": 1}, {"0": raw}))
    assert refused(path, "holds int where a tensor belongs").path == path


def test_jittor_checksum(saved, data):
    whole = bytearray((data / "jittor_dict.pkl").read_bytes())
    whole[150] ^= 1
    refused(saved(bytes(whole), "x.pkl"), "checksum")


def test_two_pickles_in_a_row(saved):
    refused(saved(pickled({}) + pickled({})), "followed by other data")


def test_file_is_let_go(saved):
    path = saved(pickled({"a": 1}))
    with TorchFile(path):
        pass
    refused(saved(b"\x80\x02junk"))
    path.unlink()  # fails on Windows if still mapped
    assert not path.exists()
