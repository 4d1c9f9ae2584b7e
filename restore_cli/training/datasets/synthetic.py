"""Generated training images: dead leaves with textures, strokes, blur and light.

Natural pictures are, to a first approximation, opaque things of all sizes in front of each
other ("dead leaves"). A network that learns from such pictures learns edges, corners, lines
and textures that hold for photographs, and nobody's photographs are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from restore_cli.console import Console
from restore_cli.errors import OutputError, UsageError
from restore_cli.runtime import facts
from restore_cli.training.datasets import palettes as palette_module
from restore_cli.training.datasets.painting import Painter
from restore_cli.training.datasets.workers import processes

VERSION = 1  # raise whenever the same seed would give other pictures

_FILTERS = (Image.LANCZOS, Image.BOX, Image.BICUBIC)


def dead_leaf(seed: int, index: int, size: int = 256,
              palettes: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """One generated picture; the same arguments always give the same picture.

    Args:
        seed: of the whole set, 0 or more.
        index: of the picture in the set, 0 or more.
        size: side in pixels, at least 16.
        palettes: uint8 (H, W, 3) photographs to take colours from; None takes the built-in ones.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        UsageError: `size` is below 16.
    """
    if size < 16:
        raise UsageError(f"generated images must be at least 16 pixels wide, not {size}")
    rng = np.random.default_rng([seed, index])
    photographs = None if palettes is None else [np.asarray(image) for image in palettes]
    # Twice the size, averaged down at the end: no edge is sharper than a lens and sensor allow.
    painter = Painter(2 * size, palette_module.pick(rng, photographs), rng)
    accents = (painter.hair, painter.plumage, painter.text, painter.wires)
    weights = rng.dirichlet((1.3, 0.8, 0.4, 0.6))
    for depth in range(int(rng.integers(1, 4))):
        if depth and rng.random() < 0.6:
            painter.defocus(float(np.exp(rng.uniform(np.log(0.7), np.log(9)))))
        painter.leaves(float(np.exp(rng.uniform(np.log(0.15), np.log(2.2)))))
        for _ in range(int(rng.integers(0, 5))):
            accents[rng.choice(4, p=weights)]()
    if rng.random() < 0.5:
        painter.light()
    if rng.random() < 0.3:  # not every photograph is sharp to the pixel
        painter.defocus(float(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.35:
        painter.grain(float(np.exp(rng.uniform(np.log(1), np.log(12)))))
    how = _FILTERS[rng.choice(3, p=(0.55, 0.2, 0.25))]
    return np.array(painter.image.resize((size, size), how))


def generate(count: int, seed: int, size: int = 256, cache_folder: Path | str | None = None,
             workers: int | None = None, palettes: Sequence[np.ndarray] | None = None,
             console: Console | None = None) -> np.ndarray:
    """Pictures 0..count-1 of a set.

    Args:
        count: how many.
        seed, size, palettes: as `dead_leaf`.
        cache_folder: where a finished set is kept and found again; the result is then a
            read-only memory map. None computes the set in memory.
        workers: processes; None takes every processor this process may use.
        console: shows the progress.

    Returns:
        uint8 (count, size, size, 3), RGB.

    Raises:
        UsageError: `size` is below 16 or `count` below 1.
        OutputError: the cache folder cannot be written.
    """
    if count < 1:
        raise UsageError(f"at least one generated image is needed, not {count}")
    if size < 16:
        raise UsageError(f"generated images must be at least 16 pixels wide, not {size}")
    if cache_folder is None:
        images = np.empty((count, size, size, 3), np.uint8)
        _fill(images, (seed, size, palettes), workers, console)
        return images
    path = Path(cache_folder) / f"{_key(count, seed, size, palettes)}.npy"
    shape = (count, size, size, 3)
    cached = _open(path, shape)
    if cached is not None:
        return cached
    # Written under a name of this process and renamed when complete: a set that was cut short
    # is never taken for a finished one, and two processes do not disturb each other.
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        _fill(images, (seed, size, palettes), workers, console)
        images.flush()
        del images
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot keep generated images: {error.strerror or error}", path=path,
                          hint="Choose another cache folder with RESTORE_CACHE") from error
    finally:
        with suppress(OSError):  # already renamed, or the folder never existed
            temporary.unlink()
    return np.load(path, mmap_mode="r")


def _key(count: int, seed: int, size: int, palettes: Sequence[np.ndarray] | None) -> str:
    """A file name that changes with everything the pictures depend on."""
    colours = hashlib.sha256()
    for image in palettes or ():
        image = np.ascontiguousarray(image)
        colours.update(repr(image.shape).encode() + image.tobytes())
    facts = {"version": VERSION, "seed": seed, "size": size, "count": count,
             "pillow": PIL.__version__, "numpy": np.__version__, "palettes": colours.hexdigest()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"synthetic-{count}x{size}-seed{seed}-{digest}"


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The finished set at `path`, or None when there is none or it is damaged."""
    try:
        images = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _fill(images: np.ndarray, job: tuple, workers: int | None, console: Console | None) -> None:
    """Set every picture of `images`; `job` is the seed, the size and the palettes."""
    seed, size, palettes = job
    workers = min(workers or facts.cores(), max(1, len(images) // 8))
    done = 0
    with (console.progress(total=len(images), desc="drawing images", unit="image")
          if console is not None else nullcontext()) as bar:
        if workers > 1:
            # A script without a guarded main part cannot start processes; it can draw alone.
            with suppress(BrokenProcessPool):
                for image in _parallel(len(images), job, workers):
                    images[done] = image
                    done += 1
                    if bar is not None:
                        bar.update(1)
        for index in range(done, len(images)):
            images[index] = dead_leaf(seed, index, size, palettes)
            if bar is not None:
                bar.update(1)


def _parallel(count: int, job: tuple, workers: int) -> Iterator[np.ndarray]:
    """Pictures in order, drawn by `workers` processes."""
    pool = processes(workers, _start_worker, *job)
    try:
        yield from pool.map(_work, range(count), chunksize=4)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: tuple = ()


def _start_worker(*job) -> None:
    global _job
    _job = job


def _work(index: int) -> np.ndarray:
    seed, size, palettes = _job
    return dead_leaf(seed, index, size, palettes)
