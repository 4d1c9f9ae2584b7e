"""Portable anymaps with more than 8 bits, which Pillow would reduce: PGM, PPM, PFM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore_cli.media import limits
from restore_cli.media.model import Image

_SPACE = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"(P[56Ff])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE
                     + rb"(-?[\d.]{1,20})\s")


def read(stream: BinaryIO, path: str | Path, max_pixels: int | None = None) -> tuple[Image, int]:
    """Decodes binary PGM, PPM (any maximum up to 65535) and PFM; plain and bit forms by Pillow.

    Returns:
        The image, and orientation 1.

    Raises:
        InputError, ValueError: damaged, truncated or too large.
    """
    data = stream.read()
    found = _HEADER.match(data[:4096])
    if found is None:
        from restore_cli.media import pillow_files

        stream.seek(0)
        return pillow_files.read(stream, path, max_pixels, ("PPM",))
    kind, width, height = found[1], int(found[2]), int(found[3])
    channels = 3 if kind in (b"P6", b"PF") else 1
    floating = kind in (b"PF", b"Pf")
    scale = float(found[4])
    if floating:
        dtype = "<f4" if scale < 0 else ">f4"
    elif 0 < scale < 65536 and scale == int(scale):
        dtype = "u1" if scale < 256 else ">u2"
    else:
        raise ValueError(f"the maximum {scale} is impossible")
    limits.check(width, height, channels * np.dtype(dtype).itemsize * 2, path, max_pixels)
    count = width * height * channels
    if len(data) - found.end() < count * np.dtype(dtype).itemsize:
        raise ValueError("the file is truncated")
    raw = np.frombuffer(data, dtype, count, found.end()).reshape(height, width, channels)
    if floating:
        return Image(np.ascontiguousarray(raw[::-1], np.float32), format="PFM"), 1
    full = 255 if scale < 256 else 65535
    pixels = raw.astype(np.uint8 if full == 255 else np.uint16)
    if scale != full:
        top = int(scale)
        wide = np.minimum(pixels, top).astype(np.uint32)
        pixels = ((wide * full + top // 2) // top).astype(pixels.dtype)
    return Image(pixels, format="PPM" if channels == 3 else "PGM",
                 bits=int(scale).bit_length()), 1
