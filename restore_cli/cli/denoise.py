"""`restore denoise`: images, by training on the images themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from restore_cli.cli import options as shared

TRAINING, EXPERT, RESULT = "Training", "Expert", "Result"


def register(app: typer.Typer) -> None:
    """Adds `restore denoise`."""
    app.command()(denoise)


def denoise(
    context: typer.Context,
    files: shared.Files = None,
    quick: Annotated[bool, typer.Option(
        "--quick", help="No training: the shipped weights, which know noise in general, at once.",
        rich_help_panel=TRAINING)] = False,
    time: Annotated[Optional[float], typer.Option(
        "--time", metavar="SECONDS", help="How long a training may take; default: 30.",
        rich_help_panel=TRAINING)] = None,
    steps: Annotated[Optional[int], typer.Option(
        "--steps", min=1, help="Training steps instead of a time; with the same --seed the result "
        "is the same again.", rich_help_panel=TRAINING)] = None,
    seed: Annotated[int, typer.Option(
        "--seed", min=0, help="Seed of everything random.", rich_help_panel=TRAINING)] = 0,
    each: Annotated[bool, typer.Option(
        "--each/--together", help="Train for each file anew; default: once on all files, which "
        "should be of one kind.", rich_help_panel=TRAINING)] = False,
    cold: Annotated[bool, typer.Option(
        "--cold", "--no-warm-start", help="Start training from random weights instead of the "
        "shipped ones.", rich_help_panel=TRAINING)] = False,
    struct: Annotated[Optional[str], typer.Option(
        "--struct", metavar="SHAPE[:SPAN]", help="For noise that pixels share with their "
        "neighbours: horizontal, vertical, cross or square, over 5 pixels or SPAN.",
        rich_help_panel=TRAINING)] = None,
    model_out: Annotated[Optional[Path], typer.Option(
        "--model-out", metavar="FILE", help="Keep the trained weights, for --weights.",
        rich_help_panel=TRAINING)] = None,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights, used without training; see 'restore weights "
        "list --task denoise'.", rich_help_panel=shared.MODEL)] = None,
    weights: Annotated[Optional[str], typer.Option(
        "--weights", "-w", metavar="FILE", help="Weight file of your own, used without training.",
        rich_help_panel=shared.MODEL)] = None,
    strength: Annotated[float, typer.Option(
        "--strength", min=0, max=1, help="Less than 1 mixes the input back in.",
        rich_help_panel=RESULT)] = 1.0,
    tta: Annotated[bool, typer.Option(
        "--tta", help="Mean over the eight flips and turns: a little better, eight times the "
        "work.", rich_help_panel=RESULT)] = False,
    axes: Annotated[Optional[str], typer.Option(
        "--axes", help="What the dimensions of a stack are, such as ZYX, TYX, CYX or TZCYX; "
        "default: as the file says.", rich_help_panel=RESULT)] = None,
    volume: Annotated[bool, typer.Option(
        "--volume", help="Treat Z stacks as volumes: a network that looks along Z too.",
        rich_help_panel=RESULT)] = False,
    mask_invalid: Annotated[bool, typer.Option(
        "--mask-invalid", help="Leave NaN and infinite pixels as they are instead of refusing "
        "the image.", rich_help_panel=RESULT)] = False,
    network: Annotated[Optional[str], typer.Option(
        "--network", help="field (default), n2v2, n2v-unet, rednet10, rednet20 or rednet30; all "
        "but field start from random weights.", rich_help_panel=EXPERT)] = None,
    percent: Annotated[Optional[float], typer.Option(
        "--percent", help="Part of the pixels hidden in each step; default: 6.",
        rich_help_panel=EXPERT)] = None,
    manipulator: Annotated[Optional[str], typer.Option(
        "--manipulator", help="What hidden pixels show: neighbours (default), median, mean, "
        "uniform or uniform-with-centre.", rich_help_panel=EXPERT)] = None,
    recorrupt: Annotated[bool, typer.Option(
        "--recorrupt/--blind-only", help="Where the noise is measured to be white and Gaussian, "
        "also learn from pixels that are not hidden (Recorrupted-to-Recorrupted); else, and with "
        "--blind-only, from hidden ones alone.", rich_help_panel=EXPERT)] = True,
    output: shared.Output = None,
    suffix: Annotated[Optional[str], typer.Option(
        "--suffix", help="Added to names; default: _denoised beside the input, and nothing in an "
        "output folder.", rich_help_panel=shared.OUTPUT)] = None,
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
    """Remove noise from images without knowing the clean ones.

    A network trains on the noisy image itself (Noise2Void: it learns to foretell hidden pixels
    from their surroundings) and then cleans it. That works for noise that differs from pixel to
    pixel at random; warnings tell when it does not. Stacks in TIFF files are read lazily. Depth,
    transparency, profiles and metadata are kept.

    restore denoise scan.tif

    restore denoise cells/*.tif -o clean/ --time 120 --model-out cells.safetensors

    restore denoise noisy.png --quick
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.denoise import DenoiseRequest, run

    status = run(DenoiseRequest(
        inputs=list(files or []), quick=quick, seconds=time, steps=steps, seed=seed, each=each,
        cold=cold, struct=struct, model_out=model_out, model=model, weights=weights,
        strength=strength, tta=tta, axes=axes, volume=volume, mask_invalid=mask_invalid,
        network=network, percent=percent, manipulator=manipulator, recorrupt=recorrupt,
        output=output, suffix=suffix,
        format=format, quality=quality, png_level=png_level, overwrite=overwrite,
        skip_existing=skip_existing, recursive=recursive, dry_run=dry_run, files_from=files_from,
        null=null, shard=shard, device=device, jobs=jobs, threads=threads, memory=memory,
        tile=tile, precision=precision), console)
    raise typer.Exit(int(status))
