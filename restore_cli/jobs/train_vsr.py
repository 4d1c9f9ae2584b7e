"""`restore train vsr`: from options to a finished run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli import __version__
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError, WeightsError
from restore_cli.jobs import training_runs
from restore_cli.jobs.train_led import known
from restore_cli.jobs.training_runs import name_of

SYNTHETIC = "synthetic"
STAGES = ("self", "supervised", "flow")
BLURS = ("gaussian", "realistic")
SCHEDULES = ("halving", "cosine", "constant")
EPOCHS = 500  # of the published run

MODELS: dict[str, dict[str, Any]] = {
    "published": {},
    "compact": {"n_feat": 32, "extra_RBS": 2, "recons_RBS": 12,
                "flow_channels": [8, 16, 32, 48, 64, 96], "flow_dense": [32, 32, 24, 16, 16],
                "flow_refine": [48, 48, 48, 32, 16, 16], "kernel_channels": 32,
                "kernel_reduction": 8, "kernel_hidden": 256},
}

# What each model and stage take where an option is not given. Those of "published" and "self" are
# upstream's (Self-Blind-VSR, section 5); its steps are 500 epochs of the data.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "published": {
        "self": {"patch": 160, "batch": 8, "lr": 1e-4, "flow_lr": 1e-6, "schedule": "halving",
                 "average": 0.0, "steps": None},
        "supervised": {"patch": 64, "batch": 8, "lr": 1e-4, "flow_lr": 1e-6,
                       "schedule": "halving", "average": 0.0, "steps": None},
        "flow": {"patch": 192, "batch": 8, "lr": 1e-4, "schedule": "halving", "average": 0.0,
                 "steps": 200_000},
    },
    "compact": {
        "self": {"patch": 64, "batch": 4, "lr": 1e-4, "flow_lr": 1e-6, "schedule": "cosine",
                 "average": 0.999, "steps": 1000},
        "supervised": {"patch": 48, "batch": 4, "lr": 5e-4, "flow_lr": 5e-5,
                       "schedule": "cosine", "average": 0.999, "steps": 6000},
        "flow": {"patch": 128, "batch": 4, "lr": 1e-3, "schedule": "cosine", "average": 0.999,
                 "steps": 5000},
    },
}
# --on: a few careful steps, on patches as large as the film allows.
OWN = {"patch": 96, "batch": 2, "lr": 2e-5, "flow_lr": 2e-7, "schedule": "constant",
       "average": 0.99, "steps": 300}


@dataclass
class VsrTraining:
    """Options of one run; see `restore train vsr --help`.

    Attributes:
        data: films, folders of them or of frames, or "synthetic".
        on: a film whose own frames are trained on, without blur; instead of `data`.
        validation: films or frames to validate on; None takes some windows of the data.
        noise: see `VideoSampler`; for "supervised" alone, whose target is free of it.
        flow_weight, kernel_weight: see `VsrRecipe`; for "supervised" alone.
        stage: "self", "supervised" or "flow".
        model: "compact" or "published"; None takes that of `init`, else compact.
        patch, batch, steps, lr, flow_lr, schedule, average: None takes the model's and stage's.
        init: name or file of weights to start from: of the whole network, or of its flow network
            alone; None takes those of `restore vsr` with `on`, else random ones.
        clip_frames: frames taken of a clip; None is 50 of a folder and 300 of a film.
    """

    out: Path
    data: Sequence[str] = ()
    on: Path | None = None
    validation: Path | None = None
    stage: str = "self"
    blur: str = "gaussian"
    noise: float = 0.0
    clip_frames: int | None = None
    synthetic_count: int = 400
    photos: Path | None = None
    photo_share: float = 0.0
    model: str | None = None
    init: str | None = None
    patch: int | None = None
    batch: int | None = None
    steps: int | None = None
    lr: float | None = None
    flow_lr: float | None = None
    flow_weight: float = 0.0
    kernel_weight: float = 0.0
    schedule: str | None = None
    average: float | None = None
    seed: int = 1
    validate_every: int = 500
    checkpoint_every: int = 250
    minutes: float | None = None
    resume: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    licence: str = "unspecified"

    def settings(self, config: dict[str, Any], init: Path | None) -> dict[str, Any]:
        """What defines the run: a resumed run must have the same."""
        from restore_cli.weights.hashing import sha256_of

        keys = ("stage", "blur", "noise", "clip_frames", "synthetic_count", "photo_share", "patch",
                "batch", "steps", "lr", "flow_lr", "flow_weight", "kernel_weight", "schedule",
                "average", "seed")
        return {**{key: getattr(self, key) for key in keys}, "config": config,
                "data": [name_of(one) for one in self.data],
                "on": self.on.name if self.on else None,
                "photos": name_of(self.photos) if self.photos else None,
                "init": sha256_of(init) if init else None}


def run(options: VsrTraining, console: Console) -> ExitStatus:
    """Trains, resumes or extends a run in `options.out`.

    Raises:
        UsageError: contradictory options, or a folder that holds another run.
        InputError: unusable training data.
        WeightsError: unusable weights to start from.
    """
    check(options)
    with training_runs.run_folder(options.out, options.resume):
        trainer = _trainer(options, console)
        if trainer.resume():
            console.info(f"continuing at step {trainer.step} of {options.steps}")
        scores = trainer.run()
    target = options.out / "weights.safetensors"
    console.result(f"{target}", {"weights": str(target), "step": trainer.step, **scores})
    return ExitStatus.OK


def check(options: VsrTraining) -> None:
    """Fills in what is not given; refuses values that no run can have, before data are read.

    Raises:
        UsageError: contradictory options.
    """
    known("--stage", options.stage, STAGES)
    known("--blur", options.blur, BLURS)
    if options.model is not None:
        known("--model", options.model, MODELS)
    if bool(options.data) == (options.on is not None):
        raise UsageError("give either --data or --on" if options.data else "no training data",
                         hint="--data FOLDER, --data synthetic, or --on FILM")
    if options.on is not None:
        if options.stage != "self":
            raise UsageError(f"--on trains by --stage self, not {options.stage}: nobody knows the "
                             "film's truth")
    if options.stage == "flow" and set(options.data) != {SYNTHETIC}:
        raise UsageError("--stage flow needs motion that is known", hint="Use --data synthetic")
    if options.stage == "flow" and options.flow_lr is not None:
        raise UsageError("--flow-lr is about the whole network", hint="Use --lr")
    if options.noise and options.stage != "supervised":
        raise UsageError("--noise is for --stage supervised, whose targets have none")
    if options.flow_weight and (options.stage != "supervised" or SYNTHETIC not in options.data):
        raise UsageError("--flow-weight is for --stage supervised with --data synthetic, where "
                         "motion is known")
    if options.kernel_weight and options.stage != "supervised":
        raise UsageError("--kernel-weight is for --stage supervised, where the blur is known")
    for name in ("flow_weight", "kernel_weight"):
        if not 0 <= getattr(options, name) < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be 0 or more, not "
                             f"{getattr(options, name):g}")
    if SYNTHETIC not in options.data and (options.photo_share or options.photos):
        raise UsageError("--photos and --photo-share belong to --data synthetic")
    if options.photos is not None and not options.photo_share:
        raise UsageError("--photos are not used without --photo-share",
                         hint="Say how many of the scenes come from them, such as 0.2")
    if options.stage == "flow" and options.validation is not None:
        raise UsageError("--validation has no meaning with --stage flow: it is judged on made "
                         "scenes")
    usual = OWN if options.on is not None else SETTINGS[options.model or "compact"][options.stage]
    for key, value in usual.items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    training_runs.check(options.lr, options.minutes, options.photo_share)
    if options.flow_lr is not None and not 0 <= options.flow_lr < math.inf:
        raise UsageError(f"--flow-lr must be 0 or more, not {options.flow_lr:g}")
    known("--schedule", options.schedule, SCHEDULES)
    if options.patch % 4:
        raise UsageError(f"--patch must be a multiple of 4, not {options.patch}")


def architecture(options: VsrTraining, started) -> tuple[str, dict[str, Any]]:
    """The registry's name and the whole configuration of the network that is trained.

    Args:
        started: weights to start from, or None.

    Raises:
        WeightsError: they are of another network, or of none of these.
    """
    from restore_cli.nets.vsr import shapes
    from restore_cli.training.degradations import blur_kernels

    if started is not None and started.arch not in (shapes.NAME, shapes.FLOW_NAME):
        raise WeightsError(f"are of '{started.arch}', not of a video network", path=options.init)
    flow = options.stage == "flow"
    if started is not None and flow and started.arch != shapes.FLOW_NAME:
        raise WeightsError("are of a whole network; --stage flow trains the flow network alone",
                           path=options.init)
    chosen = MODELS[options.model or "compact"]
    if started is not None and options.model is None:
        chosen = started.config if started.arch == (shapes.FLOW_NAME if flow else shapes.NAME) \
            else {**chosen, **started.config}
    if flow:
        parts = shapes.complete_flow({})
        return shapes.FLOW_NAME, shapes.complete_flow(
            {key: value for key, value in chosen.items() if key in parts})
    made = shapes.complete(chosen)
    if made["HR_in"] or made["scale"] != 4:
        raise WeightsError(f"enlarge {1 if made['HR_in'] else made['scale']} times; only networks "
                           "that enlarge 4 times are trained", path=options.init)
    if options.kernel_weight and made["ksize"] != blur_kernels.SIZE:
        raise WeightsError(f"estimate kernels of {made['ksize']} pixels; --kernel-weight knows "
                           f"those of {blur_kernels.SIZE}", path=options.init)
    return shapes.NAME, made


def initialise(network, arch: str, started, path: Path) -> None:
    """Puts weights into a network; those of a flow network alone go to that part of it.

    Raises:
        WeightsError: of another configuration.
    """
    tensors = started.tensors
    if started.arch != arch:
        own = {key: value.numpy() for key, value in network.state_dict().items()}
        prefix = "flow_net.moduleNetwork."
        tensors = {**own, **{prefix + key: value for key, value in tensors.items()}}
    try:
        network.load_state_dict(tensors)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error


def facts(options: VsrTraining, started) -> dict[str, str]:
    """Metadata of the weights that a run writes; the licence of what it starts from holds on."""
    licence = options.licence
    if started is not None and licence == "unspecified":
        licence = started.metadata.get("licence", licence)
    made = {"source": "trained by restore train vsr", "licence": licence, "task": "vsr",
            "converter": f"restore-cli {__version__}", "stage": options.stage}
    if options.stage != "flow":
        made["blur"] = "own film" if options.on is not None else options.blur
    return made


def _trainer(options: VsrTraining, console: Console):
    from restore_cli.jobs import train_vsr_data
    from restore_cli.runtime import engine
    from restore_cli.weights import files
    from restore_cli.weights.store import Store

    init = (Store(console=console).find(options.init, "vsr") if options.init or options.on
            else None)
    started = files.read(init) if init else None
    if started is not None and options.on is not None and started.arch == "vsr-flow":
        raise WeightsError("are of a flow network alone; --on needs a whole network", path=init)
    arch, config = architecture(options, started)
    data = train_vsr_data.gather(options, console)
    if options.steps is None:
        options.steps = EPOCHS * -(-data.epoch // options.batch)
    settings = options.settings(config, init)
    data.sampler.batch(0)  # data that do not fit are told before anything is compiled
    engine.start(options.device, options.threads, console=console)
    from restore_cli.training.trainer import Plan, Trainer

    recipe = _recipe(options, config, data, settings, facts(options, started))
    if started is not None:
        initialise(recipe.network, arch, started, init)
    _tell_baseline(recipe, options, console)
    plan = Plan(options.steps,
                training_runs.schedule(options.schedule, options.lr, options.steps),
                options.average, options.validate_every, options.checkpoint_every,
                min(50, options.steps), options.minutes)
    return Trainer(recipe, plan, options.out, console)


def _recipe(options: VsrTraining, config: dict[str, Any], data, settings: dict[str, Any],
            metadata: dict[str, str]):
    if options.stage == "flow":
        from restore_cli.training.vsr_flow import FlowRecipe

        return FlowRecipe(config, data.sampler, data.held, settings, metadata,
                          workers=options.workers)
    from restore_cli.training.vsr import VsrRecipe

    return VsrRecipe(config, data.sampler, data.held, settings, metadata, stage=options.stage,
                     flow_weight=options.flow_weight, kernel_weight=options.kernel_weight,
                     flow_factor=options.flow_lr / options.lr, workers=options.workers)


def _tell_baseline(recipe, options: VsrTraining, console: Console) -> None:
    if options.stage == "flow":
        console.info(f"motion to validate on: {recipe.still_epe():.2f} pixels")
    else:
        console.info(f"cubic enlargement of the windows to validate on: "
                     f"{recipe.bicubic_psnr():.2f} dB")
