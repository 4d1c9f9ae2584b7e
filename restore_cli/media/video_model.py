"""What a film is in memory: its description and its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Colour:
    """Colour description in the code points of ITU-T H.273; 2 means unspecified.

    Attributes:
        range: 0 unspecified, 1 limited ("tv"), 2 full ("pc").
        matrix: YUV matrix as the stream states it.
        primaries, transfer: as the stream states them.
        used: the matrix that decoding used: `matrix`, or what players assume when it is
            unspecified.
    """

    range: int = 0
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    used: int = 6


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file.

    Attributes:
        index: number in the file.
        kind: "video", "audio", "subtitle", "data", "attachment" or "unknown".
        codec: FFmpeg's name, empty when unknown.
        default: marked to be played when the user chooses nothing.
        picture: a cover picture or thumbnail, not a moving one.
        tags: metadata of the stream.
    """

    index: int
    kind: str
    codec: str = ""
    default: bool = False
    picture: bool = False
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """A chapter; start and end in seconds from the file's zero of time."""

    start: Fraction
    end: Fraction
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoInfo:
    """A film and the video stream that is decoded.

    Attributes:
        path: the file, "-" for standard input.
        format: names of the container format, such as "mov,mp4,m4a,3gp,3g2,mj2".
        index: number of the decoded stream in `streams`.
        codec: its codec.
        width, height: pixels as shown, that is after `turn`.
        sample_aspect: width to height of a shown pixel; None when not stated.
        time_base: seconds a tick of `Frame.pts`.
        frame_count: frames the file says it has, None when it does not say.
        rate: average frames a second; None when unknown.
        start_pts: pts of the first frame.
        duration: seconds of the stream, None when unknown.
        zero: seconds at which the whole file starts, sound included.
        pixel_format: FFmpeg's name of the stored pixel format.
        bits: of a stored sample.
        chroma: "420", "422", "444" (also rarer kinds, rounded up), "gray" or "rgb".
        alpha, interlaced: as the stream says.
        colour: colour description of the first frame.
        turn: (a, b, c, d), the display matrix as signs: pixel (x, y) is shown at
            (a x + c y, b x + d y); (1, 0, 0, 1) is upright.
        streams: all streams of the file.
        chapters, tags: of the file.
        notes: what could not be kept or is unusual, one sentence each.
    """

    path: str
    format: str
    index: int
    codec: str
    width: int
    height: int
    sample_aspect: Fraction | None
    time_base: Fraction
    frame_count: int | None
    rate: Fraction | None
    start_pts: int
    duration: Fraction | None
    zero: Fraction
    pixel_format: str
    bits: int
    chroma: str
    alpha: bool = False
    interlaced: bool = False
    colour: Colour = Colour()
    turn: tuple[int, int, int, int] = (1, 0, 0, 1)
    streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def rotation(self) -> int:
        """Degrees, clockwise, by which decoding turns the stored picture (0, 90, 180, 270).

        A mirrored display matrix has the angle of its turn alone; `turn` tells all.
        """
        return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[self.turn[0], self.turn[1]]

    @property
    def deep(self) -> bool:
        """Whether frames come as uint16: the stream has more than 8 bits a sample."""
        return self.bits > 8

    @property
    def stream(self) -> StreamInfo | None:
        """The decoded stream's entry of `streams`; None for a folder or a bare pipe."""
        return next((one for one in self.streams if one.index == self.index), None)


@dataclass
class Frame:
    """One decoded picture.

    Attributes:
        index: number from 0 in the order shown, counted from the start of the film.
        pts: time shown, in ticks of `time_base`; strictly rising.
        time_base: seconds a tick.
        duration: ticks, 0 when unknown.
        rgb: (H, W, 3) uint8 or uint16 (full range), upright.
        corrupt: damaged in the file; the decoder has patched it up.
    """

    index: int
    pts: int
    time_base: Fraction
    duration: int
    rgb: np.ndarray
    corrupt: bool = False

    @property
    def seconds(self) -> Fraction:
        """Time shown, in seconds."""
        return self.pts * self.time_base
