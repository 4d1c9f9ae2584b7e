"""Joins segments into a film and carries sound, subtitles, chapters and tags over."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from restore_cli.errors import OutputError
from restore_cli.media import video_tags
from restore_cli.media.atomic import atomic_path
from restore_cli.media.video_codecs import Encoding
from restore_cli.media.video_ffmpeg import Process, local
from restore_cli.media.video_model import VideoInfo
from restore_cli.media.video_segment import Content, Segment, content
from restore_cli.media.video_streams import Carried, container_for, language_for, plan

_PRECISION = 1_000_000  # ticks a second in which ffmpeg takes times on its command line


def join(segments: Sequence[Segment], target: str | Path, encoding: Encoding,
         source: VideoInfo | None = None, *, whole: bool = True, overwrite: bool = False,
         arguments: Sequence[str] = (), known: Mapping[str, Content] | None = None
         ) -> tuple[str, ...]:
    """Joins segments without encoding again; the file appears whole or not at all.

    What the container cannot hold is converted or left out; should ffmpeg refuse a stream all
    the same, it is left out too, and sound is converted, before this fails.

    Args:
        segments: in the order of time, all made with `encoding`.
        target: the film to write; its extension names the container.
        encoding: as the segments were made.
        source: the film whose sound, subtitles, chapters and tags are carried over.
        whole: the segments are the whole of `source`; otherwise the part of it from the first
            frame to the end of the last is carried over, and times count from there.
        overwrite: replace an existing file.
        arguments: further ffmpeg arguments for sound, subtitles, tags and the container.
        known: what is in segments, by path, where they have been looked into already.

    Returns:
        What was converted or left out, one sentence each.

    Raises:
        UsageError: the extension names no container, or one that does not hold the codec.
        OutputError: segments that do not belong together, or ffmpeg fails, with its words.
    """
    container = container_for(target, encoding.codec)
    contents = _contents(segments, target, known or {})
    carried, notes = plan(source, container) if source is not None else ([], [])
    with atomic_path(target, overwrite=overwrite) as part, \
            tempfile.TemporaryDirectory(prefix="restore-join-") as folder:
        job = _Job(segments, encoding, source, container, whole, tuple(arguments), Path(folder))
        while True:
            try:
                Process(job.command(carried, part)).wait(target)
                break
            except OutputError as error:
                less = _less(carried, container, job.words(error))
                if less is None:
                    raise
                carried, more = less
                notes += more
        _verify(part, segments, contents, encoding, target)
    return tuple(notes)


def _verify(part: Path, segments: Sequence[Segment], contents: Sequence[Content],
            encoding: Encoding, target: str | Path) -> None:
    """Compares the times of all frames with those of the segments.

    Raises:
        OutputError: a frame is missing or shown at another time.
    """
    base = encoding.time_base
    wanted = sum(len(inside.ticks) for inside in contents)
    expected = (tick * inside.base + (segment.first - segments[0].first) * base
                for segment, inside in zip(segments, contents, strict=True)
                for tick in inside.ticks)
    film = content(part, target)
    if len(film.ticks) != wanted:
        raise OutputError(f"{len(film.ticks)} of {wanted} frames were written", path=target)
    found = (tick * film.base for tick in film.ticks)
    start = film.ticks[0] * film.base
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if abs(one - start - other) > Fraction(1, 900):  # Matroska counts milliseconds
            raise OutputError(f"frame {number} is shown at {float(one - start):.4f} s and should "
                              f"be at {float(other):.4f} s", path=target)


def _contents(segments: Sequence[Segment], target: str | Path, known: Mapping[str, Content]
              ) -> list[Content]:
    """What is in the segments, which have to belong together."""
    if not segments:
        raise OutputError("there are no segments to join", path=target)
    for before, after in zip(segments, segments[1:]):
        if after.first <= before.last:
            raise OutputError(f"segment {after.path} begins before the end of {before.path}",
                              path=target)
    found = []
    for segment in segments:
        inside = known.get(segment.path) or _content(segment, target)
        if len(inside.ticks) != segment.frames:
            raise OutputError(f"segment {segment.path} has {len(inside.ticks)} frames and should "
                              f"have {segment.frames}", path=target,
                              hint="Start again without --resume")
        found.append(inside)
    if len({inside.header for inside in found}) > 1:
        raise OutputError("its segments were encoded with different settings", path=target,
                          hint="Start again without --resume")
    return found


def _content(segment: Segment, target: str | Path) -> Content:
    try:
        return content(segment.path, target)
    except OutputError as error:
        error.message = f"segment {segment.path}: {error.message}"
        raise


def _less(carried: list[Carried], container: str, words: str
          ) -> tuple[list[Carried], list[str]] | None:
    """A smaller plan after ffmpeg refused this one; None when there is nothing to give up."""
    if "no space left" in words.lower() or "killed by signal" in words:
        return None
    rest = [one for one in carried if one.stream.kind == "audio"]
    if len(rest) < len(carried):
        gone = ", ".join(f"{one.stream.index} ({one.stream.codec or one.stream.kind})"
                         for one in carried if one not in rest)
        return rest, [f"streams that ffmpeg refused are left out: {gone}: {words}"]
    encoder = {"webm": "libopus", "matroska": "flac"}.get(container, "aac")
    if any(one.codec == "copy" for one in carried):
        return [Carried(one.stream, encoder) for one in carried], [
            f"sound is converted to {encoder.removeprefix('lib')}: {words}"]
    return None


class _Job:
    """The ffmpeg command of one join."""

    def __init__(self, segments: Sequence[Segment], encoding: Encoding,
                 source: VideoInfo | None, container: str, whole: bool,
                 arguments: tuple[str, ...], folder: Path):
        self._segments, self._encoding, self._source = segments, encoding, source
        self._container, self._arguments = container, arguments
        base = encoding.time_base
        start = segments[0].first * base
        last = segments[-1]
        # The zero of the output on the film's clock. ffmpeg counts a file from its first time.
        self._zero = source.zero if source is not None and whole else start
        self._end = None if whole or not last.duration else (last.last + last.duration) * base
        self._offset = start - self._zero
        self._list = folder / "segments.txt"
        self._list.write_text(self._entries(), encoding="utf-8")
        self._tags = folder / "tags.txt"
        if source is not None:
            self._tags.write_text(video_tags.metadata_file(source, self._zero, self._end),
                                  encoding="utf-8")

    @staticmethod
    def words(error: OutputError) -> str:
        return error.message

    def _entries(self) -> str:
        base = self._encoding.time_base
        first = self._segments[0].first
        lines = ["ffconcat version 1.0"]
        for number, segment in enumerate(self._segments):
            name = str(Path(segment.path).resolve()).replace("'", "'\\''")
            lines.append(f"file '{name}'")
            if number + 1 < len(self._segments):
                # Differences of rounded times, so that errors do not add up.
                begin, end = (round((pts - first) * base * _PRECISION) for pts in
                              (segment.first, self._segments[number + 1].first))
                lines.append(f"duration {_seconds(Fraction(end - begin, _PRECISION))}")
        return "\n".join(lines) + "\n"

    def command(self, carried: list[Carried], part: Path) -> list[str]:
        """All arguments after the program's name."""
        source, encoding = self._source, self._encoding
        found = ["-itsoffset", _seconds(self._offset), "-f", "concat", "-safe", "0",
                 "-i", local(self._list)]
        inputs = 1
        maps = ["-map", "0:v:0"]
        if source is not None and carried:
            found += self._cut(source) + ["-i", local(source.path)]
            for one in carried:
                maps += ["-map", f"{inputs}:{one.stream.index}"]
            inputs += 1
        if source is not None:
            found += ["-f", "ffmetadata", "-i", local(self._tags)]
            maps += ["-map_metadata", str(inputs), "-map_chapters", str(inputs)]
        found += maps + ["-c", "copy", "-copy_unknown"]
        if source is not None and self._zero > source.zero:
            # Else sound from before the cut would come too and push the picture back.
            found += ["-copypriorss", "0"]
        if encoding.codec == "x265" and self._container in ("mp4", "mov"):
            found += ["-tag:v:0", "hvc1"]
        found += self._streams(carried) + self._timing() + self._flags()
        return [*found, *self._arguments, "-f", self._container, local(part)]

    def _cut(self, source: VideoInfo) -> list[str]:
        begin = self._zero - source.zero
        found = ["-ss", _seconds(begin)] if begin > 0 else []
        if self._end is not None:
            found += ["-t", _seconds(self._end - self._zero)]
        return found

    def _streams(self, carried: list[Carried]) -> list[str]:
        found: list[str] = []
        source = self._source
        tags: dict[str, str] = {}
        if self._container in ("matroska", "webm"):  # what the segments are called stays behind
            tags = {"handler_name": "", "vendor_id": ""}
        if source is not None and source.stream is not None:
            tags.update(video_tags.lasting(source.stream.tags))
        for key, value in tags.items():
            found += ["-metadata:s:v:0", f"{key}={value}"]
        found += ["-disposition:v:0", "default"]
        videos = 1
        for number, one in enumerate(carried, start=1):
            if one.codec != "copy":
                found += [f"-c:{number}", one.codec]
            language = language_for(one.stream, self._container)
            if language is not None:
                found += [f"-metadata:s:{number}", f"language={language}"]
            if one.stream.kind == "video":
                if not one.stream.picture:  # players shall show the restored one
                    found += [f"-disposition:v:{videos}", "-default"]
                videos += 1
        return found

    def _timing(self) -> list[str]:
        base, last = self._encoding.time_base, self._segments[-1]
        found = []
        if self._container in ("mp4", "mov"):
            found += ["-video_track_timescale", str(base.denominator)]
        if last.duration:
            # Only the last frame's duration follows from no other time.
            place = float((last.last - self._segments[0].first - Fraction(1, 2)) * base
                          + self._offset)
            span = float(last.duration * base)
            found += ["-bsf:v:0", f"setts=pts=PTS:dts=DTS:duration=if(gt(PTS*TB\\,{place:.9f})\\,"
                                  f"{span:.9f}/TB\\,DURATION)"]
        return found

    def _flags(self) -> list[str]:
        if self._container not in ("mp4", "mov"):
            return []
        free = self._source is not None and video_tags.free_form(self._source.tags)
        return ["-movflags", "+faststart" + ("+use_metadata_tags" if free else "")]


def _seconds(value: Fraction) -> str:
    return f"{float(round(value * _PRECISION) / _PRECISION):.6f}"
