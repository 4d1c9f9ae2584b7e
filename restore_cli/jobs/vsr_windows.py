"""The windows of a film, shot by shot, and from where a later run sees the same ones.

A run that goes on needs the frames that its first window shows, and those that decide whether
it lies in the same shot. Beginning there gives the windows that beginning at the start gives.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from restore_cli.jobs.vsr_stream import Held
from restore_cli.media.video_model import Frame
from restore_cli.pipeline import scenes, windows

LEAD = 48
"""Frames before a run's first that are decoded, so that shots begin where they do in the film. Only
a shot that follows as many black frames can be missed."""

_SEEN = 6  # frames that are compared at most before a run goes on
_MARKED = LEAD + 8

Mark = list  # [number, digest, settled] of a frame, as JSON holds it


@dataclass
class Place:
    """A frame at which decoding may begin again.

    Attributes:
        frame: its number in the film.
        number: its number in the part of the film that is worked on.
        shots: that have begun by then, this frame's own included.
        pts: its time.
        seen: digests of this frame and of those that follow.
    """

    frame: int
    number: int
    shots: int
    pts: int
    seen: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Any) -> Place | None:
        """What `record` described; None where it describes none."""
        try:
            place = cls(**record)
        except TypeError:
            return None
        numbers = place.frame, place.number, place.shots, place.pts
        sound = (all(type(one) is int for one in numbers) and place.frame >= place.number >= 0
                 and place.shots > 0 and isinstance(place.seen, list) and place.seen)
        return place if sound else None

    def matches(self, frames: list[Frame]) -> bool:
        """Whether these are the frames that an earlier run has seen here."""
        return [digest(one) for one in frames] == self.seen


def digest(frame: Frame) -> str:
    """Tells a frame's pixels and time from others."""
    found = hashlib.blake2b(frame.rgb, digest_size=8)
    found.update(str(frame.pts).encode())
    return found.hexdigest()


class Windows:
    """An iterator over the windows of a film, one for each frame.

    Args:
        frames: of the film or of its part.
        length: frames of a window.
        threshold: of scene cuts; None looks for none.
        place: of the first of `frames`, where an earlier run is continued; else None.

    Attributes:
        number: of the frame that the next window is for, in the part of the film.
        shots: that have begun so far.
        begins: whether the middle frame of the last window begins a shot.
    """

    def __init__(self, frames: Iterable[Frame], length: int, threshold: float | None,
                 place: Place | None = None):
        self.number, self.shots = (place.number, place.shots - 1) if place else (0, 0)
        self._told, self._half = self.number, length // 2
        self._begins: deque[int] = deque()  # frames that begin a shot
        self._places: deque[Place] = deque()
        self._new: deque[int] = deque()
        self._marks: deque[Mark] = deque(maxlen=_MARKED)
        self.begins = False
        self._windows = windows.sliding(self._followed(frames, threshold), length=length)

    def _followed(self, frames: Iterable[Frame], threshold: float | None
                  ) -> Iterator[tuple[Held, bool]]:
        for held, begins, settled in scenes.followed(
                map(Held, frames), lambda one: one.frame.rgb, threshold):
            frame = held.frame
            self.shots += begins
            if begins:
                self._begins.append(self._told)
                self._new.append(self._told)
            if settled:
                self._places.append(Place(frame.index, self._told, self.shots, frame.pts))
            self._told += 1
            mark = digest(frame)
            self._marks.append([self._told - 1, mark, settled])
            for place in self._places:
                if self._told - place.number == len(place.seen) + 1 <= _SEEN:
                    place.seen.append(mark)
            yield held, begins

    def __iter__(self) -> Iterator[tuple[Held, ...]]:
        return self

    def __next__(self) -> tuple[Held, ...]:
        found = next(self._windows)
        while self._new and self._new[0] < self.number:
            self._new.popleft()
        self.begins = bool(self._new) and self._new[0] == self.number
        self.number += 1
        return found

    def marks(self) -> list[Mark]:
        """Of the frames that have been seen last, enough to compare two runs where they meet."""
        return list(self._marks)

    def place(self) -> Place | None:
        """Where a run may begin that is to make the next window and those after it.

        That is the first frame the window needs, or the last one before it after which cuts
        are told as if the film began there.
        """
        while len(self._begins) > 1 and self._begins[1] <= self.number:
            self._begins.popleft()
        shot = self._begins[0] if self._begins else 0
        needed = max(shot, self.number - self._half)
        while len(self._places) > 1 and self._places[1].number <= needed:
            self._places.popleft()
        first = self._places[0] if self._places else None
        return first if first is not None and first.number <= needed else None


def agree(before: list[Mark], after: list[Mark], border: int, half: int) -> bool:
    """Whether two runs that meet at a frame have seen the same film there.

    Both have then decoded the same frames, and tell the same cuts from one of them on.

    Args:
        before: marks of a run that is right, as it made the last frame before `border`.
        after: of one that begins with `border`, as it made that.
        half: frames of a window before its middle.
    """
    seen = {number: (mark, settled) for number, mark, settled in before}
    common = [(number, mark, settled) for number, mark, settled in after if number in seen]
    same = bool(common) and all(seen[number][0] == mark for number, mark, _ in common)
    return same and any(settled and seen[number][1] and number <= border - half
                        for number, _, settled in common)
