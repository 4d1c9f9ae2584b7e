"""Still pictures: files or byte streams in, `Image` out, and back."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import InputError, OutputError, RestoreError
from restore_cli.media import exif, samples
from restore_cli.media.atomic import atomic_path, output_error
from restore_cli.media.formats import WRITABLE, can_hold, format_for, sniff
from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image

__all__ = ["Image", "Metadata", "can_hold", "format_for", "read", "write"]

# Pillow and tifffile warn on stderr about oddities that do not matter to the picture.
warnings.filterwarnings("ignore", module=r"(PIL|tifffile)\b")


def read(source: str | Path | BinaryIO, *, page: int = 0, max_pixels: int | None = None) -> Image:
    """Reads one picture, whatever its name says its format is.

    The EXIF orientation is applied to the pixels. CMYK and LAB become sRGB, palettes RGB, one
    bit grey. Of several frames or pages one is read; `Image.notes` says so.

    Args:
        source: file name, or a binary stream that need not be seekable.
        page: page of a TIFF, from 0.
        max_pixels: largest accepted picture; None means `limits.max_pixels()`.

    Raises:
        InputError: missing, damaged, truncated, too large, or not a picture.
    """
    with _opened(source) as (stream, path):
        try:
            head = stream.read(64)
            stream.seek(0)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
        if not head:
            raise InputError("the file is empty", path=path)
        kind = sniff(head)
        try:
            image, orientation = _decode(kind, stream, path, page, max_pixels)
        except RestoreError as error:
            error.path = path if error.path is None else error.path
            raise
        except MemoryError:
            raise InputError("does not fit into memory", path=path) from None
        except Exception as error:  # decoders raise anything on hostile files
            raise _unreadable(error, head, kind, path) from error
    return _upright(image, orientation)


def _decode(kind: str, stream: BinaryIO, path: str | Path, page: int, max_pixels: int | None
            ) -> tuple[Image, int]:
    # Imported here: a run that meets only JPEG files needs neither tifffile nor imagecodecs.
    if kind == "PNG":
        from restore_cli.media import png

        return png.read(stream, path, max_pixels)
    if kind == "TIFF":
        from restore_cli.media import tiff

        return tiff.read(stream, path, max_pixels, page)
    if kind == "PNM":
        from restore_cli.media import pnm

        return pnm.read(stream, path, max_pixels)
    if kind == "JXL":
        from restore_cli.media import jxl

        return jxl.read(stream, path, max_pixels)
    from restore_cli.media import pillow_files

    return pillow_files.read(stream, path, max_pixels, (kind,) if kind else None)


def _upright(image: Image, orientation: int) -> Image:
    metadata = image.metadata
    if metadata.dpi is None:
        metadata = replace(metadata, dpi=exif.stated_dpi(metadata.exif))
    pixels = samples.turn(image.pixels, orientation)
    if orientation >= 5:
        size = (pixels.shape[1], pixels.shape[0])
        metadata = replace(
            metadata, dpi=metadata.dpi[::-1] if metadata.dpi else None,
            exif=exif.scaled(metadata.exif, 1, 1, size) if metadata.exif else None)
    return replace(image, pixels=pixels, metadata=metadata)


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Iterator[tuple[BinaryIO, str | Path]]:
    if not isinstance(source, (str, Path)):
        data = source.read()
        yield io.BytesIO(data), "-"
        return
    path = Path(source)
    try:
        stream = path.open("rb")
    except IsADirectoryError:
        raise InputError("is a folder", path=path, hint="Use --recursive to enter it") from None
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"cannot be opened: {why[0].lower()}{why[1:]}", path=path) from error
    except ValueError:
        raise InputError("no such file", path=str(source).replace("\0", "\\0")) from None
    with stream:
        if stream.seekable():
            yield stream, path
        else:  # a named pipe: as a stream, and by a name that cannot be mapped into memory
            yield io.BytesIO(stream.read()), str(path)


def _unreadable(error: Exception, head: bytes, kind: str, path: str | Path) -> InputError:
    if not kind:
        textual = all(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head)
        what = "text, not a picture" if textual else "not a picture in a known format"
        return InputError(what, path=path)
    why = " ".join(str(error).split()) or type(error).__name__
    low = why.lower()
    if any(word in low for word in ("truncat", "too small", "need_more_input", "failed to read",
                                    "unpack requires", "bad_data", "premature", "eof",
                                    "broken data", "decoder object", "only got",
                                    "not enough")):
        why = "the file is truncated or damaged"
    elif "cannot identify" in low:
        why = "the header is damaged"
    return InputError(f"damaged {kind}: {why[:160]}", path=path)


def write(target: str | Path | BinaryIO, image: Image, *, format: str | None = None,
          quality: int | None = None, png_level: int | None = None,
          overwrite: bool = False) -> tuple[str, ...]:
    """Writes a picture; a file appears whole or not at all.

    What the format cannot hold is converted as `can_hold` says.

    Args:
        target: file name, or a binary stream that need not be seekable.
        format: "PNG", "JPEG", "TIFF", "WEBP", "JXL" or "BMP"; None takes it from the name, and
            for a stream from `image.format` (PNG when that cannot be written).
        quality: 1 to 100 for JPEG and WebP (None is 95; 100 makes WebP lossless) and for JPEG
            XL (None or 100 is lossless).
        png_level: deflate effort 0 to 9; None is fast.
        overwrite: replace an existing file.

    Returns:
        What was converted or left out, one sentence each.

    Raises:
        OutputError: picture too large for the format, existing file, full disk, ...
        UsageError: the name tells no format.
    """
    named = isinstance(target, (str, Path))
    path: str | Path = Path(target) if named else "-"
    if format is None:
        format = format_for(path) if named else (
            image.format if image.format in WRITABLE.values() else "PNG")
    fitted = can_hold(format, image, path)
    notes = fitted.notes[len(image.notes):]
    try:
        if named:
            with atomic_path(path, overwrite=overwrite) as temporary:
                with open(temporary, "r+b") as stream:
                    notes += _encode(stream, fitted, quality, png_level)
        else:
            notes += _encode(target, fitted, quality, png_level)
            target.flush()
    except (RestoreError, BrokenPipeError):
        raise
    except OSError as error:
        raise output_error(error, path) from error
    except MemoryError:
        raise OutputError("does not fit into memory while encoding", path=path) from None
    except (ValueError, RuntimeError, TypeError) as error:
        raise OutputError(f"cannot be encoded as {format}: {error}", path=path) from error
    return notes


def _encode(stream: BinaryIO, image: Image, quality: int | None, png_level: int | None
            ) -> tuple[str, ...]:
    if image.format == "PNG":
        from restore_cli.media import png

        png.write(stream, image, png_level)
        return ()
    if image.format == "JXL":
        from restore_cli.media import jxl

        return jxl.write(stream, image, quality)
    if image.format == "JPEG":
        from restore_cli.media import jpeg

        return jpeg.write(stream, image, quality)
    notes: tuple[str, ...] = ()
    whole = stream if stream.seekable() and stream.readable() else io.BytesIO()
    if image.format == "TIFF":
        from restore_cli.media import tiff_write

        tiff_write.write(whole, image)
    else:
        from restore_cli.media import pillow_files

        notes = pillow_files.write(whole, image, quality)
    if whole is not stream:
        stream.write(whole.getbuffer())
    return notes
