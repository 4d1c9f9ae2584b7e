"""Colour palettes for generated images.

The natural palettes are ten cluster centres each of windows in the public-domain and CC0
photographs of `examples/photos` (astronaut, chelsea, coffee, rocket), as numbers, so that a
generated image depends on nothing but its seed.
"""

from __future__ import annotations

import numpy as np

_NATURAL = """
000000 020201 070503 100e0b 27271b 474337 696356 928b85 d3d0cd f8f7f7
1d140a 5c564f 947962 a5a1a0 cdaa8d c8bcb5 d2c7c1 dad0cc ddd8da eae6ec
6b0c12 932316 ae3212 be411e 6e4694 ce522c d65e3c e16e4b e87d57 b8a4b8
040202 321c19 534c45 a43d17 7a746c cf663f a5938c c8b1ac dad1d1 f0efee
000000 020101 060303 0d0805 1b0d0a 3e1b16 52373d c95a34 7e7371 dbd2d2
481d15 a13a16 8e5040 654688 c7512c d96442 9b828d e27752 cab0a1 e7deda
25190b 533816 7c4c27 7e5c46 956b42 89705c a18167 ae9384 b39e9c c0acaa
795e4f 886a53 846c60 937760 8f7870 9b8275 a18a84 ab9590 b39f9d bda9a9
251c09 402711 533823 6a4327 7c5031 845f43 95663a 957051 a47d5e b78e6d
1d0502 2a0502 380b04 4c0f05 65190c 7a3523 9d6a46 eb963b d7b494 f6eade
9e3f14 c4662b ce8a4a cf9867 dbae85 e1bb9a eacdaf f4dfc9 f7ece1 f8f5f2
bc3312 b26136 ba683a c26f3b c37644 ce763d be794b c87f4d ca895a d99a69
590e05 89351a ad2f12 b96028 c87334 e99339 cc9260 dfb792 eed4b8 f8eee3
3c3c40 634e42 515057 595c68 536584 5b6a85 666a7c 906e5c ce9b4b f8eba3
141822 1b1f2c 141f35 25252a 1e2637 182742 1d2c4a 2a2f3c 23324f 283756
273657 2b3b5c 3e3f4a 2e3e62 324367 38496d 415173 625d59 4c5b7a 9c9077
363c4c 2d3e61 34476d 464f66 3c5176 4c5b7c 616064 59657e 96846a cab694
"""


def natural() -> np.ndarray:
    """The built-in palettes, float32 (17, 10, 3) in 0..255."""
    rows = [[bytes.fromhex(colour) for colour in line.split()]
            for line in _NATURAL.strip().splitlines()]
    return np.array([[list(colour) for colour in row] for row in rows], np.float32)


def of_image(image: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A palette of `count` colours picked from one random window of a photograph.

    Args:
        image: uint8 (H, W, 3).
        count: number of colours.
        rng: source of all random draws.

    Returns:
        float32 (count, 3) in 0..255.
    """
    height, width = image.shape[:2]
    side = max(1, int(min(height, width) * rng.uniform(0.2, 0.6)))
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    rows = top + rng.integers(0, side, count)
    cols = left + rng.integers(0, side, count)
    return image[rows, cols].astype(np.float32)


def random_palette(count: int, rng: np.random.Generator) -> np.ndarray:
    """Invented colours, mostly muted as in nature, float32 (count, 3) in 0..255."""
    hue = rng.uniform(0, 2 * np.pi) + rng.normal(0, rng.uniform(0.1, 1.2), count)
    grey = rng.beta(1.1, 1.1, count) * 255
    saturation = rng.beta(1.2, 4, count) * 160
    wheel = np.stack([np.cos(hue), np.cos(hue - 2.094), np.cos(hue + 2.094)], 1)
    return np.clip(grey[:, None] + saturation[:, None] * wheel, 0, 255).astype(np.float32)


def pick(rng: np.random.Generator, photographs: list[np.ndarray] | None = None) -> np.ndarray:
    """The palette of one image: natural, natural with turned hues, grey, or invented.

    Args:
        rng: source of all random draws.
        photographs: uint8 (H, W, 3) images to sample; None takes the built-in palettes.

    Returns:
        float32 (10, 3) in 0..255.
    """
    kind = rng.random()
    if kind < 0.22:
        return random_palette(10, rng)
    if photographs:
        colours = of_image(photographs[rng.integers(len(photographs))], 10, rng)
    else:
        table = natural()
        colours = table[rng.integers(len(table))]
    if kind < 0.55:
        colours = _turn_hue(colours, rng.uniform(-np.pi, np.pi))
        grey = colours.mean(1, keepdims=True)
        colours = grey + (colours - grey) * rng.uniform(0.25, 0.9)
    elif kind < 0.62:
        colours = np.repeat(colours.mean(1, keepdims=True), 3, axis=1)
    if rng.random() < 0.4:  # exposure and contrast of the whole scene
        colours = (colours - 128) * rng.uniform(0.6, 1.6) + 128 + rng.uniform(-40, 40)
    if rng.random() < 0.5:  # one accent, so that strong colour edges are not rare
        colours[rng.integers(10)] = rng.uniform(0, 255, 3)
    return np.clip(colours, 0, 255).astype(np.float32)


def _turn_hue(colours: np.ndarray, angle: float) -> np.ndarray:
    """Rotate colours about the grey axis; lightness (the mean) stays."""
    cos, sin = np.cos(angle), np.sin(angle)
    third, root = (1 - cos) / 3, np.sqrt(1 / 3) * sin
    turn = np.array([[cos + third, third - root, third + root],
                     [third + root, cos + third, third - root],
                     [third - root, third + root, cos + third]], np.float32)
    return colours @ turn.T
