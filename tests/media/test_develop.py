"""Developing of mosaics: brightness, colours, highlights, edges, orientation."""

import dataclasses

import numpy as np
import pytest
import raw_files
import rawpy

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.media import develop, raw
from restore_cli.media.bayer import PATTERNS


def made(folder, mosaic=None, **tags):
    return raw.read(raw_files.write_dng(folder / "a.dng", raw_files.scene() if mosaic is None
                                        else mosaic, **tags))


def by_libraw(read):
    with rawpy.imread(str(read.path)) as opened:
        return opened.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, adjust_maximum_thr=0,
            user_sat=int(read.white[0] - read.black[0])).copy()


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_untouched_is_what_libraw_makes(tmp_path, pattern):
    read = made(tmp_path, raw_files.scene(51, 67), pattern=pattern, margins=(2, 4, 2, 2))
    picture = develop.develop(read)
    assert picture.dtype == np.uint16 and picture.shape == (51, 67, 3)
    np.testing.assert_array_equal(picture, by_libraw(read))
    np.testing.assert_array_equal(develop.develop(read, read.mosaic.copy()), picture)


@pytest.mark.parametrize("black", [512, (512, 500, 530, 505)])
def test_other_levels_give_the_same_brightness(tmp_path, black):
    read = made(tmp_path, raw_files.scene(black=530), black=black)
    wide = raw_files.mosaic_of(read, read.planes(), black=0, white=65535)
    before = develop.develop(read).astype(float)
    after = develop.develop(read, wide, black=0, white=65535).astype(float)
    assert np.abs(after.mean((0, 1)) / before.mean((0, 1)) - 1).max() < 1e-3
    assert np.median(np.abs(after - before)) <= 4


def test_gain_is_light(tmp_path):
    """A quarter of the light, brightened by four, is the picture; without it the picture is
    darker and has the same colours."""
    read = made(tmp_path, raw_files.flat([4512, 6512, 4912, 6512]))
    whole = develop.develop(read)
    dim = raw_files.mosaic_of(read, read.planes() / 4, black=0, white=65535)
    again = develop.develop(read, dim, gain=4, black=0, white=65535)
    assert np.abs(again.astype(int) - whole).max() <= 0.002 * whole.max()
    assert develop.develop(read, dim, black=0, white=65535).max() < 0.7 * whole.min()
    for gain in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="gain"):
            develop.develop(read, gain=gain)


@pytest.mark.parametrize("white", [16383, 12000])
def test_saturation_is_white(tmp_path, white):
    """Also where the sensor saturates below the maximum the file states."""
    read = dataclasses.replace(made(tmp_path), white=np.full(4, float(white)))
    picture = develop.develop(read, np.full_like(read.mosaic, white))
    assert picture.min() >= 65500
    picture = develop.develop(read, np.full_like(read.mosaic, 65535))
    assert picture.min() >= 65500


def test_neutral_light_is_grey_whatever_the_gains_say(tmp_path):
    for neutral in ((0.5, 1, 0.625), (1, 2.477, 1.462), None):
        read = made(tmp_path, neutral=neutral)
        planes = np.full((4, 24, 32), 0.1, np.float32) / read.balance.reshape(4, 1, 1)
        picture = develop.develop(read, raw_files.mosaic_of(read, planes.astype(np.float32)))
        assert np.ptp(picture.astype(int)) < 200, neutral


def test_brightness_does_not_depend_on_content(tmp_path):
    """One bright spot changes its surroundings only."""
    read = made(tmp_path)
    mosaic = np.full_like(read.mosaic, 900)
    plain = develop.develop(read, mosaic)
    mosaic[20:24, 20:24] = 16000
    spotted = develop.develop(read, mosaic)
    np.testing.assert_array_equal(spotted[:8], plain[:8])
    assert spotted.max() > 4 * plain.max()


@pytest.mark.parametrize("size", [(49, 64), (48, 63), (49, 63)])
def test_odd_edges_are_as_bright_as_the_rest(tmp_path, size):
    read = made(tmp_path, np.full(size, 600, np.uint16))
    planes = np.full((4, 24, size[1] // 2), 0.4, np.float32)
    bright = raw_files.mosaic_of(read, planes, black=0, white=65535)
    picture = develop.develop(read, bright, black=0, white=65535)
    assert picture.shape == (*size, 3)
    assert np.ptp(picture.reshape(-1, 3).astype(int), axis=0).max() <= 64


@pytest.mark.parametrize(("orientation", "turn"), [
    (1, lambda x: x), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, -1)),
    (8, lambda x: np.rot90(x, 1))])
def test_orientation(tmp_path, orientation, turn):
    upright = develop.develop(made(tmp_path))
    turned = made(tmp_path, orientation=orientation)
    np.testing.assert_array_equal(develop.develop(turned), turn(upright))
    half = develop.develop(turned, half=True)
    assert half.shape[:2] == tuple(side // 2 for side in turn(upright).shape[:2])
    assert develop.linear_camera_rgb(turned).shape == (48, 64, 3)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_linear_is_camera_light(tmp_path, pattern):
    light = np.array([0.1, 0.4, 0.2, 0.4])
    black = np.array([500, 510, 520, 530])
    levels = np.rint(black + light * (16383 - black)).astype(int)
    read = made(tmp_path, raw_files.flat(levels, (48, 64), pattern), pattern=pattern,
                black=tuple(black), orientation=6)
    linear = develop.linear_camera_rgb(read)
    assert linear.dtype == np.uint16 and linear.shape == (48, 64, 3)
    np.testing.assert_allclose(linear / develop.LINEAR_WHITE, np.broadcast_to(
        light[:3], linear.shape), atol=2e-4)
    full = develop.linear_camera_rgb(read, np.full_like(read.mosaic, 16383))
    assert full.min() >= develop.LINEAR_WHITE - 3


def test_refusals(tmp_path):
    read = made(tmp_path)
    with pytest.raises(ShapeError):
        develop.develop(read, read.mosaic[:-2])
    with pytest.raises(InputError, match="pixels that are not square"):
        develop.linear_camera_rgb(made(tmp_path, extra={50718: raw_files.entry(5, 1, 2)}))
    made(tmp_path, raw_files.scene(50, 64))
    with pytest.raises(InputError, match="changed since it was read"):
        develop.develop(read)
    read.path.unlink()
    with pytest.raises(InputError, match="no such file"):
        develop.develop(read)


@pytest.mark.parametrize("name", ["wrapped/rose_gbrg.dng", "wrapped/rose_rggb_hotpixels.dng",
                                  "native/ml_colorchart_rggb14.dng", "native/kodak_dc50_grbg.kdc"])
def test_real_files(shared_data, name):
    read = raw.read(shared_data / "raw" / name)
    picture = develop.develop(read)
    np.testing.assert_array_equal(picture, by_libraw(read))
    wide = raw_files.mosaic_of(read, read.planes(), black=2000, white=65535)
    again = develop.develop(read, wide, black=2000, white=65535)
    assert np.abs(again.mean((0, 1)) / picture.mean((0, 1)) - 1).max() < 2e-3
    linear = develop.linear_camera_rgb(read).mean((0, 1)) / develop.LINEAR_WHITE
    expected = np.clip(read.planes(), 0, 1).mean((1, 2))
    np.testing.assert_allclose(linear, expected[:3], rtol=0.05)
