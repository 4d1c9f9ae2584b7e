"""`restore denoise-raw`: dark RAW files to clean ones."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from restore_cli.cli import options as shared

BRIGHTNESS, RESULT = "Brightness", "Result"


def register(app: typer.Typer) -> None:
    """Adds `restore denoise-raw`."""
    app.command(name="denoise-raw")(denoise_raw)


def denoise_raw(
    context: typer.Context,
    files: shared.Files = None,
    ratio: Annotated[Optional[float], typer.Option(
        "--ratio", help="Amplify so many times before denoising, such as 100; default: as the "
        "file's own brightness asks.", rich_help_panel=BRIGHTNESS)] = None,
    target_exposure: Annotated[Optional[float], typer.Option(
        "--target-exposure", metavar="E", help="Amplify to the brightness of this exposure, ISO "
        "times seconds.", rich_help_panel=BRIGHTNESS)] = None,
    reference: Annotated[Optional[str], typer.Option(
        "--reference", metavar="FILE", help="Amplify to the exposure of this RAW file, 300 times "
        "at most.", rich_help_panel=BRIGHTNESS)] = None,
    same_ratio: Annotated[bool, typer.Option(
        "--same-ratio", help="One ratio for all files: that of the brightest, so that none clips "
        "more than by itself.", rich_help_panel=BRIGHTNESS)] = False,
    keep_exposure: Annotated[bool, typer.Option(
        "--keep-exposure", help="As dark as it was: divide by the ratio again. Highlights come "
        "from the original.", rich_help_panel=BRIGHTNESS)] = False,
    strength: Annotated[float, typer.Option(
        "--strength", min=0, max=1, help="Less than 1 mixes the noise back in.",
        rich_help_panel=RESULT)] = 1.0,
    format: Annotated[Optional[str], typer.Option(
        "--format", metavar="FORMAT", help="dng (default: a mosaic, as from the camera), "
        "linear-dng (demosaicked), or developed: tiff, png (16 bits), jpeg.",
        rich_help_panel=RESULT)] = None,
    quality: Annotated[Optional[int], typer.Option(
        "--quality", min=1, max=100, help="Of JPEG; default: 95.",
        rich_help_panel=RESULT)] = None,
    png_level: shared.PngLevel = None,
    compression: Annotated[Optional[str], typer.Option(
        "--compression", help="Of DNG: lossless (default) or none.",
        rich_help_panel=RESULT)] = None,
    again: Annotated[bool, typer.Option(
        "--again", help="Also denoise files that say they have been denoised.",
        rich_help_panel=RESULT)] = False,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights; see 'restore weights list --task "
        "denoise-raw'.", rich_help_panel=shared.MODEL)] = None,
    weights: shared.Weights = None,
    output: shared.Output = None,
    suffix: Annotated[Optional[str], typer.Option(
        "--suffix", help="Added to names; default: _denoised beside the input, and nothing in an "
        "output folder.", rich_help_panel=shared.OUTPUT)] = None,
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
    tile: Annotated[Optional[int], typer.Option(
        "--tile", min=32, help="Tile side in sensor pixels; default: chosen from --memory.",
        rich_help_panel=shared.COMPUTE)] = None,
    precision: shared.Precision = "fp32",
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Remove the noise of dark RAW files before they are developed.

    The result is a DNG that any RAW developer opens, brightened, with white balance and exposure
    still adjustable; or a developed picture. Cameras with a Bayer sensor only. The shipped
    weights know no camera in particular: for yours, 'restore train led --finetune pairs.txt'
    makes better ones from a few pairs of pictures.

    restore denoise-raw *.ARW

    restore denoise-raw night/ -o clean/ --same-ratio --format tiff

    restore denoise-raw star.NEF --ratio 100 --keep-exposure
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.denoise_raw import DenoiseRawRequest, run

    status = run(DenoiseRawRequest(
        inputs=list(files or []), ratio=ratio, target_exposure=target_exposure,
        reference=reference, same_ratio=same_ratio, keep_exposure=keep_exposure,
        strength=strength, compression=compression, again=again, model=model, weights=weights,
        output=output, suffix=suffix, format=format, quality=quality, png_level=png_level,
        overwrite=overwrite, skip_existing=skip_existing, recursive=recursive, dry_run=dry_run,
        files_from=files_from, null=null, shard=shard, device=device, jobs=jobs, threads=threads,
        memory=memory, tile=tile, precision=precision), console)
    raise typer.Exit(int(status))
