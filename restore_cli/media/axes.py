"""What the dimensions of a stack mean, and how any order of them becomes planes and volumes.

Letters are tifffile's and OME's: T time, Z depth, C channel, S samples of one pixel (colour),
Y rows, X columns. Files may know others (angle, lifetime, position, ...); they are only counted
through. Pure arithmetic: no file is touched here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from restore_cli.errors import InputError, ShapeError, UsageError

ALPHABET = "SCTZYX"
_MEANINGS = "T time, Z depth, C channel, S colour samples, Y rows, X columns"
UNNAMED = "QI"  # how tifffile calls an axis whose meaning no metadata tell


def parse(text: str) -> str:
    """The axes a user typed, such as ``zyx`` or ``TZCYX``, in capitals.

    Raises:
        UsageError: an unknown or repeated letter, or Y or X is missing.
    """
    axes = text.strip().upper()
    unknown = [letter for letter in axes if letter not in ALPHABET]
    if unknown:
        raise UsageError(f"--axes {text}: {unknown[0]} is no axis", hint=f"Use {_MEANINGS}")
    repeated = [letter for letter in axes if axes.count(letter) > 1]
    if repeated:
        raise UsageError(f"--axes {text}: {repeated[0]} appears twice")
    if not {"Y", "X"} <= set(axes):
        raise UsageError(f"--axes {text}: Y and X are needed", hint="Write for example ZYX or TYX")
    return axes


def fit(axes: str, known: str, shape: tuple[int, ...], path: object = None
        ) -> tuple[str, tuple[int, ...]]:
    """The user's axes laid over the shape a file has.

    A colour axis S that the file knows may be left out, and so may axes of length 1; those that
    the user adds to axes the file names itself have length 1.

    Args:
        axes: as `parse` returns them.
        known: what the file itself calls its axes, one letter a dimension.
        shape: the file's shape.

    Returns:
        Axes and shape, equally long.

    Raises:
        UsageError: the numbers of axes differ; the message shows both.
    """
    squeezed = [(letter, size) for letter, size in zip(known, shape)
                if size > 1 or letter in "YX"]
    for have in (list(zip(known, shape)), squeezed):
        letters = "".join(letter for letter, _ in have)
        sizes = tuple(size for _, size in have)
        if len(axes) == len(have):
            return axes, sizes
        if len(axes) == len(have) - 1 and "S" in letters and not set("SC") & set(axes):
            at = letters.index("S")
            return axes[:at] + "S" + axes[at:], sizes
    if "".join(letter for letter in axes if letter in known) == known:
        sizes_by = dict(zip(known, shape))
        return axes, tuple(sizes_by.get(letter, 1) for letter in axes)
    raise UsageError(
        f"the axes {axes} ({len(axes)}) do not fit the shape {show(shape)} "
        f"({len(shape)}, {known})", path=path,
        hint="Give --axes one letter for each number of the shape")


def named(known: str, shape: tuple[int, ...], path: object = None) -> str:
    """The file's axes with a letter for those it does not name: Z for one, T and Z for two.

    Raises:
        InputError: more axes without a name than that.
    """
    blank = [i for i, letter in enumerate(known) if letter in UNNAMED or letter in known[:i]]
    taken = set(known) - set(UNNAMED)
    names = [letter for letter in {1: "ZTC", 2: "TZC"}.get(len(blank), "")
             if letter not in taken]
    if len(names) < len(blank):
        raise InputError(f"has the shape {show(shape)} and does not say what its axes are",
                         path=path, hint=f"Name them with --axes: {_MEANINGS}")
    letters = list(known)
    for at, name in zip(blank, names):
        letters[at] = name
    return "".join(letters)


def show(shape: tuple[int, ...]) -> str:
    """A shape as people write it: ``12 x 512 x 512``."""
    return " x ".join(str(size) for size in shape)


def frames_of(key: tuple[int | slice, ...], lead: tuple[int, ...]) -> tuple[list[int], bool]:
    """The pages that an index into the axes running over pages means.

    Args:
        key: a number or `slice(None)` for each of those axes.
        lead: their sizes.

    Returns:
        Page numbers in order, and whether a slice is in `key`.
    """
    steps = [range(size) if isinstance(part, slice) else (part,)
             for part, size in zip(key, lead)]
    numbers = []
    for place in product(*steps):
        number = 0
        for at, size in zip(place, lead):
            number = number * size + at
        numbers.append(number)
    return numbers, any(isinstance(part, slice) for part in key)


@dataclass(frozen=True)
class Plan:
    """How an array of some axes order divides into planes (C, Y, X) and volumes (C, Z, Y, X).

    The channel axis is S when there is one, else C (with both, C is counted through like T).
    All axes but the channel, Y and X are "outer"; planes are numbered in row-major order over
    them, volumes over the outer axes without Z.

    Attributes:
        axes: one capital letter a dimension, none twice, Y and X among them.
        shape: the array's shape.

    Raises:
        ShapeError: the two differ in length, or a size is 0.
    """

    axes: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or not all(size > 0 for size in self.shape):
            raise ShapeError("array", f"one size of 1 or more for each axis of {self.axes}",
                             self.shape)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of each axis."""
        return dict(zip(self.axes, self.shape))

    @property
    def channel(self) -> str:
        """Letter of the channel axis, "" when there is none."""
        return "S" if "S" in self.axes else "C" if "C" in self.axes else ""

    @property
    def channels(self) -> int:
        """Channels of a plane."""
        return self.sizes.get(self.channel, 1)

    @property
    def interleaved(self) -> bool:
        """Whether the channels are the samples of a pixel, like RGB: S, or C after X and Y."""
        at = self.axes.find(self.channel) if self.channel else -1
        return self.channel == "S" or at > max(self.axes.index("Y"), self.axes.index("X"))

    @cached_property
    def outer(self) -> str:
        """Axes that are counted through, in the array's order."""
        return "".join(letter for letter in self.axes if letter not in self.channel + "YX")

    @cached_property
    def count(self) -> int:
        """Number of planes."""
        return prod(self.sizes[letter] for letter in self.outer)

    @property
    def depth(self) -> int:
        """Planes of a volume."""
        return self.sizes.get("Z", 1)

    @property
    def volumes(self) -> int:
        """Number of volumes."""
        return self.count // self.depth

    @property
    def plane_shape(self) -> tuple[int, int, int]:
        """(C, Y, X)."""
        return self.channels, self.sizes["Y"], self.sizes["X"]

    def where(self, plane: int) -> dict[str, int]:
        """Position of a plane on each outer axis.

        Raises:
            IndexError: no such plane.
        """
        return self._position(plane, self.outer, self.count, "plane")

    def planes_of(self, volume: int) -> list[int]:
        """Numbers of the planes of one volume, along Z.

        Raises:
            IndexError: no such volume.
        """
        rest = self.outer.replace("Z", "")
        place = self._position(volume, rest, self.volumes, "volume")
        return [self.number({**place, "Z": z}) for z in range(self.depth)]

    def _position(self, number: int, letters: str, count: int, what: str) -> dict[str, int]:
        if not 0 <= number < count:
            raise IndexError(f"there is no {what} {number}, only 0 to {count - 1}")
        place = {}
        for letter in reversed(letters):
            number, place[letter] = divmod(number, self.sizes[letter])
        return {letter: place[letter] for letter in letters}

    def number(self, place: dict[str, int]) -> int:
        """The plane at a position; the inverse of `where`. Axes not in this plan are ignored."""
        number = 0
        for letter in self.outer:
            number = number * self.sizes[letter] + place[letter]
        return number

    def key(self, place: dict[str, int]) -> tuple[int | slice, ...]:
        """Index into the array that leaves channel, Y and X of the plane at `place`."""
        return tuple(slice(None) if letter in self.channel + "YX" else place[letter]
                     for letter in self.axes)

    @cached_property
    def _order(self) -> tuple[int, ...]:
        kept = [letter for letter in self.axes if letter in self.channel + "YX"]
        return tuple(kept.index(letter) for letter in self.channel + "YX")

    def arrange(self, part: np.ndarray) -> np.ndarray:
        """What `key` left of the array, as a view of shape (C, Y, X)."""
        part = part.transpose(self._order)
        return part if self.channel else part[None]

    def restore(self, plane: np.ndarray) -> np.ndarray:
        """The inverse of `arrange`: a plane (C, Y, X) as a view in the array's own order."""
        if not self.channel:
            plane = plane[0]
        return plane.transpose(tuple(np.argsort(self._order)))

    def words(self, plane: int) -> str:
        """A plane's position for messages, counted from 1: ``T 2 of 10, Z 5 of 20``."""
        return ", ".join(f"{letter} {at + 1} of {self.sizes[letter]}"
                         for letter, at in self.where(plane).items())
