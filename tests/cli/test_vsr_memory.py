"""The memory model of `restore vsr` bounds what is measured, and `--memory` the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from vsr_films import film, films, small

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")

NETWORKS = {
    "wide": {"n_feat": 32, "recons_RBS": 2, "extra_RBS": 1},
    "compact": small.TINY,
}

MEASURE = """
import sys
from pathlib import Path
from fractions import Fraction
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
from restore_cli.jobs import vsr_network, vsr_plan
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_stream import Held, Stream
from restore_cli.media.video_model import Frame
from restore_cli.nets.layout import layout
from restore_cli.pipeline import memory
loaded = vsr_network.load(Path(sys.argv[1]), device="cpu")
scale, tile, release = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[3]) < 99
lean = sys.argv[4] == "lean"
def go(size):
    rng = np.random.default_rng(0)
    film = [Held(Frame(i, i, Fraction(1), 1, rng.integers(0, 255, (*size, 3)).astype(np.uint8)))
            for i in range(5)]
    memory.release()
    before = memory.rss()
    Path("/proc/self/clear_refs").write_text("5")
    Stream(loaded, size, Plan((tile, tile), 2, release, lean), scale).enlarge(film)
    model = vsr_plan.cost(layout("vsr", loaded.config), loaded.config, size, 1, scale,
                          loaded.fused)
    print(memory.peak_rss() - before, model.need(tile, 2, release, lean), model.held, model.pair,
          model.examine(tile, lean), model.tile(tile, lean))
go((64, 64)); go((280, 360))
"""

# The peak of the process together with ffmpeg.
RUN = """
import sys, threading, time
import psutil
from restore_cli.cli.app import main
from restore_cli.pipeline import memory
most = [0]
def look():
    own = psutil.Process()
    while True:
        mine = own.memory_info()
        total = mine.rss
        for child in own.children():
            try:
                held = child.memory_info()
            except psutil.Error:
                continue
            if held.vms != mine.vms:  # else it is about to become ffmpeg
                total += held.rss
        most.append(max(most.pop(), total))
        time.sleep(0.02)
threading.Thread(target=look, daemon=True).start()
status = main(sys.argv[1:])
print(max(memory.peak_rss(), *most))
sys.exit(status)
"""


def start(code, *arguments, **options):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], text=True,
                          capture_output=True, timeout=600, **options)


@pytest.mark.parametrize("name,scale,tile,fused,kind", [
    ("wide", 4, 1024, "1", "usual"), ("wide", 2, 64, "0", "usual"), ("wide", 4, 64, "1", "lean"),
    ("compact", 4, 1024, "1", "usual")])
def test_a_frame_takes_no_more_than_the_model_says(tmp_path, name, scale, tile, fused, kind):
    weights = small.weights(tmp_path, NETWORKS[name])
    found = start(MEASURE, weights, scale, tile, kind, env={**os.environ, "RESTORE_FUSED": fused})
    assert found.returncode == 0, found.stderr
    taken, predicted = map(int, found.stdout.splitlines()[-1].split()[:2])
    assert 0.2 * predicted < taken < predicted, found.stdout


def test_the_ceiling_holds_for_the_whole_process(tmp_path):
    """Less memory than frames take at once: tiles, the same frames, and no more than was said."""
    film(tmp_path / "a.mp4", 2, size="360x280")
    weights = small.weights(tmp_path, NETWORKS["wide"])
    sizes = []
    for number, ceiling in enumerate((2048, 1000)):
        found = start(RUN, "vsr", "a.mp4", "--memory", f"{ceiling}M", "-w", weights, "--device",
                      "cpu", "-o", f"{number}.mkv", "--codec", "ffv1", "--json", cwd=tmp_path)
        assert found.returncode == 0, found.stderr
        *records, peak = found.stdout.splitlines()
        assert int(peak) < ceiling << 20, f"{int(peak) / 2**20:.0f} of {ceiling}"
        sizes.append(records[-1].partition('"tile": ')[2])
    assert sizes[0] != sizes[1]
    one, other = (films.decoded(tmp_path / f"{i}.mkv").astype(int) for i in (0, 1))
    # One level of luma and one of chroma, where rounding falls to the other side.
    assert abs(one - other).max() <= 3 and (one != other).mean() < 1e-3
    found = start(RUN, "vsr", "a.mp4", "--memory", "330M", "-w", weights, "--device", "cpu",
                  "-o", "c.mkv", cwd=tmp_path)
    assert found.returncode == 5 and "360x280" in found.stderr, found.stderr
    assert "the encoder" in found.stderr and "at least" in found.stderr
    assert not (tmp_path / "c.mkv").exists()


def test_a_reduced_frame_takes_little_beside_the_whole():
    code = ("from pathlib import Path\nimport numpy as np\n"
            "from restore_cli.jobs import vsr_reduce\nfrom restore_cli.pipeline import memory\n"
            "picture = np.ones((1600, 2400, 3), np.float32)\n"
            "Path('/proc/self/clear_refs').write_text('5')\nbefore = memory.rss()\n"
            "for rows, part in vsr_reduce.bands(picture, 4, 2):\n    pass\n"
            "print(memory.peak_rss() - before, part.shape)")
    found = start(code)
    assert found.returncode == 0, found.stderr
    from restore_cli.jobs import vsr_plan

    assert int(found.stdout.split()[0]) < vsr_plan._BANDS
