"""Noise of a sensor in the dark, made from clean planes (ELD: Wei et al., CVPR 2020).

In raw levels (DN) a pixel of clean value x becomes K Poisson(x / K), plus read noise (Tukey lambda
or Gaussian), an offset that each row of the mosaic shares, rounding, and an offset of each plane.
The planes are R, G1, B, G2; R and G1 lie on the even rows of the mosaic, B and G2 on the odd ones.
Neither column noise nor dark shading is part of the model.

Everything random is drawn by `draw`; `apply` only computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.errors import ShapeError, UsageError
from restore_cli.training.degradations.raw_noise_camera import (
    CALIBRATED,
    Camera,
    Line,
    cameras_from_json,
    load_cameras,
)
from restore_cli.training.degradations.raw_noise_virtual import virtual_cameras

__all__ = ["CALIBRATED", "Camera", "Draws", "KINDS", "Line", "apply", "cameras_from_json",
           "check_kinds", "draw", "load_cameras", "row_noise", "synthesise", "tukey_noise",
           "virtual_cameras"]

# p: photons; t: read noise, Tukey lambda; g: read noise, Gaussian; r: rows; q: rounding;
# c: colour bias.
KINDS = "ptrqc"

_HALF_STEP = np.float32(2.0**-25)  # float32 draws of [0, 1) come in steps of 2^-24
_BELOW_ONE = np.float32(1 - 2.0**-24)


@dataclass(frozen=True)
class Draws:
    """All that is random about the noise of one image; a part that is None adds nothing.

    Attributes:
        gain: system gain K in DN per electron.
        counts: (4, h, w) photo-electrons.
        read: (4, h, w) uniforms in (0, 1) for Tukey lambda, standard normals for Gaussian.
        read_sigma: scale of the read noise in DN.
        tukey_lambda: shape of the read noise; None is Gaussian.
        rows: (2h,) standard normals, one for each row of the mosaic.
        row_sigma: standard deviation of the rows in DN.
        rounding: (4, h, w) uniforms in [0, 1).
        offsets: (4,) colour bias in DN.
    """

    gain: float
    counts: np.ndarray | None = None
    read: np.ndarray | None = None
    read_sigma: float = 0.0
    tukey_lambda: float | None = None
    rows: np.ndarray | None = None
    row_sigma: float = 0.0
    rounding: np.ndarray | None = None
    offsets: np.ndarray | None = None


def check_kinds(kinds: str, camera: Camera | None = None) -> str:
    """The letters of `kinds`, lower case.

    Raises:
        UsageError: an unknown letter, two kinds of read noise, or one the camera lacks.
    """
    kinds = kinds.lower()
    for letter in kinds:
        if letter not in "pgtrqc":
            raise UsageError(f"unknown kind of noise '{letter}' in '{kinds}'",
                             hint="p photons, t or g read noise, r rows, q rounding, "
                                  "c colour bias; such as ptrqc")
    if "g" in kinds and "t" in kinds:
        raise UsageError("read noise is either Gaussian (g) or Tukey lambda (t), not both")
    if camera is not None:
        known = {"g": camera.gaussian, "t": camera.tukey if camera.lambdas else None,
                 "r": camera.row}
        for letter, line in known.items():
            if letter in kinds and line is None:
                raise UsageError(f"camera '{camera.name}' has no parameters of noise '{letter}'",
                                 hint="Leave the letter out or calibrate the camera again")
    return kinds


def draw(clean: np.ndarray, camera: Camera, ratio: float, scale: np.ndarray | float,
         rng: np.random.Generator, kinds: str = KINDS, *, gain: float | None = None) -> Draws:
    """Draw the noise of one image.

    Args:
        clean: float32 (4, h, w), white = 1; clipped to 0..1.
        camera: whose noise.
        ratio: 1 or more: the dark image has 1 / ratio of the light.
        scale: (4,) white minus black in DN, or one number for all planes.
        rng: equal generators give equal draws.
        kinds: letters of the kinds of noise.
        gain: the system gain in DN per electron; None draws it, even in log K.

    Raises:
        ShapeError: not four planes.
        UsageError: kinds that do not exist or that the camera lacks.
    """
    kinds = check_kinds(kinds, camera)
    _check(clean)
    shape = clean.shape
    if gain is None:
        gain = camera.gain(rng.random())
    parts: dict = {}
    if "p" in kinds:
        electrons = np.clip(clean, 0, 1) * _per_plane(scale, 1 / (ratio * gain))
        parts["counts"] = rng.poisson(electrons).astype(np.float32)
    if "g" in kinds:
        parts["read_sigma"] = camera.gaussian.level(gain, rng.standard_normal())
        parts["read"] = rng.standard_normal(shape, np.float32)
    elif "t" in kinds:
        parts["tukey_lambda"] = camera.lambdas[rng.integers(len(camera.lambdas))]
        parts["read_sigma"] = camera.tukey.level(gain, rng.standard_normal())
        parts["read"] = _open_uniforms(shape, rng)
    if "r" in kinds:
        parts["row_sigma"] = camera.row.level(gain, rng.standard_normal())
        parts["rows"] = rng.standard_normal(2 * shape[1], np.float32)
    if "q" in kinds:
        parts["rounding"] = rng.random(shape, np.float32)
    if "c" in kinds:
        parts["offsets"] = camera.bias_at(gain)
    return Draws(gain, **parts)


def apply(clean: np.ndarray, draws: Draws, ratio: float, scale: np.ndarray | float
          ) -> tuple[np.ndarray, np.ndarray]:
    """Noise an image with given draws, then amplify it.

    Args:
        clean, ratio, scale: as for `draw`.
        draws: of an image of this shape.

    Returns:
        (noisy, truth), both float32 (4, h, w): the noisy image times `ratio`, at most 1 and not
        cut below; the clean image clipped to 0..1.

    Raises:
        ShapeError: not four planes.
    """
    _check(clean)
    truth = np.clip(clean, 0, 1).astype(np.float32, copy=False)
    if draws.counts is not None:
        noisy = draws.counts * np.float32(draws.gain)
    else:
        noisy = truth * _per_plane(scale, 1 / ratio)
    if draws.read is not None:
        if draws.tukey_lambda is None:
            noisy += draws.read * np.float32(draws.read_sigma)
        else:
            noisy += tukey_noise(draws.read, draws.tukey_lambda, draws.read_sigma)
    if draws.rows is not None:
        noisy += row_noise(draws.rows, draws.row_sigma)
    if draws.rounding is not None:
        noisy += draws.rounding
        noisy -= np.float32(0.5)
    if draws.offsets is not None:
        noisy += np.asarray(draws.offsets, np.float32).reshape(4, 1, 1)
    noisy *= ratio / _per_plane(scale, 1.0)
    return np.minimum(noisy, np.float32(1), out=noisy), truth


def synthesise(clean: np.ndarray, camera: Camera, ratio: float, scale: np.ndarray | float,
               rng: np.random.Generator, kinds: str = KINDS, *, gain: float | None = None
               ) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image and its truth: `draw`, then `apply`; arguments as for these.

    Returns:
        (noisy, truth), both float32 (4, h, w).
    """
    return apply(clean, draw(clean, camera, ratio, scale, rng, kinds, gain=gain), ratio, scale)


def tukey_noise(uniforms: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """Quantiles of the Tukey lambda distribution.

    Args:
        uniforms: in [0, 1); values below 1e-10 count as that.
        shape: lambda; 0 is the logistic distribution.
        scale: factor of the result.

    Returns:
        The uniforms' shape, in the unit of `scale`.
    """
    low = np.log(np.maximum(uniforms, np.float32(1e-10)))
    high = np.log1p(-uniforms)
    if abs(shape) < 1e-6:
        return (low - high) * np.float32(scale)
    power = np.float32(shape)
    # Powers less 1: their difference keeps its digits where the shape is near 0.
    return (np.expm1(power * low) - np.expm1(power * high)) * np.float32(scale / shape)


def row_noise(normals: np.ndarray, sigma: float) -> np.ndarray:
    """Offsets of the planes from one normal for each row of the mosaic.

    Args:
        normals: (2h,).
        sigma: standard deviation in DN.

    Returns:
        (4, h, 1), in DN: even rows of the mosaic for R and G1, odd ones for B and G2.
    """
    even, odd = normals[0::2], normals[1::2]
    return (np.stack([even, even, odd, odd]) * np.float32(sigma))[:, :, None]


def _open_uniforms(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniforms in (0, 1): a 0 of probability 2^-24 would be an outlier of a thousand sigmas."""
    uniforms = rng.random(shape, np.float32)
    uniforms += _HALF_STEP
    return np.minimum(uniforms, _BELOW_ONE, out=uniforms)


def _per_plane(scale: np.ndarray | float, factor: float) -> np.ndarray:
    scale = np.asarray(scale, np.float64)
    if scale.size not in (1, 4):
        raise ShapeError("scale", "(4,)", scale.shape)
    return np.float32(scale.reshape(-1, 1, 1) * factor)


def _check(clean: np.ndarray) -> None:
    if clean.ndim != 3 or clean.shape[0] != 4 or clean.size == 0:
        raise ShapeError("clean", "(4, h, w)", clean.shape)
