"""The two directories of a DNG: what is said of the photograph, and of the sensor values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import restore_cli
from restore_cli.media import dng_tags as tag
from restore_cli.media import ifd
from restore_cli.media.dng_source import Source

if TYPE_CHECKING:
    from restore_cli.media.raw import Raw

# LibRaw's flip as EXIF's orientation.
_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)
_LETTERS = "RGB"
# XYZ (D65) to linear sRGB, IEC 61966-2-1: stands in for a camera nobody has measured, and says
# that its colours are taken as they are, which is what developers do then.
_SRGB = ((3.2404542, -1.5371385, -0.4985314), (-0.9692660, 1.8760108, 0.0415560),
         (0.0556434, -0.2040259, 1.0572252))


def main_directory(raw: Raw, source: Source, mark: str, exposure: float) -> ifd.Directory:
    """The main directory with EXIF and GPS, but for the preview.

    Args:
        mark: goes into ProcessingSoftware.
        exposure: stops to add to the original's BaselineExposure.
    """
    main = ifd.Directory(tag.ORDER, {**source.about, **source.color})
    entries = main.entries
    # RAW developers look for a maker, which cinema cameras leave out.
    make = raw.make or next(iter(raw.model.split()), "Unknown")
    own = {tag.MAKE: make, tag.MODEL: raw.model or "Unknown",
           tag.UNIQUE_MODEL: raw.camera or "Unknown",
           # What came through a pipe has a temporary name, which says nothing.
           tag.ORIGINAL_NAME: raw.path.name if raw.path.suffix else "",
           tag.DESCRIPTION: mark, tag.ARTIST: raw.artist, tag.DATE_TIME: _date(raw),
           tag.CAMERA_SERIAL: raw.serial}
    for key, words in own.items():
        if words and key not in entries:
            entries[key] = tag.text(words)
    entries[tag.PROCESSING_SOFTWARE] = tag.text(mark)
    entries[tag.SOFTWARE] = tag.text(f"restore {restore_cli.__version__}")
    entries[tag.ORIENTATION] = tag.short(_ORIENTATIONS[raw.flip & 7])
    entries[tag.VERSION] = tag.byte(*source.version, 0, 0)
    entries[tag.BACKWARD_VERSION] = tag.byte(*source.backward, 0, 0)
    entries[tag.BASELINE_EXPOSURE] = tag.rational([source.exposure + exposure], signed=True)
    entries[tag.NEUTRAL] = tag.rational(_neutral(raw, source))
    if tag.COLOR_MATRIX_1 not in entries:
        for key in (tag.COLOR_MATRIX_2, tag.ILLUMINANT_2):
            entries.pop(key, None)
        matrix = np.asarray(_SRGB if raw.xyz_to_camera is None else raw.xyz_to_camera)
        entries[tag.COLOR_MATRIX_1] = tag.rational(matrix.ravel(), signed=True)
        # LibRaw's matrices are those of Adobe's table, all for daylight.
        entries[tag.ILLUMINANT_1] = tag.short(tag.D65)
    main.children[ifd.EXIF] = _exif(raw, source)
    if source.gps is not None:
        main.children[ifd.GPS] = source.gps
    return main


def add_preview(main: ifd.Directory, size: tuple[int, int], length: int) -> None:
    """Says that the main directory's own picture is a JPEG of `size` and `length` bytes."""
    main.entries.update({
        tag.SUBFILE_TYPE: tag.long(1), tag.WIDTH: tag.long(size[1]), tag.HEIGHT: tag.long(size[0]),
        tag.BITS: tag.short(8, 8, 8), tag.COMPRESSION: tag.short(7),
        tag.PHOTOMETRIC: tag.short(tag.YCBCR), tag.SAMPLES: tag.short(3),
        tag.PLANAR: tag.short(1), tag.ROWS_PER_STRIP: tag.long(size[0]),
        tag.STRIP_OFFSETS: tag.long(0), tag.STRIP_COUNTS: tag.long(length),
        tag.YCC_SUBSAMPLING: tag.short(1, 1), tag.YCC_POSITIONING: tag.short(1),
        tag.REFERENCE_BLACK_WHITE: tag.rational([0, 255, 128, 255, 128, 255]),
        tag.PREVIEW_NAME: tag.text("restore"), tag.PREVIEW_SPACE: tag.long(2)})


def picture_directory(raw: Raw, source: Source, pixels: np.ndarray, black: np.ndarray,
                      white: np.ndarray) -> ifd.Directory:
    """The directory of the sensor values, but for where they lie.

    Args:
        pixels: (H, W) mosaic with its levels by plane, or (H, W, 3) with levels by colour.
    """
    samples = 1 if pixels.ndim == 2 else 3
    entries = dict(source.picture)
    if raw.aspect != 1 and tag.DEFAULT_SCALE not in entries:
        entries[tag.DEFAULT_SCALE] = tag.rational([raw.aspect, 1])
    if raw.crop is not None and tag.CROP_SIZE not in entries:
        top, left, height, width = raw.crop
        entries[tag.CROP_ORIGIN], entries[tag.CROP_SIZE] = tag.long(left, top), tag.long(width,
                                                                                         height)
    entries.update({
        tag.SUBFILE_TYPE: tag.long(0), tag.WIDTH: tag.long(pixels.shape[1]),
        tag.HEIGHT: tag.long(pixels.shape[0]), tag.BITS: tag.short(*[16] * samples),
        tag.SAMPLES: tag.short(samples), tag.PLANAR: tag.short(1),
        tag.NOISE_REDUCTION: tag.rational([1])})
    ceiling = int(np.clip(np.rint(np.min(white)), 1, 65535))
    entries[tag.WHITE] = tag.long(*[ceiling] * samples)
    if samples == 3:
        entries[tag.PHOTOMETRIC] = tag.short(tag.LINEAR_RAW)
        entries[tag.BLACK_DIM] = tag.short(1, 1)
        entries[tag.BLACK] = tag.rational(black)
        return ifd.Directory(tag.ORDER, entries)
    cell = np.zeros((2, 2))
    for place, level in zip(raw.pattern.offsets, black, strict=True):
        cell[place] = level
    entries[tag.PHOTOMETRIC] = tag.short(tag.CFA)
    entries[tag.CFA_DIM] = tag.short(2, 2)
    entries[tag.CFA_PATTERN] = tag.byte(*(_LETTERS.index(letter) for letter in raw.pattern.name))
    entries[tag.CFA_LAYOUT] = tag.short(1)
    entries[tag.BLACK_DIM] = tag.short(2, 2)
    whole = bool(np.all(cell == np.rint(cell)))
    entries[tag.BLACK] = (tag.long(*(int(level) for level in cell.ravel())) if whole
                          else tag.rational(cell.ravel()))
    return ifd.Directory(tag.ORDER, entries)


def _exif(raw: Raw, source: Source) -> ifd.Directory:
    exif = ifd.Directory(tag.ORDER, dict(source.exif))
    entries = exif.entries
    entries.setdefault(tag.EXIF_VERSION, tag.undefined(b"0230"))
    for key, value in ((tag.SECONDS, raw.seconds), (tag.APERTURE, raw.aperture),
                       (tag.FOCAL_LENGTH, raw.focal_length)):
        if value and value > 0 and not any(exif.numbers(key)):
            entries[key] = tag.rational([value])
    if raw.iso and raw.iso > 0 and not any(exif.numbers(tag.ISO)):
        iso = round(raw.iso)
        entries[tag.ISO] = tag.short(min(iso, 65535))
        if iso > 65535:  # EXIF 2.3: the whole number goes into a tag of 32 bits
            entries[tag.SENSITIVITY_TYPE] = tag.short(2)
            entries[tag.EXPOSURE_INDEX] = tag.long(iso)
    for key, words in ((tag.LENS, raw.lens), (tag.TAKEN, _date(raw)), (tag.SERIAL, raw.serial)):
        if words and not exif.text(key):
            entries[key] = tag.text(words)
    return exif


def _neutral(raw: Raw, source: Source) -> list[float]:
    """What a neutral grey gives in R, G, B, at the camera's white balance."""
    gains = np.asarray(raw.balance[:3], float)
    found = 1.0 / np.where(gains > 0, gains, 1.0)
    old = np.asarray(source.neutral)
    # The original's own fractions are taken when they say the same.
    if old.shape == (3,) and old.min() > 0 and np.allclose(old / old[1], found / found[1], 1e-3):
        return list(old)
    return list(found)


def _date(raw: Raw) -> str:
    return raw.taken.strftime("%Y:%m:%d %H:%M:%S") if raw.taken else ""
