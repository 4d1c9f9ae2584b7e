"""``restore doctor``: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli import options

Commands = Annotated[list[str] | None, typer.Argument(
    metavar="[COMMANDS...]", help="With --warm: the commands to make ready; default: all.")]
Fix = Annotated[bool, typer.Option(
    "--fix", help="Mend what can be mended: folders, links, broken or unused kernels, leftovers.")]
Warm = Annotated[bool, typer.Option(
    "--warm", help="Compile all kernels of the COMMANDS now, instead of at their first use.")]


def register(app: typer.Typer) -> None:
    """Adds ``doctor`` to `app`."""
    app.command(name="doctor")(doctor)


def doctor(context: typer.Context, commands: Commands = None, fix: Fix = False, warm: Warm = False,
           device: options.Device = "auto", threads: options.Threads = None,
           json: options.Json = False, quiet: options.Quiet = False,
           no_progress: options.NoProgress = False, debug: options.Debug = False) -> None:
    """Check compiler, oneDNN, CUDA, folders and weights; say what is wrong and what to type.

    Ends with status 0 if everything needed works, with 6 if not.
    """
    from restore_cli.errors import UsageError
    from restore_cli.jobs import doctor as job

    console = options.console(context, json=json, quiet=quiet, no_progress=no_progress,
                              debug=debug)
    if commands and not warm:
        raise UsageError("commands are named for --warm only",
                         hint=f"Type: restore doctor --warm {' '.join(commands)}")
    raise typer.Exit(int(job.run(job.DoctorRequest(
        fix=fix, warm=tuple(commands or job.WARMERS) if warm else (), device=device,
        threads=threads), console)))
