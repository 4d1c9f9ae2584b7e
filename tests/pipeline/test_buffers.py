"""Headers, estimates and arrays on disk."""

from __future__ import annotations

import os

import numpy as np
import pytest

from restore_cli.errors import OutputError
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.pipeline import buffers


@pytest.mark.parametrize("name,dtype,channels", [
    ("a.png", np.uint8, 3), ("a.png", np.uint16, 4), ("a.png", np.uint8, 1), ("a.jpg", np.uint8, 3),
    ("a.tif", np.float32, 3), ("a.tif", np.uint16, 1), ("a.webp", np.uint8, 3)])
def test_a_header_tells_what_decoding_will_hold(tmp_path, name, dtype, channels):
    pixels = np.zeros((7, 11, channels), dtype)
    images.write(tmp_path / name, Image(pixels))
    found = buffers.header(tmp_path / name)
    assert (found.height, found.width) == (7, 11)
    assert found.held == images.read(tmp_path / name).pixels.nbytes
    assert found.decoding > found.held
    assert found.file_bytes == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("data", [b"", b"text\n", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\xff"])
def test_what_has_no_header_has_none(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    found = buffers.header(tmp_path / "a.png")
    assert found is None or found.held == 0
    assert buffers.header(tmp_path / "gone.png") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_touched(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert buffers.header(tmp_path / "pipe.png") is None


def test_encoding_costs_something_for_every_format():
    for format in ("PNG", "JPEG", "TIFF", "WEBP", "JXL", "BMP"):
        assert buffers.encoding(format, 100, 100) > 0


DECODE = """
import sys
from pathlib import Path
from restore_cli.media import images
from restore_cli.pipeline import buffers, memory
for name in sys.argv[1:]:
    images.read(Path("small") / name)
    memory.trim()
    before = memory.rss()
    Path("/proc/self/clear_refs").write_text("5")
    image = images.read(name)
    print(memory.peak_rss() - before, buffers.header(Path(name)).decoding)
    del image
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs /proc")
def test_decoding_takes_no_more_than_the_header_foretells(tmp_path):
    """Pictures of noise, whose files are large."""
    import subprocess
    import sys

    import tifffile

    names = ["a.png", "b.png", "c.jpg", "d.tif", "e.tif", "f.tif", "g.tif"]
    rng = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    for name in names:
        deep, grey = name in ("b.png", "d.tif"), name == "e.tif"
        shape = (1200, 1600, 1 if grey else 3)
        noise = rng.integers(0, 4096 if deep else 32, shape).astype(
            np.uint16 if deep else np.uint8)
        for path, pixels in ((tmp_path / name, noise), (tmp_path / "small" / name, noise[:8, :8])):
            if name in ("f.tif", "g.tif"):
                values = pixels.astype(np.float32) / 32 if name == "f.tif" else pixels
                tifffile.imwrite(path, values, photometric="rgb",
                                 byteorder=">" if name == "g.tif" else "<")
            else:
                images.write(path, Image(pixels))
    found = subprocess.run([sys.executable, "-c", DECODE, *names], capture_output=True,
                           text=True, check=True, cwd=tmp_path)
    for name, line in zip(names, found.stdout.splitlines(), strict=True):
        taken, foretold = map(int, line.split())
        assert 0.3 * foretold < taken < foretold + (2 << 20), name


def test_a_jpeg_of_bytes_is_encoded_as_it_is():
    plain = buffers.encoding("JPEG", 100, 100, 3)
    assert plain == buffers.encoding("JPEG", 100, 100, 1) < buffers.encoding("JPEG", 100, 100, 4)


@pytest.mark.parametrize("spilled", [False, True])
def test_an_array_holds_what_is_written(tmp_path, spilled):
    values = np.random.default_rng(0).integers(0, 65536, (300, 400, 3)).astype(np.uint16)
    with buffers.array(values.shape, values.dtype, tmp_path if spilled else None) as out:
        for row in range(0, 300, 50):
            out[row:row + 50] = values[row:row + 50]
        np.testing.assert_array_equal(out, values)
    del out
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_an_array_on_disk_takes_next_to_no_memory(tmp_path):
    import subprocess
    import sys

    code = ("import sys, time, numpy as np\nfrom pathlib import Path\n"
            "from restore_cli.pipeline import buffers, memory\n"
            "before = memory.peak_rss()\n"
            "with buffers.array((400, 1 << 20), np.uint8, Path(sys.argv[1])) as out:\n"
            "    for row in range(400):\n"
            "        out[row] = row % 251\n"
            "        time.sleep(0.001)\n"
            "    total = 0\n"
            "    for part in out:\n"
            "        total += int(part[0])\n"
            "        time.sleep(0.001)\n"
            "print(memory.peak_rss() - before, total)")
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                           text=True, check=True)
    taken, total = map(int, found.stdout.split())
    assert total == sum(row % 251 for row in range(400))
    assert taken < 200 << 20


def test_no_room_on_the_disk_is_told_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(buffers, "_allocate", full)
    with pytest.raises(OutputError, match="working space"):
        with buffers.array((10, 10), np.uint8, tmp_path):
            pass
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputError):
        with buffers.array((10, 10), np.uint8, tmp_path / "gone"):
            pass
