"""What ffmpeg takes beside the process that feeds it."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from restore_cli.media.video_codecs import CODECS, LARGE, Encoding

ENCODE = """
import sys, threading, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from restore_cli.media import video_codecs
from restore_cli.media.video_codecs import Encoding
from restore_cli.media.video_segment import SegmentWriter
if sys.argv[4] == "large":
    video_codecs.LARGE = 0
encoding = Encoding(sys.argv[1], None, 480, 360, False, sys.argv[2], Fraction(1, 25),
                    Fraction(25))
noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3)).astype(np.uint8)
peak = [0]
def look(pid):
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        peak.extend(int(line.split()[1]) << 10 for line in status.splitlines()
                    if line.startswith("VmHWM:"))
        time.sleep(0.01)
with SegmentWriter("a.mov", encoding) as writer:
    threading.Thread(target=look, args=[writer._process._process.pid], daemon=True).start()
    for number in range(int(sys.argv[3])):
        writer.write(np.roll(noise, 9 * number, 1), number)
print(max(peak), encoding.memory)
"""


def encoding(codec: str, width: int, height: int, pixel_format: str = "yuv420p", **more
             ) -> Encoding:
    return Encoding(codec, CODECS[codec].crf, width, height, False, pixel_format,
                    Fraction(1, 25), Fraction(25), **more)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("codec,pixel_format,frames,size", [
    ("x264", "yuv420p", 60, "small"), ("x264", "yuv420p", 30, "large"),
    ("prores", "yuv422p10le", 6, "small"), ("ffv1", "yuv420p", 6, "small")])
def test_no_more_than_foretold(tmp_path, codec, pixel_format, frames, size):
    found = subprocess.run([sys.executable, "-c", ENCODE, codec, pixel_format, str(frames), size],
                           capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert found.returncode == 0, found.stderr
    taken, foretold = map(int, found.stdout.split())
    assert 0.3 * foretold < taken < foretold


@pytest.mark.parametrize("codec", ["x264", "x265", "vp9"])
def test_encoders_of_large_frames_look_ahead_less(codec):
    lean = CODECS[codec].lean
    small, large = encoding(codec, 2000, 2000), encoding(codec, 2002, 2000)
    assert small.width * small.height == LARGE and not small.large and large.large
    assert lean[1] not in small.encoder_arguments() and lean[1] in large.encoder_arguments()
    assert large.memory < 0.7 * small.memory
    # What the user says comes after it and counts.
    own = encoding(codec, 4000, 2000, arguments=(lean[0], "9")).encoder_arguments()
    assert own[-2:] == [lean[0], "9"] and own.index(lean[1]) < len(own) - 2


def test_depth_and_chroma_count():
    plain = encoding("x264", 1920, 1080).memory
    assert encoding("x264", 1920, 1080, "yuv420p10le").memory > 1.5 * plain
    assert encoding("x264", 1920, 1080, "yuv444p").memory > 1.5 * plain
    assert all(encoding(codec, 64, 64).memory > 1e6 for codec in CODECS)
