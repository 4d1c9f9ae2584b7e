"""`restore train n2v`: parse, check, call the job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared

DATA, MODEL, MASK, RUN = "Data", "Model", "Blind spots", "Run"


def n2v(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.",
                                      rich_help_panel=RUN)],
    data: Annotated[List[str], typer.Option(
        "--data", help="Folder of images, or 'synthetic' for generated ones; repeatable.",
        rich_help_panel=DATA)],
    target: Annotated[str, typer.Option(
        help="noisy: predict hidden noisy pixels (Noise2Void). clean: predict the clean image; "
             "needs clean images and --noise.", rich_help_panel=DATA)] = "noisy",
    noise: Annotated[Optional[str], typer.Option(
        help="Noise to add: gaussian:25 or gaussian:5-50 (levels of 255), poisson:20-2000 "
             "(photons at white), mixed or mixed:3-75 (both, levels of 255).",
        rich_help_panel=DATA)] = None,
    noise_draw: Annotated[Optional[str], typer.Option(
        help="fixed: one noisy version of each image, as real data have (default with --target "
             "noisy). fresh: new noise at each access.", rich_help_panel=DATA)] = None,
    channels: Annotated[Optional[int], typer.Option(
        help="1 (grey) or 3; default: as the first image.", rich_help_panel=DATA)] = None,
    normalise: Annotated[str, typer.Option(
        help="image: by each image's own mean and spread. fixed: by those of the training set.",
        rich_help_panel=DATA)] = "image",
    synthetic_count: Annotated[int, typer.Option(
        min=1, help="Generated images.", rich_help_panel=DATA)] = 800,
    photos: Annotated[Optional[Path], typer.Option(
        help="Folder of clean photographs to mix in; default: the free ones of the repository.",
        rich_help_panel=DATA)] = None,
    photo_share: Annotated[float, typer.Option(
        help="Share of those photographs, 0 to 1.", rich_help_panel=DATA)] = 0.0,
    validation: Annotated[Optional[Path], typer.Option(
        help="Folder of images to validate on; default: some of --data, kept apart.",
        rich_help_panel=DATA)] = None,
    patch: Annotated[int, typer.Option(min=8, help="Side of training patches.",
                                       rich_help_panel=DATA)] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Patches a step.", rich_help_panel=DATA)] = 16,
    model: Annotated[str, typer.Option(
        help="field (U-Net), n2v2, n2v-unet, rednet10, rednet20 or rednet30.",
        rich_help_panel=MODEL)] = "field",
    depth: Annotated[Optional[int], typer.Option(
        min=1, max=6, help="field, n2v2: levels below the first; default 2.",
        rich_help_panel=MODEL)] = None,
    features: Annotated[Optional[int], typer.Option(
        min=1, help="Channels of the first layer; default 32, REDNets 64.",
        rich_help_panel=MODEL)] = None,
    batch_norm: Annotated[bool, typer.Option(
        "--batch-norm", help="field, n2v2: with batch normalisation, as published.",
        rich_help_panel=MODEL)] = False,
    init: Annotated[Optional[Path], typer.Option(help="Start from these weights.",
                                                 rich_help_panel=MODEL)] = None,
    manipulator: Annotated[str, typer.Option(
        help="What hides a pixel: neighbours, median, mean, uniform or uniform-with-centre.",
        rich_help_panel=MASK)] = "neighbours",
    percent: Annotated[float, typer.Option(help="Share of hidden pixels in percent.",
                                           rich_help_panel=MASK)] = 6.0,
    radius: Annotated[int, typer.Option(help="Of the window for median, mean and uniform.",
                                        rich_help_panel=MASK)] = 2,
    struct: Annotated[str, typer.Option(
        help="Noise that spans pixels: horizontal, vertical, cross or square, with :SPAN (odd, 3 "
             "to 15; default 5).", rich_help_panel=MASK)] = "none",
    shared_mask: Annotated[bool, typer.Option(
        "--shared-mask", help="Hide the same pixels in all channels, for noise they share.",
        rich_help_panel=MASK)] = False,
    blind_share: Annotated[float, typer.Option(
        help="With --target clean: share of patches in which pixels are hidden, too.",
        rich_help_panel=MASK)] = 0.0,
    tones: Annotated[bool, typer.Option(
        "--tones", help="With --target clean: also show the images darker, inverted and in other "
        "contrast, and weigh patches by their noise.", rich_help_panel=DATA)] = False,
    loss: Annotated[str, typer.Option(help="mse or mae.", rich_help_panel=RUN)] = "mse",
    steps: Annotated[int, typer.Option(min=1, help="Updates in all.",
                                       rich_help_panel=RUN)] = 20_000,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.", rich_help_panel=RUN)] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine or constant.",
                                          rich_help_panel=RUN)] = "cosine",
    warmup: Annotated[Optional[int], typer.Option(
        min=0, help="cosine: steps of linear rise; default: a tenth of all.",
        rich_help_panel=RUN)] = None,
    average: Annotated[float, typer.Option(
        min=0, max=0.99999, help="Decay of the weight average that is exported; 0 is none.",
        rich_help_panel=RUN)] = 0.0,
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
    """Train a denoiser on many noisy images (Noise2Void), or on clean ones with noise added.

    Images are used as they are: nothing is clipped, rounded or resized. A run that was stopped or
    killed continues with --resume and ends with the same weights.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress,
                             debug=debug)
    from restore_cli.jobs import train_n2v

    status = train_n2v.run(train_n2v.N2VTraining(
        out=out, data=data, target=target, noise=noise, draw=noise_draw, channels=channels,
        normalise=normalise, blind_share=blind_share, tones=tones, model=model, depth=depth,
        features=features, batch_norm=batch_norm, manipulator=manipulator, percent=percent,
        radius=radius, struct=struct, shared_mask=shared_mask, patch=patch, batch=batch,
        loss=loss, steps=steps, lr=lr, schedule=schedule, warmup=warmup, average=average,
        seed=seed, synthetic_count=synthetic_count, photos=photos, photo_share=photo_share,
        init=init, validation=validation, validate_every=validate_every,
        checkpoint_every=checkpoint_every, minutes=minutes, resume=resume, device=device,
        threads=threads, workers=workers, licence=licence), console)
    raise typer.Exit(int(status))
