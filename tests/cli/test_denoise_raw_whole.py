"""Networks with statistics of the whole picture: strips and disk change nothing."""

from __future__ import annotations

import os

import denoise_raw_weights
import numpy as np
import pytest
from denoise_raw_weights import dark

from restore_cli.errors import OutOfMemory
from restore_cli.jobs import denoise_raw_network, denoise_raw_whole
from restore_cli.jobs.denoise_raw_image import Levels, Picture, Result
from restore_cli.jobs.denoise_raw_whole import Strips
from restore_cli.media import bayer, raw

BLACK, WHITE = np.full(4, 512.0), np.full(4, 16383.0)


@pytest.fixture(scope="module")
def loaded(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw-networks")
    return lambda name: denoise_raw_network.load(denoise_raw_weights.make(folder, name),
                                                 device="cpu")


class Collected:
    """Stands in for a result: keeps what is put."""

    def __init__(self, shape: tuple[int, int]):
        self.planes = np.full((4, *shape), np.nan, np.float32)

    def put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        self.planes[:, rows, columns] = clean


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
@pytest.mark.parametrize("strips", [Strips(12), Strips(12, 40_000), Strips(64, 1 << 30),
                                    Strips(None)], ids=["disk", "both", "memory", "whole"])
def test_strips_equal_the_whole_wherever_maps_wait(loaded, tmp_path, name, strips):
    network, shape = loaded(name), (75, 53)
    rng = np.random.default_rng(2)
    mosaic = rng.integers(450, 900, (2 * shape[0], 2 * shape[1])).astype(np.uint16)
    picture = Picture(mosaic, bayer.PATTERNS["GBRG"], BLACK, WHITE, 60)
    whole = network(picture.network(slice(0, shape[0]), slice(0, shape[1])), 60)
    found, told = Collected(shape), []
    denoise_raw_whole.run(network, picture, found, strips, tmp_path, told.append)
    assert np.abs(found.planes - whole).max() <= 1e-4 * np.abs(whole).max()
    assert sum(told) == pytest.approx(4 * 75 * 53 / 1e6)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_through_the_command_line(denoise_raw, loaded, raw_weights, name):
    dark("a.dng")
    found = denoise_raw("a.dng", "--ratio", 60, "--json", network=name)
    assert found.status == 0, found.stderr
    assert found.records[0]["tile"][1] == 64
    before, after = raw.read("a.dng"), raw.read("a_denoised.dng")
    picture = Picture(before.mosaic, before.pattern, before.black, before.white, 60)
    network = denoise_raw_network.load(raw_weights(name), device="cpu")
    result = Result(picture, Levels(before.black, before.white))
    result.put(slice(0, 24), slice(0, 32),
               network(picture.network(slice(0, 24), slice(0, 32)), 60))
    np.testing.assert_allclose(after.mosaic.astype(int), result.finish().astype(int), atol=2)


def test_tiles_cannot_be_asked_for(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "--tile", 64, network="nafnet")
    assert found.status == 2 and "cannot be tiled" in found.stderr
    assert os.listdir() == ["a.dng"]


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_strips_follow_from_the_room(loaded, name):
    network, shape = loaded(name), (2000, 3000)
    with pytest.raises(OutOfMemory, match="needs"):
        denoise_raw_whole.choose(network, shape, 150 << 20)
    tight, some, much = (denoise_raw_whole.choose(network, shape, room << 20)
                         for room in (300, 700, 60_000))
    assert much.rows is None
    assert 2 <= tight.rows <= some.rows <= denoise_raw_whole.LARGEST_STRIP
    assert 0 <= tight.held < some.held


def test_little_memory_gives_the_same_result(denoise_raw, monkeypatch):
    """Through strips and the disk instead of at once."""
    dark("a.dng", light=denoise_raw_weights.planes((200, 120)))
    assert denoise_raw("a.dng", "--ratio", 60, "-o", "much.dng", network="restormer").status == 0
    monkeypatch.setattr(denoise_raw_whole, "choose", lambda *_: Strips(6, 100_000))
    found = denoise_raw("a.dng", "--ratio", 60, "-o", "little.dng", "--json", network="restormer")
    assert found.records[0]["tile"] == [12, 120]
    much, little = raw.read("much.dng").mosaic, raw.read("little.dng").mosaic
    assert np.abs(much.astype(int) - little).max() <= 2
    assert sorted(os.listdir()) == ["a.dng", "little.dng", "much.dng"]
