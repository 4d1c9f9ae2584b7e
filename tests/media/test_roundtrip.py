"""read(write(x)) == x, for every format, kind and depth that can promise it."""

from __future__ import annotations

import io

import made
import numpy as np
import pytest

from restore_cli.errors import OutputError, UsageError
from restore_cli.media import samples
from restore_cli.media.images import Image, read, write

EXACT = {"PNG": ("uint8", "uint16"), "TIFF": ("uint8", "uint16", "float32"),
         "JXL": ("uint8", "uint16", "float32")}
CASES = [(format, dtype, channels) for format, dtypes in EXACT.items() for dtype in dtypes
         for channels in (1, 2, 3, 4)] + [("WEBP", "uint8", 3), ("WEBP", "uint8", 4),
                                          ("BMP", "uint8", 1), ("BMP", "uint8", 3)]
SUFFIX = {"PNG": ".png", "TIFF": ".tif", "JXL": ".jxl", "WEBP": ".webp", "BMP": ".bmp",
          "JPEG": ".jpg"}


def through(image, **options):
    stream = io.BytesIO()
    notes = write(stream, image, **options)
    return read(io.BytesIO(stream.getvalue())), notes


@pytest.mark.parametrize("size", [(17, 23), (1, 1), (1, 700), (300, 1)])
@pytest.mark.parametrize("format, dtype, channels", CASES)
def test_samples_survive_exactly(tmp_path, format, dtype, channels, size):
    pixels = made.noise(dtype, channels, size)
    target = tmp_path / ("x" + SUFFIX[format])
    notes = write(target, Image(pixels), quality=100)
    back = read(target)
    assert back.pixels.dtype == pixels.dtype and np.array_equal(back.pixels, pixels)
    assert back.kind == Image(pixels).kind and back.format == format
    assert back.bits == 8 * pixels.itemsize
    assert notes == back.notes == ()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 9])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_is_exact_at_every_level(level, dtype, channels):
    for pixels in (made.noise(dtype, channels),
                   samples.to_depth(made.smooth(40, 30, channels), dtype)):
        back, _ = through(Image(pixels), format="PNG", png_level=level)
        assert np.array_equal(back.pixels, pixels)


def test_png_written_in_many_windows_is_exact(monkeypatch):
    from restore_cli.media import png

    pixels = made.noise("uint16", 3, (60, 50))
    monkeypatch.setattr(png, "_IDAT", 700)
    back, _ = through(Image(pixels), format="PNG")
    assert np.array_equal(back.pixels, pixels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JXL"])
def test_memory_mapped_and_strided_pixels_are_written(tmp_path, format):
    pixels = made.noise("uint16", 3, (40, 30))
    mapped = np.memmap(tmp_path / "raw", np.uint16, "w+", shape=pixels.shape)
    mapped[:] = pixels
    assert np.array_equal(through(Image(mapped), format=format)[0].pixels, pixels)
    strided = np.ascontiguousarray(pixels[:, ::-1].transpose(1, 0, 2)).transpose(1, 0, 2)[:, ::-1]
    assert not strided.flags.c_contiguous
    assert np.array_equal(through(Image(strided), format=format)[0].pixels, pixels)


@pytest.mark.parametrize("format, tolerance", [("JPEG", 1), ("WEBP", 2), ("JXL", 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_stay_close(format, tolerance, channels):
    pixels = made.smooth(64, 96, channels)
    back, notes = through(Image(pixels), format=format, quality=95)
    expected = np.repeat(pixels, 3, axis=2) if format == "WEBP" and channels == 1 else pixels
    assert notes == ()
    assert np.abs(back.pixels.astype(int) - expected).mean() <= tolerance


def test_quality_matters():
    pixels = made.noise("uint8", 3, (64, 64))
    for format in ("JPEG", "WEBP", "JXL"):
        sizes = []
        for quality in (20, 90):
            stream = io.BytesIO()
            write(stream, Image(pixels), format=format, quality=quality)
            sizes.append(len(stream.getvalue()))
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_transparency_goes_onto_white_with_a_note(format):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8, 3] = 255
    back, notes = through(Image(pixels), format=format)
    assert len(notes) == 1 and "transparency" in notes[0] and "white" in notes[0]
    assert back.pixels[0, 0].max() <= 2 and back.pixels[0, 15].min() >= 253


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_depth_is_rounded_with_a_note(format, dtype):
    deep = samples.to_float(made.smooth(32, 32)) if dtype == "float32" else (
        made.smooth(32, 32).astype(np.uint16) * 256 + 100)
    back, notes = through(Image(np.asarray(deep, dtype)), format=format, quality=100)
    assert len(notes) == 1 and "8 bits" in notes[0]
    assert back.pixels.dtype == np.uint8
    assert np.abs(back.pixels.astype(int) - made.smooth(32, 32)).mean() <= 1


def test_float_to_png_clips_and_says_so():
    values = np.array([[[-0.5, 0.5, 1.5]]], np.float32)
    back, notes = through(Image(values), format="PNG")
    assert back.pixels.tolist() == [[[0, 32768, 65535]]]
    assert "16 bits" in notes[0] and "clipped" in notes[0]
    assert "clipped" not in through(Image(np.clip(values, 0, 1)), format="PNG")[1][0]


def test_lossy_deep_jpeg_xl_says_that_it_is_eight_bit():
    deep = made.smooth(32, 32).astype(np.uint16) * 257
    back, notes = through(Image(deep), format="JXL", quality=90)
    assert "8 bits" in notes[0]
    assert np.abs(back.pixels.astype(int) - made.smooth(32, 32)).mean() <= 4


def test_too_large_for_the_format_is_an_error(tmp_path):
    wide = Image(np.zeros((1, 20000, 3), np.uint8))
    with pytest.raises(OutputError, match="WebP.*16383.*PNG or TIFF"):
        write(tmp_path / "x.webp", wide)
    wide = Image(np.zeros((1, 65535, 3), np.uint8))
    with pytest.raises(OutputError, match="JPEG can hold"):
        write(tmp_path / "x.jpg", wide)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "x.png", wide)
    assert read(tmp_path / "x.png").width == 65535


@pytest.mark.parametrize("name", ["x.gif", "x", "x.docx"])
def test_an_unknown_extension_is_an_error(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png"):
        write(tmp_path / name, Image(made.noise("uint8", 3)))
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_told(tmp_path):
    target, picture = tmp_path / "x.png", Image(made.noise("uint8", 3))
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        write(target, picture)
    assert target.read_bytes() == b"precious"
    write(target, picture, overwrite=True)
    assert np.array_equal(read(target).pixels, picture.pixels)


class Pipe(io.RawIOBase):
    """A stream that can only be written or read forward."""

    def __init__(self, data=b""):
        self.data, self.at = bytearray(data), 0

    def readable(self):
        return True

    def writable(self):
        return True

    def seekable(self):
        return False

    def write(self, data):
        self.data += bytes(data)
        return len(data)

    def readinto(self, buffer):
        piece = self.data[self.at:self.at + min(len(buffer), 100)]
        buffer[:len(piece)] = piece
        self.at += len(piece)
        return len(piece)


@pytest.mark.parametrize("format", list(SUFFIX))
def test_pipes_work_both_ways(format):
    pixels = made.smooth(20, 30)
    pipe = Pipe()
    write(pipe, Image(pixels, format=format), quality=100)
    back = read(Pipe(pipe.data))
    assert back.format == format
    assert np.abs(back.pixels.astype(int) - pixels).max() <= (3 if format == "JPEG" else 0)


def test_a_stream_of_an_unwritable_format_becomes_png():
    stream = io.BytesIO()
    write(stream, Image(made.noise("uint8", 3), format="GIF"))
    assert stream.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "JXL"])
def test_a_failing_encoder_is_an_output_error_and_leaves_nothing(tmp_path, monkeypatch, format):
    import errno
    import os

    from restore_cli.media import images

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(images, "_encode", full)
    with pytest.raises(OutputError, match="no space left"):
        write(tmp_path / ("x" + SUFFIX[format]), Image(made.noise("uint8", 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not __import__("os").path.exists("/dev/full"), reason="/dev/full")
def test_a_full_stream_is_an_output_error():
    with open("/dev/full", "wb", buffering=0) as device:
        with pytest.raises(OutputError, match="no space left"):
            write(device, Image(made.noise("uint8", 3)), format="PNG")


@pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="named pipes")
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JXL"])
def test_named_pipes_are_read(tmp_path, monkeypatch, format):
    import os
    import threading

    from restore_cli.media import tiff

    monkeypatch.setattr(tiff, "_MAPPED", 0)
    pixels = made.noise("uint16", 3)
    os.mkfifo(tmp_path / "pipe")
    stream = io.BytesIO()
    write(stream, Image(pixels), format=format)
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(stream.getvalue(),))
    feeder.start()
    assert np.array_equal(read(tmp_path / "pipe").pixels, pixels)
    feeder.join()
