"""Files that are no readable Bayer RAW: one line each that says what they are."""

import struct

import numpy as np
import pytest
import raw_files
from PIL import Image
from raw_files import entry

from restore_cli.errors import InputError
from restore_cli.media import ifd, raw, raw_file, raw_tags


def refusal(path):
    with pytest.raises(InputError) as caught:
        raw.read(path)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(path)) and caught.value.message
    return text


@pytest.mark.parametrize(("changes", "words"), [
    (dict(data=np.full((48, 64, 3), 9, np.uint16), photometric=34892), "a linear DNG"),
    (dict(photometric=34892), "a monochrome RAW"),
    (dict(data=np.full((48, 64), .5, np.float32), extra={339: entry(3, 3)}), "floating-point"),
    (dict(extra={33422: entry(1, 3, 4, 5, 1), 50710: entry(1, 3, 4, 5, 1)}), "filters GMCY"),
    (dict(extra={33422: entry(1, 1, 1, 0, 2)}), "not one of the four 2x2 Bayer patterns"),
    (dict(extra={33421: entry(3, 4, 4), 33422: entry(1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 2, 2, 1, 1,
                                                     2, 2)}), "not one of the four"),
    (dict(extra={33421: entry(3, 6, 6), 33422: entry(1, *(
        1, 1, 0, 1, 1, 2, 1, 1, 2, 1, 1, 0, 2, 0, 1, 0, 2, 1, 1, 1, 2, 1, 1, 0, 1, 1, 0, 1, 1, 2,
        0, 2, 1, 2, 0, 1))}), "X-Trans"),
    (dict(extra={259: entry(3, 52546)}), "JPEG XL"),
    (dict(extra={259: entry(3, 9)}), "VC-5"),
    (dict(extra={259: entry(3, 32770)}), "a DNG that LibRaw cannot decode"),
    (dict(white=400), r"white level (400) that is not above its black level (512)")])
def test_other_kinds_of_dng(tmp_path, changes, words):
    changes = {"data": raw_files.scene()} | changes
    assert words in refusal(raw_files.write_dng(tmp_path / "a.dng", changes.pop("data"),
                                                **changes))


@pytest.mark.parametrize("compression", ["none", "ljpeg"])
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2, 0.1, 0.03])
def test_truncated(tmp_path, compression, share):
    """LibRaw itself decodes most of these without a word."""
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), compression=compression)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * share)])
    assert "truncated" in refusal(path)
    path.write_bytes(whole)
    raw.read(path)


@pytest.mark.parametrize("compression", ["none", "ljpeg"])
@pytest.mark.parametrize("share", [0.9, 0.6, 0])
def test_reserved_but_not_filled(tmp_path, compression, share):
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(), compression=compression)
    whole = path.read_bytes()
    start = int(ifd.parse(whole).numbers(273)[0])
    filled = start + int((len(whole) - start) * share)
    path.write_bytes(whole[:filled].ljust(len(whole), b"\0"))
    if compression == "none" and not share:  # all dark is a possible picture
        assert not raw.read(path).mosaic.any()
    else:
        assert "empty" in refusal(path) or "never written" in refusal(path)


def test_dark_rows_of_a_camera_without_black_level_are_kept(tmp_path):
    mosaic = raw_files.scene(black=0)
    mosaic[-2:] = 0
    path = raw_files.write_dng(tmp_path / "a.dng", mosaic, black=0)
    np.testing.assert_array_equal(raw.read(path).mosaic, mosaic)


@pytest.mark.parametrize("name", ["a.arw", "a.dng", "a.bin"])
@pytest.mark.parametrize(("content", "words"), [
    (b"", "is empty"), (b"hello\n", "is text"), (b"words " * 400, "is text"),
    (b"\x89PNG\r\n\x1a\n" + bytes(80), "a PNG picture"),
    (b"\xff\xd8\xff\xe0" + bytes(80), "a JPEG picture"),
    (b"FOVb" + bytes(100), "X3F"), (bytes(range(256)) * 20, "not a RAW file"),
    (b"\0\0\0\x18ftypheic" + bytes(90), "film or HEIF")])
def test_other_files(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    assert words in refusal(path)


def test_real_pictures_and_folders(tmp_path):
    picture = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    for name, words in (("a.jpg", "a JPEG picture"), ("a.tif", "a TIFF picture"),
                        ("a.png", "a PNG picture")):
        picture.save(tmp_path / name)
        assert words in refusal(tmp_path / name)
    (tmp_path / "a.jpg").rename(tmp_path / "renamed.nef")
    assert "a JPEG picture" in refusal(tmp_path / "renamed.nef")
    (tmp_path / "a.tif").rename(tmp_path / "renamed.dng")
    assert "that LibRaw cannot decode" in refusal(tmp_path / "renamed.dng")
    assert "is a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "none.dng")
    with pytest.raises(InputError, match="no such file"):
        raw.read("a\0b.dng")
    (tmp_path / "short.nef").write_bytes(b"II*\0")
    assert "truncated or damaged" in refusal(tmp_path / "short.nef")


def test_a_camera_libraw_does_not_know_is_named(tmp_path):
    main = ifd.Directory("<", {271: entry(2, "Acme"), 272: entry(2, "Model 9"),
                               256: entry(4, 64), 257: entry(4, 48)})
    (tmp_path / "a.nef").write_bytes(b"II*\0\x08\0\0\0" + ifd.pack(main, 8))
    assert "RAW file of the camera Acme Model 9 that LibRaw cannot" in refusal(tmp_path / "a.nef")


def test_too_large_is_refused_before_decoding(tmp_path, monkeypatch):
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene())
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "1000")
    assert "more than 0 megapixels" in refusal(path)


def test_damaged_bytes_never_crash(tmp_path):
    """Bytes of the header changed one at a time: a picture or one line, nothing else."""
    path = raw_files.write_dng(tmp_path / "a.dng", raw_files.scene(24, 32), compression="ljpeg")
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    seen = set()
    for at in range(0, 620, 4):
        changed = bytearray(whole)
        changed[at] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        try:
            seen.add(raw.read(path).mosaic.ndim)
        except InputError as error:
            assert "\n" not in str(error)
            seen.add("refused")
    assert seen == {2, "refused"}


def _exif_block():
    main = ifd.Directory("<", {271: entry(2, "FUJIFILM"), 272: entry(2, "X-A5")},
                         children={ifd.EXIF: ifd.Directory("<", {0x8827: entry(3, 6400)})})
    return b"II*\0\x08\0\0\0" + ifd.pack(main, 8)


def test_fujifilm_tags_and_length(tmp_path):
    block = _exif_block()
    jpeg = (b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
            + b"\xff\xda")
    head = bytearray(b"FUJIFILMCCD-RAW ".ljust(148, b"\0"))
    struct.pack_into(">IIIIII", head, 84, 148, len(jpeg), 0, 0, 148 + len(jpeg), 5000)
    path = tmp_path / "a.raf"
    path.write_bytes(bytes(head) + jpeg + bytes(range(250)) * 20)
    tags = raw_tags.read(path)
    assert (tags.text(raw_tags.MAKE), tags.iso, tags.whole) == ("FUJIFILM", 6400, False)
    raw_file.check_file(path, tags)
    path.write_bytes(path.read_bytes()[:-1])
    assert "truncated" in refusal(path)


def _box(kind, content):
    return struct.pack(">I4s", len(content) + 8, kind) + content


def test_canon_boxes(tmp_path):
    exif = b"II*\0\x08\0\0\0" + ifd.pack(ifd.Directory("<", {0x8827: entry(3, 800)}), 8)
    canon = _box(b"uuid", bytes(16) + _box(b"CMT1", _exif_block()) + _box(b"CMT2", exif))
    whole = (_box(b"ftyp", b"crx \0\0\0\1crx isom") + _box(b"moov", canon)
             + _box(b"mdat", bytes(range(200))))
    path = tmp_path / "a.cr3"
    path.write_bytes(whole)
    tags = raw_tags.read(path)
    assert (tags.text(raw_tags.MODEL), tags.iso) == ("X-A5", 800)
    raw_file.check_file(path, tags)
    assert "a Canon CR3 file" in refusal(path) or "LibRaw" in refusal(path)
    path.write_bytes(whole[:-1])
    assert "truncated" in refusal(path)


def test_panasonic_raw_offset(tmp_path):
    """RW2 has its picture's place in a tag of its own, and 0xFFFFFFFF in the usual one."""
    main = ifd.Directory("<", {271: entry(2, "Panasonic"), 273: entry(4, 0xFFFFFFFF),
                               279: entry(4, 20000), 280: entry(4, 2048)})
    whole = (b"IIU\0\x08\0\0\0" + ifd.pack(main, 8)).ljust(2048, b"\0") + bytes(range(200)) * 100
    path = tmp_path / "a.rw2"
    path.write_bytes(whole)
    raw_file.check_file(path, raw_tags.read(path))
    path.write_bytes(whole[:-6000])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize(("name", "words"), [
    ("other/gopro_unsupported.gpr", "a GoPro GPR file"), ("other/linear_rgb.dng", "a linear DNG"),
    ("other/linear_rgb_rotated.dng", "a linear DNG"), ("wrapped/park_xtrans.dng", "X-Trans")])
def test_real_files_of_other_kinds(shared_data, name, words):
    assert words in refusal(shared_data / "raw" / name)


@pytest.mark.parametrize("name", ["native/blackmagic_rggb.dng", "native/ml_colorchart_rggb14.dng",
                                  "native/kodak_dc50_grbg.kdc", "wrapped/rose_rggb.dng"])
@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
def test_real_files_truncated(shared_data, tmp_path, name, share):
    whole = (shared_data / "raw" / name).read_bytes()
    path = tmp_path / name.split("/")[1]
    path.write_bytes(whole[:int(len(whole) * share)])
    assert "truncated" in refusal(path)
