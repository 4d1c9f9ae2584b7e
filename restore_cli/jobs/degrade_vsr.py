"""`restore degrade vsr`: blurred, four times smaller clips whose kernels are known."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError
from restore_cli.jobs import degrade_vsr_clips as places
from restore_cli.jobs import files
from restore_cli.jobs.degrade_vsr_clips import Clip
from restore_cli.media import images, mat
from restore_cli.media.atomic import atomic_path
from restore_cli.media.images import Image
from restore_cli.pipeline import naming, stream
from restore_cli.pipeline.naming import Item
from restore_cli.training.degradations import blur, blur_kernels

MODES = ("gaussian", "realistic")
_PICTURE = 24  # pixels a side for each sample of a kernel


@dataclass
class DegradeRequest:
    """What to degrade and how.

    Attributes:
        folders: of frames, or of folders of frames.
        output: folder of the set.
        mode: "gaussian" or "realistic".
        sigma: width of Gaussian kernels in pixels, "1.6", or a range "0.4-2.0"; None is 1.2.
        seed: of the kernels.
    """

    folders: Sequence[Path]
    output: Path
    mode: str = "gaussian"
    sigma: str | None = None
    seed: int = 0
    overwrite: bool = False
    skip_existing: bool = False
    dry_run: bool = False


def run(request: DegradeRequest, console: Console) -> ExitStatus:
    """Degrades all clips; bad frames and folders do not stop the others.

    Raises:
        UsageError: contradicting options, results that exist, nothing to do.
        OutputError: a kernel cannot be written.
    """
    low, high = _sigmas(request)
    if request.overwrite and request.skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other")
    if request.output.exists() and not request.output.is_dir():
        raise UsageError("is a file, not a folder for the set", path=request.output)
    found, errors = places.find(request.folders, request.output)
    if len(errors) == len(request.folders) == 1:
        raise errors[0]
    clips = places.plan(found, request.output, overwrite=request.overwrite,
                        skip_existing=request.skip_existing)
    for error in errors:
        console.error(error)
    kernels = {clip.name: _kernel(clip.name, request, low, high) for clip in clips}
    if request.dry_run:
        files.tell([item for clip in clips for item in clip.items], console)
        return ExitStatus.SOME_FAILED if errors else ExitStatus.OK
    for clip in clips:
        _check_kernel(clip, kernels[clip.name][0], request)
    for clip in clips:
        kernel, facts = kernels[clip.name]
        _write_kernel(clip, kernel, request)
        console.result(f"{clip.name}: {_words(facts)}, {clip.kernels['.npy']}", {
            "clip": clip.name, "frames": len(clip.items), "kernel": str(clip.kernels[".npy"]),
            "size": kernel.shape[0], **facts})
    worker = _Degrader({item.target: (clip.name, kernels[clip.name][0])
                        for clip in clips for item in clip.items}, request, console)
    summary = stream.run([item for clip in clips for item in clip.items], worker.read,
                         worker.compute, worker.write, console=console, describe=_describe,
                         unit="frame")
    status = summary.status
    return ExitStatus.SOME_FAILED if errors and status is ExitStatus.OK else status


class _Degrader:
    """The stages of one run."""

    def __init__(self, kernels: dict[Path, tuple[str, np.ndarray]], request: DegradeRequest,
                 console: Console):
        self._kernels, self._request, self._console = kernels, request, console
        self._sizes: dict[str, tuple[int, int]] = {}

    def read(self, item: Item) -> Image:
        """Decodes a frame."""
        naming.require_input(item.source)
        return images.read(item.source)

    def compute(self, item: Item, image: Image) -> tuple[Image, tuple[int, int]]:
        """Blurs a frame and thins it out; also its size before."""
        clip, kernel = self._kernels[item.target]
        before = image.height, image.width
        size = self._sizes.setdefault(clip, before)
        if before != size:
            raise InputError(f"{before[1]}x{before[0]} pixels, but the clip began with "
                             f"{size[1]}x{size[0]}", path=item.source,
                             hint="Frames of a clip have one size")
        if image.pixels.dtype.kind == "f":
            raise InputError("holds floating-point samples; test frames have 8 or 16 bits",
                             path=item.source)
        notes = ("transparency is left out",) if image.has_alpha else ()
        return image.with_pixels(blur.low_resolution(image.color, kernel), *notes), before

    def write(self, item: Item, result: tuple[Image, tuple[int, int]]) -> dict[str, Any]:
        """Stores one result; returns the facts for its record."""
        image, before = result
        notes = images.write(item.target, image, format="PNG", overwrite=self._request.overwrite)
        for note in (*image.notes, *notes):
            self._console.warn(f"{item.source}: {note}")
        return {"input_size": list(before[::-1]), "size": [image.width, image.height],
                "notes": [*image.notes, *notes]}


def _sigmas(request: DegradeRequest) -> tuple[float, float]:
    """The least and largest width of Gaussian kernels."""
    if request.mode not in MODES:
        raise UsageError(f"unknown --mode '{request.mode}'", hint="Use gaussian or realistic")
    if request.sigma is None:
        return blur_kernels.TEST_SIGMA, blur_kernels.TEST_SIGMA
    if request.mode != "gaussian":
        raise UsageError("--sigma belongs to --mode gaussian")
    first, dash, second = request.sigma.partition("-")
    try:
        low = float(first)
        high = float(second) if dash else low
    except ValueError:
        raise UsageError(f"--sigma {request.sigma} is no width and no range",
                         hint="Write 1.6 or 0.4-2.0") from None
    if not low <= high:
        raise UsageError(f"--sigma {request.sigma} does not go from small to large")
    for sigma in (low, high):
        blur_kernels.gaussian(sigma)  # refuses impossible widths
    return low, high


def _kernel(name: str, request: DegradeRequest, low: float, high: float
            ) -> tuple[np.ndarray, dict[str, Any]]:
    """A clip's kernel and what describes it: a function of the seed and the clip's name alone."""
    rng = np.random.default_rng([request.seed, zlib.crc32(name.encode())])
    if request.mode == "gaussian":
        sigma = float(rng.uniform(low, high)) if high > low else low
        return blur_kernels.gaussian(sigma), {"mode": "gaussian", "sigma": sigma}
    draws = blur_kernels.draw(rng)
    return blur_kernels.realistic(draws), {
        "mode": "realistic", "seed": request.seed, "variances": [draws.first, draws.second],
        "angle": draws.angle}


def _check_kernel(clip: Clip, kernel: np.ndarray, request: DegradeRequest) -> None:
    """With --skip-existing: frames made now must be of the same kernel as those made before."""
    place = clip.kernels[".npy"]
    if not request.skip_existing or not place.exists():
        return
    try:
        same = np.allclose(np.load(place, allow_pickle=False), kernel, atol=1e-9)
    except (OSError, ValueError):
        same = False  # not a kernel, or one of another size
    if not same:
        raise UsageError("holds another kernel than these options make", path=place,
                         hint="Use the first run's options, --overwrite, or another -o")


def _write_kernel(clip: Clip, kernel: np.ndarray, request: DegradeRequest) -> None:
    array = io.BytesIO()
    np.save(array, kernel)
    for ending, data in ((".npy", array.getvalue()), (".mat", mat.encode("kernel", kernel))):
        if not (request.skip_existing and clip.kernels[ending].exists()):
            with atomic_path(clip.kernels[ending], overwrite=request.overwrite) as temporary:
                temporary.write_bytes(data)
    if not (request.skip_existing and clip.kernels[".png"].exists()):
        shown = np.rint(kernel / kernel.max() * 255).astype(np.uint8)
        large = shown.repeat(_PICTURE, 0).repeat(_PICTURE, 1)[..., None]
        images.write(clip.kernels[".png"], Image(large), overwrite=request.overwrite)


def _words(facts: dict[str, Any]) -> str:
    if facts["mode"] == "gaussian":
        return f"Gaussian blur of sigma {facts['sigma']:g}"
    return "Realistic blur of variances {:.3g} and {:.3g}".format(*facts["variances"])


def _describe(record: dict[str, Any]) -> str:
    (width, height), (new_width, new_height) = record["input_size"], record["size"]
    return (f"{record['source']} -> {record['output']}  {width}x{height} -> "
            f"{new_width}x{new_height}")
