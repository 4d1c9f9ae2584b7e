"""What is read from RAW files: mosaics, levels, colours, facts."""

import dataclasses
import json
import os
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import raw_files
from raw_files import entry

from restore_cli.media import dng, raw, raw_colors, raw_file, raw_levels
from restore_cli.media.bayer import PATTERNS

DATA = Path(__file__).parents[1] / "data" / "led"


@pytest.mark.parametrize("name", ["dng_rggb", "dng_bggr_odd"])
def test_arrays_of_the_reference(golden, name):
    case, read = golden(name, "led"), raw.read(DATA / f"{name}.dng")
    told = json.loads(str(case["config_json"]))
    np.testing.assert_array_equal(read.mosaic, case["visible"])
    np.testing.assert_array_equal(read.black, case["black"])
    np.testing.assert_array_equal(read.white, case["white"])
    np.testing.assert_allclose(read.planes(), case["x_norm"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(read.balance, case["wb"], rtol=1e-6)
    np.testing.assert_allclose(read.to_srgb, case["cam2rgb"], rtol=1e-6)
    ratio = told["target_exposure"] / read.exposure
    assert ratio == pytest.approx(told["ratio"], rel=1e-6)
    amplified = np.minimum(read.planes() * np.float32(ratio), 1)
    np.testing.assert_allclose(amplified, case["x_in"], rtol=0, atol=1e-5)
    assert read.margins == tuple(told["sizes"]["margins"])
    restored = raw_files.mosaic_of(read, read.planes())
    np.testing.assert_array_equal(restored, read.mosaic)
    # The reference truncates on the way back, this rounds.
    for planes, expected in ((amplified, "mosaic_identity"), (case["out_net"], "mosaic_net")):
        written = raw_files.mosaic_of(read, np.clip(planes, 0, 1)).astype(int)
        assert np.isin(written - case[expected], (0, 1)).all()


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (4, 6, 2, 8)])
@pytest.mark.parametrize("compression", ["none", "ljpeg"])
def test_every_order_size_margin(tmp_path, pattern, size, margins, compression):
    mosaic = raw_files.scene(*size)
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", mosaic, pattern=pattern,
                                        margins=margins, compression=compression,
                                        black=(512, 500, 530, 505)))
    np.testing.assert_array_equal(read.mosaic, mosaic)
    assert read.pattern.name == pattern and read.margins == margins[:2]
    np.testing.assert_array_equal(read.black, [512, 500, 530, 505])
    np.testing.assert_array_equal(raw_files.mosaic_of(read, read.planes()), mosaic)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_an_active_area_at_odd_places_keeps_the_black_of_each_colour(tmp_path, pattern):
    """LibRaw moves the visible area to even places and the black pattern with it."""
    levels, black = np.array([900, 1000, 1100, 1200]), np.array([100, 200, 300, 400])
    mosaic = raw_files.flat(levels, pattern=pattern)
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", mosaic, pattern=pattern,
                                        margins=(3, 5, 1, 2), black=tuple(black)))
    np.testing.assert_array_equal(read.black, black)
    light = read.planes() * (read.white - black).reshape(4, 1, 1)
    np.testing.assert_allclose(light, 800, rtol=1e-5)


def test_black_levels_of_every_form(tmp_path):
    def black(**tags):
        return raw.read(raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), **tags)).black

    np.testing.assert_array_equal(black(black=None), 0)
    fraction = black(black=None, extra={50714: entry(5, 512.25)})
    np.testing.assert_array_equal(fraction, 512.25)
    pattern = black(black=None, extra={50713: entry(3, 4, 4), 50714: entry(4, *range(500, 516))})
    np.testing.assert_array_equal(pattern, [505, 506, 510, 509])
    lines = black(extra={50715: entry(10, *[1] * 64), 50716: entry(10, *[2, 0] * 24)})
    np.testing.assert_array_equal(lines, 514)


def test_light_below_black_stays_negative_and_defects_stay_above_white(tmp_path):
    mosaic = raw_files.flat([500, 512, 520, 60000])
    planes = raw.read(raw_files.write_dng(tmp_path / "a.dng", mosaic)).planes()
    assert planes.dtype == np.float32 and planes.shape == (4, 24, 32)
    assert planes[0, 0, 0] == pytest.approx(-12 / (16383 - 512))
    assert planes[1].max() == 0 and planes[3].min() > 3


def test_white_level(tmp_path):
    mosaic = raw_files.scene()
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", mosaic, white=None))
    np.testing.assert_array_equal(read.white, 65535)
    assert read.bits == 16
    opened = SimpleNamespace(camera_white_level_per_channel=[15000, 15100, 15200, 15300],
                             white_level=16383)
    black = np.full(4, 512.0)
    np.testing.assert_array_equal(raw_levels.white(opened, [0, 3, 2, 1], black, tmp_path),
                                  [15000, 15300, 15200, 15100])
    for told in (None, [15000, 0, 15000, 15000], [15000, 300, 15000, 15000]):
        opened.camera_white_level_per_channel = told
        np.testing.assert_array_equal(raw_levels.white(opened, [0, 1, 2, 3], black, tmp_path),
                                      16383)


@pytest.mark.parametrize(("camera", "daylight", "expected", "known"), [
    ([2.0, 1.0, 1.5, 0.0], [3, 1, 3, 0], [2, 1, 1.5, 1], True),
    ([1.0, 0.4, 0.8, 0.0], [3, 1, 3, 0], [2.5, 1, 2, 1], True),
    ([2048.0, 1024.0, 1536.0, 1030.0], [3, 1, 3, 0], [2, 1, 1.5, 1030 / 1024], True),
    ([-1.0, 1.0, 1.5, 0.0], [3, 1, 2, 0], [3, 1, 2, 1], False),
    ([0.0, 1.0, 0.0, 0.0], [2.4, 1.2, 1.8, 0], [2, 1, 1.5, 1], False),
    ([float("nan"), 1.0, 1.0, 1.0], [0, 0, 0, 0], [1, 1, 1, 1], False)])
def test_white_balance(camera, daylight, expected, known):
    opened = SimpleNamespace(camera_whitebalance=camera, daylight_whitebalance=daylight)
    gains, told = raw_levels.balance(opened, [0, 1, 2, 3])
    np.testing.assert_allclose(gains, expected)
    assert told is known


def test_missing_neutral_and_matrix(tmp_path):
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), neutral=None))
    assert not read.balance_known and read.balance[1] == 1 and read.balance[0] > 1.5
    np.testing.assert_array_equal(read.balance, read.daylight)
    read = raw.read(raw_files.write_dng(tmp_path / "b.dng", raw_files.scene(), neutral=None,
                                        matrix=None))
    assert read.to_srgb is None and read.xyz_to_camera is None
    np.testing.assert_array_equal(read.balance, 1)


def test_matrix_from_the_list_of_cameras_is_that_of_the_published_code():
    """Sony A7S II: dcraw's matrix, and the camera to sRGB matrix the LED authors hard-coded."""
    listed = np.array([[0.5838, -0.1430, -0.0246], [-0.3497, 1.1477, 0.2297],
                       [-0.0748, 0.1885, 0.5778]])
    opened = SimpleNamespace(color_matrix=np.zeros((3, 4), np.float32),
                             rgb_xyz_matrix=np.vstack([listed, np.zeros(3)]))
    tags = raw.Tags()
    xyz = raw_levels.xyz_to_camera(opened, tags)
    np.testing.assert_allclose(xyz, listed)
    np.testing.assert_allclose(raw_levels.to_srgb(opened, xyz), [
        [1.9712269, -0.6789218, -0.2923051], [-0.2910482, 1.748401, -0.4573529],
        [0.0205128, -0.5380369, 1.5175241]], atol=1e-4)
    opened.color_matrix[:, :3] = np.eye(3)
    np.testing.assert_array_equal(raw_levels.to_srgb(opened, xyz), np.eye(3))
    assert raw_levels.camera_to_srgb(np.zeros((3, 3))) is None


def test_a_dngs_matrices_agree(tmp_path):
    """LibRaw's camera to sRGB matrix is the one made of the DNG's colour matrix."""
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", raw_files.scene()))
    np.testing.assert_allclose(read.xyz_to_camera.ravel(), raw_files.MATRIX, atol=1e-6)
    np.testing.assert_allclose(read.to_srgb, raw_levels.camera_to_srgb(read.xyz_to_camera),
                               atol=1e-3)
    second = tuple(2 * one for one in raw_files.MATRIX)
    read = raw.read(raw_files.write_dng(tmp_path / "b.dng", raw_files.scene(), extra={
        50722: entry(10, *second), 50778: entry(3, 17), 50779: entry(3, 21)}))
    np.testing.assert_allclose(read.xyz_to_camera.ravel(), second, atol=1e-5)
    read = raw.read(raw_files.write_dng(tmp_path / "c.dng", raw_files.scene(), extra={
        50722: entry(10, *second), 50778: entry(3, 21), 50779: entry(3, 17)}))
    np.testing.assert_allclose(read.xyz_to_camera.ravel(), raw_files.MATRIX, atol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_developers_matrix_can_be_measured(tmp_path, pattern):
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), pattern=pattern)
    read = raw.read(path)
    with raw_file.opened(path, read.tags) as opened:
        to_srgb, to_camera = raw_colors.measured(opened, read.pattern, read.daylight)
    np.testing.assert_allclose(to_srgb, read.to_srgb, atol=2e-3)
    np.testing.assert_allclose(raw_levels.camera_to_srgb(to_camera), to_srgb, atol=1e-6)
    # Daylight is white: it gives the neutral grey that the gains undo.
    np.testing.assert_allclose(to_camera @ raw_levels.XYZ_FROM_SRGB.sum(1) * read.daylight[:3], 1)


def test_facts(tmp_path):
    read = raw.read(raw_files.write_dng(
        tmp_path / "a.dng", raw_files.scene(), seconds=1 / 30, orientation=6, make="NIKON CORP",
        model="NIKON D850", extra={315: entry(2, "A. Person")},
        exif_extra={0xA431: entry(2, "12345")}))
    assert (read.iso, read.aperture, read.focal_length) == (3200, 2.8, 50)
    assert read.seconds == pytest.approx(1 / 30, rel=1e-9)
    assert read.exposure == pytest.approx(3200 / 30)
    assert read.camera == "NIKON D850" and read.make == "NIKON CORP"
    assert (read.lens, read.serial, read.artist) == ("50mm F1.8", "12345", "A. Person")
    assert read.taken == datetime(2021, 3, 4, 5, 6, 7)
    assert (read.flip, read.bits, read.aspect, read.crop) == (6, 14, 1, None)
    assert read.tags.is_dng and read.tags.main.text(272) == "NIKON D850"


def test_unknown_facts_are_none(tmp_path):
    """A zero exposure time beside a zero APEX value is not a second."""
    zero = {37377: entry(10, 0), 37378: entry(5, 0)}
    for number, tags in enumerate((dict(iso=None, seconds=None, aperture=None),
                                   dict(iso=0, seconds=0, aperture=0, exif_extra=zero))):
        read = raw.read(raw_files.write_dng(tmp_path / f"{number}.dng", raw_files.scene(),
                                            taken="0000:00:00 00:00:00", lens=None, **tags))
        assert (read.iso, read.seconds, read.aperture, read.exposure) == (None,) * 4
        assert read.taken is None and read.lens == ""
    read = raw.read(raw_files.write_dng(tmp_path / "date.dng", raw_files.scene(),
                                        taken="2021:13:45 99:99:99"))
    assert read.taken is None


def test_iso_over_the_end_of_its_tag(tmp_path):
    read = raw.read(raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), iso=65535,
                                        exif_extra={0x8832: entry(4, 102400)}))
    assert read.iso == 102400


def test_crop_of_the_maker(tmp_path):
    read = raw.read(raw_files.write_dng(
        tmp_path / "a.dng", raw_files.scene(), margins=(4, 6, 2, 8),
        extra={50719: entry(4, 2, 4), 50720: entry(4, 50, 40)}))
    assert read.crop == (4, 2, 40, 50)


def test_nothing_stays_open(tmp_path):
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene())
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    read = raw.read(path)
    assert not before or len(os.listdir("/proc/self/fd")) == before
    path.unlink()
    assert read.mosaic.sum() and read.planes().any()
    assert dataclasses.replace(read, iso=1.0).exposure == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["füße 写真.dng", "caf\udce9.dng", "with space;$x.DNG"])
def test_any_file_name(tmp_path, name):
    try:
        path = raw_files.write_dng(tmp_path / name, raw_files.scene())
    except (OSError, UnicodeEncodeError):
        pytest.skip("the file system refuses the name")
    np.testing.assert_array_equal(raw.read(path).mosaic, raw_files.scene())


REAL = {
    "native/blackmagic_rggb.dng": ("RGGB", (2176, 4128), 512, 65535, None),
    "native/kodak_dc50_grbg.kdc": ("GRBG", (512, 768), 0, 16383, 84 * 0.00435),
    "native/ml_colorchart_rggb14.dng": ("RGGB", (1156, 1734), 2056, 15000, None),
    "pair/long/00001_00_10s.dng": ("RGGB", (512, 768), 512, 16383, 128000),
    "pair/short/00001_00_0.1s.dng": ("RGGB", (512, 768), 512, 16383, 1280),
    "pair/short/00001_00_0.04s.dng": ("RGGB", (512, 768), 512, 16383, 512),
    "wrapped/rose_bggr.dng": ("BGGR", (512, 768), 600, 15520, 1),
    "wrapped/rose_gbrg.dng": ("GBRG", (512, 768), 600, 15520, 1),
    "wrapped/rose_grbg.dng": ("GRBG", (512, 768), 600, 15520, 1),
    "wrapped/rose_rggb.dng": ("RGGB", (512, 768), 600, 15520, 1),
    "wrapped/rose_rggb_hotpixels.dng": ("RGGB", (512, 768), 600, 15520, 1)}


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_files(shared_data, name):
    pattern, size, black, white, exposure = REAL[name]
    read = raw.read(shared_data / "raw" / name)
    assert read.pattern.name == pattern and read.mosaic.shape == size
    assert (read.black == black).all() and (read.white == white).all()
    assert read.exposure == (exposure if exposure is None else pytest.approx(exposure))
    assert (read.balance > 0).all() and read.balance[1] == read.balance[3] == 1
    np.testing.assert_array_equal(raw_files.mosaic_of(read, read.planes()), read.mosaic)
    np.testing.assert_allclose(read.to_srgb.sum(axis=1), 1, atol=1e-3)


def test_the_shifted_roses_are_one_picture(shared_data):
    """All four orders of one scene give the same planes, up to which green is which."""
    planes = {name: raw.read(shared_data / "raw/wrapped" / f"rose_{name}.dng").planes()
              for name in ("rggb", "bggr", "gbrg", "grbg")}
    for name in ("bggr", "gbrg", "grbg"):
        for plane in (0, 2):
            assert planes[name][plane].mean() == pytest.approx(planes["rggb"][plane].mean(),
                                                               rel=1e-3)


def test_real_facts(shared_data, tmp_path):
    chart = raw.read(shared_data / "raw/native/ml_colorchart_rggb14.dng")
    assert chart.camera == "Canon EOS Kiss X4" and chart.margins == (26, 152)
    assert (chart.iso, chart.seconds, chart.aperture) == (None, None, None)
    np.testing.assert_allclose(chart.balance, [2.477, 1, 1.694254, 1], rtol=1e-4)
    kodak = raw.read(shared_data / "raw/native/kodak_dc50_grbg.kdc")
    assert kodak.taken == datetime(1997, 4, 23, 8, 0, 47)
    np.testing.assert_array_equal(kodak.balance, 1)
    # LibRaw hides this camera's colours; the DNG has them all the same.
    assert kodak.to_srgb[0, 0] == pytest.approx(1.81, abs=0.01)
    dng.write(tmp_path / "a.dng", kodak, kodak.mosaic, note="note")
    np.testing.assert_allclose(raw.read(tmp_path / "a.dng").to_srgb, kodak.to_srgb, atol=2e-3)
