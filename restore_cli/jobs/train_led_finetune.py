"""`restore train led --finetune`: weights fitted to a camera by a few pairs (LED, section 3.3).

First only the alignment of the target camera is trained, then only the parallel convolutions for
noise outside the model. Each phase is a run of its own in a folder below `--out`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, UsageError, WeightsError
from restore_cli.jobs import training_runs
from restore_cli.jobs.train_led import SETTINGS, facts, known, shown

PHASES = ("align", "aux")
SCHEDULES = ("constant", "cosine")
ARCHITECTURES = ("led-unet", "led-nafnet", "led-restormer")
LARGEST_PATCH = {"led-restormer": 512}


@dataclass
class LedFinetune:
    """Options of one fine-tune; see `restore train led --help`.

    Attributes:
        pairs: the list of noisy and clean RAW files.
        init: name or file of the weights to start from: pretrained with alignments, plain, or
            fine-tuned before; None takes the shipped ones.
        validation: another list; None judges on the pairs themselves.
        patch: None is 512 for the setting compact, else 1024 (Restormer 512).
        schedule: None is cosine for mm22, else constant.
        align_steps, align_lr: of the first phase.
        aux_steps, aux_lr: of the second; 0 steps leave it out.
    """

    out: Path
    pairs: Path
    init: Path | None = None
    setting: str = "compact"
    validation: Path | None = None
    patch: int | None = None
    batch: int = 1
    schedule: str | None = None
    align_steps: int = 1000
    align_lr: float = 1e-4
    aux_steps: int = 500
    aux_lr: float = 1e-5
    seed: int = 0
    validate_every: int = 1000
    checkpoint_every: int = 500
    minutes: float | None = None
    resume: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    licence: str = "unspecified"

    @property
    def phases(self) -> list[str]:
        """Those that have steps."""
        return [phase for phase in PHASES if getattr(self, f"{phase}_steps")]

    def settings(self) -> dict[str, Any]:
        """What defines the run: a resumed run must have the same.

        Raises:
            InputError, WeightsError: the list or the weights cannot be read.
        """
        from restore_cli.weights.hashing import sha256_of

        keys = ("setting", "patch", "batch", "schedule", "align_steps", "align_lr", "aux_steps",
                "aux_lr", "seed")
        chosen = {key: getattr(self, key) for key in keys}
        return {**chosen, "finetune": sha256_of(self.pairs), "init": sha256_of(self.init)}


def run(options: LedFinetune, console: Console) -> ExitStatus:
    """Fine-tunes, or continues to, in `options.out`.

    Raises:
        UsageError: contradictory options, or a folder that holds another run.
        InputError: unusable pairs.
        WeightsError: unusable weights to start from.
    """
    _check(options)
    from restore_cli.training.datasets import raw_lists
    from restore_cli.weights import files
    from restore_cli.weights.store import Store

    raw_lists.parse(options.pairs)  # a list that makes no sense is told before anything is read
    options.init = Store(console=console).find(options.init and str(options.init), "denoise-raw")
    started = files.read(options.init)
    if started.arch not in ARCHITECTURES:
        raise WeightsError(f"are of '{started.arch}', not of a RAW denoiser", path=options.init)
    settings = options.settings()
    with training_runs.run_folder(options.out / options.phases[0], options.resume):
        done, step, scores = _phases(options, started, settings, console)
    target = options.out / "weights.safetensors"
    done.export(target, scores)
    console.result(f"{target}", {"weights": str(target), "step": step, **scores})
    return ExitStatus.OK


def _check(options: LedFinetune) -> None:
    known("--setting", options.setting, SETTINGS)
    if options.schedule is None:
        options.schedule = "cosine" if options.setting == "mm22" else "constant"
    known("--schedule", options.schedule, SCHEDULES)
    for phase in PHASES:
        lr = getattr(options, f"{phase}_lr")
        training_runs.check(lr, options.minutes, lr_option=f"--{phase}-lr")
    if not options.phases:
        raise UsageError("--align-steps and --aux-steps are both 0")


def _phases(options: LedFinetune, started, settings: dict[str, Any], console: Console):
    """Trains phase after phase.

    Returns:
        (trainer of the last phase begun, updates in all, its scores).
    """
    from restore_cli.nets.layout import layout
    from restore_cli.nets.led import fold
    from restore_cli.runtime import engine

    config, state = fold.to_finetune(started.arch, started.config, started.tensors)
    pairs = _pairs(options, started.arch, layout(started.arch, config).align, console)
    metadata = _metadata(options, started.metadata, pairs.pairs)
    engine.start(options.device, options.threads, console=console)
    begun, steps = time.monotonic(), 0
    trainer, scores = None, {}
    for phase in options.phases:
        total = getattr(options, f"{phase}_steps")
        minutes = options.minutes
        if trainer is not None:
            state = trainer.weights()
            minutes = minutes and max(minutes - (time.monotonic() - begun) / 60, 1e-3)
        trainer = _trainer(options, phase, (started.arch, config, state), pairs, settings,
                           metadata, minutes, console)
        if trainer.resume():
            console.info(f"{phase}: continuing at step {trainer.step} of {total}")
        else:
            console.info(f"{phase}: {shown(trainer.recipe.scores())} before it")
        if trainer.step < total or phase == options.phases[-1]:
            scores = trainer.run()
        steps += trainer.step
        if trainer.step < total:
            console.warn(f"{phase}: out of time at step {trainer.step} of {total}; --resume "
                         "continues")
            break
    return trainer, steps, scores


@dataclass(frozen=True)
class _Pairs:
    pairs: Sequence[Any]
    held: Sequence[Any]
    side: int


def _pairs(options: LedFinetune, arch: str, align: int, console: Console) -> _Pairs:
    from restore_cli.jobs import train_led_data
    from restore_cli.training.datasets import raw_lists

    folder = train_led_data.cache_folder()
    pairs = raw_lists.load(options.pairs, console, folder)
    largest = 512 if options.setting == "compact" else LARGEST_PATCH.get(arch, 1024)
    side = train_led_data.fitting_side(pairs, options.patch or largest, align, console)
    judged = pairs
    if options.validation is not None:
        judged = raw_lists.load(options.validation, console, folder)
    else:
        console.info("without --validation, scores are measured on the pairs themselves")
    held = raw_lists.held_out(judged, raw_lists.fitting_side(judged, side, align))
    return _Pairs(pairs, held, side)


def _metadata(options: LedFinetune, before: Mapping[str, str], pairs) -> dict[str, str]:
    """Ratios that the weights knew before stay known; their licence holds on."""
    from restore_cli.jobs.train_led_data import cameras_of_pairs

    ratios = [pair.ratio for pair in pairs]
    try:
        ratios += [float(value) for value in json.loads(before.get("ratios", "[]"))]
    except (ValueError, TypeError) as error:
        raise WeightsError("have damaged metadata: ratios", path=options.init) from error
    licence = options.licence
    if licence == "unspecified":
        licence = before.get("licence", licence)
    names = cameras_of_pairs(pairs) or ["any"]
    return facts(licence, names, (min(ratios), max(ratios)), "finetune")


def _trainer(options: LedFinetune, phase: str, network: tuple[str, dict[str, Any], Mapping],
             pairs: _Pairs, settings: dict[str, Any], metadata: dict[str, str],
             minutes: float | None, console: Console):
    from restore_cli.training.datasets.raw_lists import PairSampler
    from restore_cli.training.led import LedRecipe, untrained
    from restore_cli.training.trainer import Plan, Trainer

    arch, config, state = network
    branches = config["repnr"]["branches"]
    steps, lr = getattr(options, f"{phase}_steps"), getattr(options, f"{phase}_lr")
    sampler = PairSampler(pairs.pairs, options.seed + PHASES.index(phase), batch=options.batch,
                          side=pairs.side, branch=branches)
    recipe = LedRecipe(arch, config, sampler, pairs.held, {**settings, "phase": phase}, metadata,
                       frozen=untrained(list(state), phase, branches), workers=options.workers)
    recipe.network.load_state_dict(state)
    plan = Plan(steps, training_runs.schedule(options.schedule, lr, steps), 0.0,
                options.validate_every, options.checkpoint_every, min(50, steps), minutes,
                free_settings=frozenset())
    folder = options.out / phase
    folder.mkdir(exist_ok=True)
    return Trainer(recipe, plan, folder, console)
