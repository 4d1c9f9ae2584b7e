"""The published samplers of LIIF: low-resolution crops with pixels of their originals.

Each of the three pure functions (`downsampled`, `paired`, `uniform_varied`) makes one sample from
images and explicit draws; `restore_cli.training.datasets.samplers` draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.training.degradations import bicubic

# 8-bit value -> network input, exactly as (value / 255 - 0.5) / 0.5 in float32.
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)
_NORMALISED = (_UNIT - np.float32(0.5)) / np.float32(0.5)


@dataclass(frozen=True)
class LiifSample:
    """One low-resolution image with pixels of its original.

    Attributes:
        lr: uint8 (h, w, 3).
        hr_size: (H, W) of the original.
        index: int32 (Q, 2), row and column of each pixel in the original.
        gt: uint8 (Q, 3), the pixels.
    """

    lr: np.ndarray
    hr_size: tuple[int, int]
    index: np.ndarray
    gt: np.ndarray


@dataclass(frozen=True)
class LiifBatch:
    """Samples of one training step, in the network's units.

    Attributes:
        lr: float32 (B, 3, h, w) in -1..1.
        hr_size: int32 (B, 2), height and width of each original.
        index: int32 (B, Q, 2), row and column of each queried pixel in its original.
        coord: float32 (B, Q, 2), the same as centres in -1..1 (y, x).
        cell: float32 (B, Q, 2), size of one original pixel in those units.
        gt: float32 (B, 3, Q) in -1..1.
    """

    lr: np.ndarray
    hr_size: np.ndarray
    index: np.ndarray
    coord: np.ndarray
    cell: np.ndarray
    gt: np.ndarray


def coordinates(index: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres and pixel size in a square from -1 to 1.

    Args:
        index: int (Q, 2), rows and columns.
        size: (H, W) of the image.

    Returns:
        coord, cell: float32 (Q, 2) each, to the bit as the published code computes them.
    """
    coord = np.empty(index.shape, np.float32)
    cell = np.empty(index.shape, np.float32)
    for axis, length in enumerate(size):
        step = np.float32(2 / length)
        coord[:, axis] = np.float32(1 / length - 1) + step * index[:, axis].astype(np.float32)
        cell[:, axis] = step
    return coord, cell


def downsampled(image: np.ndarray, scale: float, *, lr_size: int | None = None,
                corner: tuple[int, int] = (0, 0),
                flips: tuple[bool, bool, bool] = (False, False, False),
                choice: np.ndarray | None = None) -> LiifSample:
    """sr-implicit-downsampled: the original is shrunk by `scale`.

    Args:
        image: uint8 (H, W, 3).
        scale: 1 or more.
        lr_size: side of the low-resolution crop; None takes the whole image, cut at the bottom
            and right to what `scale` divides.
        corner: (row, column) of the crop in the original.
        flips: turn rows round, turn columns round, transpose.
        choice: (Q,) flat pixel numbers after flipping; None takes all pixels.

    Raises:
        UsageError: the image is too small.
    """
    if lr_size is None:
        height, width = (int(side / scale + 1e-9) for side in image.shape[:2])
        if min(height, width) < 1:
            raise UsageError(f"an image of {image.shape[0]}x{image.shape[1]} pixels cannot be "
                             f"shrunk {scale:g} times")
        high = image[:round(height * scale), :round(width * scale)]
    else:
        height = width = lr_size
        high = _crop(image, corner, round(lr_size * scale))
    return _sample(bicubic.resize(high, (height, width)), high, flips, choice)


def paired(low: np.ndarray, high: np.ndarray, *, lr_size: int | None = None,
           corner: tuple[int, int] = (0, 0),
           flips: tuple[bool, bool, bool] = (False, False, False),
           choice: np.ndarray | None = None) -> LiifSample:
    """sr-implicit-paired: low and high resolution are both given.

    The scale is the whole number of times that `low` fits into `high` in height. Arguments as
    `downsampled`; `corner` counts low-resolution pixels.

    Raises:
        UsageError: an image is too small.
    """
    scale = high.shape[0] // low.shape[0]
    if scale < 1 or high.shape[1] < low.shape[1] * scale:
        raise UsageError(f"{high.shape[1]}x{high.shape[0]} is not a multiple of "
                         f"{low.shape[1]}x{low.shape[0]}")
    if lr_size is None:
        high = high[:low.shape[0] * scale, :low.shape[1] * scale]
    else:
        low = _crop(low, corner, lr_size)
        high = _crop(high, (corner[0] * scale, corner[1] * scale), lr_size * scale)
    return _sample(low, high, flips, choice)


def uniform_varied(low: np.ndarray, high: np.ndarray, fraction: float, *, size_min: int,
                   size_max: int | None = None, gt_resize: int | None = None,
                   mirror: bool = False, choice: np.ndarray | None = None) -> LiifSample:
    """sr-implicit-uniform-varied: the original is shrunk to a side between two limits.

    Args:
        low: uint8 (h, w, 3), the input as it is.
        high: uint8 (H, W, 3).
        fraction: 0 gives `size_min`, 1 `size_max`.
        size_min, size_max: limits of the side in pixels; None: the same.
        gt_resize: then resize to this side (for the fixed-scale baseline).
        mirror: turn columns round.
        choice: (Q,) flat pixel numbers after flipping; None takes all pixels.
    """
    size_max = size_min if size_max is None else size_max
    side = round(size_min + (size_max - size_min) * fraction)
    high = bicubic.resize(high, _shorter_side(high, side))
    if mirror:
        low, high = low[:, ::-1], high[:, ::-1]
    if gt_resize is not None:
        high = bicubic.resize(high, _shorter_side(high, gt_resize))
    return _sample(low, high, (False, False, False), choice)


def collate(samples: list[LiifSample]) -> LiifBatch:
    """Samples with equal low-resolution sizes and query counts as one batch.

    Raises:
        UsageError: their sizes or counts differ.
    """
    if len({(sample.lr.shape, len(sample.gt)) for sample in samples}) > 1:
        raise UsageError("the images of one batch differ in low-resolution size or in the number "
                         "of queried pixels")
    low = np.stack([sample.lr for sample in samples])
    pixels = np.stack([sample.gt for sample in samples])
    places = [coordinates(sample.index, sample.hr_size) for sample in samples]
    return LiifBatch(
        lr=_NORMALISED[low.transpose(0, 3, 1, 2)],
        hr_size=np.array([sample.hr_size for sample in samples], np.int32),
        index=np.stack([sample.index for sample in samples]),
        coord=np.stack([coord for coord, _ in places]),
        cell=np.stack([cell for _, cell in places]),
        gt=_NORMALISED[pixels.transpose(0, 2, 1)],
    )


def _crop(image: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    row, column = corner
    if row < 0 or column < 0 or row + side > image.shape[0] or column + side > image.shape[1]:
        raise UsageError(f"a crop of {side}x{side} pixels at row {row}, column {column} does not "
                         f"fit an image of {image.shape[0]}x{image.shape[1]}")
    return image[row:row + side, column:column + side]


def _shorter_side(image: np.ndarray, side: int) -> tuple[int, int]:
    """The size with `side` as the shorter side, the longer one truncated as torchvision does."""
    height, width = image.shape[:2]
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def _sample(low: np.ndarray, high: np.ndarray, flips: tuple[bool, bool, bool],
            choice: np.ndarray | None) -> LiifSample:
    low, high = _flip(low, flips), _flip(high, flips)
    height, width = high.shape[:2]
    if choice is None:
        choice = np.arange(height * width)
    row, column = np.divmod(np.asarray(choice), width)
    return LiifSample(np.ascontiguousarray(low), (height, width),
                      np.stack([row, column], 1).astype(np.int32), high[row, column])


def _flip(image: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    rows, columns, transpose = flips
    image = image[::-1] if rows else image
    image = image[:, ::-1] if columns else image
    return image.swapaxes(0, 1) if transpose else image
