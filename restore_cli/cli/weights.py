"""``restore weights``: the weight store from the command line."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from restore_cli.cli import options

Names = Annotated[list[str], typer.Argument(metavar="NAMES...", help="Names from the list.")]
MaybeNames = Annotated[list[str] | None, typer.Argument(
    metavar="[NAMES...]", help="Names from the list.")]
Task = Annotated[str | None, typer.Option("--task", help="Only weights of this subcommand.")]


class Precision(str, Enum):
    """How numbers are stored."""

    float32 = "float32"
    float16 = "float16"


def register(app: typer.Typer) -> None:
    """Adds ``weights`` with its commands to `app`."""
    group = typer.Typer(name="weights", no_args_is_help=True,
                        help="List, fetch, check and convert network weights.")
    for name, command in (("list", list_), ("fetch", fetch), ("verify", verify),
                          ("convert", convert), ("path", path), ("remove", remove)):
        group.command(name)(command)
    app.add_typer(group)


def list_(context: typer.Context, task: Task = None, json: options.Json = False,
          quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """Show all known weights: where they are, their size and their terms of use."""
    from restore_cli.jobs import weights as job

    console = options.console(context, json=json, quiet=quiet, debug=debug)
    raise typer.Exit(int(job.show(console, task)))


def fetch(context: typer.Context, names: MaybeNames = None, task: Task = None,
          everything: Annotated[bool, typer.Option("--all", help="All, or all of --task.")] = False,
          force: Annotated[bool, typer.Option(
              "--force", help="Fetch even what is here already.")] = False,
          source: Annotated[str | None, typer.Option(
              "--from", metavar="URL|FILE",
              help="Take it from here; checked just the same.")] = None,
          json: options.Json = False, quiet: options.Quiet = False,
          no_progress: options.NoProgress = False, debug: options.Debug = False) -> None:
    """Fetch weights into the cache, verify and convert them; print where they are."""
    from restore_cli.jobs import weights as job

    console = options.console(context, json=json, quiet=quiet, no_progress=no_progress,
                              debug=debug)
    raise typer.Exit(int(job.fetch(console, names or [], task=task, everything=everything,
                                   force=force, source=source)))


def verify(context: typer.Context, names: MaybeNames = None, json: options.Json = False,
           quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """Check weights against their hashes and their networks; without names, all that are here."""
    from restore_cli.jobs import weights as job

    console = options.console(context, json=json, quiet=quiet, debug=debug)
    raise typer.Exit(int(job.verify(console, names or [])))


def convert(context: typer.Context,
            source: Annotated[str, typer.Argument(
                metavar="CHECKPOINT", help="A .pth, .pt, .ckpt or .pkl file; nothing in it runs.")],
            output: Annotated[str | None, typer.Option(
                "--output", "-o", metavar="FILE.safetensors",
                help="Default: beside the input.")] = None,
            dtype: Annotated[Precision, typer.Option(
                "--dtype", help="float16 halves the file.")] = Precision.float32,
            licence: Annotated[str, typer.Option(
                "--licence", help="Terms of use to note in the file.")] = "unknown",
            normalisation: Annotated[str | None, typer.Option(
                "--normalisation", metavar="HOW",
                help="How a denoiser is fed: image (each image's mean and deviation), unit "
                     "(0 to 1), unit-8bit (clipped to 8 bits first) or MEANS:STDS of its "
                     "training data. Default: as the file tells.")] = None,
            camera: Annotated[list[str] | None, typer.Option(
                "--camera", metavar="NAME",
                help="Make and model that a RAW denoiser was fitted to, or 'any'; repeatable. "
                     "Default: as the file's name tells.")] = None,
            ratios: Annotated[str | None, typer.Option(
                "--ratios", metavar="LOW-HIGH",
                help="Amplifications that a RAW denoiser was trained on.")] = None,
            overwrite: options.Overwrite = False, json: options.Json = False,
            quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """Convert a PyTorch or Jittor checkpoint to safetensors, checking every key and shape.

    The virtual cameras that LED saves become a file for 'restore train led --cameras'.
    """
    from restore_cli.jobs import weights as job

    console = options.console(context, json=json, quiet=quiet, debug=debug)
    raise typer.Exit(int(job.convert(console, source, output, dtype=dtype.value,
                                     overwrite=overwrite, licence=licence,
                                     normalisation=normalisation, cameras=camera or (),
                                     ratios=ratios)))


def path(context: typer.Context,
         name: Annotated[str, typer.Argument(help="A name from the list.")],
         json: options.Json = False, debug: options.Debug = False) -> None:
    """Print the local file of weights that are here."""
    from restore_cli.jobs import weights as job

    raise typer.Exit(int(job.locate(options.console(context, json=json, debug=debug), name)))


def remove(context: typer.Context, names: Names,
           forget: Annotated[bool, typer.Option(
               "--forget", help="Also forget the hash trusted on first use.")] = False,
           json: options.Json = False, quiet: options.Quiet = False,
           debug: options.Debug = False) -> None:
    """Delete fetched weights from the cache."""
    from restore_cli.jobs import weights as job

    console = options.console(context, json=json, quiet=quiet, debug=debug)
    raise typer.Exit(int(job.remove(console, names, forget=forget)))
