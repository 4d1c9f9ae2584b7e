"""DNG out: sensor values that stay raw, with all that a RAW developer needs to know of them.

Laid out as Adobe's converter does: a JPEG preview in the main directory, so that viewers show
something, and the sensor values in a sub-directory. Specification: Adobe DNG 1.4; readers of 1.1
can open the file unless the original's lens corrections need 1.3.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from restore_cli.errors import OutputError, RestoreError, ShapeError
from restore_cli.media import dng_facts, dng_pixels, dng_preview, dng_source, ifd, raw_tags
from restore_cli.media import dng_tags as tag
from restore_cli.media.atomic import atomic_path, output_error

if TYPE_CHECKING:
    from restore_cli.media.raw import Raw

SUFFIX = ".dng"
Kind = Literal["mosaic", "linear"]
Compression = Literal["lossless", "none"]

_MARK = "Denoised by "
_LOSSLESS_JPEG, _PLAIN = 7, 1
_THREADS = 4
# Bytes of samples: a classic TIFF counts with 32 bits, and what cannot be packed grows a little.
_MOST = (1 << 32) * 7 // 8


def write(target: str | Path | BinaryIO, raw: Raw, mosaic: np.ndarray, *,
          black: np.ndarray | float | None = None, white: np.ndarray | float | None = None,
          kind: Kind = "mosaic", compression: Compression = "lossless", note: str,
          preview: np.ndarray | None = None, baseline_exposure: float = 0.0,
          overwrite: bool = False, threads: int = 1) -> None:
    """Writes a DNG with the sensor values `mosaic` and everything else from `raw`.

    A file appears whole or not at all. Few tiles are coded at a time, so the mosaic is not
    copied; the linear kind makes the demosaicked picture (6 bytes a pixel) first.

    Args:
        target: the file's name, or an open binary stream, which gets the bytes in one go
            at the end and need not be seekable.
        mosaic: uint16, same shape as `raw.mosaic`.
        black, white: levels of `mosaic`, one number or four in plane order R, G1, B, G2; left
            out, those of `raw`.
            DNG holds one white level: the lowest, so that highlights clip without a tint.
        kind: "mosaic", or "linear" for demosaicked camera colours.
        compression: "lossless" (lossless JPEG) or "none".
        note: what was done to the picture and by what; `denoised_by` gives it back.
        preview: uint8 (h, w, 3) sRGB picture, upright; left out, a small one is made.
        baseline_exposure: stops that a developer adds by itself, on top of the original's.
        overwrite: replace an existing file.
        threads: that code tiles; more than 4 are not used.

    Raises:
        OutputError: the name is the original's or taken, or the system refuses to write.
        ShapeError: `mosaic` is no uint16 array of the right shape.
    """
    if mosaic.shape != raw.mosaic.shape or mosaic.dtype != np.uint16:
        raise ShapeError("mosaic", f"uint16 {raw.mosaic.shape}", mosaic.shape)
    black = np.broadcast_to(np.asarray(raw.black if black is None else black, float), (4,))
    white = np.broadcast_to(np.asarray(raw.white if white is None else white, float), (4,))
    named = isinstance(target, (str, Path))
    path = Path(target) if named else "-"
    if mosaic.size * (6 if kind == "linear" else 2) > _MOST:
        raise OutputError("the picture is too large for a DNG, which ends at 4 GiB", path=path)

    def emit(stream: BinaryIO) -> None:
        _write(stream, raw, mosaic, black, white, kind, compression, note, preview,
               baseline_exposure, min(_THREADS, threads))

    try:
        if not named:
            _to_stream(target, emit)
            return
        if path.exists() and raw.path.exists() and path.samefile(raw.path):
            raise OutputError("is the original itself", path=path,
                              hint="Choose another name or folder")
        with atomic_path(path, overwrite=overwrite) as temporary:
            with open(temporary, "r+b") as stream:
                emit(stream)
    except (RestoreError, BrokenPipeError):
        raise
    except OSError as error:
        raise output_error(error, path) from error
    except MemoryError:
        raise OutputError("does not fit into memory while encoding", path=path) from None
    except (ValueError, RuntimeError) as error:
        raise OutputError(f"cannot be encoded as DNG: {error}", path=path) from error


def denoised_by(path: str | Path) -> str | None:
    """The note of a DNG that `write` made, or None for every other file.

    Raises:
        OSError: the file cannot be read.
    """
    main = raw_tags.read(path).main
    words = main.text(tag.PROCESSING_SOFTWARE) if main else ""
    return words[len(_MARK):] if words.startswith(_MARK) else None


def _to_stream(stream: BinaryIO, emit: Callable[[BinaryIO], None]) -> None:
    # The directories at the front tell where the tiles behind them lie, and to go back in a
    # stream is wrong for pipes and for files that are appended to.
    with tempfile.TemporaryFile() as whole:
        emit(whole)
        whole.seek(0)
        shutil.copyfileobj(whole, stream, 1 << 20)
    stream.flush()


def _write(stream: BinaryIO, raw: Raw, mosaic: np.ndarray, black: np.ndarray, white: np.ndarray,
           kind: Kind, compression: Compression, note: str, preview: np.ndarray | None,
           exposure: float, threads: int) -> None:
    source = dng_source.take(raw.tags, mosaic.shape, linear=kind == "linear")
    main = dng_facts.main_directory(raw, source, _MARK + note, exposure)
    if preview is None:
        preview = dng_preview.make(raw, mosaic, black, white, exposure)
    else:
        preview = dng_preview.unturned(preview, raw.flip)
    thumbnail = _jpeg(preview)
    dng_facts.add_preview(main, preview.shape[:2], len(thumbnail))
    if kind == "linear":
        from restore_cli.media import develop

        pixels = develop.linear_camera_rgb(raw, mosaic, black=black, white=white)
        black, white = np.zeros(3), np.full(3, develop.LINEAR_WHITE)
    else:
        pixels = mosaic
    sub = dng_facts.picture_directory(raw, source, pixels, black, white)
    packed = compression == "lossless" and dng_pixels.can_compress(pixels.shape[1])
    chunks = _chunks(sub, pixels, packed, threads)
    _lay_out(stream, main, sub, thumbnail, chunks,
             (tag.TILE_OFFSETS, tag.TILE_COUNTS) if packed
             else (tag.STRIP_OFFSETS, tag.STRIP_COUNTS))


def _jpeg(picture: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=90,
                                          subsampling="444"))


def _chunks(sub: ifd.Directory, pixels: np.ndarray, packed: bool,
            threads: int) -> Iterator[bytes]:
    """The coded pieces of the picture; their tags go into `sub`, still without places."""
    height, width = pixels.shape[:2]
    entries = sub.entries
    if packed:
        rows, columns = dng_pixels.tile_shape(height, width)
        count = -(-height // rows) * -(-width // columns)
        entries[tag.COMPRESSION] = tag.short(_LOSSLESS_JPEG)
        entries[tag.TILE_WIDTH], entries[tag.TILE_HEIGHT] = tag.long(columns), tag.long(rows)
        entries[tag.TILE_OFFSETS] = entries[tag.TILE_COUNTS] = tag.long(*[0] * count)
        return dng_pixels.tiles(pixels, threads)
    rows = dng_pixels.strip_rows(pixels)
    count = -(-height // rows)
    entries[tag.COMPRESSION] = tag.short(_PLAIN)
    entries[tag.ROWS_PER_STRIP] = tag.long(rows)
    entries[tag.STRIP_OFFSETS] = entries[tag.STRIP_COUNTS] = tag.long(*[0] * count)
    return dng_pixels.strips(pixels)


def _lay_out(stream: BinaryIO, main: ifd.Directory, sub: ifd.Directory, thumbnail: bytes,
             chunks: Iterator[bytes], names: tuple[int, int]) -> None:
    """Header, both directories, preview, picture; the directories are filled in at the end."""
    main.entries[tag.SUB_IFDS] = tag.long(0)
    second = _even(8 + len(ifd.pack(main, 8)))
    at = _even(second + len(ifd.pack(sub, second)))
    stream.write(bytes(at))
    main.entries[tag.SUB_IFDS] = tag.long(second)
    main.entries[tag.STRIP_OFFSETS] = tag.long(at)
    at = _put(stream, thumbnail, at)
    offsets, counts = [], []
    for chunk in chunks:
        offsets.append(at)
        counts.append(len(chunk))
        at = _put(stream, chunk, at)
    sub.entries[names[0]], sub.entries[names[1]] = tag.long(*offsets), tag.long(*counts)
    stream.seek(0)
    front = struct.pack("<2sHI", b"II", 42, 8) + ifd.pack(main, 8)
    stream.write(front.ljust(second, b"\0") + ifd.pack(sub, second))


def _put(stream: BinaryIO, data: bytes, at: int) -> int:
    """Writes a piece and returns where the next one may start."""
    stream.write(data)
    if len(data) % 2:
        stream.write(b"\0")
    return _even(at + len(data))


def _even(place: int) -> int:
    return place + place % 2
