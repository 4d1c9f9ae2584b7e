"""`restore bench all`: every system's benchmark in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

WHAT, RESULTS = "What to time", "Results"


def register(bench: typer.Typer) -> None:
    """Adds `all` to `restore bench`."""
    bench.command("all")(everything)


def everything(
    context: typer.Context,
    system: Annotated[list[str] | None, typer.Option(
        help="upscale, denoise, denoise-raw or vsr; several with commas or repeated. Default: all.",
        rich_help_panel=WHAT)] = None,
    size: Annotated[str, typer.Option(
        help="Of the inputs: modest, full (12-megapixel RAW files, frames of 320x180, 1024x1024 "
        "pictures) or tiny (to see that everything runs).", rich_help_panel=WHAT)] = "modest",
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; each runs every part once.",
                                        rich_help_panel=WHAT)] = 5,
    against: Annotated[str | None, typer.Option(
        help="torch: time the same networks in plain PyTorch too, in turns.",
        rich_help_panel=WHAT)] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="Also write a .json or .md file.", rich_help_panel=RESULTS)] = None,
    plot: Annotated[Path | None, typer.Option(
        help="Also draw the ratios: a .png file.", rich_help_panel=RESULTS)] = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Times of all systems, with random weights, beside what a convolution reaches here.

    The table says what is compared with what, which targets are met, and how large a share of
    the fastest convolution each network makes use of. A system that fails does not stop the
    others; the exit status tells.
    """
    from restore_cli.cli.bench import check_against, chosen

    check_against(against)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench_all import SIZES, SYSTEMS, AllBenchRequest, run

    if size not in SIZES:
        raise UsageError(f"unknown size '{size}'", hint="Known: " + ", ".join(SIZES))
    status = run(AllBenchRequest(
        systems=chosen("system", system, SYSTEMS), size=size, repeat=repeat, against=against,
        output=output, plot=plot, overwrite=overwrite, device=device, threads=threads,
        memory=memory), console)
    raise typer.Exit(int(status))
