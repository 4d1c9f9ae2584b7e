"""`restore degrade`: parse, check, call the job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli import options as shared

degrade = typer.Typer(no_args_is_help=True, help="Make test sets with known degradations.")
BLUR = "Blur"


def register(app: typer.Typer) -> None:
    """Adds `restore degrade`."""
    app.add_typer(degrade, name="degrade")


@degrade.callback()
def _root() -> None:
    """Make test sets with known degradations."""


@degrade.command()
def vsr(
    context: typer.Context,
    folders: Annotated[list[Path], typer.Argument(
        metavar="FOLDER...", help="Folders of frames, one a clip, or folders of such folders.")],
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="Folder of the set: frames go to LR_blurdown_x4/CLIP, kernels to "
        "kernel.", rich_help_panel=shared.OUTPUT)],
    mode: Annotated[str, typer.Option(
        help="gaussian: round blur of width --sigma. realistic: an uneven kernel of 13x13, "
             "another one for each clip.", rich_help_panel=BLUR)] = "gaussian",
    sigma: Annotated[str | None, typer.Option(
        help="gaussian: width in pixels of the frames, such as 1.6 (default 1.2), or a range such "
             "as 0.4-2.0, from which each clip gets its own.", rich_help_panel=BLUR)] = None,
    seed: Annotated[int, typer.Option(
        min=0, help="Of the kernels; a clip's kernel depends on this and on its name alone.",
        rich_help_panel=BLUR)] = 0,
    overwrite: shared.Overwrite = False,
    skip_existing: shared.SkipExisting = False,
    dry_run: shared.DryRun = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Blur frames and keep every fourth pixel, for tests of blind video super-resolution.

    Pixel (i, j) of a result lies on pixel (4i, 4j) of its frame. Each clip has one kernel, kept as
    kernel/CLIP.npy, .mat and .png.

    restore degrade vsr REDS4/HR -o REDS4 --mode realistic --seed 1

    restore degrade vsr calendar walk -o Vid4 --sigma 1.6
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.degrade_vsr import DegradeRequest, run

    status = run(DegradeRequest(
        folders=folders, output=output, mode=mode, sigma=sigma, seed=seed, overwrite=overwrite,
        skip_existing=skip_existing, dry_run=dry_run), console)
    raise typer.Exit(int(status))
