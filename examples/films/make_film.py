"""Makes coffee.mp4 of a photograph: a camera that drifts over it, blurred, four times too small.

    python examples/films/make_film.py [FOLDER]

FOLDER also gets the sharp frames (frame_00001.png, ...), to compare with.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from restore_cli.training.datasets.moving_layers import Layer, MovingScene, Pose  # noqa: E402
from restore_cli.training.degradations import blur, blur_kernels  # noqa: E402

SIZE, FRAMES, SIGMA, RATE = (320, 480), 24, 1.5, 25


def scene() -> MovingScene:
    """24 frames of 480x320: the picture moves by about 3 pixels a frame, turns and grows."""
    picture = np.array(Image.open(HERE.parent / "photos" / "coffee.png").convert("RGB"))
    middle = [(edge - 1) / 2 for edge in SIZE[::-1]]
    poses = []
    for number in range(FRAMES):
        t = number - (FRAMES - 1) / 2
        poses.append(Pose(middle[0] + 2.7 * t, middle[1] - 1.1 * t + 4 * np.sin(t / 3),
                          0.0015 * t, 1.02 ** (t / 6)))
    return MovingScene([Layer(picture, None, poses)], SIZE, FRAMES)


def main() -> None:
    """Writes coffee.mp4 beside this file."""
    sharp = scene().frames()
    kernel = blur_kernels.gaussian(SIGMA)
    with av.open(str(HERE / "coffee.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "10", "preset": "slow"})
        stream.height, stream.width = (edge // blur.SCALE for edge in SIZE)
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, RATE)
        for frame in sharp:
            small = blur.low_resolution(frame, kernel)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        film.mux(stream.encode())
    if len(sys.argv) > 1:
        for number, frame in enumerate(sharp, 1):
            Image.fromarray(frame).save(Path(sys.argv[1]) / f"frame_{number:05d}.png")


if __name__ == "__main__":
    main()
