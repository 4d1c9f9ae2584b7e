"""`restore upscale`: images at any scale."""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli import options as shared

SIZE = "Size"


def register(app: typer.Typer) -> None:
    """Adds `restore upscale`."""
    app.command()(upscale)


def upscale(
    context: typer.Context,
    files: shared.Files = None,
    scale: Annotated[str | None, typer.Option(
        "--scale", "-s", metavar="S|SxT", help="Factor, any number from 1 on, such as 2 or 7.5; "
        "2x3 is twice as wide and three times as high.", rich_help_panel=SIZE)] = None,
    size: Annotated[str | None, typer.Option(
        "--size", metavar="WxH", help="Exact size of the output in pixels.",
        rich_help_panel=SIZE)] = None,
    model: shared.Model = None,
    weights: shared.Weights = None,
    cell_clamp: Annotated[bool, typer.Option(
        "--cell-clamp", help="Beyond x4, tell the network pixels no smaller than those of x4: "
        "softer, with fewer artefacts.", rich_help_panel=shared.MODEL)] = False,
    self_ensemble: Annotated[bool, typer.Option(
        "--self-ensemble", help="Mean over the eight flips and turns: a little better, eight "
        "times the work.", rich_help_panel=shared.MODEL)] = False,
    truncate: Annotated[bool, typer.Option(
        "--truncate", help="Cut fractions instead of rounding, as the published LIIF demo does.",
        rich_help_panel=shared.MODEL)] = False,
    output: shared.Output = None,
    suffix: Annotated[str | None, typer.Option(
        "--suffix", help="Added to names; default: the scale, such as _x2, beside the input, and "
        "nothing in an output folder.", rich_help_panel=shared.OUTPUT)] = None,
    format: shared.Format = None,
    quality: shared.Quality = None,
    png_level: shared.PngLevel = None,
    overwrite: shared.Overwrite = False,
    skip_existing: shared.SkipExisting = False,
    recursive: shared.Recursive = False,
    dry_run: shared.DryRun = False,
    files_from: shared.FilesFrom = None,
    null: shared.Null = False,
    shard: shared.Shard = None,
    device: shared.Devices = "auto",
    jobs: shared.Jobs = None,
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    precision: shared.Precision = "fp32",
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Enlarge images by any factor with a neural network.

    Works on clean images: noise and JPEG artefacts are enlarged too. Grey, transparency, 16 bits
    and float, colour profiles and EXIF are kept; printed size stays the same.

    restore upscale photo.jpg --scale 7.5

    restore upscale scans/ -r -o large/ --size 3840x2160

    cat a.png | restore upscale - --scale 2 -o - > b.png
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.upscale import UpscaleRequest, run

    status = run(UpscaleRequest(
        inputs=list(files or []), scale=scale, size=size, model=model, weights=weights,
        cell_clamp=cell_clamp, self_ensemble=self_ensemble, truncate=truncate, output=output,
        suffix=suffix, format=format, quality=quality, png_level=png_level, overwrite=overwrite,
        skip_existing=skip_existing, recursive=recursive, dry_run=dry_run, files_from=files_from,
        null=null, shard=shard, device=device, jobs=jobs, threads=threads, memory=memory,
        tile=tile, precision=precision), console)
    raise typer.Exit(int(status))
