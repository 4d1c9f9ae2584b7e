"""`restore train led`: parse, check, call the job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

DATA, NOISE, MODEL, RUN = "Data", "Noise", "Model", "Run"
FINE, CALIBRATE = "Fine-tune", "Calibrate"

# Options that only some of the four uses have: generated noise, --pairs, --finetune, --calibrate.
_TALK = {"out", "json", "quiet", "no_progress", "debug"}
_MODES = {
    "calibrate": _TALK | {"calibrate", "flats", "darks", "camera_name"},
    "finetune": _TALK | {
        "finetune", "init", "setting", "validation", "patch", "batch", "schedule", "align_steps",
        "align_lr", "aux_steps", "aux_lr", "seed", "validate_every", "checkpoint_every", "minutes",
        "resume", "device", "threads", "workers", "licence"},
}
_ELSEWHERE = {"flats": "calibrate", "darks": "calibrate", "camera_name": "calibrate",
              "align_steps": "finetune", "align_lr": "finetune", "aux_steps": "finetune",
              "aux_lr": "finetune"}
_NOT_OF_PAIRS = ("cameras", "noise", "ratios", "synthetic_count", "photos", "photo_share",
                 "mean_share")


def led(
    context: typer.Context,
    out: Annotated[Path, typer.Option(
        "--out", "-o", help="Folder of the run; with --calibrate, the camera file to write.",
        rich_help_panel=RUN)],
    data: Annotated[Optional[List[str]], typer.Option(
        "--data", help="Folder of clean RAW files, or 'synthetic' for generated pictures turned "
        "into raw planes; noise is added; repeatable.", rich_help_panel=DATA)] = None,
    pairs: Annotated[Optional[Path], typer.Option(
        help="Instead of --data: a list of noisy and clean RAW files, 'noisy clean \\[ratio]' a "
             "line, for a plain network.", rich_help_panel=DATA)] = None,
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
    validation: Annotated[Optional[Path], typer.Option(
        help="Folder of clean RAW files to validate on, or a list where training is on a list; "
             "default: some of --data, kept apart.", rich_help_panel=DATA)] = None,
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
        "two pairs needs, or a plain network; default: --repnr for several cameras.",
        rich_help_panel=MODEL)] = None,
    mean_share: Annotated[float, typer.Option(
        help="Share of steps that train the average alignment, which is what an unknown camera "
             "gets, 0 to 1.", rich_help_panel=MODEL)] = 0.0,
    init: Annotated[Optional[Path], typer.Option(
        help="Start from these weights; with --finetune a name, too, and the shipped ones if it "
             "is not given.", rich_help_panel=MODEL)] = None,
    finetune: Annotated[Optional[Path], typer.Option(
        help="Fit the weights of --init to a camera by a list of pairs, best two or more a ratio: "
             "'noisy clean \\[ratio]' a line.", rich_help_panel=FINE)] = None,
    align_steps: Annotated[int, typer.Option(
        min=0, help="Updates of the camera's alignment.", rich_help_panel=FINE)] = 1000,
    align_lr: Annotated[float, typer.Option(help="Their learning rate.",
                                            rich_help_panel=FINE)] = 1e-4,
    aux_steps: Annotated[int, typer.Option(
        min=0, help="Then updates of the parallel convolutions.", rich_help_panel=FINE)] = 500,
    aux_lr: Annotated[float, typer.Option(help="Their learning rate.",
                                          rich_help_panel=FINE)] = 1e-5,
    calibrate: Annotated[bool, typer.Option(
        "--calibrate", help="Measure a camera's noise and write a file for --cameras.",
        rich_help_panel=CALIBRATE)] = False,
    flats: Annotated[Optional[List[Path]], typer.Option(
        help="Evenly lit RAW files of several ISOs, or a folder; repeatable.",
        rich_help_panel=CALIBRATE)] = None,
    darks: Annotated[Optional[List[Path]], typer.Option(
        help="RAW files without light of the same ISOs, or a folder; repeatable.",
        rich_help_panel=CALIBRATE)] = None,
    camera_name: Annotated[Optional[str], typer.Option(
        help="Default: make and model from the files.", rich_help_panel=CALIBRATE)] = None,
    steps: Annotated[Optional[int], typer.Option(
        min=1, help="Updates in all; default: the setting's.", rich_help_panel=RUN)] = None,
    lr: Annotated[Optional[float], typer.Option(
        help="Learning rate of Adam; default: the setting's.", rich_help_panel=RUN)] = None,
    schedule: Annotated[Optional[str], typer.Option(
        help="cosine, constant or published (of cvpr20 and mm22); default: the setting's.",
        rich_help_panel=RUN)] = None,
    warmup: Annotated[int, typer.Option(min=0, help="cosine: steps of linear rise.",
                                        rich_help_panel=RUN)] = 0,
    coarse: Annotated[Optional[float], typer.Option(
        min=0, help="Weight of the loss of averages over 8 and 32 pixels, which keeps colours of "
        "large areas; default: the setting's.", rich_help_panel=RUN)] = None,
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

    Pre-train with generated noise (--data), fit to a camera by a few pairs of files (--finetune),
    train on many pairs (--pairs), or measure a camera's noise (--calibrate). A run that was stopped
    or killed continues with --resume and ends with the same weights.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress,
                             debug=debug)
    mode = "calibrate" if calibrate else "finetune" if finetune is not None else None
    _refuse(context, mode, pairs is not None)
    if calibrate:
        from restore_cli.jobs import train_led_calibrate

        raise typer.Exit(int(train_led_calibrate.run(train_led_calibrate.LedCalibration(
            out=out, flats=flats or (), darks=darks or (), name=camera_name), console)))
    common = dict(
        out=out, setting=setting, validation=validation, patch=patch, schedule=schedule, seed=seed,
        init=init, validate_every=validate_every, checkpoint_every=checkpoint_every,
        minutes=minutes, resume=resume, device=device, threads=threads, workers=workers,
        licence=licence)
    if finetune is not None:
        from restore_cli.jobs import train_led_finetune

        raise typer.Exit(int(train_led_finetune.run(train_led_finetune.LedFinetune(
            pairs=finetune, batch=batch or 1, align_steps=align_steps, align_lr=align_lr,
            aux_steps=aux_steps, aux_lr=aux_lr, **common), console)))
    from restore_cli.jobs import train_led

    raise typer.Exit(int(train_led.run(train_led.LedTraining(
        data=data or (), pairs=pairs, cameras=cameras, noise=noise, ratios=ratios,
        synthetic_count=synthetic_count, photos=photos, photo_share=photo_share, batch=batch,
        model=model, channels=channels, repnr=repnr, mean_share=mean_share, steps=steps, lr=lr,
        warmup=warmup, average=average, coarse=coarse, **common), console)))


def _refuse(context: typer.Context, mode: str | None, pairs: bool) -> None:
    """Refuses options that this use does not have: none is silently without effect.

    Raises:
        UsageError: names one.
    """
    for name in context.params:
        if context.get_parameter_source(name).name != "COMMANDLINE":
            continue
        option = "--" + ("repnr or --plain" if name == "repnr" else name.replace("_", "-"))
        if mode is not None and name not in _MODES[mode]:
            raise UsageError(f"{option} has no meaning with --{mode}")
        if mode is None and name in _ELSEWHERE:
            raise UsageError(f"{option} belongs to --{_ELSEWHERE[name]}")
        if pairs and mode is None and name in _NOT_OF_PAIRS:
            raise UsageError(f"{option} is about generated noise, not about --pairs")
        if name == "synthetic_count" and "synthetic" not in (context.params["data"] or ()):
            raise UsageError("--synthetic-count belongs to --data synthetic")
