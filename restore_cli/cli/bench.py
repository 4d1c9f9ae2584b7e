"""`restore bench`: times whole commands and bare networks, on request against PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

bench = typer.Typer(no_args_is_help=True, help="Time commands and networks on this machine.")
WHAT, RESULTS = "What to time", "Results"


def register(app: typer.Typer) -> None:
    """Adds `restore bench`."""
    app.add_typer(bench, name="bench")


@bench.command()
def upscale(
    context: typer.Context,
    size: Annotated[str, typer.Option(help="Input size, WIDTHxHEIGHT.",
                                      rich_help_panel=WHAT)] = "128x128",
    scale: Annotated[str, typer.Option("--scale", "-s", metavar="S", help="Enlargement.",
                                       rich_help_panel=WHAT)] = "4",
    part: Annotated[list[str] | None, typer.Option(
        help="encoder, decoder, network (both) or pipeline (file to file); several with commas "
        "or repeated. Default: all.", rich_help_panel=WHAT)] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; each runs every part once.",
                                        rich_help_panel=WHAT)] = 5,
    model: shared.Model = None,
    weights: shared.Weights = None,
    random: Annotated[bool, typer.Option(
        "--random", help="Random weights: times --model without its file.",
        rich_help_panel=shared.MODEL)] = False,
    against: Annotated[str | None, typer.Option(
        help="torch: time the same network in plain PyTorch too, in turns.",
        rich_help_panel=WHAT)] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="Also write a .json or .md file.", rich_help_panel=RESULTS)] = None,
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
    """Times of `restore upscale`: its network's parts, and the whole way from file to file.

    --memory and --tile apply to the pipeline; the bare network takes the input whole.
    """
    if random and weights is not None:
        raise UsageError("--random needs no --weights", hint="Name the network with --model")
    if against not in (None, "torch"):
        raise UsageError(f"cannot compare with '{against}'", hint="Known: torch")
    factor = shared.scale(scale)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench import PARTS, BenchRequest, run

    status = run(BenchRequest(
        model=model, weights=weights, random=random, size=_size(size, factor), scale=factor,
        parts=_parts(part, PARTS) if part else PARTS, repeat=repeat, against=against,
        output=output, overwrite=overwrite, device=device, threads=threads, memory=memory,
        tile=tile), console)
    raise typer.Exit(int(status))


def _size(text: str, scale: float) -> tuple[int, int]:
    """(height, width) from ``WIDTHxHEIGHT``, not larger than makes sense."""
    from restore_cli.jobs.upscale_plan import parse_size

    size = parse_size(text)
    if max(size) * scale > 65535:
        raise UsageError(f"--size {text} times {scale:g} is too large",
                         hint=f"At most {math.floor(65535 / scale)} pixels a side")
    return size


def _parts(texts: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Parts named by ``--part``, each once, in the usual order."""
    named = [text.strip() for text in ",".join(texts).split(",")]
    for name in named:
        if name not in known:
            raise UsageError(f"unknown part '{name}'", hint="Known: " + ", ".join(known))
    return tuple(name for name in known if name in named)
