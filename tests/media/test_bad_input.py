"""Files that are broken, hostile or no pictures: one clear line each, never a wrong picture."""

from __future__ import annotations

import io

import imagecodecs
import made
import numpy as np
import pytest
from PIL import Image as Pillow

from restore_cli.errors import InputError
from restore_cli.media import limits
from restore_cli.media.images import Image, read, write


def by_pillow(format, **options):
    stream = io.BytesIO()
    Pillow.fromarray(made.noise("uint8", 3, (60, 70))).save(stream, format, **options)
    return stream.getvalue()


def by_us(format, dtype="uint16"):
    stream = io.BytesIO()
    write(stream, Image(made.noise(dtype, 3, (60, 70))), format=format)
    return stream.getvalue()


def plain_tiff():
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, made.noise("uint16", 3, (60, 70)), photometric="rgb")
    stream.seek(0)
    return stream.getvalue()


GOOD = {
    "png": lambda: by_pillow("PNG"), "png16": lambda: by_us("PNG"),
    "jpg": lambda: by_pillow("JPEG"), "progressive": lambda: by_pillow("JPEG", progressive=True),
    "webp": lambda: by_pillow("WEBP"), "gif": lambda: by_pillow("GIF"),
    "bmp": lambda: by_pillow("BMP"), "ppm": lambda: by_pillow("PPM"),
    "tif": lambda: by_us("TIFF"), "plain": plain_tiff, "jxl": lambda: by_us("JXL"),
}


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.97])
def test_truncated_files_are_refused(tmp_path, name, part):
    data = GOOD[name]()
    text = refused(tmp_path / "photo.png", data[:int(len(data) * part)])
    assert "damaged" in text or "truncated" in text or "not a picture" in text


@pytest.mark.parametrize("name", list(GOOD))
def test_scrambled_files_never_crash(tmp_path, name):
    random = np.random.default_rng(0)
    data = GOOD[name]()
    for _ in range(12):
        broken = bytearray(data)
        for place in random.integers(0, len(broken), 8):
            broken[place] ^= 1 << random.integers(8)
        path = tmp_path / "x"
        path.write_bytes(broken)
        try:
            assert read(path).pixels.size
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("data, word", [
    (b"", "empty"), (b"hello world\n" * 9, "text"), (b"<!DOCTYPE html><html>", "text"),
    (bytes(1000), "not a picture"), (bytes(range(256)), "not a picture"),
    (b"\x89PNG\r\n\x1a\n", "damaged PNG"), (b"\xff\xd8\xff", "damaged JPEG"),
    (b"II*\0", "damaged TIFF"), (b"RIFF\0\0\0\0WEBP", "damaged WEBP"), (b"\xff\x0a", "damaged JXL"),
    (b"GIF89a", "damaged GIF"), (b"%PDF-1.7\n%\xe2\xe3", "not a picture"),
])
def test_other_files_are_named_for_what_they_are(tmp_path, data, word):
    assert word in refused(tmp_path / "photo.png", data)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder.*--recursive"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read("a\0b.png")


def test_a_stream_is_named_by_its_dash():
    with pytest.raises(InputError) as caught:
        read(io.BytesIO(b"words"))
    assert str(caught.value).startswith("-: ")


def test_bombs_are_refused_from_the_header(tmp_path):
    huge = made.png(60000, 60000, b"\0")
    text = refused(tmp_path / "x.png", huge)
    assert "60000x60000" in text and f"{limits.VARIABLE}=3600000000" in text
    text = refused(tmp_path / "x.png", made.png(30000, 20000, b"\0" * 100))
    assert "too short" in text


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_the_limit_holds_for_every_format(tmp_path, format):
    (tmp_path / "x").write_bytes(by_pillow(format))
    with pytest.raises(InputError, match="70x60 is more than"):
        read(tmp_path / "x", max_pixels=4199)
    assert read(tmp_path / "x", max_pixels=4200).width == 70


def test_the_limit_comes_from_the_environment():
    assert limits.max_pixels({}) == limits.MAX_PIXELS
    assert limits.max_pixels({limits.VARIABLE: "5e9"}) == 5_000_000_000
    assert limits.max_pixels({limits.VARIABLE: "lots"}) == limits.MAX_PIXELS


def test_more_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "_available", lambda: 1 << 30)
    with pytest.raises(InputError, match="needs 3.0 GB to decode, 1.1 GB are free"):
        limits.check(25000, 20000, 6, "x.tif")
    limits.check(25000, 20000, 2, "x.tif")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_pictures_without_pixels_are_refused(tmp_path, size):
    assert "no pixels" in refused(tmp_path / "x.png", made.png(*size, b""))


@pytest.mark.parametrize("size", [(1, 1), (65535, 1), (1, 65535)])
def test_extreme_shapes_are_read(size):
    width, height = size
    raw = (b"\0" + bytes(3 * width)) * height
    assert read(io.BytesIO(made.png(width, height, raw))).pixels.shape == (height, width, 3)
    if max(size) == 1:
        stream = io.BytesIO()
        Pillow.new("RGB", size).save(stream, "JPEG")
        assert read(io.BytesIO(stream.getvalue())).pixels.shape == (1, 1, 3)


def test_checksums_are_verified(tmp_path):
    data = bytearray(GOOD["png16"]())
    data[len(data) // 2] ^= 1
    assert "damaged PNG: a checksum" in refused(tmp_path / "x.png", bytes(data))


def test_a_png_cut_between_chunks_is_refused(tmp_path):
    raw = made.noise("uint8", 3, (60, 70)).reshape(60, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in raw)
    import zlib

    packed = zlib.compress(rows)
    half = len(packed) // 2
    head = made.png(70, 60, b"")
    head = head[:head.index(b"IDAT") - 4]
    whole = head + made.chunk(b"IDAT", packed[:half]) + made.chunk(b"IDAT", packed[half:])
    assert np.array_equal(read(io.BytesIO(whole)).pixels.reshape(60, -1), raw)
    assert "truncated" in refused(tmp_path / "x.png", head + made.chunk(b"IDAT", packed[:half]))


def test_pixels_that_make_no_image_are_refused():
    from restore_cli.errors import ShapeError

    for shape in ((3, 4), (3, 4, 5), (0, 4, 3), (2, 3, 4, 3)):
        with pytest.raises(ShapeError):
            Image(np.zeros(shape, np.uint8))
    for dtype in ("int16", "float64", ">u2", "bool"):
        with pytest.raises(TypeError):
            Image(np.zeros((3, 4, 3), dtype))
    with pytest.raises(ShapeError):
        Image(np.zeros((3, 4, 3), np.uint8), kind="grey")


def test_corrupt_jpeg_xl_is_refused(tmp_path):
    data = imagecodecs.jpegxl_encode(made.noise("uint8", 3, (60, 70)), lossless=True)
    assert "JXL" in refused(tmp_path / "x.jxl", data[:len(data) // 2])
