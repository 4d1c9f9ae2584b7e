"""Long runs hold no more at their end than near their beginning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from denoise_raw_weights import dark
from denoise_raw_weights import make as raw_weights
from upscale_weights import make as upscale_weights
from vsr_films import film, small

from restore_cli.media import images
from restore_cli.media.images import Image

COUNT, FRAMES = 40, 80
BOUND = 4 << 20
"""Bytes; a result of each file or frame that stays would come to more."""

# What the process holds after each file, or frame of a film.
RUN = """
import json, sys
from restore_cli.cli.app import main
from restore_cli.jobs import vsr_stream
from restore_cli.pipeline import memory, report
held = []
def noting(kind, name):
    work = getattr(kind, name)
    def noted(*given, **named):
        made = work(*given, **named)
        held.append(memory.rss())
        return made
    setattr(kind, name, noted)
noting(report.Report, "done")
noting(vsr_stream.Stream, "enlarge")
for words in json.loads(sys.argv[1]):
    held.clear()
    status = main([*words, "--quiet", "--device", "cpu", "--threads", "1"])
    print(json.dumps([status, held]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_what_is_held_does_not_grow(tmp_path):
    pictures, raws = tmp_path / "pictures", tmp_path / "raws"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    for number in range(COUNT):
        images.write(pictures / f"{number}.png", Image(noise))
        dark(raws / f"{number}.dng", light=np.full((4, 100, 120), 0.4))
    film(tmp_path / "film.mp4", FRAMES)
    commands = [
        ["upscale", "pictures", "--scale", "2", "-w", upscale_weights(tmp_path, "liif")],
        ["denoise", "pictures", "--quick"],
        ["denoise-raw", "raws", "-w", raw_weights(tmp_path), "--ratio", "10"],
        ["vsr", "film.mp4", "-w", small.weights(tmp_path), "--codec", "ffv1"]]
    commands = [[*map(str, words), "-o", f"out-{words[0]}" + (".mkv" if words[0] == "vsr" else "/")]
                for words in commands]
    found = subprocess.run([sys.executable, "-c", RUN, json.dumps(commands)], cwd=tmp_path,
                           capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("[")]
    for words, (status, held) in zip(commands, lines, strict=True):
        assert status == 0 and len(held) >= COUNT, (words, found.stderr)
        # What is held moves with the part of the work that is seen: the most of several.
        early, late = max(held[10:20]), max(held[-10:])
        assert late - early < BOUND, (words[0], early, held[::5])
