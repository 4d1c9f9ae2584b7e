"""Colour profiles: which space one describes, and conversion to sRGB."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from restore_cli.media import samples

_SPACES = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk", b"Lab ": "lab"}


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """An sRGB profile."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def space(icc: bytes | None) -> str:
    """"rgb", "gray", "cmyk", "lab", or "" for anything else."""
    return _SPACES.get(icc[16:20], "") if icc and len(icc) >= 128 else ""


def is_srgb(icc: bytes | None) -> bool:
    """Whether a profile is sRGB by its own description; None counts as sRGB."""
    if icc is None:
        return True
    import io

    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return "srgb" in name.lower().replace(" ", "")


def to_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """Converts samples from a profile's space to sRGB, perceptually, at their own depth.

    Args:
        pixels: (H, W, 3) RGB or (H, W, 4) CMYK (0 is no ink), uint8, uint16 or, for RGB, float32.

    Returns:
        (H, W, 3) of the same dtype.

    Raises:
        ValueError: the profile is damaged or of another space.
    """
    import imagecodecs

    source = space(icc)
    if {"rgb": 3, "cmyk": 4}.get(source) != pixels.shape[2]:
        raise ValueError(f"a {source or 'strange'} profile on {pixels.shape[2]} channels")
    out = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    try:
        for part in samples.row_windows(pixels.shape):
            out[part] = imagecodecs.cms_transform(
                np.ascontiguousarray(pixels[part]), icc, srgb(),
                colorspace=source, outcolorspace="rgb")
    except (imagecodecs.CmsError, TypeError, RuntimeError) as error:
        raise ValueError(f"the colour profile cannot be used: {error}") from error
    return out


def linear_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """Applies the sRGB curve to the colour channels of (H, W, C) linear samples.

    Floats outside [0,1] are extended with the curve's odd symmetry; alpha is left alone.
    """
    out = pixels.copy()
    colors = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    for part in samples.row_windows(pixels.shape):
        light = samples.to_float(pixels[part][:, :, :colors])
        size = np.abs(light)
        curved = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
        out[part][:, :, :colors] = samples.from_float(np.copysign(curved, light), pixels.dtype)
    return out


def cmyk(pixels: np.ndarray, icc: bytes | None) -> tuple[np.ndarray, bytes | None, str]:
    """CMYK samples as sRGB.

    Args:
        pixels: (H, W, 4) uint8 or uint16, 0 is no ink.
        icc: the file's profile, used when it fits.

    Returns:
        (RGB samples, the sRGB profile or None, a sentence that says what was done).
    """
    if space(icc) == "cmyk":
        try:
            return to_srgb(pixels, icc), srgb(), "CMYK converted to sRGB through its profile"
        except ValueError:
            pass
    top = np.iinfo(pixels.dtype).max
    out = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for part in samples.row_windows(pixels.shape):
        light = top - pixels[part].astype(np.uint32)
        np.copyto(out[part], (light[:, :, :3] * light[:, :, 3:] + top // 2) // top,
                  casting="unsafe")
    return out, None, ("CMYK without a usable profile: converted by the plain formula, "
                       "colours are approximate")
