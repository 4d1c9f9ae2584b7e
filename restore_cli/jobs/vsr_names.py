"""Which films become which: files, folders of films, folders and patterns of pictures, pipes."""

from __future__ import annotations

import os
from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.jobs.files import PictureRequest
from restore_cli.jobs.vsr_journal import folder_of
from restore_cli.media import formats, frames, video
from restore_cli.media.video_pipes import KINDS
from restore_cli.media.video_streams import CONTAINERS
from restore_cli.pipeline import naming
from restore_cli.pipeline.naming import STREAM, Item

READABLE = (*CONTAINERS, ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp",
            ".ogv", ".vob", ".y4m", ".nut", ".mxf", ".gif")


def plan(request: PictureRequest, named: list[str], suffix: str, codec: str, console: Console
         ) -> list[Item]:
    """Which input becomes which output; stdout is reserved when it takes a film.

    A folder that holds pictures and no films is one film, as is a pattern such as
    ``frame_%05d.png``; other folders stand for the films in them.

    Args:
        named: inputs as on the command line.
        suffix: of outputs unless `--suffix` says another.

    Raises:
        UsageError: clashes, names of no format, or nothing to do.
        OutputError: standard output is to be written and is closed.
    """
    kind(request)
    suffix = suffix if request.suffix is None else request.suffix
    pictures = [name for name in named if name != STREAM and is_pictures(name)]
    films = [name for name in named if name not in pictures]
    if pictures and len(named) == 1:
        items = [_picture_item(Path(pictures[0]), _single(request, Path(pictures[0]), suffix),
                               request)]
    else:
        folder = _folder(request, pictures)
        items = naming.plan(
            films, output=request.output, suffix=suffix, extension=lambda own: _ending(own, codec),
            overwrite=request.overwrite, skip_existing=request.skip_existing,
            recursive=request.recursive, readable=READABLE,
            suffix_in_folder=request.suffix is not None) if films else []
        for name in pictures:
            source = Path(name)
            items.append(_picture_item(source, folder / _stem(source) if folder is not None
                                       else _beside(source, suffix), request))
        targets = [os.path.abspath(item.target) for item in items if item.target != STREAM]
        if len(set(targets)) < len(targets):
            raise UsageError("two inputs would become one output",
                             hint="Rename one, or give them different output folders")
    part, parts = naming.parse_shard(request.shard) if request.shard else (1, 1)
    items = items[part - 1::parts]
    if not items and request.shard is None:
        raise UsageError("no film among the inputs", hint="--recursive enters folders")
    if any(item.target == STREAM for item in items):
        if console.stdout is None:
            raise OutputError("standard output is closed", path=STREAM)
        if not request.dry_run:
            console.reserve_stdout()
    elif request.format is not None:
        raise UsageError(f"--format {request.format} is for standard output",
                         hint=f"Name one of {', '.join(CONTAINERS)} with -o")
    for item in items:
        if item.target != STREAM and not to_pictures(item.target):
            video.container_for(item.target, codec)
    if request.png_level is not None and items and not any(
            item.target != STREAM and to_pictures(item.target) for item in items):
        raise UsageError("--png-level belongs to pictures",
                         hint="Name a folder, or a pattern such as out/frame_%05d.png, with -o")
    return items


def kind(request: PictureRequest) -> str:
    """The form for standard output.

    Raises:
        UsageError: there is no such form.
    """
    found = request.format or "y4m"
    if found not in KINDS:
        raise UsageError(f"--format {found} cannot be written to standard output",
                         hint="Use y4m or nut")
    return found


def is_pictures(name: str) -> bool:
    """Whether an input is a film of pictures in files."""
    path = Path(name)
    if path.is_dir():
        endings = {one.suffix.lower() for one in path.iterdir()
                   if one.is_file() and not one.name.startswith(".")}
        return bool(endings & set(formats.EXTENSIONS)) and not endings & set(READABLE)
    return frames.is_pattern(path) and not path.is_file()


def to_pictures(target: Path) -> bool:
    """Whether an output is pictures in files."""
    return target.is_dir() or frames.is_pattern(target) or not target.suffix


def _ending(own: str, codec: str) -> str:
    try:
        video.container_for(f"x{own}", codec)
    except UsageError:
        return ".mkv"
    return own


def _stem(source: Path) -> str:
    return (source if source.is_dir() else source.parent).resolve().name


def _beside(source: Path, suffix: str) -> Path:
    folder = (source if source.is_dir() else source.parent).resolve()
    return folder.with_name(folder.name + (suffix or "_restored"))


def _single(request: PictureRequest, source: Path, suffix: str) -> Path | str:
    if request.output is None:
        return _beside(source, suffix)
    return STREAM if request.output == STREAM else Path(request.output)


def _folder(request: PictureRequest, pictures: list[str]) -> Path | None:
    if not pictures or request.output is None:
        return None
    if request.output == STREAM or (Path(request.output).suffix
                                    and not Path(request.output).is_dir()):
        raise UsageError("several inputs cannot become one file", path=request.output,
                         hint="Give -o a folder")
    return Path(request.output)


def _picture_item(source: Path, target: Path | str, request: PictureRequest) -> Item:
    if target == STREAM:
        return Item(source, STREAM)
    target = Path(target)
    folder = source if source.is_dir() else source.parent
    writes_to = target if target.is_dir() or not target.suffix else target.parent
    if to_pictures(target) and writes_to.resolve() == folder.resolve():
        raise UsageError("would be written among the input's pictures", path=target,
                         hint="Inputs are never replaced: choose another -o")
    if _there(target) and not request.overwrite and not _unfinished(target):
        if not request.skip_existing:
            raise UsageError("exists already", path=target,
                             hint="Use --overwrite or --skip-existing, or another -o")
        return Item(source, target, skip="output exists")
    return Item(source, target)


def _there(target: Path) -> bool:
    if target.is_dir():
        return any(target.iterdir())
    if frames.is_pattern(target):
        try:
            return bool(frames.listed(target)[0])
        except InputError:  # no folder, or nothing in it that matches
            return False
    return os.path.lexists(target)


def _unfinished(target: Path) -> bool:
    return to_pictures(target) and folder_of(target).is_dir()
