"""Stacks in: axes from every kind of metadata, and planes one at a time."""

from __future__ import annotations

import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import made
import numpy as np
import pytest
import tifffile
from made_stacks import GREY, OME, PLAIN, SIZES, as_array, saved, values

from restore_cli.errors import InputError, UsageError
from restore_cli.media import stacks
from restore_cli.media.stacks import is_stack, open_stack

FORMS = [
    ("OME", "TZCYX", dict(ome=True, **GREY)),
    ("OME", "TCZYX", dict(ome=True, **GREY)),
    ("OME", "CZYX", dict(ome=True, compression="zlib", tile=(16, 16), **GREY)),
    ("OME", "ZYXS", dict(ome=True, photometric="rgb")),
    ("OME", "ZSYX", dict(ome=True, photometric="rgb", planarconfig="separate")),
    ("ImageJ", "TZCYX", dict(imagej=True)),
    ("ImageJ", "CYX", dict(imagej=True)),
    ("ImageJ", "TYX", dict(imagej=True, compression="zlib")),
    ("tifffile", "TZYX", dict(GREY)),
    ("tifffile", "CTZYX", dict(compression="lzw", **GREY)),
    ("tifffile", "HTYX", dict(GREY)),
    ("tifffile", "TZYX", dict(volumetric=True, **GREY)),
]


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("form, axes, options", FORMS)
def test_axes_come_from_the_metadata(tmp_path, form, axes, options, byteorder):
    array = values([SIZES[letter] for letter in axes])
    path = saved(tmp_path, array, byteorder=byteorder, metadata={"axes": axes}, **options)
    with open_stack(path) as stack:
        assert (stack.form, stack.axes, stack.shape, stack.dtype) == (form, axes, array.shape,
                                                                      array.dtype)
        assert np.array_equal(as_array(stack), array)
        assert stack.kind == ("rgb" if "S" in axes else "channels" if "C" in axes else "grey")
        assert stack.alpha is None and stack.bits == 16 and stack.notes == ()
    assert is_stack(path)


@pytest.mark.parametrize("options", [
    {}, dict(bigtiff=True), dict(byteorder=">"), dict(tile=(16, 16)), dict(compression="zlib"),
    dict(compression="lzw", predictor=True, rowsperstrip=5), dict(compression="zstd"),
    dict(compression="packbits", byteorder=">"), dict(tile=(16, 16), compression="zlib",
                                                      byteorder=">", bigtiff=True)])
@pytest.mark.parametrize("colour", ["grey", "rgb", "separate"])
def test_plain_pages_are_depth(tmp_path, options, colour):
    shape = {"grey": (5, 40, 33), "rgb": (5, 40, 33, 3), "separate": (5, 3, 40, 33)}[colour]
    how = dict(photometric="minisblack" if colour == "grey" else "rgb")
    if colour == "separate":
        how["planarconfig"] = "separate"
    array = values(shape)
    with open_stack(saved(tmp_path, array, metadata=None, **how, **options)) as stack:
        assert stack.axes == {"grey": "ZYX", "rgb": "ZYXS", "separate": "ZSYX"}[colour]
        assert (stack.count, stack.depth, stack.volumes, stack.has_z) == (5, 5, 1, True)
        assert np.array_equal(as_array(stack), array)
        assert stack.kind == ("grey" if colour == "grey" else "rgb")
        assert len(stack.notes) == 1 and "does not name its axes" in stack.notes[0]
        assert "5 planes of 33x40" in stack.pages_note and "pages" in stack.pages_note


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32",
                                   "float16", "float32", "float64"])
def test_samples_keep_their_type(tmp_path, dtype):
    array = values((3, 9, 8), dtype)
    with open_stack(saved(tmp_path, array, **PLAIN)) as stack:
        assert stack.dtype == dtype and np.array_equal(as_array(stack), array)


def test_volumes(tmp_path):
    array = values((2, 3, 4, 9, 8))  # TCZYX
    path = saved(tmp_path, array, ome=True, metadata={"axes": "TCZYX"}, **GREY)
    with open_stack(path) as stack:
        assert (stack.volumes, stack.depth, stack.channels, stack.count) == (2, 4, 3, 8)
        assert np.array_equal(stack.volume(1), array[1])
    with open_stack(path, "ZCTYX") as stack:
        assert np.array_equal(stack.volume(2), array[:, :, 2].swapaxes(0, 1))
        with pytest.raises(IndexError, match="no volume 4"):
            stack.volume(4)
        with pytest.raises(IndexError, match="no plane 8"):
            stack.plane(8)


def test_a_volume_without_depth_is_one_plane(tmp_path):
    array = values((3, 9, 8))
    with open_stack(saved(tmp_path, array, **PLAIN), "tyx") as stack:
        assert not stack.has_z and stack.volumes == 3 and stack.notes == ()
        assert np.array_equal(stack.volume(2), array[None, 2:3])


def test_the_users_axes_win(tmp_path):
    array = values((4, 9, 8))
    path = saved(tmp_path, array, imagej=True, metadata={"axes": "ZYX"})
    with open_stack(path, "CYX") as stack:
        assert stack.count == 1 and stack.kind == "channels"
        assert np.array_equal(stack.plane(0), array)
    with open_stack(path, "TZCYX") as stack:
        assert stack.shape == (1, 4, 1, 9, 8) and np.array_equal(as_array(stack)[0, :, 0], array)
    with pytest.raises(UsageError, match="TCYX.*4 x 9 x 8"):
        open_stack(path, "TCYX")
    with pytest.raises(UsageError, match="no axis"):
        open_stack(path, "QYX")


def test_samples_of_a_page_may_be_depth(tmp_path):
    array = values((9, 8, 7))
    path = saved(tmp_path, array, planarconfig="contig", **PLAIN)
    assert is_stack(path)
    with open_stack(path) as stack:
        assert (stack.axes, stack.kind, stack.channels) == ("YXS", "channels", 7)
        assert np.array_equal(stack.plane(0), array.transpose(2, 0, 1))
    with open_stack(path, "YXZ") as stack:
        assert stack.count == 7 and np.array_equal(stack.volume(0)[0], array.transpose(2, 0, 1))


def test_pages_written_one_at_a_time_are_one_stack(tmp_path):
    array = values((5, 9, 8))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in array:
            writer.write(page, **GREY)
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.axes == "ZYX" and np.array_equal(as_array(stack), array)


@pytest.mark.parametrize("extra, alpha", [("unassalpha", 3), ("assocalpha", 3),
                                          ("unspecified", 3)])
def test_transparency_is_told(tmp_path, extra, alpha):
    array = values((2, 9, 8, 4), "uint8")
    path = saved(tmp_path, array, photometric="rgb", extrasamples=[extra], metadata=None)
    with open_stack(path) as stack:
        assert (stack.kind, stack.alpha, stack.channels) == ("rgb", alpha, 4)
        assert any("transparency" in note for note in stack.notes) == (extra == "unspecified")


def test_colour_may_be_typed_as_channels(tmp_path):
    path = saved(tmp_path, values((2, 9, 8, 3), "uint8"), photometric="rgb", metadata=None)
    with open_stack(path, "tyxc") as stack:
        assert (stack.kind, stack.axes, stack.channels, stack.count) == ("rgb", "TYXC", 3, 2)


def test_transparency_of_grey(tmp_path):
    path = saved(tmp_path, values((2, 9, 8, 2), "uint8"), planarconfig="contig",
                 extrasamples=["unassalpha"], **PLAIN)
    with open_stack(path) as stack:
        assert (stack.kind, stack.alpha, stack.channels) == ("grey", 1, 2)


def test_odd_depths_keep_their_values(tmp_path):
    levels = np.arange(0, 4096, 273, np.uint16).reshape(2, 8)
    bits = ((levels[..., None] >> np.arange(12)[::-1]) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(2, -1), axis=1)
    path = saved(tmp_path, np.stack([packed, packed[::-1]]), **PLAIN)
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["ImageWidth"].overwrite(8)
            page.tags["BitsPerSample"].overwrite(12)
    with open_stack(path) as stack:
        assert stack.bits == 12 and "12 bits" in stack.notes[-1] and stack.dtype == np.uint16
        assert np.array_equal(as_array(stack), np.stack([levels, levels[::-1]]))


def test_thumbnails_do_not_count(tmp_path):
    array = values((3, 9, 8))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(values((4, 4)), subfiletype=1, **PLAIN)
        for page in array:
            writer.write(page, **PLAIN)
    with open_stack(tmp_path / "a.tif") as stack:
        assert np.array_equal(as_array(stack), array)
        assert stack.notes[0].startswith("1 page left out (thumbnails")


@pytest.mark.parametrize("ome", [True, False])
def test_of_a_pyramid_the_base_is_used(tmp_path, ome):
    array = values((3, 64, 64))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, ome=ome) as writer:
        named = {"axes": "ZYX"} if ome else None
        writer.write(array, subifds=1, metadata=named, **GREY)
        writer.write(array[:, ::2, ::2], subfiletype=1, metadata=None, **GREY)
    with open_stack(path) as stack:
        assert stack.shape == array.shape and np.array_equal(as_array(stack), array)
        assert sum("pyramid" in note for note in stack.notes) == 1


def test_of_several_images_the_first_is_used(tmp_path):
    first, second = values((3, 9, 8)), values((2, 7, 6))
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        writer.write(first, metadata={"axes": "ZYX"}, **GREY)
        writer.write(second, metadata={"axes": "TYX"}, **GREY)
    with open_stack(tmp_path / "a.tif") as stack:
        assert np.array_equal(as_array(stack), first)
        assert stack.notes == ("1 further image left out (only the first of a file is used)",)


def test_pages_may_be_stored_differently(tmp_path):
    array = values((4, 32, 48))
    ways = [{}, dict(compression="zlib"), dict(tile=(16, 16)), dict(compression="lzw")]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page, way in zip(array, ways):
            writer.write(page, **PLAIN, **way)
    with open_stack(tmp_path / "a.tif") as stack:
        assert np.array_equal(as_array(stack), array)


def test_one_picture_opens_as_a_stack_of_one(tmp_path):
    array = values((9, 8, 3))
    with open_stack(saved(tmp_path, array, photometric="rgb")) as stack:
        assert (stack.count, stack.kind, stack.axes) == (1, "rgb", "YXS")
        assert np.array_equal(stack.plane(0), array.transpose(2, 0, 1))


def test_numpy_files(tmp_path):
    array = values((4, 3, 9, 8), ">f4")
    path = tmp_path / "a.npy"
    np.save(path, array)
    assert is_stack(path)
    with open_stack(path, "TCYX") as stack:
        assert (stack.form, stack.count, stack.channels) == ("NPY", 4, 3)
        assert np.array_equal(stack.plane(2), array[2])
    with open_stack(path) as stack:
        assert stack.axes == "TZYX" and "does not name" in stack.notes[0]
    with open_stack(io.BytesIO(path.read_bytes()), "TCYX") as stack:
        assert np.array_equal(stack.plane(3), array[3])
    np.save(path, np.asfortranarray(array))
    with open_stack(path, "TCYX") as stack:
        assert np.array_equal(as_array(stack), array)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="truncated"):
        open_stack(path, "TCYX")
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="npy"):
        open_stack(path)
    np.save(path, np.arange(5))
    with pytest.raises(InputError, match="no picture"):
        open_stack(path)


def test_colour_of_numpy_files_comes_from_the_axes(tmp_path):
    np.save(tmp_path / "a.npy", values((9, 8, 3), "uint8"))
    for axes, kind in (("YXC", "rgb"), ("YXS", "rgb"), ("YXZ", "grey"), ("CYX", "channels")):
        with open_stack(tmp_path / "a.npy", axes) as stack:
            assert stack.kind == kind


class Watched(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, *args):
        data = super().read(*args)
        self.total += len(data)
        return data

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.total += count
        return count


@pytest.mark.parametrize("options", [dict(PLAIN), dict(GREY, ome=True, metadata={"axes": "ZYX"}),
                                     dict(PLAIN, compression="zlib"),
                                     dict(imagej=True, metadata={"axes": "ZYX"})])
def test_only_what_is_asked_for_is_read(tmp_path, options):
    array = values((50, 100, 90))
    stream = Watched(saved(tmp_path, array, **options).read_bytes())
    size = len(stream.getvalue())
    with open_stack(stream) as stack:
        assert stream.total < size * 0.1
        before = stream.total
        assert np.array_equal(stack.plane(31)[0], array[31])
        assert stream.total - before < 3 * array[0].nbytes


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        return self._data.read(size)

    def seekable(self):
        return False


def test_a_pipe_is_read_whole(tmp_path):
    array = values((3, 40, 30))
    data = saved(tmp_path, array, **PLAIN).read_bytes()
    with open_stack(Pipe(data)) as stack:
        assert stack.path is None and np.array_equal(as_array(stack), array)
    with pytest.raises(InputError, match="-: is truncated"):
        open_stack(Pipe(data[:-1000]))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_is_that_of_a_few_planes(tmp_path, compression):
    path = tmp_path / "a.tif"
    page = values((256, 512), "float32")
    with tifffile.TiffWriter(path) as writer:
        for number in range(32):
            writer.write(page + number, compression=compression, **PLAIN)
    del page
    tracemalloc.start()
    try:
        with open_stack(path) as stack:
            total = sum(float(plane[0, 0, 0]) for plane in stack.planes())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.isfinite(total) and peak < 3 << 20  # 32 planes are 16 MiB


def test_threads_share_a_stack(tmp_path):
    array = values((24, 64, 64))
    path = saved(tmp_path, array, compression="zlib", **PLAIN)
    barrier = threading.Barrier(4)

    def read(start):
        barrier.wait()
        return all(np.array_equal(stack.plane(i)[0], array[i]) for i in range(start, 24, 4))

    with open_stack(path) as stack, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))


def test_metadata_of_the_first_page(tmp_path):
    path = saved(tmp_path, values((3, 9, 8)), resolution=(300, 150), resolutionunit=2,
                 description="Zebrafish", software="Scope", iccprofile=b"profile", **PLAIN)
    with open_stack(path) as stack:
        assert stack.metadata.dpi == (300, 150) and stack.metadata.icc == b"profile"
        assert stack.metadata.text == {"Description": "Zebrafish", "Software": "Scope"}
    path = saved(tmp_path, values((3, 9, 8)), imagej=True)
    with open_stack(path) as stack:
        assert "Description" not in stack.metadata.text


def test_lossy_compression_is_told(tmp_path):
    smooth = np.stack([made.smooth(32, 48)] * 3)
    path = saved(tmp_path, smooth, photometric="rgb", compression="jpeg", metadata=None)
    with open_stack(path) as stack:
        assert stack.lossy == "JPEG" and stack.kind == "rgb"
        assert np.abs(as_array(stack).astype(int) - smooth).mean() < 8


def test_ome_over_several_files(tmp_path):
    array = values((4, 9, 8))
    for name, own, part in (("one", 1, array[:2]), ("two", 2, array[2:])):
        saved(tmp_path, part, f"{name}.tif", description=OME.format(own=own), **PLAIN)
    with open_stack(tmp_path / "one.tif") as stack:
        assert np.array_equal(as_array(stack), array) and "2 files" in stack.notes[0]
    (tmp_path / "two.tif").unlink()
    with pytest.raises(InputError, match="misses 2 of the 4 pages.*page 3.*Keep all files"):
        open_stack(tmp_path / "one.tif")


def test_real_stacks(shared_data):
    path = shared_data / "micro" / "convallaria_16bit_noisy.tif"
    assert not is_stack(path)
    with stacks.open_stack(path) as stack:
        assert stack.plane(0).shape == (1, 1024, 1024)
