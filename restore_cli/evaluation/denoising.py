"""How published tables of denoising add noise, cut, round and compare; one image at a time."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import metrics
from restore_cli.evaluation.denoising_cases import NoisyCase
from restore_cli.evaluation.protocols import Score

Denoiser = Callable[[np.ndarray, float], np.ndarray]
"""(noisy (C, H, W) float32 in stored units, the value of white) -> the same shape, restored.

White is 255 for 8 bits and for made noise, 65535 for 16 bits, 1 for float files. Nothing is
clipped or rounded on the way in, nor should it be on the way out."""

SOURCE_SIZE = (320, 480)

# Integer luma of Pillow's conversion to "L": BT.601, 16 fractional bits, rounded.
_LUMA = (19595, 38470, 7471)


@dataclass(frozen=True)
class Protocol:
    """How images are prepared, and how results are compared with the truth.

    Attributes:
        name: as typed after ``--protocol``.
        paired: noisy and clean files are given; else noise is made on clean ones.
        grey: colour is converted to grey first (BT.601).
        size: (height, width) cut from the centre, black where the image is smaller.
        ending: what becomes of results before they are compared: "float" nothing, "truncate"
            clamped and cut to whole levels, "round" as an integer file holds them.
        affine: PSNR after the best gain and offset is scored too.
        notes: what a reader of the figures must know.
    """

    name: str
    paired: bool = False
    grey: bool = True
    size: tuple[int, int] | None = None
    ending: str = "float"
    affine: bool = False
    notes: tuple[str, ...] = ()

    def finish(self, values: np.ndarray, dtype: np.dtype, white: float) -> np.ndarray:
        """Restored values in stored units as they are compared."""
        if self.ending == "float" or (self.ending == "round" and dtype.kind == "f"):
            return values
        values = np.clip(values, np.float32(0), np.float32(white))
        return np.floor(values) if self.ending == "truncate" else np.rint(values)

    def score(self, values: np.ndarray, clean: np.ndarray, peak: float) -> Score:
        """Compares (C, H, W) planes whose values have the range `peak`."""
        values, clean = values.transpose(1, 2, 0), clean.transpose(1, 2, 0)
        large = min(clean.shape[:2]) >= metrics.SSIM_WINDOW
        return Score(metrics.psnr(values, clean, peak=peak),
                     metrics.ssim(values, clean, peak=peak) if large else None,
                     metrics.psnr_affine(values, clean, peak=peak) if self.affine else None)


_MADE = ("the noise is made: added to float values of 0 to 255, neither clipped nor rounded, and "
         "the same for every run with this --noise-seed")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("bsd68", notes=(
            _MADE,
            "PSNR and SSIM of the float result, not clipped or rounded, peak 255; mean over images",
            "grey only; full-size images")),
        Protocol("colour", grey=False, notes=(
            _MADE + ", and independent in each channel",
            "PSNR over all channels of the float result, not clipped or rounded, peak 255; mean "
            "over images")),
        Protocol("source", size=SOURCE_SIZE, ending="truncate", notes=(
            _MADE,
            "results are clamped and truncated to whole levels, which costs half a level of bias; "
            "PSNR with peak 1 on 0 to 1; SSIM Gaussian 11x11; mean over images",
            "cut to 480x320: upright images get black bars of 80 pixels, which are noisy too and "
            "count in the metrics",
            "the published test noise was unseeded and its order of files that of one machine; "
            "here files are sorted before the split")),
        Protocol("pairs", paired=True, grey=False, ending="round", affine=True, notes=(
            "results are clipped and rounded to the type of the noisy file, as they are written",
            "affine: PSNR after the least-squares gain and offset of the result, for files whose "
            "contrast was stretched one by one; plain PSNR means nothing there")),
    )
}


@dataclass(frozen=True)
class DenoisingResult:
    """What one image scored.

    Attributes:
        size: (height, width).
        peak: range of the values for PSNR and SSIM, in the reference's stored units.
        model: the restored image's score; None when only the noisy one was asked for.
        baseline: the noisy image's own score.
        seconds: time the restoration took, files and metrics not counted.
    """

    case: NoisyCase
    size: tuple[int, int]
    peak: float
    model: Score | None
    baseline: Score
    seconds: float


@dataclass(frozen=True)
class Loaded:
    """One image as (C, H, W) float32 planes in stored units.

    Attributes:
        white, dtype: the value of white in `noisy`, and the type its values were stored in.
        clean_white: the value of white in `clean`.
        peak: range of `clean`'s values.
    """

    noisy: np.ndarray
    clean: np.ndarray
    white: float
    dtype: np.dtype
    clean_white: float
    peak: float


def load(case: NoisyCase, protocol: Protocol, *, seed: int = 0, peak: float | None = None
         ) -> Loaded:
    """Reads one case and makes its noise, or reads its noisy file.

    The noise depends on the seed and the image's name alone, so that leaving images out changes
    nothing, and every strength of Gaussian noise is the same draw, scaled.

    Args:
        peak: for pairs; None takes 255 for 8 bits, else the range the reference itself has.

    Raises:
        InputError: unreadable, or a pair that does not belong together.
    """
    if not protocol.paired:
        clean = _planes(_prepared(_read(case.clean), protocol))
        noisy = case.noise.add(clean, _generator(case.name, seed))
        return Loaded(noisy, clean, 255.0, np.dtype(np.float32), 255.0, peak or 255.0)
    noisy, clean = (_one_channel(_read(path)) for path in (case.noisy, case.clean))
    if noisy.shape != clean.shape:
        raise InputError(f"is {_describe(noisy)}, but {case.clean.name} is {_describe(clean)}",
                         path=case.noisy)
    if peak is None:
        peak = 255.0 if clean.dtype == np.uint8 else float(np.ptp(clean)) or 1.0
    return Loaded(_raw_planes(noisy), _raw_planes(clean), _white(noisy), noisy.dtype,
                  _white(clean), peak)


def evaluate(case: NoisyCase, denoise: Denoiser | None, protocol: Protocol, *, seed: int = 0,
             peak: float | None = None,
             keep: Callable[[NoisyCase, np.ndarray, Loaded], None] | None = None
             ) -> DenoisingResult:
    """Restores and scores one image.

    Args:
        denoise: None scores only the noisy image.
        seed, peak: see `load`.
        keep: called with the result as it was compared, (C, H, W), to save it.

    Raises:
        InputError: unreadable, or a pair that does not belong together.
        ShapeError: the denoiser returned another shape.
    """
    data = load(case, protocol, seed=seed, peak=peak)
    factor = np.float32(data.clean_white / data.white)
    baseline = protocol.score(data.noisy * factor, data.clean, data.peak)
    model, seconds, result = None, 0.0, data.noisy
    if denoise is not None:
        begin = time.perf_counter()
        result = denoise(data.noisy.copy(), data.white)
        seconds = time.perf_counter() - begin
        if result.shape != data.noisy.shape:
            raise ShapeError("the restored image", str(data.noisy.shape), result.shape)
        result = protocol.finish(result, data.dtype, data.white)
        model = protocol.score(result * factor, data.clean, data.peak)
    if keep is not None:
        keep(case, result, data)
    return DenoisingResult(case, data.clean.shape[1:], data.peak, model, baseline, seconds)


def centre(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle `size` of (H, W, ...); black where the image is smaller.

    Odd remainders as Pillow's ``crop`` at ``(side - wanted) // 2``: of an image larger by one the
    last row is cut, of one smaller by an odd number the bar at the top is the wider one.
    """
    out = np.zeros((*size, *image.shape[2:]), image.dtype)
    starts = [(side - wanted) // 2 for side, wanted in zip(image.shape, size, strict=False)]
    parts = [slice(max(0, start), min(side, start + wanted))
             for start, side, wanted in zip(starts, image.shape, size, strict=False)]
    places = tuple(slice(part.start - start, part.stop - start)
                   for part, start in zip(parts, starts, strict=True))
    out[places] = image[tuple(parts)]
    return out


def to_grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 1) of (H, W, 1 or 3): BT.601 luma, for integers rounded as Pillow's "L" is."""
    if image.shape[2] == 1:
        return image
    if image.dtype.kind == "f":
        return (image @ (np.array(_LUMA, np.float32) / np.float32(65536)))[..., None]
    total = image.astype(np.uint64) @ np.array(_LUMA, np.uint64)
    return ((total + 0x8000) >> 16).astype(image.dtype)[..., None]


def _prepared(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    image = to_grey(image) if protocol.grey else image
    return image if protocol.size is None else centre(image, protocol.size)


def _read(path) -> np.ndarray:
    from restore_cli.media import images

    return images.read(path).color


def _one_channel(image: np.ndarray) -> np.ndarray:
    """Grey stored as three equal channels becomes one."""
    if image.shape[2] == 3 and (image == image[:, :, :1]).all():
        return image[:, :, :1]
    return image


def _planes(image: np.ndarray) -> np.ndarray:
    """(C, H, W) float32 of 0 to 255; 8-bit values exactly."""
    planes = _raw_planes(image)
    return planes if image.dtype == np.uint8 else planes * np.float32(255 / _white(image))


def _raw_planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def _white(image: np.ndarray) -> float:
    return 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)


def _describe(image: np.ndarray) -> str:
    kind = "grey" if image.shape[2] == 1 else "colour"
    return f"{image.shape[1]}x{image.shape[0]} {kind}"


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
