"""What `restore train vsr` trains on: films, folders of frames, made scenes, or one's own film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.jobs.train_vsr import SYNTHETIC, VsrTraining
from restore_cli.training.datasets import film_clips, films, moving_samples
from restore_cli.training.degradations.blur import SCALE

VALIDATION_WINDOWS = 8
VALIDATION_SIDE = 64
SYNTHETIC_EPOCH = 1000
_OTHER_SEED = 1_000_003


@dataclass
class Data:
    """What a run trains on and what it is judged by.

    Attributes:
        sampler: makes the batch of a step.
        held: windows or pairs to validate on.
        epoch: samples that count as one time through the data.
    """

    sampler: Any
    held: Sequence[Any]
    epoch: int


def gather(options: VsrTraining, console: Console) -> Data:
    """The data of a run.

    Raises:
        InputError, UsageError: data that cannot be used, or not with these options.
    """
    if options.stage == "flow":
        return _flow(options, console)
    if options.on is not None:
        return _own(options, console)
    parts, held, epoch = [], [], 0
    for name in options.data:
        if name == SYNTHETIC:
            scenes = moving_samples.SceneSamples(
                _pictures(options, console), options.seed, patch=options.patch, mode=options.blur)
            parts.append((scenes, float(options.synthetic_count)))
            epoch += SYNTHETIC_EPOCH
            if options.validation is None:
                held += moving_samples.SceneSamples(
                    _pictures(options, console), options.seed + _OTHER_SEED,
                    patch=VALIDATION_SIDE, mode=options.blur).held(VALIDATION_WINDOWS)
        else:
            windows = _windows(Path(name), options, options.patch * SCALE, console)
            samples = films.FilmSamples(windows, options.seed, patch=options.patch,
                                        mode=options.blur)
            parts.append((samples, float(len(windows))))
            epoch += windows.epoch()
            if options.validation is None:
                console.warn(f"{name}: without --validation, scores are measured on training "
                             "frames")
                held += _held(windows, options)
    if options.validation is not None:
        held = _held(_windows(options.validation, options, 1, console), options)
    samples = films.MixedSamples(parts, options.seed)
    return Data(films.VideoSampler(samples, options.batch, noise=options.noise,
                                   seed=options.seed), held, epoch)


def _own(options: VsrTraining, console: Console) -> Data:
    """The user's film: its frames are the targets. It is judged on itself made small again."""
    windows = _windows(options.on, options, SCALE, console)
    side = min(min(clip.size) for clip in windows.clips)
    if side < options.patch:
        options.patch = side - side % SCALE
        console.info(f"patches of {options.patch} pixels, the largest that fit the film")
    samples = films.FilmSamples(windows, options.seed, patch=options.patch, mode=None)
    judged = windows if options.validation is None else _windows(options.validation, options, 1,
                                                                 console)
    return Data(films.VideoSampler(samples, options.batch), _held(judged, options), len(windows))


def _flow(options: VsrTraining, console: Console) -> Data:
    def sampler(seed: int, batch: int) -> moving_samples.FlowSampler:
        return moving_samples.FlowSampler(pictures, seed, patch=options.patch, batch=batch)

    pictures = _pictures(options, console)
    judged = sampler(options.seed + _OTHER_SEED, 4)
    return Data(sampler(options.seed, options.batch), [judged.batch(step) for step in range(4)],
                SYNTHETIC_EPOCH)


def _windows(place: Path, options: VsrTraining, least: int, console: Console
             ) -> film_clips.Windows:
    from restore_cli.runtime.paths import cache_dir

    clips = film_clips.find(place, cache_dir() / "films", options.clip_frames, console)
    windows = film_clips.Windows(clips, least)
    console.info(f"{place}: {len(windows)} windows of {len(clips)} clips")
    return windows


def _held(windows: film_clips.Windows, options: VsrTraining) -> list[films.Held]:
    made = films.held_out(windows, options.blur, VALIDATION_WINDOWS, VALIDATION_SIDE, options.seed)
    if min(made[0].large.shape[1:]) <= 8:
        raise InputError("frames are too small to validate on",
                         hint="Give larger ones with --validation")
    return made


def _pictures(options: VsrTraining, console: Console):
    from restore_cli.runtime.paths import cache_dir
    from restore_cli.training.datasets import photos, sources, synthetic

    console.info(f"generating {options.synthetic_count} training images (kept for later)")
    images = synthetic.generate(options.synthetic_count, options.seed, 256,
                                cache_folder=cache_dir() / "synthetic", console=console)
    parts: list[tuple[Any, float]] = [(sources.ArraySource(images), 1 - options.photo_share)]
    if options.photo_share:
        free = photos.load(options.photos, min_side=128, reductions=(1.0, 0.7, 0.5),
                           console=console)
        parts.append((free, options.photo_share))
    return sources.mixture(parts)
