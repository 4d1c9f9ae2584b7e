"""`restore upscale`: from names on the command line to written images."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, OutOfMemory, OutputError, UsageError
from restore_cli.jobs import upscale_network, upscale_plan
from restore_cli.jobs.upscale_image import Upscaler
from restore_cli.jobs.upscale_plan import Geometry, Target
from restore_cli.media import formats, images, limits
from restore_cli.media.images import Image
from restore_cli.pipeline import buffers, memory, naming, stream
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.pixels import Levels, levels

_EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "JXL": ".jxl",
               "BMP": ".bmp"}
_SPILLING = ("PNG", "TIFF")  # their writers take an array on disk piece by piece
_CODECS = 16 << 20  # the code of image readers and writers, loaded later
_RELEASE = 2 << 20  # after larger outputs, freed memory is handed back: the next shape differs


@dataclass
class UpscaleRequest:
    """What the command line asks for; see `restore upscale --help` for the meanings."""

    inputs: list[str] = field(default_factory=list)
    scale: str | None = None
    size: str | None = None
    model: str | None = None
    weights: str | None = None
    cell_clamp: bool = False
    self_ensemble: bool = False
    truncate: bool = False
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
    threads: int | None = None
    memory: str | None = None
    tile: int | None = None


@dataclass
class _Result:
    """An image on its way to the writer, with what keeps its pixels alive."""

    image: Image | None
    format: str
    before: tuple[int, int]
    tile: int
    notes: tuple[str, ...]
    resources: contextlib.ExitStack


def run(request: UpscaleRequest, console: Console) -> ExitStatus:
    """Does what `request` says.

    Returns:
        The run's exit status; failures of single images have been reported.

    Raises:
        RestoreError: what concerns the whole run.
    """
    target = upscale_plan.parse_target(request.scale, request.size)
    if request.memory is not None:
        memory.parse(request.memory)
    format = _format(request)
    items = _items(request, target, format, console)
    if request.dry_run:
        return _tell(items, console)
    if all(item.skip for item in items):
        return stream.run(items, _nothing, _nothing, _nothing, console=console,
                          describe=str).status
    path = upscale_network.find(request.model, request.weights, console)
    loaded = upscale_network.load(path, device=request.device, threads=request.threads,
                                  console=console)
    if loaded.layout.receptive_radius is None and request.tile is not None:
        raise UsageError(f"{loaded.name} looks at the whole image and cannot be tiled",
                         hint="Leave --tile out")
    job = _Job(request, target, format, loaded, console, alone=len(items) == 1)
    return stream.run(items, job.read, job.compute, job.write, console=console,
                      describe=_describe, weigh=job.weigh, room=job.shared).status


class _Job:
    """One run's settings and the three stages of each image."""

    def __init__(self, request: UpscaleRequest, target: Target, format: str | None,
                 loaded: upscale_network.Loaded, console: Console, alone: bool):
        self.request, self.target, self.format = request, target, format
        self.console, self.alone = console, alone
        self.loaded = loaded
        self.upscaler = Upscaler(loaded.network, loaded.layout, loaded.weights.normalisation,
                                 cell_clamp=request.cell_clamp,
                                 self_ensemble=request.self_ensemble, truncate=request.truncate)
        self.model = upscale_plan.cost(loaded.layout, request.self_ensemble, loaded.fused)
        self._warm_up()
        self.budget = memory.budget(request.memory, base=memory.rss() + _CODECS)
        self.shared = self.budget.room // 2
        """Bytes that images read, computed and written at the same time may take together."""

    def _warm_up(self) -> None:
        """Compiles and loads every kernel on a tiny image, so that `base` counts them."""
        side = 16
        size = self.target.of(side, side) if self.target.scale else (2 * side, 2 * side)
        size = tuple(min(n, 64) for n in size)
        tiny = np.zeros((side, side, 3), np.uint8)
        blocks = self._geometry((side, side), size).blocks(side)
        self.upscaler.run(tiny, np.empty((*size, 3), np.uint8), blocks, levels(tiny)[0], False)
        memory.release()

    def _geometry(self, shape: tuple[int, int], size: tuple[int, int]) -> Geometry:
        return Geometry(shape, size, self.loaded.layout.receptive_radius, self.model.cell)

    def weigh(self, item: Item) -> int:
        """Bytes the item's images take at most, from reading to the end of writing."""
        found = buffers.header(item.source) if item.source != STREAM else None
        if found is None:
            return 0
        height, width = self._size(found.height, found.width)
        out = height * width * found.pixel_bytes
        extra = buffers.encoding(self._format_of(item, "PNG"), height, width)
        return max(found.decoding, found.held + out, out + extra)

    def read(self, item: Item) -> Image:
        """Decodes the source."""
        naming.require_input(item.source)
        if item.source != STREAM:
            image = images.read(item.source)
        else:
            # Unbuffered: a thread that waits in a buffered read cannot be left at the exit.
            raw = getattr(self.console.stdin, "raw", self.console.stdin)
            image = images.read(io.BytesIO(raw.read()))
        if image.pixels.nbytes > _RELEASE:
            memory.trim()  # what the decoder took
        return image

    def compute(self, item: Item, image: Image) -> _Result:
        """Up-scales one image."""
        before = image.height, image.width
        size = self._size(*before)
        format = self._format_of(item, image.format)
        self._check(size, format, before, item)
        mapped, note = levels(image.color)
        notes = image.notes + ((note,) if note else ())
        geometry = self._geometry(before, size)
        shape, dtype = (*size, image.pixels.shape[2]), image.pixels.dtype
        tile, spill = self._fit(geometry, image, shape, format, item)
        resources = contextlib.ExitStack()
        try:
            out = resources.enter_context(buffers.array(shape, dtype, spill))
            self._fill(geometry, tile, image, out, mapped)
            result = _Result(image.with_pixels(out), format, before, tile, notes, resources)
        except BaseException:
            resources.close()
            raise
        if out.nbytes > _RELEASE:
            del image
            memory.release()
        return result

    def write(self, item: Item, result: _Result) -> dict[str, Any]:
        """Stores one result; returns the facts for its record."""
        with result.resources:
            target = self.console.stdout if item.target == STREAM else item.target
            notes = images.write(target, result.image, format=result.format,
                                 quality=self.request.quality, png_level=self.request.png_level,
                                 overwrite=self.request.overwrite)
            height, width = result.image.height, result.image.width
            large, result.image = result.image.pixels.nbytes > _RELEASE, None
        if large:
            memory.trim()  # what the encoder took
        for note in (*result.notes, *notes):
            self.console.warn(f"{item.source}: {note}")
        return {"input_size": list(result.before[::-1]), "size": [width, height],
                "format": result.format, "tile": result.tile,
                "notes": [*result.notes, *notes]}

    def _size(self, height: int, width: int) -> tuple[int, int]:
        size = self.target.of(height, width)
        if size[0] * size[1] > limits.max_pixels():
            raise UsageError(f"the output would have {size[1]}x{size[0]} pixels",
                             hint=f"Choose a smaller scale, or set {limits.VARIABLE}")
        return size

    def _format_of(self, item: Item, source_format: str) -> str:
        if self.format is not None:
            return self.format
        if item.target != STREAM:
            return formats.format_for(item.target)
        return source_format if source_format in formats.FORMATS else "PNG"

    def _check(self, size: tuple[int, int], format: str, before: tuple[int, int],
               item: Item) -> None:
        """Fails before the work what the format or the disk would refuse after it."""
        side = formats.FORMATS[format].side
        if max(size) > side:
            raise OutputError(f"{size[1]}x{size[0]} is more than {format} can hold ({side} pixels "
                              "a side)", path=item.target, hint="Use --format png or tiff")
        scale = self.loaded.layout.scale
        if scale and size != (scale * before[0], scale * before[1]):
            self.console.warn(f"{item.source}: {self.loaded.name} enlarges x{scale} only; other "
                              "sizes repeat or leave out pixels of that")

    def _fit(self, geometry: Geometry, image: Image, shape: tuple[int, ...], format: str,
             item: Item) -> tuple[int, Path | None]:
        """The tile, and the folder for the output's pixels where they do not fit in memory."""
        room, held = self.budget.room, image.pixels.nbytes
        out = int(np.prod(shape, dtype=np.int64)) * image.pixels.itemsize
        extra = buffers.encoding(format, *shape[:2])
        least = geometry.cost(self.model, upscale_plan.SMALLEST_TILE)
        need, spill = max(held + out + least, out + extra), None
        if need > room:
            if format not in _SPILLING or item.target == STREAM:
                raise OutOfMemory(
                    f"an output of {shape[1]}x{shape[0]} as {format} takes {units.show(need)}, "
                    f"and {units.show(room)} are left", path=item.source,
                    hint="Give more with --memory, or write a PNG or TIFF file, which needs less")
            spill, out = _existing_folder(item.target), 0
        # Smaller images than this may be read and written meanwhile; a larger one is alone.
        left = room - (held + out if need - least > self.shared else self.shared)
        if self.request.tile is None:
            return geometry.choose(self.model, left), spill
        return memory.check_tile(self.request.tile, lambda tile: geometry.cost(
            self.model, tile, True), left), spill

    def _fill(self, geometry: Geometry, tile: int, image: Image, out: np.ndarray,
              mapped: Levels) -> None:
        fixed = self.request.tile is not None
        total = out.shape[0] * out.shape[1] / 1e6

        def attempt(tile: int) -> None:
            bar = (self.console.progress(total=round(total, 3), unit="MP") if self.alone
                   else contextlib.nullcontext())
            with bar:
                advance = bar.update if self.alone else (lambda megapixels: None)
                self.upscaler.run(image.pixels, out, geometry.blocks(tile, fixed), mapped,
                                  image.has_alpha, advance)

        memory.halving(attempt, tile, smallest=upscale_plan.SMALLEST_TILE,
                       fixed=fixed or geometry.radius is None,
                       on_retry=lambda half: self.console.warn(
                           f"memory ran out; again with tiles of {half} pixels"))


def _format(request: UpscaleRequest) -> str | None:
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


def _items(request: UpscaleRequest, target: Target, format: str | None,
           console: Console) -> list[Item]:
    names = list(request.inputs)
    if request.files_from is not None:
        if request.files_from == STREAM and STREAM in names:
            raise UsageError("stdin cannot be both an image and the list of names")
        names += naming.read_names(request.files_from, null=request.null, stdin=console.stdin)
    elif request.null:
        raise UsageError("-0 belongs to --files-from")
    if not names:
        raise UsageError("no input", hint="Name files or folders, or - for stdin")
    items = naming.plan(
        names, output=request.output,
        suffix=target.suffix if request.suffix is None else request.suffix,
        extension=_EXTENSIONS[format] if format else _extension,
        overwrite=request.overwrite, skip_existing=request.skip_existing,
        recursive=request.recursive, shard=request.shard, readable=formats.EXTENSIONS,
        suffix_in_folder=request.suffix is not None)
    if not items and request.shard is None:
        raise UsageError("no image among the inputs", hint="--recursive enters folders")
    if any(item.target == STREAM for item in items) and not request.dry_run:
        console.reserve_stdout()
    for item in items:
        if format is None and item.target != STREAM:
            formats.format_for(item.target)  # refuses names of no format
    return items


def _extension(ending: str) -> str:
    """Results keep their input's format where it can be written; others become PNG."""
    return ending if ending.lower() in formats.WRITABLE else ".png"


def _tell(items: list[Item], console: Console) -> ExitStatus:
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


def _describe(record: dict[str, Any]) -> str:
    (width, height), (new_width, new_height) = record["input_size"], record["size"]
    return (f"{record['source']} -> {record['output']}  {width}x{height} -> "
            f"{new_width}x{new_height}  {record['seconds']:.1f} s")


def _existing_folder(target: Path) -> Path:
    folder = target.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _nothing(item: Item, data: Any = None) -> dict[str, Any]:
    return {}
