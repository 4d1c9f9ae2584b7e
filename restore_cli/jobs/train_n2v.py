"""`restore train n2v`: from options to a finished run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError, did_you_mean
from restore_cli.jobs import training_runs
from restore_cli.jobs.training_runs import name_of

MODELS = ("field", "n2v2", "n2v-unet", "rednet10", "rednet20", "rednet30")
LOSSES = ("mse", "mae")
NORMALISE = ("image", "fixed")
SCHEDULES = ("cosine", "constant")
VALIDATION_IMAGES = 12
FOLDER_FOR_HOLDING_OUT = 10


@dataclass
class N2VTraining:
    """Options of one run; see `restore train n2v --help`.

    Attributes:
        data: folders of images, or "synthetic".
        channels: 1 or 3; None takes what the first image has.
        draw: of generated noise; None is "fixed" for the target "noisy", else "fresh".
        warmup: steps; None is a tenth of the run.
        depth, features: None is the network's own.
    """

    out: Path
    data: Sequence[str]
    target: str = "noisy"
    noise: str | None = None
    draw: str | None = None
    channels: int | None = None
    normalise: str = "image"
    blind_share: float = 0.0
    tones: bool = False
    model: str = "field"
    depth: int | None = None
    features: int | None = None
    batch_norm: bool = False
    manipulator: str = "neighbours"
    percent: float = 6.0
    radius: int = 2
    struct: str = "none"
    shared_mask: bool = False
    patch: int = 64
    batch: int = 16
    loss: str = "mse"
    steps: int = 20_000
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup: int | None = None
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
            WeightsError: `init` cannot be read.
        """
        from restore_cli.weights.hashing import sha256_of

        keys = ("target", "noise", "draw", "channels", "normalise", "blind_share", "tones", "model",
                "depth", "features", "batch_norm", "manipulator", "percent", "radius", "struct",
                "shared_mask", "patch", "batch", "loss", "steps", "lr", "schedule", "warmup",
                "average", "seed", "synthetic_count", "photo_share")
        chosen = {key: getattr(self, key) for key in keys}
        chosen.update(data=[name_of(d) for d in self.data],
                      photos=name_of(self.photos) if self.photos else None,
                      init=sha256_of(self.init) if self.init else None)
        return chosen


def run(options: N2VTraining, console: Console) -> ExitStatus:
    """Trains, resumes or extends a run in `options.out`.

    Raises:
        UsageError: contradictory options, or a folder that holds another run.
        InputError: unusable training images.
        WeightsError: unusable weights to start from.
    """
    task = _check(options)
    settings = options.settings()
    with training_runs.run_folder(options.out, options.resume):
        trainer = _trainer(options, task, settings, console)
        if trainer.resume():
            console.info(f"continuing at step {trainer.step} of {options.steps}")
        scores = trainer.run()
    target = options.out / "weights.safetensors"
    console.result(f"{target}", {"weights": str(target), "step": trainer.step, **scores})
    return ExitStatus.OK


def _check(options: N2VTraining):
    """What is learnt; refuses values that no run can have, before anything is read or made."""
    from restore_cli.training.datasets.denoising import Task
    from restore_cli.training.degradations.blindspot import Masking, Struct
    from restore_cli.training.degradations.noise import NoiseModel

    training_runs.check(options.lr, options.minutes, options.photo_share)
    for option, value, known in (
            ("--model", options.model, MODELS), ("--loss", options.loss, LOSSES),
            ("--normalise", options.normalise, NORMALISE),
            ("--schedule", options.schedule, SCHEDULES)):
        if value not in known:
            raise UsageError(f"unknown {option} '{value}'",
                             hint=did_you_mean(value, known) or "Known: " + ", ".join(known))
    if options.channels not in (None, 1, 3):
        raise UsageError(f"--channels is 1 or 3, not {options.channels}")
    struct = Struct.parse(options.struct)
    augment = {"horizontal": "flip-x", "vertical": "flip-y"}.get(struct.shape if struct else "",
                                                                "all")
    noise = NoiseModel.parse(options.noise) if options.noise is not None else None
    if noise is None and options.draw is not None:
        raise UsageError("--noise-draw is about noise that --noise adds")
    if noise is None and (options.photo_share or "synthetic" in options.data):
        raise UsageError("generated images and the free photographs are clean",
                         hint="Add noise to them, such as --noise mixed")
    draw = options.draw or ("fixed" if options.target == "noisy" else "fresh")
    masking = Masking(options.percent, options.manipulator, options.radius, struct,
                      options.shared_mask)
    return Task(options.target, noise, draw, masking, options.blind_share, augment=augment,
                tones=options.tones)


def architecture(options: N2VTraining, channels: int) -> tuple[str, dict[str, Any]]:
    """The registry's name and configuration of the network that is trained.

    Raises:
        UsageError: an option that the network does not have.
    """
    given = {"--depth": options.depth is not None, "--features": options.features is not None,
             "--batch-norm": options.batch_norm}
    if options.model in ("field", "n2v2"):
        return "n2v-field", {
            "conv_dims": 2, "depth": 2 if options.depth is None else options.depth,
            "num_channels_init": 32 if options.features is None else options.features,
            "in_channels": channels, "num_classes": channels, "n2v2": options.model == "n2v2",
            "use_batch_norm": options.batch_norm, "independent_channels": False}
    rednet = options.model.startswith("rednet")
    unused = [name for name, is_given in given.items()
              if is_given and not (rednet and name == "--features")]
    if unused:
        raise UsageError(f"--model {options.model} has no {unused[0]}")
    config: dict[str, Any] = {"in_channels": channels, "out_channels": channels}
    if rednet:
        # With the skip from input to output a blind-spot network learns to pass the noise on.
        config.update(residual=False)
        if options.features is not None:
            config.update(num_features=options.features)
    return options.model, config


def _trainer(options: N2VTraining, task, settings: dict[str, Any], console: Console):
    from dataclasses import replace

    from restore_cli.nets.layout import layout
    from restore_cli.runtime import engine
    from restore_cli.training.datasets import denoising, planes

    channels = options.channels or _channels(options)
    arch, config = architecture(options, channels)
    align = layout(arch, config).align
    if options.patch % align:
        raise UsageError(f"--patch must be a multiple of {align} for this network, "
                         f"not {options.patch}")
    warmup = options.steps // 10 if options.warmup is None else options.warmup
    schedule = training_runs.schedule(options.schedule, options.lr, options.steps, warmup)
    source, judged = _images(options, task, channels, max(align, 32), console)
    images = planes.Planes(source, channels)
    sampler = denoising.DenoisingSampler(images, options.seed, task, batch=options.batch,
                                         side=options.patch)
    normalisation: dict[str, Any] = {"kind": "image"}
    if options.normalise == "fixed":
        statistics, white = denoising.overall(sampler)
        mean, std = (value.astype(float).tolist() for value in statistics.normalisation())
        task = sampler.task = replace(task, normalisation=(mean, std))
        normalisation = {"kind": "fixed", "mean": [white * m for m in mean],
                         "std": [white * s for s in std]}
    sampler.batch(0)  # images that do not fit the options are told before anything is compiled
    held = denoising.held_out(planes.Planes(judged, channels), task, align)
    engine.start(options.device, options.threads, console=console)
    from restore_cli.training.n2v import N2VRecipe
    from restore_cli.training.trainer import Plan, Trainer

    facts = {"source": "trained by restore train n2v", "licence": options.licence,
             "task": "denoise", "normalisation": json.dumps(normalisation),
             "converter": f"restore-cli {__version__}"}
    recipe = N2VRecipe(arch, config, sampler, held, settings, facts, options.loss,
                       options.workers)
    if recipe.noisy_psnr() is not None:
        console.info(f"the noisy images to validate on have {recipe.noisy_psnr():.2f} dB")
    if options.init is not None:
        training_runs.initialise(recipe.network, options.init)
    plan = Plan(options.steps, schedule, options.average, options.validate_every,
                options.checkpoint_every, minutes=options.minutes)
    return Trainer(recipe, plan, options.out, console)


def _channels(options: N2VTraining) -> int:
    """Of the first image of the first folder; generated ones are in colour."""
    from restore_cli.training.datasets import denoising, folders

    for name in options.data:
        if name != "synthetic":
            for path in folders.list_images(name):
                try:
                    return denoising.read_samples(path).shape[2]
                except InputError:
                    continue  # told, and left out, when the folder is read for training
    return 3


def _images(options: N2VTraining, task, channels: int, least: int, console: Console):
    """The mixture to train on, and images for validation that are not in it."""
    from restore_cli.runtime.paths import cache_dir
    from restore_cli.training.datasets import photos, sources, synthetic

    parts, judged = [], []
    side = max(256, options.patch)
    for name in options.data:
        if name == "synthetic":
            console.info(f"generating {options.synthetic_count} training images (kept for later)")
            kept = cache_dir() / "synthetic"
            images = synthetic.generate(options.synthetic_count, options.seed, side,
                                        cache_folder=kept, console=console)
            parts.append((sources.ArraySource(images), 1.0))
            if options.validation is None:
                judged += list(synthetic.generate(VALIDATION_IMAGES, options.seed + 1_000_003,
                                                  side, cache_folder=kept))
        else:
            source, rest = _folder(Path(name), options, task, channels, console)
            parts.append((source, float(len(source))))
            judged += rest
    if not parts:
        raise InputError("no training data", hint="Give --data FOLDER or --data synthetic")
    if options.photo_share > 0:
        total = sum(weight for _, weight in parts)
        free = photos.load(options.photos, min_side=side, reductions=(1.0, 0.7, 0.5),
                           console=console)
        parts.append((free, total * options.photo_share / (1 - options.photo_share)))
    if options.validation is not None:
        judged = _some(_source(options.validation, least, task, channels, console))
    return sources.mixture(parts), sources.ArraySource(judged)


def _folder(folder: Path, options: N2VTraining, task, channels: int, console: Console):
    """A folder's images to train on, and some to validate on where none are given."""
    from restore_cli.training.datasets import folders

    names = [path.name for path in folders.list_images(folder)]
    if task.noise is None and any(name.lower().endswith((".jpg", ".jpeg")) for name in names):
        console.warn(f"{folder}: JPEG compression makes the noise of neighbouring pixels alike; "
                     "blind-spot training cannot remove such noise")
    if options.validation is not None:
        return _source(folder, options.patch, task, channels, console), []
    if len(names) < FOLDER_FOR_HOLDING_OUT:
        console.warn(f"{folder}: without --validation, and with so few images, scores are "
                     "measured on training images")
        source = _source(folder, options.patch, task, channels, console)
        return source, _some(source)
    count = min(VALIDATION_IMAGES, len(names) // FOLDER_FOR_HOLDING_OUT)
    apart = {names[int(i)] for i in np.linspace(0, len(names) - 1, count)}
    held = _source(folder, options.patch, task, channels, console, apart)
    return _source(folder, options.patch, task, channels, console, set(names) - apart), _some(held)


def _source(folder: Path, least: int, task, channels: int, console: Console,
            names: set[str] | None = None):
    from restore_cli.training.datasets import denoising, folders

    def decode(path: Path) -> np.ndarray:
        samples = denoising.read_samples(path)
        if task.target == "noisy" and task.noise is None and samples.shape[2] < channels:
            raise InputError("is grey among colour images, and its noise would be that of all "
                             "channels", path=path, hint="Train on --channels 1")
        return samples

    return folders.FolderSource(folder, least, names=names, console=console,
                                cache=folders.Cache(decode=decode))


def _some(source) -> list[np.ndarray]:
    from restore_cli.training.datasets import validation

    return validation.spread(source, VALIDATION_IMAGES)
