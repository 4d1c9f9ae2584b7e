"""`restore train led`: parse, check, call the job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared

DATA, NOISE, MODEL, RUN = "Data", "Noise", "Model", "Run"


def led(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.",
                                      rich_help_panel=RUN)],
    data: Annotated[Optional[List[str]], typer.Option(
        "--data", help="'synthetic' for generated pictures, un-processed to raw planes.",
        rich_help_panel=DATA)] = None,
    setting: Annotated[str, typer.Option(
        help="compact (that of the shipped weights), cvpr20 or mm22 (as published); decides what "
             "other options are where they are not given.", rich_help_panel=RUN)] = "compact",
    synthetic_count: Annotated[int, typer.Option(
        min=1, help="Generated pictures.", rich_help_panel=DATA)] = 800,
    photos: Annotated[Optional[Path], typer.Option(
        help="Folder of clean photographs to mix in; default: the free ones of the repository.",
        rich_help_panel=DATA)] = None,
    photo_share: Annotated[float, typer.Option(
        help="Share of those photographs, 0 to 1.", rich_help_panel=DATA)] = 0.0,
    patch: Annotated[Optional[int], typer.Option(
        min=8, help="Side of training patches in 2x2 cells; default: the setting's.",
        rich_help_panel=DATA)] = None,
    batch: Annotated[Optional[int], typer.Option(
        min=1, help="Patches a step; default: the setting's.", rich_help_panel=DATA)] = None,
    cameras: Annotated[str, typer.Option(
        help="virtual or virtual:N (made-up cameras), SonyA7S2, NikonD850, or a .json file that "
             "--calibrate wrote.", rich_help_panel=NOISE)] = "virtual",
    noise: Annotated[str, typer.Option(
        help="p photons, t or g read noise (Tukey lambda or Gaussian), r rows, q rounding, c "
             "colour bias.", rich_help_panel=NOISE)] = "ptrqc",
    ratios: Annotated[Optional[str], typer.Option(
        help="How strongly dark frames are amplified: a range, 1-300, or a list, 100,250,300; "
             "default: the setting's.", rich_help_panel=NOISE)] = None,
    model: Annotated[str, typer.Option(help="unet, nafnet or restormer.",
                                       rich_help_panel=MODEL)] = "unet",
    channels: Annotated[Optional[int], typer.Option(
        min=1, help="Width of the first layer; default: the setting's.",
        rich_help_panel=MODEL)] = None,
    repnr: Annotated[Optional[bool], typer.Option(
        "--repnr/--plain", help="With one alignment for each camera, which the fine-tune of "
        "two pairs needs, or a plain network; default: --repnr for virtual cameras.",
        rich_help_panel=MODEL)] = None,
    mean_share: Annotated[float, typer.Option(
        help="Share of steps that train the average alignment, which is what an unknown camera "
             "gets, 0 to 1.", rich_help_panel=MODEL)] = 0.0,
    init: Annotated[Optional[Path], typer.Option(help="Start from these weights.",
                                                 rich_help_panel=MODEL)] = None,
    steps: Annotated[Optional[int], typer.Option(
        min=1, help="Updates in all; default: the setting's.", rich_help_panel=RUN)] = None,
    lr: Annotated[Optional[float], typer.Option(
        help="Learning rate of Adam; default: the setting's.", rich_help_panel=RUN)] = None,
    schedule: Annotated[Optional[str], typer.Option(
        help="cosine, constant or published (of cvpr20 and mm22); default: the setting's.",
        rich_help_panel=RUN)] = None,
    warmup: Annotated[int, typer.Option(min=0, help="cosine: steps of linear rise.",
                                        rich_help_panel=RUN)] = 0,
    average: Annotated[Optional[float], typer.Option(
        min=0, max=0.99999, help="Decay of the weight average that is exported, 0 is none; "
        "default: the setting's.", rich_help_panel=RUN)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.",
                                      rich_help_panel=RUN)] = 0,
    validate_every: Annotated[int, typer.Option(min=1, help="In steps.",
                                                rich_help_panel=RUN)] = 1000,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="In steps.",
                                                  rich_help_panel=RUN)] = 500,
    minutes: Annotated[Optional[float], typer.Option(
        help="Stop after this time; --resume continues.", rich_help_panel=RUN)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.",
                                         rich_help_panel=RUN)] = False,
    licence: Annotated[str, typer.Option(
        help="Licence written into the weights.", rich_help_panel=RUN)] = "unspecified",
    workers: Annotated[int, typer.Option(min=1, help="Threads that prepare batches.",
                                         rich_help_panel=shared.COMPUTE)] = 1,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """Train a denoiser for RAW files taken in the dark (LED).

    A run that was stopped or killed continues with --resume and ends with the same weights.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress,
                             debug=debug)
    from restore_cli.jobs import train_led

    status = train_led.run(train_led.LedTraining(
        out=out, data=data or (), setting=setting, cameras=cameras, noise=noise, ratios=ratios,
        synthetic_count=synthetic_count, photos=photos, photo_share=photo_share, patch=patch,
        batch=batch, model=model, channels=channels, repnr=repnr, mean_share=mean_share,
        init=init, steps=steps, lr=lr, schedule=schedule, warmup=warmup, average=average,
        seed=seed, validate_every=validate_every, checkpoint_every=checkpoint_every,
        minutes=minutes, resume=resume, device=device, threads=threads, workers=workers,
        licence=licence), console)
    raise typer.Exit(int(status))
