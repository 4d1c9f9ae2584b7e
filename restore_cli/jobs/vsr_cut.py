"""`--start`, `--end` and `--frames`: the part of a film that is worked on."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from restore_cli.errors import UsageError
from restore_cli.media import video_index
from restore_cli.media.video_model import Frame, VideoInfo

_TIME = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")

_FAR = 10  # seconds from which on the place of a frame is looked up, which reads the whole file


@dataclass(frozen=True)
class Cut:
    """Part of a film.

    Attributes:
        start, end: a number of a frame (int), or seconds from the film's start (Fraction); the
            end itself is left out. None is the film's own.
        frames: most frames to take.
    """

    start: int | Fraction | None = None
    end: int | Fraction | None = None
    frames: int | None = None

    @classmethod
    def of(cls, start: str | None, end: str | None, frames: int | None) -> Cut:
        """What the options say.

        Raises:
            UsageError: no time and no number of a frame, or nothing in between.
        """
        made = cls(_place("--start", start), _place("--end", end), frames)
        if frames is not None and frames < 1:
            raise UsageError("--frames must be at least 1")
        if (type(made.start) is type(made.end) and made.start is not None
                and made.end <= made.start):
            raise UsageError(f"--end {end} is not after --start {start}")
        return made

    @property
    def whole(self) -> bool:
        """Whether it is all of the film."""
        return self == Cut()

    @property
    def first(self) -> int | None:
        """Number of the first frame, where it is known without looking."""
        return self.start if isinstance(self.start, int) else None

    @property
    def stop(self) -> int | None:
        """Number of the frame after the last, where it is known without looking."""
        ends = [self.end] if isinstance(self.end, int) else []
        if self.frames is not None and (self.start is None or isinstance(self.start, int)):
            ends.append((self.start or 0) + self.frames)
        return min(ends, default=None)

    def place(self, info: VideoInfo) -> tuple[int, int] | None:
        """Number and pts of the first frame of the part.

        Returns:
            None where that is near the film's start, or the file does not tell it.
        """
        if self.start is None or info.index < 0 or info.path == "-" or not info.rate:
            return None
        if (self.start / info.rate if isinstance(self.start, int) else self.start) < _FAR:
            return None
        times = video_index.times(info)
        if times is None:
            return None
        number = self.start if isinstance(self.start, int) else bisect_left(
            times, info.start_pts + self.start / info.time_base)
        return (number, times[number]) if number < len(times) else None

    def of_film(self, film: Iterable[Frame], info: VideoInfo, taken: int = 0
                ) -> Iterator[Frame]:
        """The frames of a film opened with `first` and `stop` that belong to the part.

        Args:
            taken: frames of the part that come before those of `film`.
        """
        zero = info.start_pts * info.time_base
        for frame in film:
            seconds = frame.seconds - zero
            if isinstance(self.start, Fraction) and seconds < self.start:
                continue
            if isinstance(self.end, Fraction) and seconds >= self.end:
                return
            if self.frames is not None and taken >= self.frames:
                return
            taken += 1
            yield frame

    def count(self, info: VideoInfo) -> int | None:
        """How many frames that is, about; None where the film does not say."""
        total, rate = info.frame_count, info.rate
        if total is None and info.duration is not None and rate:
            total = round(info.duration * rate)
        begin, end = (None if place is None else place if isinstance(place, int) else
                      round(place * rate) if rate else None for place in (self.start, self.end))
        if end is not None:
            total = end if total is None else min(total, end)
        if total is not None:
            total = max(0, total - (begin or 0))
        if self.frames is not None:
            total = self.frames if total is None else min(total, self.frames)
        return total


def _place(option: str, text: str | None) -> int | Fraction | None:
    if text is None:
        return None
    if re.fullmatch(r"\d+f", text.strip()):
        return int(text.strip()[:-1])
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option} {text} is no time and no frame",
                         hint="Write 12.5 or 1:02:03 (time), or 240f (number of a frame)")
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + Fraction(found[3])
