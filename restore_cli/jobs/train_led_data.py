"""The clean scenes that `restore train led` learns from, and those it is judged on."""

from __future__ import annotations

from restore_cli.console import Console
from restore_cli.jobs.train_led import (
    SYNTHETIC,
    VALIDATION_IMAGES,
    VALIDATION_RATIOS,
    LedTraining,
)

_OTHER_SEED = 1_000_003


def scenes(options: LedTraining, darkness, console: Console):
    """Scenes to train on, and fixed patches for validation that are not among them.

    Raises:
        InputError, UsageError: data that cannot be used, or not with these options.
    """
    from restore_cli.training.datasets import raw_pairs

    train, judged = _synthetic(options, console)
    held = raw_pairs.held_out(judged, darkness, VALIDATION_RATIOS, VALIDATION_IMAGES,
                              options.patch)
    return train, held


def _synthetic(options: LedTraining, console: Console):
    from restore_cli.runtime.paths import cache_dir
    from restore_cli.training.datasets import photos, sources, synthetic
    from restore_cli.training.datasets.raw_scenes import PictureScenes

    side, kept = max(256, 2 * options.patch + 64), cache_dir() / "synthetic"
    console.info(f"generating {options.synthetic_count} training images (kept for later)")
    images = synthetic.generate(options.synthetic_count, options.seed, side, cache_folder=kept,
                                console=console)
    judged = synthetic.generate(VALIDATION_IMAGES, options.seed + _OTHER_SEED, side,
                                cache_folder=kept)
    parts = [(sources.ArraySource(images), 1 - options.photo_share)]
    if options.photo_share:
        free = photos.load(options.photos, min_side=2 * options.patch,
                           reductions=(1.0, 0.7, 0.5), console=console)
        parts.append((free, options.photo_share))
    return (PictureScenes(sources.mixture(parts), options.patch, options.any_camera),
            PictureScenes(sources.ArraySource(judged), options.patch, options.any_camera))
