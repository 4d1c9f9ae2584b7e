"""Denoises single images: training on each or on all, tiles, and what is said about the result."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.jobs import denoise_plan, denoise_train, files
from restore_cli.jobs.denoise_image import Denoiser, Index, Progress
from restore_cli.jobs.denoise_network import Loaded, Normalisation
from restore_cli.jobs.denoise_picture import Moments, Picture, pooled, prepare
from restore_cli.jobs.denoise_report import Findings, Measure
from restore_cli.jobs.denoise_session import Kind, Session
from restore_cli.jobs.denoise_train import Part, Trained
from restore_cli.media.images import Image
from restore_cli.media.samples import row_windows
from restore_cli.pipeline import buffers, memory
from restore_cli.pipeline.naming import Item

CUT_OFF = 2.0
"""Noise this many deviations from a limit of the range keeps its mean (to 1 % of a deviation)."""


@dataclass
class Context:
    """What every image of a run shares.

    Attributes:
        request: the command line.
        format: of outputs, or None for their inputs'.
        session: the networks.
        console: for bars and notes.
        alone: the run has one input, so that it may show bars of its own.
        budget: the run's memory.
        shared: bytes that images in flight may take together.
        measure: looks at noise.
    """

    request: Any
    format: str | None
    session: Session
    console: Console
    alone: bool
    budget: memory.Budget
    shared: int
    measure: Measure

    @property
    def room(self) -> int:
        """Bytes for images, training and tiles."""
        return self.budget.room

    def warn(self, item: Item, lines: Sequence[str]) -> None:
        """Says `lines` about an input."""
        for line in lines:
            self.console.warn(f"{item.source}: {line}")

    def train(self, kind: Kind, parts: Sequence[Part], normalisation: Normalisation,
              shared: bool, words: str = "training") -> tuple[Loaded, Trained]:
        """`Session.train`, if there is memory for it.

        Raises:
            OutOfMemory: there is not.
        """
        loaded = self.session.start(kind.channels, kind.dims)
        with self.budget.telling(2):  # of what is given, images may take half
            denoise_plan.check_training(
                self.session.cost(loaded, False), denoise_train.BATCH[kind.dims],
                denoise_train.patch_shape(loaded), self.room - min(self.shared, self.room // 2))
        return self.session.train(loaded, parts, normalisation, shared=shared, words=words)

    def denoiser(self, loaded: Loaded) -> Denoiser:
        """The network with the settings of the run."""
        return Denoiser(loaded, tta=self.request.tta, strength=self.request.strength)

    def attempt(self, loaded: Loaded, tiling: denoise_plan.Tiling,
                work: Callable[[denoise_plan.Tiling], None]) -> None:
        """Does `work` with tiles, again with half of them while memory runs out."""
        def smaller(side: int) -> None:
            sides = tuple(min(side, n) if n > side else n for n in tiling.sides)
            work(denoise_plan.Tiling(sides))

        memory.halving(smaller, max(tiling.sides), smallest=denoise_plan.SMALLEST_TILE,
                       fixed=self.request.tile is not None,
                       on_retry=lambda half: self.console.warn(
                           f"memory ran out; again with tiles of {half} pixels"))

    def bar(self, total: float, unit: str = "MP"):
        """A bar for the only input of a run, else something silent."""
        if self.alone:
            return self.console.progress(total=round(total, 3), unit=unit)
        return contextlib.nullcontext()


@dataclass
class Example:
    """An image, or part of a stack, to train on.

    Attributes:
        kind: of network that it trains.
        moments: of its channels; None where one network sees channels of different scales.
        bytes: held while it is trained on.
        parts: makes what patches are cut from, in the units of a normalisation.
        shared: its channels share their noise.
    """

    kind: Kind
    moments: Moments | None
    bytes: int
    parts: Callable[[Normalisation], list[Part]]
    shared: bool = False


@dataclass
class Result:
    """An image on its way to the writer, with what keeps its pixels alive."""

    image: Image | None
    format: str
    notes: tuple[str, ...]
    facts: dict[str, Any]
    resources: contextlib.ExitStack

    def write(self, item: Item, request: Any, console: Console) -> dict[str, Any]:
        """Encodes it; returns the facts for its record."""
        with self.resources:
            notes = files.write(item, self.image, self.format, request, console)
            height, width = self.image.height, self.image.width
            large, self.image = self.image.pixels.nbytes > files.RELEASE, None
        if large:
            memory.trim()
        return {"size": [width, height], "format": self.format, **self.facts,
                "notes": [*self.notes, *notes]}


class PictureWork:
    """Denoises single images with the settings of `context`."""

    def __init__(self, context: Context):
        self.context = context

    def example(self, image: Image) -> Example | None:
        """The image as training material; None when nothing varies in it.

        Raises:
            InputError: it has pixels that cannot be used.
        """
        picture = prepare(image, self.context.request.mask_invalid)
        if picture.even:
            return None
        return self._example(picture, self.context.measure.picture(picture))

    @staticmethod
    def _example(picture: Picture, findings: Findings) -> Example:
        kind = Kind(picture.channels, 2, picture.dtype.name)
        return Example(kind, picture.moments, picture.planes.nbytes,
                       lambda normalisation: [part_of(picture, normalisation, findings)],
                       findings.shared)

    def compute(self, item: Item, image: Image) -> Result:
        """Denoises one image.

        Raises:
            InputError: pixels that cannot be used, or weights that do not fit.
            OutOfMemory: neither training nor the smallest tile fits.
        """
        context = self.context
        format = files.format_of(item, context.format, image.format)
        files.check_side((image.height, image.width), format, item)
        picture = prepare(image, context.request.mask_invalid)
        notes = list(image.notes)
        if picture.keep is not None and picture.moments.invalid:
            notes.append(f"{picture.moments.invalid} NaN or infinite pixels stay as they are")
        if picture.even:
            notes.append("nothing varies in it: returned unchanged")
            return Result(image, format, tuple(notes), {"network": None}, contextlib.ExitStack())
        before = context.measure.picture(picture, lossy=image.format == "JPEG")
        context.warn(item, before.warnings)  # at once: they may spare the wait
        loaded, trained = self._network(item, picture, before)
        if loaded.channels == 1 and picture.channels > 1:
            notes.append(f"the weights '{loaded.name}' are for grey: each channel by itself")
        resources = contextlib.ExitStack()
        try:
            out, tile = self._fill(item, image, picture, loaded, format, resources)
        except BaseException:
            resources.close()
            raise
        after = context.measure.result(picture, before, out)
        context.warn(item, [line for line in after.warnings if line not in before.warnings])
        facts = {"network": loaded.name, "tile": tile, **after.facts}
        if trained is not None:
            facts["training"] = trained.facts
        result = Result(image.with_pixels(out), format, tuple(notes), facts, resources)
        if out.nbytes > files.RELEASE:
            del image, picture
            memory.release()
        return result

    def _network(self, item: Item, picture: Picture, before: Findings
                 ) -> tuple[Loaded, Trained | None]:
        session = self.context.session
        if not session.trains:
            return session.ready(picture.channels, 2), None
        example = self._example(picture, before)
        if example.kind in session.trained:
            return session.trained[example.kind]
        normalisation = Normalisation()
        loaded, trained = self.context.train(example.kind, example.parts(normalisation),
                                             normalisation, example.shared)
        self.context.console.info(f"{item.source}: {trained}")
        self.context.warn(item, before.leak(trained.loss, trained.steps, picture.moments.std))
        session.keep(loaded, trained, 1)
        return loaded, trained

    def _fill(self, item: Item, image: Image, picture: Picture, loaded: Loaded, format: str,
              resources: contextlib.ExitStack) -> tuple[np.ndarray, int]:
        """The result's pixels, and the side of the tiles they were made in."""
        context, request = self.context, self.context.request
        model = context.session.cost(loaded, request.tta)
        shape, pixels = picture.shape, image.pixels
        least = model.of([denoise_plan.window(n, denoise_plan.SMALLEST_TILE, loaded.layout)
                          for n in shape])
        held = pixels.nbytes + (0 if np.shares_memory(picture.planes, pixels)
                                else picture.planes.nbytes)
        found = files.places(item, held, pixels.shape, pixels.itemsize, format, least=least,
                             room=context.room, shared=context.shared, alone=context.alone)
        tiling = denoise_plan.choose(model, loaded.layout, shape, found.left, request.tile)
        out = resources.enter_context(buffers.array(pixels.shape, pixels.dtype, found.spill))
        for part in row_windows(pixels.shape):
            out[part] = pixels[part]
        units = loaded.normalisation.units(picture.moments.mean, picture.moments.std, picture.top)
        denoiser, channels = context.denoiser(loaded), out.transpose(2, 0, 1)

        def work(tiling: denoise_plan.Tiling) -> None:
            axes = [denoiser.axis(n, side) for n, side in zip(shape, tiling.sides, strict=True)]
            with context.bar(math.prod(shape) / 1e6) as bar:
                advance: Progress = bar.update if bar is not None else (lambda megapixels: None)
                denoiser.run(picture.window, lambda where, made: picture.place(
                    channels, where, made), axes, units, advance)

        context.attempt(loaded, tiling, work)
        return out, max(tiling.sides)


def common(examples: Sequence[Example]) -> Normalisation:
    """The normalisation of a training on `examples`: their common mean and deviation."""
    found = [example.moments for example in examples]
    if any(moments is None for moments in found):
        return Normalisation()
    mean, std = pooled(found)
    return Normalisation("fixed", tuple(mean), tuple(std))


def part_of(picture: Picture, normalisation: Normalisation, findings: Findings) -> Part:
    """A picture as something patches are cut from.

    Where noise is cut off at a limit of the range, its mean is not what it was before.
    """
    units = normalisation.units(picture.moments.mean, picture.moments.std, picture.top)
    low, high = (np.where(share, end, far) for share, end, far in zip(
        findings.piled, (picture.moments.low, picture.moments.high), (-np.inf, np.inf)))
    margin = CUT_OFF * np.asarray(findings.report.sigma)
    keep = picture.keep

    def biased(*where: Index) -> np.ndarray:
        return near(picture.window(*where), low + margin, high - margin)

    return Part(picture.shape, units, picture.window,
                None if keep is None else lambda *where: keep[where],
                biased if any(findings.piled) else None, findings.gaussian)


def near(planes: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where the mean of 5x5 pixels of (C, H, W) is below `low` or above `high`, (C,) each."""
    padded = np.pad(planes, [(0, 0), (2, 2), (2, 2)], mode="edge")
    rows = sum(padded[:, y:y + planes.shape[1]] for y in range(5))
    mean = sum(rows[:, :, x:x + planes.shape[2]] for x in range(5)) / 25
    return (mean < low[:, None, None]) | (mean > high[:, None, None])
