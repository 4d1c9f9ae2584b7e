"""DNG's tag numbers, and entries made from Python values.

Numbers and meanings: Adobe, "Digital Negative (DNG) Specification", version 1.7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

from restore_cli.media.ifd import Entry

# Every directory made here is little-endian, as the machines are that read it.
ORDER = "<"

PROCESSING_SOFTWARE = 11
SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 256, 257, 258, 259
PHOTOMETRIC, DESCRIPTION, MAKE, MODEL, STRIP_OFFSETS = 262, 270, 271, 272, 273
ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 274, 277, 278, 279
PLANAR, SOFTWARE, DATE_TIME, ARTIST = 284, 305, 306, 315
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS = 322, 323, 324, 325, 330
YCC_SUBSAMPLING, YCC_POSITIONING, REFERENCE_BLACK_WHITE = 530, 531, 532
XMP, RATING, RATING_PERCENT, COPYRIGHT, IPTC = 700, 0x4746, 0x4749, 33432, 33723
CFA_DIM, CFA_PATTERN = 33421, 33422

SECONDS, APERTURE, ISO, SENSITIVITY_TYPE, EXPOSURE_INDEX = 33434, 33437, 34855, 34864, 34866
EXIF_VERSION, TAKEN, FOCAL_LENGTH, MAKER_NOTE = 36864, 36867, 37386, 37500
SERIAL, LENS = 42033, 42036

VERSION, BACKWARD_VERSION, UNIQUE_MODEL, LOCAL_MODEL = 50706, 50707, 50708, 50709
CFA_LAYOUT, BLACK_DIM, BLACK, WHITE = 50711, 50713, 50714, 50717
DEFAULT_SCALE, CROP_ORIGIN, CROP_SIZE = 50718, 50719, 50720
COLOR_MATRIX_1, COLOR_MATRIX_2, ANALOG_BALANCE, NEUTRAL = 50721, 50722, 50727, 50728
BASELINE_EXPOSURE, CAMERA_SERIAL, PRIVATE, NOTE_SAFETY = 50730, 50735, 50740, 50741
ILLUMINANT_1, ILLUMINANT_2, ORIGINAL_NAME, ACTIVE_AREA = 50778, 50779, 50827, 50829
NOISE_REDUCTION, PREVIEW_NAME, PREVIEW_SPACE = 50935, 50966, 50970
OPCODES_2, OPCODES_3 = 51009, 51022

CFA, LINEAR_RAW, YCBCR = 32803, 34892, 6
D65 = 21


def byte(*values: int) -> Entry:
    """BYTE items."""
    return Entry(1, len(values), bytes(values))


def short(*values: int) -> Entry:
    """SHORT items."""
    return Entry(3, len(values), struct.pack(f"{ORDER}{len(values)}H", *values))


def long(*values: int) -> Entry:
    """LONG items."""
    return Entry(4, len(values), struct.pack(f"{ORDER}{len(values)}I", *values))


def text(words: str) -> Entry:
    """ASCII, ended by a zero; other letters go in as UTF-8, as every reader expects by now."""
    raw = words.replace("\0", " ").encode("utf-8", "replace") + b"\0"
    return Entry(2, len(raw), raw)


def undefined(raw: bytes) -> Entry:
    """UNDEFINED bytes."""
    return Entry(7, len(raw), raw)


def rational(values: Sequence[float], *, signed: bool = False, precision: int = 10**6) -> Entry:
    """RATIONAL or SRATIONAL items, the nearest fractions with denominators up to `precision`.

    Raises:
        ValueError: a value is not finite, or does not fit.
    """
    raw, letters = b"", ORDER + ("ii" if signed else "II")
    for value in values:
        # Large values leave no room for a large denominator.
        room = max(1, min(precision, int((1 << 31) / max(1.0, abs(float(value)))) - 1))
        exact = Fraction(value).limit_denominator(room)
        try:
            raw += struct.pack(letters, exact.numerator, exact.denominator)
        except struct.error as error:
            raise ValueError(f"{value} does not fit a TIFF fraction") from error
    return Entry(10 if signed else 5, len(values), raw)
