"""PNG: every colour type read, 8 and 16 bits written a window of rows at a time."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import limits, pngchunks, samples
from restore_cli.media.model import Image

# Level 1 packs pictures 14 to 30 times faster than 6 and makes files up to 7 % larger:
# benchmarks/png.py.
DEFAULT_LEVEL = 1
_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}
_IDAT = 1 << 20
_SAMPLED = 16  # every so many rows tell which filter fits


def read(stream: BinaryIO, path: str | Path, max_pixels: int | None = None
         ) -> tuple[Image, int]:
    """Decodes a PNG.

    Returns:
        The image as stored, and its EXIF orientation.

    Raises:
        InputError, ValueError: damaged, truncated or too large.
    """
    import imagecodecs

    data = stream.read()
    head = pngchunks.header(data)
    sample = max(head.depth // 8, 1)
    limits.check(head.width, head.height, (_CHANNELS[head.color] + 1) * sample, path, max_pixels)
    png = pngchunks.parse(data)
    channels = {2: 3, 4: 2, 6: 4}.get(head.color, 1)
    packed = head.height * ((head.width * head.depth * channels + 7) // 8)
    if packed > 1100 * png.data_bytes + 1024:  # deflate cannot do better than 1032:1
        raise InputError("the image data are too short for "
                         f"{head.width}x{head.height} pixels", path=path)
    del data
    notes = []
    if png.animated:
        notes.append("animated PNG: only its first frame is used")
    if not png.ended:
        notes.append("the file lacks its end marker; the picture itself is complete")
    if png.interlaced and png.depth < 16:
        pixels = _by_pillow(png)
    else:
        pixels = imagecodecs.png_decode(png.critical)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    bits = 8 if png.color == 3 else png.depth
    metadata, orientation = png.metadata.upright()
    return Image(pixels, metadata=metadata, format="PNG", bits=bits,
                 notes=tuple(notes)), orientation


def _by_pillow(png: pngchunks.Png) -> np.ndarray:
    # libpng prints a warning for interlaced files when it is called through imagecodecs.
    import io

    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(png.critical), formats=("PNG",)) as picture:
        gray = png.color in (0, 4)
        alpha = png.trns is not None or png.color in (4, 6)
        mode = ("LA" if alpha else "L") if gray else ("RGBA" if alpha else "RGB")
        return np.array(picture.convert(mode))


def write(stream: BinaryIO, image: Image, level: int | None = None) -> None:
    """Encodes `image` (uint8 or uint16) to a stream that need not be seekable.

    Args:
        level: deflate effort, 0 to 9; None means 1, the fast one.
    """
    pixels = image.pixels
    height, width, channels = pixels.shape
    wide = pixels.dtype == np.uint16
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = (width.to_bytes(4, "big") + height.to_bytes(4, "big")
              + bytes((16 if wide else 8, color, 0, 0, 0)))
    stream.write(pngchunks.SIGNATURE + pngchunks.chunk(b"IHDR", header)
                 + pngchunks.describing(image.metadata, gray=channels < 3))
    level = DEFAULT_LEVEL if level is None else level
    packer = _packer(level, wide)
    waiting = bytearray()
    above = None
    for part in samples.row_windows(pixels.shape, _IDAT):
        rows = pixels[part]
        rows = rows.astype(">u2") if wide else np.ascontiguousarray(rows)
        rows = rows.view(np.uint8).reshape(rows.shape[0], -1)
        if above is None:
            above = np.zeros(rows.shape[1], np.uint8)
        waiting += packer.compress(_filtered(rows, above, channels * pixels.itemsize, level))
        above = rows[-1].copy()
        if len(waiting) >= _IDAT:
            stream.write(pngchunks.chunk(b"IDAT", bytes(waiting)))
            waiting.clear()
    waiting += packer.flush()
    stream.write(pngchunks.chunk(b"IDAT", bytes(waiting)) + pngchunks.chunk(b"IEND", b""))


def _packer(level: int, wide: bool):
    """A compressor of a zlib stream."""
    if level == 1:
        with suppress(ImportError):  # it exists for the usual processors only
            from isal import isal_zlib

            # On 16 bits its level 2 is a fifth slower and packs no better.
            return isal_zlib.compressobj(1 if wide else 2)
    # The low bytes of 16-bit samples are noise: searching them for repetitions is time lost.
    strategy = zlib.Z_RLE if wide and level <= 2 else zlib.Z_DEFAULT_STRATEGY
    return zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)


def _filtered(rows: np.ndarray, above: np.ndarray, step: int, level: int) -> np.ndarray:
    """Rows of bytes (h, n) as PNG filters them, (h, n + 1) with the filter's number in front.

    Up to level 2 all rows take one filter: they are subtracted from the ones above or from the
    means of those and their left neighbours. From 3 on each row takes the filter with the
    smallest sum of absolute differences, as libpng does.

    Args:
        above: the row before the first, (n,).
        step: bytes of a pixel.
    """
    if level < 3:
        return _filtered_alike(rows, above, step)
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    up = np.empty_like(rows)
    np.subtract(rows[0], above, out=up[0])
    np.subtract(rows[1:], rows[:-1], out=up[1:])
    out[:, 0], out[:, 1:] = 2, up
    best = _cost(up)
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    over = np.vstack((above[None], rows[:-1]))
    corner = np.zeros_like(rows)
    corner[:, step:] = over[:, :-step]
    average = ((left.astype(np.uint16) + over) >> 1).astype(np.uint8)
    for number, guess in ((1, left), (3, average), (4, _paeth(left, over, corner)), (0, None)):
        trial = rows if guess is None else rows - guess
        cost = _cost(trial)
        better = cost < best
        best = np.where(better, cost, best)
        out[better, 0] = number
        out[better, 1:] = trial[better]
    return out


def _filtered_alike(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """`_filtered` with "up" (2) or "average" (3) for all rows, whichever fits some of them."""
    sample = rows[1::_SAMPLED], rows[:-1:_SAMPLED]
    ups = sample[0] - sample[1]
    averages = sample[0][:, step:] - _mean(sample[0][:, :-step], sample[1][:, step:])
    average = _cost(averages).sum() < _cost(ups[:, step:]).sum()
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0] = 3 if average else 2
    for old, new, made in ((above[None], rows[:1], out[:1, 1:]),
                           (rows[:-1], rows[1:], out[1:, 1:])):
        if average:
            np.subtract(new[:, :step], old[:, :step] >> 1, out=made[:, :step])
            np.subtract(new[:, step:], _mean(new[:, :-step], old[:, step:]), out=made[:, step:])
        else:
            np.subtract(new, old, out=made)
    return out


def _mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Half the sums of bytes, rounded down."""
    made = a ^ b
    made >>= 1
    made += a & b
    return made


def _cost(differences: np.ndarray) -> np.ndarray:
    return np.minimum(differences, 0 - differences).sum(axis=1, dtype=np.int64)


def _paeth(left: np.ndarray, over: np.ndarray, corner: np.ndarray) -> np.ndarray:
    a, b, c = (x.astype(np.int16) for x in (left, over, corner))
    to_left, to_over, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    guess = np.where(to_over <= to_corner, over, corner)
    return np.where((to_left <= to_over) & (to_left <= to_corner), left, guess)
