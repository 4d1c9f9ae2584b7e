"""The times of a film's frames, read from its packets without decoding any."""

from __future__ import annotations

from restore_cli.media.video_model import VideoInfo
from restore_cli.media.video_probe import open_container

_TELL = ("mov,mp4", "matroska", "nut")
"""Beginnings of FFmpeg's names of the formats that keep the times at which frames are shown; of
others, such as AVI, some are made up."""


def times(info: VideoInfo) -> list[int] | None:
    """The pts of each frame of a film file, in the order shown.

    Args:
        info: of the file, as `Decoder` gives it.

    Returns:
        Ticks of `info.time_base`, strictly rising; None where the format does not tell them, or
        packets cannot be read to the end.

    Raises:
        InputError: the file cannot be opened.
    """
    import av

    if not info.format.startswith(_TELL):
        return None
    found: list[int] = []
    with open_container(info.path) as container:
        try:
            for packet in container.demux(container.streams[info.index]):
                if not packet.size or packet.is_discard:
                    continue  # the end, or in front of an edited film's first frame
                if packet.pts is None:
                    return None
                found.append(packet.pts)
        except (OSError, av.FFmpegError):
            return None
    found = sorted(one for one in found if one >= info.start_pts)
    rising = all(one < other for one, other in zip(found[:-1], found[1:], strict=True))
    return found if found and found[0] == info.start_pts and rising else None
