"""Pieces of a film: runs of its segments, each made in one go. No pixels here.

A piece begins where an earlier run has been, or at the film's start, which is exact. One that has
to begin elsewhere, because another process is still busy with what comes before it, begins some
frames earlier and notes what it sees (marks); so does whoever makes the segment before it. Only
where both have seen the same is the piece kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli.jobs import vsr_windows
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.media import video_index
from restore_cli.media.video_model import Frame, VideoInfo

if TYPE_CHECKING:
    from restore_cli.jobs.vsr_journal import Journal


@dataclass(frozen=True)
class Piece:
    """Segments to make.

    Attributes:
        first: number of the first one.
        end: number of the one after the last; None goes on to the film's end.
        lead: (number in the film, number in the part, pts) of the frame to begin decoding at,
            where that is to be confirmed; None begins where it is certain.
    """

    first: int
    end: int | None = None
    lead: tuple[int, int, int] | None = None

    def record(self) -> dict[str, Any]:
        """The same as values that JSON can hold; ``Piece.from_record`` makes it again."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Piece:
        """The piece that `record` described."""
        lead = record["lead"]
        return cls(record["first"], record["end"], tuple(lead) if lead else None)


@dataclass(frozen=True)
class Part:
    """The frames of the part of a film that is worked on.

    Attributes:
        first: number of its first frame in the film.
        times: pts of its frames.
    """

    first: int
    times: array

    @classmethod
    def known(cls, info: VideoInfo, cut: Cut) -> Part | None:
        """What the file tells without decoding; None where it does not tell that."""
        times = (list(range(info.frame_count or 0)) if info.format == "frames"
                 else video_index.times(info))
        if times is None:
            return None
        blank = np.empty((0, 0, 3), np.uint8)
        every = (Frame(number, pts, info.time_base, 0, blank)
                 for number, pts in list(enumerate(times))[cut.first:cut.stop])
        found = [(frame.index, frame.pts) for frame in cut.of_film(every, info)]
        return cls(found[0][0] if found else 0, array("q", [pts for _, pts in found]))

    def segments(self, length: int) -> int:
        """How many segments of `length` frames it has."""
        return -(-len(self.times) // length)

    def lead(self, number: int, threshold: float | None) -> tuple[int, int, int]:
        """Where to begin decoding for the frame with this number in the part.

        Args:
            threshold: of scene cuts; None looks for none.
        """
        begin = max(0, number - (vsr_windows.LEAD if threshold is not None else 8))
        return self.first + begin, begin, self.times[begin]


def noted(plan: Plan) -> dict[str, Any]:
    """What of a plan decides the result, as values that JSON can hold; see `plan`."""
    return {"tile": list(plan.tile), "pairs": plan.pairs, "lean": plan.lean}


def plan(record: Mapping[str, Any]) -> Plan:
    """The plan that `record` described."""
    return Plan(tuple(record["tile"]), record["pairs"], lean=record.get("lean") is True)


def missing(records: Sequence[dict[str, Any]], ended: bool = False) -> list[Piece]:
    """Pieces of the segments that are not there.

    Args:
        records: of the finished segments, by their numbers.
        ended: the film's last one is among them.
    """
    found, number = [], 0
    for record in records:
        if record["segment"] > number:
            found.append(Piece(number, record["segment"]))
        number = record["segment"] + 1
    return found if ended else [*found, Piece(number)]


def divided(records: Sequence[dict[str, Any]], part: Part, length: int, count: int,
            threshold: float | None) -> list[Piece]:
    """The missing segments in `count` like shares, and where each piece of them may begin.

    Args:
        part: all of whose frames are to be made.
        length: frames of a segment.
    """
    there = {record["segment"] for record in records}
    total = part.segments(length)
    left = [number for number in range(total) if number not in there]
    bounds = {left[place * len(left) // count] for place in range(count)} if left else set()
    found: list[Piece] = []
    for number in left:
        if found and number not in bounds and found[-1].end == number:
            found[-1] = Piece(found[-1].first, number + 1, found[-1].lead)
        else:
            certain = number == 0 or number - 1 in there
            found.append(Piece(number, number + 1, None if certain else part.lead(
                number * length, threshold)))
    return [Piece(one.first, None, one.lead) if one.end == total else one for one in found]


def left(journal: Journal, ended: bool, length: int, half: int) -> tuple[list[Piece], bool]:
    """What is still to be made: what is missing, or else what has to be made again.

    Args:
        ended: the film's end has been reached.
        length, half: as for `doubtful`.

    Returns:
        The pieces, and whether the film's end has been reached without those.
    """
    found = missing(journal.segments, ended)
    if not found and (numbers := doubtful(journal.segments, length, half)):
        ended = numbers[-1] != journal.segments[-1]["segment"]
        journal.drop(numbers)
        found = missing(journal.segments, ended)
    return found, ended


def doubtful(records: Sequence[dict[str, Any]], length: int, half: int) -> list[int]:
    """Numbers of segments that were made from other frames than those before them led to.

    Args:
        records: of all segments up to some one, by their numbers.
        half: frames of a window before its middle.

    Returns:
        The first such piece with all that was made after it on the same ground; or nothing.
    """
    numbers = [record["segment"] for record in records]
    for before, record in zip([None, *records[:-1]], records, strict=True):
        marks = record.get("marks")
        if marks is None:
            continue
        ends = before.get("ends") if before is not None else None
        number = record["segment"]
        if ends is None or not vsr_windows.agree(ends, marks, number * length, half):
            place = end = bisect_left(numbers, number)
            while end < len(records) and (end == place or (
                    records[end].get("marks") is None
                    and numbers[end] == numbers[end - 1] + 1)):
                end += 1
            return numbers[place:end]
    return []
