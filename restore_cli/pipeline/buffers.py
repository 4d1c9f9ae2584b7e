"""What the images themselves take: in memory while read and written, or on disk if too large."""

from __future__ import annotations

import math
import mmap
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restore_cli import units
from restore_cli.errors import OutputError
from restore_cli.media.formats import sniff

# Bytes a pixel that an encoder holds beside the array it is given: the largest peak measured over
# 8 and 16 bits, three and four channels, lossless and lossy, on 15 megapixels, rounded up.
_ENCODING = {"PNG": 2, "TIFF": 2, "JPEG": 8, "BMP": 8, "WEBP": 44, "JXL": 30}
_PLAIN_JPEG = 5  # of 8 bits without transparency, from which nothing has to be converted
_PARTS = 16 << 20  # bytes of the part of a picture that is on its way out of Pillow
_DROP_EVERY = 0.05  # seconds between returning the pages of a spilled array


@dataclass(frozen=True)
class Header:
    """What a file's first bytes say.

    Attributes:
        height, width: in pixels, as stored.
        pixel_bytes: of the decoded array.
        file_bytes: of the file.
        beside: bytes that its decoder holds beside the array; None takes what any would.
    """

    height: int
    width: int
    pixel_bytes: int
    file_bytes: int
    beside: int | None = None

    @property
    def held(self) -> int:
        """Bytes of the decoded image."""
        return self.height * self.width * self.pixel_bytes

    @property
    def decoding(self) -> int:
        """Bytes while decoding: the file, the decoder's own picture, and the array."""
        if self.beside is not None:
            return self.held + self.beside
        return 2 * self.file_bytes + self.held + self.height * self.width * max(
            4, self.pixel_bytes)


def header(path: Path) -> Header | None:
    """The header of an image file, or None where it cannot be read without decoding all of it.

    Nothing is reported here: the decoder says what is wrong with a file.
    """
    if not path.is_file():
        return None  # opening a named pipe would take its data
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
        kind = sniff(head)
        if kind == "PNG":
            if head[12:16] != b"IHDR":
                return None
            width, height = (int.from_bytes(head[at:at + 4], "big") for at in (16, 20))
            channels = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(head[25], 4)
            # Decoded in one go, but for palettes, fewer bits, and what is interlaced.
            plain = head[24] >= 8 and head[25] != 3 and not head[28]
            return Header(height, width, channels * (2 if head[24] == 16 else 1), size,
                          2 * size if plain else None)
        if kind == "TIFF":
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                found = Header(page.imagelength, page.imagewidth,
                               page.samplesperpixel * min(4, max(1, page.dtype.itemsize)), size)
                # Grey and RGB in bytes, words or floats are taken as they are decoded.
                plain = page.photometric in (1, 2) and page.bitspersample >= 8 and (
                    page.dtype.name in ("uint8", "uint16", "float32"))
                packed = min(2 * page.nbytes, 2 * size)  # one page's
                if page.compression == 1:
                    packed = 0 if page.is_memmappable and page.dtype.isnative else page.nbytes
                return replace(found, beside=packed + found.held // 8) if plain else found
        from PIL import Image

        with Image.open(path) as picture:
            wide = {"I": 4, "F": 4, "I;16": 2}.get(picture.mode, len(picture.getbands()))
            found = Header(picture.height, picture.width, 4 if picture.mode == "P" else wide, size)
            if kind == "JPEG" and picture.mode in ("L", "RGB"):
                # The file, and Pillow's picture, a byte or four a pixel, copied in parts.
                own = 1 if picture.mode == "L" else 4
                return replace(found, beside=size + _PARTS + own * (
                    picture.height * picture.width))
            return found
    except Exception:  # whatever a hostile header makes of a parser
        return None


def encoding(format: str, height: int, width: int, pixel_bytes: int | None = None) -> int:
    """Bytes that writing takes beside the array itself.

    Args:
        pixel_bytes: of the array, where it is known.
    """
    if format == "JPEG" and pixel_bytes in (1, 3):
        return height * width * _PLAIN_JPEG
    return height * width * _ENCODING.get(format, max(_ENCODING.values()))


@contextmanager
def array(shape: tuple[int, ...], dtype: np.dtype, folder: Path | None) -> Iterator[np.ndarray]:
    """An uninitialised array: in memory, or in a nameless file of `folder`.

    The file's pages are returned to the system while the context lasts, so that the array
    takes disk space and page cache but next to no memory of the process. The file is gone when
    the array is, however the process ends.

    Raises:
        OutputError: the folder has no room for it.
    """
    if folder is None:
        yield np.empty(shape, dtype)
        return
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        file = tempfile.TemporaryFile(dir=folder, prefix=".restore-")
    except OSError as error:
        raise OutputError(f"cannot be written: {(error.strerror or str(error)).lower()}",
                          path=folder) from error
    with file:
        try:
            _allocate(file.fileno(), size)
        except OSError as error:
            raise OutputError(f"no room for {units.show(size)} of working space "
                              f"({error.strerror})", path=folder,
                              hint="Free some space or choose another folder",
                              ) from error
        pages = mmap.mmap(file.fileno(), size)
        with _returning(pages):
            yield np.frombuffer(pages, dtype).reshape(shape)


def _allocate(handle: int, size: int) -> None:
    """Reserves the blocks: a full disk met later, through the mapping, would end the process."""
    import os

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


@contextmanager
def _returning(pages: mmap.mmap) -> Iterator[None]:
    """Gives the mapping's resident pages back again and again; the file keeps their contents."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None:
        yield
        return
    stop = threading.Event()

    def give_back() -> None:
        while not stop.wait(_DROP_EVERY):
            pages.madvise(advice)

    thread = threading.Thread(target=give_back, daemon=True, name="pages")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
