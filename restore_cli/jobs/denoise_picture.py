"""One image as denoising sees it: the planes that differ, their statistics, the pixels to leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError
from restore_cli.jobs.denoise_image import Index
from restore_cli.media.images import Image
from restore_cli.media.samples import row_windows
from restore_cli.pipeline import pixels as values

_PIECE = 1 << 18  # samples looked at together


class Moments:
    """Mean, deviation, range and invalid values of channels, from any number of pieces.

    Args:
        channels: how many.

    Attributes:
        count: finite values of each channel.
        low, high: smallest and largest of them.
        invalid: pixels that are NaN or infinite.
        first: where the first of those is: (page, row, column), from 0.
    """

    def __init__(self, channels: int):
        self.count = np.zeros(channels)
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.invalid = 0
        self.first: tuple[int, int, int] | None = None
        self._shift: np.ndarray | None = None
        self._sum, self._square = np.zeros(channels), np.zeros(channels)

    def add(self, planes: np.ndarray, page: int = 0, keep: np.ndarray | None = None) -> None:
        """Counts an image.

        Args:
            planes: (C, H, W), any number type.
            page: for `first`.
            keep: (H, W); pixels left out. Without it, invalid ones are counted and left out.
        """
        for rows in row_windows((planes.shape[1], planes.shape[0] * planes.shape[2]), _PIECE):
            part, used = planes[:, rows], None if keep is None else ~keep[rows]
            if keep is None and planes.dtype.kind == "f":
                finite = np.isfinite(part)
                if not finite.all():
                    used = finite.all(axis=0)
                    if self.first is None:
                        y, x = divmod(int(np.argmin(used)), planes.shape[2])
                        self.first = (page, rows.start + y, x)
                    self.invalid += int((~used).sum())
            if used is None or used.any():
                self._count(part, used)

    def _count(self, planes: np.ndarray, used: np.ndarray | None) -> None:
        """Counts (C, h, W) where (h, W) is used; one channel at a time, which stays in the cache
        whichever way the channels lie."""
        first = 0 if used is None else int(np.argmax(used))
        at = np.unravel_index(first, planes.shape[1:])
        if self._shift is None:  # sums of differences keep their accuracy
            self._shift = planes[(slice(None), *at)].astype(np.float64)
        for channel, plane in enumerate(planes):
            values = (plane if used is None else plane[used]).astype(np.float64, "C").ravel()
            self.low[channel] = min(self.low[channel], values.min())
            self.high[channel] = max(self.high[channel], values.max())
            values -= self._shift[channel]
            self.count[channel] += len(values)
            self._sum[channel] += values.sum()
            self._square[channel] += np.einsum("i,i->", values, values)

    @property
    def mean(self) -> np.ndarray:
        """Of each channel, float64."""
        if self._shift is None:
            return np.zeros(len(self.count))
        return self._shift + self._sum / np.maximum(self.count, 1)

    @property
    def std(self) -> np.ndarray:
        """Of each channel, float64; exactly 0 for an even one."""
        count = np.maximum(self.count, 1)
        spread = np.sqrt(np.maximum(self._square / count - (self._sum / count) ** 2, 0))
        return np.where(self.high > self.low, spread, 0.0)

    def only(self, channel: int) -> Moments:
        """Those of one channel."""
        part = slice(channel, channel + 1)
        found = Moments(1)
        found.count, found.low, found.high = self.count[part], self.low[part], self.high[part]
        found._sum, found._square = self._sum[part], self._square[part]
        found._shift = None if self._shift is None else self._shift[part]
        found.invalid, found.first = self.invalid, self.first
        return found

    def refuse_invalid(self, several: bool = False) -> None:
        """Raises an `InputError` that counts NaN and infinite pixels and says where they start.

        Args:
            several: pages, so that the page is named too.
        """
        if not self.invalid:
            return
        page, y, x = self.first
        where = (f"page {page + 1}, " if several else "") + f"row {y + 1}, column {x + 1}"
        pixels, are = ("1 pixel", "is") if self.invalid == 1 else (f"{self.invalid} pixels", "are")
        raise InputError(f"has {pixels} that {are} NaN or infinite, the first at {where}",
                         hint="--mask-invalid leaves them as they are and denoises the others")


def pooled(moments: Iterable[Moments]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over several images."""
    found = list(moments)
    counts = np.maximum(np.sum([m.count for m in found], axis=0), 1)
    mean = np.sum([m.mean * m.count for m in found], axis=0) / counts
    square = np.sum([(m.std**2 + (m.mean - mean) ** 2) * m.count for m in found], axis=0) / counts
    std = np.sqrt(square)
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


@dataclass
class Picture:
    """What of an image or volume is denoised.

    Attributes:
        planes: (C, H, W) or (C, Z, H, W), all finite; float where pixels had to be filled.
        targets: channels of the image that each of them is written to; none where it is even.
        keep: (H, W) or (Z, H, W), pixels that are written back unchanged and never learned from,
            or None.
        moments: of the planes.
        dtype: of the image.
    """

    planes: np.ndarray
    targets: tuple[tuple[int, ...], ...]
    keep: np.ndarray | None
    moments: Moments
    dtype: np.dtype

    @property
    def channels(self) -> int:
        """Planes to work on."""
        return len(self.planes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of space."""
        return self.planes.shape[1:]

    @property
    def top(self) -> float:
        """Full scale: the integer type's maximum, or 1 for floats."""
        return top(self.dtype)

    @property
    def even(self) -> bool:
        """Whether nothing varies, so that there is nothing to denoise."""
        return not self.moments.std.any()

    def window(self, *where: Index) -> np.ndarray:
        """(C, ...) float32 of some indices along each axis."""
        part = self.planes
        for axis, index in enumerate(where, start=1):
            part = part[(*(slice(None),) * axis, index)]
        return np.ascontiguousarray(part, dtype=np.float32)

    def place(self, out: np.ndarray, where: tuple[slice, ...], made: np.ndarray) -> None:
        """Writes results, rounded, to a part of `out`.

        Args:
            out: (channels of the image, ...) of its type.
            where: slices of the axes of space.
            made: (C, ...) float32 in stored values.
        """
        kept = None if self.keep is None else self.keep[where]
        for plane, targets in zip(finish(made, self.dtype), self.targets, strict=True):
            for channel in targets:
                area = out[(channel, *where)]
                area[...] = plane if kept is None else np.where(kept, area, plane)


def top(dtype: np.dtype) -> float:
    """What counts as full scale of a type: an integer's maximum, or 1."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def finish(made: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Results as stored: integers rounded half to even and clipped to their range, floats as is.

    Args:
        made: float32; may be changed.
    """
    if dtype.kind not in "ui":
        return made.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if dtype.itemsize > 2:  # float32 cannot hold the limits of 32 bits, nor float64 of 64
        wide = np.rint(made.astype(np.float64))
        inside = np.clip(wide, limits.min, np.nextafter(float(limits.max), 0))
        return np.where(wide >= limits.max, limits.max, inside.astype(dtype)).astype(dtype)
    return np.clip(np.rint(made, out=made), limits.min, limits.max, out=made).astype(dtype)


def prepare(image: Image, mask_invalid: bool = False) -> Picture:
    """Looks at an image: which channels differ, and which pixels cannot be used.

    Grey stored as three equal channels is one plane; a channel without variation is left alone.
    Fully transparent pixels have arbitrary colours, so they are left alone too.

    Args:
        mask_invalid: NaN and infinite pixels are left alone instead of refused.

    Raises:
        InputError: there are such pixels, and `mask_invalid` is False.
    """
    planes = image.color.transpose(2, 0, 1)
    found = Moments(len(planes))
    found.add(planes)
    if not mask_invalid:
        found.refuse_invalid()
    keep = unusable(planes) if found.invalid else None
    if image.has_alpha and (clear := image.alpha == 0).any():
        keep = clear if keep is None else keep | clear
    if keep is not None:
        invalid, found = found.invalid, Moments(len(planes))
        found.add(planes, keep=keep)
        found.invalid = invalid
    targets = merged(planes, found)
    if len(targets) < len(planes):
        first = targets[0][0]
        planes, found = planes[first:first + 1], found.only(first)
    if keep is not None and not keep.all():
        planes = filled(planes, keep, found.mean)
    return Picture(planes, targets, keep, found, image.pixels.dtype)


def unusable(planes: np.ndarray) -> np.ndarray | None:
    """Where any channel of (C, ...) is NaN or infinite; None for nowhere."""
    if planes.dtype.kind != "f":
        return None
    found = ~np.isfinite(planes).all(axis=0)
    return found if found.any() else None


def merged(planes: np.ndarray, found: Moments) -> tuple[tuple[int, ...], ...]:
    """`Picture.targets` of (C, H, W): all varying channels as one, if they are equal."""
    varying = np.flatnonzero(found.std > 0).tolist()
    first = varying[0] if varying else 0
    if len(planes) > 1 and varying and all(
            _equal(planes[first], planes[other]) for other in varying[1:]):
        return (tuple(varying),)
    return tuple((c,) if c in varying else () for c in range(len(planes)))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two planes hold the same; most differ in the first rows already."""
    nan = one.dtype.kind == "f"
    return all(np.array_equal(one[rows], other[rows], equal_nan=nan)
               for rows in row_windows(one.shape, _PIECE))


def filled(planes: np.ndarray, keep: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(C, H, W) with the pixels of `keep` made of their neighbours, far inside of the mean."""
    made = np.where(keep, np.float32(np.nan), planes).astype(np.float32).transpose(1, 2, 0)
    made = values.bleed(made, ~keep)
    made = np.where(np.isnan(made), mean.astype(np.float32), made)
    return made.transpose(2, 0, 1)
