"""Films written and read back by other programs than the one that wrote them."""

from __future__ import annotations

import os
import signal
from fractions import Fraction

import av
import made_films as made
import numpy as np
import pytest

from restore_cli.errors import OutputError, ShapeError, UsageError
from restore_cli.media.video import Encoder, Encoding, choose, decode, probe, split_arguments

FAST = {"x264": ("-preset", "ultrafast"), "x265": ("-preset", "ultrafast"), "prores": (),
        "ffv1": (), "vp9": ("-deadline", "realtime", "-cpu-used", "8")}
CODEC = {"x264": "h264", "x265": "hevc", "prores": "prores", "ffv1": "ffv1", "vp9": "vp9"}
MATRICES = {1: "bt709", 6: "smpte170m", 9: "bt2020nc"}


def encode(source, target, *, arguments=(), codec="x264", **options):
    """The source's frames, unchanged, as a new film."""
    film = decode(source)
    with Encoder(target, film.info, (film.info.width, film.info.height), codec=codec,
                 arguments=(*FAST[codec], *arguments), **options) as encoder:
        for frame in film:
            encoder.write(frame.rgb, frame.pts, frame.duration)
    return encoder


def leftovers(folder):
    return [one.name for one in folder.iterdir() if one.name.startswith(".")]


@pytest.mark.parametrize("codec, extension", [
    ("x264", ".mp4"), ("x264", ".mov"), ("x264", ".mkv"), ("x265", ".mp4"), ("x265", ".mkv"),
    ("prores", ".mov"), ("prores", ".mkv"), ("ffv1", ".mkv"), ("ffv1", ".mov"), ("vp9", ".webm"),
    ("vp9", ".mkv")])
def test_frames_times_aspect_and_size(tmp_path, codec, extension):
    source = made.film(tmp_path / "source.mp4", "-c:v", "libx264", "-vf", "setsar=128/117:max=1000",
                       "-pix_fmt", "yuv420p", rate="30000/1001", size="66x50", seconds="0.4")
    target = tmp_path / f"out{extension}"
    encoder = encode(source, target, codec=codec)
    assert encoder.notes == ()
    found, expected = made.times(target), made.times(source)
    exact = extension in (".mp4", ".mov")  # Matroska counts milliseconds
    assert len(found) == 12
    assert max(abs(a - b) for a, b in zip(found, expected)) <= (0 if exact else Fraction(1, 2000))
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == CODEC[codec]
        assert (stream.codec_context.width, stream.codec_context.height) == (66, 50)
        # Without the codec's help Matroska has it as whole pixels of the picture shown.
        assert abs(stream.sample_aspect_ratio - Fraction(128, 117)) < Fraction(1, 66)
        if exact:
            assert stream.sample_aspect_ratio == Fraction(128, 117)
            assert stream.duration * stream.time_base == Fraction(12 * 1001, 30000)
    error = made.decoded(target, "gray").astype(float) - made.decoded(source, "gray")
    assert np.sqrt(np.mean(error ** 2)) < 6
    assert not leftovers(tmp_path)


def test_variable_times_survive(tmp_path):
    source = tmp_path / "source.mp4"
    made.ffmpeg(*made.picture(seconds="2"), "-vf", "settb=1/90000,setpts='N*9000+mod(N\\,3)*1234'",
                "-fps_mode", "passthrough", "-enc_time_base", "1/90000",
                "-video_track_timescale", 90000, "-c:v", "libx264", "-pix_fmt", "yuv420p", source)
    target = tmp_path / "out.mp4"
    encode(source, target, arguments=("-bf", "3", "-preset", "medium"))
    assert made.times(target) == made.times(source)
    assert [time * 90000 for time in made.times(target)] == [
        n * 9000 + n % 3 * 1234 for n in range(20)]


@pytest.mark.parametrize("codec, form, expected", [
    ("x264", "yuv420p10le", "yuv420p10le"), ("x265", "yuv422p10le", "yuv422p10le"),
    ("x265", "yuv420p12le", "yuv420p12le"), ("prores", "yuv420p", "yuv422p10le"),
    ("prores", "yuv444p10le", "yuv444p12le"), ("ffv1", "yuv422p10le", "yuv422p10le"),
    ("ffv1", "gbrp", "bgr0"), ("x264", "gray", "yuvj420p"), ("vp9", "yuv420p10le", "yuv420p10le"),
    ("x264", "yuv422p", "yuv422p")])
def test_depth_and_chroma_are_kept(tmp_path, codec, form, expected):
    source = made.film(tmp_path / "source.mkv", "-c:v", "ffv1", "-pix_fmt", form, seconds="0.2")
    target = tmp_path / "out.mkv"
    encode(source, target, codec=codec)
    with av.open(str(target)) as container:
        assert next(container.decode(video=0)).format.name.replace("bgra", "bgr0") == expected
    if "10le" in form:
        rgb = made.decoded(target, "rgb48le")
        assert len(np.unique(rgb)) > 256


def test_more_bits_than_the_codec_holds_are_told(tmp_path):
    source = made.film(tmp_path / "source.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p12le")
    encoder = encode(source, tmp_path / "out.mkv", codec="x264")
    assert any("10 bits" in note for note in encoder.notes)


def test_odd_sides_are_kept_whole(tmp_path):
    source = made.film(tmp_path / "source.mkv", "-c:v", "ffv1", "-vf", "scale=65:47", "-pix_fmt",
                       "yuv420p")
    encoder = encode(source, tmp_path / "out.mp4")
    assert made.decoded(tmp_path / "out.mp4").shape == (10, 47, 65, 3)
    assert any("4:4:4" in note for note in encoder.notes)


@pytest.mark.parametrize("codec", ["x264", "x265", "prores", "ffv1", "vp9"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [1, 2])
def test_colours_and_their_description_are_kept(tmp_path, codec, matrix, full):
    patches = np.array([[235, 16, 16], [16, 200, 30], [20, 30, 220], [128, 128, 128],
                        [250, 240, 20], [0, 0, 0], [255, 255, 255], [90, 140, 200]], np.uint8)
    picture = np.repeat(np.repeat(patches.reshape(2, 4, 3), 16, 0), 16, 1)
    source, name = tmp_path / "source.mkv", MATRICES[matrix]
    made.ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x32", "-r", 10, "-i", "-", "-vf",
                f"scale=out_color_matrix={name}:out_range={'tv' if full == 1 else 'pc'}:"
                f"flags=accurate_rnd,format=yuv444p,setparams=colorspace={name}:"
                f"color_primaries={name[:6] if matrix == 9 else name}:color_trc=bt709",
                "-c:v", "libx264", "-qp", "0", source, data=picture.tobytes() * 2)
    target = tmp_path / "out.mkv"
    encode(source, target, codec=codec)
    kept = 1 if codec in ("prores", "ffv1") else full  # these are of limited range
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        described = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
    assert described == (kept, matrix, matrix, 1)
    # ffmpeg's own decoder must see the colours that went in.
    shown = made.decoded(target)[0, 8::16, 8::16].reshape(-1, 3).astype(int)
    assert np.abs(shown - patches).max() <= (6 if codec != "ffv1" else 3)


def test_an_unspecified_matrix_is_stated_once_players_would_guess_another(tmp_path):
    info = probe(made.film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p"))
    assert info.colour.matrix == 2
    assert choose(info, 256, 192)[0].colour.matrix == 2
    assert choose(info, 2560, 1920)[0].colour.matrix == 6


def test_chroma_sits_where_decoders_look_for_it(tmp_path):
    """A colour edge must not move when a film is decoded and encoded several times."""
    x = np.arange(96)
    wave = 127.5 + 100 * np.sin(2 * np.pi * x / 12)
    picture = np.stack([wave, 255 - wave, np.full(96, 128.)], -1)
    picture = np.repeat(picture[None], 32, 0).round().astype(np.uint8)
    source = tmp_path / "source.mkv"
    made.ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x32", "-i", "-", "-c:v", "ffv1",
                "-pix_fmt", "bgr0", source, data=picture.tobytes())
    for step in range(4):
        target = tmp_path / f"{step}.mkv"
        encode(source, target, codec="ffv1", pixel_format="yuv420p", crf=None)
        source = target
    row = next(decode(source)).rgb[16].astype(float)
    tint = (row[:, 0] - row[:, 1])[12:-12]
    phase = np.angle(np.sum(tint * np.exp(-2j * np.pi * x[12:-12] / 12)))
    moved = (phase + np.pi / 2) * 12 / (2 * np.pi)
    assert abs(moved) < 0.1


def test_quality_and_pixel_format_are_used(tmp_path):
    source = made.film(tmp_path / "source.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p",
                       size="160x120")
    sizes = []
    for crf in (10, 40):
        target = tmp_path / f"{crf}.mp4"
        encode(source, target, crf=crf)
        sizes.append(target.stat().st_size)
    assert sizes[0] > 2 * sizes[1]
    encode(source, tmp_path / "444.mp4", pixel_format="yuv444p")
    assert probe(tmp_path / "444.mp4").pixel_format == "yuv444p"


def test_the_users_arguments_reach_encoder_and_container(tmp_path):
    source = made.rich(tmp_path)
    target = tmp_path / "out.mkv"
    encode(source, target, arguments=("-vf", "hflip", "-c:a", "flac", "-metadata", "title=Mine"))
    assert ("audio", "flac") in made.kinds(target)
    assert probe(target).tags["title"] == "Mine"
    shown, before = made.decoded(target)[0].astype(float), made.decoded(source)[0].astype(float)
    assert np.abs(shown - before[:, ::-1]).mean() < np.abs(shown - before).mean() / 4


def test_arguments_are_divided():
    assert split_arguments(["-preset", "slow", "-c:a", "flac", "-b:a:1", "64k", "-tune", "film",
                            "-movflags", "+frag_keyframe", "-qp", "-1"]) == (
        ("-preset", "slow", "-tune", "film", "-qp", "-1"),
        ("-c:a", "flac", "-b:a:1", "64k", "-movflags", "+frag_keyframe"))
    with pytest.raises(UsageError, match="belongs to no option"):
        split_arguments(["out.mp4"])


def test_an_encoding_survives_a_journal(tmp_path):
    import json

    info = probe(made.film(tmp_path / "a.mp4"))
    encoding, _ = choose(info, 256, 192, codec="x265", crf=20.5, arguments=("-tune", "grain"))
    assert Encoding.from_record(json.loads(json.dumps(encoding.record()))) == encoding


@pytest.mark.parametrize("options, words", [
    ({"codec": "x246"}, "Did you mean"), ({"crf": 70}, "0 to 51"),
    ({"codec": "prores", "crf": 10}, "no meaning"), ({"codec": "vp9"}, ".mov does not hold vp9")])
def test_impossible_options(tmp_path, options, words):
    info = probe(made.film(tmp_path / "a.mp4"))
    with pytest.raises(UsageError) as error:
        Encoder(tmp_path / "out.mov", info, (64, 48), **options)
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["out.avi", "out", "out.png"])
def test_names_of_no_container(tmp_path, name):
    info = probe(made.film(tmp_path / "a.mp4"))
    with pytest.raises(UsageError, match="no film format"):
        Encoder(tmp_path / name, info, (64, 48))


@pytest.mark.parametrize("arguments, words", [
    (("-preset", "nonsense"), "invalid preset 'nonsense'"),
    (("-nonsense", "1"), "Unrecognized option 'nonsense'"),
    (("-frames:v", "3"), "wrote 3 of 10 frames"),
    (("-vf", "nosuchfilter"), "nosuchfilter")])
def test_the_encoders_failure_is_ours_with_its_words(tmp_path, arguments, words):
    source, target = made.film(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    with pytest.raises(OutputError) as error:
        encode(source, target, arguments=arguments)
    assert words in str(error.value)
    assert str(target) in str(error.value)
    assert not target.exists()
    assert not leftovers(tmp_path)


def test_a_killed_encoder(tmp_path):
    film = decode(made.film(tmp_path / "a.mp4"))
    frames = list(film) * 40
    with pytest.raises(OutputError, match="killed by signal 9"):
        with Encoder(tmp_path / "out.mp4", film.info, (64, 48)) as encoder:
            for number, frame in enumerate(frames):
                encoder.write(frame.rgb, number)
                if number == 3:
                    os.kill(encoder._writer._process._process.pid, signal.SIGKILL)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.mp4"]


def test_no_file_is_left_after_ctrl_c(tmp_path):
    film = decode(made.film(tmp_path / "a.mp4"))
    with pytest.raises(KeyboardInterrupt):
        with Encoder(tmp_path / "out.mp4", film.info, (64, 48)) as encoder:
            encoder.write(next(film).rgb, 0)
            process = encoder._writer._process._process
            raise KeyboardInterrupt
    assert process.poll() is not None
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.mp4"]


def test_a_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    source = made.film(tmp_path / "a.mkv", size="320x240")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(OutputError):
            encode(source, tmp_path / "out.mkv", codec="ffv1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.mkv"]


def test_no_frames_is_an_error(tmp_path):
    info = probe(made.film(tmp_path / "a.mp4"))
    with pytest.raises(OutputError, match="no frames"):
        with Encoder(tmp_path / "out.mp4", info, (64, 48)):
            pass


def test_existing_films_are_kept(tmp_path):
    source = made.film(tmp_path / "a.mp4")
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists"):
        encode(source, target)
    assert target.read_bytes() == b"precious"
    encode(source, target, overwrite=True)
    assert len(made.times(target)) == 10


def test_frames_of_a_wrong_kind_are_refused(tmp_path):
    film = decode(made.film(tmp_path / "a.mp4"))
    frame = next(film)
    with Encoder(tmp_path / "out.mp4", film.info, (64, 48)) as encoder:
        encoder.write(frame.rgb, 0)
        with pytest.raises(ShapeError):
            encoder.write(frame.rgb[:-1], 1)
        with pytest.raises(TypeError, match="uint16"):
            encoder.write(frame.rgb.astype(np.uint16), 1)
        with pytest.raises(OutputError, match="does not follow"):
            encoder.write(frame.rgb, 0)
    assert len(made.times(tmp_path / "out.mp4")) == 1
