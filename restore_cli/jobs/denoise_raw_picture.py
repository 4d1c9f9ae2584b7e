"""A denoised mosaic as a developed picture with the camera's metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from restore_cli.jobs.denoise_raw_image import Levels
from restore_cli.media import develop, dng_facts, dng_source, exif, ifd, profiles
from restore_cli.media import dng_tags as tag
from restore_cli.media.images import Image, Metadata

if TYPE_CHECKING:
    from restore_cli.media.raw import Raw

_SIDES = 0xA002, 0xA003


def picture(raw: Raw, mosaic: np.ndarray, levels: Levels, note: str) -> Image:
    """Develops a mosaic by LibRaw.

    Args:
        mosaic: uint16, of the shape of the original's.
        levels: what its samples mean.
        note: what was done to it.

    Returns:
        sRGB in 16 bits, upright, with EXIF, GPS and XMP; as bright as developing a file with
        these samples would be.
    """
    pixels = develop.develop(raw, mosaic, black=levels.black, white=levels.white)
    source = dng_source.take(raw.tags, mosaic.shape, linear=False)
    main = dng_facts.main_directory(raw, source, note, 0.0)
    for place, side in zip(_SIDES, (pixels.shape[1], pixels.shape[0]), strict=True):
        main.children[ifd.EXIF].entries[place] = tag.long(side)
    xmp = main.entries.get(tag.XMP)
    metadata = Metadata(icc=profiles.srgb(), exif=exif.from_tiff(main),
                        xmp=xmp.value if xmp else None)
    return Image(pixels, metadata=metadata.upright()[0])
