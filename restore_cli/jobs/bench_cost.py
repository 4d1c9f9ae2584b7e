"""What bfloat16 costs: pictures are spoiled, restored in both precisions, and compared.

`restore bench ... --precision bf16` prints it. The networks are those of the shipped weights
(for `upscale`, the ones that are timed), the pictures the user's own, or a generated one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.evaluation.metrics import psnr
from restore_cli.nets.ops import precision

SIGMA = 25.0
BLUR = 1.6
_SIDE = 512  # of the part of a picture that is used, at most
_GENERATED = 256
_ALIGN = 16

Case = tuple[np.ndarray, Callable[[], np.ndarray]]
"""What a picture was, [0, 1], and what makes it again out of what it has become."""


@dataclass(frozen=True)
class Cost:
    """Means over the pictures.

    Attributes:
        name: of the weights.
        pictures: how many.
        between: PSNR in dB of the results in bf16 against those in fp32.
        full, half: PSNR in dB of each against what the pictures were; None where the weights
            are random.
    """

    name: str
    pictures: int
    between: float
    full: float | None
    half: float | None

    def __str__(self) -> str:
        text = f"{self.name}: bf16 against fp32 {self.between:.1f} dB"
        if self.full is not None and self.half is not None:
            text += (f"; against the truth fp32 {self.full:.3f} dB, bf16 {self.half:.3f} dB, "
                     f"a loss of {self.full - self.half:.4f} dB")
        return f"{text} ({self.pictures} picture{'s' * (self.pictures > 1)})"

    @property
    def facts(self) -> dict[str, Any]:
        """For a record."""
        return {"weights": self.name, "pictures": self.pictures, "between_db": self.between,
                "fp32_db": self.full, "bf16_db": self.half}


def pictures(paths: Sequence[Path]) -> list[np.ndarray]:
    """The middles of pictures in colour; a generated one where none is named.

    Returns:
        (h, w, 3) uint8, sides multiples of 16 up to 512.

    Raises:
        InputError: one cannot be read.
        UsageError: one is smaller than 16 pixels, or a folder holds none.
    """
    from restore_cli.jobs.bench import synthetic_picture
    from restore_cli.media import formats, images

    if not paths:
        return [synthetic_picture(_GENERATED, _GENERATED)]
    made = []
    for path in _files(paths, formats.WRITABLE):
        pixels = images.read(path).color
        if pixels.dtype != np.uint8:
            top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
            pixels = np.rint(np.clip(pixels / top, 0, 1) * 255).astype(np.uint8)
        height, width = (min(_SIDE, side // _ALIGN * _ALIGN) for side in pixels.shape[:2])
        if not height or not width:
            raise UsageError(f"is smaller than {_ALIGN}x{_ALIGN}", path=path)
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        pixels = pixels[top:top + height, left:left + width]
        made.append(np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3))))
    return made


def _files(paths: Sequence[Path], known: Any) -> list[Path]:
    found = []
    for path in paths:
        inside = [path] if not path.is_dir() else sorted(
            one for one in path.iterdir() if one.suffix.lower() in known)
        if not inside:
            raise UsageError("holds no pictures", path=path)
        found += inside
    return found


def measure(name: str, cases: Sequence[Case], random: bool = False) -> Cost:
    """Runs all cases in both precisions; the engine must run.

    Args:
        random: the weights are, so that nothing is restored.
    """
    found = []
    for truth, make in cases:
        with precision.using(False):
            full = make()
        with precision.using(True):
            half = make()
        full, half = np.clip(full, 0, 1), np.clip(half, 0, 1)
        found.append((psnr(half, full), psnr(full, truth), psnr(half, truth)))
    between, full, half = (float(value) for value in np.mean(found, axis=0))
    return Cost(name, len(cases), between, *(None, None) if random else (full, half))


def upscale(network: Any, normalisation: Any, scale: float, given: np.ndarray) -> Case:
    """A picture reduced bicubically."""
    import jittor as jt

    from restore_cli.training.degradations import bicubic

    small = tuple(max(1, int(side / scale)) for side in given.shape[:2])
    size = tuple(int(side * scale + 0.5) for side in small)
    truth = given[:size[0], :size[1]].astype(np.float32) / 255
    size = truth.shape[:2]
    low = np.rint(np.clip(bicubic.resize(truth, small), 0, 1) * 255) / 255
    mean, std = (np.array(part, np.float32)[:, None, None] for part in normalisation)
    units = np.ascontiguousarray(((low.transpose(2, 0, 1) - mean) / std)[None], np.float32)

    def make() -> np.ndarray:
        with jt.no_grad():
            made = network.render(network.encode(jt.array(units)), size).numpy()[0]
        return (made * std + mean).transpose(1, 2, 0)

    return truth, make


def denoise(loaded: Any, given: np.ndarray) -> Case:
    """A picture with Gaussian noise of sigma 25, for a network of `jobs.denoise_network`."""
    import jittor as jt

    clean = given.astype(np.float32).transpose(2, 0, 1)
    if loaded.channels == 1:
        clean = clean.mean(axis=0, keepdims=True)
    rng = np.random.default_rng(0)
    noisy = clean + np.float32(SIGMA) * rng.standard_normal(clean.shape, dtype=np.float32)
    units = loaded.normalisation.units(noisy.mean((1, 2)), noisy.std((1, 2)), 255)
    seen = np.ascontiguousarray(units.to_network(noisy)[None])

    def make() -> np.ndarray:
        with jt.no_grad():
            return units.from_network(loaded.network(jt.array(seen)).numpy()[0]) / 255

    return clean / 255, make


def denoise_raw(loaded: Any, given: np.ndarray) -> Case:
    """A picture as light on a sensor, exposed 100 times too short."""
    from restore_cli.jobs.bench_raw_data import RATIO, dark

    light = (given.astype(np.float32) / 255) ** np.float32(2.2)
    places = ((0, 0, 0), (0, 1, 1), (1, 1, 2), (1, 0, 1))  # R, G1, B, G2: row, column, colour
    clean = np.stack([light[y::2, x::2, colour] for y, x, colour in places])
    noisy = np.minimum(dark(clean) * np.float32(RATIO), 1)
    return clean, lambda: loaded(noisy, RATIO)


def vsr(loaded: Any, given: np.ndarray) -> Case:
    """A picture that moves, blurred and a quarter as large."""
    from restore_cli.jobs.vsr_plan import Plan
    from restore_cli.jobs.vsr_stream import Held, Stream
    from restore_cli.media.video_model import Frame
    from restore_cli.training.degradations import blur, blur_kernels

    count, scale = loaded.config["n_sequence"], loaded.config["scale"]
    height, width = (side - 2 * count - (side - 2 * count) % scale for side in given.shape[:2])
    kernel, scenes, window = blur_kernels.gaussian(BLUR), [], []
    for i in range(count):
        scenes.append(given[i:i + height, 2 * i:2 * i + width].astype(np.uint16) * 257)
        low = blur.low_resolution(scenes[-1], kernel, scale)
        window.append(Frame(i, i, Fraction(1, 25), i == 0, low))
    size = window[0].rgb.shape[:2]

    def make() -> np.ndarray:
        stream = Stream(loaded, size, Plan((max(size),) * 2, count - 1), scale)
        return stream.enlarge([Held(frame) for frame in window]) / 65535

    return scenes[count // 2] / 65535, make


def shipped(task: str, paths: Sequence[Path], console: Console) -> list[Cost]:
    """The cost of the networks whose weights are shipped, for a task other than "upscale"."""
    from restore_cli.jobs import denoise_network, denoise_raw_network, vsr_network

    given, found = pictures(paths), []
    if task == denoise_network.TASK:
        for channels in denoise_network.GENERIC:
            path = denoise_network.generic(channels, console)
            if path is not None:
                loaded = denoise_network.load(path, "cpu")
                found.append((loaded, denoise))
    elif task == denoise_raw_network.TASK:
        path = denoise_raw_network.find(None, None, console)
        found.append((denoise_raw_network.load(path, device="cpu", console=console), denoise_raw))
    else:
        path = vsr_network.find(None, None, console)
        found.append((vsr_network.load(path, device="cpu", console=console), vsr))
    return [measure(loaded.name, [case(loaded, one) for one in given])
            for loaded, case in found]
