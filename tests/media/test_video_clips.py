"""Real films in and out: streams, times and rotation as another program sees them."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction

import av
import made_films as made
import numpy as np
import pytest

from restore_cli.media.video import Encoder, choose, decode, join, probe, write_segment
from restore_cli.media.video_ffmpeg import executable, scale_has

# Name: frames, width and height as shown, rotation, bits, number of streams.
CLIPS = {
    "carphone_nonsquare_sar.mp4": (120, 176, 144, 0, 8, 1),
    "hevc_10bit.mp4": (30, 200, 200, 0, 10, 1),
    "nasa_multi_stream.mp4": (390, 480, 270, 0, 8, 6),
    "rotated_0.mov": (3, 568, 320, 0, 8, 1),
    "rotated_90.mov": (3, 320, 568, 90, 8, 1),
    "rotated_180.mov": (3, 568, 320, 180, 8, 1),
    "rotated_270.mov": (3, 320, 568, 270, 8, 1),
    "tiny_64x64_5frames.mp4": (5, 64, 64, 0, 8, 1),
    "vfr_audio_first.mp4": (68, 270, 480, 0, 8, 2),
    "vp8_vorbis.webm": (24, 1280, 720, 0, 8, 2),
}


@pytest.fixture(params=CLIPS)
def clip(request, shared_data):
    path = shared_data / "video" / "clips" / request.param
    if not path.is_file():
        pytest.skip(f"no {request.param}")
    return path


def test_what_it_is(clip):
    frames, width, height, rotation, bits, streams = CLIPS[clip.name]
    info = probe(clip)
    assert (info.width, info.height, info.rotation, info.bits) == (width, height, rotation, bits)
    assert len(info.streams) == streams
    assert info.frame_count in (frames, None)
    assert info.notes == ()
    film = decode(clip)
    times = [frame.seconds for frame in film]
    assert len(times) == frames
    assert film.problems == ()
    assert times == made.times(clip, info.index)


def test_the_picture_is_ffmpegs(clip):
    """Pixel for pixel, once ffmpeg is told where H.264 and its like keep their chroma."""
    if not scale_has("in_chroma_loc"):
        pytest.skip("this ffmpeg cannot be told")
    film = decode(clip, end=1)
    info, frame = film.info, next(film)
    data = made.ffmpeg("-noautorotate", "-i", clip, "-map", f"0:{info.index}", "-frames:v", 1,
                       "-vf", "scale=in_chroma_loc=left:flags=bicubic+accurate_rnd+full_chroma_int+"
                       "full_chroma_inp", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    stored = (info.height, info.width) if info.turn[0] else (info.width, info.height)
    other = np.rot90(np.frombuffer(data, np.uint8).reshape(*stored, 3), -info.rotation // 90)
    mine = frame.rgb / 257 if info.deep else frame.rgb.astype(float)
    assert np.abs(mine - other).max() <= 2


def _shown(path):
    """What the ffmpeg program prints about the streams of a file."""
    done = subprocess.run([executable(), "-hide_banner", "-i", str(path)], capture_output=True)
    return [line for line in done.stderr.decode("utf-8", "replace").splitlines()
            if re.search(r"Stream #0:\d|rotation of", line)]


def test_through_and_through(clip, tmp_path):
    """In segments and joined, at twice the size where that is quick."""
    frames, width, height, _, bits, _ = CLIPS[clip.name]
    webm = clip.suffix == ".webm"
    info = probe(clip)
    codec = "vp9" if webm else "x264"
    fast = ("-deadline", "realtime", "-cpu-used", "8") if webm else ("-preset", "ultrafast",
                                                                      "-bf", "2")
    encoding, notes = choose(info, width, height, codec=codec, arguments=fast)
    times = [int(one / info.time_base) for one in made.times(clip, info.index)]
    cuts = [0, frames // 3 or 1, frames * 2 // 3 or 2, frames]
    parts = [write_segment(tmp_path / f"{first}.mov" if not webm else tmp_path / f"{first}.mp4",
                           decode(clip, start=first, end=last, first=times[first]), encoding)
             for first, last in zip(cuts, cuts[1:])]
    target = tmp_path / f"out{clip.suffix}"
    notes += join(parts, target, encoding, info)
    assert notes == ()
    assert made.times(target) == made.times(clip, info.index)
    before, after = info.streams, probe(target).streams
    assert sorted((one.kind, one.codec) for one in before if one.index != info.index) == sorted(
        (one.kind, one.codec) for one in after[1:])
    with av.open(str(target)) as container, av.open(str(clip)) as source:
        stream, old = container.streams.video[0], source.streams[info.index]
        frame = next(container.decode(stream))
        assert (frame.width, frame.height, frame.rotation) == (width, height, 0)
        assert frame.format.components[0].bits == bits
        if not webm:
            assert stream.duration * stream.time_base == old.duration * old.time_base
            assert stream.sample_aspect_ratio == (
                old.sample_aspect_ratio if info.turn[0] or not old.sample_aspect_ratio
                else 1 / old.sample_aspect_ratio)
        wanted = info.colour
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (
            wanted.matrix, wanted.primaries, wanted.transfer)
        assert (int(frame.color_range) or 1) == (wanted.range or 1)  # unstated means limited
    for kind in ("audio", "subtitle"):
        for number in range(sum(one.kind == kind for one in before)):
            old, new = (made.packets(one, kind, number) for one in (clip, target))
            assert [data for _, data in new] == [data for _, data in old]
            assert max(abs(a - b) for (a, _), (b, _) in zip(new, old)) < Fraction(1, 500)
    shown = _shown(target)
    assert not any("rotation" in line for line in shown)
    assert f"{width}x{height}" in shown[0]
    # Pixels: ffmpeg's decoder against ours, over the whole way.
    first = next(decode(clip)).rgb.astype(float) / (257 if info.deep else 1)
    error = made.decoded(target)[0] - first
    assert np.sqrt(np.mean(error ** 2)) < 24  # one of the clips is noise
    assert abs(error.mean()) < 1.5


@pytest.mark.parametrize("name, tag", [("carphone_nonsquare_sar.mp4", "SAR 128:117"),
                                       ("rotated_90.mov", "1280x2272"),
                                       ("tiny_64x64_5frames.mp4", "256x256")])
def test_four_times_as_large_in_one_go(shared_data, tmp_path, name, tag):
    path = shared_data / "video" / "clips" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    film = decode(path, end=3)
    size = (film.info.width * 4, film.info.height * 4)
    target = tmp_path / "out.mp4"
    with Encoder(target, film.info, size, arguments=("-preset", "ultrafast"),
                 whole=False) as encoder:
        for frame in film:
            encoder.write(frame.rgb.repeat(4, 0).repeat(4, 1), frame.pts, frame.duration)
    assert any(tag in line for line in _shown(target))
    assert len(made.times(target)) == 3
