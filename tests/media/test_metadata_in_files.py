"""What travels beside the pixels survives in every format that has a place for it."""

from __future__ import annotations

import io
from dataclasses import replace

import made
import numpy as np
import pytest
from PIL import Image as Pillow

from restore_cli.media import exif, ifd, profiles
from restore_cli.media.images import Image, Metadata, read, write


def through(metadata, format, pixels=None):
    stream = io.BytesIO()
    pixels = made.smooth(17, 23) if pixels is None else pixels
    notes = write(stream, Image(pixels, metadata=metadata), format=format, quality=100)
    return read(io.BytesIO(stream.getvalue())), notes, stream.getvalue()


def camera(block):
    """What an EXIF block says, for comparison whatever its layout."""
    main = ifd.parse(block)
    inner, place = main.children[ifd.EXIF], main.children[ifd.GPS]
    return (main.text(0x010F), main.text(0x0110), inner.numbers(0x829A),
            inner.text(0x9003), inner.entries[0x927C].value, place.numbers(2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_keeps_everything(dtype):
    before = made.metadata(chunks={"gAMA": (45455).to_bytes(4, "big")})
    after = through(before, "PNG", made.noise(dtype, 3))[0].metadata
    assert after == before


def test_png_keeps_colour_statements_without_a_profile():
    statements = {"cICP": bytes((12, 13, 0, 1)), "gAMA": (45455).to_bytes(4, "big"),
                  "cHRM": bytes(32), "sRGB": b"\0"}
    assert through(Metadata(chunks=statements), "PNG")[0].metadata.chunks == statements


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP", "JXL"])
def test_exif_xmp_and_resolution_survive(format):
    before = made.metadata()
    after = through(before, format)[0].metadata
    assert camera(after.exif) == camera(before.exif)
    assert after.xmp == before.xmp
    # The block states 72 dpi; formats with a place of their own state the truth there.
    assert after.dpi == (before.dpi if format in ("JPEG", "TIFF") else (72, 72))


@pytest.mark.parametrize("format", ["WEBP", "JXL", "PNG", "JPEG", "TIFF", "BMP"])
def test_resolution_survives_without_exif(format):
    assert through(Metadata(dpi=(300.0, 200.0)), format)[0].metadata.dpi == (300, 200)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_survive_byte_for_byte(format):
    icc = made.metadata().icc + bytes(200000)  # more than one JPEG segment
    assert through(Metadata(icc=icc), format)[0].metadata.icc == icc


def test_jpeg_xl_converts_what_it_cannot_label():
    linear = profiles.srgb()
    steep = _with_gamma_one(linear)
    pixels = made.smooth(17, 23)
    back, notes, _ = through(Metadata(icc=steep), "JXL", pixels)
    assert "converted to sRGB" in notes[0] and back.metadata.icc is None
    expected = profiles.to_srgb(pixels, steep)
    assert np.array_equal(back.pixels, expected)
    assert np.abs(expected.astype(int) - pixels).max() > 30
    assert through(Metadata(icc=linear), "JXL", pixels)[1] == ()


def _with_gamma_one(icc):
    """A profile with sRGB's primaries and no curve."""
    import imagecodecs

    return bytes(imagecodecs.cms_profile("rgb", gamma=1.0, primaries=[
        0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1], whitepoint=[0.3127, 0.3290, 1]))


@pytest.mark.parametrize("format", ["TIFF", "PNG"])
def test_words_survive_in_any_script(format):
    words = {"Description": "Köln 日本", "Author": "ÅÄÖ", "Copyright": "© me", "Title": "t"}
    assert through(Metadata(text=words), format)[0].metadata.text == words


def test_jpeg_keeps_a_comment():
    assert through(Metadata(text={"Comment": "grüß"}), "JPEG")[0].metadata.text == {
        "Comment": "grüß"}


def test_exif_too_large_for_jpeg_is_left_out_with_a_note():
    main = ifd.Directory("<", {0x010E: ifd.Entry(2, 70000, b"x" * 69999 + b"\0")})
    block = b"II*\0\x08\0\0\0" + ifd.pack(main, 8)
    back, notes, _ = through(Metadata(exif=block), "JPEG")
    assert "EXIF" in notes[0] and back.metadata.exif is None
    assert through(Metadata(exif=block), "PNG")[0].metadata.exif == block


def test_other_readers_find_it_too():
    before = made.metadata()
    for format in ("PNG", "JPEG", "TIFF", "WEBP"):
        with Pillow.open(io.BytesIO(through(before, format)[2])) as picture:
            assert picture.info["icc_profile"] == before.icc
            found = picture.getexif()
            assert found[0x010F] == "Maker"
            assert found.get_ifd(0x8769)[0x829A] == 0.01
            assert found.get_ifd(0x8769)[0x927C] == b"note" * 9
            assert found.get_ifd(0x8825)[1] == "N"
            assert found.get(0x0112, 1) == 1


@pytest.mark.parametrize("order", "<>")
def test_exif_of_either_byte_order_fits_into_a_tiff(order):
    main = ifd.reordered(ifd.parse(made.exif()[6:]), order)
    block = (b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08") + ifd.pack(main, 8)
    after = through(replace(made.metadata(), exif=block), "TIFF")[0].metadata.exif
    assert camera(after) == camera(block)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_orientation_is_applied_and_reset(tmp_path, orientation, format):
    stored = made.smooth(24, 40)
    path = tmp_path / "x"
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    if format == "WEBP":
        options = {"lossless": True, "exact": True}
    Pillow.fromarray(stored).save(path, format, exif=made.exif(orientation, (40, 24)),
                                  dpi=(100, 200), **options)
    back = read(path)
    from restore_cli.media import samples

    expected = samples.turn(stored, orientation)
    assert back.pixels.shape == expected.shape
    assert np.abs(back.pixels.astype(int) - expected).max() <= (3 if format == "JPEG" else 0)
    assert back.pixels.flags.c_contiguous
    main = ifd.parse(back.metadata.exif)
    assert main.numbers(0x0112) in ([1], [])
    inner = main.children[ifd.EXIF]
    assert (inner.numbers(0xA002)[0], inner.numbers(0xA003)[0]) == expected.shape[1::-1]
    if format in ("PNG", "JPEG"):
        assert back.metadata.dpi == ((200, 100) if orientation >= 5 else (100, 200))
    again = io.BytesIO()
    write(again, back, format="PNG")
    assert np.array_equal(read(io.BytesIO(again.getvalue())).pixels, back.pixels)


def test_a_thumbnail_does_not_outlive_its_picture():
    stream = io.BytesIO()
    Pillow.fromarray(made.smooth(17, 23)).save(stream, "JPEG",
                                               exif=made.exif(3, thumbnail=True))
    back = read(io.BytesIO(stream.getvalue()))
    assert b"thumb" in stream.getvalue() and b"thumb" not in back.metadata.exif
    assert exif.upright(back.metadata.exif)[1] == 1


def test_resized_pictures_keep_their_printed_size():
    image = Image(made.smooth(17, 23), metadata=made.metadata())
    bigger = image.with_pixels(made.smooth(34, 69))
    assert bigger.metadata.dpi == (900, 300)
    inner = ifd.parse(bigger.metadata.exif).children[ifd.EXIF]
    assert (inner.numbers(0xA002), inner.numbers(0xA003)) == ([69], [34])
