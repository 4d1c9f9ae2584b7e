"""Sound, subtitles, chapters, tags and the rest, carried over from the film restored."""

from __future__ import annotations

from fractions import Fraction

import av
import made_films as made
import pytest

from restore_cli.errors import OutputError
from restore_cli.media.video import Encoder, decode, probe


def restore(source, target, **options):
    """The film twice as large, by repeating pixels."""
    film = decode(source)
    size = (film.info.width * 2, film.info.height * 2)
    options.setdefault("arguments", ("-preset", "ultrafast"))
    with Encoder(target, film.info, size, **options) as encoder:
        for frame in film:
            encoder.write(frame.rgb.repeat(2, 0).repeat(2, 1), frame.pts, frame.duration)
    return encoder.notes


def chapters(path):
    with av.open(str(path)) as container:
        return [(one["start"] * one["time_base"], one["end"] * one["time_base"],
                 one["metadata"].get("title")) for one in container.chapters()]


@pytest.mark.parametrize("name, subtitle", [("out.mkv", "subrip"), ("out.mp4", "mov_text"),
                                            ("out.mov", "mov_text")])
def test_everything_is_carried_over(tmp_path, name, subtitle):
    source, target = made.rich(tmp_path), tmp_path / name
    notes = restore(source, target)
    with av.open(str(target)) as container:
        kinds = [(one.type, one.codec_context.codec.canonical_name, one.language)
                 for one in container.streams if one.type != "data"]
        tags = {key.lower(): value for key, value in container.metadata.items()}
    if name == "out.mov":  # QuickTime's own list of languages has German under another code
        assert kinds[3][2] == "ger"
        kinds[3] = (*kinds[3][:2], "deu")
    language = "und" if name == "out.mp4" else None
    assert kinds == [("video", "h264", language), ("audio", "aac", "eng"),
                     ("audio", "aac", "fra"), ("subtitle", subtitle, "deu")]
    assert len(notes) == (subtitle != "subrip")
    assert all("subtitle" in note and "converted" in note for note in notes)
    for number in (0, 1):  # sound is copied, not encoded again
        before, after = (made.packets(one, "audio", number) for one in (source, target))
        assert [data for _, data in after] == [data for _, data in before]
        shift = after[0][0] - before[0][0]
        assert abs(shift - (made.times(target)[0] - made.times(source)[0])) < Fraction(1, 400)
    assert [data[-5:] for _, data in made.packets(target, "subtitle")
            if len(data) > 2] == [b"Hello", b"World"]
    assert chapters(target) == [(0, Fraction(2, 5), "First"), (Fraction(2, 5), 1, "Second")]
    assert tags["title"] == "A film"
    assert tags["artist"] == "Some; one = two"


def test_text_of_mp4_becomes_text_of_matroska(tmp_path):
    source, target = made.rich(tmp_path, "rich.mp4"), tmp_path / "out.mkv"
    notes = restore(source, target)
    assert ("subtitle", "srt") in [(kind, codec.replace("subrip", "srt"))
                                   for kind, codec in made.kinds(target)]
    assert any("mov_text to subrip" in note for note in notes)


def test_chapters_of_mp4_are_no_stream_of_their_own(tmp_path):
    source, target = made.rich(tmp_path, "rich.mp4"), tmp_path / "out.mkv"
    assert "data" in [one.type for one in av.open(str(source)).streams]
    assert restore(source, target) == ("the subtitle stream 3, deu is converted from mov_text to "
                                       "subrip",)
    assert len(chapters(target)) == 2
    stream = probe(restored_mkv(tmp_path)).stream  # nor has the picture what segments are called
    assert not {"HANDLER_NAME", "VENDOR_ID"} & set(stream.tags)


def restored_mkv(folder):
    """A film of frames alone as Matroska."""
    restore(made.film(folder / "plain.mkv"), folder / "restored.mkv")
    return folder / "restored.mkv"


def test_webm_gets_what_it_holds(tmp_path):
    source, target = made.rich(tmp_path), tmp_path / "out.webm"
    notes = restore(source, target, codec="vp9", arguments=("-deadline", "realtime"))
    found = [codec for _, codec in made.kinds(target)]
    assert [one.removeprefix("lib").replace("dav1d", "av1") for one in found] == [
        "vp9", "opus", "opus", "webvtt"]
    assert len(notes) == 3


def test_what_no_container_holds_is_left_out_with_a_warning(tmp_path):
    source = tmp_path / "source.mkv"
    (tmp_path / "font.ttf").write_bytes(b"not quite a font")
    made.ffmpeg("-i", made.rich(tmp_path), "-map", "0", "-c", "copy", "-attach",
                tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf", source)
    assert restore(source, tmp_path / "out.mkv") == ()
    assert ("attachment") in [kind for kind, _ in made.kinds(tmp_path / "out.mkv")]
    notes = restore(source, tmp_path / "out.mp4")
    assert any("attachment" in note and "left out" in note for note in notes)


def test_bitmap_subtitles_do_not_fail_an_mp4(tmp_path):
    source = tmp_path / "source.mkv"
    made.ffmpeg("-i", made.rich(tmp_path), "-map", "0:v", "-map", "0:a", "-c", "copy", source)
    words = tmp_path / "bitmap.mkv"
    canvas = ["-f", "lavfi", "-i", "color=s=720x480:d=1:r=10"]
    made.ffmpeg(*canvas, "-c:v", "ffv1", words)
    film = probe(source)
    streams = (*film.streams, film.streams[-1].__class__(9, "subtitle", "hdmv_pgs_subtitle",
                                                         tags={"language": "nld"}))
    from dataclasses import replace

    from restore_cli.media.video_streams import plan

    for container in ("mp4", "mov", "webm"):
        carried, notes = plan(replace(film, streams=streams), container)
        assert 9 not in [one.stream.index for one in carried]
        assert any("hdmv_pgs_subtitle" in note and "nld" in note for note in notes)
    assert 9 in [one.stream.index for one in plan(replace(film, streams=streams), "matroska")[0]]


def test_a_stream_that_ffmpeg_refuses_is_left_out(tmp_path, monkeypatch):
    """A plan that is wrong about a container still ends in a film."""
    from restore_cli.media import video_join
    from restore_cli.media.video_streams import Carried

    source, target = made.rich(tmp_path), tmp_path / "out.mp4"

    def careless(info, container):
        return [Carried(one) for one in info.streams if one.index != info.index], []

    monkeypatch.setattr(video_join, "plan", careless)
    notes = restore(source, target)
    assert [kind for kind, _ in made.kinds(target)] == ["video", "audio", "audio", "data"]
    assert any("3 (subrip)" in note for note in notes)


def test_another_video_stream_is_kept_after_the_restored_one(tmp_path):
    source, target = tmp_path / "two.mkv", tmp_path / "out.mkv"
    made.ffmpeg(*made.picture(size="32x32", rate="25"), *made.picture(), "-map", "0", "-map", "1",
                "-c:v", "libx264", "-pix_fmt", "yuv420p", "-disposition:v:1", "default", source)
    restore(source, target)
    with av.open(str(target)) as container:
        first, second = container.streams.video
        assert (first.codec_context.width, second.codec_context.width) == (128, 32)
        assert first.disposition & av.stream.Disposition.default
        assert not second.disposition & av.stream.Disposition.default
        assert container.streams.best("video").index == 0
    assert made.times(target, 1) == made.times(source, 0)


def test_a_cover_picture_is_kept(tmp_path):
    source, cover = tmp_path / "source.mp4", tmp_path / "cover.png"
    made.ffmpeg(*made.picture(), "-frames:v", 1, cover)
    made.ffmpeg("-i", made.film(tmp_path / "a.mp4"), "-i", cover, "-map", "0", "-map", "1",
                "-c", "copy", "-disposition:v:1", "attached_pic", source)
    restore(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [one for one in container.streams.video
                    if one.disposition & av.stream.Disposition.attached_pic]
        assert [one.codec_context.name for one in pictures] == ["png"]
        assert len(container.streams.video) == 2


def test_rotation_is_not_written_again(tmp_path):
    source, target = tmp_path / "turned.mp4", tmp_path / "out.mp4"
    made.ffmpeg("-display_rotation", "90", "-i", made.film(tmp_path / "a.mp4"), "-c", "copy",
                source)
    restore(source, target)
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (96, 128, 0)


def test_sound_that_starts_earlier_than_the_picture_stays_in_step(tmp_path):
    plain, source = made.rich(tmp_path), tmp_path / "late.mkv"
    made.ffmpeg("-itsoffset", "0.25", "-i", plain, "-i", plain, "-map", "0:v", "-map", "1:a:0",
                "-c", "copy", source)
    for name in ("out.mkv", "out.mp4"):
        target = tmp_path / name
        restore(source, target)
        gaps = [made.times(one)[0] - made.packets(one, "audio")[0][0] for one in (source, target)]
        assert abs(gaps[0] - gaps[1]) < Fraction(1, 400)
        assert abs(gaps[1]) > Fraction(1, 5)


def test_tags_mp4_has_no_place_for_are_kept_and_stale_ones_are_not(tmp_path):
    source, target = tmp_path / "source.mov", tmp_path / "out.mov"
    made.ffmpeg("-i", made.rich(tmp_path), "-map", "0:v", "-c", "copy", "-movflags",
                "use_metadata_tags", "-metadata", "com.maker.lens=50 mm", "-metadata",
                "creation_time=2020-05-11T14:18:35Z", source)
    restore(source, target)
    tags = probe(target).tags
    assert tags["com.maker.lens"] == "50 mm"
    assert tags["creation_time"].startswith("2020-05-11T14:18:35")
    assert tags["title"] == "A film"
    with av.open(str(source)) as container:
        assert container.metadata["com.maker.lens"] == "50 mm"


def test_a_film_of_frames_alone_carries_nothing(tmp_path):
    source = made.rich(tmp_path)
    restore(source, tmp_path / "out.mp4", carry=False)
    assert [kind for kind, _ in made.kinds(tmp_path / "out.mp4")] == ["video"]
    assert "title" not in probe(tmp_path / "out.mp4").tags


def test_a_source_that_vanishes_is_an_error_and_leaves_nothing(tmp_path):
    source, target = made.rich(tmp_path), tmp_path / "out.mkv"
    film = decode(source)
    with pytest.raises(OutputError, match="No such file"):
        with Encoder(target, film.info, (64, 48)) as encoder:
            for frame in film:
                encoder.write(frame.rgb, frame.pts)
            source.unlink()
    assert not target.exists()
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]
