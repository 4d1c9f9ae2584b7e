from __future__ import annotations

import io

import made
import pytest
from PIL import Image as Pillow

from restore_cli.media import exif, ifd
from restore_cli.media.metadata import Metadata


def loaded(block):
    found = Pillow.Exif()
    found.load(b"Exif\0\0" + block)
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_reset_and_the_rest_untouched(orientation):
    raw = made.exif(orientation)
    block, found = exif.upright(raw)
    assert found == orientation
    before, after = loaded(raw[6:]), loaded(block)
    assert after.pop(0x0112) == 1 and before.pop(0x0112) == orientation
    assert dict(before) == dict(after)
    assert before.get_ifd(0x8769) == after.get_ifd(0x8769)
    assert before.get_ifd(0x8825) == after.get_ifd(0x8825)
    assert len(block) == len(raw) - 6  # edited in place: makers' offsets stay right


def test_the_thumbnail_goes():
    raw = made.exif(6, thumbnail=True)
    block, _ = exif.upright(raw)
    assert b"thumb" in raw and b"thumb" not in block
    assert ifd.parse(block).next == 0
    assert loaded(block).get_ifd(0x8769)[0x927C] == b"note" * 9


def test_scaling_multiplies_counts_and_densities():
    block = exif.upright(made.exif(size=(23, 17)))[0]
    bigger = loaded(exif.scaled(block, 3, 2.5))
    assert bigger[0x011A] == 216 and bigger[0x011B] == 180
    inner = bigger.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (69, 42)
    exact = loaded(exif.scaled(block, 3, 2.5, (70, 43))).get_ifd(0x8769)
    assert (exact[0xA002], exact[0xA003]) == (70, 43)


def test_a_count_above_65535_widens_its_tag():
    block = exif.upright(made.exif(size=(60000, 100)))[0]
    assert ifd.parse(block).children[ifd.EXIF].entries[0xA002].type == 3
    wide = exif.scaled(block, 4, 4)
    assert ifd.parse(wide).children[ifd.EXIF].numbers(0xA002) == [240000]


@pytest.mark.parametrize("raw", [b"", b"II", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", bytes(50),
                                 b"MM\0*\0\0\0\x08\xff\xff" + bytes(20), b"II+\0" + bytes(9)])
def test_rubbish_is_dropped_quietly(raw):
    assert exif.upright(raw)[1] == 1
    assert exif.stated_dpi(raw) is None
    assert exif.scaled(raw, 2, 2) == raw


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_truncated_blocks_do_not_crash(cut):
    raw = made.exif(3, thumbnail=True)
    block, _ = exif.upright(raw[:cut])
    Metadata(exif=block or None, dpi=(1, 1)).scaled(2)


def test_directories_that_point_at_themselves_end():
    block = bytearray(b"II*\0\x08\0\0\0\x01\0" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + bytes(4))
    assert exif.upright(bytes(block))[1] == 1


@pytest.mark.parametrize("base", [None, "camera", "empty"])
def test_resolution_is_added_where_there_is_none(base):
    block = None
    if base:
        whole = Pillow.Exif()
        if base == "camera":
            whole[0x010F] = "Maker"
            whole[0x8769] = {0x927C: b"note" * 9}
        block = whole.tobytes()[6:]
    grown = exif.with_dpi(block, (300.0, 72.5))
    assert exif.stated_dpi(grown) == (300, 72.5)
    if base == "camera":
        assert loaded(grown)[0x010F] == "Maker"
        assert loaded(grown).get_ifd(0x8769)[0x927C] == b"note" * 9
    assert exif.with_dpi(grown, (1.0, 1.0)) == grown  # one that is stated stays


def test_directories_survive_packing_in_either_order():
    main = ifd.parse(made.exif()[6:])
    for order in "<>":
        turned = ifd.reordered(main, order)
        raw = ifd.pack(turned, 8)
        again = ifd.read(io.BytesIO(bytes(8) + raw), order, 8)
        for tag in (0x0112, 0x011A):
            assert again.numbers(tag) == main.numbers(tag)
        assert again.text(0x010F) == "Maker"
        assert again.children[ifd.GPS].numbers(2) == [48, 51, 30]
        assert again.children[ifd.EXIF].entries[0x927C].value == b"note" * 9


def test_metadata_scales_both_ways_and_leaves_the_rest():
    before = made.metadata()
    after = before.scaled((2, 3), size=(46, 51))
    assert after.dpi == (600, 450)
    assert (after.icc, after.text, after.xmp) == (before.icc, before.text, before.xmp)
    assert Metadata().scaled(4) == Metadata()


@pytest.mark.parametrize("packet", [b'<a tiff:Orientation="6"/>', b"<a tiff:Orientation='6'/>",
                                    b"<tiff:Orientation>6</tiff:Orientation>"])
def test_xmp_orientation_is_reset(packet):
    after, _ = Metadata(xmp=packet).upright()
    assert after.xmp == packet.replace(b"6", b"1")
