"""`restore upscale`: from names on the command line to written images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError
from restore_cli.jobs import files, precision, upscale_network, upscale_plan, workers
from restore_cli.jobs.upscale_image import Upscaler
from restore_cli.jobs.upscale_plan import Geometry, Target
from restore_cli.media import limits
from restore_cli.media.images import Image
from restore_cli.pipeline import buffers, memory, naming, stream
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.pipeline.pixels import Levels, levels
from restore_cli.pipeline.report import Report


@dataclass
class UpscaleRequest(files.PictureRequest):
    """What the command line asks for; see `restore upscale --help` for the meanings."""

    scale: str | None = None
    size: str | None = None
    model: str | None = None
    weights: str | None = None
    cell_clamp: bool = False
    self_ensemble: bool = False
    truncate: bool = False


@dataclass
class _Result:
    """An image on its way to the writer, with what keeps its pixels alive."""

    image: Image | None
    format: str
    before: tuple[int, int]
    tile: int
    notes: tuple[str, ...]
    resources: contextlib.ExitStack


@precision.applied
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
    format = files.asked_format(request)
    items = files.plan(request, files.names(request, console), target.suffix, format, console)
    several = workers.several(request, items)
    if request.dry_run:
        return files.tell(items, console)
    if all(item.skip for item in items):
        return stream.run(items, files.nothing, files.nothing, files.nothing, console=console,
                          describe=str).status
    path = upscale_network.find(request.model, request.weights, console)
    if several:
        return workers.run(__name__, request, items, console, _describe, weights=path).status
    job = _Job.of(workers.alone(request), path, console, alone=len(items) == 1)
    return stream.run(items, job.read, job.compute, job.write, console=console,
                      describe=_describe, weigh=job.weigh, room=job.shared).status


@precision.applied_to_share
def share(task: dict[str, Any], items: Iterator[Item], console: Console, report: Report) -> None:
    """One of several processes' part of a run; see `jobs.workers`."""
    request = UpscaleRequest(**task["request"])
    job = _Job.of(request, Path(request.weights), console, alone=False)
    stream.serve(items, job.read, job.compute, job.write, report=report, weigh=job.weigh,
                 room=job.shared)


class _Job:
    """One run's settings and the three stages of each image."""

    @classmethod
    def of(cls, request: UpscaleRequest, path: Path, console: Console, alone: bool) -> _Job:
        """Starts the engine and loads the network of `path`."""
        loaded = upscale_network.load(path, device=request.device, threads=request.threads,
                                      console=console)
        if loaded.layout.receptive_radius is None and request.tile is not None:
            raise UsageError(f"{loaded.name} looks at the whole image and cannot be tiled",
                             hint="Leave --tile out")
        return cls(request, upscale_plan.parse_target(request.scale, request.size),
                   files.asked_format(request), loaded, console, alone)

    def __init__(self, request: UpscaleRequest, target: Target, format: str | None,
                 loaded: upscale_network.Loaded, console: Console, alone: bool):
        self.request, self.target, self.format = request, target, format
        self.console, self.alone = console, alone
        self.loaded = loaded
        self.upscaler = Upscaler(loaded.network, loaded.layout, loaded.weights.normalisation,
                                 cell_clamp=request.cell_clamp,
                                 self_ensemble=request.self_ensemble, truncate=request.truncate)
        self.model = upscale_plan.cost(loaded.layout, request.self_ensemble, loaded.fused,
                                       loaded.encoder_fused)
        self._warm_up()
        precision.confirm(loaded.name, loaded.device)
        self.budget = memory.budget(request.memory, base=memory.rss() + files.CODECS)
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
        extra = buffers.encoding(files.format_of(item, self.format, "PNG"), height, width,
                                 found.pixel_bytes)
        with self.budget.telling():
            files.check_room(item.source, found.decoding, self.budget.room)
        return max(found.decoding, found.held + out, out + extra)

    def read(self, item: Item) -> Image:
        """Decodes the source."""
        naming.require_input(item.source)
        return files.read(files.opened(item.source, self.console))

    def compute(self, item: Item, image: Image) -> _Result:
        """Up-scales one image."""
        before = image.height, image.width
        size = self._size(*before)
        format = files.format_of(item, self.format, image.format)
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
        if out.nbytes > files.RELEASE:
            del image
            memory.release()
        return result

    def write(self, item: Item, result: _Result) -> dict[str, Any]:
        """Stores one result; returns the facts for its record."""
        with result.resources:
            notes = files.write(item, result.image, result.format, self.request, self.console)
            height, width = result.image.height, result.image.width
            large, result.image = result.image.pixels.nbytes > files.RELEASE, None
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

    def _check(self, size: tuple[int, int], format: str, before: tuple[int, int],
               item: Item) -> None:
        """Fails before the work what the format or the disk would refuse after it."""
        files.check_side(size, format, item)
        scale = self.loaded.layout.scale
        if scale and size != (scale * before[0], scale * before[1]):
            self.console.warn(f"{item.source}: {self.loaded.name} enlarges x{scale} only; other "
                              "sizes repeat or leave out pixels of that")

    def _fit(self, geometry: Geometry, image: Image, shape: tuple[int, ...], format: str,
             item: Item) -> tuple[int, Path | None]:
        """The tile, and the folder for the output's pixels where they do not fit in memory."""
        least = geometry.cost(self.model, upscale_plan.SMALLEST_TILE)
        with self.budget.telling():
            if geometry.radius is None:  # says more than that the smallest tile does not fit
                geometry.choose(self.model, self.budget.room - image.pixels.nbytes)
            found = files.places(item, image.pixels.nbytes, shape, image.pixels.itemsize, format,
                                 least=least, room=self.budget.room, shared=self.shared,
                                 alone=self.alone)
        # Of what is given, images take up to half.
        with self.budget.telling(2):
            if self.request.tile is None:
                return geometry.choose(self.model, found.left), found.spill
            return memory.check_tile(self.request.tile, lambda tile: geometry.cost(
                self.model, tile, True), found.left), found.spill

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


def _describe(record: dict[str, Any]) -> str:
    (width, height), (new_width, new_height) = record["input_size"], record["size"]
    return (f"{record['source']} -> {record['output']}  {width}x{height} -> "
            f"{new_width}x{new_height}  {record['seconds']:.1f} s")
