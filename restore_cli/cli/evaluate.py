"""`restore evaluate`: published protocols, and PSNR/SSIM of any two images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli import evaluate_led, evaluate_n2v, evaluate_vsr
from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

evaluate = typer.Typer(no_args_is_help=True,
                       help="Score networks on test sets, or images against references.")
DATA, RESULTS = "Data", "Results"


def register(app: typer.Typer) -> None:
    """Adds `restore evaluate`."""
    app.add_typer(evaluate, name="evaluate")


@evaluate.command()
def liif(
    context: typer.Context,
    data: Annotated[list[Path], typer.Option(
        "--data", "-d", help="Folder of test images: HR/ with LR_bicubic/X2 ..., *_HR and *_LR "
        "files, or high-resolution images only. Repeatable.", rich_help_panel=DATA)],
    scale: Annotated[list[str] | None, typer.Option(
        "--scale", "-s", help="Scale, or several with commas; repeatable. Default: those with "
        "given low-resolution files, else 2,3,4.", rich_help_panel=DATA)] = None,
    protocol: Annotated[str, typer.Option(
        help="benchmark (luma, border = scale), classic (the same, luma in 8 bits), div2k (RGB, "
        "border = scale + 6) or rgb.", rich_help_panel=DATA)] = "benchmark",
    quantise: Annotated[bool, typer.Option(
        "--quantise", help="Round predictions to 8 bits first; the LIIF paper does not.",
        rich_help_panel=DATA)] = False,
    model: Annotated[str | None, typer.Option(
        "--model", "-m", help="Name of known weights, or bicubic for the baseline alone.",
        rich_help_panel=shared.MODEL)] = None,
    weights: shared.Weights = None,
    csv: Annotated[Path | None, typer.Option(
        "--csv", help="Write every image's scores.", rich_help_panel=RESULTS)] = None,
    plots: Annotated[Path | None, typer.Option(
        "--plots", help="Draw plots into this folder.", rich_help_panel=RESULTS)] = None,
    save: Annotated[Path | None, typer.Option(
        "--save", help="Save the enlarged images into this folder.",
        rich_help_panel=RESULTS)] = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """PSNR and SSIM of arbitrary-scale super-resolution, by the published protocols.

    Low-resolution images that are not there are made as the paper makes them. Bicubic
    enlargement is scored in the same way beside the network.
    """
    if model is not None and weights is not None:
        raise UsageError("give either --model or --weights")
    # In the order given, each once.
    scales = list(dict.fromkeys(map(shared.scale, ",".join(scale).split(",")))) if scale else None
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.evaluate import EvaluateRequest, run

    status = run(EvaluateRequest(
        data=data, scales=scales, protocol=protocol, model=model, weights=weights,
        quantise=quantise, csv=csv, plots=plots, save=save, overwrite=overwrite, device=device,
        threads=threads, memory=memory, tile=tile), console)
    raise typer.Exit(int(status))


evaluate.command()(evaluate_n2v.n2v)
evaluate.command()(evaluate_led.led)
evaluate.command()(evaluate_vsr.vsr)


@evaluate.command()
def pair(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A", help="Image, or folder of images.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Reference of the same kind.")],
    border: Annotated[int, typer.Option(min=0, help="Pixels to cut on each side.")] = 0,
    affine: Annotated[bool, typer.Option(
        "--affine", help="Also after the best gain and offset of A: for images whose contrast "
        "was stretched.")] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """PSNR and SSIM between two files, or between the files of two folders.

    In RGB and in luma (PSNR-Y, SSIM-Y: BT.601, studio range). Folders are matched by file name
    without extension. 8-bit and 16-bit files can be mixed; alpha is left out.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.compare_pairs import PairRequest, run

    raise typer.Exit(int(run(PairRequest(first, second, border, affine), console)))
