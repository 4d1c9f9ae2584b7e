"""`restore bench`: times whole commands and bare networks, on request against PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli import bench_all
from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

bench = typer.Typer(no_args_is_help=True, help="Time commands and networks on this machine.")
WHAT, RESULTS = "What to time", "Results"

Repeat = Annotated[int, typer.Option(min=1, help="Rounds; each runs every part once.",
                                     rich_help_panel=WHAT)]
Against = Annotated[str | None, typer.Option(
    help="torch: time the same network in plain PyTorch too, in turns.", rich_help_panel=WHAT)]
Picture = Annotated[list[Path] | None, typer.Option(
    metavar="FILE", help="With --precision bf16: what it costs on this picture or a folder's, "
    "spoiled and restored; repeatable. Default: a generated one.", rich_help_panel=WHAT)]
Output = Annotated[Path | None, typer.Option(
    "--output", "-o", help="Also write a .json or .md file.", rich_help_panel=RESULTS)]


def register(app: typer.Typer) -> None:
    """Adds `restore bench`."""
    bench_all.register(bench)
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
    repeat: Repeat = 5,
    model: shared.Model = None,
    weights: shared.Weights = None,
    random: Annotated[bool, typer.Option(
        "--random", help="Random weights: times --model without its file.",
        rich_help_panel=shared.MODEL)] = False,
    against: Against = None,
    output: Output = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    precision: shared.Precision = "fp32",
    picture: Picture = None,
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
    check_against(against)
    factor = shared.scale(scale)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench import PARTS, BenchRequest, run

    status = run(BenchRequest(
        model=model, weights=weights, random=random, size=_size(size, factor), scale=factor,
        parts=chosen("part", part, PARTS), repeat=repeat, against=against,
        output=output, overwrite=overwrite, device=device, threads=threads, memory=memory,
        tile=tile, precision=precision, pictures=tuple(picture or ())), console)
    raise typer.Exit(int(status))


@bench.command()
def denoise(
    context: typer.Context,
    size: Annotated[str, typer.Option(help="Input size, WIDTHxHEIGHT.",
                                      rich_help_panel=WHAT)] = "512x512",
    network: Annotated[list[str] | None, typer.Option(
        help="field, n2v2, n2v-unet, rednet10, rednet20 or rednet30; several with commas or "
        "repeated. Default: field.", rich_help_panel=WHAT)] = None,
    part: Annotated[list[str] | None, typer.Option(
        help="train (blind-spot training steps), network (prediction) or pipeline (prediction, "
        "file to file); several with commas or repeated. Default: all.",
        rich_help_panel=WHAT)] = None,
    channels: Annotated[int, typer.Option(min=1, max=3, help="1 or 3.",
                                          rich_help_panel=WHAT)] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Training steps timed in one go.",
                                       rich_help_panel=WHAT)] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Patches a training step.",
                                       rich_help_panel=WHAT)] = 4,
    patch: Annotated[int, typer.Option(min=8, help="Side of the training patches.",
                                       rich_help_panel=WHAT)] = 64,
    repeat: Repeat = 5,
    against: Against = None,
    output: Output = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    precision: shared.Precision = "fp32",
    picture: Picture = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Times of `restore denoise`: training steps, prediction, and the way from file to file.

    --memory and --tile apply to the pipeline; the bare network takes the input whole.
    """
    check_against(against)
    if channels == 2:
        raise UsageError("--channels is 1 or 3")
    shape = _size(size, 1)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench_denoise import PARTS, DenoiseBenchRequest, run
    from restore_cli.jobs.denoise_network import CHOICES, DEFAULT

    parts = chosen("part", part, PARTS)
    if part is None and precision != "fp32":
        parts = tuple(one for one in parts if one != "train")  # which computes in fp32
    status = run(DenoiseBenchRequest(
        size=shape, parts=parts,
        networks=chosen("network", network or [DEFAULT], CHOICES), channels=channels, steps=steps,
        batch=batch, patch=patch, repeat=repeat, against=against, output=output,
        overwrite=overwrite, device=device, threads=threads, memory=memory, tile=tile,
        precision=precision, pictures=tuple(picture or ())), console)
    raise typer.Exit(int(status))


@bench.command("denoise-raw")
def denoise_raw(
    context: typer.Context,
    size: Annotated[str | None, typer.Option(
        help="Sensor size, WIDTHxHEIGHT. Default: 2128x1424, and for nafnet and restormer "
        "1064x712.", rich_help_panel=WHAT)] = None,
    full: Annotated[bool, typer.Option(
        "--full", help="A 12-megapixel frame, 4256x2848.", rich_help_panel=WHAT)] = False,
    network: Annotated[list[str] | None, typer.Option(
        help="compact (that of the shipped weights), unet, nafnet or restormer; several with "
        "commas or repeated. Default: all, with the parts that matter most.",
        rich_help_panel=WHAT)] = None,
    part: Annotated[list[str] | None, typer.Option(
        help="train (steps of pre-training), network (bare, the whole frame at once) or pipeline "
        "(RAW file to DNG); several with commas or repeated.", rich_help_panel=WHAT)] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps timed in one go.",
                                       rich_help_panel=WHAT)] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Patches a training step.",
                                       rich_help_panel=WHAT)] = 8,
    patch: Annotated[int, typer.Option(min=16, help="Side of the training patches, in 2x2 cells.",
                                       rich_help_panel=WHAT)] = 128,
    repeat: Repeat = 5,
    against: Against = None,
    output: Output = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: Annotated[int | None, typer.Option(
        "--tile", min=32, help="Tile side in sensor pixels; default: chosen from --memory.",
        rich_help_panel=shared.COMPUTE)] = None,
    precision: shared.Precision = "fp32",
    picture: Picture = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Times of `restore denoise-raw`: training steps, networks, and RAW file to DNG.

    --memory and --tile apply to the pipeline; the bare network takes the frame whole.
    """
    check_against(against)
    if full and size is not None:
        raise UsageError("--full is a size of its own", hint="Leave --size out")
    shape = None if size is None else _size(size, 1)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench_raw import CHOICES, FULL, PARTS, RawBenchRequest, run

    status = run(RawBenchRequest(
        size=FULL if full else shape, parts=chosen("part", part, PARTS) if part else None,
        networks=chosen("network", network, tuple(CHOICES)) if network else None, steps=steps,
        batch=batch, patch=patch, repeat=repeat, against=against, output=output,
        overwrite=overwrite, device=device, threads=threads, memory=memory, tile=tile,
        precision=precision, pictures=tuple(picture or ())), console)
    raise typer.Exit(int(status))


@bench.command()
def vsr(
    context: typer.Context,
    size: Annotated[str, typer.Option(help="Size of the film's frames, WIDTHxHEIGHT.",
                                      rich_help_panel=WHAT)] = "160x96",
    network: Annotated[list[str] | None, typer.Option(
        help="compact (the form of the shipped weights) or published, with random weights; several "
        "with commas or repeated. Default: both.", rich_help_panel=WHAT)] = None,
    part: Annotated[list[str] | None, typer.Option(
        help="network (one frame, what is known of older ones kept), engine (the same against "
        "PyTorch with the same savings) or pipeline (film to film, and its decode, compute and "
        "encode); several with commas or repeated. Default: all.", rich_help_panel=WHAT)] = None,
    film: Annotated[Path | None, typer.Option(
        help="Film for the pipeline; default: a generated one.", rich_help_panel=WHAT)] = None,
    frames: Annotated[int, typer.Option(min=5, help="Frames of the generated film.",
                                        rich_help_panel=WHAT)] = 25,
    repeat: Repeat = 5,
    against: Against = None,
    output: Output = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    precision: shared.Precision = "fp32",
    picture: Picture = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Times of `restore vsr`: its network for one frame, and the way from film to film.

    --memory and --tile apply to the pipeline; the bare network takes frames whole.
    """
    check_against(against)
    shape = _size(size, 4)
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.bench_vsr import CHOICES, PARTS, VsrBenchRequest, run

    status = run(VsrBenchRequest(
        size=shape, parts=chosen("part", part, PARTS) if part else None,
        networks=chosen("network", network, CHOICES), film=film, frames=frames, repeat=repeat,
        against=against, output=output, overwrite=overwrite, device=device, threads=threads,
        memory=memory, tile=tile, precision=precision, pictures=tuple(picture or ())), console)
    raise typer.Exit(int(status))


def check_against(against: str | None) -> None:
    """Refuses what there is no comparison with."""
    if against not in (None, "torch"):
        raise UsageError(f"cannot compare with '{against}'", hint="Known: torch")


def _size(text: str, scale: float) -> tuple[int, int]:
    """(height, width) from ``WIDTHxHEIGHT``, not larger than makes sense."""
    from restore_cli.jobs.upscale_plan import parse_size

    size = parse_size(text)
    if max(size) * scale > 65535:
        times = f" times {scale:g}" if scale != 1 else ""
        raise UsageError(f"--size {text}{times} is too large",
                         hint=f"At most {math.floor(65535 / scale)} pixels a side")
    return size


def chosen(what: str, texts: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """What was named, each once, in the usual order; all where nothing was."""
    if not texts:
        return known
    named = [text.strip() for text in ",".join(texts).split(",")]
    for name in named:
        if name not in known:
            raise UsageError(f"unknown {what} '{name}'", hint="Known: " + ", ".join(known))
    return tuple(name for name in known if name in named)
