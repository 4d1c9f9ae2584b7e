"""Stacks out: what is kept besides the samples, and changes of form."""

from __future__ import annotations

import random
from itertools import permutations
from xml.etree import ElementTree

import made
import numpy as np
import pytest
import tifffile
from made_stacks import GREY, OME, PLAIN, SIZES, copied, same_file, saved, values

from restore_cli.media import images, stack_ome
from restore_cli.media.stacks import create_stack, open_stack


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


def test_samples_as_depth_come_back(tmp_path):
    array = values((21, 18, 7))
    path = saved(tmp_path, array, planarconfig="contig", compression="zlib", **PLAIN)
    for order in (None, random.Random(3)):
        copied(path, tmp_path / "b.tif", "YXZ", order=order)
        same_file(path, tmp_path / "b.tif")


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
