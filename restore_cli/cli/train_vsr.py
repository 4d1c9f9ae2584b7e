"""`restore train vsr`: parse, check, call the job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

DATA, MODEL, RUN = "Data", "Model", "Run"


def vsr(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.",
                                      rich_help_panel=RUN)],
    data: Annotated[Optional[List[str]], typer.Option(
        "--data", help="Film, folder of frames, folder of films or of folders of frames, or "
        "'synthetic' for made moving scenes; repeatable.", rich_help_panel=DATA)] = None,
    on: Annotated[Optional[Path], typer.Option(
        "--on", help="Instead of --data: fit the weights of --init (default: those of 'restore "
        "vsr') to this film or folder of frames, before restoring it.",
        rich_help_panel=DATA)] = None,
    validation: Annotated[Optional[Path], typer.Option(
        help="Sharp films or frames to validate on; default: some windows of the data.",
        rich_help_panel=DATA)] = None,
    blur: Annotated[str, typer.Option(
        help="gaussian (sigma 0.4 to 2.0) or realistic, before every 4th pixel is taken.",
        rich_help_panel=DATA)] = "gaussian",
    noise: Annotated[float, typer.Option(
        help="With --stage supervised: noise up to this many levels of 255 in half of the windows; "
        "published: 0.", rich_help_panel=DATA)] = 0.0,
    clip_frames: Annotated[Optional[int], typer.Option(
        min=5, help="Frames taken from the beginning of each clip; default: 50 of a folder, 300 "
        "of a film.", rich_help_panel=DATA)] = None,
    synthetic_count: Annotated[int, typer.Option(
        min=1, help="Generated pictures the scenes are made of.", rich_help_panel=DATA)] = 400,
    photos: Annotated[Optional[Path], typer.Option(
        help="Folder of photographs to mix in; default: the free ones of the repository.",
        rich_help_panel=DATA)] = None,
    photo_share: Annotated[float, typer.Option(
        help="Share of those photographs, 0 to 1.", rich_help_panel=DATA)] = 0.0,
    stage: Annotated[str, typer.Option(
        help="self (as published, from the small frames alone), supervised (from sharp ones) or "
             "flow (the flow network alone, synthetic).", rich_help_panel=RUN)] = "self",
    model: Annotated[Optional[str], typer.Option(
        help="compact or published; decides what other options are where they are not given; "
             "default: that of --init, else compact.", rich_help_panel=MODEL)] = None,
    init: Annotated[Optional[str], typer.Option(
        help="Start from these weights: a name or a file, of the whole network or of the flow "
             "network alone.", rich_help_panel=MODEL)] = None,
    patch: Annotated[Optional[int], typer.Option(
        min=8, help="Side of the small frames' crops; default: the model's and stage's.",
        rich_help_panel=DATA)] = None,
    batch: Annotated[Optional[int], typer.Option(
        min=1, help="Windows a step; default: the model's and stage's.",
        rich_help_panel=DATA)] = None,
    steps: Annotated[Optional[int], typer.Option(
        min=1, help="Updates in all; default: the model's and stage's; published: 500 epochs.",
        rich_help_panel=RUN)] = None,
    lr: Annotated[Optional[float], typer.Option(
        help="Learning rate of Adam; default: the stage's, 1e-4 as published.",
        rich_help_panel=RUN)] = None,
    flow_lr: Annotated[Optional[float], typer.Option(
        help="That of the flow network; default: the stage's, 1e-6 as published.",
        rich_help_panel=RUN)] = None,
    flow_weight: Annotated[float, typer.Option(
        help="With --stage supervised --data synthetic: weight of the flows' own error in pixels; "
        "published: 0.", rich_help_panel=RUN)] = 0.0,
    kernel_weight: Annotated[float, typer.Option(
        help="With --stage supervised: weight of the estimated kernels' L1 distance from the true "
        "ones; published: 0.", rich_help_panel=RUN)] = 0.0,
    schedule: Annotated[Optional[str], typer.Option(
        help="halving (published: at 20, 40, 60 and 80 %), cosine or constant.",
        rich_help_panel=RUN)] = None,
    average: Annotated[Optional[float], typer.Option(
        min=0, max=0.99999, help="Decay of the weight average that is exported; 0 is none.",
        rich_help_panel=RUN)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.",
                                      rich_help_panel=RUN)] = 1,
    validate_every: Annotated[int, typer.Option(min=1, help="In steps.",
                                                rich_help_panel=RUN)] = 500,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="In steps.",
                                                  rich_help_panel=RUN)] = 250,
    minutes: Annotated[Optional[float], typer.Option(
        help="Stop after this time; --resume continues.", rich_help_panel=RUN)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.",
                                         rich_help_panel=RUN)] = False,
    licence: Annotated[str, typer.Option(
        help="Licence written into the weights; default: that of --init.",
        rich_help_panel=RUN)] = "unspecified",
    workers: Annotated[int, typer.Option(min=1, help="Threads that prepare batches.",
                                         rich_help_panel=shared.COMPUTE)] = 1,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Train a video network (Self-Blind-VSR), or fit one to a film of your own (--on).

    Sharp frames are never a target of --stage self: it learns from blurred, small frames alone. A
    run that was stopped or killed continues with --resume and ends with the same weights.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress,
                             debug=debug)
    for name in ("synthetic_count", "blur"):
        given = context.get_parameter_source(name).name == "COMMANDLINE"
        if name == "synthetic_count" and given and "synthetic" not in (data or ()):
            raise UsageError("--synthetic-count belongs to --data synthetic")
        if name == "blur" and given and stage == "flow":
            raise UsageError("--blur has no meaning with --stage flow")
    from restore_cli.jobs import train_vsr

    raise typer.Exit(int(train_vsr.run(train_vsr.VsrTraining(
        out=out, data=data or (), on=on, validation=validation, stage=stage, blur=blur,
        noise=noise, clip_frames=clip_frames, synthetic_count=synthetic_count, photos=photos,
        photo_share=photo_share, model=model, init=init, patch=patch, batch=batch, steps=steps,
        lr=lr, flow_lr=flow_lr, flow_weight=flow_weight, kernel_weight=kernel_weight,
        schedule=schedule, average=average, seed=seed, validate_every=validate_every,
        checkpoint_every=checkpoint_every, minutes=minutes, resume=resume, device=device,
        threads=threads, workers=workers, licence=licence),
        console)))
