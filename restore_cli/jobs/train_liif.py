"""`restore train liif`: from options to a finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.jobs import training_runs
from restore_cli.jobs.training_runs import name_of

SAMPLERS = ("downsampled", "paired", "varied")
MODELS = ("compact", "edsr-baseline", "edsr", "rdn", "rcan")


@dataclass
class LiifTraining:
    """Options of one run; see `restore train liif --help`.

    Attributes:
        data: folders of images, or "synthetic".
        low: folders of low-resolution partners of `data`, for the paired samplers.
    """

    out: Path
    data: Sequence[str]
    low: Sequence[str] = ()
    sampler: str = "downsampled"
    model: str = "compact"
    decoder: str = "liif"
    config: Path | None = None
    fixed_scale: int | None = None
    steps: int = 100_000
    batch: int = 16
    patch: int = 48
    queries: int | None = 2304
    scale: tuple[float, float] = (1.0, 4.0)
    sizes: tuple[int, int] | None = None
    gt_resize: int | None = None
    lr: float = 1e-4
    schedule: str = "halving"
    warmup: int = 0
    average: float = 0.0
    seed: int = 0
    synthetic_count: int = 800
    photos: Path | None = None
    photo_share: float = 0.0
    init: Path | None = None
    validation: Path | None = None
    validate_every: int = 1000
    checkpoint_every: int = 500
    minutes: float | None = None
    resume: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    licence: str = "unspecified"

    def settings(self) -> dict[str, Any]:
        """What defines the run: a resumed run must have the same.

        Raises:
            UsageError: `config` cannot be read.
            WeightsError: `init` cannot be read.
        """
        from restore_cli.weights.hashing import sha256_of

        keys = ("sampler", "model", "decoder", "fixed_scale", "steps", "batch", "patch",
                "queries", "lr", "schedule", "warmup", "average", "seed", "synthetic_count",
                "photo_share", "gt_resize")
        chosen = {key: getattr(self, key) for key in keys}
        chosen.update(scale=list(self.scale), sizes=self.sizes and list(self.sizes),
                      data=[name_of(d) for d in self.data], low=[name_of(d) for d in self.low],
                      photos=name_of(self.photos) if self.photos else None,
                      config=_read_config(self.config) if self.config else None,
                      init=sha256_of(self.init) if self.init else None)
        return chosen


def run(options: LiifTraining, console: Console) -> ExitStatus:
    """Trains, resumes or extends a run in `options.out`.

    Raises:
        UsageError: contradictory options, or a folder that holds another run.
        InputError: unusable training images.
        WeightsError: unusable weights to start from.
    """
    _check(options)
    config, settings = _config(options), options.settings()
    with training_runs.run_folder(options.out, options.resume):
        trainer = _trainer(options, config, settings, console)
        if trainer.resume():
            console.info(f"continuing at step {trainer.step} of {options.steps}")
        scores = trainer.run()
    target = options.out / "weights.safetensors"
    console.result(f"{target}", {"weights": str(target), "step": trainer.step, **scores})
    return ExitStatus.OK


def _check(options: LiifTraining) -> None:
    """Refuses values that no run can have, before anything is read or made."""
    training_runs.check(options.lr, options.minutes, options.photo_share)
    least, largest = options.scale
    if not 1 <= least <= largest < math.inf:
        raise UsageError(f"--scale needs 1 <= least <= largest, not {least:g},{largest:g}")
    if options.sizes is not None and not 1 <= options.sizes[0] <= options.sizes[1]:
        raise UsageError("--sizes needs 1 <= least <= largest, not {},{}".format(*options.sizes))


def _trainer(options: LiifTraining, config: dict[str, Any], settings: dict[str, Any],
             console: Console):
    from restore_cli.runtime import engine

    schedule = training_runs.schedule(options.schedule, options.lr, options.steps,
                                      options.warmup)
    sampler, pairs = _data(options, console)
    sampler.batch(0)  # images that do not fit the options are told before anything is compiled
    engine.start(options.device, options.threads, console=console)
    from restore_cli.training.liif import LiifRecipe
    from restore_cli.training.trainer import Plan, Trainer

    facts = {"source": "trained by restore train liif", "licence": options.licence,
             "converter": f"restore-cli {__version__}"}
    recipe = LiifRecipe(options.decoder, config, sampler, pairs, settings, facts,
                        options.workers)
    if options.init is not None:
        training_runs.initialise(recipe.network, options.init)
    plan = Plan(options.steps, schedule, options.average, options.validate_every,
                options.checkpoint_every, minutes=options.minutes)
    return Trainer(recipe, plan, options.out, console)


def _config(options: LiifTraining) -> dict[str, Any]:
    from restore_cli.nets.layout import layout

    config = _read_config(options.config) if options.config else _named_config(options)
    layout(options.decoder, config)  # refuses unknown names before anything is started
    return config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"not a JSON configuration: {error}", path=path) from error
    if not isinstance(config, dict):
        raise UsageError("not a JSON configuration: no object in braces", path=path)
    return config


def _named_config(options: LiifTraining) -> dict[str, Any]:
    if options.model not in MODELS:
        raise UsageError(f"unknown model '{options.model}'", hint="Known: " + ", ".join(MODELS))
    compact = options.model == "compact"
    name = "edsr-baseline" if compact else options.model
    args: dict[str, Any] = {"n_resblocks": 16, "n_feats": 32} if compact else {}
    if options.fixed_scale is not None:
        if options.decoder != "liif":
            raise UsageError("a fixed scale needs the liif decoder")
        return {"encoder_spec": {"name": name, "args": {**args, "scale": options.fixed_scale}}}
    config: dict[str, Any] = {
        "encoder_spec": {"name": name, "args": {**args, "no_upsampling": True}}}
    if options.decoder == "liif":
        hidden = [64] * 3 if compact else [256] * 4
        config["imnet_spec"] = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": hidden}}
    return config


def _data(options: LiifTraining, console: Console):
    from restore_cli.training.datasets import folders, samplers, validation

    held_out: list = []
    if options.sampler not in SAMPLERS:
        raise UsageError(f"unknown sampler '{options.sampler}'",
                         hint="Known: " + ", ".join(SAMPLERS))
    if options.sampler == "downsampled":
        source, held_out = _images(options, console)
        sampler = samplers.DownsampledSampler(
            source, options.seed, batch=options.batch, lr_size=options.patch,
            scales=options.scale, queries=options.queries)
    else:
        if len(options.data) != 1 or len(options.low) != 1:
            raise UsageError(f"the {options.sampler} sampler takes one --data and one --low folder")
        source = folders.PairedFolders(options.low[0], options.data[0], console=console)
        if options.sampler == "paired":
            sampler = samplers.PairedSampler(source, options.seed, batch=options.batch,
                                             lr_size=options.patch, queries=options.queries)
        else:
            if options.sizes is None:
                raise UsageError("the varied sampler needs --sizes MIN,MAX")
            sampler = samplers.UniformVariedSampler(
                source, options.seed, size_min=options.sizes[0], size_max=options.sizes[1],
                gt_resize=options.gt_resize, batch=options.batch, queries=options.queries)
    if options.validation is not None:
        found = folders.FolderSource(options.validation, 2 * options.patch, console=console)
        held_out = validation.spread(found, 12)
    scales = (options.fixed_scale,) if options.fixed_scale else (2, 3, 4)
    if options.sampler != "downsampled" and options.validation is None:
        return sampler, []
    return sampler, validation.fixed_pairs(held_out, scales, options.patch)


def _images(options: LiifTraining, console: Console):
    """The mixture to train on, and images for validation that are not in it."""
    from restore_cli.runtime.paths import cache_dir
    from restore_cli.training.datasets import folders, photos, sources, synthetic, validation
    from restore_cli.training.datasets.samplers import DownsampledSampler

    needed = DownsampledSampler.needed(options.patch, options.scale[1])
    side = max(256, needed)
    parts, held_out = [], []
    for name in options.data:
        if name == "synthetic":
            console.info(f"generating {options.synthetic_count} training images (kept for later)")
            images = synthetic.generate(options.synthetic_count, options.seed, side,
                                        cache_folder=cache_dir() / "synthetic",
                                        console=console)
            parts.append((sources.ArraySource(images), 1.0))
            if options.validation is None:
                held_out += list(synthetic.generate(12, options.seed + 1_000_003, side))
        else:
            source = folders.FolderSource(name, needed, console=console)
            parts.append((source, float(len(source))))
            if options.validation is None:
                console.warn(f"{name}: without --validation, scores are measured on training "
                             "images")
                held_out += validation.spread(source, 12)
    if not parts:
        raise InputError("no training data", hint="Give --data FOLDER or --data synthetic")
    if options.photo_share > 0:
        total = sum(weight for _, weight in parts)
        free = photos.load(options.photos, min_side=needed, reductions=(1.0, 0.7, 0.5),
                           console=console)
        parts.append((free, total * options.photo_share / (1 - options.photo_share)))
    return sources.mixture(parts), held_out
