"""What the images themselves take: in memory while read and written, or on disk if too large."""

from __future__ import annotations

import math
import mmap
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli import units
from restore_cli.errors import OutputError
from restore_cli.media.formats import sniff

# Bytes a pixel that an encoder holds beside the array it is given: the largest peak measured over
# 8 and 16 bits, three and four channels, lossless and lossy, on 15 megapixels, rounded up.
_ENCODING = {"PNG": 2, "TIFF": 2, "JPEG": 8, "BMP": 8, "WEBP": 44, "JXL": 30}
_DROP_EVERY = 0.05  # seconds between returning the pages of a spilled array


@dataclass(frozen=True)
class Header:
    """What a file's first bytes say.

    Attributes:
        height, width: in pixels, as stored.
        pixel_bytes: of the decoded array.
        file_bytes: of the file.
    """

    height: int
    width: int
    pixel_bytes: int
    file_bytes: int

    @property
    def held(self) -> int:
        """Bytes of the decoded image."""
        return self.height * self.width * self.pixel_bytes

    @property
    def decoding(self) -> int:
        """Bytes while decoding: the file, the decoder's own picture, and the array."""
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
            width, height = (int.from_bytes(head[at:at + 4], "big") for at in (16, 20))
            channels = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(head[25], 4)
            return Header(height, width, channels * (2 if head[24] == 16 else 1), size)
        if kind == "TIFF":
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                return Header(page.imagelength, page.imagewidth,
                              page.samplesperpixel * min(4, max(1, page.dtype.itemsize)), size)
        from PIL import Image

        with Image.open(path) as picture:
            wide = {"I": 4, "F": 4, "I;16": 2}.get(picture.mode, len(picture.getbands()))
            return Header(picture.height, picture.width, 4 if picture.mode == "P" else wide, size)
    except Exception:  # whatever a hostile header makes of a parser
        return None


def encoding(format: str, height: int, width: int) -> int:
    """Bytes that writing takes beside the array itself."""
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
