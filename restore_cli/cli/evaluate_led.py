"""`restore evaluate led`: options of the evaluation of RAW denoising."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

DATA, RESULTS, SYNTHETIC = "Data", "Results", "Generated data"


def led(
    context: typer.Context,
    data: Annotated[List[Path], typer.Option(
        "--data", "-d", help="Folder in the layout of SID (short/ and long/) or ELD (scene-3/ ...)"
        ", a list of lines 'noisy clean \\[ratio]', or 'synthetic' for generated pairs; "
        "repeatable.", rich_help_panel=DATA)],
    protocol: Annotated[str, typer.Option(
        "--protocol", "-p", help="led (four planes, brightness corrected, as in its paper) or "
        "source (the LED_jittor table: three planes in 8 bits; not comparable with the other).",
        rich_help_panel=DATA)] = "led",
    no_correct: Annotated[bool, typer.Option(
        "--no-correct", help="led: leave the correction of brightness out.",
        rich_help_panel=DATA)] = False,
    all_shots: Annotated[bool, typer.Option(
        "--all-shots", help="SID: whole bursts, not only the first shot of each exposure; source "
        "always takes them.", rich_help_panel=DATA)] = False,
    all_scenes: Annotated[bool, typer.Option(
        "--all-scenes", help="Also scenes meant for training: of SID those whose number does not "
        "begin with 1, of ELD 1 and 2.", rich_help_panel=DATA)] = False,
    limit: Annotated[Optional[int], typer.Option(
        "--limit", min=1, help="Only the first so many pairs of each set (synthetic: at each "
        "ratio).", rich_help_panel=DATA)] = None,
    cameras: Annotated[Optional[str], typer.Option(
        "--cameras", help="virtual (default) or virtual:N, SonyA7S2, NikonD850, or a .json file "
        "of 'restore train led --calibrate'.", rich_help_panel=SYNTHETIC)] = None,
    ratios: Annotated[Optional[str], typer.Option(
        "--ratios", help="Amplifications, with commas; default: 100,250,300.",
        rich_help_panel=SYNTHETIC)] = None,
    count: Annotated[Optional[int], typer.Option(
        "--count", min=1, help="Scenes at each ratio; default: 12.",
        rich_help_panel=SYNTHETIC)] = None,
    seed: Annotated[Optional[int], typer.Option(
        "--seed", min=0, help="Of scenes and noise; default: 0.",
        rich_help_panel=SYNTHETIC)] = None,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights; see 'restore weights list --task "
        "denoise-raw'.", rich_help_panel=shared.MODEL)] = None,
    weights: shared.Weights = None,
    identity: Annotated[bool, typer.Option(
        "--identity", help="No network: only the noisy files' own scores.",
        rich_help_panel=shared.MODEL)] = False,
    csv: Annotated[Optional[Path], typer.Option(
        "--csv", help="Write every pair's scores.", rich_help_panel=RESULTS)] = None,
    markdown: Annotated[Optional[Path], typer.Option(
        "--markdown", help="Write the tables as Markdown.", rich_help_panel=RESULTS)] = None,
    plots: Annotated[Optional[Path], typer.Option(
        "--plots", help="Draw plots into this folder.", rich_help_panel=RESULTS)] = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: Annotated[Optional[int], typer.Option(
        "--tile", min=32, help="Tile side in sensor pixels; default: chosen from --memory.",
        rich_help_panel=shared.COMPUTE)] = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """PSNR and SSIM of denoised RAW files by amplification, and shifts of brightness and colour.

    The amplified noisy files are scored in the same way beside the result. The ratio comes from
    the list, from the seconds in the names (at most 300), or from ISO and time in the files.

    restore evaluate led --data SID/Sony

    restore evaluate led --data pairs.txt --weights mine.safetensors --plots plots/

    restore evaluate led --data synthetic --cameras SonyA7S2
    """
    chosen = [name for name, given in (
        ("--model", model), ("--weights", weights), ("--identity", identity)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other")
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.evaluate_led import LedEvaluation, run

    status = run(LedEvaluation(
        data=data, protocol=protocol, correct=not no_correct, all_shots=all_shots,
        all_scenes=all_scenes, limit=limit, cameras=cameras, ratios=ratios, count=count, seed=seed,
        identity=identity, model=model, weights=weights, csv=csv, markdown=markdown, plots=plots,
        overwrite=overwrite, device=device, threads=threads, memory=memory, tile=tile), console)
    raise typer.Exit(int(status))
