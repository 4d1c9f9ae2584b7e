"""Lists of noisy and clean RAW files of one scene, and patches from them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.training.datasets.raw_files import Frame, read, turned
from restore_cli.training.datasets.raw_pairs import Branch, Held, RawBatch
from restore_cli.training.datasets.sources import shuffled

NAMED_CAP = 300.0
"""Ratios from the seconds in file names are capped there, as in the SID data set."""

_SECONDS = re.compile(r"_(\d+(?:\.\d+)?)s$")
_SID_COLUMN = re.compile(r"(?:ISO|F)\d", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One line of a list.

    Attributes:
        noisy, clean: the files.
        ratio: as given, or None.
    """

    noisy: Path
    clean: Path
    ratio: float | None


@dataclass(frozen=True)
class Pair:
    """A dark and a well exposed frame of one scene.

    Attributes:
        noisy, clean: of equal size and pattern.
        ratio: what the noisy one is amplified by.
    """

    noisy: Frame
    clean: Frame
    ratio: float

    def crop(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(noisy, clean), float32 (4, height, width): the first amplified and cut at 1 only, the
        second cut to 0..1."""
        noisy = self.noisy.crop(top, left, height, width)
        noisy *= np.float32(self.ratio)
        clean = self.clean.crop(top, left, height, width)
        return np.minimum(noisy, 1, out=noisy), np.clip(clean, 0, 1, out=clean)


def parse(path: Path) -> list[Line]:
    """A list: ``noisy clean [ratio]`` a line; names are relative to the list's folder.

    Names with spaces stand in quotes. Empty lines and those that begin with # are skipped, as are
    the columns for ISO and aperture of the SID data set's own lists.

    Raises:
        InputError: unreadable, empty, or a line that makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as a list of pairs: {error}", path=path) from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found.append(_line(line, path, number))
    if not found:
        raise InputError("lists no pairs", path=path, hint="A line is: noisy clean [ratio]")
    return found


def _line(text: str, path: Path, number: int) -> Line:
    try:
        noisy, clean, *rest = shlex.split(text)
        numbers = [float(word) for word in rest if not _SID_COLUMN.match(word)]
    except ValueError:
        numbers = [0.0]
    if len(numbers) > 1 or not all(1 <= value < math.inf for value in numbers):
        raise InputError(f"line {number} is not 'noisy clean [ratio]' with a ratio from 1 on",
                         path=path)
    return Line(path.parent / noisy, path.parent / clean, numbers[0] if numbers else None)


def load(path: Path, console: Console, cache_folder: Path | None = None) -> list[Pair]:
    """The pairs of a list.

    Raises:
        InputError: the list, a file or a pair of files cannot be used.
    """
    pairs = []
    for line in parse(path):
        noisy, clean = read(line.noisy, cache_folder), read(line.clean, cache_folder)
        if noisy.size != clean.size:
            sizes = [f"{frame.size[1] * 2}x{frame.size[0] * 2}" for frame in (noisy, clean)]
            raise InputError(f"has {sizes[0]} pixels and its clean partner {clean.path.name} "
                             f"{sizes[1]}", path=noisy.path)
        if noisy.pattern != clean.pattern:
            raise InputError(f"has a {noisy.pattern} mosaic and its clean partner "
                             f"{clean.path.name} a {clean.pattern} one", path=noisy.path)
        pairs.append(Pair(noisy, clean, line.ratio or ratio_of(noisy, clean)))
        console.info(f"{noisy.path.name} and {clean.path.name}: ratio {pairs[-1].ratio:g}")
    return pairs


def ratio_of(noisy: Frame, clean: Frame) -> float:
    """How much more light the clean frame had.

    From the seconds that both file names end in, as SID's do (at most 300, and only where ISO is
    the same), else from ISO times seconds of both (not capped).

    Raises:
        InputError: nobody knows, or the noisy one had more.
    """
    seconds = [_SECONDS.search(frame.path.stem) for frame in (noisy, clean)]
    dark, bright = (frame.iso * frame.seconds if frame.iso and frame.seconds else None
                    for frame in (noisy, clean))
    if all(seconds) and noisy.iso == clean.iso and float(seconds[0][1]) > 0:
        found = min(float(seconds[1][1]) / float(seconds[0][1]), NAMED_CAP)
    elif dark and bright:
        found = bright / dark
    else:
        raise InputError("the exposures of the pair are unknown", path=noisy.path,
                         hint="Write the ratio behind the two names in the list")
    if found < 1:
        raise InputError(f"had {1 / found:.3g} times the light of its clean partner "
                         f"{clean.path.name}", path=noisy.path, hint="Put the noisy file first")
    return found


def fitting_side(pairs: Sequence[Pair], side: int, align: int) -> int:
    """The largest side of a square patch up to `side` that fits all pairs.

    Raises:
        InputError: not even one of `align` does.
    """
    smallest = min(min(pair.noisy.size) for pair in pairs)
    found = min(side, smallest) // align * align
    if not found:
        raise InputError(f"the smallest frame has {smallest} packed pixels a side; at least "
                         f"{align} are needed")
    return found


class PairSampler:
    """Draws batches of patches from pairs, mirrored and transposed at random (see `turned`).

    Args:
        pairs: at least one.
        seed: of the run.
        batch: patches a step.
        side: of a packed patch; fits all pairs.
        branch: the alignment they are for.
    """

    def __init__(self, pairs: Sequence[Pair], seed: int, *, batch: int = 1, side: int = 1024,
                 branch: Branch = None):
        self._pairs, self._seed, self._size = list(pairs), seed, batch
        self._side, self._branch = side, branch

    def batch(self, step: int) -> RawBatch:
        """The batch of step `step` (from 0)."""
        drawn = [self._patch(step * self._size + slot) for slot in range(self._size)]
        return RawBatch(np.stack([noisy for noisy, _ in drawn]),
                        np.stack([clean for _, clean in drawn]), self._branch)

    def _patch(self, draw: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng([self._seed, draw])
        pair = self._pairs[shuffled(self._seed, draw, len(self._pairs))]
        top, left = (int(rng.integers(length - self._side + 1)) for length in pair.noisy.size)
        how = [bool(value) for value in rng.random(3) < 0.5]
        return tuple(turned(part, *how) for part in pair.crop(top, left, self._side, self._side))


def held_out(pairs: Sequence[Pair], side: int) -> list[Held]:
    """The middles of all pairs, one entry for each ratio."""
    found: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {}
    for pair in pairs:
        top, left = ((length - side) // 2 for length in pair.noisy.size)
        found.setdefault(round(pair.ratio, 6), []).append(pair.crop(top, left, side, side))
    return [Held(ratio, np.stack([noisy for noisy, _ in parts]),
                 np.stack([clean for _, clean in parts]))
            for ratio, parts in sorted(found.items())]
