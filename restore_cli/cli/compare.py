"""`restore compare`: pictures side by side, zoomed where they differ."""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

SHEET = "Sheet"


def register(app: typer.Typer) -> None:
    """Adds `restore compare`."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(
        metavar="A B [C...]", help="Pictures; differences are taken to the first.")],
    output: Annotated[str, typer.Option(
        "--output", "-o", help="The sheet: a file, or - for stdout.",
        rich_help_panel=shared.OUTPUT)] = "comparison.png",
    overwrite: shared.Overwrite = False,
    crop: Annotated[list[str] | None, typer.Option(
        "--crop", metavar="X,Y,W,H", help="Part to enlarge, in pixels of the largest picture; "
        "repeatable. Default: where they differ most.", rich_help_panel=SHEET)] = None,
    crops: Annotated[int, typer.Option(
        "--crops", min=0, max=12, help="How many parts to choose without --crop.",
        rich_help_panel=SHEET)] = 2,
    zoom: Annotated[int | None, typer.Option(
        "--zoom", min=1, max=64, help="Enlargement of the parts; default: fills the column.",
        rich_help_panel=SHEET)] = None,
    resize: Annotated[str, typer.Option(
        "--resize", help="How smaller pictures are brought to the largest size: nearest shows "
        "their pixels, bicubic what plain enlargement gives.", rich_help_panel=SHEET)] = "bicubic",
    gain: Annotated[float | None, typer.Option(
        "--gain", min=0.01, help="Brightening of the difference maps; default: by their "
        "strength.", rich_help_panel=SHEET)] = None,
    column: Annotated[int, typer.Option(
        "--column", min=64, max=8192, help="Width of a column in pixels.",
        rich_help_panel=SHEET)] = 560,
    no_difference: Annotated[bool, typer.Option(
        "--no-difference", help="No difference maps.", rich_help_panel=SHEET)] = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    debug: shared.Debug = False,
) -> None:
    """Draw pictures side by side, with enlarged parts and difference maps.

    Sizes may differ; pictures of one size also get PSNR and SSIM to the first.
    """
    console = shared.console(context, json=json, quiet=quiet, debug=debug)
    from restore_cli.jobs.compare import CompareRequest, run

    status = run(CompareRequest(
        inputs=files, output=output, crops=[_crop(text) for text in crop or ()], count=crops,
        zoom=zoom, resize=resize, gain=gain, column=column, with_maps=not no_difference,
        overwrite=overwrite), console)
    raise typer.Exit(int(status))


def _crop(text: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop {text} is not four whole numbers",
                         hint="Write it as --crop X,Y,WIDTH,HEIGHT") from None
    return x, y, width, height
