"""Makes dark.dng of a photograph: what a camera would have stored with a hundredth of the light.

    python examples/raw/make_dark.py

The scene is real, the noise is generated: system gain 4 DN per electron (about ISO 12800), read
noise 6 DN, rows 1.5 DN, rounded to 14 bits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "tests" / "media")]

from raw_files import MATRIX, NEUTRAL, write_dng  # noqa: E402

from restore_cli.media import bayer, raw_levels  # noqa: E402
from restore_cli.training.datasets.raw_scenes import camera_planes  # noqa: E402

RATIO, GAIN, READ, ROW, BLACK, WHITE = 100, 4.0, 6.0, 1.5, 512, 16383
PATTERN = bayer.PATTERNS["RGGB"]


def clean_planes() -> np.ndarray:
    """float32 (4, h, w): the photograph as a camera sees it with all the light, white = 1."""
    linear = (np.asarray(Image.open(HERE.parent / "photos" / "coffee.png")) / 255.0) ** 2.2
    to_srgb = raw_levels.camera_to_srgb(np.reshape(MATRIX, (3, 3)))
    return camera_planes(linear.astype(np.float32), PATTERN, np.linalg.inv(to_srgb),
                         1 / np.array(NEUTRAL))


def main() -> None:
    """Writes dark.dng beside this file."""
    rng = np.random.default_rng(4)
    clean = clean_planes()
    mosaic = np.empty((2 * clean.shape[1], 2 * clean.shape[2]), np.float32)
    bayer.unpack(clean * ((WHITE - BLACK) / RATIO), PATTERN, mosaic)
    mosaic = rng.poisson(mosaic / GAIN) * GAIN + rng.normal(0, READ, mosaic.shape)
    mosaic += rng.normal(0, ROW, (len(mosaic), 1))
    stored = np.clip(np.rint(mosaic + BLACK), 0, WHITE).astype(np.uint16)
    write_dng(HERE / "dark.dng", stored, black=BLACK, white=WHITE, iso=12800, seconds=0.01,
              make="Example", model="Generated noise", lens="", taken="2026:11:21 12:00:00",
              compression="ljpeg")


if __name__ == "__main__":
    main()
