"""How published tables compare denoised RAW files with their references; one pair at a time.

Images are float32 (4, h, w): planes R, G1, B, G2, black 0 and white 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol as Interface

import numpy as np

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import metrics, raw_metrics

PLANES = ("R", "G1", "B", "G2")

Denoiser = Callable[[np.ndarray, float], np.ndarray]
"""(amplified planes, at most 1 and below 0 where the noise is; ratio) -> the same shape, denoised.

Nothing need be clipped on the way out."""

COMPARING = 4 * (2 * 4 + 13), 24_000_000
"""Bytes while images are compared, both of them counted: a packed pixel, and whatever the size
(measured peaks, rounded up)."""


@dataclass(frozen=True)
class Loaded:
    """A pair as the networks and the metrics take it.

    Attributes:
        noisy: amplified; at most 1, not cut below.
        truth: 0..1.
        ratio: what `noisy` was amplified by.
        camera: that made it, "" when unknown.
    """

    noisy: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    ratio: float
    camera: str = ""


class Case(Interface):
    """One pair to score.

    Attributes:
        data, name: the set it belongs to, and its own name.
        noisy, clean: its files; None where it is generated.
    """

    data: str
    name: str
    noisy: Path | None
    clean: Path | None

    def load(self) -> Loaded:
        """Reads or makes it; raises InputError where that cannot be done."""
        ...


@dataclass(frozen=True)
class Score:
    """How near an image is to its truth.

    Attributes:
        psnr, ssim: by the protocol; PSNR in dB, SSIM None below 11 pixels a side.
        plain_psnr, plain_ssim: without the correction of brightness, where the protocol has one.
        factor: that correction.
        shift: of the mean of each plane R, G1, B, G2 against the truth's, in percent of it,
            before any correction; None where the truth is black.
    """

    psnr: float
    ssim: float | None
    plain_psnr: float | None = None
    plain_ssim: float | None = None
    factor: float | None = None
    shift: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """How results are compared with the truth.

    Attributes:
        name: as typed after ``--protocol``.
        key: in front of its figures' names in files, so that no two protocols share a name.
        corrected: the image is brought to the truth's brightness first.
        eight_bit: three planes rounded to 8 bits instead of four planes as they are.
        border: packed pixels cut on each side.
        all_shots: every shot of a burst counts, not only the first.
        notes: what a reader of the figures must know.
    """

    name: str
    key: str
    corrected: bool = False
    eight_bit: bool = False
    border: int = 0
    all_shots: bool = False
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name for tables and plots."""
        return self.key.replace("_", ", ")

    @property
    def quality(self) -> str:
        """What its PSNR is called."""
        return "8-bit PSNR" if self.eight_bit else "raw PSNR"

    def uncorrected(self) -> Protocol:
        """The same without the correction, under a name of its own."""
        if not self.corrected:
            return self
        return replace(self, key=f"{self.key}_uncorrected", corrected=False, notes=(
            _FOUR_PLANES, _BRIGHTNESS_COUNTS))

    def score(self, image: np.ndarray, truth: np.ndarray) -> Score:
        """Compares an image, which is clipped to 0..1 first, with the truth.

        Raises:
            ShapeError: shapes differ.
        """
        image = np.clip(image, 0, 1)
        moved = shift(image, truth)
        if self.eight_bit:
            return Score(raw_metrics.psnr_u8(image, truth, border=self.border),
                         self._similarity(raw_metrics.ssim_u8, image, truth), shift=moved)
        psnr = raw_metrics.psnr4(image, truth, border=self.border)
        ssim = self._similarity(raw_metrics.ssim4, image, truth)
        if not self.corrected:
            return Score(psnr, ssim, shift=moved)
        image, factor = raw_metrics.illuminance_correction(image, truth)
        return Score(raw_metrics.psnr4(image, truth, border=self.border),
                     self._similarity(raw_metrics.ssim4, image, truth), psnr, ssim, factor, moved)

    def _similarity(self, measure: Callable[..., float], image: np.ndarray, truth: np.ndarray
                    ) -> float | None:
        if min(truth.shape[1:]) - 2 * self.border < metrics.SSIM_WINDOW:
            return None
        return measure(image, truth, border=self.border)


_FOUR_PLANES = (
    "four linear planes R, G1, B, G2 of 0..1, the truth clipped, 2 packed pixels cut on each "
    "side; PSNR 10 log10(1 / (squared error + 1e-8)), SSIM Gaussian 11x11 as the mean of the "
    "planes; mean over pairs")
_BRIGHTNESS_COUNTS = ("no correction of brightness: errors of exposure count; the published tables "
                      "of LED have the correction")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("led", "led", corrected=True, border=raw_metrics.BORDER, notes=(
            _FOUR_PLANES,
            "each image is multiplied by the one factor that brings it closest to its truth "
            "(illuminance correction), as in the tables of LED (ICCV 2023); it hides errors of "
            "brightness, which the figures 'as is' and the shifts show; of a noisy image the "
            "factor is below 1, because noise has energy too",
            "whole images; the tables of ELD (CVPR 2020) score the centre only and do not "
            "compare")),
        Protocol("source", "source", eight_bit=True, all_shots=True, notes=(
            "as the table of LED_jittor: linear planes R, G1 and B rounded to 8 bits, the second "
            "green left out, no border cut, no correction of brightness, all shots together",
            "not comparable with the tables of LED or ELD, nor with --protocol led")),
    )
}


@dataclass(frozen=True)
class RawResult:
    """What one pair scored.

    Attributes:
        case: the pair.
        ratio: what it was amplified by.
        camera: that made it, "" when unknown.
        size: (height, width) of the mosaic, an odd last row or column left out.
        model: the denoised image's score; None when only the noisy one was asked for.
        baseline: the amplified noisy image's own score.
        seconds: time the denoising took, files and metrics not counted.
    """

    case: Case
    ratio: float
    camera: str
    size: tuple[int, int]
    model: Score | None
    baseline: Score
    seconds: float


def evaluate(case: Case, denoise: Denoiser | None, protocol: Protocol) -> RawResult:
    """Denoises and scores one pair.

    Args:
        denoise: None scores only the noisy image.

    Raises:
        InputError: unreadable, too small, or a pair that does not belong together.
        ShapeError: the denoiser returned another shape.
    """
    data = case.load()
    height, width = data.truth.shape[1:]
    if min(height, width) <= 2 * protocol.border:
        raise InputError(f"{2 * width}x{2 * height} pixels leave nothing inside the border of "
                         f"{2 * protocol.border} that '{protocol.name}' cuts", path=case.noisy)
    noisy, truth, ratio, camera = data.noisy, data.truth, data.ratio, data.camera
    del data
    baseline = protocol.score(noisy, truth)
    # Noise below black counts in the mean: clipping it would look like a shift.
    baseline = replace(baseline, shift=shift(noisy, truth))
    model, seconds = None, 0.0
    if denoise is not None:
        begin = time.perf_counter()
        made = denoise(noisy, ratio)
        seconds = time.perf_counter() - begin
        del noisy  # makes room for the comparison
        if made.shape != truth.shape:
            raise ShapeError("the denoised image", str(truth.shape), made.shape)
        model = protocol.score(made, truth)
    return RawResult(case, ratio, camera, (2 * height, 2 * width), model, baseline, seconds)


def shift(image: np.ndarray, truth: np.ndarray) -> tuple[float | None, ...]:
    """By how much the mean of each plane is off, in percent of the truth's mean.

    Equal shifts are a change of brightness, different ones a colour cast.

    Raises:
        ShapeError: shapes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("image", f"the truth's shape {truth.shape}", image.shape)
    means = [(float(a.mean(dtype=np.float64)), float(b.mean(dtype=np.float64)))
             for a, b in zip(image, truth, strict=True)]
    return tuple(100 * (a / b - 1) if b > 0 else None for a, b in means)
