"""Which frames a video network sees for each frame that it makes.

A window never reaches beyond the shot of its centre frame. With the border rule of the published
program every frame has a window; without it only those with enough neighbours on both sides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from restore_cli.errors import UsageError

LENGTH = 5

Frame = TypeVar("Frame")


def of_frame(index: int, count: int, length: int = LENGTH) -> tuple[int, ...]:
    """The window of one frame, by the border rule.

    The shot is lengthened by its own first frames before the first one and by its own last frames
    after the last one, each in their order: frame 0 of many sees (0, 1, 0, 1, 2). Shots too short
    for that, of which the published program makes nothing, repeat what they have.

    Args:
        index: of the centre frame, 0 to count - 1.
        count: frames of the shot, at least 1.
        length: of the window, odd.

    Returns:
        `length` frame numbers; the one in the middle is `index`.
    """
    half = length // 2
    return tuple(_lengthened(index + offset, count, half) for offset in range(length))


def _lengthened(place: int, count: int, half: int) -> int:
    """The frame at a place of the lengthened shot."""
    if place < half:
        return place % count
    if place < half + count:
        return place - half
    return (max(count - half, 0) + place - half - count) % count


def of_shot(count: int, *, border: bool = True, length: int = LENGTH) -> list[tuple[int, ...]]:
    """All windows of a shot.

    Args:
        count: its frames, 0 or more.
        border: one for every frame; else `count` - `length` + 1 windows, or none.
        length: of the windows, odd.

    Raises:
        UsageError: an even length.
    """
    _check(length)
    if border:
        return [of_frame(index, count, length) for index in range(count)]
    return [tuple(range(start, start + length)) for start in range(count - length + 1)]


def of_shots(starts: Iterable[int], count: int, *, border: bool = True, length: int = LENGTH
             ) -> list[tuple[int, ...]]:
    """All windows of a film.

    Args:
        starts: numbers of the frames that begin a shot; 0 may be left out.
        count: frames of the film.

    Raises:
        UsageError: a start outside the film, or an even length.
    """
    limits = sorted({0, *starts, count})
    if limits[0] < 0 or limits[-1] > count:
        raise UsageError(f"a shot cannot begin outside the film's {count} frames")
    return [tuple(first + frame for frame in window)
            for first, end in zip(limits[:-1], limits[1:], strict=True)
            for window in of_shot(end - first, border=border, length=length)]


def sliding(frames: Iterable[tuple[Frame, bool]], *, border: bool = True, length: int = LENGTH
            ) -> Iterator[tuple[Frame, ...]]:
    """The windows of a stream of frames; never holds more than `length` of them.

    Args:
        frames: pairs of a frame (anything) and whether it begins a shot.

    Yields:
        `length` frames, in the order of the centre frames. With `border` as many as frames came.

    Raises:
        UsageError: an even length.
    """
    _check(length)
    half = length // 2
    held: deque[Frame] = deque(maxlen=length)
    seen = 0  # frames of this shot

    def window(index: int, count: int) -> tuple[Frame, ...]:
        first = seen - len(held)
        return tuple(held[number - first] for number in of_frame(index, count, length))

    def ending() -> Iterator[tuple[Frame, ...]]:
        if border:
            for index in range(max(seen - half, 0), seen):
                yield window(index, seen)

    for frame, begins in frames:
        if begins and seen:
            yield from ending()
            held.clear()
            seen = 0
        held.append(frame)
        seen += 1
        centre = seen - 1 - half
        if centre >= (0 if border else half):
            yield window(centre, seen)
    yield from ending()


def _check(length: int) -> None:
    if length < 1 or length % 2 == 0:
        raise UsageError(f"a window of {length} frames has no middle")
