"""Training samples for video networks: a window of frames, cropped, blurred and made small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.evaluation import video_baseline, video_metrics
from restore_cli.training.datasets.film_clips import Windows
from restore_cli.training.degradations import blur, blur_kernels

MODES = ("gaussian", "realistic")
LEAST_SMOOTHNESS, DRAWS = 7.0, 5
"""Crops that show less are drawn again, four times at most."""


@dataclass(frozen=True)
class VideoBatch:
    """What a step trains on.

    Attributes:
        frames: float32 (N, T, 3, h, w), nominally [0, 1], neither rounded nor clipped.
        large: float32 (N, 3, H, W), the truth of the middle frame; None where nobody knows it.
        flows: float32 (N, T - 1, 2, h, w), where the middle frame's pixels are in each of the
            others, in pixels along x and y; None where nobody knows it.
        kernels: float32 (N, 1, K, K), what the frames were blurred with before every 4th pixel was
            taken; None where nobody knows it.
    """

    frames: np.ndarray
    large: np.ndarray | None
    flows: np.ndarray | None = None
    kernels: np.ndarray | None = None


@dataclass(frozen=True)
class Held:
    """A window to validate on.

    Attributes:
        frames: float32 (T, 3, h, w), rounded to 8 or 16 bits as test frames are.
        large: float32 (3, H, W), the truth of the middle one.
    """

    frames: np.ndarray
    large: np.ndarray

    def psnr(self, found: np.ndarray) -> float:
        """Of a result (3, H, W), in dB; neither clipped nor rounded, 4 pixels cut a side."""
        return video_metrics.psnr(np.moveaxis(found, 0, -1), np.moveaxis(self.large, 0, -1))

    def bicubic(self) -> np.ndarray:
        """The middle frame enlarged by plain cubic interpolation on its phase, (3, H, W)."""
        middle = np.moveaxis(self.frames[len(self.frames) // 2], 0, -1)
        return np.moveaxis(video_baseline.enlarge(middle, blur.SCALE), -1, 0)


Parts = tuple[np.ndarray, "np.ndarray | None", "np.ndarray | None", "np.ndarray | None"]


class Sample(Protocol):
    """Makes one training sample: frames, truth, flows and kernel, as a `VideoBatch` has them."""

    def sample(self, draw: int) -> Parts: ...


class VideoSampler:
    """Makes the `VideoBatch` of any step from (seed, step) alone.

    Args:
        source: of the samples.
        batch: samples a step.
        noise: half of the samples get Gaussian noise of a standard deviation up to this, in
            levels of 8 bits; another noise in each frame.
        seed: of the noise.

    Raises:
        UsageError: an empty batch, or negative noise.
    """

    def __init__(self, source: Sample, batch: int, *, noise: float = 0.0, seed: int = 0):
        if batch < 1:
            raise UsageError("batch size must be at least 1")
        if not 0 <= noise < 256:
            raise UsageError(f"--noise must be from 0 to 255, not {noise:g}")
        self._source, self._size, self._noise, self._seed = source, batch, noise / 255, seed

    def batch(self, step: int) -> VideoBatch:
        """The batch of step `step` (from 0)."""
        made = [self._source.sample(step * self._size + slot) for slot in range(self._size)]
        frames, large, flows, kernels = (
            None if any(part is None for part in parts) else np.stack(parts)
            for parts in zip(*made, strict=True))
        if self._noise:
            rng = np.random.default_rng([self._seed, 0x401, step])
            sigma = rng.uniform(-self._noise, self._noise, self._size).clip(0)
            frames += rng.standard_normal(frames.shape, np.float32) * np.float32(
                sigma.reshape(-1, 1, 1, 1, 1))
        return VideoBatch(frames, large, flows, kernels)


class FilmSamples:
    """Samples of clips (Self-Blind-VSR's loader).

    One crop for the five frames, drawn again while its middle shows next to nothing; mirrored and
    turned alike; one kernel for all. No noise is added.

    Args:
        windows: of frames at least `patch` times 4 (or `patch`, without blur) a side.
        seed: of the run.
        patch: side of the samples' frames in pixels.
        mode: "gaussian" or "realistic" blur, then every 4th pixel; None takes the frames as they
            are, and knows no truth.

    Raises:
        UsageError: an unknown blur.
    """

    def __init__(self, windows: Windows, seed: int, *, patch: int, mode: str | None):
        if mode is not None and mode not in MODES:
            raise UsageError(f"unknown --blur '{mode}'", hint="Use gaussian or realistic")
        self._windows, self._seed, self._mode = windows, seed, mode
        self._side = patch if mode is None else patch * blur.SCALE

    def sample(self, draw: int) -> Parts:
        """Sample number `draw` of the run; see `Sample`."""
        rng = np.random.default_rng([self._seed, 0xF11, draw])
        frames = self._windows.window(self._windows.pick(self._seed, draw))
        crops = self._crop(frames, rng)
        flips = rng.random(3) < 0.5
        crops = [turned(crop, *flips) for crop in crops]
        if self._mode is None:
            return np.stack([planes(crop) for crop in crops]), None, None, None
        kernel = blur_kernels.training_kernel(self._mode, rng)
        return (*made_small(crops, kernel), None, framed(kernel))

    def _crop(self, frames: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        side = self._side
        height, width = frames[0].shape[:2]
        middle = frames[len(frames) // 2]
        for _ in range(DRAWS):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            part = slice(top, top + side), slice(left, left + side)
            if blur.smoothness(in_bytes(middle[part])) >= LEAST_SMOOTHNESS:
                break
        return [frame[part] for frame in frames]


def held_out(windows: Windows, mode: str, count: int, patch: int, seed: int) -> list[Held]:
    """Windows to validate on, spread over the clips: their middles, blurred and rounded.

    Args:
        mode: "gaussian" (sigma 1.2) or "realistic" (drawn).
        count: at most.
        patch: side of the small frames.
    """
    chosen = np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int))
    made = []
    for number in chosen:
        frames = windows.window(int(number))
        side = min(patch * blur.SCALE, *(edge - edge % blur.SCALE for edge in frames[0].shape[:2]))
        top, left = ((edge - side) // 2 for edge in frames[0].shape[:2])
        made.append(held([frame[top:top + side, left:left + side] for frame in frames], mode,
                         np.random.default_rng([seed, 0x7E57, int(number)])))
    return made


def held(frames: list[np.ndarray], mode: str, rng: np.random.Generator) -> Held:
    """A window to validate on from large frames (H, W, 3) uint8 or uint16."""
    kernel = blur_kernels.gaussian(blur_kernels.TEST_SIGMA) if mode == "gaussian" else \
        blur_kernels.training_kernel(mode, rng)
    small = np.stack([planes(blur.low_resolution(frame, kernel)) for frame in frames])
    return Held(small, planes(frames[len(frames) // 2]))


def made_small(frames: list[np.ndarray], kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blurred frames, every 4th pixel, and the middle large one; see `VideoBatch`."""
    white = np.iinfo(frames[0].dtype).max
    small = np.stack([blur.blurred(frame, kernel, blur.SCALE) for frame in frames]) / white
    return (np.ascontiguousarray(np.moveaxis(small, -1, 1), dtype=np.float32),
            planes(frames[len(frames) // 2]))


def framed(kernel: np.ndarray) -> np.ndarray:
    """A kernel in the middle of one of the size that networks estimate, float32 (1, K, K)."""
    room = (blur_kernels.SIZE - kernel.shape[0]) // 2
    return np.pad(kernel, room)[None].astype(np.float32)


def planes(frame: np.ndarray) -> np.ndarray:
    """A stored frame (H, W, 3) as a network sees it: float32 (3, H, W) in [0, 1]."""
    scaled = frame.astype(np.float32) * np.float32(1 / np.iinfo(frame.dtype).max)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 0))


def in_bytes(frame: np.ndarray) -> np.ndarray:
    """A frame on the scale of 8 bits."""
    return frame if frame.dtype == np.uint8 else frame / 257


def turned(frame: np.ndarray, columns: bool, rows: bool, quarter: bool) -> np.ndarray:
    """A frame mirrored left to right, top to bottom, and then turned by a quarter."""
    frame = frame[::-1 if rows else 1, ::-1 if columns else 1]
    return np.rot90(frame) if quarter else frame


def turned_flow(flow: np.ndarray, columns: bool, rows: bool, quarter: bool) -> np.ndarray:
    """The flow (2, H, W) between frames that are `turned` so."""
    x, y = (turned(part, columns, rows, False) for part in flow)
    x, y = -x if columns else x, -y if rows else y
    if quarter:  # anticlockwise: what went right goes up
        x, y = np.rot90(y), -np.rot90(x)
    return np.stack([x, y])


class MixedSamples:
    """Samples of several kinds, each as often as its weight says.

    Args:
        parts: (samples, weight) pairs, each weight above 0.
        seed: of the run.
    """

    def __init__(self, parts: Sequence[tuple[Sample, float]], seed: int):
        self._parts, self._seed = [part for part, _ in parts], seed
        weights = np.array([weight for _, weight in parts], np.float64)
        self._limits = np.cumsum(weights / weights.sum())

    def sample(self, draw: int) -> Parts:
        """Sample number `draw` of the run."""
        where = np.random.default_rng([self._seed, 0x313, draw]).random()
        part = int(np.searchsorted(self._limits, where, side="right"))
        return self._parts[min(part, len(self._parts) - 1)].sample(draw)
