"""Reads what a film is, from its headers and its first frame."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from restore_cli.errors import InputError
from restore_cli.media import limits, video_color, video_ffmpeg
from restore_cli.media.video_model import Chapter, Colour, StreamInfo, VideoInfo

_UPRIGHT = (1, 0, 0, 1)
_TRIED = 200  # packets without a frame before a stream counts as empty


def probe(path: str | Path) -> VideoInfo:
    """Describes a film and the video stream that `decode` gives.

    That stream is the one players choose: the default one, the largest of several.

    Raises:
        InputError: missing, damaged, no video stream, no frame in it, or too large.
    """
    with open_container(path) as container:
        info, _ = examine(container, str(path))
        return info


def open_container(source: str | Path | BinaryIO, format: str | None = None) -> Any:
    """Opens a file, or a stream of the named format, with PyAV.

    Raises:
        InputError: missing, not readable or not a film; the message has FFmpeg's words.
    """
    import av

    named = isinstance(source, (str, Path))
    path = str(source) if named else "-"
    if named and Path(path).is_dir():
        raise InputError("is a folder", path=path)
    try:
        if named:
            return av.open(video_ffmpeg.local(path), metadata_errors="replace")
        return av.open(source, format=format, metadata_errors="replace")
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except (OSError, ValueError, av.FFmpegError) as error:
        raise InputError(_why(error, path if named else None), path=path) from error


def _why(error: Exception, path: str | None) -> str:
    if path is not None and Path(path).is_file() and not Path(path).stat().st_size:
        return "the file is empty"
    words = video_ffmpeg.complaint(path) if path is not None else ""
    if path is not None and "moov atom not found" in words and _is_mp4(path):
        return "the file is truncated: its index (moov atom) is missing"
    why = words or getattr(error, "strerror", None) or str(error)
    if "Invalid data found" in why or "moov atom not found" in why:
        return "not a film, or damaged at its start"
    return f"cannot be read: {why}"


def _is_mp4(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free", b"skip")


def examine(container: Any, path: str) -> tuple[VideoInfo, list[Any]]:
    """Describes an open container.

    Returns:
        The description, and the frames (PyAV's) that had to be decoded for it.

    Raises:
        InputError: as `probe`.
    """
    import av

    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        what = "only sound" if container.streams.audio else "no video stream"
        raise InputError(f"there is {what} in it", path=path)
    context = stream.codec_context
    if context is None:
        raise InputError("its video codec is unknown", path=path)
    stream.thread_type = "AUTO"
    frames = _first(container, stream, path)
    first = frames[0]
    limits.check(first.width, first.height, 8, path)
    notes: list[str] = []
    beside = _side_data(first, notes)
    turn = _turn(beside.get("DISPLAYMATRIX"), notes)
    width, height = (first.width, first.height) if turn[0] else (first.height, first.width)
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or None
    if aspect is not None and aspect <= 0:
        aspect = None
    if aspect is not None and not turn[0]:
        aspect = 1 / aspect
    layout = first.format
    bits = max((component.bits for component in layout.components), default=8)
    alpha = any(component.is_alpha for component in layout.components)
    if alpha:
        notes.append("transparency is not kept")
    if first.interlaced_frame:
        notes.append("it is interlaced: the two fields of a frame are treated as one picture")
    if any(beside.get(one) is not None for one in
           ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS",
            "DOVI_METADATA")):
        notes.append("its HDR mastering and light levels are not kept; colour primaries and "
                     "transfer are")
    colour = _colour(first, layout)
    if not layout.is_rgb and colour.matrix not in (colour.used, video_color.UNSPECIFIED):
        named = video_color.MATRICES.get(colour.matrix, f"number {colour.matrix}")
        notes.append(f"its colour matrix {named} cannot be converted and is taken as "
                     f"{video_color.MATRICES[colour.used]}")
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    time_base = Fraction(stream.time_base)
    pts = first.pts if first.pts is not None else 0
    duration = stream.duration * time_base if stream.duration else None
    if duration is None and container.duration:
        duration = Fraction(container.duration, av.time_base)
    info = VideoInfo(
        path=path, format=container.format.name, index=stream.index,
        codec=_codec(stream), width=width, height=height,
        sample_aspect=Fraction(aspect) if aspect is not None else None, time_base=time_base,
        frame_count=stream.frames or None, rate=Fraction(rate) if rate else None,
        start_pts=pts, duration=duration,
        zero=Fraction(container.start_time or 0, av.time_base),
        pixel_format=layout.name, bits=bits, chroma=_chroma(layout), alpha=alpha,
        interlaced=bool(first.interlaced_frame), colour=colour, turn=turn,
        streams=tuple(_stream(one) for one in container.streams),
        chapters=tuple(_chapter(one) for one in container.chapters()),
        tags=dict(container.metadata), notes=tuple(notes))
    return info, frames


def _first(container: Any, stream: Any, path: str) -> list[Any]:
    import av

    empty = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                frames = []
            if frames:
                return frames
            empty += 1
            if empty > _TRIED and packet.size:
                break
    except (OSError, ValueError, av.FFmpegError) as error:
        raise InputError(f"cannot be decoded: {getattr(error, 'strerror', None) or error}",
                         path=path) from error
    if empty <= 1:
        raise InputError("there are no frames in its video stream", path=path)
    raise InputError("no frame of its video stream can be decoded", path=path)


def _side_data(frame: Any, notes: list[str]) -> Any:
    """What comes with a frame beside its pixels; nothing where PyAV is older than a part of it."""
    try:
        return frame.side_data
    except ValueError:  # such as the Exif data of TIFF files, which FFmpeg 8 tells of
        notes.append("what comes with its frames cannot be read; a turn told there is not made")
        return {}


def _turn(matrix: Any, notes: list[str]) -> tuple[int, int, int, int]:
    if matrix is None:
        return _UPRIGHT
    values = struct.unpack("=9i", bytes(matrix)[:36])
    a, b, c, d = (value / 65536 for value in (values[0], values[1], values[3], values[4]))
    across, down = math.hypot(a, b) or 1.0, math.hypot(c, d) or 1.0
    signs = (round(a / across), round(b / across), round(c / down), round(d / down))
    exact = max(abs(a / across - signs[0]), abs(b / across - signs[1])) < 0.01
    if not exact or abs(signs[0] * signs[3] - signs[1] * signs[2]) != 1:
        notes.append("its display matrix is no quarter turn and is left out")
        return _UPRIGHT
    return signs


def _chroma(layout: Any) -> str:
    if layout.is_rgb:
        return "rgb"
    if len([one for one in layout.components if not one.is_alpha]) < 3:
        return "gray"
    if layout.chroma_width(64) == 64:
        return "444"
    return "420" if layout.chroma_height(64) < 64 else "422"


def _colour(frame: Any, layout: Any) -> Colour:
    matrix, full = int(frame.colorspace), int(frame.color_range)
    if layout.name.startswith("yuvj"):
        full = 2
    return Colour(range=full if full in (1, 2) else 0, matrix=matrix,
                  primaries=int(frame.color_primaries), transfer=int(frame.color_trc),
                  used=video_color.usable_matrix(matrix, frame.width, frame.height))


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else (stream.name or "")


def _stream(stream: Any) -> StreamInfo:
    import av

    disposition = stream.disposition
    kinds = av.stream.Disposition
    still = kinds.attached_pic | kinds.timed_thumbnails
    return StreamInfo(index=stream.index, kind=stream.type or "unknown",
                      codec=_codec(stream),
                      default=bool(disposition & kinds.default),
                      picture=bool(disposition & still), tags=dict(stream.metadata))


def _chapter(chapter: Any) -> Chapter:
    base = Fraction(chapter["time_base"] or 1)
    return Chapter(chapter["start"] * base, chapter["end"] * base, dict(chapter["metadata"]))
