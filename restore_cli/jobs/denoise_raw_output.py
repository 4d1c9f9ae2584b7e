"""Where results of `restore denoise-raw` go, and in what form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.jobs import files
from restore_cli.jobs.denoise_raw_image import Levels
from restore_cli.jobs.denoise_raw_ratio import show
from restore_cli.media import dng, images
from restore_cli.media.raw_file import EXTENSIONS
from restore_cli.pipeline import naming
from restore_cli.pipeline.naming import STREAM, Item
from restore_cli.runtime import facts

if TYPE_CHECKING:
    from restore_cli.jobs.denoise_raw import DenoiseRawRequest
    from restore_cli.media.raw import Raw

FORMATS = {"dng": ".dng", "linear-dng": ".dng", "tiff": ".tif", "png": ".png", "jpeg": ".jpg"}
"""Names for `--format`, and the extensions of their files."""

COMPRESSIONS = ("lossless", "none")
_NAMED = {".dng": "dng", ".tif": "tiff", ".tiff": "tiff", ".png": "png", ".jpg": "jpeg",
          ".jpeg": "jpeg"}
_DARK = 8.0  # ratio from which a picture that keeps its exposure has too few of 8 bits


def plan(request: DenoiseRawRequest, inputs: list[str], suffix: str, console: Console
         ) -> list[Item]:
    """Which input becomes which output; stdout is reserved when it takes a picture.

    Args:
        inputs: what `files.names` returned.
        suffix: of outputs unless `--suffix` says another.

    Raises:
        UsageError: clashes, names of no format, options that contradict each other, or nothing
            to do.
    """
    named = _named_format(request)
    items = naming.plan(
        inputs, output=request.output,
        suffix=suffix if request.suffix is None else request.suffix,
        extension=FORMATS[request.format or "dng"], overwrite=request.overwrite,
        skip_existing=request.skip_existing, recursive=request.recursive, shard=request.shard,
        readable=EXTENSIONS, suffix_in_folder=request.suffix is not None)
    if not items and request.shard is None:
        raise UsageError("no RAW file among the inputs", hint="--recursive enters folders")
    if named is not None and any(item.target != Path(request.output) for item in items):
        raise UsageError("several inputs cannot become one file", path=request.output,
                         hint="Give -o a folder")
    if any(item.target == STREAM for item in items) and not request.dry_run:
        console.reserve_stdout()
    formats = {format_of(item, request) for item in items}
    if request.quality is not None and formats and "jpeg" not in formats:
        raise UsageError("--quality belongs to --format jpeg")
    if request.png_level is not None and formats and "png" not in formats:
        raise UsageError("--png-level belongs to --format png")
    if request.compression is not None:
        if request.compression not in COMPRESSIONS:
            raise UsageError(f"unknown compression '{request.compression}'",
                             hint="Use " + " or ".join(COMPRESSIONS))
        if formats and not formats & {"dng", "linear-dng"}:
            raise UsageError("--compression belongs to --format dng and linear-dng")
    return items


def format_of(item: Item, request: DenoiseRawRequest) -> str:
    """The form of an item's result, a key of `FORMATS`.

    Raises:
        UsageError: its name is that of no form.
    """
    if request.format is not None:
        return request.format
    if item.target == STREAM:
        return "dng"
    found = _NAMED.get(item.target.suffix.lower())
    if found is None:
        raise UsageError("no format is known by this name", path=item.target,
                         hint="End it in .dng, .tif, .png or .jpg")
    return found


def check(raw: Raw, format: str, item: Item) -> None:
    """Fails before the work what the format would refuse after it.

    Raises:
        OutputError: more pixels on a side than the format can hold.
    """
    if format not in ("dng", "linear-dng"):
        size = raw.mosaic.shape if raw.flip < 4 else raw.mosaic.shape[::-1]
        files.check_side(size, format.upper(), item)


def write(item: Item, raw: Raw, mosaic: np.ndarray, levels: Levels, format: str,
          request: DenoiseRawRequest, console: Console, *, ratio: float, weights: str
          ) -> tuple[str, ...]:
    """Stores a denoised mosaic; returns what the user should know, one sentence each.

    Args:
        mosaic: uint16, of the shape of the original's.
        levels: what its samples mean.
        format: what `format_of` returned.
        ratio: the amplification.
        weights: their name.

    Raises:
        OutputError: the system refuses.
    """
    target = console.stdout if item.target == STREAM else item.target
    how = "exposure kept" if request.keep_exposure else "brightened"
    note = f"restore {__version__} {weights}, ratio {show(ratio)}, {how}"
    if format in ("dng", "linear-dng"):
        dng.write(target, raw, mosaic, black=levels.black, white=levels.white,
                  kind="linear" if format == "linear-dng" else "mosaic",
                  compression=request.compression or "lossless", note=note,
                  overwrite=request.overwrite, threads=request.threads or facts.cores())
        return ()
    from restore_cli.jobs import denoise_raw_picture

    picture = denoise_raw_picture.picture(raw, mosaic, levels, note)
    notes = images.write(target, picture, format=format.upper(), quality=request.quality,
                         png_level=request.png_level, overwrite=request.overwrite)
    if format == "jpeg":
        # That 16 bits became 8 is what a JPEG is asked for.
        notes = tuple(line for line in notes if "8 bit" not in line)
        if request.keep_exposure and ratio >= _DARK:
            notes += ("8 bits hold few of the shades of a picture that keeps its darkness; use "
                      "--format tiff, or leave --keep-exposure out",)
    return notes


def _named_format(request: DenoiseRawRequest) -> str | None:
    """The format that -o names, None where it names a folder, stdout or nothing.

    Raises:
        UsageError: `--format` is unknown, or contradicts it.
    """
    if request.format is not None and request.format not in FORMATS:
        raise UsageError(f"unknown format '{request.format}'",
                         hint="Use one of " + ", ".join(FORMATS))
    output: Any = request.output
    if output is None or output == STREAM or output.endswith(("/", os.sep)) or os.path.isdir(
            output):
        return None
    named = _NAMED.get(Path(output).suffix.lower())
    if named and request.format and FORMATS[named] != FORMATS[request.format]:
        raise UsageError(f"-o {output} and --format {request.format} contradict each other")
    return named
