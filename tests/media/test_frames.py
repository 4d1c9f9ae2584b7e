"""Films as pictures in files."""

from __future__ import annotations

from fractions import Fraction

import made
import made_films
import numpy as np
import pytest
from PIL import Image as Pillow

from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.media import images
from restore_cli.media.frames import FrameFolder, FrameWriter, is_pattern, listed, numbered
from restore_cli.media.model import Image
from restore_cli.media.video import Encoder, decode, open_source, open_target


def pictures(folder, names, dtype=np.uint8, channels=3):
    folder.mkdir(exist_ok=True)
    found = []
    for number, name in enumerate(names):
        pixels = made.noise(dtype, channels, (16, 20), seed=number)
        images.write(folder / name, Image(pixels))
        found.append(pixels)
    return found


@pytest.mark.parametrize("pattern, number, name", [
    ("frame_%05d.png", 7, "frame_00007.png"), ("%d.tif", 12, "12.tif"),
    ("a%%b%03d.png", 1234, "a%b1234.png"), ("x%4d.png", 7, "x   7.png")])
def test_patterns(pattern, number, name):
    assert is_pattern(pattern)
    assert numbered(f"folder/{pattern}", number).name == name


@pytest.mark.parametrize("name", ["a.png", "a%%05d.png", "%d_%d.png", "a%s.png", "%05d/a.png"])
def test_names_that_are_no_patterns(name):
    assert not is_pattern(name)


def test_a_folder_in_natural_order(tmp_path):
    expected = pictures(tmp_path / "in", ["f1.png", "f2.png", "f10.png"])
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    source = open_source(tmp_path / "in", rate=Fraction(24000, 1001))
    frames = list(source)
    np.testing.assert_array_equal([one.rgb for one in frames], expected)
    assert [one.index for one in frames] == [0, 1, 2]
    assert frames[2].seconds == Fraction(2 * 1001, 24000)
    assert source.info.frame_count == 3
    assert (source.info.width, source.info.height) == (20, 16)
    assert source.problems == ()


def test_a_pattern_with_a_gap(tmp_path):
    expected = pictures(tmp_path / "in", ["f_0009.png", "f_0010.png", "f_0013.png", "f_7.png"])
    source = open_source(tmp_path / "in" / "f_%04d.png")
    np.testing.assert_array_equal([one.rgb for one in source], expected[:3])
    assert any("2 numbers between 9 and 13" in note for note in source.info.notes)


def test_a_list_and_a_part(tmp_path):
    expected = pictures(tmp_path / "in", ["b.png", "a.png", "c.png"])
    files = [tmp_path / "in" / name for name in ("b.png", "a.png", "c.png")]
    frames = list(open_source(files, start=1, end=3))
    assert [one.index for one in frames] == [1, 2]
    np.testing.assert_array_equal([one.rgb for one in frames], expected[1:])


@pytest.mark.parametrize("dtype, channels", [(np.uint16, 3), (np.uint16, 1), (np.uint8, 1),
                                             (np.uint8, 4)])
def test_depths_and_channels(tmp_path, dtype, channels):
    expected = pictures(tmp_path / "in", ["a.png"], dtype, channels)[0]
    source = FrameFolder(tmp_path / "in")
    frame = next(source)
    assert frame.rgb.shape == (16, 20, 3)
    assert frame.rgb.dtype == dtype
    assert source.info.deep == (dtype == np.uint16)
    np.testing.assert_array_equal(frame.rgb, expected[:, :, :3] if channels > 1
                                  else expected.repeat(3, 2))
    assert any("transparency" in note for note in source.info.notes) == (channels == 4)


def test_damage_and_other_sizes_name_the_file(tmp_path):
    pictures(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (tmp_path / "in" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    source = FrameFolder(tmp_path / "in")
    next(source)
    with pytest.raises(InputError, match="2.png"):
        next(source)
    Pillow.new("RGB", (5, 5)).save(tmp_path / "in" / "3.png")
    with pytest.raises(InputError, match="is 5x5, the first frame is 20x16"):
        list(FrameFolder(tmp_path / "in", start=2))


def test_nothing_to_read(tmp_path):
    for source, words in ((tmp_path, "no pictures"), (tmp_path / "f%d.png", "no file matches"),
                          (tmp_path / "none" / "f%d.png", "no such folder"), ([], "no frames")):
        with pytest.raises(InputError, match=words):
            listed(source)


def test_frames_become_a_film_and_a_film_frames(tmp_path):
    film = made_films.film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    source = open_source(film)
    with open_target(tmp_path / "frames", source.info, (64, 48)) as writer:
        for frame in source:
            writer.write(frame.rgb, frame.pts, frame.duration)
    names = sorted(one.name for one in (tmp_path / "frames").iterdir())
    assert names == [f"frame_{n:05d}.png" for n in range(1, 11)]
    source = open_source(tmp_path / "frames" / "frame_%05d.png", rate=Fraction(10))
    target = tmp_path / "b.mov"
    with open_target(target, source.info, (64, 48), codec="ffv1",
                     pixel_format="bgr0") as encoder:
        for frame in source:
            encoder.write(frame.rgb, frame.pts, frame.duration)
    assert isinstance(encoder, Encoder)
    np.testing.assert_array_equal(made_films.decoded(target), made_films.decoded(film))
    assert made_films.times(target) == [Fraction(n, 10) for n in range(10)]


def test_a_film_of_pictures_has_colours_that_players_know(tmp_path):
    pictures(tmp_path / "in", ["1.png", "2.png"])
    source = open_source(tmp_path / "in")
    with open_target(tmp_path / "a.mp4", source.info, (20, 16)) as encoder:
        for frame in source:
            encoder.write(frame.rgb, frame.pts, frame.duration)
    info = decode(tmp_path / "a.mp4").info
    assert (info.pixel_format, info.colour.matrix, info.colour.primaries) == ("yuv420p", 1, 1)


def test_written_patterns_names_and_depth(tmp_path):
    deep = made.noise(np.uint16, 3, (16, 20))
    with FrameWriter(tmp_path / "new" / "x%03d.tif", first=0) as writer:
        writer.write(deep)
        writer.write(deep)
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["x000.tif", "x001.tif"]
    np.testing.assert_array_equal(images.read(tmp_path / "new" / "x001.tif").pixels, deep)
    with FrameWriter(tmp_path / "new", names=lambda number: f"n{number}.jpg") as writer:
        writer.write(deep)
        writer.write(deep)
    assert (tmp_path / "new" / "n1.jpg").is_file()
    assert len(writer.notes) == 1  # told once, not for every frame


def test_written_pictures_replace_nothing(tmp_path):
    writer = FrameWriter(tmp_path / "f%d.png")
    (tmp_path / "f1.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        writer.write(made.noise(np.uint8, 3))
    assert (tmp_path / "f1.png").read_bytes() == b"precious"
    FrameWriter(tmp_path / "f%d.png", overwrite=True).write(made.noise(np.uint8, 3))
    assert images.read(tmp_path / "f1.png").width == 23
    with pytest.raises(OutputError, match="a file, not a folder"):
        FrameWriter(tmp_path / "f1.png")
    with pytest.raises(UsageError, match="names no format"):
        FrameWriter(tmp_path / "f%d.xyz")
