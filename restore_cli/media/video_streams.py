"""Which container holds what: the plan for carrying sound, subtitles and the rest over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.media.video_model import StreamInfo, VideoInfo

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_PICTURES = {"mp4": {"x264", "x265", "ffv1", "vp9"}, "mov": {"x264", "x265", "prores", "ffv1"},
             "matroska": {"x264", "x265", "prores", "ffv1", "vp9"}, "webm": {"vp9"}}
_TEXT = {"subrip", "srt", "ass", "ssa", "webvtt", "text", "mov_text", "microdvd", "subviewer"}
# Subtitles a container takes as they are, and what it takes texts of other kinds as.
_SUBTITLES = {
    "mp4": ({"mov_text", "dvd_subtitle"}, "mov_text"),
    "mov": ({"mov_text"}, "mov_text"),
    "webm": ({"webvtt"}, "webvtt"),
    "matroska": ({"subrip", "srt", "ass", "ssa", "webvtt", "text", "dvd_subtitle",
                  "dvb_subtitle", "hdmv_pgs_subtitle", "hdmv_text_subtitle"}, "subrip"),
}
# QuickTime has numbers for some languages only, which FFmpeg knows by these names.
_QUICKTIME = {"deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi",
              "sqi": "alb", "mkd": "mac", "hye": "arm", "kat": "geo"}
_SOUND = {"mp4": "aac", "mov": "aac", "webm": "libopus", "matroska": "flac"}


@dataclass(frozen=True)
class Carried:
    """One stream of the source that goes into the output.

    Attributes:
        stream: the source's stream.
        codec: "copy", or the encoder that converts it.
    """

    stream: StreamInfo
    codec: str = "copy"


def container_for(target: str | Path, codec: str) -> str:
    """ffmpeg's name of the container that a file name asks for.

    Raises:
        UsageError: unknown extension, or a container that does not hold this codec.
    """
    extension = Path(target).suffix.lower()
    container = CONTAINERS.get(extension)
    if container is None:
        shown = f"the extension {extension}" if extension else "a name without extension"
        raise UsageError(f"{shown} names no film format that can be written", path=target,
                         hint="Use one of " + ", ".join(CONTAINERS))
    if codec not in _PICTURES[container]:
        held = _PICTURES[container]
        raise UsageError(f"{extension} does not hold {codec}", path=target,
                         hint=f"Name the output {'.mov' if codec == 'prores' else '.mkv'}, or "
                              f"choose --codec {'x264' if 'x264' in held else min(held)}")
    return container


def language_for(stream: StreamInfo, container: str) -> str | None:
    """The language to name a carried stream by, where the container needs another name."""
    return _QUICKTIME.get(stream.tags.get("language", "")) if container == "mov" else None


def extension_for(info: VideoInfo, codec: str) -> str:
    """The extension for the restored form: the film's own if it holds the codec, else .mkv."""
    own = Path(info.path).suffix.lower()
    return own if codec in _PICTURES.get(CONTAINERS.get(own, ""), ()) else ".mkv"


def plan(info: VideoInfo, container: str) -> tuple[list[Carried], list[str]]:
    """The streams to carry over beside the restored one, in the source's order.

    Returns:
        The streams, and what is converted or left out, one sentence each.
    """
    carried: list[Carried] = []
    notes: list[str] = []
    for stream in info.streams:
        if stream.index == info.index:
            continue
        codec, note = _fate(stream, info, container)
        if codec:
            carried.append(Carried(stream, codec))
        if note:
            notes.append(f"{_name(stream)} {note}")
    return carried, notes


def _fate(stream: StreamInfo, info: VideoInfo, container: str) -> tuple[str, str]:
    left_out = f"is left out: {_label(container)} does not hold {stream.codec or 'its kind'}"
    if stream.kind == "audio":
        if container == "matroska" or stream.codec in _held(container):
            return "copy", ""
        encoder = _SOUND[container]
        return encoder, f"is converted from {stream.codec} to {encoder.removeprefix('lib')}"
    if stream.kind == "subtitle":
        kept, text = _SUBTITLES[container]
        if stream.codec in kept:
            return "copy", ""
        if stream.codec in _TEXT:
            return text, f"is converted from {stream.codec} to {text}"
        return "", left_out
    if stream.kind == "video":
        if container == "webm" and (stream.picture or stream.codec not in ("vp8", "vp9", "av1")):
            return "", left_out
        if not stream.picture and container != "matroska" and stream.codec not in _held(container):
            return "", left_out
        return "copy", ""
    if stream.kind == "data" and "timecode" in stream.tags:
        return "", ""  # written again by the container from the film's timecode tag
    if stream.kind == "data" and "mov" in info.format:
        if stream.codec == "bin_data" and info.chapters:
            return "", ""  # the chapters' texts, which the chapters bring along
        if container in ("mp4", "mov"):
            return "copy", ""
    if stream.kind == "attachment" and container == "matroska":
        return "copy", ""
    return "", left_out


def _name(stream: StreamInfo) -> str:
    language = stream.tags.get("language", "und")
    kind = {"audio": "sound", "subtitle": "subtitle", "video": "video"}.get(stream.kind,
                                                                           stream.kind)
    shown = f", {language}" if language != "und" else ""
    return f"the {kind} stream {stream.index}{shown}"


def _label(container: str) -> str:
    return {"matroska": "Matroska", "webm": "WebM"}.get(container, container.upper())


def _held(container: str) -> set[str]:
    import io

    import av

    with av.open(io.BytesIO(), "w", format=container) as empty:
        return set(empty.supported_codecs)
