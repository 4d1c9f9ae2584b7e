"""`restore train`: one subcommand a system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.cli.train_led import led
from restore_cli.cli.train_n2v import n2v
from restore_cli.cli.train_vsr import vsr
from restore_cli.errors import UsageError

train = typer.Typer(no_args_is_help=True, help="Train networks on your own or generated images.")
DATA, MODEL, RUN = "Data", "Model", "Run"


def register(app: typer.Typer) -> None:
    """Adds `restore train`."""
    app.add_typer(train, name="train")


def _pair(text: Optional[str], option: str, kind: type):
    if text is None:
        return None
    try:
        first, last = (kind(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes two numbers, MIN,MAX, not '{text}'") from None
    return first, last


@train.command()
def liif(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.",
                                      rich_help_panel=RUN)],
    data: Annotated[List[str], typer.Option(
        "--data", help="Folder of images, or 'synthetic' for generated ones; repeatable.",
        rich_help_panel=DATA)],
    low: Annotated[Optional[List[str]], typer.Option(
        "--low", help="Folder of low-resolution partners (paired, varied).",
        rich_help_panel=DATA)] = None,
    sampler: Annotated[str, typer.Option(
        help="downsampled, paired or varied, as published.", rich_help_panel=DATA)] = "downsampled",
    synthetic_count: Annotated[int, typer.Option(
        min=1, help="Generated images.", rich_help_panel=DATA)] = 800,
    photos: Annotated[Optional[Path], typer.Option(
        help="Folder of photographs to mix in; default: the free ones of the repository.",
        rich_help_panel=DATA)] = None,
    photo_share: Annotated[float, typer.Option(
        help="Share of those photographs, 0 to 1.", rich_help_panel=DATA)] = 0.0,
    validation: Annotated[Optional[Path], typer.Option(
        help="Folder of images to validate on.", rich_help_panel=DATA)] = None,
    patch: Annotated[int, typer.Option(min=8, help="Side of low-resolution crops.",
                                       rich_help_panel=DATA)] = 48,
    queries: Annotated[int, typer.Option(min=1, help="Pixels asked for in each crop.",
                                         rich_help_panel=DATA)] = 2304,
    batch: Annotated[int, typer.Option(min=1, help="Crops a step.", rich_help_panel=DATA)] = 16,
    scale: Annotated[str, typer.Option(help="Least and largest scale, MIN,MAX.",
                                       rich_help_panel=DATA)] = "1,4",
    sizes: Annotated[Optional[str], typer.Option(
        help="varied: least and largest side, MIN,MAX.", rich_help_panel=DATA)] = None,
    gt_resize: Annotated[Optional[int], typer.Option(
        min=1, help="varied: side to which targets are resized.", rich_help_panel=DATA)] = None,
    model: Annotated[str, typer.Option(
        help="compact (the shipped one), edsr-baseline, edsr, rdn or rcan.",
        rich_help_panel=MODEL)] = "compact",
    decoder: Annotated[str, typer.Option(help="liif or metasr.", rich_help_panel=MODEL)] = "liif",
    config: Annotated[Optional[Path], typer.Option(
        help="JSON configuration instead of --model (upstream's model args).",
        rich_help_panel=MODEL)] = None,
    fixed_scale: Annotated[Optional[int], typer.Option(
        min=2, help="Train a fixed-scale up-sampler instead of a decoder.",
        rich_help_panel=MODEL)] = None,
    init: Annotated[Optional[Path], typer.Option(help="Start from these weights.",
                                                 rich_help_panel=MODEL)] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates in all.",
                                       rich_help_panel=RUN)] = 100_000,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.", rich_help_panel=RUN)] = 1e-4,
    schedule: Annotated[str, typer.Option(
        help="halving (published: at 20, 40, 60 and 80 %), cosine or constant.",
        rich_help_panel=RUN)] = "halving",
    warmup: Annotated[int, typer.Option(min=0, help="cosine: steps of linear rise.",
                                        rich_help_panel=RUN)] = 0,
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
    """Train an any-scale upscaler (LIIF, MetaSR) or a fixed-scale one.

    The defaults are the published recipe. A run that was stopped or killed continues with
    --resume and ends with the same weights.
    """
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress,
                             debug=debug)
    from restore_cli.jobs import train_liif

    status = train_liif.run(train_liif.LiifTraining(
        out=out, data=data, low=low or (), sampler=sampler, model=model, decoder=decoder,
        config=config, fixed_scale=fixed_scale, steps=steps, batch=batch, patch=patch,
        queries=queries, scale=_pair(scale, "--scale", float), sizes=_pair(sizes, "--sizes", int),
        gt_resize=gt_resize, lr=lr, schedule=schedule, warmup=warmup, average=average, seed=seed,
        synthetic_count=synthetic_count, photos=photos, photo_share=photo_share, init=init,
        validation=validation, validate_every=validate_every, checkpoint_every=checkpoint_every,
        minutes=minutes, resume=resume, device=device, threads=threads, workers=workers,
        licence=licence), console)
    raise typer.Exit(int(status))


train.command()(n2v)
train.command()(led)
train.command()(vsr)
