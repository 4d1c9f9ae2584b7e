"""What `restore train led` learns from, and what it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.jobs.train_led import (
    SYNTHETIC,
    VALIDATION_IMAGES,
    VALIDATION_RATIOS,
    LedTraining,
    camera_names,
)

_OTHER_SEED = 1_000_003
_FRAMES_FOR_HOLDING_OUT = 10


@dataclass(frozen=True)
class Data:
    """What a run needs.

    Attributes:
        sampler: makes the batch of any step.
        held: fixed patches for validation.
        cameras: "Make Model" of the cameras the weights will know, or ["any"].
        ratios: least and largest amplification.
    """

    sampler: Any
    held: Sequence[Any]
    cameras: list[str]
    ratios: tuple[float, float]


def scenes(options: LedTraining, darkness, console: Console) -> Data:
    """Clean scenes, generated or from RAW files, that noise is added to.

    Raises:
        InputError, UsageError: data that cannot be used, or not with these options.
    """
    from restore_cli.training.datasets import raw_pairs
    from restore_cli.training.datasets.raw_scenes import FrameScenes, mixed

    parts, judged, frames = [], [], []
    for name in options.data:
        if name == SYNTHETIC:
            train, rest = _synthetic(options, darkness.any_camera, console)
            parts.append((train, float(options.synthetic_count)))
            judged.append((rest, 1.0))
        else:
            found = _frames(Path(name), options, console)
            held = [] if options.validation else _apart(found, name, console)
            frames += [frame for frame in found if frame not in held] or found
            if not options.validation:
                judged.append((FrameScenes(held, options.patch, True), 1.0))
    if frames:
        train = FrameScenes(frames, options.patch, augment=options.setting == "compact")
        parts.append((train, float(len(train))))
    if options.validation is not None:
        kept = _frames(options.validation, options, console)
        judged = [(FrameScenes(kept, options.patch, True), 1.0)]
    source = mixed(parts)
    branches = len(darkness.cameras) if options.repnr else 0
    sampler = raw_pairs.NoisySampler(source, options.seed, darkness, batch=options.batch,
                                     side=options.patch, branches=branches,
                                     mean_share=options.mean_share)
    held = raw_pairs.held_out(mixed(judged), darkness, VALIDATION_RATIOS,
                              VALIDATION_IMAGES, options.patch)
    return Data(sampler, held, camera_names(darkness.cameras), darkness.ratios.bounds)


def pairs(options: LedTraining, align: int, console: Console) -> Data:
    """Noisy and clean RAW files.

    Raises:
        InputError: the list or a file of it cannot be used.
    """
    from restore_cli.training.datasets import raw_lists

    loaded = raw_lists.load(options.pairs, console, cache_folder())
    side = fitting_side(loaded, options.patch, align, console)
    judged = loaded
    if options.validation is not None:
        judged = raw_lists.load(options.validation, console, cache_folder())
    else:
        console.warn("without --validation, scores are measured on training images")
    held = raw_lists.held_out(judged, raw_lists.fitting_side(judged, side, align))
    sampler = raw_lists.PairSampler(loaded, options.seed, batch=options.batch, side=side)
    ratios = [pair.ratio for pair in loaded]
    return Data(sampler, held, cameras_of_pairs(loaded), (min(ratios), max(ratios)))


def fitting_side(loaded, side: int, align: int, console: Console) -> int:
    """The side of patches that fits all pairs; says so when it is not the one asked for."""
    from restore_cli.training.datasets import raw_lists

    found = raw_lists.fitting_side(loaded, side, align)
    if found != side:
        console.info(f"patches of {found} packed pixels, the largest that fit the files")
    return found


def cameras_of_pairs(loaded) -> list[str]:
    """Make and model of the cameras of pairs, each once."""
    return sorted({frame.camera for pair in loaded for frame in (pair.noisy, pair.clean)
                   if frame.camera})


def cache_folder() -> Path:
    """Where unpacked RAW files are kept."""
    from restore_cli.runtime.paths import cache_dir

    return cache_dir() / "raw"


def _frames(folder: Path, options: LedTraining, console: Console):
    from restore_cli.training.datasets import raw_files

    paths = raw_files.files_in(folder)
    console.info(f"reading {len(paths)} RAW files (kept unpacked in {cache_folder()})")
    return raw_files.read_all(paths, cache_folder(), console, options.patch)


def _apart(frames, name: str, console: Console):
    """Some frames of many for validation; all of a few."""
    if len(frames) < _FRAMES_FOR_HOLDING_OUT:
        console.warn(f"{name}: without --validation, and with so few files, scores are measured "
                     "on training images")
        return frames
    step = max(_FRAMES_FOR_HOLDING_OUT, -(-len(frames) // VALIDATION_IMAGES))
    return frames[step // 2::step]


def _synthetic(options: LedTraining, any_bits: bool, console: Console):
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
    return (PictureScenes(sources.mixture(parts), options.patch, any_bits),
            PictureScenes(sources.ArraySource(judged), options.patch, any_bits))
