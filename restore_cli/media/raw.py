"""A camera's RAW file as a Bayer mosaic with all that is needed to work on it and to write it.

Everything per colour is in the order of the packed planes: R, G1, B, G2 (see `bayer`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import bayer, raw_colors, raw_file, raw_levels, raw_tags
from restore_cli.media.bayer import Pattern
from restore_cli.media.raw_file import EXTENSIONS
from restore_cli.media.raw_tags import Tags

if TYPE_CHECKING:
    import rawpy

__all__ = ["EXTENSIONS", "Raw", "read"]


@dataclass(frozen=True, eq=False)
class Raw:
    """A decoded file; nothing of it stays open.

    Attributes:
        path: the file.
        mosaic: uint16 (H, W), the visible area as stored.
        pattern: order of the mosaic, seen from its top-left pixel.
        black, white: float64 (4,), stored values of no light and of saturation; white is above
            black.
        balance: float64 (4,), gains that make the camera's own choice of white neutral, G1 = 1;
            always positive.
        daylight: the same for daylight.
        balance_known: the file told the camera's white; else `balance` is daylight's.
        to_srgb: float64 (3, 3), balanced camera colours to linear sRGB (rows add up to 1), or
            None when neither file nor LibRaw knows the camera's colours.
        xyz_to_camera: float64 (3, 3), XYZ (D65) to unbalanced camera colours, or None.
        flip: how the picture is turned for display, as LibRaw says it: 0 not, 3 by half, 5 left
            by a quarter, 6 right by a quarter; 1, 2, 4 and 7 are mirrored.
        iso, seconds, aperture, focal_length: None when unknown; focal length in mm.
        make, model, lens, serial, artist: "" when unknown.
        taken: by the camera's clock, without time zone.
        bits: bits that the white level fills.
        margins: (top, left) of the visible area in the sensor's frame.
        crop: (top, left, height, width) the maker shows of the visible area, or None.
        aspect: width of a pixel divided by its height.
        tags: the file's TIFF and EXIF directories, as far as it has such.
    """

    path: Path
    mosaic: np.ndarray = field(repr=False)
    pattern: Pattern
    black: np.ndarray
    white: np.ndarray
    balance: np.ndarray
    daylight: np.ndarray
    balance_known: bool
    to_srgb: np.ndarray | None
    xyz_to_camera: np.ndarray | None
    flip: int
    iso: float | None
    seconds: float | None
    aperture: float | None
    focal_length: float | None
    make: str
    model: str
    lens: str
    serial: str
    artist: str
    taken: datetime | None
    bits: int
    margins: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    aspect: float
    tags: Tags = field(repr=False)

    @property
    def camera(self) -> str:
        """Make and model as people say them: "NIKON D850", not "NIKON CORPORATION NIKON D850"."""
        brand = self.make.split(" ")[0]
        if brand and self.model.lower().startswith(brand.lower()):
            return self.model
        return f"{self.make} {self.model}".strip()

    @property
    def exposure(self) -> float | None:
        """ISO times seconds, None when one of them is unknown."""
        return self.iso * self.seconds if self.iso and self.seconds else None

    def planes(self) -> np.ndarray:
        """float32 (4, H // 2, W // 2): black is 0, white 1; noise goes below 0, defects above 1."""
        packed = bayer.pack(self.mosaic, self.pattern).astype(np.float32)
        for plane, black, white in zip(packed, self.black, self.white, strict=True):
            plane -= np.float32(black)
            plane /= np.float32(white - black)
        return packed


def read(path: str | Path) -> Raw:
    """Reads a Bayer RAW file.

    Raises:
        InputError: one line that says what the file is, when it is no readable Bayer RAW.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError
        tags = raw_tags.read(path)
        raw_file.check_file(path, tags)
    except OSError as error:
        raise raw_file.unreadable(error, path) from error
    except ValueError:  # a zero byte in the name
        raise InputError("no such file", path=str(path).replace("\0", "\\0")) from None
    with raw_file.opened(path, tags) as opened:
        return _take(opened, path, tags)


def _take(opened: rawpy.RawPy, path: Path, tags: Tags) -> Raw:
    sizes = opened.sizes
    pattern = bayer.PATTERNS[raw_file.check_mosaic(opened, path, tags)]
    codes = raw_levels.codes(opened, pattern)
    black = raw_levels.black(opened, pattern, tags)
    raw_file.check_rows(opened.raw_image, float(black.min()), path)
    white = raw_levels.white(opened, codes, black, path)
    balance, known = raw_levels.balance(opened, codes)
    daylight = raw_levels.daylight(opened, codes)
    xyz = raw_levels.xyz_to_camera(opened, tags)
    to_srgb = raw_levels.to_srgb(opened, xyz)
    mosaic = opened.raw_image_visible.copy()
    if to_srgb is None:
        to_srgb, xyz = raw_colors.measured(opened, pattern, daylight) or (None, None)
    other, lens = _other(opened), opened.lens
    crop = (sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin,
            sizes.crop_height, sizes.crop_width)
    inside = (min(crop[:2]) >= 0 and min(crop[2:]) > 0 and crop[0] + crop[2] <= sizes.height
              and crop[1] + crop[3] <= sizes.width)
    return Raw(
        path=path, mosaic=mosaic, pattern=pattern, black=black,
        white=white, balance=balance,
        daylight=daylight, balance_known=known, to_srgb=to_srgb, xyz_to_camera=xyz,
        flip=sizes.flip,
        iso=_iso(other["iso_speed"], tags),
        seconds=_exif(other["shutter_speed"], tags, raw_tags.EXPOSURE_TIME),
        aperture=_exif(other["aperture"], tags, raw_tags.F_NUMBER),
        focal_length=_exif(other["focal_length"], tags, raw_tags.FOCAL_LENGTH),
        make=tags.text(raw_tags.MAKE),
        model=tags.text(raw_tags.MODEL) or tags.text(raw_tags.UNIQUE_MODEL),
        lens=tags.text(raw_tags.LENS_MODEL) or lens.model.strip(),
        serial=tags.text(raw_tags.BODY_SERIAL) or tags.text(raw_tags.CAMERA_SERIAL),
        artist=other["artist"].strip(), taken=tags.taken if tags.dated else other["taken"],
        bits=int(white.max()).bit_length(), margins=(sizes.top_margin, sizes.left_margin),
        crop=crop if inside else None, aspect=float(sizes.pixel_aspect) or 1.0, tags=tags)


def _positive(value: float) -> float | None:
    """The number that was meant: LibRaw's are float32, where a tenth is 0.10000000149."""
    return float(str(np.float32(value))) if np.isfinite(value) and value > 0 else None


def _iso(value: float, tags: Tags) -> float | None:
    """65535 is where EXIF's first tag for it ends, and what LibRaw then says."""
    found = _positive(value)
    return found if found and found < 65535 else tags.iso or found


def _exif(value: float, tags: Tags, tag: int) -> float | None:
    """LibRaw's value, else the tag's, exact where both agree.

    The tag being there as 0 outweighs a 1, which LibRaw makes of the APEX value 0 beside it.
    """
    told, found = tags.numbers(tag), _positive(value)
    if told and not told[0] and value == 1:
        return None
    exact = tags.number(tag)
    return exact if found is None or exact and abs(found / exact - 1) < 1e-5 else found


def _other(opened: rawpy.RawPy) -> dict:
    """What LibRaw says of the exposure; a clock out of all bounds makes rawpy give up on it."""
    try:
        told = opened.other
    except (ValueError, OverflowError, OSError):
        return dict.fromkeys(("iso_speed", "shutter_speed", "aperture", "focal_length"), 0.0) | {
            "artist": "", "taken": None}
    return told._asdict() | {"taken": told.timestamp if told.timestamp.year > 1970 else None}
