"""`restore evaluate vsr`: options of the evaluation of enlarged films."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

DATA, RESULTS = "Data", "Results"


def vsr(
    context: typer.Context,
    data: Annotated[Optional[List[Path]], typer.Option(
        "--data", "-d", help="Set with the folders HR and LR_blurdown_x4, each with one folder of "
        "frames a clip, as 'restore degrade vsr' makes it; repeatable.",
        rich_help_panel=DATA)] = None,
    low: Annotated[Optional[Path], typer.Option(
        "--low", help="Small frames of a single clip: a film or a folder.",
        rich_help_panel=DATA)] = None,
    high: Annotated[Optional[Path], typer.Option(
        "--high", help="The sharp frames they were made from.", rich_help_panel=DATA)] = None,
    border: Annotated[bool, typer.Option(
        "--border", help="Also score the two frames at each end of a clip; published figures are "
        "without.", rich_help_panel=DATA)] = False,
    limit: Annotated[Optional[int], typer.Option(
        "--limit", min=1, help="Only the first so many frames of each clip.",
        rich_help_panel=DATA)] = None,
    restored: Annotated[Optional[Path], typer.Option(
        "--restored", help="Score enlarged frames that are there instead of a network's: a folder "
        "with one folder a clip, or the frames of a single clip.", rich_help_panel=DATA)] = None,
    identity: Annotated[bool, typer.Option(
        "--identity", help="Score only cubic enlargement.", rich_help_panel=shared.MODEL)] = False,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights; see 'restore weights list --task vsr'.",
        rich_help_panel=shared.MODEL)] = None,
    weights: shared.Weights = None,
    csv: Annotated[Optional[Path], typer.Option(
        "--csv", help="Write every frame's scores.", rich_help_panel=RESULTS)] = None,
    plots: Annotated[Optional[Path], typer.Option(
        "--plots", help="Draw plots into this folder: means, PSNR over the frames, times.",
        rich_help_panel=RESULTS)] = None,
    save: Annotated[Optional[Path], typer.Option(
        "--save", help="Save the enlarged frames into this folder, one folder a clip.",
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
    """PSNR and SSIM of x4 video super-resolution, by the protocol of Self-Blind-VSR.

    RGB in 8 bits, 4 pixels cut on each side, without the two frames at each end of a clip; a set's
    mean is over all frames. Cubic enlargement on the same phase is scored in the same way.
    """
    if model is not None and weights is not None:
        raise UsageError("give either --model or --weights")
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.evaluate_vsr import VsrEvaluation, run

    raise typer.Exit(int(run(VsrEvaluation(
        data=data or (), low=low, high=high, border=border, limit=limit, identity=identity,
        restored=restored, model=model, weights=weights, csv=csv, plots=plots, save=save,
        overwrite=overwrite, device=device, threads=threads, memory=memory, tile=tile), console)))
