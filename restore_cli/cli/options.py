"""Options that every command spells and explains alike."""

from __future__ import annotations

import math
from typing import Annotated, List, Optional

import typer

from restore_cli.console import Console
from restore_cli.errors import OutputError, UsageError

MODEL, OUTPUT, COMPUTE, TALK = "Model", "Input and output", "Compute", "Messages"

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.",
                                    rich_help_panel=TALK)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.",
                                     rich_help_panel=TALK)]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bars.",
                                          rich_help_panel=TALK)]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=TALK)]

Model = Annotated[Optional[str], typer.Option(
    "--model", "-m", help="Name of known weights; see 'restore weights list --task upscale'.",
    rich_help_panel=MODEL)]
Weights = Annotated[Optional[str], typer.Option(
    "--weights", "-w", metavar="FILE", help="Weight file of your own.", rich_help_panel=MODEL)]

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.",
                                     rich_help_panel=COMPUTE)]
Devices = Annotated[str, typer.Option(
    "--device", help="auto, cpu, cuda, cuda:N, or several GPUs such as cuda:0,1, which share the "
                     "files, one process each.",
    rich_help_panel=COMPUTE)]
Jobs = Annotated[Optional[int], typer.Option(
    "--jobs", "-j", metavar="N", min=1,
    help="CPU processes that share the files; --threads and --memory are for all of them "
         "together. Default: 1.",
    rich_help_panel=COMPUTE)]
Threads = Annotated[Optional[int], typer.Option("--threads", min=1,
                                                help="CPU threads; default: all cores.",
                                                rich_help_panel=COMPUTE)]
Memory = Annotated[Optional[str], typer.Option(
    "--memory", help="Ceiling for peak memory, such as 1G or 800M, in powers of 1024; "
                     "default: most of what is free.",
    rich_help_panel=COMPUTE)]
Precision = Annotated[str, typer.Option(
    "--precision", metavar="fp32|bf16",
    help="bf16: products of bfloat16, faster on CPUs that have AVX512_BF16; the results differ a "
         "little, see 'restore bench'.",
    rich_help_panel=COMPUTE)]
Tile = Annotated[Optional[int], typer.Option(
    "--tile", min=16, help="Tile side in pixels; default: chosen from --memory.",
    rich_help_panel=COMPUTE)]

Output = Annotated[Optional[str], typer.Option(
    "--output", "-o", help="Output file or folder; - is stdout.", rich_help_panel=OUTPUT)]
Format = Annotated[Optional[str], typer.Option(
    "--format", metavar="FORMAT", help="png, jpeg, tiff, webp, jxl or bmp; default: the input's.",
    rich_help_panel=OUTPUT)]
Quality = Annotated[Optional[int], typer.Option(
    "--quality", min=1, max=100, help="Of JPEG, WebP (default 95) and JPEG XL (default lossless).",
    rich_help_panel=OUTPUT)]
PngLevel = Annotated[Optional[int], typer.Option(
    "--png-level", min=0, max=9, help="Effort to pack PNG files. Default: 1; 6 takes some 20 "
                                      "times as long and saves up to 7 %; 0 packs nothing.",
    rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.",
                                         rich_help_panel=OUTPUT)]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave existing outputs.",
                                            rich_help_panel=OUTPUT)]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Enter folders.",
                                         rich_help_panel=OUTPUT)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.",
                                      rich_help_panel=OUTPUT)]
FilesFrom = Annotated[Optional[str], typer.Option(
    "--files-from", help="Read input names from a file, one a line; - is stdin.",
    rich_help_panel=OUTPUT)]
Null = Annotated[bool, typer.Option("-0", "--null", help="--files-from names end in NUL.",
                                    rich_help_panel=OUTPUT)]
Shard = Annotated[Optional[str], typer.Option(
    "--shard", metavar="I/N", help="Do only part I of N (from 1), for job arrays.",
    rich_help_panel=OUTPUT)]
Files = Annotated[Optional[List[str]], typer.Argument(
    metavar="FILES...", help="Files, folders or patterns; - is stdin.")]


def scale(text: str) -> float:
    """A scale such as ``2``, ``7.5`` or ``x3``.

    Raises:
        UsageError: no number from 1 to 100.
    """
    try:
        found = float(text.strip().lower().removeprefix("x"))
    except ValueError:
        found = math.nan
    if not 1 <= found <= 100:  # also refuses NaN
        raise UsageError(f"--scale {text.strip() or 'nothing'} is no number from 1 to 100")
    return found


def console(context: typer.Context, *, json: bool = False, quiet: bool = False,
            no_progress: bool = False, debug: bool = False) -> Console:
    """The run's console with this command's message options applied.

    Raises:
        OutputError: JSON lines are asked for, and nobody can read them.
    """
    found = context.find_root().obj
    found = found if isinstance(found, Console) else Console()
    if json and found.stdout is None:
        raise OutputError("standard output, where --json writes, is closed")
    found.json_lines = json
    found.quiet = quiet
    found.show_progress = False if no_progress else None
    found.debug = debug
    return found
