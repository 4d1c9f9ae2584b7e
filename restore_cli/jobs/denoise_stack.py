"""Denoises stacks plane by plane or volume by volume, larger than memory if need be."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import OutputError
from restore_cli.jobs import denoise_plan
from restore_cli.jobs.denoise_image import Denoiser, Whole
from restore_cli.jobs.denoise_network import Loaded, Normalisation, Units
from restore_cli.jobs.denoise_picture import Moments, Picture, filled, merged, top, unusable
from restore_cli.jobs.denoise_pictures import Context, Example, common
from restore_cli.jobs.denoise_report import Findings
from restore_cli.jobs.denoise_session import Kind
from restore_cli.jobs.denoise_train import Part, Trained
from restore_cli.media import stacks
from restore_cli.media.stacks import Stack
from restore_cli.pipeline import memory
from restore_cli.pipeline.naming import STREAM, Item

_SLAB = 32  # planes of a volume that are kept together for training where all are too many
_MOST = 4096  # planes that a training could make use of


@dataclass
class _Sample:
    """Planes, or slabs of volumes, that training looks at.

    Attributes:
        colours: channels that are denoised; without opacity.
        pieces: (C, H, W) or (C, Z, H, W), all finite, with where not to learn.
        moments: of the varying channels.
        targets: as `Picture.targets`.
        joint: one network sees all channels together (colours); else one after the other.
    """

    colours: list[int]
    pieces: list[tuple[np.ndarray, np.ndarray | None]]
    moments: Moments
    targets: tuple[tuple[int, ...], ...]
    joint: bool

    @property
    def channels(self) -> int:
        """Of the network."""
        return len(self.targets) if self.joint else 1


@dataclass
class StackResult:
    """What was written; a stack for stdout waits in a temporary file."""

    facts: dict[str, Any]
    notes: tuple[str, ...]
    waiting: Path | None
    resources: contextlib.ExitStack

    def write(self, item: Item, request: Any, console: Console) -> dict[str, Any]:
        """Sends it to stdout if it goes there; returns the facts for its record."""
        with self.resources:
            if self.waiting is not None:
                with self.waiting.open("rb") as file:
                    shutil.copyfileobj(file, console.stdout)
                console.stdout.flush()
        return {**self.facts, "notes": list(self.notes)}


class StackWork:
    """Denoises stacks with the settings of `context`."""

    def __init__(self, context: Context):
        self.context = context
        self.volume = bool(context.request.volume)

    def example(self, stack: Stack, room: int) -> Example | None:
        """The stack as training material that takes about `room` bytes; None if it is even.

        Raises:
            InputError: it has pixels that cannot be used.
        """
        sample = self._sample(stack, room)
        if not sample.moments.std.any():
            return None
        return self._example(stack, sample, self._middle(stack, sample).shared)

    def compute(self, item: Item, stack: Stack) -> StackResult:
        """Denoises one stack and writes it.

        Raises:
            InputError: pixels that cannot be used, or weights that do not fit.
            OutputError: the output is no stack format, exists, or cannot be written.
            OutOfMemory: neither training nor the smallest tile fits.
        """
        context, request = self.context, self.context.request
        if context.format not in (None, "TIFF"):
            raise OutputError(f"a stack cannot be written as {context.format}", path=item.target,
                              hint="Leave --format out, or use --format tiff")
        console = context.console
        console.info(f"{item.source}: {stack.pages_note}")
        sample = self._sample(stack, context.room // 3)
        facts: dict[str, Any] = {"axes": stack.axes, "shape": list(stack.shape),
                                 "size": list(stack.plane_shape[:0:-1]), "planes": stack.count}
        notes = list(stack.notes)
        resources = contextlib.ExitStack()
        try:
            target, waiting = item.target, None
            if target == STREAM:
                folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="restore-"))
                waiting = Path(folder, "stack.npy" if stack.form == "NPY" else "stack.tif")
                target = waiting
            if sample.moments.std.any():
                before = self._middle(stack, sample)
                context.warn(item, before.warnings)
                loaded, trained = self._network(item, stack, sample, before)
                sample.pieces.clear()
                memory.release()
                with stacks.create_stack(target, stack, overwrite=request.overwrite) as writer:
                    self._write(stack, sample, loaded, writer)
                facts |= {"network": loaded.name,
                          **self._findings(item, stack, sample, target, before)}
                if trained is not None:
                    facts["training"] = trained.facts
                if loaded.channels == 1 and len(sample.targets) > 1 and sample.joint:
                    notes.append(f"the weights '{loaded.name}' are for grey: each channel by "
                                 "itself")
            else:
                notes.append("nothing varies in it: returned unchanged")
                facts["network"] = None
                with stacks.create_stack(target, stack, overwrite=request.overwrite) as writer:
                    for number in range(stack.count):
                        writer.write(number, stack.plane(number))
            notes += writer.notes
        except BaseException:
            resources.close()
            raise
        return StackResult(facts, tuple(notes), waiting, resources)

    # Looking

    def _sample(self, stack: Stack, room: int) -> _Sample:
        colours = [c for c in range(stack.channels) if c != stack.alpha]
        planes = self._chosen(stack, room, len(colours))
        mask = self.context.request.mask_invalid
        found, seen = Moments(len(colours)), set()
        pieces: list[tuple[np.ndarray, np.ndarray | None]] = []
        for group in planes:
            volume = [stack.plane(number)[colours] for number in group]
            for number, plane in zip(group, volume, strict=True):
                found.add(plane, number)
                seen.add(number)
            pieces.append((np.stack(volume, axis=1) if self.volume else volume[0], None))
        if stack.dtype.kind == "f" and not mask:
            for number in range(stack.count):  # better now than after a training
                if number not in seen:
                    found.add(stack.plane(number)[colours], number)
        if not mask:
            found.refuse_invalid(several=stack.count > 1)
        targets = self._targets(stack, pieces, found)
        joint = stack.kind == "rgb"
        if len(targets) < len(colours):
            first = targets[0][0]
            pieces = [(piece[first:first + 1], None) for piece, _ in pieces]
            found = found.only(first)
        pieces = [_usable(piece, found.mean) for piece, _ in pieces]
        return _Sample(colours, pieces, found, targets, joint)

    @staticmethod
    def _targets(stack: Stack, pieces: list, found: Moments) -> tuple[tuple[int, ...], ...]:
        if stack.kind != "rgb":
            return tuple((c,) if found.std[c] > 0 else () for c in range(len(found.count)))
        each = {merged(piece.reshape(len(piece), -1, piece.shape[-1]), found)
                for piece, _ in pieces}
        if len(each) == 1:
            return each.pop()
        return tuple((c,) if found.std[c] > 0 else () for c in range(len(found.count)))

    def _chosen(self, stack: Stack, room: int, channels: int) -> list[list[int]]:
        """Numbers of the planes to train on, by seed: as many as there is room for."""
        height, width = stack.plane_shape[1:]
        each = channels * height * width * max(4, stack.dtype.itemsize)
        rng = np.random.default_rng(self.context.request.seed)
        if not self.volume:
            most = max(1, min(room // each, _MOST))
            if most >= stack.count:
                return [[number] for number in range(stack.count)]
            return [[int(number)] for number in sorted(rng.permutation(stack.count)[:most])]
        groups = [stack.plan.planes_of(number) for number in range(stack.volumes)]
        most = max(1, room // each)
        if len(groups[0]) * len(groups) > most:
            deep = max(1, min(_SLAB, most, len(groups[0])))
            starts = [(volume, start) for volume in range(len(groups))
                      for start in range(0, len(groups[0]) - deep + 1, deep)]
            picked = sorted(rng.permutation(len(starts))[:max(1, most // deep)].tolist())
            groups = [groups[starts[at][0]][starts[at][1]:starts[at][1] + deep] for at in picked]
        return groups

    def _middle(self, stack: Stack, sample: _Sample) -> Findings:
        """What the noise is like in the middle of the sample."""
        piece, _ = sample.pieces[len(sample.pieces) // 2]
        plane = piece[:, piece.shape[1] // 2] if self.volume else piece
        return self.context.measure.arrays(plane, None, top(stack.dtype), bool(stack.lossy))

    def _findings(self, item: Item, stack: Stack, sample: _Sample, target: Path,
                  before: Findings) -> dict[str, Any]:
        """Compares the middle plane with what was written, and warns."""
        number = stack.count // 2
        colours = [sample.colours[next(iter(to), c)] for c, to in enumerate(sample.targets)]
        with stacks.open_stack(target, stack.axes) as written:
            restored = written.plane(number)[colours]
        found = self.context.measure.arrays(
            _usable(stack.plane(number)[colours], sample.moments.mean)[0],
            _usable(restored, sample.moments.mean)[0], top(stack.dtype), bool(stack.lossy))
        self.context.warn(item, [line for line in found.warnings if line not in before.warnings])
        return found.facts

    # Training

    def _example(self, stack: Stack, sample: _Sample, shared: bool) -> Example:
        kind = Kind(sample.channels, 3 if self.volume else 2, stack.dtype.name)
        alike = sample.joint or len(sample.targets) == 1

        def parts(normalisation: Normalisation) -> list[Part]:
            units = normalisation.units(sample.moments.mean, sample.moments.std, top(stack.dtype))
            varying = [c for c in range(len(sample.targets)) if sample.targets[c]]
            groups = [(slice(None), units)] if sample.joint else [
                (slice(c, c + 1), units.only(c)) for c in varying]
            return [_part(piece[channels], keep, own) for piece, keep in sample.pieces
                    for channels, own in groups]

        return Example(kind, sample.moments if alike else None,
                       sum(piece.nbytes for piece, _ in sample.pieces), parts,
                       shared and sample.joint)

    def _network(self, item: Item, stack: Stack, sample: _Sample, before: Findings
                 ) -> tuple[Loaded, Trained | None]:
        context, session = self.context, self.context.session
        if not session.trains:
            return session.ready(sample.channels, 3 if self.volume else 2), None
        example = self._example(stack, sample, before.shared)
        if example.kind in session.trained:
            return session.trained[example.kind]
        normalisation = common([example])
        loaded, trained = context.train(example.kind, example.parts(normalisation),
                                        normalisation, example.shared)
        context.console.info(f"{item.source}: {trained}")
        context.warn(item, before.leak(trained.loss, trained.steps, sample.moments.std))
        session.keep(loaded, trained, 1)
        return loaded, trained

    # Predicting

    def _write(self, stack: Stack, sample: _Sample, loaded: Loaded,
               writer: stacks.StackWriter) -> None:
        context = self.context
        units = loaded.normalisation.units(sample.moments.mean, sample.moments.std,
                                           top(stack.dtype))
        denoiser = context.denoiser(loaded)
        tiling = self._tiling(stack, loaded)
        with context.bar(stack.count, "plane") as bar:
            def done(plane: int, made: np.ndarray) -> None:
                writer.write(plane, made)
                if bar is not None:
                    bar.update()

            if self.volume:
                for volume in range(stack.volumes):
                    self._volume(stack, sample, volume, denoiser, units, tiling, done)
            else:
                for number in range(stack.count):
                    whole = stack.plane(number)
                    self._fill(whole, whole[sample.colours], sample, denoiser, units, tiling)
                    done(number, whole)

    def _volume(self, stack: Stack, sample: _Sample, volume: int, denoiser: Denoiser,
                units: Units, tiling: denoise_plan.Tiling,
                done: Callable[[int, np.ndarray], None]) -> None:
        """One volume, some planes at a time with those around them that they depend on."""
        numbers = stack.plan.planes_of(volume)
        deep = denoiser.axis(stack.depth, tiling.sides[0])
        for span in deep.spans:
            kept, inside = deep.keep(span)
            if kept.stop <= kept.start:
                continue
            order = np.arange(stack.depth)[deep.index(span)]
            planes = {z: stack.plane(numbers[z]) for z in sorted(set(order.tolist()))}
            block = np.stack([planes[z] for z in order.tolist()], axis=1)
            whole = np.ascontiguousarray(block[:, inside])
            planes.clear()
            self._fill(whole, block[sample.colours], sample, denoiser, units, tiling, inside)
            for z in range(kept.start, kept.stop):
                done(numbers[z], whole[:, z - kept.start])

    def _fill(self, whole: np.ndarray, given: np.ndarray, sample: _Sample, denoiser: Denoiser,
              units: Units, tiling: denoise_plan.Tiling, inside: slice | None = None) -> None:
        """Denoises `given`, (C, H, W) or (C, Z, H, W), into the same channels of `whole`.

        Args:
            inside: planes of `given` along Z that `whole` has.
        """
        if len(sample.targets) < len(given):
            given = given[sample.targets[0][0]:sample.targets[0][0] + 1]
        planes, keep = _usable(given, sample.moments.mean)
        targets = tuple(tuple(sample.colours[c] for c in target) for target in sample.targets)
        picture = Picture(planes, targets, keep if inside is None or keep is None
                          else keep[inside], sample.moments, whole.dtype)

        def work(tiling: denoise_plan.Tiling) -> None:
            axes = [denoiser.axis(n, side)
                    for n, side in zip(given.shape[-2:], tiling.sides[-2:], strict=True)]
            if inside is not None:
                axes.insert(0, Whole(given.shape[1], inside))
            denoiser.run(picture.window, lambda where, made: picture.place(whole, where, made),
                         axes, units)

        self.context.attempt(denoiser.loaded, tiling, work)

    def _tiling(self, stack: Stack, loaded: Loaded) -> denoise_plan.Tiling:
        context = self.context
        model = context.session.cost(loaded, context.request.tta)
        channels, height, width = stack.plane_shape
        each = channels * height * width * max(4, stack.dtype.itemsize)
        if not self.volume:
            return denoise_plan.choose(model, loaded.layout, (height, width),
                                       context.room - 4 * each, context.request.tile)
        return denoise_plan.choose(
            model, loaded.layout, (stack.depth, height, width), context.room,
            context.request.tile, beside=lambda window: 3 * window * each)


def _part(piece: np.ndarray, keep: np.ndarray | None, units: Units) -> Part:
    return Part(piece.shape[1:], units, lambda *where: piece[(slice(None), *where)],
                None if keep is None else lambda *where: keep[where])


def _usable(piece: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, H, W) or (C, Z, H, W) with invalid pixels made of others, and where those are."""
    keep = unusable(piece)
    if keep is None:
        return piece, None
    if piece.ndim == 3:
        return filled(piece, keep, mean), keep
    return np.stack([filled(piece[:, z], keep[z], mean) for z in range(len(keep))], axis=1), keep
