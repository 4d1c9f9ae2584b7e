"""What every job on pictures does with names, formats and bytes before and after its work."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, OutOfMemory, OutputError, UsageError
from restore_cli.media import formats, images
from restore_cli.media.images import Image
from restore_cli.pipeline import buffers, memory, naming
from restore_cli.pipeline.naming import STREAM, Item, Place

RELEASE = 2 << 20
"""After larger arrays, freed memory is handed back: the next one has another shape."""

CODECS = 16 << 20
"""The code of image readers and writers, which is loaded later."""

_EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "JXL": ".jxl",
               "BMP": ".bmp"}
_SPILLING = ("PNG", "TIFF")  # their writers take an array on disk piece by piece


@dataclass
class PictureRequest:
    """The part of a command line that says which pictures, where to, and with what."""

    inputs: list[str] = field(default_factory=list)
    output: str | None = None
    suffix: str | None = None
    format: str | None = None
    quality: int | None = None
    png_level: int | None = None
    overwrite: bool = False
    skip_existing: bool = False
    recursive: bool = False
    dry_run: bool = False
    files_from: str | None = None
    null: bool = False
    shard: str | None = None
    device: str = "auto"
    jobs: int | None = None
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None
    precision: str = "fp32"


def asked_format(request: PictureRequest) -> str | None:
    """The format that `--format` names, or None without it.

    Raises:
        UsageError: unknown, or it contradicts `-o`.
    """
    if request.format is None:
        return None
    found = formats.WRITABLE.get(f".{request.format.lower()}")
    if found is None:
        raise UsageError(f"unknown format '{request.format}'", hint="Use one of " + ", ".join(
            name.lower() for name in formats.FORMATS))
    named = formats.WRITABLE.get(Path(request.output or "").suffix.lower(), found)
    if named != found and not os.path.isdir(request.output):
        raise UsageError(f"-o {request.output} and --format {request.format} contradict each "
                         "other")
    return found


def names(request: PictureRequest, console: Console) -> list[str]:
    """The inputs as named on the command line and in the `--files-from` list.

    Raises:
        UsageError: none, or the options contradict each other.
    """
    found = list(request.inputs)
    if request.files_from is not None:
        if request.files_from == STREAM and STREAM in found:
            raise UsageError("stdin cannot be both an image and the list of names")
        found += naming.read_names(request.files_from, null=request.null, stdin=console.stdin)
    elif request.null:
        raise UsageError("-0 belongs to --files-from")
    if not found:
        raise UsageError("no input", hint="Name files or folders, or - for stdin")
    return found


def plan(request: PictureRequest, inputs: list[str], suffix: str, format: str | None,
         console: Console, also: Collection[str] = ()) -> list[Item]:
    """Which input becomes which output; stdout is reserved when it takes a picture.

    Args:
        inputs: what `names` returned.
        suffix: of outputs unless `--suffix` says another.
        format: what `asked_format` returned.
        also: extensions, beside those of pictures, that can be read and written.

    Raises:
        UsageError: clashes, names of no format, or nothing to do.
    """
    def extension(ending: str) -> str:
        # Results keep their input's format where it can be written; others become PNG.
        return ending if ending.lower() in formats.WRITABLE or ending.lower() in also else ".png"

    items = naming.plan(
        inputs, output=request.output,
        suffix=suffix if request.suffix is None else request.suffix,
        extension=_EXTENSIONS[format] if format else extension,
        overwrite=request.overwrite, skip_existing=request.skip_existing,
        recursive=request.recursive, shard=request.shard, readable={*formats.EXTENSIONS, *also},
        suffix_in_folder=request.suffix is not None)
    if not items and request.shard is None:
        raise UsageError("no image among the inputs", hint="--recursive enters folders")
    if any(item.target == STREAM for item in items) and not request.dry_run:
        console.reserve_stdout()
    for item in items:
        if (format is None and item.target != STREAM
                and item.target.suffix.lower() not in also):
            formats.format_for(item.target)  # refuses names of no format
    return items


def tell(items: list[Item], console: Console) -> ExitStatus:
    """Says what a run would do (`--dry-run`)."""
    for item in items:
        note = f" (skipped: {item.skip})" if item.skip else ""
        status = "skipped" if item.skip else "planned"
        try:
            naming.require_input(item.source)
        except InputError as error:
            note, status = f" (will fail: {error.message})", "failed"
        console.result(f"{item.source} -> {item.target}{note}",
                       {"source": str(item.source), "output": str(item.target), "status": status})
    return ExitStatus.OK


def opened(source: Place, console: Console) -> Path | BinaryIO:
    """What a reader takes for a source: the path, or stdin's bytes as a stream."""
    if source != STREAM:
        return source
    # Unbuffered: a thread that waits in a buffered read cannot be left at the exit.
    raw = getattr(console.stdin, "raw", console.stdin)
    return io.BytesIO(raw.read())


def check_room(source: Place, need: int, room: int) -> None:
    """Fails before a source is decoded that would not fit while it is.

    Args:
        need: bytes while decoding; 0 where that is not known.
        room: bytes there are.

    Raises:
        OutOfMemory: it would not fit.
    """
    if need > room:
        raise OutOfMemory(f"takes {units.show(need)} to be decoded, and {units.show(room)} are "
                          "left", path=source, hint="Give more with --memory",
                          short=need - room)


def read(source: Path | BinaryIO) -> Image:
    """Decodes a picture and hands back what the decoder took.

    Raises:
        InputError: as `images.read`.
    """
    image = images.read(source)
    if image.pixels.nbytes > RELEASE:
        memory.trim()
    return image


def write(item: Item, image: Image, format: str, request: PictureRequest, console: Console
          ) -> tuple[str, ...]:
    """Encodes a picture to the item's target; returns the notes of the encoder.

    Raises:
        OutputError: as `images.write`.
    """
    target = console.stdout if item.target == STREAM else item.target
    return images.write(target, image, format=format, quality=request.quality,
                        png_level=request.png_level, overwrite=request.overwrite)


def format_of(item: Item, asked: str | None, source_format: str) -> str:
    """The format of an item's output."""
    if asked is not None:
        return asked
    if item.target != STREAM:
        return "TIFF" if item.target.suffix.lower() == ".btf" else formats.format_for(item.target)
    return source_format if source_format in formats.FORMATS else "PNG"


def check_side(size: tuple[int, int], format: str, item: Item) -> None:
    """Fails before the work what the format would refuse after it.

    Args:
        size: (height, width) of the output.

    Raises:
        OutputError: more pixels on a side than the format can hold.
    """
    side = formats.FORMATS[format].side
    if max(size) > side:
        raise OutputError(f"{size[1]}x{size[0]} is more than {format} can hold ({side} pixels "
                          "a side)", path=item.target, hint="Use --format png or tiff")


@dataclass(frozen=True)
class Places:
    """Where an output's pixels go while they are made.

    Attributes:
        spill: folder for them where they do not fit in memory, else None.
        left: bytes left for tiles.
    """

    spill: Path | None
    left: int


def places(item: Item, held: int, shape: tuple[int, ...], itemsize: int, format: str, *,
           least: int, room: int, shared: int, alone: bool = False) -> Places:
    """Splits the room between the input, the output and the tiles.

    Args:
        held: bytes of the decoded input (and whatever stays beside it).
        shape: (H, W, C) of the output.
        itemsize: bytes of a sample.
        least: bytes of the smallest tile.
        room: bytes there are.
        shared: bytes that images in flight together may take; a larger one is alone.
        alone: the run has no other image.

    Raises:
        OutOfMemory: the output fits neither in memory nor, as this format, through the disk.
    """
    out = itemsize
    for length in shape:
        out *= length
    extra = buffers.encoding(format, *shape[:2], itemsize * shape[2])
    need, spill = max(held + out + least, out + extra), None
    if need > room:
        if format not in _SPILLING or item.target == STREAM:
            raise OutOfMemory(
                f"an output of {shape[1]}x{shape[0]} as {format} takes {units.show(need)}, "
                f"and {units.show(room)} are left", path=item.source,
                hint="Give more with --memory, or write a PNG or TIFF file, which needs less",
                short=need - room)
        spill, out = _existing_folder(item.target), 0
        if held + least > room:  # told here, as the image alone may be more than there is
            raise OutOfMemory(
                f"an image of {units.show(held)} and the smallest tile take "
                f"{units.show(held + least)}, and {units.show(room)} are left", path=item.source,
                hint="Give more with --memory", short=held + least - room)
    apart = alone or need - least > shared
    left = room - (held + out if apart else shared)
    if alone:  # the allocator keeps some of what tiles give back
        left = max(min(left, least), left - room // 4)
    return Places(spill, left)


def _existing_folder(target: Path) -> Path:
    folder = target.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    return folder


def nothing(item: Item, data: Any = None) -> dict[str, Any]:
    """A stage of a run in which every item is skipped."""
    return {}
