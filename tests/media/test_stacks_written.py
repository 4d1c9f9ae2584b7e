"""Stacks out: read(write(x)) == x, what else is kept, and files that appear whole or not at all."""

from __future__ import annotations

import random
import tracemalloc
from itertools import permutations
from xml.etree import ElementTree

import made
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from restore_cli.errors import OutputError, ShapeError, UsageError
from restore_cli.media import images, stack_ome, stack_write
from restore_cli.media.stacks import create_stack, open_stack

GREY = dict(photometric="minisblack")
PLAIN = dict(photometric="minisblack", metadata=None)
SIZES = {"S": 3, "C": 2, "T": 4, "Z": 5, "H": 3, "Y": 21, "X": 18}


def values(shape, dtype="uint16", seed=0):
    return made.noise(dtype, 1, shape, seed)[..., 0]


def saved(folder, array, name="a.tif", **options):
    path = folder / name
    tifffile.imwrite(path, array, **options)
    return path


def copied(source, target, axes=None, dtype=None, order=None):
    """Writes all planes of a stack to another file; returns the writer's notes."""
    with open_stack(source, axes) as stack:
        numbers = list(range(stack.count))
        if order:
            order.shuffle(numbers)
        with create_stack(target, stack, dtype, overwrite=True) as writer:
            for number in numbers:
                writer.write(number, stack.plane(number).astype(writer.dtype))
    return writer.notes


def same_file(source, target):
    """Compares two TIFFs through tifffile: samples, axes, kind and storage."""
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(target) as new:
        one, two = old.series[0], new.series[0]
        assert two.axes == one.axes and two.shape == one.shape and two.dtype == one.dtype
        assert np.array_equal(two.asarray(), one.asarray())
        assert (two.kind == one.kind) or {two.kind, one.kind} == {"uniform", "generic"}
        assert old.is_imagej == new.is_imagej and old.is_ome == new.is_ome
        first, other = old.pages[0], new.pages[0]
        for name in ("compression", "photometric", "planarconfig", "samplesperpixel",
                     "extrasamples", "predictor", "bitspersample", "sampleformat"):
            assert getattr(first, name) == getattr(other, name), name
        assert old.byteorder == new.byteorder and old.is_bigtiff == new.is_bigtiff


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


def test_imagej_colour(tmp_path):
    array = values((3, 21, 18, 3), "uint8")
    path = saved(tmp_path, array, imagej=True, metadata={"axes": "ZYXS"})
    copied(path, tmp_path / "b.tif")
    same_file(path, tmp_path / "b.tif")


@pytest.mark.parametrize("options", [
    dict(photometric="rgb"), dict(photometric="rgb", planarconfig="separate"),
    dict(photometric="rgb", extrasamples=["unassalpha"]),
    dict(photometric="rgb", extrasamples=["assocalpha"], compression="zlib", predictor=True),
    dict(photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
    dict(photometric="miniswhite", planarconfig="contig", compression="packbits"),
    dict(photometric="separated"), dict(photometric="minisblack", planarconfig="separate",
                                        compression="lzw", predictor=True)])
def test_meaning_of_samples_is_kept(tmp_path, options):
    samples = 3 + ("extrasamples" in options) + (options["photometric"] == "separated")
    if options["photometric"] == "minisblack" and "extrasamples" in options:
        samples = 2
    shape = (4, 21, 18, samples)
    if options.get("planarconfig") == "separate":
        shape = (4, samples, 21, 18)
    path = saved(tmp_path, values(shape, "uint8"), metadata=None, **options)
    copied(path, tmp_path / "b.tif")
    same_file(path, tmp_path / "b.tif")


@pytest.mark.parametrize("options", [dict(tile=(16, 16)), dict(tile=(16, 16), compression="zlib"),
                                     dict(rowsperstrip=3, compression="lzw"), dict(bigtiff=True)])
def test_other_storage(tmp_path, options):
    path = saved(tmp_path, values((4, 40, 33)), **PLAIN, **options)
    copied(path, tmp_path / "b.tif")
    same_file(path, tmp_path / "b.tif")


def test_samples_as_depth_come_back(tmp_path):
    array = values((21, 18, 7))
    path = saved(tmp_path, array, planarconfig="contig", compression="zlib", **PLAIN)
    for order in (None, random.Random(3)):
        copied(path, tmp_path / "b.tif", "YXZ", order=order)
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


def test_ome_keeps_what_the_instrument_wrote(tmp_path):
    about = {"axes": "TCZYX", "PhysicalSizeX": 0.11, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.,
             "TimeIncrement": 5.0, "Channel": {"Name": ["DAPI", "GFP & <RFP>"]},
             "Plane": {"DeltaT": [float(i) for i in range(12)]}}
    path = saved(tmp_path, values((2, 2, 3, 21, 18)), ome=True, metadata=about, **GREY)
    copied(path, tmp_path / "b.tif")
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        before, after = (tifffile.xml2dict(file.ome_metadata) for file in (old, new))
        for found in (before, after):
            found["OME"].pop("UUID", None)
        assert before == after
        assert sum(270 in page.tags for page in new.pages) == 1


def test_imagej_keeps_labels_tables_and_units(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
    for byteorder in "<>":
        path = saved(tmp_path, values((2, 2, 21, 18)), imagej=True, byteorder=byteorder,
                     resolution=(10, 20), metadata={
                         "axes": "TCYX", "Labels": [f"plane {i}" for i in range(4)],
                         "LUTs": [ramp, ramp[::-1]], "Info": "gain 3", "unit": "um",
                         "spacing": 0.5, "finterval": 2.5, "mode": "composite",
                         "Ranges": (0.0, 255.0, 1.0, 99.0)})
        copied(path, tmp_path / "b.tif")
        with tifffile.TiffFile(path) as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
            before, after = old.imagej_metadata, new.imagej_metadata
            for one, two in zip(before.pop("LUTs"), after.pop("LUTs")):
                assert np.array_equal(one, two)
            assert before == after and before["Labels"][3] == "plane 3"
            assert new.pages[0].resolution == (10, 20)


def test_tags_of_each_page_are_kept(tmp_path):
    array = values((3, 21, 18))
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as writer:
        for number, page in enumerate(array):
            writer.write(page, description=f"page {number}", resolution=(300 + number, 150),
                         resolutionunit=2, software="Scope", iccprofile=b"profile",
                         datetime=f"2024:01:02 03:04:0{number}", photometric="minisblack",
                         metadata=None, compression="zlib",
                         extratags=[(51123, 2, 0, f'{{"stage": {number}}}', True),
                                    (65000, 12, 2, (1.5, float(number)), True)])
    copied(tmp_path / "a.tif", tmp_path / "b.tif")
    same_file(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        for one, two in zip(old.pages, new.pages, strict=True):
            for tag in (270, 282, 283, 296, 305, 306, 34675, 51123, 65000):
                assert one.tags[tag].value == two.tags[tag].value, tag
            assert list(two.tags.keys()) == sorted(two.tags.keys())


def test_an_ordinary_picture_keeps_its_exif(tmp_path):
    pixels = made.noise("uint16", 4)
    images.write(tmp_path / "a.tif", images.Image(pixels, metadata=made.metadata()))
    copied(tmp_path / "a.tif", tmp_path / "b.tif")
    old, new = (images.read(tmp_path / name) for name in ("a.tif", "b.tif"))
    assert np.array_equal(new.pixels, pixels) and new.metadata == old.metadata
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[34665].value["ExposureTime"] == 0.01


def test_of_several_ome_images_the_copy_holds_and_names_one(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        writer.write(values((3, 9, 8)), metadata={"axes": "ZYX", "Name": "one"}, **GREY)
        writer.write(values((2, 7, 6)), metadata={"axes": "TYX", "Name": "two"}, **GREY)
    copied(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.series) == 1 and len(file.pages) == 3
        assert file.series[0].name == "one" and "two" not in file.ome_metadata
        assert np.array_equal(file.asarray(), values((3, 9, 8)))


def test_hyperstacks_of_one_directory_get_one_for_each_plane(tmp_path):
    array = values((6, 21, 18))
    path = saved(tmp_path, array, imagej=True, metadata={"axes": "TYX", "Labels": list("abcdef")},
                 resolution=(5, 5))
    with tifffile.TiffFile(path) as file:
        slot = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[slot:slot + 4] = bytes(4)  # as ImageJ writes files above 4 GB
    path.write_bytes(data)
    copied(path, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == 6 and file.imagej_metadata["Labels"] == list("abcdef")
        assert file.pages[5].aspage().resolution == (5, 5)
        assert file.series[0].axes == "TYX" and np.array_equal(file.asarray(), array)
        assert np.array_equal(file.pages[5].asarray(), array[5])


def test_ome_over_several_files_becomes_one(tmp_path):
    from test_stacks import OME

    array = values((4, 9, 8))
    for name, own, part in (("one", 1, array[:2]), ("two", 2, array[2:])):
        saved(tmp_path, part, f"{name}.tif", description=OME.format(own=own), **PLAIN)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "one.tif"
    copied(tmp_path / "one.tif", target)
    with tifffile.TiffFile(target) as file:
        assert np.array_equal(file.asarray(), array) and file.series[0].axes == "ZYX"
        assert "FileName" not in file.ome_metadata and 'PhysicalSizeZ="0.7"' in file.ome_metadata


def test_broken_ome_xml_cannot_be_corrected():
    for text in ("<OME", "<OME/>", "<OME><Image/></OME>"):
        assert stack_ome.corrected(text, 3, np.dtype("uint8"), True) is None
    good = "<OME><Image><Pixels Type='uint8'><TiffData/></Pixels></Image></OME>"
    assert stack_ome.corrected(good, 3, np.dtype("float16"), False) is None
    pixels = ElementTree.fromstring(
        stack_ome.corrected(good, 3, np.dtype("uint16"), False).encode()).find("Image/Pixels")
    assert pixels.get("Type") == "uint16" and pixels.find("TiffData").get("PlaneCount") == "3"


def test_pyramids_become_flat(tmp_path):
    array = values((3, 64, 64))
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        writer.write(array, subifds=1, metadata={"axes": "ZYX"}, **GREY)
        writer.write(array[:, ::2, ::2], subfiletype=1, metadata=None, **GREY)
    copied(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.series[0].levels) == 1 and file.series[0].axes == "ZYX"
        assert np.array_equal(file.asarray(), array) and 330 not in file.pages[0].tags


def test_lossy_compression_becomes_deflate(tmp_path):
    path = saved(tmp_path, np.stack([made.smooth(32, 48)] * 3), photometric="rgb",
                 compression="jpeg", metadata=None)
    notes = copied(path, tmp_path / "b.tif")
    assert notes == ("its JPEG compression is not repeated: deflate",)
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        assert np.array_equal(old.asarray(), new.asarray())
        assert new.pages[0].compression == 8 and new.pages[0].photometric == 2


def test_layered_pages_become_ome(tmp_path):
    array = values((4, 16, 32, 48))
    path = saved(tmp_path, array, volumetric=True, metadata={"axes": "TZYX"}, resolution=(7, 7),
                 **GREY)
    assert "OME-TIFF" in copied(path, tmp_path / "b.tif")[0]
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_ome and file.series[0].axes == "TZYX" and len(file.pages) == 64
        assert np.array_equal(file.asarray(), array) and file.pages[0].resolution == (7, 7)


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


ORDERS = sorted("".join(order) for letters in ("YX", "ZYX", "CYX", "TCYX", "TZCYX", "ZYXS")
                for order in permutations(letters))


def test_numpy_files_of_any_order(tmp_path):
    chosen = random.Random(4).sample(ORDERS, 40)
    for axes in chosen:
        array = values([SIZES[letter] % 6 + 1 for letter in axes], "float64")
        np.save(tmp_path / "a.npy", array)
        copied(tmp_path / "a.npy", tmp_path / "b.npy", axes, order=random.Random(5))
        assert np.array_equal(np.load(tmp_path / "b.npy"), array), axes


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("axes", ["ZYX", "YXZ", "CYX", "YXC", "TZCYX", "XTYZ", "ZYXS", "YX"])
def test_numpy_becomes_a_tiff_that_names_its_axes(tmp_path, axes, dtype):
    array = values([SIZES[letter] if letter != "C" else 3 for letter in axes], dtype)
    np.save(tmp_path / "a.npy", array)
    copied(tmp_path / "a.npy", tmp_path / "b.tif", axes)
    with open_stack(tmp_path / "a.npy", axes) as old, open_stack(tmp_path / "b.tif") as new:
        with create_stack(tmp_path / "c.tif", old) as writer:
            for number, plane in enumerate(old.planes()):
                writer.write(number, plane)
        with open_stack(tmp_path / "c.tif", writer.axes) as again:
            assert again.axes == writer.axes and np.array_equal(again.plane(0), old.plane(0))
        assert new.count == old.count and new.kind == old.kind and new.notes == ()
        assert set(new.plan.outer) == set(old.plan.outer)
        assert new.form == ("tifffile" if dtype in ("float16", "int64") else "OME")
        for one, two in zip(old.planes(), new.planes(), strict=True):
            assert np.array_equal(one, two)


def test_a_tiff_becomes_numpy(tmp_path):
    array = values((2, 3, 5, 21, 18))
    path = saved(tmp_path, array, ome=True, metadata={"axes": "TCZYX"}, **GREY)
    assert "no metadata" in copied(path, tmp_path / "b.npy")[0]
    assert np.array_equal(np.load(tmp_path / "b.npy"), array)


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
