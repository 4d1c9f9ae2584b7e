"""Photographs turned back into raw planes, and the simple development that this reverses.

After Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019), as LED (Jin et
al., ICCV 2023) has it, with its plane order R, G1, B, G2 of an RGGB mosaic. The colours of the
demosaicking sit half a pixel apart: it is for comparisons, not for output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore_cli.errors import ShapeError

# XYZ to camera, of the four cameras of the Darmstadt Noise Dataset.
_XYZ_TO_CAMERA = np.array([
    [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
    [[0.4913, -0.0541, -0.0202], [-0.613, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
    [[0.838, -0.263, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
    [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.097, 0.1581, 0.5181]],
])
_SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375],
                         [0.2126729, 0.7151522, 0.0721750],
                         [0.0193339, 0.1191920, 0.9503041]])
_INFLECTION = 0.9  # grey above which gains are taken back


@dataclass(frozen=True)
class Development:
    """How a camera makes sRGB of its raw values.

    Attributes:
        to_srgb: (3, 3), camera colours (white-balanced) to linear sRGB; rows sum to 1.
        rgb_gain: brightening of all colours.
        red_gain, blue_gain: white balance, green = 1.
    """

    to_srgb: np.ndarray
    rgb_gain: float = 1.0
    red_gain: float = 1.0
    blue_gain: float = 1.0

    @property
    def gains(self) -> np.ndarray:
        """(3,) factors of red, green and blue."""
        return np.array([self.red_gain, 1.0, self.blue_gain]) * self.rgb_gain


def random_development(rng: np.random.Generator) -> Development:
    """A plausible camera and light: a mixture of four cameras' matrices, gains as in daylight.

    Red gains of 1.9 to 2.4, blue ones of 1.5 to 1.9, brightening of about 1.25 (section 3 of the
    paper).
    """
    to_camera = random_to_camera(rng)
    # The brightening's normal reaches zero and below once in 10^15 draws.
    dimming = max(rng.normal(0.8, 0.1), 0.1)
    return Development(np.linalg.inv(to_camera), 1 / dimming,
                       rng.uniform(1.9, 2.4), rng.uniform(1.5, 1.9))


def random_to_camera(rng: np.random.Generator) -> np.ndarray:
    """(3, 3): linear sRGB to the balanced colours of a mixture of four cameras; rows add to 1."""
    weights = rng.random(len(_XYZ_TO_CAMERA)) + 1e-8
    to_camera = np.tensordot(weights / weights.sum(), _XYZ_TO_CAMERA, 1) @ _SRGB_TO_XYZ
    return to_camera / to_camera.sum(axis=1, keepdims=True)


def unprocess(srgb: np.ndarray, development: Development, *, tone: bool = True,
              safe: bool = True) -> np.ndarray:
    """Linear raw planes that `process` would develop into about this picture.

    Args:
        srgb: (H, W, 3), uint8, or float with white = 1 (clipped to 0..1); at least 2x2.
        development: what to undo.
        tone: undo the smoothstep tone curve, too.
        safe: leave what is near white bright: its gains go back to 1, so that clipped areas
            stay white instead of becoming coloured grey.

    Returns:
        float32 (4, H // 2, W // 2) in 0..1, planes R, G1, B, G2; an odd last row or column is
        dropped.

    Raises:
        ShapeError: not such a picture.
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3 or min(srgb.shape[:2]) < 2:
        raise ShapeError("srgb", "(H, W, 3), at least 2 pixels a side", srgb.shape)
    height, width = srgb.shape[0] // 2 * 2, srgb.shape[1] // 2 * 2
    srgb = srgb[:height, :width]
    if srgb.dtype == np.uint8:
        linear = _linear(np.arange(256, dtype=np.float32) / 255, tone)[srgb]
    else:
        linear = _linear(srgb.astype(np.float32), tone)
    to_camera = np.linalg.inv(development.to_srgb).astype(np.float32)
    camera = linear @ to_camera.T
    gains = (1 / development.gains).astype(np.float32)
    if safe:
        over = np.maximum(camera.mean(axis=2, keepdims=True) - np.float32(_INFLECTION), 0)
        mask = np.square(over / np.float32(1 - _INFLECTION))
        camera *= np.maximum(mask + (1 - mask) * gains, gains)
    else:
        camera *= gains
    planes = np.stack([camera[0::2, 0::2, 0], camera[0::2, 1::2, 1],
                       camera[1::2, 1::2, 2], camera[1::2, 0::2, 1]])
    return np.clip(planes, 0, 1, out=planes)


def process(planes: np.ndarray, development: Development, *, half: bool = False) -> np.ndarray:
    """Develop raw planes: gains, bilinear demosaicking, matrix, gamma 2.2, smoothstep.

    Args:
        planes: float (4, h, w), planes R, G1, B, G2, white = 1.
        development: gains and matrix.
        half: one pixel a 2x2 cell, its greens averaged.

    Returns:
        float32 (2h, 2w, 3), or (h, w, 3) if `half`, in 0..1.

    Raises:
        ShapeError: not four planes.
    """
    if planes.ndim != 3 or planes.shape[0] != 4 or planes.size == 0:
        raise ShapeError("planes", "(4, h, w)", planes.shape)
    red, green, blue = development.gains
    gains = np.array([red, green, blue, green], np.float32)
    planes = planes.astype(np.float32) * gains[:, None, None]
    rgb = np.clip(bin_cells(planes) if half else demosaic(planes), 0, 1)
    rgb = np.clip(np.tensordot(development.to_srgb.astype(np.float32), rgb, 1), 0, 1)
    coded = smoothstep(np.maximum(rgb, np.float32(1e-8)) ** np.float32(1 / 2.2))
    return np.ascontiguousarray(coded.transpose(1, 2, 0))


def bin_cells(planes: np.ndarray) -> np.ndarray:
    """(4, h, w) planes to (3, h, w) RGB, the greens averaged."""
    return np.stack([planes[0], (planes[1] + planes[3]) / 2, planes[2]])


def demosaic(planes: np.ndarray) -> np.ndarray:
    """Each plane doubled by itself, bilinearly between pixel centres, as LED's program does.

    Args:
        planes: float32 (4, h, w).

    Returns:
        float32 (3, 2h, 2w): where a green was measured it is that plane's, elsewhere the mean.
    """
    red, green_red, blue, green_blue = (_doubled(plane) for plane in planes)
    green = (green_red + green_blue) / 2
    green[0::2, 1::2] = green_red[0::2, 1::2]
    green[1::2, 0::2] = green_blue[1::2, 0::2]
    return np.stack([red, green, blue])


def smoothstep(image: np.ndarray) -> np.ndarray:
    """The tone curve 3 x^2 - 2 x^3 of values clipped to 0..1."""
    image = np.clip(image, 0, 1)
    return image * image * (3 - 2 * image)


def inverse_smoothstep(image: np.ndarray) -> np.ndarray:
    """What `smoothstep` makes this of, for values clipped to 0..1."""
    image = np.clip(image, 0, 1)
    return 0.5 - np.sin(np.arcsin(1 - 2 * image) / 3)


def _linear(coded: np.ndarray, tone: bool) -> np.ndarray:
    coded = inverse_smoothstep(coded) if tone else np.clip(coded, 0, 1)
    return np.maximum(coded, np.float32(1e-8)) ** np.float32(2.2)


def _doubled(plane: np.ndarray) -> np.ndarray:
    """Twice the size: a new pixel's centre lies a quarter from its nearest old one."""
    for axis in (0, 1):
        plane = np.moveaxis(plane, axis, 0)
        around = np.concatenate([plane[:1], plane, plane[-1:]])
        both = np.stack([0.25 * around[:-2] + 0.75 * plane, 0.75 * plane + 0.25 * around[2:]], 1)
        plane = np.moveaxis(both.reshape(-1, plane.shape[1]), 0, axis)
    return plane
