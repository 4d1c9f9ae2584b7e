"""Decodes a film into upright RGB frames with their exact times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import video_color
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.media.video_probe import examine, open_container

_KEPT = 20  # damaged frames that are named one by one
# Codecs that do not say where 4:2:0 chroma sits. It is left, as in what they were made from;
# left unsaid, libswscale would take it to be central and move colours by half a pixel.
_UNSITED = {"ffv1", "vp8", "huffyuv", "ffvhuff", "utvideo", "magicyuv"}
# Seconds before a frame at which it is looked for: some formats do not know their key frames.
_BACK = (0, 2, 10)
_INTRA = 1  # number of the pictures that need no others
# libswscale's bicubic, full_chroma_int, full_chroma_inp and accurate_rnd, as numbers because
# PyAV 17 has names for the first alone.
_SCALING = 0x4 | 0x2000 | 0x4000 | 0x40000


class Decoder:
    """An iterator over the frames of a film; also a context manager.

    Damaged frames are patched up by FFmpeg's decoder and come with `Frame.corrupt`; frames of
    which nothing can be decoded are missing, so the one before stands longer. A frame of
    another size than the first is scaled to the first's size. `problems` tells of all this
    once the frames are through.

    Args:
        source: file name, or a binary stream that need not be seekable.
        start, end: numbers of the first frame wanted and of the one after the last.
        first: the pts of frame `start`, if known from an earlier run over the same file
            without `mended`: decoding then begins at the key frame before it rather than at
            the film's start.
        threads: of the decoder; 0 takes all cores.
        format: FFmpeg's name of the format, needed for a stream.

    Attributes:
        info: description of the film.

    Raises:
        InputError: as `video_probe.probe`; while iterating, when reading fails.
    """

    def __init__(self, source: str | Path | BinaryIO, *, start: int | None = None,
                 end: int | None = None, first: int | None = None, threads: int = 0,
                 format: str | None = None):
        self._path = str(source) if isinstance(source, (str, Path)) else "-"
        self._source = source
        self._start, self._end = start or 0, end
        self._threads, self._format = threads, format
        self._damaged: list[int] = []
        self._lost = self._resized = self._unordered = 0
        self._ended_early: tuple[int, int] | None = None
        self._scaler: Any = None
        self._siting: tuple[Any, Any] | None = None
        self._container: Any = None
        self.info: VideoInfo = self._open()
        self._frames = self._run(first)

    def _open(self) -> VideoInfo:
        self.close()
        self._container = open_container(self._source, self._format)
        try:
            for stream in self._container.streams.video:
                stream.codec_context.thread_count = self._threads
            info, self._ready = examine(self._container, self._path)
        except BaseException:
            self.close()
            raise
        self._stream = self._container.streams[info.index]
        return info

    def go_on(self, start: int, first: int | None = None) -> None:
        """Gives, instead of what was asked for, the frames from `start` up to the same end.

        Args:
            start, first: as for a new `Decoder`; a pipe cannot go back.
        """
        if self._source_is_pipe:
            raise ValueError("a pipe cannot go back")
        self._damaged, self._ended_early = [], None
        self._lost = self._resized = self._unordered = 0
        self._open()
        self._start = start
        self._frames = self._run(first)

    @property
    def _source_is_pipe(self) -> bool:
        return not isinstance(self._source, (str, Path))

    def close(self) -> None:
        """Closes the file; further frames are not given."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self._container is None:
            raise StopIteration
        return next(self._frames)

    @property
    def mended(self) -> bool:
        """Whether times were missing or out of order so far; those given are then made up."""
        return self._unordered > 0

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the frames given so far, one sentence each."""
        found = []
        if self._damaged:
            named = ", ".join(str(one) for one in self._damaged[:_KEPT])
            more = " and more" if len(self._damaged) > _KEPT else ""
            found.append(f"{len(self._damaged)} damaged frames were patched up by the decoder "
                         f"(numbers from 0: {named}{more})")
        if self._lost:
            found.append(f"{self._lost} packets could not be decoded at all; the frame before "
                         "stands in their place")
        if self._resized:
            found.append(f"{self._resized} frames of another size were scaled to "
                         f"{self.info.width}x{self.info.height}")
        if self._unordered:
            found.append(f"{self._unordered} times were missing or out of order and were mended")
        if self._ended_early:
            found.append("the file ends early: {} of {} frames".format(*self._ended_early))
        return tuple(found)

    def _run(self, first: int | None) -> Iterator[Frame]:
        index, last = 0, None
        pictures = self._pictures()
        if first is not None and self._start and not self._source_is_pipe:
            found = self._seek(first)
            if found is None:  # begin again from the start of the film
                self._open()
                pictures = self._pictures()
            else:
                index, pictures = self._start, found
        step = self._tick()
        for picture in pictures:
            if self._end is not None and index >= self._end:
                return
            pts = picture.pts
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + step
                self._unordered += 1
            last = pts
            if index >= self._start:
                corrupt = bool(picture.is_corrupt)
                if corrupt:
                    self._damaged.append(index)
                yield Frame(index, pts, self.info.time_base, picture.duration or 0,
                            self._rgb(picture), corrupt)
            index += 1
        stated = self.info.frame_count
        if stated is not None and index < stated - self._lost:
            self._ended_early = (index, stated)

    def _tick(self) -> int:
        rate = self.info.rate or Fraction(25)
        return max(1, round(1 / rate / self.info.time_base))

    def _pictures(self) -> Iterator[Any]:
        """PyAV's frames from where the file stands."""
        import av

        yield from self._ready
        self._ready = []
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self._lost += 1
                continue
            except (OSError, av.FFmpegError) as error:
                raise InputError(f"reading failed: {getattr(error, 'strerror', None) or error}",
                                 path=self._path) from error
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                self._lost += 1
            except av.error.EOFError:
                return  # a short film, of which the description took all
            except av.FFmpegError as error:
                raise InputError(f"decoding failed: {error.strerror}",
                                 path=self._path) from error

    def _seek(self, first: int) -> Iterator[Any] | None:
        """Frames from the one with pts `first`, or None when seeking does not find it."""
        for seconds in _BACK:
            found = self._sought(first, first - int(seconds / self.info.time_base))
            if found is not None:
                return found
        return None

    def _sought(self, first: int, place: int) -> Iterator[Any] | None:
        """Frames from the one with pts `first`, looked for from `place` on."""
        import itertools

        import av

        try:
            self._container.seek(place, stream=self._stream, backward=True)
        except (OSError, ValueError, av.FFmpegError):
            return None
        self._ready, lost = [], self._lost
        pictures = self._pictures()
        for number, picture in enumerate(pictures):
            if picture.pts is None or picture.pts > first or picture.is_corrupt:
                break
            if not number and int(picture.pict_type) != _INTRA:
                break  # refreshed bit by bit, which is not exact
            if picture.pts == first and self._lost == lost:
                return itertools.chain([picture], pictures)
        self._lost = lost
        return None

    def _rgb(self, picture: Any) -> np.ndarray:
        from av.video.reformatter import VideoReformatter

        if self._scaler is None:
            self._scaler = VideoReformatter()
        upright = self.info.turn[0] != 0
        size = (self.info.width, self.info.height) if upright else (
            self.info.height, self.info.width)
        if (picture.width, picture.height) != size:
            self._resized += 1
        colour = self.info.colour
        yuv = not picture.format.is_rgb
        full = 2 if picture.format.name.startswith("yuvj") else int(picture.color_range)
        converted = self._scaler.reformat(
            self._sited(picture), width=size[0], height=size[1],
            format="rgb48le" if self.info.deep else "rgb24",
            src_colorspace=video_color.scaler_matrix(colour.used) if yuv else None,
            src_color_range=(full or colour.range or 1) if yuv else None, dst_color_range=2,
            interpolation=_SCALING)
        return turned(converted.to_ndarray(), self.info.turn)


    def _sited(self, picture: Any) -> Any:
        """The picture with its chroma siting stated, where its codec leaves that open."""
        layout = picture.format
        if self.info.codec not in _UNSITED or layout.is_rgb or self.info.chroma != "420":
            return picture
        import av

        key = (picture.width, picture.height, layout.name)
        if self._siting is None or self._siting[0] != key:
            graph = av.filter.Graph()
            graph.link_nodes(
                graph.add_buffer(width=picture.width, height=picture.height, format=layout,
                                 time_base=self.info.time_base),
                graph.add("setparams", "chroma_location=left"), graph.add("buffersink"))
            graph.configure()
            self._siting = key, graph
        self._siting[1].push(picture)
        return self._siting[1].pull()


def turned(pixels: np.ndarray, turn: tuple[int, int, int, int]) -> np.ndarray:
    """The picture, (H, W, C), as a display matrix of signs shows it; contiguous."""
    a, b, c, d = turn
    if a == 0:
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(pixels[::d, ::a])


def decode(path: str | Path | BinaryIO, *, start: int | None = None, end: int | None = None,
           first: int | None = None, threads: int = 0) -> Decoder:
    """Frames of a film, numbers `start` up to but without `end`; see `Decoder`."""
    return Decoder(path, start=start, end=end, first=first, threads=threads)
