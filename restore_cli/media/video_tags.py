"""Tags and chapters as ffmpeg's own metadata file, cleared of what no longer holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from restore_cli.media.video_model import Chapter, VideoInfo

# Written anew by the container, or true only of the stream as it was.
_STALE = re.compile(r"(major_brand|minor_version|compatible_brands|encoder|duration|bps|rotate|"
                    r"number_of_frames|number_of_bytes|_statistics_.*|alpha_mode)(-\w+)?$", re.I)
# Keys that MP4 has atoms for; with others the whole set is written as free-form keys.
_ATOMS = {"title", "artist", "album_artist", "composer", "album", "date", "comment", "genre",
          "copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id",
          "network", "keywords", "episode_sort", "season_number", "media_type", "hd_video",
          "gapless_playback", "compilation", "track", "disc", "tmpo", "creation_time",
          "location", "location-eng", "timecode", "sort_name", "sort_artist", "sort_album",
          "sort_album_artist", "sort_composer", "sort_show", "make", "model"}


def lasting(tags: dict[str, str]) -> dict[str, str]:
    """The tags that still hold after restoring."""
    return {key: value for key, value in tags.items() if not _STALE.match(key)}


def free_form(tags: dict[str, str]) -> bool:
    """Whether there is a tag that MP4 has no atom for."""
    return any(key.lower() not in _ATOMS for key in lasting(tags))


def metadata_file(info: VideoInfo, start: Fraction, end: Fraction | None) -> str:
    """Tags and chapters in ffmpeg's metadata format.

    Args:
        info: the film.
        start, end: the part that is kept, in seconds of the film's clock; chapters are cut
            to it and counted from `start`.
    """
    lines = [";FFMETADATA1", *_pairs(lasting(info.tags).items())]
    for chapter in info.chapters:
        first = max(chapter.start, start)
        last = chapter.end if end is None else min(chapter.end, end)
        if last > first or (end is None and chapter.start >= start):
            lines += _chapter(chapter, first - start, last - start)
    return "\n".join(lines) + "\n"


def _chapter(chapter: Chapter, start: Fraction, end: Fraction) -> list[str]:
    base = math.lcm(start.denominator, end.denominator)
    if base > 1_000_000_000:
        base = 1_000_000_000
    return ["[CHAPTER]", f"TIMEBASE=1/{base}", f"START={round(start * base)}",
            f"END={round(end * base)}", *_pairs(chapter.tags.items())]


def _pairs(items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{_escaped(key)}={_escaped(value)}" for key, value in items]


def _escaped(text: str) -> str:
    return re.sub(r"([=;#\\\n])", r"\\\1", text)
