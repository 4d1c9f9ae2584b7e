"""Opens a camera's RAW file through LibRaw and refuses what is no Bayer mosaic.

LibRaw says nothing when a file ends too early: what is missing comes out as zeros or as copies
of the last row. So what the file promises is compared with what is there before it is decoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media import formats, ifd, limits, raw_tags

if TYPE_CHECKING:
    import rawpy

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x100, 0x101, 0x102, 0x103, 0x106
_SEGMENTS = ((0x111, 0x117), (0x144, 0x145))  # offsets and byte counts of strips, of tiles
_SAMPLES, _SAMPLE_FORMAT = 0x115, 0x153
_LINEAR_RAW, _CFA = 34892, 32803
_JPEG, _VC5, _LOSSY_JPEG, _JPEG_XL = 7, 9, 34892, 52546
_PANASONIC, _PANASONIC_START = 0x55, 0x118
_WHOLE = "holds every colour at every pixel ({}), not a Bayer mosaic"
_CONVERT = "Convert it to an uncompressed or lossless-JPEG DNG and give that"
_ORIGINAL = "Give the camera's own file it was made from"


@contextmanager
def opened(path: Path, tags: raw_tags.Tags) -> Iterator[rawpy.RawPy]:
    """The decoded file, closed on leaving.

    Args:
        tags: of the same file.

    Raises:
        InputError: no such file, no RAW file, damaged, too large, or of a kind LibRaw lacks.
    """
    import rawpy

    raw = rawpy.RawPy()
    try:
        try:
            try:
                name = str(path)
                name.encode("utf-8")
                raw.open_file(name)
            except UnicodeEncodeError:  # LibRaw takes names as UTF-8 only
                with path.open("rb") as stream:
                    raw.open_buffer(stream)
            sizes = raw.sizes
            limits.check(sizes.raw_width, sizes.raw_height, 2, path)
            raw.unpack()
        except (rawpy.LibRawError, rawpy.NotSupportedError, RuntimeError) as error:
            raise undecodable(error, path, tags) from error
        except MemoryError:
            raise InputError("does not fit into memory while decoding", path=path) from None
        except OSError as error:
            raise unreadable(error, path) from error
        yield raw
    finally:
        raw.close()


def unreadable(error: OSError, path: Path) -> InputError:
    """The refusal for a file the system does not give out."""
    if isinstance(error, FileNotFoundError):
        return InputError("no such file", path=path)
    if isinstance(error, IsADirectoryError):
        return InputError("is a folder", path=path)
    why = error.strerror or type(error).__name__
    return InputError(f"cannot be opened: {why[0].lower()}{why[1:]}", path=path)


def check_file(path: Path, tags: raw_tags.Tags) -> None:
    """Refuses by name and tags alone what must not reach LibRaw.

    Raises:
        InputError: a folder, empty, truncated, Foveon, float samples.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        head = stream.read(64)
        if not size:
            raise InputError("is empty", path=path)
        if head[:4] == b"FOVb":
            raise InputError("is an X3F file: " + _WHOLE.format("Foveon sensor"), path=path)
        pictures = [one for one in tags.directories if _is_raw(one)]
        if any(_first(one, _SAMPLE_FORMAT) == 3 for one in pictures):
            raise InputError("is a DNG with floating-point samples (a merged or computed picture),"
                             " not a camera's mosaic", path=path, hint=_ORIGINAL)
        missing = _missing(stream, head, size, tags)
    if missing:
        raise InputError(f"is truncated: {missing}", path=path, hint="Copy it again")


def check_mosaic(raw: rawpy.RawPy, path: Path, tags: raw_tags.Tags) -> str:
    """The order of the Bayer mosaic, such as "RGGB", seen from the visible area's corner.

    Raises:
        InputError: the file holds anything else; the message says what.
    """
    import rawpy

    if raw.raw_type != rawpy.RawType.Flat:
        if any(_first(one, _PHOTOMETRIC) == _LINEAR_RAW for one in tags.directories):
            raise InputError("is a linear DNG: its colours are already interpolated at every "
                             "pixel, there is no mosaic left", path=path, hint=_ORIGINAL)
        raise InputError(_WHOLE.format("sRAW, pixel shift or the like"), path=path,
                         hint="Give a full RAW file of the camera")
    if raw.num_colors == 1 or raw.raw_pattern.shape == (1, 1):
        raise InputError("is a monochrome RAW: the sensor has no colour filters", path=path)
    if raw.raw_pattern.shape == (6, 6):
        raise InputError("is an X-Trans RAW (6x6 colour filters): only 2x2 Bayer mosaics can be "
                         "read", path=path)
    letters = raw.color_desc.decode("ascii", "replace")
    if letters[:4] != "RGBG" or raw.num_colors > 4:
        raise InputError(f"has the colour filters {letters}: only red, green and blue Bayer "
                         "mosaics can be read", path=path)
    sizes = raw.sizes
    cells = np.array([[raw.raw_color(sizes.top_margin + y, sizes.left_margin + x)
                       for x in range(8)] for y in range(8)])
    name = "".join(letters[code] for code in cells[:2, :2].flat)
    if name not in ("RGGB", "BGGR", "GRBG", "GBRG") or (cells != np.tile(cells[:2, :2],
                                                                         (4, 4))).any():
        raise InputError(f"has a colour filter pattern ({name}...) that is not one of the four "
                         "2x2 Bayer patterns", path=path)
    if min(sizes.height, sizes.width) < 2:
        raise InputError(f"has no pixels ({sizes.width}x{sizes.height})", path=path)
    return name


def check_rows(frame: np.ndarray, black: float, path: Path) -> None:
    """Refuses a frame whose last rows were never filled.

    Args:
        frame: the whole sensor, (H, W).
        black: lowest black level: above 0 a sensor's dark rows are not all zero.

    Raises:
        InputError: two or more last rows are zero though others are not.
    """
    filled = len(frame)
    while filled and not frame[filled - 1].any():
        filled -= 1
    empty = len(frame) - filled
    if filled and empty >= (2 if black > 0 else max(8, len(frame) // 16)):
        raise InputError(f"is truncated or damaged: the last {empty} of its {len(frame)} rows are "
                         "empty", path=path, hint="Copy it again")


def _first(directory: ifd.Directory, tag: int, default: int = 0) -> int:
    found = directory.numbers(tag)
    return int(found[0]) if found else default


def _is_raw(directory: ifd.Directory) -> bool:
    return _first(directory, _PHOTOMETRIC) in (_CFA, _LINEAR_RAW)


def _missing(stream: BinaryIO, head: bytes, size: int, tags: raw_tags.Tags) -> str:
    """What the file promises and does not hold, "" when nothing."""
    ends = 0
    if head[:15] == b"FUJIFILMCCD-RAW":
        stream.seek(100)
        start, length = struct.unpack(">II", stream.read(8).ljust(8, b"\0"))
        ends = start + length
    elif head[4:12] == b"ftypcrx ":
        try:
            ends = max((last for _, _, last in raw_tags.boxes(stream, 0, size)), default=0)
        except struct.error:
            ends = size + 1
    elif tags.whole and tags.directories:
        picture = max(tags.directories, key=lambda one: (_is_raw(one), _length(one)))
        ends, hollow = _extent(stream, picture, size, head[2] == _PANASONIC
                               or head[3] == _PANASONIC)
        if hollow:
            return "parts of its picture were never written"
        # Other makers' byte counts are now and then a little too large; a DNG's are right.
        if not tags.is_dng and ends <= size + max(4096, _length(picture) // 256):
            return ""
    if ends <= size:
        return ""
    return f"it ends at byte {size} and its picture at {ends}"


def _length(directory: ifd.Directory) -> int:
    return int(sum(sum(directory.numbers(counts)) for _, counts in _SEGMENTS))


def _extent(stream: BinaryIO, directory: ifd.Directory, size: int, panasonic: bool
            ) -> tuple[int, bool]:
    """One past the last byte of a directory's picture, and whether a JPEG part is all zeros."""
    ends, jpeg = 0, _first(directory, _COMPRESSION) in (_JPEG, _LOSSY_JPEG)
    for starts, counts in _SEGMENTS:
        offsets, lengths = directory.numbers(starts), directory.numbers(counts)
        if panasonic and starts == 0x111:
            offsets = directory.numbers(_PANASONIC_START) or offsets
        for offset, length in zip(offsets, lengths, strict=False):
            if offset <= 0 or length <= 0 or offset == 0xFFFFFFFF:
                continue
            ends = max(ends, int(offset + length))
            if jpeg and offset + length <= size and _hollow(stream, int(offset), int(length)):
                return ends, True
    offsets = directory.numbers(0x111)
    if _is_raw(directory) and _first(directory, _COMPRESSION) == 1 and len(offsets) == 1:
        row = (_first(directory, _WIDTH) * _first(directory, _SAMPLES, 1)
               * _first(directory, _BITS) + 7) // 8
        ends = max(ends, int(offsets[0]) + row * _first(directory, _HEIGHT))
    return ends, False


def _hollow(stream: BinaryIO, start: int, length: int) -> bool:
    """A JPEG's first bytes are zeros, or its last ones are and no end mark comes before them:
    its place was reserved on the disk and not filled."""
    stream.seek(start)
    if not any(stream.read(min(length, 64))):
        return True
    stream.seek(start + max(0, length - 4096))
    tail = stream.read(min(length, 4096))
    return not any(tail[-64:]) and b"\xff\xd9" not in tail


def undecodable(error: Exception, path: Path, tags: raw_tags.Tags) -> InputError:
    """What LibRaw's refusal means for the user."""
    import rawpy

    if isinstance(error, rawpy.LibRawUnsufficientMemoryError):
        return InputError("does not fit into memory while decoding", path=path)
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as reason:
        return unreadable(reason, path)
    if not tags.directories:
        return _foreign(head, path)
    packing = {_first(one, _COMPRESSION) for one in tags.directories if _is_raw(one)}
    if path.suffix.lower() == ".gpr" or tags.is_dng and _VC5 in packing:
        return InputError("is a GoPro GPR file (VC-5 compressed), which LibRaw cannot decode",
                          path=path, hint="Convert it to DNG with Adobe's or GoPro's converter")
    if isinstance(error, rawpy.LibRawIOError):
        return InputError("is truncated or damaged: LibRaw finds its data incomplete", path=path,
                          hint="Copy it again")
    if tags.is_dng:
        if _JPEG_XL in packing:
            return InputError("is a DNG compressed with JPEG XL, which LibRaw cannot decode",
                              path=path, hint=_CONVERT)
        return InputError(f"is a DNG that LibRaw cannot decode: {_reason(error)}", path=path,
                          hint=_CONVERT)
    if not isinstance(error, rawpy.LibRawFileUnsupportedError):
        return InputError(f"is damaged: {_reason(error)}", path=path, hint="Copy it again")
    if path.suffix.lower() in EXTENSIONS:
        camera = " ".join(filter(None, (tags.text(raw_tags.MAKE), tags.text(raw_tags.MODEL))))
        return InputError(f"is a RAW file of the camera {camera or 'unknown'} that LibRaw cannot "
                          "decode",
                          path=path, hint="Convert it to DNG and give that")
    return _foreign(head, path)


def _foreign(head: bytes, path: Path) -> InputError:
    """The refusal for a file that shows no sign of being a RAW file but perhaps its name."""
    kind = formats.sniff(head)
    if kind == "TIFF" and path.suffix.lower() in EXTENSIONS:
        return InputError("is truncated or damaged: its header leads nowhere", path=path,
                          hint="Copy it again")
    if kind:
        return InputError(f"is a {kind} picture, not a camera's RAW file", path=path)
    if head[4:12] == b"ftypcrx ":
        return InputError("is a Canon CR3 file that LibRaw cannot decode", path=path,
                          hint="Convert it to DNG and give that")
    if head[4:8] == b"ftyp":
        return InputError("is a film or HEIF picture, not a camera's RAW file", path=path)
    if all(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head):
        return InputError("is text, not a camera's RAW file", path=path)
    return InputError("is not a RAW file in a format LibRaw knows, or its header is damaged",
                      path=path)


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    text = " ".join(text.split()) or type(error).__name__
    return (text[0].lower() + text[1:])[:160]


EXTENSIONS = formats.RAW_EXTENSIONS | frozenset(
    ".3pr .ari .arq .bay .bmq .cap .cr3 .crw .cs1 .dc2 .dcs .drf .eip .ia .kc2 .mdc .mrw .nksc "
    ".obm .ori .ptx .pxn .qtk .r3d .raf .raw .rwz .sti .x3f".split())
"""Suffixes, in small letters, of the files cameras write as RAW."""
