"""`restore vsr`: films four times as large."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from restore_cli.cli import options as shared

PART, RESULT = "Part of the film", "Result"


def register(app: typer.Typer) -> None:
    """Adds `restore vsr`."""
    app.command()(vsr)


def vsr(
    context: typer.Context,
    files: shared.Files = None,
    scale: Annotated[int, typer.Option(
        "--scale", "-s", help="2, 3 or 4; the network's result is reduced below 4.",
        rich_help_panel=RESULT)] = 4,
    start: Annotated[Optional[str], typer.Option(
        "--start", metavar="T", help="Where to begin: seconds, h:mm:ss, or a frame such as 240f.",
        rich_help_panel=PART)] = None,
    end: Annotated[Optional[str], typer.Option(
        "--end", metavar="T", help="Where to end, written alike.", rich_help_panel=PART)] = None,
    frames: Annotated[Optional[int], typer.Option(
        "--frames", min=1, help="Frames to take at most.", rich_help_panel=PART)] = None,
    preview: Annotated[Optional[int], typer.Option(
        "--preview", metavar="N", min=1, help="First write a sheet of N frames, before and after, "
        "beside the output; then go on with the film.", rich_help_panel=RESULT)] = None,
    rate: Annotated[Optional[str], typer.Option(
        "--rate", metavar="FPS", help="Frames a second of pictures in files; default: 25.",
        rich_help_panel=PART)] = None,
    scene_threshold: Annotated[Optional[str], typer.Option(
        "--scene-threshold", metavar="X|off", help="Share of new content that begins a shot, "
        "default 0.35; no frame is made from two shots.", rich_help_panel=RESULT)] = None,
    codec: Annotated[str, typer.Option(
        "--codec", help="x264, x265, prores, ffv1 or vp9.", rich_help_panel=RESULT)] = "x264",
    crf: Annotated[Optional[float], typer.Option(
        "--crf", help="Quality, smaller is better; default: 16 for x264, 18 for x265, 22 for vp9.",
        rich_help_panel=RESULT)] = None,
    pixel_format: Annotated[Optional[str], typer.Option(
        "--pixel-format", help="Such as yuv420p10le; default: as the film.",
        rich_help_panel=RESULT)] = None,
    ffmpeg_args: Annotated[Optional[str], typer.Option(
        "--ffmpeg-args", metavar="ARGS", help='More for ffmpeg, such as "-preset slow".',
        rich_help_panel=RESULT)] = None,
    format: Annotated[Optional[str], typer.Option(
        "--format", metavar="FORMAT", help="On stdout: y4m (default) or nut.",
        rich_help_panel=RESULT)] = None,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights; see 'restore weights list --task vsr'.",
        rich_help_panel=shared.MODEL)] = None,
    weights: shared.Weights = None,
    output: shared.Output = None,
    png_level: shared.PngLevel = None,
    suffix: Annotated[Optional[str], typer.Option(
        "--suffix", help="Added to names; default: the scale, such as _x4, beside the input, and "
        "nothing in an output folder.", rich_help_panel=shared.OUTPUT)] = None,
    resume: Annotated[bool, typer.Option(
        "--resume", help="Go on where a run of the same options was stopped.",
        rich_help_panel=shared.OUTPUT)] = False,
    segment: Annotated[int, typer.Option(
        "--segment", min=1, help="Frames that are finished together: what a stopped run loses at "
        "most.", rich_help_panel=shared.OUTPUT)] = 48,
    overwrite: shared.Overwrite = False,
    skip_existing: shared.SkipExisting = False,
    recursive: shared.Recursive = False,
    dry_run: shared.DryRun = False,
    files_from: shared.FilesFrom = None,
    null: shared.Null = False,
    shard: shared.Shard = None,
    device: Annotated[str, typer.Option(
        "--device", help="auto, cpu, cuda, cuda:N, or several GPUs such as cuda:0,1, one process "
        "each, which share the films, or one film's segments.",
        rich_help_panel=shared.COMPUTE)] = "auto",
    jobs: Annotated[Optional[int], typer.Option(
        "--jobs", "-j", metavar="N", min=1, help="CPU processes that share the films, or one "
        "film's segments; --threads and --memory are for all of them together. Default: 1.",
        rich_help_panel=shared.COMPUTE)] = None,
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    precision: shared.Precision = "fp32",
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Enlarge films with a network that sees five frames at a time.

    Every frame, its time, sound, subtitles, chapters, tags, rotation and colour description are
    kept. Folders of pictures and patterns such as frame_%05d.png are films too. A stopped run
    goes on with --resume.

    restore vsr clip.mp4

    restore vsr clip.mov -o large.mkv --codec x265 --scale 2

    ffmpeg -i clip.mp4 -f nut - | restore vsr - -o - | ffplay -
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs.vsr import VsrRequest, run

    status = run(VsrRequest(
        inputs=list(files or []), scale=scale, start=start, end=end, frames=frames,
        preview=preview, rate=rate, scene_threshold=scene_threshold, codec=codec, crf=crf,
        pixel_format=pixel_format, ffmpeg_args=ffmpeg_args, segment=segment, resume=resume,
        model=model, weights=weights, output=output, suffix=suffix, format=format,
        png_level=png_level, overwrite=overwrite, skip_existing=skip_existing,
        recursive=recursive, dry_run=dry_run, files_from=files_from, null=null, shard=shard,
        device=device, jobs=jobs, threads=threads, memory=memory, tile=tile,
        precision=precision), console)
    raise typer.Exit(int(status))
