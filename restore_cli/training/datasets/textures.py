"""Scalar texture fields for generated images, each float32 (H, W) of about -1..1."""

from __future__ import annotations

import numpy as np
from PIL import Image


def plane(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in pixels, turned by a random angle: two float32 (H, W) arrays (u, v)."""
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2
    return cos * x + sin * y, cos * y - sin * x


def fractal(height: int, width: int, rng: np.random.Generator, coarsest: float | None = None,
            slope: float | None = None) -> np.ndarray:
    """1/f noise: octaves of smoothly enlarged white noise.

    Args:
        height, width: size of the field.
        rng: source of all random draws.
        coarsest: wavelength of the first octave in pixels; None takes half the field.
        slope: amplitude falls as wavelength ** slope (1 is 1/f amplitude, smaller is rougher).
    """
    coarsest = coarsest or max(height, width) / 2
    slope = rng.uniform(0.6, 1.6) if slope is None else slope
    total = np.zeros((height, width), np.float32)
    wavelength, amplitude = float(coarsest), 1.0
    while wavelength >= 1 and amplitude > 0.01:
        rows, cols = int(height / wavelength) + 2, int(width / wavelength) + 2
        if wavelength < 1.5 or rows >= height or cols >= width:
            noise = rng.standard_normal((height, width), dtype=np.float32)
        else:
            noise = rng.standard_normal((rows, cols), dtype=np.float32)
            noise = np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC))
        total += amplitude * noise
        wavelength /= 2
        amplitude *= 2.0 ** -slope
    return total / max(float(total.std()), 1e-6) * 0.5


def warp(u: np.ndarray, v: np.ndarray, rng: np.random.Generator,
         strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Bend coordinates by smooth noise of about `strength` pixels."""
    height, width = u.shape
    scale = max(height, width) / rng.uniform(1.5, 4)
    return (u + strength * fractal(height, width, rng, scale, 2.5),
            v + strength * fractal(height, width, rng, scale, 2.5))


def waves(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Parallel stripes from smooth to hard-edged, period 2.5 to 60 pixels, maybe bent."""
    if rng.random() < 0.5:
        u, v = warp(u, v, rng, rng.uniform(2, 20))
    period = np.exp(rng.uniform(np.log(2.5), np.log(60)))
    wave = np.sin(u * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 6.28)))
    kind = rng.random()
    if kind < 0.4:
        return wave
    if kind < 0.75:  # hard stripes of any duty, edges one canvas pixel wide
        gain = period / (2 * np.pi)
        return np.clip((wave + np.float32(rng.uniform(-0.7, 0.7))) * gain, -1, 1)
    return 2 * np.abs(wave) ** np.float32(rng.uniform(2, 8)) - 1  # thin ridges


def weave(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two crossing sets of waves: checkers, cloth, knitting, tiles."""
    period = np.exp(rng.uniform(np.log(4), np.log(50)))
    ratio = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    if rng.random() < 0.4:
        u, v = warp(u, v, rng, rng.uniform(1, 10))
    step = np.float32(2 * np.pi / period)
    a, b = np.sin(u * step), np.sin(v * step * np.float32(ratio))
    kind = rng.random()
    if kind < 0.4:  # checkers
        return np.clip(a * b * np.float32(rng.uniform(1, period)), -1, 1)
    if kind < 0.7:  # plain cloth
        return 0.5 * (a + b)
    level = np.float32(rng.uniform(0.6, 0.97))  # mortar between tiles
    return np.clip((np.maximum(a, b) - level) * np.float32(period), -1, 1)


def cells(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Voronoi cells parted by dark veins (wings, leaves, cracked ground), or their shading."""
    wanted = int(rng.integers(8, 40))
    u, v = plane(height, width, rng)
    if rng.random() < 0.6:
        u, v = warp(u, v, rng, rng.uniform(2, 12))
    stretch = np.float32(np.exp(rng.normal(0, 0.5)))
    centres = rng.uniform(-0.6, 0.6, (wanted, 2)).astype(np.float32) * [width, height]
    # The distances are smooth: computed at half size, then enlarged.
    u, v = u[::2, ::2], v[::2, ::2] * stretch
    first = np.full(u.shape, np.inf, np.float32)
    second = first.copy()
    for x, y in centres.astype(np.float32):
        distance = (u - x) ** 2 + (v - y * stretch) ** 2
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    gap = np.sqrt(second) - np.sqrt(first)
    gap = np.asarray(Image.fromarray(gap).resize((width, height), Image.BICUBIC))
    if rng.random() < 0.7:
        vein = np.float32(np.exp(rng.uniform(np.log(1.5), np.log(9))))
        return np.clip((gap - vein) / np.float32(rng.uniform(1, 4)), -1, 1)
    return np.clip(gap / max(float(gap.mean()), 1e-6) - 1, -1, 1)


def spots(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Thresholded 1/f noise: organic patches with sharp or soft outlines."""
    noise = fractal(height, width, rng, np.exp(rng.uniform(np.log(8), np.log(80))),
                    rng.uniform(1.2, 2.5))
    gain = np.float32(np.exp(rng.uniform(np.log(1.5), np.log(25))))
    return np.clip((noise + np.float32(rng.uniform(-0.4, 0.4))) * gain, -1, 1)


def fibres(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Noise drawn out along bent lines: hair, fur, wood, brushed metal, plumage."""
    u, v = plane(height, width, rng)
    u, v = warp(u, v, rng, rng.uniform(3, 40))
    # A strip of noise looked up by the bent coordinates is much cheaper than smearing.
    thickness = np.exp(rng.uniform(np.log(1.2), np.log(5)))
    length = thickness * rng.uniform(8, 40)
    table = rng.standard_normal((256, 64), dtype=np.float32)
    table = 0.7 * table + 0.5 * np.roll(table, 1, 0)
    across, along = v / np.float32(thickness), u / np.float32(length)
    row, col = np.floor(across), np.floor(along)
    fy, fx = across - row, along - col
    fx = fx * fx * (3 - 2 * fx)
    row, col = row.astype(np.int32) & 255, col.astype(np.int32) & 63
    row1, col1 = (row + 1) & 255, (col + 1) & 63
    top = table[row, col] * (1 - fx) + table[row, col1] * fx
    bottom = table[row1, col] * (1 - fx) + table[row1, col1] * fx
    return np.clip((top * (1 - fy) + bottom * fy) * 0.8, -1.5, 1.5)


def shading(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth ramp, dome or slow noise."""
    kind = rng.random()
    if kind < 0.4:
        u, _ = plane(height, width, rng)
        return u / np.float32(max(height, width) / 2)
    if kind < 0.7:
        u, v = plane(height, width, rng)
        u = u / np.float32(width / 2) + np.float32(rng.uniform(-0.6, 0.6))
        v = v / np.float32(height / 2) + np.float32(rng.uniform(-0.6, 0.6))
        return np.clip(1 - u * u - v * v, -1, 1)
    return np.clip(fractal(height, width, rng, max(height, width) / 1.5, 2.5), -1, 1)


def any_texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One of the detailed textures above."""
    kind = rng.random()
    if kind < 0.22:
        return fibres(height, width, rng)
    if kind < 0.42:
        return np.clip(fractal(height, width, rng), -1.5, 1.5)
    if kind < 0.54:
        return spots(height, width, rng)
    if kind < 0.64 and min(height, width) > 24:
        return cells(height, width, rng)
    u, v = plane(height, width, rng)
    return waves(u, v, rng) if kind < 0.86 else weave(u, v, rng)
