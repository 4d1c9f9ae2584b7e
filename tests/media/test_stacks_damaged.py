"""Stacks that are refused: truncated, damaged, uneven, or no pictures."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import tifffile
from made_stacks import GREY, PLAIN, as_array, saved, values

from restore_cli.errors import InputError
from restore_cli.media.stacks import is_stack, open_stack


def test_rows_over_pages_are_refused(tmp_path):
    path = saved(tmp_path, values((4, 9, 8)), **PLAIN)
    with pytest.raises(InputError, match="must hold both Y and X"):
        open_stack(path, "YXZ")


@pytest.mark.parametrize("other, words", [
    (values((20, 30)), "page 3 is 30x20, 16 bits, page 1 is 8x9, 16 bits"),
    (values((9, 8), "uint8"), "page 3 is 8x9, 8 bits, page 1"),
    (values((9, 8), "int16"), "page 3 is 8x9, 16 bits signed, page 1"),
    (values((9, 8, 3)), "page 3 is 8x9, 3 samples, 16 bits, page 1")])
@pytest.mark.parametrize("metadata", [None, {}])  # plain pages, and tifffile's, each a series
def test_pages_of_different_kinds_are_refused(tmp_path, other, words, metadata):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in (values((9, 8)), values((9, 8)), other, values((9, 8))):
            writer.write(page, photometric="rgb" if page.ndim == 3 else "minisblack",
                         metadata=metadata)
    with pytest.raises(InputError, match=words):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("shape, options, words", [
    ((9, 8), dict(photometric="palette", colormap=np.zeros((3, 256), np.uint16)), "palette"),
    ((9, 8, 3), dict(photometric="cielab"), "LAB"),
    ((9, 8), dict(photometric="cfa"), "RAW")])
def test_pages_without_brightness_are_refused(tmp_path, shape, options, words):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(2):
            writer.write(values(shape, "uint8"), metadata=None, **options)
    with pytest.raises(InputError, match=words):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("array", [np.zeros((3, 9, 8), bool), np.zeros((3, 9, 8), np.complex64)])
def test_samples_without_noise_are_refused(tmp_path, array):
    with pytest.raises(InputError, match="no picture with noise"):
        open_stack(saved(tmp_path, array, **PLAIN))


@pytest.mark.parametrize("options", [
    dict(PLAIN), dict(PLAIN, compression="zlib"), dict(PLAIN, byteorder=">", bigtiff=True),
    dict(GREY, metadata={"axes": "TYX"}), dict(GREY, ome=True, metadata={"axes": "TYX"}),
    dict(GREY, ome=True, compression="lzw", metadata={"axes": "TYX"}),
    dict(imagej=True, metadata={"axes": "TYX"})])
def test_a_truncated_file_is_never_a_shorter_stack(tmp_path, options):
    whole = saved(tmp_path, values((6, 40, 30)), **options).read_bytes()
    part = tmp_path / "part.tif"
    for share in (0.001, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99):
        part.write_bytes(whole[:int(len(whole) * share)])
        with pytest.raises(InputError) as caught:
            with open_stack(part) as stack:
                for _ in stack.planes():
                    pass
        assert str(caught.value).startswith(f"{part}: ")


def test_a_truncated_hyperstack_of_one_directory(tmp_path):
    path = saved(tmp_path, values((6, 40, 30)), imagej=True,
                 metadata={"axes": "TYX"}, contiguous=True)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages[0]
        end = page.dataoffsets[0] + 6 * 40 * 30 * 2
        slot = page.offset + 2 + 12 * len(page.tags)
    data = bytearray(path.read_bytes()[:end])
    data[slot:slot + 4] = bytes(4)  # as ImageJ writes files above 4 GB
    path.write_bytes(data)
    with open_stack(path) as stack:
        assert np.array_equal(as_array(stack), values((6, 40, 30)))
    path.write_bytes(data[:-100])
    with pytest.raises(InputError, match="says 6 planes and holds 1"):
        open_stack(path)


def test_damaged_directories(tmp_path):
    path = saved(tmp_path, values((3, 9, 8)), **PLAIN)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        last, first = file.pages[2], file.pages[0].offset
        slot = last.offset + 2 + 12 * len(last.aspage().tags)
    data[slot:slot + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="circle after 3"):
        open_stack(path)
    data[slot:slot + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="directory of page 4 is missing"):
        open_stack(path)
    path.write_bytes(b"II*\0" + bytes(60))
    with pytest.raises(InputError, match="no page"):
        open_stack(path)


def test_a_damaged_page_is_named(tmp_path):
    path = saved(tmp_path, values((5, 40, 30)), compression="zlib", **PLAIN)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[3].dataoffsets[0], file.pages[3].databytecounts[0]
    data[start:start + size] = bytes(size)
    path.write_bytes(data)
    with open_stack(path) as stack:
        stack.plane(2)
        with pytest.raises(InputError, match="page 4 is damaged"):
            stack.plane(3)


def test_what_is_no_stack(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name, words in (("a.txt", "no TIFF"), ("empty.tif", "no TIFF"), ("none.tif", "no such"),
                        (".", "is a folder")):
        with pytest.raises(InputError, match=words):
            open_stack(tmp_path / name)
        assert not is_stack(tmp_path / name)


def test_ordinary_pictures_are_no_stacks(tmp_path):
    ordinary = {"grey": (values((9, 8)), PLAIN), "rgb": (values((9, 8, 3)), {}),
                "rgba": (values((9, 8, 4)), dict(photometric="rgb",
                                                 extrasamples=["unassalpha"])),
                "imagej": (values((9, 8)), dict(imagej=True)),
                "ome": (values((9, 8)), dict(ome=True))}
    for name, (array, options) in ordinary.items():
        assert not is_stack(saved(tmp_path, array, f"{name}.tif", **options)), name
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as writer:
        writer.write(values((9, 8)), **PLAIN)
        writer.write(values((4, 4)), subfiletype=1, **PLAIN)
    assert not is_stack(tmp_path / "thumb.tif")
    raw = saved(tmp_path, values((3, 9, 8)), "x.NEF", **PLAIN)
    assert not is_stack(raw)
    with pytest.raises(InputError, match="RAW"):
        open_stack(raw)


def test_hostile_files_raise_nothing_else(tmp_path):
    array = values((4, 20, 18))
    sources = [saved(tmp_path, array, **options).read_bytes() for options in (
        dict(PLAIN), dict(PLAIN, compression="zlib", predictor=True, byteorder=">"),
        dict(GREY, ome=True, metadata={"axes": "ZYX"}), dict(GREY, metadata={"axes": "ZYX"}),
        dict(imagej=True, metadata={"axes": "ZYX"}), dict(PLAIN, bigtiff=True, tile=(16, 16)))]
    dice = random.Random(7)
    refused = 0
    for number in range(240):
        data = bytearray(sources[number % len(sources)])
        for _ in range(dice.choice((1, 3, 10))):
            end = dice.randrange(min(400, len(data)))
            data[dice.choice((end, len(data) - 1 - end))] = dice.randrange(256)
        try:
            with open_stack(io.BytesIO(data)) as stack:
                for plane in range(min(stack.count, 6)):
                    stack.plane(plane)
        except InputError:
            refused += 1
    assert refused > 40
