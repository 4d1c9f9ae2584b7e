from __future__ import annotations

import io
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from raw_files import MATRIX, NEUTRAL, scene, write_dng

from restore_cli.errors import OutputError, ShapeError
from restore_cli.media import bayer, develop, dng, dng_pixels, dng_preview, raw

NOTE = "restore 0.1 led-compact ratio 8"


def taken(tmp_path, **options):
    """A made camera file, read."""
    size = options.pop("size", (48, 64))
    return raw.read(write_dng(tmp_path / "camera.dng", scene(*size), **options))


def written(tmp_path, source, mosaic=None, **options):
    """Path of a DNG of `source` with its own or another mosaic."""
    path = tmp_path / "out.dng"
    dng.write(path, source, source.mosaic if mosaic is None else mosaic,
              **{"note": NOTE, "overwrite": True, **options})
    return path


def tags(path):
    """Values by tag number of the main directory and of the sensor's."""
    with tifffile.TiffFile(path) as file:
        main = file.pages[0]
        return ({tag.code: tag.value for tag in main.tags},
                {tag.code: tag.value for tag in main.pages[0].tags})


def fractions(values):
    return np.array(values[::2], float) / values[1::2]


def noise(shape, seed=1):
    """Any 16-bit values, with the steps of 32768 that lossless JPEG codes in a special way."""
    mosaic = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    mosaic[1, :8] = (0, 0, 32768, 32768, 0, 65535, 65535, 0)
    return mosaic


@pytest.mark.parametrize("pattern", sorted(bayer.PATTERNS))
@pytest.mark.parametrize("compression", ["lossless", "none"])
@pytest.mark.parametrize("size", [(48, 64), (49, 65), (530, 546), (33, 1027)])
def test_every_value_comes_back(tmp_path, pattern, compression, size):
    levels = (500, 512, 505, 520)
    source = taken(tmp_path, size=size, pattern=pattern, black=levels, orientation=8)
    mosaic = noise(source.mosaic.shape)
    back = raw.read(written(tmp_path, source, mosaic, compression=compression))
    assert source.mosaic.shape == size
    np.testing.assert_array_equal(back.mosaic, mosaic)
    assert back.pattern.name == pattern
    np.testing.assert_array_equal(back.black, levels)
    np.testing.assert_array_equal(back.white, source.white)
    np.testing.assert_allclose(back.balance, source.balance, rtol=1e-6)
    np.testing.assert_allclose(back.to_srgb, source.to_srgb, rtol=1e-6)
    np.testing.assert_allclose(back.xyz_to_camera, source.xyz_to_camera, rtol=1e-6)
    assert (back.flip, source.flip) == (5, 5)
    assert (back.iso, back.seconds, back.aperture, back.focal_length) == (3200, 0.1, 2.8, 50)
    assert (back.make, back.model, back.lens) == ("Maker", "Model 7", "50mm F1.8")
    assert back.taken == source.taken


@pytest.mark.parametrize("width", [32, 544, 768, 1024, 1536])
def test_no_tile_is_half_as_wide_as_the_picture(tmp_path, width):
    """LibRaw reads such tiles of two components as if they held two rows."""
    rows, columns = dng_pixels.tile_shape(32, width)
    assert rows == 32 and columns <= width and 2 * columns != width and columns % 16 == 0
    source = taken(tmp_path, size=(32, width))
    np.testing.assert_array_equal(raw.read(written(tmp_path, source)).mosaic, source.mosaic)
    import rawpy

    with rawpy.imread(str(written(tmp_path, source, kind="linear"))) as opened:
        np.testing.assert_array_equal(opened.raw_image[..., :3], develop.linear_camera_rgb(source))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_kept(tmp_path, orientation):
    source = taken(tmp_path, orientation=orientation)
    path = written(tmp_path, source)
    assert tags(path)[0][274] == orientation
    assert raw.read(path).flip == source.flip


def test_narrow_pictures_are_stored_plain(tmp_path):
    # LibRaw misreads tiles that are wider than the picture.
    source = taken(tmp_path)
    narrow = replace(source, mosaic=source.mosaic[:, :14], crop=None)
    path = written(tmp_path, narrow)
    sub = tags(path)[1]
    assert (sub[259], sub[256], sub[257]) == (1, 14, 48)
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.pages[0].pages[0].asarray(), narrow.mosaic)


def test_levels_given_are_the_ones_stored(tmp_path):
    source = taken(tmp_path)
    path = written(tmp_path, source, black=np.array([10, 11.25, 12, 13]),
                   white=np.array([60000, 50000.4, 61000, 62000]))
    sub = tags(path)[1]
    assert sub[50713] == (2, 2)
    np.testing.assert_array_equal(fractions(sub[50714]), [10, 11.25, 13, 12])
    assert sub[50717] == 50000
    back = raw.read(path)
    np.testing.assert_array_equal(back.white, [50000] * 4)
    np.testing.assert_allclose(back.black, [10, 11.25, 12, 13], atol=1)


def test_layout_and_names(tmp_path):
    path = written(tmp_path, taken(tmp_path, pattern="GBRG"))
    main, sub = tags(path)
    assert (main[254], main[259], main[262]) == (1, 7, 6)
    assert (sub[254], sub[259], sub[262], sub[258]) == (0, 7, 32803, 16)
    assert sub[33421] == (2, 2) and bytes(sub[33422]) == bytes([1, 2, 0, 1])
    assert bytes(main[50706]) == bytes([1, 4, 0, 0]) and bytes(main[50707]) == bytes([1, 1, 0, 0])
    assert main[50708] == "Maker Model 7"
    assert main[50827] == "camera.dng"
    assert main[305].startswith("restore ")
    assert NOTE in main[11] and NOTE in main[270]
    assert main[50778] == 21
    np.testing.assert_allclose(fractions(main[50721]), MATRIX, atol=1e-6)
    np.testing.assert_allclose(fractions(main[50728]), NEUTRAL, atol=1e-6)
    assert fractions(sub[50935]) == 1  # NoiseReductionApplied
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.pages[0].pages[0].asarray(),
                                      raw.read(path).mosaic)
        assert file.pages[0].asarray().shape == (24, 32, 3)


def test_tiles_are_plain_sof3_with_two_components(tmp_path):
    path = written(tmp_path, taken(tmp_path))
    sub = tags(path)[1]
    with path.open("rb") as file:
        file.seek(sub[324][0])
        tile = file.read(sub[325][0])
    start = tile.index(b"\xff\xc3")
    assert tile[start + 4] == 16 and tile[start + 9] == 2  # bits, components
    scan = tile.index(b"\xff\xda")
    assert tile[scan + 4] == 2 and tile[scan + 9] == 1  # components, predictor
    decoded = imagecodecs.ljpeg_decode(tile)
    assert decoded.size == sub[322] * sub[323]


@pytest.fixture
def fresh_encoder():
    """The encoder is tried out anew in this test and after it."""
    dng_pixels._encoder_works.cache_clear()
    yield
    dng_pixels._encoder_works.cache_clear()


@pytest.mark.parametrize("error", [TypeError, ValueError, RuntimeError,
                                   imagecodecs.DelayedImportError])
def test_without_an_encoder_values_are_stored_plain(tmp_path, monkeypatch, fresh_encoder, error):
    encode = imagecodecs.jpeg8_encode

    def lossy_only(*args, **options):
        if options.get("lossless"):
            raise error("jpeg8")
        return encode(*args, **options)

    monkeypatch.setattr(imagecodecs, "jpeg8_encode", lossy_only)
    source = taken(tmp_path)
    path = written(tmp_path, source)
    assert tags(path)[1][259] == 1
    np.testing.assert_array_equal(raw.read(path).mosaic, source.mosaic)


def test_an_encoder_that_changes_values_is_not_believed(tmp_path, monkeypatch):
    assert dng_pixels.can_compress(64)
    decode = imagecodecs.ljpeg_decode
    monkeypatch.setattr(imagecodecs, "ljpeg_decode", lambda data: decode(data) ^ 1)
    with pytest.raises(OutputError, match="changed sensor values"):
        written(tmp_path, taken(tmp_path))
    assert not (tmp_path / "out.dng").exists()


def test_an_unknown_camera_gets_plain_srgb_colours(tmp_path):
    source = replace(taken(tmp_path), xyz_to_camera=None, to_srgb=None)
    source.tags.main.entries.pop(50721)
    back = raw.read(written(tmp_path, source))
    np.testing.assert_allclose(back.to_srgb, np.eye(3), atol=1e-5)


def test_cameras_without_a_dng_get_libraws_matrix(tmp_path):
    source = taken(tmp_path)
    path = written(tmp_path, replace(source, tags=raw.Tags(), xyz_to_camera=np.diag([.5, 1, .7])))
    main = tags(path)[0]
    np.testing.assert_allclose(fractions(main[50721]), np.diag([.5, 1, .7]).ravel(), atol=1e-6)
    assert main[50778] == 21 and 50722 not in main


def test_preview_shows_the_picture(tmp_path):
    source = taken(tmp_path, size=(1200, 2200))
    with tifffile.TiffFile(written(tmp_path, source)) as file:
        shown = file.pages[0].asarray()
    assert max(shown.shape) <= 1024 and shown.shape[2] == 3
    developed = develop.develop(source, half=True) / 257.0
    np.testing.assert_allclose(shown.mean((0, 1)), developed.mean((0, 1)), atol=3)


def test_preview_is_brightened_with_the_picture(tmp_path):
    source = taken(tmp_path)
    black, white = source.black, source.white
    dark = dng_preview.make(source, source.mosaic, black, white, -2)
    assert dark.mean() < dng_preview.make(source, source.mosaic, black, white).mean() / 1.5


@pytest.mark.parametrize(("flip", "turns"), [(0, 0), (3, 2), (5, 1), (6, 3)])
def test_a_given_preview_is_turned_back(tmp_path, flip, turns):
    source = replace(taken(tmp_path), flip=flip)
    sensor = np.zeros((32, 48, 3), np.uint8)
    sensor[:8, :8] = (250, 10, 10)
    sensor[-8:, :8] = (10, 250, 10)
    with tifffile.TiffFile(written(tmp_path, source, preview=np.rot90(sensor, turns))) as file:
        stored = file.pages[0].asarray()
    assert stored.shape == sensor.shape
    assert np.abs(stored.astype(int) - sensor).mean() < 4


def test_mirrored_previews_are_turned_back_like_libraw_turns(tmp_path):
    for orientation in range(1, 9):
        source = taken(tmp_path, orientation=orientation)
        upright = develop.develop(source, half=True)
        ahead = develop.develop(replace(source, flip=0), half=True)
        back = dng_preview.unturned(upright, source.flip)
        assert back.shape[:2] == (24, 32)
        if source.flip == 0:
            np.testing.assert_array_equal(back, ahead)


@pytest.mark.parametrize("compression", ["lossless", "none"])
def test_linear_holds_demosaicked_camera_colours(tmp_path, compression):
    import rawpy

    source = taken(tmp_path, size=(130, 181), orientation=6)
    path = written(tmp_path, source, kind="linear", compression=compression)
    main, sub = tags(path)
    assert sub[262] == 34892 and sub[258] == (16, 16, 16) and sub[50717] == (65535,) * 3
    assert not {33421, 33422, 50711} & set(sub)
    with rawpy.imread(str(path)) as opened:
        assert opened.raw_type == rawpy.RawType.Stack
        np.testing.assert_array_equal(opened.raw_image[..., :3], develop.linear_camera_rgb(source))
        again = opened.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16,
                                   adjust_maximum_thr=0)
    whole = develop.develop(source)
    assert again.shape == whole.shape == (181, 130, 3)
    np.testing.assert_allclose(again.mean((0, 1)), whole.mean((0, 1)), rtol=0.005)


def test_the_same_picture_gives_the_same_bytes(tmp_path):
    source = taken(tmp_path)
    first, second = io.BytesIO(), io.BytesIO()
    dng.write(first, source, source.mosaic, note=NOTE)
    dng.write(second, source, source.mosaic, note=NOTE)
    assert first.getvalue() == second.getvalue()


def test_who_denoised_it(tmp_path):
    source = taken(tmp_path)
    assert dng.denoised_by(source.path) is None
    assert dng.denoised_by(written(tmp_path, source)) == NOTE
    (tmp_path / "text.dng").write_text("no picture")
    assert dng.denoised_by(tmp_path / "text.dng") is None


@pytest.mark.parametrize("mosaic", [np.zeros((48, 63), np.uint16), np.zeros((48, 64), np.float32)])
def test_other_arrays_are_refused(tmp_path, mosaic):
    source = taken(tmp_path)
    with pytest.raises(ShapeError):
        written(tmp_path, source, mosaic)
