"""Outlines and strokes for generated images, as point lists in pixels."""

from __future__ import annotations

import numpy as np

_CIRCLE = {n: np.stack([np.cos(t), np.sin(t)], 1) for n in (8, 12, 20, 32, 56)
           for t in [np.arange(n) * (2 * np.pi / n)]}


def _circle(radius: float) -> np.ndarray:
    for count in (8, 12, 20, 32):
        if radius < count / 2:
            return _CIRCLE[count]
    return _CIRCLE[56]


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def bezier(controls: np.ndarray, count: int) -> np.ndarray:
    """Points on Bezier curves.

    Args:
        controls: (..., 3 or 4, 2) control points.
        count: points a curve.

    Returns:
        (..., count, 2).
    """
    t = np.linspace(0, 1, count)[:, None]
    s = 1 - t
    if controls.shape[-2] == 3:
        basis = np.concatenate([s * s, 2 * s * t, t * t], 1)
    else:
        basis = np.concatenate([s**3, 3 * s * s * t, 3 * s * t * t, t**3], 1)
    return basis @ controls


def outline(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A closed outline (n, 2) around the origin, about `radius` in size, in a random pose.

    Ellipses, rectangles, polygons, smooth blobs, petals, bars and crescents.
    """
    kind = rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    aspect = np.exp(rng.normal(0, 0.4))
    if kind < 0.27:
        points = _circle(radius) * [radius * aspect, radius / aspect]
    elif kind < 0.45:
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [radius * aspect * 0.9,
                                                                  radius / aspect * 0.9]
        if rng.random() < 0.35:  # upright, as most of what people build
            angle = 0.0
    elif kind < 0.60:
        corners = int(rng.integers(3, 9))
        turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = radius * rng.uniform(0.5, 1.3, corners)
        points = np.stack([np.cos(turns), np.sin(turns)], 1) * reach[:, None]
    elif kind < 0.75:
        turns = np.arange(40) * (2 * np.pi / 40)
        reach = np.ones(40)
        for k in range(2, 6):
            reach += rng.normal(0, 0.35 / k) * np.cos(k * turns + rng.uniform(0, 6.28))
        points = np.stack([np.cos(turns), np.sin(turns)], 1) * (radius * reach[:, None])
    elif kind < 0.86:  # petal or leaf: two mirrored bent sides
        x = np.linspace(-1, 1, 16)
        y = (1 - x * x) ** rng.uniform(0.7, 1.6) * rng.uniform(0.15, 0.6)
        bend = rng.normal(0, 0.25) * (1 - x * x)
        upper = np.stack([x, y + bend], 1)
        lower = np.stack([x, -y + bend], 1)[::-1]
        points = np.concatenate([upper, lower[1:-1]]) * (radius * 1.4)
    elif kind < 0.94:  # bar
        thin = max(0.8, radius * np.exp(rng.uniform(np.log(0.02), np.log(0.2))))
        points = np.array([[-1.6 * radius, -thin], [1.6 * radius, -thin],
                           [1.6 * radius, thin], [-1.6 * radius, thin]])
    else:
        points = ribbon(rng.normal(0, radius, (4, 2)),
                        max(1.0, radius * rng.uniform(0.04, 0.2)), rng)
    return _turn(points, angle)


def ribbon(controls: np.ndarray, half_width: float, rng: np.random.Generator) -> np.ndarray:
    """A bent stroke as a closed outline (n, 2), tapered at none, one or both ends."""
    line = bezier(controls, 20)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    side = np.stack([-along[:, 1], along[:, 0]], 1)
    t = np.linspace(0, 1, 20)
    profile = (np.ones(20), 1 - t, 4 * t * (1 - t))[rng.integers(3)]
    side *= (half_width * np.maximum(profile, 0.08))[:, None]
    return np.concatenate([line + side, (line - side)[::-1]])


def bundle(count: int, length: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Strands that follow one bent path: hair, fur, grass.

    Args:
        count: number of strands.
        length: of the path in pixels.
        spread: distance of the outermost strands from the path in pixels.
        rng: source of all random draws.

    Returns:
        (count, 14, 2) points around the origin.
    """
    bend = rng.normal(0, 0.35, 2) * length
    path = np.array([[-length / 2, 0], [-length / 6, bend[0]],
                     [length / 6, bend[1]], [length / 2, 0]])
    offset = rng.uniform(-spread, spread, (count, 1)) * rng.uniform(0.4, 1.2, (1, 4))
    offset = offset + rng.normal(0, spread * rng.uniform(0.03, 0.3), (count, 4))
    strands = np.broadcast_to(path, (count, 4, 2)).copy()
    strands[:, :, 1] += offset
    strands[:, :, 0] += rng.normal(0, length * 0.12, (count, 1))
    return _turn(bezier(strands, 14), rng.uniform(0, 2 * np.pi))


def feather(length: float, rng: np.random.Generator) -> np.ndarray:
    """Barbs on both sides of a bent shaft: (n, 8, 2) points around the origin.

    The shaft is the last row.
    """
    gap = np.exp(rng.uniform(np.log(2.0), np.log(6.0)))
    count = max(6, int(length / gap))
    bend = rng.normal(0, 0.2) * length
    shaft = np.array([[-length / 2, 0], [0, bend], [length / 2, 0]])
    roots = bezier(shaft, count)
    t = np.linspace(0, 1, count)
    reach = length * rng.uniform(0.12, 0.35) * np.sin(np.pi * np.clip(t * 0.9 + 0.08, 0, 1)) ** 0.6
    lean = rng.uniform(0.4, 1.2)
    sweep = rng.uniform(-0.4, 0.6)
    barbs = []
    for side in (-1.0, 1.0):
        jitter = 1 + rng.normal(0, 0.08, count)
        tip = roots + np.stack([np.cos(lean) * reach * jitter,
                                side * np.sin(lean) * reach * jitter], 1)
        middle = (roots + tip) / 2 + np.stack([sweep * reach * 0.3, -side * sweep * reach * 0.2], 1)
        barbs.append(bezier(np.stack([roots, middle, tip], 1), 8))
    line = bezier(shaft, 8)[None]
    return _turn(np.concatenate([*barbs, line]), rng.uniform(0, 2 * np.pi))


def glyphs(lines: int, columns: int, height: float,
           rng: np.random.Generator) -> list[np.ndarray]:
    """Invented letters set in lines: open strokes as a list of (n, 2) points.

    Each letter is one to four straight, hooked or round strokes on a 3x4 grid; some are
    missing, as between words.
    """
    alphabet = []
    for _ in range(12):
        strokes = []
        for _ in range(int(rng.integers(1, 5))):
            start, end = rng.integers(0, [3, 4], (2, 2)).astype(float)
            if rng.random() < 0.55:
                start, end = (start, [start[0], 3 - start[1]]) if rng.random() < 0.5 else (
                    [0.0, start[1]], [2.0, start[1]])
            middle = (np.add(start, end) / 2 if rng.random() < 0.6
                      else rng.uniform(0, [2, 3]))
            strokes.append(bezier(np.array([start, middle, end], float), 7))
        alphabet.append(strokes)
    slant = rng.normal(0, 0.12)
    angle = rng.normal(0, 0.06) if rng.random() < 0.6 else rng.uniform(0, 2 * np.pi)
    unit = height / 3
    result = []
    for row in range(lines):
        for column in range(columns):
            if rng.random() < 0.15:
                continue
            for stroke in alphabet[rng.integers(12)]:
                points = stroke * unit + [column * unit * 3.0, row * height * 1.6]
                points[:, 0] += points[:, 1] * slant
                result.append(points)
    centre = [columns * unit * 1.5, lines * height * 0.8]
    return [_turn(points - centre, angle) for points in result]
