"""What `restore bench vsr` works on: networks that keep signals' sizes, and a film that moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.media import video
from restore_cli.media.video_model import Frame, VideoInfo
from restore_cli.nets.layout import layout

RATE = Fraction(25)

# Part of a key, and the gain of such layers; the first that fits. Others have 1.4.
_GAINS = (("moduleUpflow", 0.7), ("moduleUpfeat", 0.2), (".moduleSix.0.", 0.15),
          ("moduleMain.12.", 0.15), (".conv2.", 0.3), ("out_conv.1.", 0.15), ("fc_net", 1.0))


def tensors(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights with which flows are a few pixels and outputs are pictures."""
    rng, made = np.random.default_rng(seed), {}
    for key, shape in layout("vsr", dict(config)).shapes.items():
        values = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            values *= np.float32(0.02)
        else:
            gain = next((gain for part, gain in _GAINS if part in key), 1.4)
            values *= np.float32(gain / math.sqrt(math.prod(shape[1:])))
        made[key] = values
    return made


def frames(count: int, height: int, width: int, deep: bool = False) -> list[Frame]:
    """A detailed picture that moves by two pixels a frame.

    Args:
        deep: 16 bits a sample, else 8.
    """
    from restore_cli.jobs.bench import synthetic_picture

    scene = synthetic_picture(height + count, width + 2 * count)
    made = []
    for i in range(count):
        rgb = np.ascontiguousarray(scene[i:i + height, 2 * i:2 * i + width])
        made.append(Frame(i, i, 1 / RATE, i == 0, rgb.astype(np.uint16) * 257 if deep else rgb))
    return made


def film(path: Path, count: int, height: int, width: int) -> None:
    """Writes such frames as an H.264 film."""
    info = VideoInfo("-", "", 0, "", width, height, None, 1 / RATE, count, RATE, 0, count / RATE,
                     Fraction(0), "yuv420p", 8, "420")
    with video.Encoder(path, info, (width, height), carry=False, crf=12) as encoder:
        for frame in frames(count, height, width):
            encoder.write(frame.rgb, frame.pts, 1)
