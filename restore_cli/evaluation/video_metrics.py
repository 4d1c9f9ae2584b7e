"""PSNR and SSIM of restored video, by the protocol of Self-Blind-VSR's tables.

Frames are RGB in 8 bits, 4 pixels are cut on each side, PSNR is taken over all channels together
and SSIM is the mean of the channels'. A clip's score is the mean over its frames; a set's is the
mean over all frames, so that long clips weigh more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from restore_cli.evaluation import metrics

BORDER = 4


def to_bytes(frame: np.ndarray) -> np.ndarray:
    """A network's output as it is stored and scored: times 255, clipped, rounded half to even.

    Args:
        frame: float (..., 3, H, W) or any shape, nominally [0, 1].

    Returns:
        uint8 of the same shape. The product is taken in float32, as the network's output is.
    """
    scaled = np.asarray(frame, np.float32) * np.float32(255)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def from_bytes(frame: np.ndarray) -> np.ndarray:
    """A stored frame as a network sees it: float32 of uint8 times float32(1/255)."""
    return np.asarray(frame, np.float32) * np.float32(1 / 255)


def psnr(frame: np.ndarray, reference: np.ndarray, *, border: int = BORDER) -> float:
    """PSNR in dB over all pixels and channels; infinite for equal frames.

    Args:
        frame, reference: (H, W, 3) or (H, W), uint8 (peak 255) or floats (peak 1; neither clipped
            nor rounded, as validation during training compares them).
        border: pixels cut on each side.

    Raises:
        ShapeError: the shapes differ, or nothing is left.
    """
    return metrics.psnr(metrics.shave(frame, border), metrics.shave(reference, border))


def ssim(frame: np.ndarray, reference: np.ndarray, *, border: int = BORDER) -> float:
    """SSIM (11x11 Gaussian window of sigma 1.5, whole windows only), the mean of the channels'.

    Arguments and errors as for `psnr`.
    """
    return metrics.ssim(metrics.shave(frame, border), metrics.shave(reference, border))


@dataclass
class ClipScore:
    """Scores of one clip, frame by frame.

    Attributes:
        name: of the clip.
        frames: names or numbers of the frames.
        psnr: dB, one a frame; infinite for equal frames.
        ssim: one a frame.
    """

    name: str
    frames: list[str] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)

    def add(self, name: str, frame: np.ndarray, reference: np.ndarray, *, border: int = BORDER
            ) -> None:
        """Scores one frame; arguments as for `psnr`."""
        values = psnr(frame, reference, border=border), ssim(frame, reference, border=border)
        self.frames.append(name)
        self.psnr.append(values[0])
        self.ssim.append(values[1])

    @property
    def mean(self) -> tuple[float, float]:
        """PSNR and SSIM, means over the frames; NaN without frames."""
        return total([self])


def total(clips: Iterable[ClipScore]) -> tuple[float, float]:
    """Mean PSNR and SSIM over all frames of all clips; NaN without frames."""
    clips = list(clips)
    return (_mean([value for clip in clips for value in clip.psnr]),
            _mean([value for clip in clips for value in clip.ssim]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
