"""A tiled RAW picture equals one that the network sees as a whole."""

from __future__ import annotations

import denoise_raw_weights
import numpy as np
import pytest

from restore_cli.errors import OutOfMemory
from restore_cli.jobs import denoise_raw_network, denoise_raw_plan, denoise_raw_tiles
from restore_cli.jobs.denoise_raw_image import Picture
from restore_cli.media import bayer
from restore_cli.nets.layout import layout

BLACK, WHITE = np.full(4, 512.0), np.full(4, 16383.0)
UNET = layout("led-unet", {"channels": 4})


class Collected:
    """Stands in for a result: keeps what is put, and how often each pixel was."""

    def __init__(self, shape: tuple[int, int]):
        self.planes = np.zeros((4, *shape), np.float32)
        self.times = np.zeros(shape, int)

    def put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        self.planes[:, rows, columns] = clean
        self.times[rows, columns] += 1


def picture(shape: tuple[int, int], ratio: float = 60) -> Picture:
    """Random samples, some of which clip after amplification."""
    rng = np.random.default_rng(2)
    mosaic = rng.integers(450, 900, (2 * shape[0], 2 * shape[1])).astype(np.uint16)
    return Picture(mosaic, bayer.PATTERNS["GBRG"], BLACK, WHITE, ratio)


@pytest.fixture(scope="module")
def loaded(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw-networks")
    return lambda name: denoise_raw_network.load(denoise_raw_weights.make(folder, name),
                                                 device="cpu")


@pytest.mark.parametrize("name,shape,tiles", [
    ("unet", (405, 331), [(64, 64), (160, 16), (1024, 1024)]),
    ("unet", (17, 250), [(16, 48)]),
    ("unet", (3, 2), [(16, 16)]),
    ("repnr", (210, 230), [(16, 32)]),
    ("cunet", (250, 300), [(48, 96)]),
])
def test_tiles_equal_the_whole(loaded, name, shape, tiles):
    network = loaded(name)
    noisy = picture(shape)
    whole = network(noisy.network(slice(0, shape[0]), slice(0, shape[1])), noisy.ratio)
    scale = np.abs(whole).max()
    for tile in tiles:
        found = Collected(shape)
        denoise_raw_tiles.run(network, noisy, found, tile)
        assert (found.times == 1).all()
        assert np.abs(found.planes - whole).max() <= 1e-4 * scale


def test_the_controlled_network_is_told_the_ratio(loaded):
    network, planes = loaded("cunet"), np.full((4, 16, 16), 0.3, np.float32)
    assert np.abs(network(planes, 50) - network(planes, 200)).max() > 1e-5


def test_all_windows_have_one_shape(monkeypatch):
    """Another shape would compile again."""
    seen = set()

    def network(planes, ratio):
        seen.add(planes.shape)
        return planes

    network.layout = UNET
    noisy, found = picture((500, 700)), Collected((500, 700))
    denoise_raw_tiles.run(network, noisy, found, (128, 256))
    assert seen == {(4, 320, 448)}
    np.testing.assert_array_equal(found.planes,
                                  noisy.network(slice(0, 500), slice(0, 700)))


@pytest.mark.parametrize("length", [97, 200, 1088, 2064, 5000])
@pytest.mark.parametrize("tile", [16, 500, 1024])
def test_even_tiles_take_as_many_windows_of_less(length, tile):
    found = denoise_raw_tiles.even(length, tile, UNET)
    count = [len(denoise_raw_tiles._Axis.of(length, side, UNET).spans) for side in (tile, found)]
    assert count[0] == count[1] and found <= denoise_raw_tiles.tiles.round_up(tile, 16)


def test_the_tile_follows_from_the_room():
    model = denoise_raw_plan.cost("led-unet", {"channels": 4}, UNET)
    shape = (1088, 2064)
    sizes = [denoise_raw_plan.choose(model, UNET, shape, room << 20) for room in (120, 300, 4000)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    for room, tile in zip((120, 300, 4000), sizes, strict=True):
        window = [denoise_raw_tiles.window(n, side, UNET)
                  for n, side in zip(shape, tile, strict=True)]
        assert model.of(window) <= room << 20


def test_a_tile_that_the_user_set_is_kept_or_refused():
    model = denoise_raw_plan.cost("led-unet", {"channels": 4}, UNET)
    assert denoise_raw_plan.choose(model, UNET, (1088, 2064), 4000 << 20, 48) == (48, 48)
    with pytest.raises(OutOfMemory, match="--tile 4096 needs"):
        denoise_raw_plan.choose(model, UNET, (1088, 2064), 100 << 20, 2048)
