"""Frames of a film: pixels, times, damage."""

from __future__ import annotations

from fractions import Fraction

import av
import made_films as made
import numpy as np
import pytest

from restore_cli.errors import InputError
from restore_cli.media.video import decode

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "8", "-bf", "2")


def test_rgb_frames_come_exactly(tmp_path):
    path = made.film(tmp_path / "rgb.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    frames = list(decode(path))
    np.testing.assert_array_equal([one.rgb for one in frames], made.decoded(path))
    assert [one.index for one in frames] == list(range(10))
    assert all(one.rgb.dtype == np.uint8 and one.rgb.flags.c_contiguous for one in frames)


def test_deep_frames_come_with_all_their_bits(tmp_path):
    path = made.film(tmp_path / "deep.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp10le")
    frame = next(decode(path))
    expected = made.decoded(path, "rgb48le")[0]
    assert frame.rgb.dtype == np.uint16
    assert np.abs(frame.rgb.astype(int) - expected).max() <= 64  # one step of 10 bits
    assert len(np.unique(frame.rgb)) > 256


@pytest.mark.parametrize("matrix, kr, kb", [("smpte170m", .299, .114), ("bt709", .2126, .0722),
                                            ("bt2020nc", .2627, .0593)])
@pytest.mark.parametrize("full", [False, True])
def test_yuv_is_converted_with_the_stated_matrix_and_range(tmp_path, matrix, kr, kb, full):
    luma, blue, red = 120, 90, 170
    raw = np.repeat(np.array([luma, blue, red], np.uint8), 16 * 16).tobytes()
    path = tmp_path / "flat.mkv"
    made.ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", "16x16", "-i", "-", "-vf",
                f"setparams=colorspace={matrix}:range={'pc' if full else 'tv'}", "-c:v", "ffv1",
                path, data=raw)
    y = luma / 255 if full else (luma - 16) / 219
    b, r = ((one - 128) / (255 if full else 224) for one in (blue, red))
    expected = np.array([y + 2 * (1 - kr) * r, 0, y + 2 * (1 - kb) * b])
    expected[1] = (y - kr * expected[0] - kb * expected[2]) / (1 - kr - kb)
    pixel = next(decode(path)).rgb[8, 8]
    np.testing.assert_allclose(pixel, np.clip(expected, 0, 1) * 255, atol=1.01)


def test_variable_times_are_exact(tmp_path):
    path = tmp_path / "uneven.mp4"
    made.ffmpeg(*made.picture(), "-vf", "settb=1/90000,setpts='N*9000+mod(N\\,3)*1234'",
                "-fps_mode", "passthrough", "-enc_time_base", "1/90000",
                "-video_track_timescale", 90000, *X264, path)
    frames = list(decode(path))
    assert [one.pts for one in frames] == [n * 9000 + n % 3 * 1234 for n in range(10)]
    assert frames[0].time_base == Fraction(1, 90000)
    assert [one.seconds for one in frames] == made.times(path)
    assert frames[0].duration == 9000 + 1234


@pytest.mark.parametrize("angle, turns", [(90, 3), (180, 2), (270, 1)])
def test_rotation_is_applied_once(tmp_path, angle, turns):
    plain = made.film(tmp_path / "plain.mp4", *X264)
    path = tmp_path / "turned.mp4"
    made.ffmpeg("-display_rotation", -angle, "-i", plain, "-c", "copy", path)
    stored, shown = next(decode(plain)).rgb, next(decode(path)).rgb
    np.testing.assert_array_equal(shown, np.rot90(stored, turns))


@pytest.mark.parametrize("options, expected", [
    (["-display_hflip"], lambda one: one[:, ::-1]),
    (["-display_vflip"], lambda one: one[::-1]),
])
def test_mirrored_films(tmp_path, options, expected):
    plain = made.film(tmp_path / "plain.mp4", *X264)
    path = tmp_path / "mirrored.mp4"
    made.ffmpeg("-display_rotation", 0, *options, "-i", plain, "-c", "copy", path)
    np.testing.assert_array_equal(next(decode(path)).rgb, expected(next(decode(plain)).rgb))


def test_all_turns_agree_with_ffmpeg(tmp_path):
    plain = made.film(tmp_path / "plain.mkv", "-c:v", "libx264rgb", "-qp", "0", "-bf", "0")
    for number, options in enumerate([["-display_rotation", "90"],
                                      ["-display_rotation", "-90", "-display_hflip"],
                                      ["-display_rotation", "90", "-display_vflip"]]):
        path = tmp_path / f"turned{number}.mp4"
        made.ffmpeg(*options, "-i", plain, "-c", "copy", path)
        data = made.ffmpeg("-i", path, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
        frame = next(decode(path)).rgb
        np.testing.assert_array_equal(frame.ravel(), np.frombuffer(data, np.uint8))


def test_a_part_of_the_film(tmp_path):
    path = made.film(tmp_path / "a.mp4", *X264, seconds="3")
    whole = list(decode(path))
    part = list(decode(path, start=11, end=14))
    assert [one.index for one in part] == [11, 12, 13]
    for one, same in zip(part, whole[11:14]):
        assert one.pts == same.pts
        np.testing.assert_array_equal(one.rgb, same.rgb)


@pytest.mark.parametrize("name, options", [
    ("a.mp4", X264),
    ("a.mkv", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
               "keyint=8:bframes=3:open-gop=1:log-level=none", "-pix_fmt", "yuv420p")),
    ("a.webm", ("-c:v", "libvpx-vp9", "-g", "8", "-deadline", "realtime", "-pix_fmt",
                "yuv420p")),
    ("a.ts", X264),
    ("b.mkv", ("-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=8", "-pix_fmt",
               "yuv420p")),
])
def test_starting_at_a_known_time_gives_the_same_frames(tmp_path, name, options):
    path = made.film(tmp_path / name, *options, seconds="3")
    whole = list(decode(path))
    for start in (1, 8, 9, 15, 29):
        part = list(decode(path, start=start, first=whole[start].pts, end=start + 2))
        assert [(one.index, one.pts) for one in part] == [
            (one.index, one.pts) for one in whole[start:start + 2]]
        for one, same in zip(part, whole[start:]):
            np.testing.assert_array_equal(one.rgb, same.rgb)


def test_going_on_takes_the_place_of_what_was_asked_for(tmp_path):
    path = made.film(tmp_path / "a.mp4", *X264, seconds="3")
    whole = list(decode(path))
    film = decode(path, start=3, end=20)
    next(film)
    for start in (17, 2):
        film.go_on(start, whole[start].pts)
        assert [(one.index, one.pts) for one in film] == [
            (one.index, one.pts) for one in whole[start:20]]
    with open(path, "rb") as stream, pytest.raises(ValueError, match="pipe"):
        decode(stream).go_on(2)


def test_a_wrong_known_time_falls_back_to_counting(tmp_path):
    path = made.film(tmp_path / "a.mp4", *X264)
    whole = list(decode(path))
    part = list(decode(path, start=4, first=whole[4].pts + 1))
    assert [one.index for one in part] == [4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(part[0].rgb, whole[4].rgb)


def _damage(path, numbers, keep, fill):
    with av.open(str(path)) as container:
        places = [(one.pos, one.size) for one in container.demux(video=0) if one.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        position, size = places[number]
        data[position + keep:position + size] = fill(size - keep)
    path.write_bytes(data)


@pytest.mark.parametrize("threads", [1, 3])
def test_damaged_frames_are_patched_up_and_told(tmp_path, threads):
    path = made.film(tmp_path / "a.mp4", *X264, seconds="3", size="320x240")
    clean = list(decode(path))
    noise = np.random.default_rng(0)
    _damage(path, [13], 20, noise.bytes)
    film = decode(path, threads=threads)
    frames = list(film)
    assert [one.pts for one in frames] == [one.pts for one in clean]
    damaged = [one.index for one in frames if one.corrupt]
    assert damaged
    assert f"{len(damaged)} damaged" in film.problems[0]
    assert str(damaged[0]) in film.problems[0]
    for one, same in zip(frames[:8] + frames[24:], clean[:8] + clean[24:]):
        np.testing.assert_array_equal(one.rgb, same.rgb)


def test_packets_that_cannot_be_decoded_are_told(tmp_path):
    path = made.film(tmp_path / "a.mp4", *X264, seconds="3", size="320x240")
    _damage(path, [13], 0, lambda size: b"\xff" * size)
    film = decode(path)
    frames = list(film)
    assert len(frames) == 29
    assert "1 packets could not be decoded" in film.problems[0]
    assert len(film.problems) == 1


def test_a_file_that_ends_early_says_so(tmp_path):
    path = made.film(tmp_path / "a.mp4", *X264, "-movflags", "+faststart", seconds="3")
    path.write_bytes(path.read_bytes()[:-path.stat().st_size // 3])
    film = decode(path)
    count = len(list(film))
    assert 0 < count < 30
    assert f"{count} of 30" in film.problems[-1]


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    for number, size in enumerate(("64x48", "96x80")):
        made.film(tmp_path / f"{number}.ts", *X264, size=size)
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join((tmp_path / f"{n}.ts").read_bytes() for n in (0, 1)))
    film = decode(path)
    frames = list(film)
    assert len(frames) == 20
    assert {one.rgb.shape for one in frames} == {(48, 64, 3)}
    assert all(later.pts > one.pts for one, later in zip(frames, frames[1:]))
    assert any("10 frames of another size" in one for one in film.problems)
    assert film.mended  # the second part's times begin anew


def test_a_stream_without_times_gets_some(tmp_path):
    path = made.film(tmp_path / "a.h264", *X264)
    frames = list(decode(path))
    assert len(frames) == 10
    assert all(later.pts > one.pts for one, later in zip(frames, frames[1:]))


def test_a_closed_decoder_gives_nothing_more(tmp_path):
    with decode(made.film(tmp_path / "a.mp4")) as film:
        next(film)
    assert list(film) == []


def test_a_film_that_vanishes_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        decode(tmp_path / "none.mkv")
