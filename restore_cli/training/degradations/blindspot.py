"""Blind-spot masking: which pixels are hidden, and what stands there instead.

Noise2Void (Krull et al., CVPR 2019, section 3.3) trains a network to predict noisy pixels that it
cannot see. A few pixels of each patch, spread evenly by stratified sampling, are replaced by
something made of their surroundings; the loss looks at those pixels alone, with the noisy values
as targets. structN2V (Broaddus et al., ISBI 2020) also hides the pixels that share noise with
them.

The mask is explicit, so a pixel whose replacement happens to have the same value still counts.
Masks are drawn last, after any flip or turn: a mask that is not turned with its patch looks at
visible pixels, and the network learns to copy them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from restore_cli.errors import ShapeError, UsageError, did_you_mean

MANIPULATORS = ("uniform-with-centre", "uniform", "median", "mean", "neighbours")
STRUCTS = ("horizontal", "vertical", "cross", "square")


@dataclass(frozen=True)
class Struct:
    """Pixels around a blind one that share noise with it and are hidden, too.

    Args:
        shape: "horizontal", "vertical", "cross" (both) or "square", in the last two axes.
        span: length of a side in pixels, odd, 3 to 15.

    Raises:
        UsageError: another shape or span.
    """

    shape: str
    span: int = 5

    def __post_init__(self) -> None:
        if self.shape not in STRUCTS:
            raise UsageError(f"unknown structure '{self.shape}'",
                             hint=did_you_mean(self.shape, STRUCTS)
                             or "Known: " + ", ".join(STRUCTS))
        if not 3 <= self.span <= 15 or self.span % 2 == 0:
            raise UsageError(f"the span of a structure must be odd, 3 to 15, not {self.span}")

    @classmethod
    def parse(cls, text: str) -> Struct | None:
        """``horizontal``, ``vertical:9``, ...; None for ``none``.

        Raises:
            UsageError: not a structure.
        """
        shape, colon, span = text.strip().lower().partition(":")
        if shape == "none" and not colon:
            return None
        try:
            return cls(shape, int(span) if colon else 5)
        except ValueError:
            raise UsageError(f"the span of a structure is a number, not '{span}'") from None

    def offsets(self) -> frozenset[tuple[int, int]]:
        """(row, column) of the hidden pixels against the blind one, which is left out."""
        half = self.span // 2
        line = range(-half, half + 1)
        found = {
            "horizontal": {(0, x) for x in line},
            "vertical": {(y, 0) for y in line},
            "cross": {(0, x) for x in line} | {(y, 0) for y in line},
            "square": set(itertools.product(line, line)),
        }[self.shape]
        return frozenset(found - {(0, 0)})


@dataclass(frozen=True)
class Masking:
    """How pixels are hidden.

    Attributes:
        percent: of the pixels that become blind, above 0 to 50.
        manipulator: what a blind pixel is replaced by: "uniform-with-centre" (any pixel of the
            window, Noise2Void's first form), "uniform" (any but itself), "median" or "mean" of
            the window without it, "neighbours" (mean of the adjacent pixels, the nearer the
            heavier; the window's radius does not matter).
        radius: the window has 2 radius + 1 pixels a side and is cut at the patch's border.
        struct: pixels that share noise with the blind one, or None.
        shared: hide the same pixels in all channels (noise that the channels share).

    Raises:
        UsageError: a value out of range, or a structure that covers the whole window.
    """

    percent: float = 6.0
    manipulator: str = "neighbours"
    radius: int = 2
    struct: Struct | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 50:
            raise UsageError(f"from 0 to 50 % of the pixels can be blind, not {self.percent:g}")
        if self.manipulator not in MANIPULATORS:
            raise UsageError(f"unknown manipulator '{self.manipulator}'",
                             hint=did_you_mean(self.manipulator, MANIPULATORS)
                             or "Known: " + ", ".join(MANIPULATORS))
        if not 1 <= self.radius <= 32:
            raise UsageError(f"the radius of the window must be 1 to 32, not {self.radius}")
        if (self.struct is not None and self.struct.shape == "square"
                and self.manipulator != "neighbours" and self.struct.span // 2 >= self.radius):
            raise UsageError(f"a square of {self.struct.span} pixels covers the whole window",
                             hint=f"Take a radius of {self.struct.span // 2 + 1} or more")


@dataclass(frozen=True)
class Masked:
    """A batch ready for the blind-spot loss; all three have the patches' shape, float32.

    Attributes:
        inputs: what the network sees.
        targets: the noisy values as they were.
        mask: 1 at blind pixels, 0 elsewhere.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray


def box_side(percent: float, dims: int) -> float:
    """Side of the boxes that hold one blind pixel each: the D-th root of 100 / percent."""
    return (100 / percent) ** (1 / dims)


def boxes(shape: Sequence[int], box: float) -> tuple[int, ...]:
    """Number of boxes along each axis; the last ones may reach over the border."""
    return tuple(math.ceil(side / box) for side in shape)


def stratified(shape: Sequence[int], box: float, uniforms: np.ndarray) -> np.ndarray:
    """One pixel in each box of a grid, without those that fall outside.

    Args:
        shape: of the patch.
        box: side of a box in pixels, 1 or more, not necessarily whole.
        uniforms: in [0, 1), (number of boxes, D): position in each box, boxes in row-major order.

    Returns:
        int32 (P, D), in the order of the boxes.
    """
    return _points(shape, box, uniforms[None])[:, 1:].astype(np.int32)


def _points(shape: Sequence[int], box: float, uniforms: np.ndarray) -> np.ndarray:
    """(P, 1 + D): patch number and coordinates, for uniforms of (N, boxes, D)."""
    corners = np.indices(boxes(shape, box), uniforms.dtype).reshape(len(shape), -1).T
    points = np.floor(corners * uniforms.dtype.type(box) + uniforms * uniforms.dtype.type(box))
    kept = (points < np.array(shape, uniforms.dtype)).all(axis=-1)
    patch = np.broadcast_to(np.arange(len(uniforms))[:, None], kept.shape)[kept]
    return np.concatenate([patch[:, None], points[kept].astype(np.intp)], axis=1)


def coordinates(shape: Sequence[int], percent: float, rng: np.random.Generator) -> np.ndarray:
    """Stratified blind pixels of one patch, int32 (P, D)."""
    box = box_side(percent, len(shape))
    return stratified(shape, box, rng.random((math.prod(boxes(shape, box)), len(shape))))


@lru_cache(maxsize=64)
def _window(manipulator: str, radius: int, struct: Struct | None, dims: int
            ) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (K, D) of the pixels a replacement is made of, and their weights (K,)."""
    hidden = struct.offsets() if struct is not None else frozenset()
    step = 1
    if manipulator == "neighbours":
        radius = 1
        if struct is not None and struct.shape == "square":
            step = struct.span // 2 + 1  # the nearest that are not hidden
    reach = [step * i for i in range(-radius, radius + 1)]
    offsets, weights = [], []
    for offset in itertools.product(reach, repeat=dims):
        in_plane = not any(offset[:-2])
        centre = not any(offset)
        if centre and manipulator != "uniform-with-centre" or in_plane and offset[-2:] in hidden:
            continue
        offsets.append(offset)
        # Rows of [1 2 1] x [1 2 1] (x [1 2 1]): sides 2 and corners 1 in the plane, faces 4,
        # edges 2 and corners 1 in space.
        away = sum(o != 0 for o in offset)
        weights.append(2.0 ** (dims - away) if manipulator == "neighbours" else 1.0)
    return np.array(offsets, np.intp), np.array(weights, np.float32)


def replacements(patches: np.ndarray, where: np.ndarray, masking: Masking,
                 rng: np.random.Generator | None = None, *, clamp: bool = False) -> np.ndarray:
    """What blind pixels are replaced by.

    Args:
        patches: float32 (N, *S), one channel each.
        where: int (P, 1 + D), patch number and coordinates of each blind pixel.
        masking: manipulator, radius and structure; a structure's pixels are never used.
        rng: for the two uniform manipulators.
        clamp: at the patch's border repeat the outermost pixels instead of cutting the window,
            and take the lower of two middle values as median, as CAREamics does.

    Returns:
        float32 (P,). Where a window holds no usable pixel, the patch's mean.
    """
    offsets, weights = _window(masking.manipulator, masking.radius, masking.struct,
                               patches.ndim - 1)
    if masking.manipulator.startswith("uniform"):
        return _drawn(patches, where, offsets, rng)
    values = _gather(patches, where, offsets, clamp)
    if masking.manipulator == "median":
        found = _median(values, lower=clamp)
    else:
        usable = values == values
        total = np.where(usable, values, np.float32(0)) @ weights
        with np.errstate(invalid="ignore"):
            found = total / (usable @ weights)
    return _filled(found, patches, where)


def _gather(patches: np.ndarray, where: np.ndarray, offsets: np.ndarray, clamp: bool
            ) -> np.ndarray:
    """Values (P, K) at the offsets; NaN (or, clamped, the nearest pixel) outside the patch."""
    reach = int(abs(offsets).max())
    if clamp:
        around = np.pad(patches, [(0, 0)] + [(reach, reach)] * (patches.ndim - 1), mode="edge")
    else:
        sides = [side + 2 * reach for side in patches.shape[1:]]
        around = np.full((len(patches), *sides), np.nan, np.float32)
        around[(slice(None), *[slice(reach, reach + s) for s in patches.shape[1:]])] = patches
    strides = np.array([s // around.itemsize for s in around.strides], np.intp)
    start = where @ strides + reach * strides[1:].sum()
    return around.reshape(-1).take(start[:, None] + offsets @ strides[1:])


def _median(values: np.ndarray, lower: bool) -> np.ndarray:
    """Median of each row without its NaNs."""
    count = values.shape[1]
    low, high = (count - 1) // 2, (count - 1) // 2 if lower else count // 2
    whole = np.partition(values, (low, high), axis=1)  # NaN counts as larger than all
    found = (whole[:, low] + whole[:, high]) * np.float32(0.5)
    cut = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(cut):
        rows = np.sort(values[cut], axis=1)
        counts = np.maximum(1, np.count_nonzero(rows == rows, axis=1))
        each = np.arange(len(cut))
        found[cut] = (rows[each, (counts - 1) // 2] + rows[each, counts // 2]) * np.float32(0.5)
    return found


def _drawn(patches: np.ndarray, where: np.ndarray, offsets: np.ndarray,
           rng: np.random.Generator) -> np.ndarray:
    """A pixel of each window at random, all of them equally likely."""
    sides = np.array(patches.shape[1:], np.intp)
    count = len(offsets)
    choice = np.minimum((rng.random(len(where)) * count).astype(np.intp), count - 1)
    target = where[:, 1:] + offsets[choice]
    outside = np.flatnonzero(((target < 0) | (target >= sides)).any(axis=1))
    empty = []
    if len(outside):  # again, among those inside
        options = where[outside, None, 1:] + offsets
        inside = ((options >= 0) & (options < sides)).all(axis=2)
        ranks = np.cumsum(inside, axis=1)
        rank = np.floor(rng.random(len(outside)) * ranks[:, -1]).astype(np.intp)
        rank = np.minimum(rank, ranks[:, -1] - 1)
        target[outside] = options[np.arange(len(outside)), (ranks > rank[:, None]).argmax(axis=1)]
        empty = outside[ranks[:, -1] == 0]
        target[empty] = where[empty, 1:]
    found = patches[(where[:, 0], *target.T)]
    found[empty] = np.nan
    return _filled(found, patches, where)


def _filled(found: np.ndarray, patches: np.ndarray, where: np.ndarray) -> np.ndarray:
    lost = np.flatnonzero(np.isnan(found))
    for index in lost:
        found[index] = patches[where[index, 0]].mean()
    return found.astype(np.float32, copy=False)


def manipulate(patches: np.ndarray, masking: Masking, rng: np.random.Generator) -> Masked:
    """Hides pixels of a batch.

    Every channel of every patch gets its own blind pixels, unless `masking.shared`. A structure's
    pixels are overwritten by values drawn uniformly between the patch's extremes, where no blind
    pixel stands; they take no part in the loss. At least one pixel of a batch is blind.

    Args:
        patches: float32 (B, C, *S) in two or three dimensions, already flipped and turned.
        masking: what to hide.
        rng: draws; equal generators give equal results.

    Raises:
        ShapeError: not (B, C, Y, X) or (B, C, Z, Y, X), or empty.
    """
    if patches.ndim not in (4, 5) or 0 in patches.shape:
        raise ShapeError("patches", "(B, C, Y, X) or (B, C, Z, Y, X)", patches.shape)
    patches = np.ascontiguousarray(patches, np.float32)
    count, channels, *shape = patches.shape
    planes = patches.reshape(count * channels, *shape)
    where = _blind(count, channels, shape, masking, rng)
    values = replacements(planes, where, masking, rng)
    inputs = planes.copy()
    if masking.struct is not None:
        _overwrite(inputs, planes, where, masking.struct, rng)
    mask = np.zeros_like(inputs)
    at = tuple(where.T)
    inputs[at], mask[at] = values, 1
    return Masked(inputs.reshape(patches.shape), patches, mask.reshape(patches.shape))


def _blind(count: int, channels: int, shape: Sequence[int], masking: Masking,
           rng: np.random.Generator) -> np.ndarray:
    """(P, 1 + D): plane number and coordinates of the blind pixels."""
    box = box_side(masking.percent, len(shape))
    drawn = count if masking.shared else count * channels
    where = _points(shape, box, rng.random((drawn, math.prod(boxes(shape, box)), len(shape)),
                                           np.float32))
    if not len(where):
        where = np.array([[rng.integers(side) for side in (drawn, *shape)]], np.intp)
    if masking.shared and channels > 1:
        where = np.repeat(where, channels, axis=0)
        where[:, 0] = where[:, 0] * channels + np.tile(np.arange(channels),
                                                       len(where) // channels)
    return where


def _overwrite(inputs: np.ndarray, planes: np.ndarray, where: np.ndarray, struct: Struct,
               rng: np.random.Generator) -> None:
    sides = np.array(planes.shape[1:], np.intp)
    offsets = np.zeros((len(struct.offsets()), len(sides)), np.intp)
    offsets[:, -2:] = sorted(struct.offsets())
    target = where[:, None, 1:] + offsets
    inside = ((target >= 0) & (target < sides)).all(axis=2)
    plane = np.broadcast_to(where[:, :1], inside.shape)[inside]
    axes = tuple(range(1, planes.ndim))
    low, high = planes.min(axis=axes)[plane], planes.max(axis=axes)[plane]
    values = low + (high - low) * rng.random(len(plane), np.float32)
    inputs[(plane, *target[inside].T)] = values
