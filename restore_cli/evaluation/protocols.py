"""The ways published tables cut, convert and compare, and the loop over a test set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import metrics
from restore_cli.evaluation.cases import Case, load
from restore_cli.media.samples import from_float, to_float
from restore_cli.training.degradations import bicubic

# (low (h, w, 3) float32 RGB in [0, 1], (H, W)) -> (H, W, 3) float32 RGB
Upscale = Callable[[np.ndarray, "tuple[int, int]"], np.ndarray]


@dataclass(frozen=True)
class Score:
    """How near an image is to its reference.

    Attributes:
        psnr: in dB, infinite for equal images.
        ssim: None below 11 pixels a side.
        affine: PSNR after the best gain and offset; None where it was not asked for.
    """

    psnr: float
    ssim: float | None
    affine: float | None = None


@dataclass(frozen=True)
class Protocol:
    """How a prediction is compared with the truth.

    Attributes:
        name: as typed after ``--protocol``.
        luma: compare BT.601 studio-range luma instead of RGB.
        margin: pixels cut on each side beyond the scale; None cuts nothing at all.
        rounded: the luma is rounded to 8 bits before comparing.
    """

    name: str
    luma: bool
    margin: int | None
    rounded: bool

    def border(self, scale: float) -> int:
        """Pixels cut on each side; a fractional scale counts as the next whole one."""
        return 0 if self.margin is None else math.ceil(scale - 1e-9) + self.margin

    def score(self, prediction: np.ndarray, truth: np.ndarray, scale: float) -> Score:
        """Compares (H, W, 3) RGB arrays in [0, 1].

        Raises:
            ShapeError: the shapes differ or nothing is left inside the border.
        """
        border = self.border(scale)
        if self.luma:
            quality = metrics.psnr_y(prediction, truth, border=border, rounded=self.rounded)
        else:
            prediction, truth = metrics.shave(prediction, border), metrics.shave(truth, border)
            quality = metrics.psnr(prediction, truth)
        left = min(truth.shape[:2]) - (2 * border if self.luma else 0)
        if left < metrics.SSIM_WINDOW:
            return Score(quality, None)
        if self.luma:
            likeness = metrics.ssim_y(prediction, truth, border=border, rounded=self.rounded)
        else:
            likeness = metrics.ssim(prediction, truth)
        return Score(quality, likeness)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # Set5, Set14, B100 and Urban100 as in the LIIF paper.
        Protocol("benchmark", luma=True, margin=0, rounded=False),
        # The same as in the tables that were made with MATLAB.
        Protocol("classic", luma=True, margin=0, rounded=True),
        # DIV2K as in the LIIF paper.
        Protocol("div2k", luma=False, margin=6, rounded=False),
        Protocol("rgb", luma=False, margin=None, rounded=False),
    )
}


@dataclass(frozen=True)
class Result:
    """What one image scored.

    Attributes:
        size: (height, width) of the prediction.
        model: the network's score; None when only the baseline was asked for.
        baseline: the score of Pillow's bicubic, treated in the same way.
        seconds: time the network took, files and metrics not counted.
    """

    case: Case
    size: tuple[int, int]
    model: Score | None
    baseline: Score
    seconds: float


def evaluate(case: Case, upscale: Upscale | None, protocol: Protocol, *,
             quantise: bool = False,
             keep: Callable[[Case, np.ndarray], None] | None = None) -> Result:
    """Runs and scores one image.

    Predictions are clamped to [0, 1] and, as upstream does it, not rounded to 8 bits.

    Args:
        upscale: the network; None scores only bicubic enlargement.
        quantise: round predictions to 8 bits, as a file would hold them.
        keep: called with the clamped prediction, to save it.

    Raises:
        InputError: unreadable, or too small for the protocol.
    """
    low, high = load(case)
    size = high.shape[:2]
    if min(size) <= 2 * protocol.border(case.scale):
        raise InputError(f"{size[1]}x{size[0]} pixels leave nothing inside the border of "
                         f"{protocol.border(case.scale)} that '{protocol.name}' cuts",
                         path=case.hr, hint="Use --protocol rgb")
    enlarged = _finish(bicubic.resize(low, size), quantise)
    baseline = protocol.score(enlarged, high, case.scale)
    model, seconds = None, 0.0
    if upscale is not None:
        del enlarged  # before the network, which may need the room
        begin = time.perf_counter()
        prediction = upscale(low, size)
        seconds = time.perf_counter() - begin
        if prediction.shape != high.shape:
            raise ShapeError("prediction", str(high.shape), prediction.shape)
        enlarged = _finish(prediction, quantise)
        model = protocol.score(enlarged, high, case.scale)
    if keep is not None:
        keep(case, enlarged)
    return Result(case, size, model, baseline, seconds)


def _finish(image: np.ndarray, quantise: bool) -> np.ndarray:
    """Clamped to [0, 1]; with `quantise` as an 8-bit file would give it back."""
    if quantise:
        return to_float(from_float(image, np.uint8))
    return np.clip(image, 0.0, 1.0, dtype=np.float32, casting="same_kind")
