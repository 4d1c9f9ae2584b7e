"""Compiles the kernels of commands ahead, by running each on a tiny input."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, WeightsError
from restore_cli.runtime import engine


def warm(name: str, console: Console) -> str:
    """Compiles every kernel of command `name` (a key of `WARMERS`) and says what was done.

    The engine must have been started.

    Raises:
        RestoreError: the command fails on its tiny input.
    """
    begun, before = time.monotonic(), engine.kernels_compiled()
    console.info(f"compiling the kernels of {name} ...")
    WARMERS[name](engine.current().device)
    made = engine.kernels_compiled() - before
    return f"{name} is ready: {made} kernels compiled in {time.monotonic() - begun:.0f} s"


def compute() -> None:
    """Runs one convolution and compares it with the sum it must be.

    Raises:
        RuntimeError: a kernel cannot be compiled, or computes something else.
    """
    import jittor

    with jittor.no_grad():
        found = jittor.nn.conv2d(jittor.ones((1, 3, 4, 4)), jittor.ones((2, 3, 3, 3)))
        if not np.array_equal(found.numpy(), np.full((1, 2, 2, 2), 27, np.float32)):
            raise RuntimeError("a convolution gives wrong numbers")


def _upscale(device: str) -> None:
    """The default network on a small picture: tiled by a broken factor, and turned eight ways by
    a whole one. These take every kernel there is."""
    from PIL import Image

    from restore_cli.jobs import upscale

    with tempfile.TemporaryDirectory(prefix="restore-warm-") as folder:
        weights = _weights("upscale", Path(folder))
        picture = Path(folder, "in.png")
        ramp = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
        Image.fromarray(np.stack([ramp, ramp * 2, 255 - ramp], -1)).save(picture)
        for index, options in enumerate(({"scale": "2.5", "tile": 16},
                                         {"scale": "2", "self_ensemble": True})):
            _run(upscale.run, upscale.UpscaleRequest(
                inputs=[str(picture)], output=str(Path(folder, f"out{index}.png")),
                weights=str(weights), device=device, **options))


def _denoise(device: str) -> None:
    """The shipped networks, trained for two steps on small noisy pictures, in grey and in colour;
    part of the pixels at black, since such places are learned in another way."""
    from PIL import Image

    from restore_cli.jobs import denoise

    with tempfile.TemporaryDirectory(prefix="restore-warm-") as folder:
        noise = np.random.default_rng(0).normal(0, 30, (96, 96, 3))
        values = np.add.outer(np.arange(96), np.arange(96))[..., None] * [0.9, 0.6, 0.3] + noise
        colour = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        for name, pixels in (("grey", colour[..., 0]), ("colour", colour)):
            picture = Path(folder, f"{name}.png")
            Image.fromarray(pixels).save(picture)
            _run(denoise.run, denoise.DenoiseRequest(inputs=[str(picture)], steps=2,
                                                     device=device))


def _denoise_raw(device: str) -> None:
    """The default network on a small dark mosaic, in pieces, as a DNG."""
    from restore_cli.jobs import denoise_raw

    with tempfile.TemporaryDirectory(prefix="restore-warm-") as folder:
        weights = _weights("denoise-raw", Path(folder))
        picture = Path(folder, "in.dng")
        _raw(picture)
        _run(denoise_raw.run, denoise_raw.DenoiseRawRequest(
            inputs=[str(picture)], output=str(Path(folder, "out.dng")), weights=str(weights),
            ratio=4, tile=64, device=device))


def _vsr(device: str) -> None:
    """The default network on six small pictures, at once and in tiles."""
    from PIL import Image

    from restore_cli.jobs import vsr

    with tempfile.TemporaryDirectory(prefix="restore-warm-") as folder:
        weights = _weights("vsr", Path(folder))
        film = Path(folder, "in")
        film.mkdir()
        # Above 64 pixels: below, levels of one row or column take kernels of their own.
        ramp = np.add.outer(np.arange(72), np.arange(80))
        for number in range(6):
            pixels = np.stack([ramp, 2 * ramp + number, 255 - ramp], -1).astype(np.uint8)
            Image.fromarray(pixels).save(film / f"{number}.png")
        for index, options in enumerate(({}, {"tile": 40, "scale": 2})):
            _run(vsr.run, vsr.VsrRequest(inputs=[str(film)], device=device, weights=str(weights),
                                         output=str(Path(folder, f"out{index}")), **options))


def _raw(path: Path) -> None:
    """Writes a RAW file as plain as can be: a mosaic in a DNG."""
    import tifffile

    noise = np.random.default_rng(0).integers(0, 900, (448, 480), np.uint16)
    matrix = sum(([value, 10_000] for value in (
        6988, -1384, -714, -5631, 13410, 2447, -1485, 2204, 7318)), [])
    tifffile.imwrite(path, noise, photometric=32803, metadata=None, extratags=[
        (33421, 3, 2, (2, 2)), (33422, 1, 4, b"\0\1\1\2"), (50706, 1, 4, b"\1\4\0\0"),
        (50708, 2, None, "restore"), (50717, 4, 1, 4095), (50721, 10, 9, matrix),
        (50728, 5, 3, (1, 2, 1, 1, 1, 2)), (50778, 3, 1, 21)])


def _run(job: Callable[[Any, Console], ExitStatus], request: Any) -> None:
    """Runs a job whose output nobody needs.

    Raises:
        RestoreError: it fails; says what it said.
    """
    said = io.StringIO()
    console = Console(stdout=io.BytesIO(), stderr=said)
    console.quiet, console.show_progress = True, False
    if job(request, console) != ExitStatus.OK:
        raise RestoreError(f"the command fails on its own test picture: {said.getvalue().strip()}")


def _weights(task: str, folder: Path) -> Path:
    """The task's default weights, or random ones of the same network while they are missing."""
    from restore_cli.jobs.bench import random_weights
    from restore_cli.weights import files
    from restore_cli.weights.store import Store

    store = Store()
    try:
        return store.find(None, task)
    except WeightsError:
        entry = store.manifest.default(task)
    path = folder / "random.safetensors"
    files.write(path, random_weights(entry.arch, entry.config))
    return path


WARMERS: dict[str, Callable[[str], None]] = {"upscale": _upscale, "denoise": _denoise,
                                             "denoise-raw": _denoise_raw, "vsr": _vsr}
