"""Stacks out: read(write(x)) == x, and files that appear whole or not at all."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
import tifffile
from made_stacks import GREY, PLAIN, SIZES, copied, same_file, saved, values
from PIL import Image as Pillow

from restore_cli.errors import OutputError, ShapeError, UsageError
from restore_cli.media import stack_write
from restore_cli.media.stacks import create_stack, open_stack

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float16", "float32",
          "float64"]


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression, predictor", [
    (None, False), ("zlib", True), ("zlib", False), ("lzw", True), ("lzw", False),
    ("packbits", False), ("zstd", True), ("lzma", False)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_compression_comes_back(tmp_path, dtype, compression, predictor,
                                               byteorder):
    predictor = predictor and dtype != "uint64"  # which tifffile does not write
    array = values((3, 21, 18), dtype)
    path = saved(tmp_path, array, byteorder=byteorder, compression=compression,
                 predictor=predictor, **PLAIN)
    assert copied(path, tmp_path / "b.tif") == ()
    same_file(path, tmp_path / "b.tif")


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("axes, options", [
    ("TZCYX", dict(ome=True, **GREY)), ("TCZYX", dict(ome=True, **GREY)),
    ("ZTCYX", dict(ome=True, compression="zlib", predictor=True, **GREY)),
    ("CZYX", dict(ome=True, **GREY)), ("ZYXS", dict(ome=True, photometric="rgb")),
    ("CYXS", dict(ome=True, photometric="rgb")),
    ("TSYX", dict(ome=True, photometric="rgb", planarconfig="separate")),
    ("TZCYX", dict(imagej=True)), ("ZYX", dict(imagej=True, compression="zlib")),
    ("CYX", dict(imagej=True)), ("TCZYX", dict(GREY)), ("HTYX", dict(GREY)),
    ("CTYX", dict(compression="lzw", **GREY)), ("ZYXS", dict(photometric="rgb"))])
def test_every_form_keeps_its_axes_in_any_order_of_writing(tmp_path, axes, options, byteorder):
    array = values([SIZES[letter] for letter in axes])
    path = saved(tmp_path, array, byteorder=byteorder, metadata={"axes": axes}, **options)
    target = tmp_path / "b.tif"
    for order in (None, random.Random(1), random.Random(2)):
        assert copied(path, target, order=order) == ()
        same_file(path, target)
        with open_stack(target) as stack:
            assert stack.axes == axes


@pytest.mark.parametrize("options", [dict(tile=(16, 16)), dict(tile=(16, 16), compression="zlib"),
                                     dict(rowsperstrip=3, compression="lzw"), dict(bigtiff=True)])
def test_other_storage(tmp_path, options):
    path = saved(tmp_path, values((4, 40, 33)), **PLAIN, **options)
    copied(path, tmp_path / "b.tif")
    same_file(path, tmp_path / "b.tif")


def test_many_strips_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(stack_write, "_STRIP", 200)
    path = saved(tmp_path, values((3, 40, 33, 3)), photometric="rgb", compression="zlib",
                 predictor=True, metadata=None)
    copied(path, tmp_path / "b.tif")
    same_file(path, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages[2].dataoffsets) == 40


# Not compressed big-endian floats: Pillow swaps their bytes once too often.
@pytest.mark.parametrize("dtype, compression, byteorder", [
    ("uint8", "zlib", "<"), ("uint8", "lzw", ">"), ("uint8", "packbits", "<"),
    ("uint16", "zlib", "<"), ("uint16", "zlib", ">"), ("uint16", "lzw", ">"),
    ("uint16", None, ">"), ("float32", "zlib", "<"), ("float32", None, ">")])
def test_another_reader_sees_the_same(tmp_path, dtype, compression, byteorder):
    array = values((3, 21, 18), dtype)
    path = saved(tmp_path, array, byteorder=byteorder, compression=compression,
                 predictor=compression in ("zlib", "lzw"), **PLAIN)
    copied(path, tmp_path / "b.tif")
    with Pillow.open(tmp_path / "b.tif") as picture:
        assert picture.n_frames == 3
        for number in range(3):
            picture.seek(number)
            assert np.array_equal(np.asarray(picture), array[number])


def test_volumes_are_written_whole(tmp_path):
    array = values((2, 3, 5, 21, 18))
    path = saved(tmp_path, array, ome=True, metadata={"axes": "TCZYX"}, **GREY)
    with open_stack(path) as stack, create_stack(tmp_path / "b.tif", stack, "float32") as writer:
        for number in (1, 0):
            writer.write_volume(number, stack.volume(number).astype(np.float32) * 2)
        with pytest.raises(ShapeError, match="volume"):
            writer.write_volume(0, np.zeros((3, 4, 21, 18), np.float32))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.series[0].axes == "TCZYX" and file.series[0].dtype == np.float32
        assert np.array_equal(file.asarray(), array.astype(np.float32) * 2)


@pytest.mark.parametrize("options", [dict(ome=True, **GREY), dict(imagej=True), dict(GREY)])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_another_type(tmp_path, options, compression, dtype):
    array = values((3, 21, 18)) // 300
    path = saved(tmp_path, array, metadata={"axes": "TYX"}, compression=compression,
                 predictor=bool(compression), **options)
    copied(path, tmp_path / "b.tif", dtype=dtype)
    with tifffile.TiffFile(tmp_path / "b.tif") as file, tifffile.TiffFile(path) as old:
        series = file.series[0]
        assert (series.axes, series.dtype, series.kind) == ("TYX", dtype, old.series[0].kind)
        assert np.array_equal(series.asarray(), array.astype(dtype))
        assert file.pages[0].predictor == (1 if not compression else 3 if dtype == "float32"
                                           else 2)
        if file.is_ome:
            kind = {"float32": "float", "uint8": "uint8"}[dtype]
            assert f'Type="{kind}"' in file.ome_metadata


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("options", [dict(PLAIN), dict(ome=True, metadata={"axes": "ZYX"}, **GREY),
                                     dict(imagej=True, metadata={"axes": "ZYX"})])
def test_large_files_are_bigtiff(tmp_path, monkeypatch, big, options):
    array = values((5, 21, 18))
    path = saved(tmp_path, array, **options)
    monkeypatch.setattr(stack_write, "BIG", array.nbytes - 1 if big else array.nbytes)
    copied(path, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_bigtiff == big and file.is_ome == ("ome" in options)
        assert np.array_equal(file.asarray(), array)
    with open_stack(tmp_path / "b.tif") as stack:
        assert stack.axes == "ZYX" and np.array_equal(stack.plane(4)[0], array[4])


def test_planes_that_do_not_fit(tmp_path):
    path = saved(tmp_path, values((3, 21, 18)), **PLAIN)
    target = tmp_path / "out" / "b.tif"
    with open_stack(path) as stack:
        with pytest.raises(ValueError, match="2 of 3 planes were never written, the first is 1"):
            with create_stack(target, stack) as writer:
                writer.write(0, stack.plane(0))
                with pytest.raises(ShapeError, match=r"\(1, 21, 18\)"):
                    writer.write(1, stack.plane(0)[0])
                with pytest.raises(TypeError, match="float64"):
                    writer.write(1, stack.plane(0).astype(float))
                with pytest.raises(ValueError, match="written already"):
                    writer.write(0, stack.plane(0))
                with pytest.raises(IndexError):
                    writer.write(3, stack.plane(0))
        with pytest.raises(TypeError, match="cannot hold"):
            with create_stack(target, stack, "complex64"):
                pass
        with pytest.raises(UsageError, match="Use one of .tif"):
            with create_stack(tmp_path / "b.png", stack):
                pass
    assert not target.parent.exists()


@pytest.mark.parametrize("name", ["b.tif", "b.npy"])
def test_a_failure_leaves_nothing(tmp_path, name):
    path = saved(tmp_path, values((3, 21, 18)), **PLAIN)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / name
    with open_stack(path) as stack:
        for error in (KeyboardInterrupt, RuntimeError):
            with pytest.raises(error):
                with create_stack(target, stack) as writer:
                    writer.write(0, stack.plane(0))
                    raise error
        assert list(target.parent.iterdir()) == []
        target.write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            with create_stack(target, stack):
                pass
        assert target.read_text() == "mine"
        with create_stack(target, stack, overwrite=True) as writer:
            for number in range(3):
                writer.write(number, stack.plane(number))
    with open_stack(target) as stack:
        assert np.array_equal(stack.volume(0)[0], values((3, 21, 18)))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_copying_takes_the_memory_of_a_few_planes(tmp_path, compression):
    page = values((256, 512), "float32")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number in range(24):
            writer.write(page + number, compression=compression, **PLAIN)
    del page
    tracemalloc.start()
    try:
        copied(tmp_path / "a.tif", tmp_path / "b.tif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20  # 24 planes are 12 MiB
    same_file(tmp_path / "a.tif", tmp_path / "b.tif")
