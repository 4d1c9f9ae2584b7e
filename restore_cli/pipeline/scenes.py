"""Where one shot of a film ends and the next begins, from thumbnails.

Two frames of one shot show mostly the same things, moved: each piece of the later one is found
again near its place in the earlier one. Across a cut it is not. What is left over after the best
match, as a share of what there is to match, tells the two apart, whatever the brightness.

What it does not find: dissolves and other slow changes from one shot to the next, in which no
frame is new (nor does fusing neighbours harm there more than the dissolve itself). What it takes
for a cut though it is none: motion of more than an eighth of the picture from frame to frame,
where no neighbour would be of use either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from PIL import Image

from restore_cli.errors import ShapeError, UsageError

THRESHOLD = 0.35
"""Share of a frame that is new, above which a shot begins. Frames of one shot rarely reach 0.15,
unrelated ones are rarely below 0.55."""

FLASH = 2
"""Frames that a flash of light, or something else that covers all, may last without being taken
for a shot."""

_LONG, _BLOCK = 64, 8  # pixels: long side of a thumbnail, and side of the pieces that are matched
_REACH = (5, 8)  # rows and columns that a piece may have moved from one frame to the next
_FLOOR = 0.012  # of full range, over the three planes: differences below are noise
_GAIN = 4.0  # largest change of contrast that is taken out, as in fades
_EMPTY = 0.015  # frames of less contrast (standard deviation) show nothing

Frame = TypeVar("Frame")


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A small picture of averages, its sides multiples of 8 and the longer one 64 pixels.

    Args:
        frame: (H, W, 3) or (H, W), uint8 or uint16.

    Returns:
        float32 (h, w, 3), 0 to 1: luma and two colour differences, the latter at twice their
        weight and around 0.
    """
    if frame.ndim not in (2, 3) or 0 in frame.shape:
        raise ShapeError("frame", "(H, W) or (H, W, 3)", frame.shape)
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    height, width = frame.shape[:2]
    longer = max(height, width)
    size = tuple(max(2 * _BLOCK, round(_LONG * side / longer / _BLOCK) * _BLOCK)
                 for side in (width, height))
    picture = Image.fromarray(np.ascontiguousarray(frame)).convert("RGB")
    small = np.asarray(picture.resize(size, Image.BOX), np.float32) / 255
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.stack([luma, small[..., 2] - luma, small[..., 0] - luma], -1)


def new_share(before: np.ndarray, after: np.ndarray, enough: float = 0.0) -> float:
    """How much of a frame cannot be found in the one before it.

    Mean and contrast are made equal first. Each piece of 8x8 pixels is then looked for near its
    place, and the mean absolute difference of the best matches is set against the picture's own
    mean absolute deviation.

    Args:
        before, after: thumbnails of one shape.
        enough: a share known without moving any piece is returned if it is not above this.

    Returns:
        0 (all found) to about 1 (nothing found).
    """
    before, after = before - before.mean((0, 1)), after - after.mean((0, 1))
    spread = [float(np.sqrt((part ** 2).mean())) + _FLOOR for part in (before, after)]
    before = before * np.float32(np.clip(spread[1] / spread[0], 1 / _GAIN, _GAIN))
    there = max(float(np.abs(part).sum(-1).mean()) for part in (before, after)) + 2 * _FLOOR

    def share(best: np.ndarray) -> float:
        return float(np.maximum(best - _FLOOR, 0).mean()) / there

    best = _by_piece(before, after)
    if share(best) <= enough:
        return share(best)
    rows, columns = _REACH
    height, width = after.shape[:2]
    wide = np.pad(before, ((rows, rows), (columns, columns), (0, 0)), "edge")
    for row in range(2 * rows + 1):
        for column in range(2 * columns + 1):
            moved = wide[row:row + height, column:column + width]
            np.minimum(best, _by_piece(moved, after), out=best)
    return share(best)


def _empty(small: np.ndarray) -> bool:
    return float(np.square(small - small.mean((0, 1))).sum(-1).mean()) < _EMPTY ** 2


def _by_piece(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Mean absolute difference, summed over the planes, of each piece of 8x8 pixels."""
    rows, columns = two.shape[0] // _BLOCK, two.shape[1] // _BLOCK
    difference = np.abs(one - two).sum(-1)
    return difference.reshape(rows, _BLOCK, columns, _BLOCK).mean((1, 3))


def marked(frames: Iterable[Frame], picture: Callable[[Frame], np.ndarray],
           threshold: float | None = THRESHOLD) -> Iterator[tuple[Frame, bool]]:
    """Each frame of a film with whether it begins a shot.

    Looks ahead only where something new appears: what was there before and is there again after
    at most `FLASH` frames is one shot. Frames that show nothing, black or white, belong to the
    shot before them.

    Args:
        frames: anything.
        picture: a frame's pixels, as `thumbnail` takes them.
        threshold: share of new content that makes a shot, above 0; None takes the whole film for
            one shot and looks at nothing.

    Yields:
        The frames in their order. The first one begins a shot; so does one of another size, unless
        it shows nothing.

    Raises:
        UsageError: an impossible threshold.
    """
    return ((frame, begins) for frame, begins, _ in followed(frames, picture, threshold))


def followed(frames: Iterable[Frame], picture: Callable[[Frame], np.ndarray],
             threshold: float | None = THRESHOLD) -> Iterator[tuple[Frame, bool, bool]]:
    """As `marked`, also with whether all that came before a frame may be forgotten.

    Arguments and errors are those of `marked`.

    Yields:
        A frame, whether it begins a shot, and whether the frames after it would be told the same
        if the film began with this one. (It would begin a shot then, of course.)
    """
    if threshold is not None and not 0 < threshold < float("inf"):
        raise UsageError(f"a scene threshold of {threshold:g} is impossible",
                         hint=f"Use more than 0; the default is {THRESHOLD:g}")
    source = iter(frames)
    if threshold is None:
        yield from ((frame, number == 0, True) for number, frame in enumerate(source))
        return
    ahead: deque[tuple[Frame, np.ndarray]] = deque()

    def look(distance: int) -> np.ndarray | None:
        """The thumbnail of the frame so many after the next one to be told."""
        while len(ahead) <= distance:
            for frame in source:
                ahead.append((frame, thumbnail(picture(frame))))
                break
            else:
                return None
        return ahead[distance][1]

    def found(small: np.ndarray | None) -> bool:
        return (small is not None and small.shape == last.shape and not _empty(small)
                and new_share(last, small, threshold / 2) <= threshold)

    last, steady, first = None, 0, True
    while (small := look(0)) is not None:
        begins, empty = first, _empty(small)
        if empty:
            steady = max(steady - 1, 0)
        else:
            if steady:
                steady -= 1
            elif last is not None and not found(small):
                steady = next((k for k in range(1, FLASH + 1) if found(look(k))), 0)
                begins = not steady
            last = small
        first = False
        yield ahead.popleft()[0], begins, not (empty or steady)


def starts(frames: Iterable[np.ndarray], threshold: float = THRESHOLD) -> list[int]:
    """The numbers of the frames that begin a shot, 0 among them.

    Args:
        frames: pictures as `thumbnail` takes them.
        threshold: as for `marked`.
    """
    film = marked(frames, lambda frame: frame, threshold)
    return [number for number, (_, begins) in enumerate(film) if begins]
