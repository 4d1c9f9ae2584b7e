"""What a film is, read from its headers and first frame."""

from __future__ import annotations

from fractions import Fraction

import made_films as made
import numpy as np
import pytest

from restore_cli.errors import InputError
from restore_cli.media import images, video_probe
from restore_cli.media.video import probe


def test_streams_chapters_and_tags(tmp_path):
    info = probe(made.rich(tmp_path))
    assert [(one.kind, one.codec, one.tags.get("language")) for one in info.streams] == [
        ("video", "h264", None), ("audio", "aac", "eng"), ("audio", "aac", "fra"),
        ("subtitle", "subrip", "deu")]
    assert [(one.start, one.end, one.tags["title"]) for one in info.chapters] == [
        (0, Fraction(2, 5), "First"), (Fraction(2, 5), 1, "Second")]
    assert info.tags["title"] == "A film"
    assert info.stream.index == info.index == 0
    assert (info.width, info.height, info.rate, info.bits, info.chroma) == (64, 48, 10, 8, "420")


def test_times_and_count(tmp_path):
    info = probe(made.film(tmp_path / "a.mp4", rate="30000/1001"))
    assert info.rate == Fraction(30000, 1001)
    assert info.frame_count == 30
    assert info.duration == Fraction(30 * 1001, 30000)
    assert 1 / info.rate % info.time_base == 0


def test_the_default_video_stream_is_the_one_described(tmp_path):
    path = tmp_path / "two.mkv"
    made.ffmpeg(*made.picture(size="32x32", rate="25"), *made.picture(), "-map", "0", "-map", "1",
                "-c:v", "ffv1", "-disposition:v:0", "0", "-disposition:v:1", "default", path)
    info = probe(path)
    assert (info.index, info.width, info.height, info.rate) == (1, 64, 48, 10)


@pytest.mark.parametrize("angle, size", [(0, (64, 48)), (90, (48, 64)), (180, (64, 48)),
                                         (270, (48, 64))])
def test_rotation_and_aspect(tmp_path, angle, size):
    plain = made.film(tmp_path / "plain.mp4", "-vf", "setsar=4/3", "-pix_fmt", "yuv420p")
    path = tmp_path / "turned.mp4"
    made.ffmpeg("-display_rotation", -angle, "-i", plain, "-c", "copy", path)
    info = probe(path)
    assert info.rotation == angle
    assert (info.width, info.height) == size
    assert info.sample_aspect == (Fraction(4, 3) if angle % 180 == 0 else Fraction(3, 4))


def test_a_turn_by_an_odd_angle_is_left_out_and_told(tmp_path):
    path = tmp_path / "turned.mp4"
    made.ffmpeg("-display_rotation", 30, "-i", made.film(tmp_path / "a.mp4"), "-c", "copy", path)
    info = probe(path)
    assert (info.rotation, info.width, info.height) == (0, 64, 48)
    assert any("quarter turn" in note for note in info.notes)


def test_depth_chroma_and_colour_come_from_the_frames(tmp_path):
    path = made.film(tmp_path / "deep.mkv", "-vf",
                     "setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:"
                     "color_trc=smpte2084,format=yuv422p10le", "-c:v", "ffv1")
    info = probe(path)
    assert (info.bits, info.chroma, info.pixel_format) == (10, "422", "yuv422p10le")
    colour = info.colour
    assert (colour.range, colour.matrix, colour.primaries, colour.transfer) == (1, 9, 9, 16)


@pytest.mark.parametrize("size, assumed", [("64x48", 6), ("720x576", 6), ("1280x720", 1)])
def test_an_unspecified_matrix_is_taken_as_players_take_it(tmp_path, size, assumed):
    path = made.film(tmp_path / "plain.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size=size,
                     seconds="0.1")
    colour = probe(path).colour
    assert (colour.matrix, colour.used) == (2, assumed)


def test_interlaced_and_transparent_films_say_so(tmp_path):
    path = made.film(tmp_path / "i.mkv", "-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags",
                     "+ilme+ildct")
    assert probe(path).interlaced
    assert any("interlaced" in note for note in probe(path).notes)
    path = made.film(tmp_path / "alpha.mkv", "-c:v", "ffv1", "-pix_fmt", "yuva420p")
    assert any("transparency" in note for note in probe(path).notes)


def test_hdr_light_levels_that_are_not_kept_are_told(tmp_path):
    path = made.film(tmp_path / "hdr.mkv", "-c:v", "libx265", "-preset", "ultrafast",
                     "-x265-params", "max-cll=1000,400:log-level=none:hdr10=1", "-pix_fmt",
                     "yuv420p10le")
    assert any("light levels" in note for note in probe(path).notes)


def test_files_that_are_no_films(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a film at all\n" * 99)
    sound = tmp_path / "sound.m4a"
    made.ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", sound)
    cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
    made.ffmpeg(*made.picture(), "-frames:v", 1, cover)
    made.ffmpeg("-i", sound, "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy",
                "-disposition:v", "attached_pic", song)
    for name, words in (("empty.mp4", "empty"), ("text.mp4", "not a film"),
                        ("sound.m4a", "only sound"), ("song.mp3", "only sound"),
                        ("none.mp4", "no such file"), (".", "folder")):
        with pytest.raises(InputError) as error:
            probe(tmp_path / name)
        assert words in str(error.value), name
        assert "\n" not in str(error.value)


def test_a_film_without_frames(tmp_path):
    path = tmp_path / "none.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48 F10:1 C420jpeg\n")
    with pytest.raises(InputError, match="no frames"):
        probe(path)


def test_a_truncated_mp4(tmp_path):
    data = made.film(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:len(data) * 2 // 3])
    with pytest.raises(InputError, match="truncated"):
        probe(tmp_path / "cut.mp4")


def test_a_name_that_looks_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.film(tmp_path / "a.mkv").rename("concat:-a'%03d.mkv")
    assert probe("concat:-a'%03d.mkv").width == 64


def test_a_film_larger_than_the_limit_is_refused(tmp_path, monkeypatch):
    path = made.film(tmp_path / "a.mkv")
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "100")
    with pytest.raises(InputError, match="megapixels"):
        probe(path)


def test_a_tiff_file_is_a_film_of_one_frame(tmp_path):
    """FFmpeg tells of its Exif data, which not every PyAV knows."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    images.write(tmp_path / "a.tif", images.Image(pixels))
    info = probe(tmp_path / "a.tif")
    assert (info.width, info.height) == (32, 24)


def test_side_data_that_is_not_known_is_told():
    class Frame:
        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    notes = []
    assert video_probe._side_data(Frame(), notes) == {}
    assert len(notes) == 1 and "cannot be read" in notes[0]
