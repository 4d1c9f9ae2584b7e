"""`restore train led`: from options to a finished run."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError, did_you_mean
from restore_cli.jobs import training_runs
from restore_cli.jobs.training_runs import name_of

MODELS = {"unet": ("led-unet", "channels"), "nafnet": ("led-nafnet", "width"),
          "restormer": ("led-restormer", "dim")}
SCHEDULES = ("cosine", "constant", "published")
VALIDATION_IMAGES = 12
VALIDATION_RATIOS = (30.0, 100.0, 250.0)
SYNTHETIC = "synthetic"

# What each setting takes where an option is not given. The last two are upstream's (Jin et al.,
# ICCV 2023, after ELD, CVPR 2020, and PMN, ACM MM 2022), the first is that of the shipped weights.
SETTINGS: dict[str, dict[str, Any]] = {
    "compact": {"channels": 16, "ratios": "1-300", "patch": 96, "batch": 8, "steps": 23_000,
                "lr": 5e-4, "schedule": "cosine", "average": 0.999, "coarse": 1.0},
    "cvpr20": {"channels": 32, "ratios": "100-300", "patch": 512, "batch": 1, "steps": 257_600,
               "lr": 1e-4, "schedule": "published", "average": 0.0, "coarse": 0.0},
    "mm22": {"channels": 32, "ratios": "100-300", "patch": 512, "batch": 8, "steps": 289_800,
             "lr": 2e-4, "schedule": "published", "average": 0.0, "coarse": 0.0},
}

# How RAW files name the cameras whose noise is known.
CALIBRATED_NAMES = {"SonyA7S2": "SONY ILCE-7SM2", "NikonD850": "NIKON D850"}


@dataclass
class LedTraining:
    """Options of one run; see `restore train led --help`.

    Attributes:
        data: folders of clean RAW files, or "synthetic"; noise is generated.
        pairs: a list of noisy and clean RAW files to train on instead.
        validation: folder of clean RAW files (or a list of pairs); None keeps some apart.
        channels, ratios, patch, batch, steps, lr, schedule, average, coarse: None takes the
            setting's.
        repnr: None is True where there are several cameras, else False.
    """

    out: Path
    data: Sequence[str] = ()
    pairs: Path | None = None
    setting: str = "compact"
    cameras: str = "virtual"
    noise: str = "ptrqc"
    ratios: str | None = None
    synthetic_count: int = 800
    photos: Path | None = None
    photo_share: float = 0.0
    patch: int | None = None
    batch: int | None = None
    model: str = "unet"
    channels: int | None = None
    repnr: bool | None = None
    mean_share: float = 0.0
    init: Path | None = None
    validation: Path | None = None
    steps: int | None = None
    lr: float | None = None
    schedule: str | None = None
    warmup: int = 0
    average: float | None = None
    coarse: float | None = None
    seed: int = 0
    validate_every: int = 1000
    checkpoint_every: int = 500
    minutes: float | None = None
    resume: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    licence: str = "unspecified"

    def __post_init__(self) -> None:
        known("--setting", self.setting, SETTINGS)
        for key, value in SETTINGS[self.setting].items():
            if getattr(self, key) is None:
                setattr(self, key, value)

    def settings(self) -> dict[str, Any]:
        """What defines the run: a resumed run must have the same.

        Raises:
            WeightsError: `init` cannot be read.
        """
        from restore_cli.weights.hashing import sha256_of

        keys = ("setting", "noise", "ratios", "synthetic_count", "photo_share", "patch", "batch",
                "model", "channels", "repnr", "mean_share", "steps", "lr", "schedule", "warmup",
                "average", "coarse", "seed")
        chosen = {key: getattr(self, key) for key in keys}
        camera = Path(self.cameras)
        chosen.update(data=[name_of(d) for d in self.data],
                      cameras=sha256_of(camera) if camera.suffix == ".json" else self.cameras,
                      pairs=sha256_of(self.pairs) if self.pairs else None,
                      photos=name_of(self.photos) if self.photos else None,
                      init=sha256_of(self.init) if self.init else None)
        return chosen


def run(options: LedTraining, console: Console) -> ExitStatus:
    """Trains, resumes or extends a run in `options.out`.

    Raises:
        UsageError: contradictory options, or a folder that holds another run.
        InputError: unusable training data.
        WeightsError: unusable weights to start from.
    """
    darkness = check(options)
    settings = options.settings()
    with training_runs.run_folder(options.out, options.resume):
        trainer = _trainer(options, darkness, settings, console)
        if trainer.resume():
            console.info(f"continuing at step {trainer.step} of {options.steps}")
        scores = trainer.run()
    target = options.out / "weights.safetensors"
    console.result(f"{target}", {"weights": str(target), "step": trainer.step, **scores})
    return ExitStatus.OK


def known(option: str, value: str, names: Collection[str]) -> None:
    """Refuses a value that is none of `names`.

    Raises:
        UsageError: names the nearest one.
    """
    if value not in names:
        raise UsageError(f"unknown {option} '{value}'",
                         hint=did_you_mean(value, names) or "Known: " + ", ".join(names))


def check(options: LedTraining):
    """How scenes are darkened; refuses values that no run can have, before data are read.

    Raises:
        UsageError: contradictory options.
        InputError: an unusable camera file.
    """
    from restore_cli.nets.layout import layout
    from restore_cli.training.datasets import raw_lists
    from restore_cli.training.datasets.raw_pairs import Darkness, Ratios

    training_runs.check(options.lr, options.minutes, options.photo_share)
    known("--model", options.model, MODELS)
    known("--schedule", options.schedule, SCHEDULES)
    if options.schedule == "published" and options.setting == "compact":
        raise UsageError("--schedule published belongs to --setting cvpr20 or mm22")
    if bool(options.data) == (options.pairs is not None):
        raise UsageError("give either --data or --pairs" if options.data else "no training data",
                         hint="--data FOLDER, --data synthetic, or --pairs LIST")
    cameras = cameras_of(options.cameras)
    if options.repnr is None:
        options.repnr = options.pairs is None and len(cameras) > 1
    if options.pairs is not None and options.repnr:
        raise UsageError("--pairs trains a plain network",
                         hint="--finetune fits one with alignments to a camera")
    if not 0 <= options.mean_share <= 1:
        raise UsageError(f"--mean-share lies between 0 and 1, not {options.mean_share:g}")
    if options.mean_share and not options.repnr:
        raise UsageError("--mean-share is about the alignments that --repnr has")
    if options.photo_share and SYNTHETIC not in options.data:
        raise UsageError("--photo-share belongs to --data synthetic")
    if options.photos is not None and not options.photo_share:
        raise UsageError("--photos are not used without --photo-share",
                         hint="Say how many of the scenes come from them, such as 0.1")
    if options.warmup and options.schedule != "cosine":
        raise UsageError("--warmup belongs to --schedule cosine")
    if options.pairs is not None:
        raw_lists.parse(options.pairs)
    arch, config = architecture(options, 0)
    align = layout(arch, config).align
    if options.patch % align:
        raise UsageError(f"--patch must be a multiple of {align} for this network, "
                         f"not {options.patch}")
    ratios = Ratios.parse(options.ratios, integers=options.setting != "compact")
    any_camera = options.setting == "compact" and camera_names(cameras) == ["any"]
    return Darkness(tuple(cameras), ratios, options.noise, any_camera)


def cameras_of(text: str) -> list:
    """The cameras that `--cameras` means.

    Args:
        text: "virtual", "virtual:N", a calibrated camera's name, or a camera file (.json).

    Raises:
        UsageError: none of these.
        InputError: an unusable camera file.
    """
    from restore_cli.training.degradations import raw_noise

    if text.endswith(".json"):
        return raw_noise.load_cameras(Path(text))
    if text in raw_noise.CALIBRATED:
        return [raw_noise.CALIBRATED[text]]
    name, _, count = text.partition(":")
    if name == "virtual" and (not count or (count.isdecimal() and 1 <= int(count) <= 100)):
        return raw_noise.virtual_cameras(int(count) if count else 5)
    names = ("virtual", *raw_noise.CALIBRATED)
    raise UsageError(f"unknown --cameras '{text}'",
                     hint=did_you_mean(text, names) or "Known: virtual, virtual:N (1 to 100), "
                     + ", ".join(names[1:]) + ", or a .json file that --calibrate wrote")


def camera_names(cameras: Sequence[Any]) -> list[str]:
    """What weights trained on these say they know: "Make Model" names, or ["any"]."""
    if all(camera.name.startswith("virtual") for camera in cameras):
        return ["any"]
    return [CALIBRATED_NAMES.get(camera.name, camera.name) for camera in cameras]


def architecture(options: LedTraining, branches: int) -> tuple[str, dict[str, Any]]:
    """The registry's name and configuration of the network that is trained.

    Args:
        branches: number of RepNR alignments; 0 for a plain network.
    """
    arch, width = MODELS[options.model]
    repnr = {"branches": branches, "aux": False} if branches else None
    return arch, {width: options.channels, "repnr": repnr}


def facts(licence: str, names: Sequence[str], ratios: Sequence[float],
          stage: str) -> dict[str, str]:
    """Metadata of the weights that a run writes.

    Args:
        licence: of the weights.
        names: "Make Model" of the cameras the weights are for, or ["any"].
        ratios: least and largest amplification they were trained on.
        stage: "pretrain", "finetune" or "plain".
    """
    return {"source": "trained by restore train led", "licence": licence,
            "task": "denoise-raw", "converter": f"restore-cli {__version__}",
            "cameras": json.dumps(list(names)), "ratios": json.dumps(list(ratios)),
            "stage": stage}


def _trainer(options: LedTraining, darkness, settings: dict[str, Any], console: Console):
    from restore_cli.jobs import train_led_data
    from restore_cli.nets.layout import layout
    from restore_cli.runtime import engine
    from restore_cli.training import led_schedules

    branches = len(darkness.cameras) if options.repnr else 0
    arch, config = architecture(options, branches)
    shape = layout(arch, config)
    if options.schedule == "published":
        schedule = led_schedules.published(options.setting, options.lr, options.steps)
    else:
        schedule = training_runs.schedule(options.schedule, options.lr, options.steps,
                                          options.warmup)
    if options.pairs is not None:
        data = train_led_data.pairs(options, shape.align, console)
    else:
        data = train_led_data.scenes(options, darkness, console)
    data.sampler.batch(0)  # data that do not fit are told before anything is compiled
    engine.start(options.device, options.threads, console=console)
    from restore_cli.training.led import LedRecipe, untrained
    from restore_cli.training.trainer import Plan, Trainer

    frozen = untrained(list(shape.shapes), "pretrain", branches) if branches else frozenset()
    recipe = LedRecipe(
        arch, config, data.sampler, data.held, settings,
        facts(options.licence, data.cameras, data.ratios, "pretrain" if branches else "plain"),
        judged="mean" if branches else None, frozen=frozen, coarse=options.coarse,
        workers=options.workers)
    if options.init is not None:
        training_runs.initialise(recipe.network, options.init)
    console.info("the noisy patches to validate on have " + shown(recipe.noisy_psnr()))
    plan = Plan(options.steps, schedule, options.average, options.validate_every,
                options.checkpoint_every, minutes=options.minutes)
    return Trainer(recipe, plan, options.out, console)


def shown(scores: dict[str, float]) -> str:
    """Scores by ratio as people say them."""
    return ", ".join(f"{value:.2f} dB at ratio {name.removeprefix('psnr_')}"
                     for name, value in scores.items())
