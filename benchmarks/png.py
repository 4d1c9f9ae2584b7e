"""Times PNG encoders on pictures, in CPU seconds, and compares the sizes of the files.

restore upscale photo.jpg --scale 4 -o large.png
python benchmarks/png.py large.png --levels 1,6 -o png.md

Without file names generated pictures are packed. Everything runs on one thread.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image as Pillow

from restore_cli.jobs.bench import synthetic_picture
from restore_cli.media import images

Encoder = Callable[[], int]
"""Packs the picture and returns the bytes it takes."""


def main() -> int:
    """Prints one table a picture, and writes them all to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="pictures; default: generated ones")
    parser.add_argument("--levels", default="0,1,2,3,6", help="of restore's --png-level")
    parser.add_argument("--repeat", type=int, default=5, help="runs, of which the fastest counts")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    pictures = ((path.name, images.read(path)) for path in options.files) if options.files \
        else generated()
    levels = [int(level) for level in options.levels.split(",")]
    text = "\n".join(table(name, image, levels, options.repeat) for name, image in pictures)
    sys.stdout.write(text)
    if options.output:
        options.output.write_text(text)
    return 0


def generated() -> Iterator[tuple[str, images.Image]]:
    """Pictures with detail at every size: 8-bit RGB and RGBA, 16-bit grey."""
    pixels = synthetic_picture(1024, 1536)
    yield "8-bit RGB", images.Image(pixels)
    yield "8-bit RGBA", images.Image(np.dstack((pixels, pixels[..., :1])))
    random = np.random.default_rng(0).integers(0, 64, pixels.shape[:2], np.uint16)
    yield "16-bit grey", images.Image((pixels[..., 0].astype(np.uint16) * 256 + random)[..., None])


def table(name: str, image: images.Image, levels: list[int], repeat: int) -> str:
    """Seconds and bytes of every encoder, each beside those of zlib."""
    lines = [f"{name}: {image.width}x{image.height}, {image.kind}, "
             f"{8 * image.pixels.itemsize} bits", "",
             "| encoder | CPU ms | times as fast | MB | size |", "|---|---:|---:|---:|---:|"]
    base = None
    for title, encode in encoders(image.pixels, levels):
        best = float("inf")
        for _ in range(repeat):
            begin = time.process_time()
            size = encode()
            best = min(best, time.process_time() - begin)
        base = base or (best, size)
        lines.append(f"| {title} | {1000 * best:.0f} | {base[0] / best:.2f} | {size / 1e6:.2f} | "
                     f"{100 * (size / base[1] - 1):+.1f} % |")
    return "\n".join(lines) + "\n\n"


def encoders(pixels: np.ndarray, levels: list[int]) -> Iterator[tuple[str, Encoder]]:
    """What is compared; the first is what the others are measured by."""
    wide = pixels.dtype == np.uint16
    plane = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    strategy = zlib.Z_RLE if wide else zlib.Z_DEFAULT_STRATEGY

    def packed() -> int:
        packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, strategy)
        return len(packer.compress(filtered(pixels))) + len(packer.flush())

    def ours(level: int) -> int:
        stream = io.BytesIO()
        images.write(stream, images.Image(pixels), format="PNG", png_level=level)
        return len(stream.getvalue())

    def pillow() -> int:
        stream = io.BytesIO()
        Pillow.fromarray(plane).save(stream, "PNG")
        return len(stream.getvalue())

    yield f"zlib 1{', RLE' if wide else ''}, filter up", packed
    for level in levels:
        yield f"restore --png-level {level}", lambda level=level: ours(level)
    yield "libdeflate 1, filter up", lambda: len(
        imagecodecs.deflate_encode(filtered(pixels), level=1))
    yield "zlib-ng 2, filter up", lambda: len(
        imagecodecs.zlibng_encode(filtered(pixels), level=2))
    yield "libpng 1 (imagecodecs)", lambda: len(imagecodecs.png_encode(plane, level=1))
    yield "libspng 1 (imagecodecs)", lambda: len(imagecodecs.spng_encode(plane, level=1))
    if not (wide and pixels.shape[2] > 1):
        yield "Pillow", pillow


def filtered(pixels: np.ndarray) -> np.ndarray:
    """Rows of bytes as PNG's filter "up" leaves them, (H, 1 + bytes of a row)."""
    rows = np.ascontiguousarray(pixels.astype(">u2") if pixels.dtype == np.uint16 else pixels)
    rows = rows.view(np.uint8).reshape(rows.shape[0], -1)
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0], out[0, 1:] = 2, rows[0]
    np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
    return out


if __name__ == "__main__":
    sys.exit(main())
