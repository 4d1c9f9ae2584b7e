"""What a written DNG takes over from the original."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import tifffile
from raw_files import entry, scene, write_dng

from restore_cli.media import dng, ifd, raw, raw_tags

_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


def written(tmp_path, source, **options):
    path = tmp_path / "out.dng"
    dng.write(path, source, source.mosaic, **{"note": "restore 0.1 test", "overwrite": True,
                                              **options})
    return path


def of(tmp_path, extra=None, exif_extra=None, **options):
    """A made DNG with more tags, read."""
    path = tmp_path / "camera.dng"
    return raw.read(write_dng(path, scene(), extra=extra, exif_extra=exif_extra, **options))


def big_endian(source):
    """The same tags as if a big-endian camera had written them."""
    return replace(source, tags=raw_tags.Tags(tuple(ifd.reordered(one, ">")
                                                    for one in source.tags.directories)))


def directories(path):
    """The main directory with its EXIF and GPS, and the sensor's."""
    found = raw_tags.read(path).directories
    assert len(found) == 2
    return found


@pytest.fixture(params=["little", "big"])
def order(request):
    return (lambda source: source) if request.param == "little" else big_endian


def test_exif_gps_xmp_and_names(tmp_path, order):
    source = of(tmp_path, {
        270: entry(2, "Night on the pier"), 315: entry(2, "Ada"), 33432: entry(2, "(c) Ada"),
        700: entry(7, _XMP), 0x4746: entry(3, 4), 33723: entry(7, b"\x1c\x02iptc"),
        50735: entry(2, "SN-7")},
        {0x9291: entry(2, "42"), 0x9286: entry(7, b"ASCII\0\0\0words"), 0xA431: entry(2, "B-99"),
         0xA433: entry(2, "Lensmaker"), 0x9204: entry(10, -1 / 3), 0x8830: entry(3, 2)})
    source.tags.main.children[ifd.GPS] = ifd.Directory("<", {
        1: entry(2, "N"), 2: entry(5, 52, 31, 12.5)})
    main, sub = directories(written(tmp_path, order(source)))
    assert main.text(270) == "Night on the pier"
    assert (main.text(315), main.text(33432)) == ("Ada", "(c) Ada")
    assert main.entries[700].value == _XMP and main.entries[33723].value == b"\x1c\x02iptc"
    assert main.numbers(0x4746) == [4] and main.text(50735) == "SN-7"
    assert main.text(306) == "2021:03:04 05:06:07"
    exif, gps = main.children[ifd.EXIF], main.children[ifd.GPS]
    assert (exif.text(0x9291), exif.text(0xA431), exif.text(0xA434)) == ("42", "B-99",
                                                                         "50mm F1.8")
    assert exif.text(0xA433) == "Lensmaker" and exif.text(0x9003) == "2021:03:04 05:06:07"
    assert exif.entries[0x9286].value == b"ASCII\0\0\0words"
    np.testing.assert_allclose([float(exif.numbers(tag)[0]) for tag in
                                (0x829A, 0x829D, 0x8827, 0x920A, 0x9204)],
                               [0.1, 2.8, 3200, 50, -1 / 3], rtol=1e-5)
    assert gps.text(1) == "N" and [float(one) for one in gps.numbers(2)] == [52, 31, 12.5]
    assert not set(main.entries) & set(sub.entries) & {270, 315, 700, 50721, 50728}


def test_colour_science_of_a_dng(tmp_path, order):
    cool, warm = [0.9, -0.2, 0, -0.4, 1.2, 0.2, -0.1, 0.2, 0.6], [0.8, -0.1, 0, -0.5, 1.3, 0.1,
                                                                  -0.1, 0.3, 0.5]
    calibration = [1.02, 0, 0, 0, 1, 0, 0, 0, 0.98]
    source = of(tmp_path, {
        50721: entry(10, *warm), 50722: entry(10, *cool), 50778: entry(3, 17),
        50779: entry(3, 21), 50723: entry(10, *calibration), 50724: entry(10, *calibration),
        50727: entry(5, 1, 1.5, 1), 50964: entry(10, *cool), 50965: entry(10, *warm),
        50936: entry(2, "Night"), 50940: entry(11, 0, 0, 1, 1), 50708: entry(2, "Unique One"),
        50730: entry(10, 0.5)})
    main, _ = directories(written(tmp_path, order(source), baseline_exposure=2.25))

    def numbers(tag):
        return [float(value) for value in main.numbers(tag)]

    for tag, values in ((50721, warm), (50722, cool), (50964, cool), (50965, warm),
                        (50723, calibration), (50727, [1, 1.5, 1]), (50730, [2.75]),
                        (50778, [17]), (50779, [21]), (50940, [0, 0, 1, 1])):
        np.testing.assert_allclose(numbers(tag), values, atol=1e-5)
    assert (main.text(50936), main.text(50708)) == ("Night", "Unique One")
    back = raw.read(tmp_path / "out.dng")
    np.testing.assert_allclose(back.to_srgb, source.to_srgb, atol=1e-6)
    np.testing.assert_allclose(back.balance, source.balance, rtol=1e-6)


def test_the_originals_own_fractions_of_white_are_kept(tmp_path):
    source = of(tmp_path, {50728: entry(5, 1, 2.477, 1.462)})
    main, _ = directories(written(tmp_path, source))
    assert [float(one) for one in main.numbers(50728)] == [1, 2.477, 1.462]
    changed = replace(source, balance=np.array([2.0, 1.0, 1.25, 1.0]))
    main, _ = directories(written(tmp_path, changed))
    assert [float(one) for one in main.numbers(50728)] == [0.5, 1, 0.8]


def test_what_is_no_longer_true_is_left_out(tmp_path):
    table = entry(3, *range(16384))
    source = of(tmp_path, {
        50712: table, 51041: entry(12, 1e-3, 1e-6), 50972: entry(1, *range(16)),
        51111: entry(1, *range(16)), 50781: entry(1, *range(16)), 50731: entry(5, 2.0),
        51008: entry(7, struct.pack(">I", 0)), 50740: entry(7, b"Adobe\0MakN"), 330: None},
        {37500: entry(7, b"Canon\0\0\0" * 8), 40962: entry(4, 64), 37121: entry(7, b"\1\2\3\0")})
    main, sub = directories(written(tmp_path, source))
    gone = {50712, 51041, 50972, 51111, 50781, 50731, 51008}
    assert not gone & (set(main.entries) | set(sub.entries))
    assert not {37500, 40962, 37121} & set(main.children[ifd.EXIF].entries)
    # Private data count from their own start by the specification.
    assert main.entries[50740].value == b"Adobe\0MakN"
    np.testing.assert_array_equal(raw.read(tmp_path / "out.dng").mosaic, source.mosaic)


def test_a_makers_note_that_may_be_moved_is_kept(tmp_path, order):
    note = b"Maker\0\0\1" + bytes(range(64))
    source = of(tmp_path, {50741: entry(3, 1)}, {37500: entry(7, note)})
    main, _ = directories(written(tmp_path, order(source)))
    assert main.children[ifd.EXIF].entries[37500].value == note
    assert main.numbers(50741) == [1]


def test_crop_and_lens_corrections_hold_for_the_same_area_only(tmp_path):
    lists = {51009: entry(7, struct.pack(">I", 0)), 51022: entry(7, struct.pack(">II", 0, 0))}
    source = of(tmp_path, {50719: entry(4, 2, 4), 50720: entry(4, 60, 40), **lists},
                margins=(2, 4, 6, 8))
    main, sub = directories(written(tmp_path, source))
    assert (sub.numbers(50719), sub.numbers(50720)) == ([2, 4], [60, 40])
    assert sub.entries[51009].value == lists[51009].value and 51022 in sub.entries
    assert main.numbers(50707) == [1, 3, 0, 0]
    assert raw.read(tmp_path / "out.dng").crop == source.crop == (4, 2, 40, 60)
    main, sub = directories(written(tmp_path, source, kind="linear"))
    assert 51022 in sub.entries and 51009 not in sub.entries and 50720 in sub.entries
    cut = replace(source, mosaic=source.mosaic[:-2], crop=None)
    main, sub = directories(written(tmp_path, cut))
    assert not {50719, 50720, 51009, 51022} & set(sub.entries)
    assert main.numbers(50707) == [1, 1, 0, 0]


def test_the_makers_crop_becomes_the_dngs(tmp_path):
    source = replace(of(tmp_path), crop=(2, 6, 40, 50), aspect=2.0)
    _, sub = directories(written(tmp_path, source))
    assert (sub.numbers(50719), sub.numbers(50720)) == ([6, 2], [50, 40])
    assert sub.numbers(50718) == [2, 1]


def test_files_without_tags_give_what_libraw_knows(tmp_path):
    source = replace(of(tmp_path), tags=raw.Tags(), iso=102400.0, seconds=1 / 8000, serial="S1",
                     taken=datetime(2020, 2, 3, 4, 5, 6), artist="Ada", lens="35mm")
    main, _ = directories(written(tmp_path, source))
    exif = main.children[ifd.EXIF]
    assert exif.numbers(0x8827) == [65535] and exif.numbers(0x8832) == [102400]
    assert exif.numbers(0x8830) == [2]
    assert float(exif.numbers(0x829A)[0]) == 1 / 8000
    assert exif.text(0x9003) == main.text(306) == "2020:02:03 04:05:06"
    assert (exif.text(0xA434), exif.text(0xA431), main.text(50735)) == ("35mm", "S1", "S1")
    assert (main.text(315), main.text(271), main.text(272)) == ("Ada", "Maker", "Model 7")
    back = raw.read(tmp_path / "out.dng")
    assert (back.iso, back.seconds, back.lens) == (102400, 1 / 8000, "35mm")


def test_unknown_facts_are_not_made_up(tmp_path):
    source = replace(of(tmp_path), tags=raw.Tags(), iso=None, seconds=None, aperture=None,
                     focal_length=None, lens="", serial="", taken=None, make="", model="")
    main, _ = directories(written(tmp_path, source))
    exif = main.children[ifd.EXIF]
    assert set(exif.entries) == {36864}
    assert 306 not in main.entries and main.text(50708) == "Unknown"
    back = raw.read(tmp_path / "out.dng")
    assert (back.iso, back.seconds, back.aperture, back.taken) == (None, None, None, None)


def test_broken_tags_of_the_original_do_no_harm(tmp_path):
    source = of(tmp_path, {50730: entry(10, 1), 50734: entry(5, 1), 270: entry(2, "  "),
                           50964: entry(10, *range(9))}, {0x9291: entry(2, "")})
    source.tags.main.entries[50730].value = bytes(8)
    source.tags.main.entries[50734].value = bytes(8)
    source.tags.main.entries[50728].value = bytes(24)
    main, _ = directories(written(tmp_path, source))
    assert main.numbers(50730) == [0] and 50734 not in main.entries
    assert main.text(270).endswith("restore 0.1 test")
    assert 0x9291 not in main.children[ifd.EXIF].entries
    np.testing.assert_allclose(raw.read(tmp_path / "out.dng").balance, source.balance, rtol=1e-6)


def test_real_files_come_back(tmp_path, shared_data):
    native = shared_data / "raw" / "native"
    for path in sorted(native.iterdir()):
        source = raw.read(path)
        back = raw.read(written(tmp_path, source))
        np.testing.assert_array_equal(back.mosaic, source.mosaic)
        np.testing.assert_array_equal(back.black, source.black)
        np.testing.assert_array_equal(back.white, source.white)
        np.testing.assert_allclose(back.balance, source.balance, rtol=1e-6)
        assert (back.pattern, back.flip) == (source.pattern, source.flip)
        if source.to_srgb is not None:
            # What was measured has the steps of 16 bits; LibRaw's own digits come back.
            np.testing.assert_allclose(back.to_srgb, source.to_srgb, rtol=1e-6,
                                       atol=3e-4 if "kodak" in path.name else 0)
        assert (back.iso, back.seconds) == (source.iso, source.seconds)


def test_exiftool_finds_nothing_wrong(tmp_path):
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not installed")
    for kind in ("mosaic", "linear"):
        path = written(tmp_path, of(tmp_path), kind=kind)
        found = subprocess.run(["exiftool", "-validate", "-warning", "-a", "-s3", str(path)],
                               capture_output=True, text=True, check=True).stdout.splitlines()
        # ProcessingSoftware is an EXIF tag that exiftool counts as unusual in a DNG.
        serious = [line for line in found[1:] if "ProcessingSoftware" not in line]
        assert not serious, found


def test_tifffile_finds_nothing_wrong(tmp_path, caplog):
    with tifffile.TiffFile(written(tmp_path, of(tmp_path))) as file:
        file.pages[0].asarray()
        file.pages[0].pages[0].asarray()
        assert file.pages[0].tags[34665].value["ISOSpeedRatings"] == 3200
    assert not caplog.records
