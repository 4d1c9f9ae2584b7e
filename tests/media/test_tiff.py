"""TIFF forms that other programs write."""

from __future__ import annotations

import io

import made
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from restore_cli.errors import InputError
from restore_cli.media import samples, tiff
from restore_cli.media.images import Image, read, write


def stored(pixels, **options):
    stream = io.BytesIO()
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
    with tifffile.TiffWriter(stream, bigtiff=options.pop("bigtiff", False),
                             byteorder=options.pop("byteorder", "<")) as writer:
        writer.write(pixels, metadata=None, **options)
    return stream.getvalue()


def loaded(data):
    return read(io.BytesIO(data))


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_layouts_and_byte_orders(byteorder, layout, compression, dtype):
    pixels = made.noise(dtype, 3, (40, 50))
    raw = np.moveaxis(pixels, 2, 0) if layout == "separate" else pixels
    image = loaded(stored(raw, byteorder=byteorder, planarconfig=layout, compression=compression,
                          rowsperstrip=7, predictor=compression in ("zlib", "lzw")))
    assert image.pixels.dtype == np.dtype(dtype) and image.pixels.dtype.isnative
    assert np.array_equal(image.pixels, pixels)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiles_and_bigtiff(bigtiff, tile):
    pixels = made.noise("uint16", 3, (40, 50))
    assert np.array_equal(loaded(stored(pixels, bigtiff=bigtiff, tile=tile)).pixels, pixels)


def test_floats_outside_the_range_are_kept():
    pixels = np.array([[-3.5, 0, 0.5, 1e6]], np.float32)
    assert np.array_equal(loaded(stored(pixels)).pixels[:, :, 0], pixels)


def test_half_and_double_become_float():
    values = np.array([[-0.5, 0.25, 3.0]])
    half, double = loaded(stored(values.astype(np.float16))), loaded(stored(values))
    for image, bits in ((half, 16), (double, 64)):
        assert image.pixels.dtype == np.float32 and image.bits == bits
        assert np.array_equal(image.pixels[:, :, 0], values)
    assert half.notes == () and "64-bit" in double.notes[0]


def test_wide_integers_become_float():
    image = loaded(stored(np.array([[0, 2**31, 2**32 - 1]], np.uint32)))
    assert image.bits == 32 and "32-bit" in image.notes[0]
    assert np.allclose(image.pixels[0, :, 0], [0, 0.5, 1], atol=1e-7)


def test_signed_samples():
    good = loaded(stored(np.array([[0, 5, 32767]], np.int16)))
    assert good.pixels.dtype == np.uint16 and good.pixels[0, :, 0].tolist() == [0, 5, 32767]
    assert "signed" in good.notes[0]
    with pytest.raises(InputError, match="negative"):
        loaded(stored(np.array([[-1, 5]], np.int16)))


def test_complex_samples_are_refused():
    with pytest.raises(InputError, match="no picture"):
        loaded(stored(np.zeros((2, 2), np.complex64)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_is_zero_is_inverted(dtype):
    pixels = samples.to_depth(made.smooth(5, 6, 1), dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    image = loaded(stored(top - pixels[:, :, 0], photometric="miniswhite"))
    assert np.allclose(image.pixels, pixels, atol=1e-6)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_becomes_grey(photometric):
    bits = np.random.default_rng(0).random((9, 13)) > 0.5
    image = loaded(stored(bits, photometric=photometric))
    assert image.bits == 1 and image.kind == "grey" and image.pixels.dtype == np.uint8
    assert np.array_equal(image.pixels[:, :, 0], np.where(bits ^ (photometric == "miniswhite"),
                                                          255, 0))


@pytest.mark.parametrize("bits", [2, 4, 10, 12])
def test_odd_depths_are_stretched(bits):
    values = np.linspace(0, 2**bits - 1, 16).astype(np.uint16 if bits > 8 else np.uint8)[None]
    data = bytearray(stored(values))
    if bits > 8:  # tifffile writes no packed samples of these depths
        packed = _packed(values, bits)
        data = bytearray(stored(np.frombuffer(packed, np.uint8)[None]))
        data = _retagged(data, bits, values.shape[1])
    else:
        data = _retagged(bytearray(stored(np.frombuffer(_packed(values, bits), np.uint8)[None])),
                         bits, values.shape[1])
    image = loaded(bytes(data))
    full = 255 if bits < 8 else 65535
    assert image.bits == bits
    assert image.pixels[0, :, 0].tolist() == [round(int(v) * full / (2**bits - 1))
                                              for v in values[0]]


def _packed(values, bits):
    table = (values.astype(np.uint32)[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(table.reshape(-1).astype(np.uint8)).tobytes()


def _retagged(data, bits, width):
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        places = {code: tags[code].valueoffset for code in (256, 258)}
        kinds = {code: tags[code].dtype for code in (256, 258)}
    for code, value in ((256, width), (258, bits)):
        size = 2 if int(kinds[code]) == 3 else 4
        data[places[code]:places[code] + size] = value.to_bytes(size, "little")
    return data


def test_palettes_become_rgb():
    table = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    index = made.noise("uint8", 1)[:, :, 0]
    for scale, expected in ((257, table.astype(np.uint8)), (256, table.astype(np.uint8))):
        image = loaded(stored(index, photometric="palette", colormap=table * scale))
        assert image.kind == "rgb" and np.array_equal(image.pixels, expected.T[index])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept(dtype, channels):
    pixels = made.noise(dtype, channels)
    image = loaded(stored(pixels, photometric="rgb" if channels == 4 else "minisblack",
                          planarconfig="contig", extrasamples=["unassalpha"]))
    assert image.has_alpha and np.array_equal(image.pixels, pixels)


def test_premultiplied_alpha_is_divided_out():
    straight = np.array([[[200, 100, 50, 128], [0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8)
    premultiplied = straight.copy()
    premultiplied[0, 0, :3] = np.round(straight[0, 0, :3] * (128 / 255))
    image = loaded(stored(premultiplied, extrasamples=["assocalpha"]))
    assert np.abs(image.pixels.astype(int) - straight).max() <= 1


def test_channels_without_meaning():
    pixels = made.noise("uint8", 4)
    taken = loaded(stored(pixels, extrasamples=["unspecified"]))
    assert taken.kind == "rgb+alpha" and "transparency" in taken.notes[0]
    pixels[:, :, 3] = 0  # padding
    dropped = loaded(stored(pixels, extrasamples=["unspecified"]))
    assert dropped.kind == "rgb" and "left out" in dropped.notes[0]
    many = loaded(stored(made.noise("uint8", 6), extrasamples=["unspecified", "unassalpha",
                                                               "unspecified"]))
    assert many.kind == "rgb+alpha" and "2 extra channels" in many.notes[0]
    assert np.array_equal(many.alpha, made.noise("uint8", 6)[:, :, 4])


def test_pages():
    pages = [made.noise("uint16", 1, seed=seed)[:, :, 0] for seed in range(3)]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(made.noise("uint8", 1, (4, 4))[:, :, 0], subfiletype=1, metadata=None)
        for page in pages:
            writer.write(page, metadata=None)
    stream.seek(0)
    image = read(stream)
    assert np.array_equal(image.pixels[:, :, 0], pages[0]) and "3 pages" in image.notes[0]
    stream.seek(0)
    assert np.array_equal(read(stream, page=2).pixels[:, :, 0], pages[2])
    stream.seek(0)
    with pytest.raises(InputError, match="page 4 does not exist"):
        read(stream, page=3)


def test_imagej_stacks_count_their_planes(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, made.noise("uint16", 5, (9, 8)).transpose(2, 0, 1), imagej=True)
    image = read(path)
    assert "5 pages" in image.notes[0] and image.pixels.shape == (9, 8, 1)
    assert image.metadata.text == {}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cmyk_goes_through_its_profile(dtype):
    inks = np.array([[[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]], float)
    pixels = samples.from_float(inks.astype(np.float32), dtype)
    data = stored(pixels, photometric="separated", iccprofile=made.cmyk_profile())
    image = loaded(data)
    top = np.iinfo(dtype).max
    expected = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]]) * top
    assert image.pixels.dtype == np.dtype(dtype)
    assert np.abs(image.pixels[0].astype(int) - expected).max() <= top * 0.02
    assert "profile" in image.notes[0] and image.metadata.icc[16:20] == b"RGB "


def test_cmyk_without_profile_says_so():
    pixels = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 128, 0, 128]]], np.uint8)
    image = loaded(stored(pixels, photometric="separated"))
    assert image.pixels[0].tolist() == [[255, 255, 255], [0, 255, 255], [127, 63, 127]]
    assert "approximate" in image.notes[0] and image.metadata.icc is None


def test_jpeg_inside_a_tiff():
    pixels = made.smooth(64, 64)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "TIFF", compression="jpeg", quality=95)
    image = loaded(stream.getvalue())
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 4


def test_large_plain_files_are_mapped(tmp_path, monkeypatch):
    pixels = made.noise("uint16", 3, (40, 50))
    path = tmp_path / "x.tif"
    path.write_bytes(stored(pixels))
    monkeypatch.setattr(tiff, "_MAPPED", 1000)
    image = read(path)
    assert isinstance(image.pixels, np.memmap) and not image.pixels.flags.writeable
    assert np.array_equal(image.pixels, pixels)
    write(tmp_path / "y.png", image)
    assert np.array_equal(read(tmp_path / "y.png").pixels, pixels)
    path.write_bytes(stored(pixels)[:-5000])
    with pytest.raises(InputError, match="truncated"):
        read(path)


def test_camera_raw_is_refused():
    mosaic = stored(made.noise("uint16", 1)[:, :, 0], photometric="cfa",
                    extratags=[(50706, 1, 4, bytes((1, 4, 0, 0)), True)])
    with pytest.raises(InputError, match="RAW"):
        loaded(mosaic)


def test_a_thumbnail_in_a_raw_file_is_not_the_picture(tmp_path):
    path = tmp_path / "x.NEF"
    path.write_bytes(stored(made.noise("uint8", 3)))
    with pytest.raises(InputError, match="RAW"):
        read(path)


def test_written_files_are_plain_to_others(tmp_path):
    pixels = made.noise("uint16", 4, (70, 50))
    write(tmp_path / "x.tif", Image(pixels, metadata=made.metadata()))
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), pixels)
        assert len(file.pages) == 1 and int(page.extrasamples[0]) == 2
        assert page.tags[34665].value["ExposureTime"] == 0.01
        assert list(page.tags.keys()) == sorted(page.tags.keys())


def test_real_scans(shared_data):
    image = read(shared_data / "micro" / "convallaria_16bit_noisy.tif")
    assert image.pixels.dtype == np.uint16 and image.pixels.shape == (1024, 1024, 1)
    with pytest.raises(InputError, match="RAW"):
        read(shared_data / "raw" / "native" / "kodak_dc50_grbg.kdc")
