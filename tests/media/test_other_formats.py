"""JPEG, WebP, GIF, BMP, anymaps and JPEG XL as other programs write them."""

from __future__ import annotations

import io

import imagecodecs
import made
import numpy as np
import pytest
from PIL import Image as Pillow

from restore_cli.media import jxl
from restore_cli.media.images import read


def loaded(data):
    return read(io.BytesIO(data))


def saved(picture, format, **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def test_contents_decide_not_names(tmp_path):
    path = tmp_path / "photo.png"
    Pillow.fromarray(made.smooth(17, 23)).save(path, "JPEG")
    assert read(path).format == "JPEG"


@pytest.mark.parametrize("mode, kind", [("L", "grey"), ("RGB", "rgb")])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_kinds(mode, kind, progressive):
    picture = Pillow.fromarray(made.smooth(17, 23)).convert(mode)
    image = loaded(saved(picture, "JPEG", progressive=progressive, dpi=(72, 96)))
    assert image.kind == kind and image.metadata.dpi == (72, 96) and image.notes == ()


def test_cmyk_jpeg_with_and_without_profile():
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, :, 0] = 255
    picture = Pillow.frombytes("CMYK", (16, 16), inks.tobytes())
    for options, word in (({"icc_profile": made.cmyk_profile()}, "through its profile"),
                          ({}, "approximate")):
        image = loaded(saved(picture, "JPEG", quality=100, **options))
        assert np.abs(image.pixels.astype(int) - [0, 255, 255]).max() <= 6
        assert word in image.notes[0] and image.kind == "rgb"
        assert (image.metadata.icc is None) == (not options)


@pytest.mark.parametrize("format, name", [("GIF", "GIF"), ("WEBP", "WebP"), ("AVIF", "AVIF")])
def test_animations_give_their_first_frame(format, name):
    if format not in Pillow.SAVE_ALL:
        Pillow.init()
    frames = [Pillow.new("RGB", (32, 32), color) for color in ("red", "lime", "blue")]
    try:
        data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    except KeyError:
        pytest.skip(f"this Pillow has no {format}")
    image = loaded(data)
    assert image.pixels.shape == (32, 32, 3)
    assert image.pixels[16, 16, 0] > 240 and image.pixels[16, 16, 1:].max() < 15
    assert image.notes == (f"animated {name}: only its first frame is used",)


def test_gif_transparency():
    picture = Pillow.new("P", (2, 1))
    picture.putpalette([1, 2, 3, 4, 5, 6])
    picture.putpixel((1, 0), 1)
    image = loaded(saved(picture, "GIF", transparency=1))
    assert image.kind == "rgb+alpha"
    assert image.pixels[0, 0].tolist() == [1, 2, 3, 255] and image.pixels[0, 1, 3] == 0


@pytest.mark.parametrize("mode, kind", [("1", "grey"), ("L", "grey"), ("P", "rgb"), ("RGB", "rgb")])
def test_bmp_kinds(mode, kind):
    picture = Pillow.fromarray(made.smooth(17, 23)).convert(mode)
    image = loaded(saved(picture, "BMP"))
    expected = np.asarray(picture.convert("L" if kind == "grey" else "RGB"))
    assert image.kind == kind
    assert np.array_equal(image.pixels.squeeze(), expected)


@pytest.mark.parametrize("top", [1, 100, 255, 1023, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_anymaps_keep_their_depth(top, channels):
    values = np.linspace(0, top, 4 * 5 * channels).astype(int).reshape(4, 5, channels)
    raw = values.astype(">u2" if top > 255 else "u1").tobytes()
    head = b"P%d # words\n5 4\n%d\n" % (5 if channels == 1 else 6, top)
    image = loaded(head + raw)
    full = 255 if top < 256 else 65535
    assert image.pixels.dtype == (np.uint8 if top < 256 else np.uint16)
    assert np.array_equal(image.pixels, np.floor(values * full / top + 0.5))


@pytest.mark.parametrize("order, scale", [("<", b"-1.0"), (">", b"1.0")])
def test_float_maps_start_at_the_bottom(order, scale):
    values = made.noise("float32", 3, (4, 5))
    image = loaded(b"PF\n5 4\n" + scale + b"\n" + values[::-1].astype(order + "f4").tobytes())
    assert np.array_equal(image.pixels, values)


def test_plain_anymaps():
    assert loaded(b"P1\n2 1\n1 0\n").pixels[0, :, 0].tolist() == [0, 255]
    assert loaded(b"P2\n2 1\n255\n7 9\n").pixels[0, :, 0].tolist() == [7, 9]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_jpeg_xl_of_odd_depth_is_stretched(bits):
    values = np.linspace(0, 2**bits - 1, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    data = jxl._labelled_srgb(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits))
    image = loaded(data)
    assert image.bits == bits and image.notes == ()
    expected = np.floor(values * (65535 / (2**bits - 1)) + 0.5)
    assert np.abs(image.pixels - expected).max() <= 1
    assert image.pixels.max() == 65535


def test_linear_jpeg_xl_is_shown_as_others_show_it():
    light = np.linspace(0, 65535, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    image = loaded(imagecodecs.jpegxl_encode(light, lossless=True))
    value = light / 65535
    curved = np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    assert np.abs(image.pixels / 65535 - curved).max() < 2e-5
    assert "linear" in image.notes[0]


def test_animated_jpeg_xl():
    frames = made.noise("uint8", 3, (2, 20)).reshape(1, 2, 20, 3).repeat(3, 0)
    image = loaded(imagecodecs.jpegxl_encode(frames, lossless=True))
    assert np.array_equal(image.pixels, frames[0]) and "first frame" in image.notes[0]


@pytest.mark.parametrize("size", [(8, 8), (256, 256), (300, 200), (90, 160), (1, 5000), (3, 2),
                                  (70000, 1)])
def test_jpeg_xl_headers_state_the_size(size):
    pixels = np.zeros((*size, 1), np.uint8)
    head = jxl.header(imagecodecs.jpegxl_encode(pixels, lossless=True)[:512])
    assert (head.height, head.width) == size and head.space == "srgb"
