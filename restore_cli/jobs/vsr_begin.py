"""What a film needs before its first frame and has nothing to do with the network."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.jobs import vsr_journal, vsr_names, vsr_output
from restore_cli.jobs.vsr_cut import Cut
from restore_cli.jobs.vsr_journal import Journal
from restore_cli.jobs.vsr_names import to_pictures
from restore_cli.jobs.vsr_output import Output
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_windows import Place
from restore_cli.media import frames, video
from restore_cli.media.atomic import check_target
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.pipeline import naming
from restore_cli.pipeline.naming import STREAM, Item

if TYPE_CHECKING:
    from restore_cli.jobs.vsr import VsrRequest


@dataclass(frozen=True)
class Settings:
    """The command line's wishes, understood.

    Attributes:
        request: the rest of them.
        cut: the part of each film.
        rate: frames a second of pictures, None for the usual.
        threshold: of scene cuts, None looks for none.
        arguments: for ffmpeg.
        kind: form for standard output.
    """

    request: VsrRequest
    cut: Cut
    rate: Fraction | None
    threshold: float | None
    arguments: tuple[str, ...]
    kind: str


def opened(settings: Settings, item: Item, console: Console) -> video.Source:
    """The frames of an item's film, or of the part of it that is wanted.

    Raises:
        InputError: it cannot be read.
    """
    if item.source != STREAM and not vsr_names.is_pictures(str(item.source)):
        naming.require_input(item.source)
    source = item.source if item.source == STREAM else str(item.source)
    return video.open_source(source, stdin=console.stdin, rate=settings.rate,
                             start=settings.cut.first, end=settings.cut.stop)


def journal(settings: Settings, sha256: str, item: Item, film: video.Source) -> Journal | None:
    """The journal, for what goes to files; frames of a pipe cannot come again.

    Args:
        sha256: of the weight file.
    """
    request = settings.request
    if item.target == STREAM or item.source == STREAM:
        if request.resume:
            raise UsageError("--resume does not go with pipes")
        if item.target == STREAM:
            return None
    if isinstance(film, frames.FrameFolder):
        identity = vsr_journal.fingerprint(film.files)
    elif item.source == STREAM:
        identity = f"stdin {time.time_ns()}"
    else:
        identity = vsr_journal.fingerprint([Path(item.source)])
    names = ("scale", "start", "end", "frames", "rate", "codec", "crf", "pixel_format",
             "ffmpeg_args", "segment", "precision")
    facts = {**{name: getattr(request, name) for name in names},
             "scene_threshold": settings.threshold, "input": identity, "weights": sha256}
    return Journal(item.target, facts, resume=request.resume, overwrite=request.overwrite)


def check(settings: Settings, item: Item) -> None:
    """Refuses an output that another run has made by now.

    Raises:
        UsageError: it is there.
    """
    if not to_pictures(item.target):
        check_target(item.target, overwrite=settings.request.overwrite)


def kept(item: Item, journal: Journal, console: Console) -> Callable[..., None]:
    """What says, at the end of a block that fails, what the run leaves behind."""
    def say(kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and journal.frames:
            console.info(f"{item.target}: {journal.frames} frames are kept in "
                         f"{journal.folder.name}; --resume goes on after them")

    return say


def output(settings: Settings, item: Item, film: video.Source, journal: Any, console: Console,
           tell: Callable[[dict[str, Any]], None], lean: bool = False) -> Output:
    """Where the item's enlarged frames go.

    Args:
        journal: a `Journal`, what stands for it in another process, or None for a pipe.
        tell: told of each finished group.
        lean: there is room for one encoder only.
    """
    request, info = settings.request, film.info
    size = request.scale * info.width, request.scale * info.height
    if journal is None:
        writer = video.PipeWriter(console.stdout, info, size, settings.kind)
        for note in writer.notes:
            console.warn(f"{item.source}: {note}")
        writer.notes = ()
        return vsr_output.Pipe(writer, length=request.segment, tell=tell)
    if to_pictures(item.target):
        return vsr_output.Pictures(item.target, journal, names=_names(film, settings),
                                   overwrite=request.overwrite, length=request.segment,
                                   tell=tell, png_level=request.png_level)
    found, notes = encoding(settings, info, size)
    _, rest = video.split_arguments(settings.arguments)
    for note in notes:
        console.warn(f"{item.source}: {note}")
    return vsr_output.Film(
        item.target, found, journal, source=info,
        carry=item.source != STREAM and not isinstance(film, frames.FrameFolder),
        whole=settings.cut.whole, arguments=rest, overwrite=request.overwrite,
        length=request.segment, tell=tell, lean=lean)


def encoding(settings: Settings, info: VideoInfo, size: tuple[int, int]
             ) -> tuple[video.Encoding, tuple[str, ...]]:
    """How a film of frames of this (width, height) is encoded, and what that cannot keep."""
    request, (picture, _) = settings.request, video.split_arguments(settings.arguments)
    return video.choose(info, *size, codec=request.codec, crf=request.crf,
                        pixel_format=request.pixel_format, arguments=picture)


def teller(item: Item, console: Console) -> Callable[[dict[str, Any]], None]:
    """Tells programs of finished groups of frames."""
    def tell(record: dict[str, Any]) -> None:
        if console.json_lines:
            console.result("", {"source": str(item.source), "output": str(item.target),
                                "status": "segment", **record})

    return tell


def placed(film: video.Source, place: Place | None, lead: tuple[int, int, int] | None, cut: Cut
           ) -> tuple[Place | None, Iterator[Frame]]:
    """Puts a film to where work begins, if the same frames are found there.

    Args:
        film: opened for `cut`.
        place: that of an earlier run.
        lead: as in `vsr_pieces.Piece`, where `place` does not serve.

    Returns:
        The place, or None for the start of the part, and the frames from there.
    """
    if place is not None:
        film.go_on(place.frame, place.pts)
        seen = list(itertools.islice(film, len(place.seen)))
        if place.matches(seen) and not film.problems:
            return place, itertools.chain(_handed_out(seen), film)
        film.go_on(cut.first or 0)
    elif lead is not None and lead[1]:
        frame, number, pts = lead
        film.go_on(frame, pts)
        return Place(frame, number, 1, pts), iter(film)
    begins = cut.place(film.info)
    if begins is not None:
        film.go_on(*begins)
    return None, iter(film)


def facts(info: VideoInfo, scale: int, frames: int, shots: int, plan: Plan, name: str,
          notes: tuple[str, ...]) -> dict[str, Any]:
    """What the record of an enlarged film says.

    Args:
        name: of the network.
        notes: of the output.
    """
    return {"input_size": [info.width, info.height],
            "size": [scale * info.width, scale * info.height], "shots": shots, "frames": frames,
            "weights": name, "tile": list(plan.tile), "notes": [*info.notes, *notes]}


def _handed_out(held: list[Frame]) -> Iterator[Frame]:
    """The frames of a list, which lets go of them."""
    while held:
        yield held.pop(0)


def _names(film: video.Source, settings: Settings) -> Callable[[int], str] | None:
    """Pictures keep the names they had, as PNG; those of a film are numbered."""
    if not isinstance(film, frames.FrameFolder):
        return None
    stems = [path.stem for path in film.files][settings.cut.first or 0:]
    if isinstance(settings.cut.start, Fraction) or len({one.casefold() for one in stems}) < len(
            stems):
        return None
    return lambda number: f"{stems[number]}.png"
