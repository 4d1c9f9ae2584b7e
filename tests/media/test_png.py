"""PNG forms that other programs write."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import made
import numpy as np
import pytest

from restore_cli.errors import InputError
from restore_cli.media import samples
from restore_cli.media.images import Image, read, write

RANDOM = np.random.default_rng(1)


def loaded(data):
    return read(io.BytesIO(data))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_become_rgb_or_rgba(depth, transparent):
    palette = RANDOM.integers(0, 256, (2 ** depth, 3), np.uint8)
    opacity = RANDOM.integers(0, 256, min(2 ** depth, 2), np.uint8)
    index = RANDOM.integers(0, 2 ** depth, (3, 13))
    bits = np.zeros((3, (13 * depth + 7) // 8 * 8), np.uint8)
    for bit in range(depth):
        bits[:, bit:13 * depth:depth] = index >> (depth - 1 - bit) & 1
    raw = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    before = made.chunk(b"PLTE", palette.tobytes())
    if transparent:
        before += made.chunk(b"tRNS", opacity.tobytes())
    image = loaded(made.png(13, 3, raw, depth=depth, color=3, before=before))
    assert image.bits == 8 and image.kind == ("rgb+alpha" if transparent else "rgb")
    assert np.array_equal(image.pixels[:, :, :3], palette[index])
    if transparent:
        full = np.concatenate((opacity, np.full(2 ** depth, 255, np.uint8)))
        assert np.array_equal(image.alpha, full[index])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_is_stretched(depth):
    row = np.arange(2 ** depth)
    bits = ((row[:, None] >> np.arange(depth)[::-1]) & 1).reshape(-1)
    image = loaded(made.png(2 ** depth, 1, b"\0" + np.packbits(bits).tobytes(),
                            depth=depth, color=0))
    assert image.kind == "grey" and image.bits == depth
    assert np.array_equal(image.pixels[0, :, 0], row * 255 // (2 ** depth - 1))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color, channels", [(0, 1), (2, 3)])
def test_a_transparent_colour_becomes_alpha(depth, color, channels):
    pixels = made.noise(f"uint{depth}", channels, (4, 5))
    key = struct.pack(f">{channels}H", *pixels[1, 2].tolist())
    raw = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    image = loaded(made.png(5, 4, raw, depth=depth, color=color,
                            before=made.chunk(b"tRNS", key)))
    assert np.array_equal(image.color, pixels)
    assert image.alpha[1, 2] == 0 and image.alpha[0, 0] == 2 ** depth - 1


@pytest.mark.parametrize("dtype, color, channels", [
    ("uint8", 0, 1), ("uint8", 2, 3), ("uint8", 4, 2), ("uint8", 6, 4), ("uint16", 2, 3)])
def test_interlaced_files_are_read(dtype, color, channels):
    pixels = made.noise(dtype, channels, (11, 13))
    depth = 8 * pixels.itemsize
    image = loaded(made.png(13, 11, made.adam7(pixels), depth=depth, color=color, interlaced=1))
    assert np.array_equal(image.pixels, pixels)


def test_the_first_frame_of_an_animation_is_used_with_a_note():
    from PIL import Image as Pillow

    frames = [Pillow.fromarray(made.noise("uint8", 3, seed=seed)) for seed in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    image = loaded(stream.getvalue())
    assert np.array_equal(image.pixels, np.asarray(frames[0]))
    assert "first frame" in image.notes[0]


def test_old_text_profiles_are_read_as_exif():
    block = made.exif()
    words = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    body = b"Raw profile type exif\0\0" + zlib.compress(words)
    image = loaded(made.png(1, 1, b"\0abc", before=made.chunk(b"zTXt", body)))
    assert image.metadata.exif == block[6:]


def test_a_damaged_remark_does_not_stop_the_picture():
    broken = bytearray(made.chunk(b"tEXt", b"Comment\0words"))
    broken[-1] ^= 1
    for before in (bytes(broken), made.chunk(b"iCCP", b"no end"), made.chunk(b"pHYs", b"12"),
                   made.chunk(b"iTXt", b"key\0\1\0\0\0not deflated")):
        assert loaded(made.png(1, 1, b"\0abc", before=before)).pixels.tolist() == [
            [list(b"abc")]]


def test_an_inflating_remark_is_not_unpacked():
    body = b"key\0\0" + zlib.compress(bytes(200 << 20), 9)
    image = loaded(made.png(1, 1, b"\0abc", before=made.chunk(b"zTXt", body)))
    assert image.metadata.text == {}


def test_a_missing_end_marker_alone_is_a_note():
    image = loaded(made.png(1, 1, b"\0abc")[:-12])
    assert image.pixels.tolist() == [[list(b"abc")]] and "end marker" in image.notes[0]


@pytest.mark.parametrize("depth, color", [(3, 0), (16, 3), (4, 2), (8, 5), (8, 7)])
def test_impossible_headers_are_refused(depth, color):
    with pytest.raises(InputError, match="header"):
        loaded(made.png(1, 1, b"\0abcd", depth=depth, color=color))


def written(pixels):
    """The bytes of a PNG, and those of its unpacked image data."""
    stream = io.BytesIO()
    write(stream, Image(pixels), format="PNG")
    data, at, packed = stream.getvalue(), 8, b""
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        if data[at + 4:at + 8] == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += length + 12
    return data, zlib.decompress(packed)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_window_of_rows_takes_the_filter_that_fits_it(monkeypatch, dtype):
    from PIL import Image as Pillow

    from restore_cli.media import png

    random = np.random.default_rng(0)
    equal_rows = np.tile(random.integers(0, 256, (1, 100, 3), np.uint8), (40, 1, 1))
    grain = random.integers(100, 140, (40, 100, 3), np.uint8)
    pixels = samples.to_depth(np.concatenate([equal_rows, grain]), dtype)
    monkeypatch.setattr(png, "_IDAT", 20 * 100 * 3)
    data, plain = written(pixels)
    numbers = np.frombuffer(plain, np.uint8).reshape(80, -1)[:, 0]
    assert set(numbers[:40]) == {2} and set(numbers[40:]) == {3}
    assert np.array_equal(loaded(data).pixels, pixels)
    if dtype == "uint8":
        assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_files_are_packed_without_isal_too(monkeypatch, dtype):
    pixels = samples.to_depth(made.smooth(40, 50, 3), dtype)
    for name in ("isal", "isal.isal_zlib"):
        monkeypatch.setitem(sys.modules, name, None)
    data, _ = written(pixels)
    assert np.array_equal(loaded(data).pixels, pixels) and len(data) < pixels.nbytes
