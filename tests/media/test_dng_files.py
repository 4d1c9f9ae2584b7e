"""A DNG appears whole or not at all, and never in place of its original."""

from __future__ import annotations

import errno
import io
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from raw_files import scene, write_dng

from restore_cli.errors import OutputError
from restore_cli.media import dng, dng_pixels, raw

try:
    import resource
except ImportError:  # Windows has no limits on file sizes
    resource = None


@pytest.fixture
def source(tmp_path):
    return raw.read(write_dng(tmp_path / "camera.dng", scene(700, 900)))


def put(target, source, **options):
    dng.write(target, source, source.mosaic, note="restore test", **options)


def test_streams_need_not_seek(tmp_path, source):
    put(tmp_path / "out.dng", source)

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    put(pipe, source)
    assert pipe.data == (tmp_path / "out.dng").read_bytes()


def test_streams_are_written_where_they_stand(tmp_path, source):
    put(tmp_path / "out.dng", source)
    with open(tmp_path / "many", "wb") as stream:
        stream.write(b"before")
        put(stream, source)
        stream.write(b"after")
    whole = (tmp_path / "many").read_bytes()
    assert whole == b"before" + (tmp_path / "out.dng").read_bytes() + b"after"


def test_a_stream_that_fails_is_one_line(source):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="no space left on device"):
        put(Full(), source)


def test_a_reader_that_leaves_is_told_as_such(source):
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        put(Closed(), source)


@pytest.mark.skipif(resource is None, reason="no limits on file sizes here")
@pytest.mark.parametrize("compression", ["lossless", "none"])
@pytest.mark.parametrize("limit", [100, 60_000, 400_000])
def test_no_room_in_the_middle_leaves_nothing(tmp_path, source, compression, limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "new" / "folder"
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            put(folder / "out.dng", source, compression=compression)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera.dng"]


def test_an_interruption_leaves_the_old_file(tmp_path, source, monkeypatch):
    put(tmp_path / "out.dng", source)
    before = (tmp_path / "out.dng").read_bytes()

    def interrupted(pixels, threads):
        yield from list(dng_pixels.strips(pixels))[:1]
        raise KeyboardInterrupt

    monkeypatch.setattr(dng_pixels, "tiles", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "out.dng", source, overwrite=True)
    assert (tmp_path / "out.dng").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera.dng", "out.dng"]


def test_an_existing_file_is_kept(tmp_path, source):
    (tmp_path / "out.dng").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        put(tmp_path / "out.dng", source)
    assert (tmp_path / "out.dng").read_text() == "mine"
    put(tmp_path / "out.dng", source, overwrite=True)
    assert dng.denoised_by(tmp_path / "out.dng") == "restore test"


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_never_over_the_original(tmp_path, source, link):
    before = source.path.read_bytes()
    target = source.path
    if link:
        target = tmp_path / "other.dng"
        try:
            link(source.path, target)
        except OSError:
            pytest.skip("no links here")
    with pytest.raises(OutputError, match="is the original itself"):
        put(target, source, overwrite=True)
    assert source.path.read_bytes() == before


def test_too_large_for_a_dng_is_said_before_the_work(tmp_path, source, monkeypatch):
    monkeypatch.setattr(dng, "_MOST", source.mosaic.nbytes - 1)
    with pytest.raises(OutputError, match="too large for a DNG"):
        put(tmp_path / "out.dng", source)
    assert not (tmp_path / "out.dng").exists()


def test_tiles_are_coded_one_at_a_time(source):
    class Counter(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return len(data)

    large = replace(source, mosaic=np.tile(source.mosaic, (3, 3)), crop=None)
    preview = np.zeros((8, 8, 3), np.uint8)
    put(Counter(), source, preview=preview)  # what is loaded once does not count
    tracemalloc.start()
    try:
        put(Counter(), large, preview=preview)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A few tiles with their code: not the mosaic over again.
    assert peak < large.mosaic.nbytes / 2


@pytest.mark.parametrize("shape", [(700, 900), (1030, 1100)])
def test_threads_code_the_same_tiles_in_the_same_order(tmp_path, shape):
    pixels = raw.read(write_dng(tmp_path / "camera.dng", scene(*shape))).mosaic
    alone = list(dng_pixels.tiles(pixels))
    assert len(alone) == np.prod([-(-side // 512) for side in shape])
    assert list(dng_pixels.tiles(pixels, 3)) == alone


def test_a_tile_that_fails_in_a_thread_fails_the_file(tmp_path, source, monkeypatch):
    def broken(block):
        raise RuntimeError("the JPEG library changed sensor values")

    monkeypatch.setattr(dng_pixels, "_encoder_works", lambda: True)
    monkeypatch.setattr(dng_pixels, "_encode", broken)
    with pytest.raises(OutputError, match="changed sensor values"):
        put(tmp_path / "out.dng", source, threads=2)
    assert sorted(tmp_path.iterdir()) == [source.path]
