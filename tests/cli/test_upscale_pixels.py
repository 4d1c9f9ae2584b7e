"""What `restore upscale` computes, for every kind of image and network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pictures import load, picture, save

from restore_cli.media import images


@pytest.mark.parametrize("options,shape", [
    (["--scale", "2"], (26, 34)), (["--scale", "1"], (13, 17)), (["--scale", "1.5"], (20, 26)),
    (["--scale", "2x3"], (39, 34)), (["--size", "40x50"], (50, 40)),
    (["--scale", "3.1"], (math.floor(13 * 3.1 + 0.5), math.floor(17 * 3.1 + 0.5)))])
def test_sizes_are_rounded_half_up(upscale, options, shape):
    save("a.png", picture(13, 17))
    assert upscale("a.png", "-o", "b.png", *options).status == 0
    assert load("b.png").shape[:2] == shape


@pytest.mark.parametrize("network", ["liif", "metasr", "fixed", "edsr", "nearest"])
@pytest.mark.parametrize("options", [["--scale", "2"], ["--size", "170x133"]])
def test_tiles_make_no_difference(upscale, network, options):
    """Tiled equals whole to 1e-4 of the range, on floats so that rounding hides nothing."""
    save("a.tif", picture(61, 83, dtype=np.float32))
    assert upscale("a.tif", "-o", "whole.tif", *options, network=network).status == 0
    for tile in (16, 23):
        out = f"tiled{tile}.tif"
        found = upscale("a.tif", "-o", out, "--tile", tile, *options, network=network)
        assert found.status == 0, found.stderr
        whole, tiled = load("whole.tif"), load(out)
        assert whole.std() > 0.01  # the network does something
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_tiny_and_thin_images(upscale, shape):
    save("a.tif", picture(*shape, dtype=np.float32))
    assert upscale("a.tif", "-s", 3, "-o", "b.tif").status == 0
    assert upscale("a.tif", "-s", 3, "-o", "c.tif", "--tile", 16).status == 0
    assert load("b.tif").shape[:2] == (3 * shape[0], 3 * shape[1])
    np.testing.assert_allclose(load("b.tif"), load("c.tif"), rtol=0, atol=1e-4)


def test_self_ensemble_is_the_mean_over_the_eight_symmetries(upscale):
    pixels = picture(19, 26, dtype=np.float32)
    total = np.zeros((38, 52, 3))
    for turn in range(8):
        turned = pixels.swapaxes(0, 1) if turn & 4 else pixels
        turned = turned[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        save(f"{turn}.tif", np.ascontiguousarray(turned))
        assert upscale(f"{turn}.tif", "-s", 2).status == 0
        out = load(f"{turn}_x2.tif")[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        total += out.swapaxes(0, 1) if turn & 4 else out
    save("a.tif", pixels)
    assert upscale("a.tif", "-s", 2, "--self-ensemble", "--tile", 16).status == 0
    single, out = load("0_x2.tif"), load("a_x2.tif")
    assert 0 < single.min() and single.max() < 1  # clamping would change the mean
    assert np.abs(single - out).max() > 1e-3
    np.testing.assert_allclose(out, total / 8, rtol=0, atol=1e-5)


def test_grey_stays_grey_and_is_the_mean_of_the_network_s_colours(upscale):
    grey = picture(20, 24, 1, np.float32)
    save("grey.tif", grey)
    save("rgb.tif", np.repeat(grey, 3, axis=2))
    assert upscale("grey.tif", "rgb.tif", "-s", "2.5").status == 0
    out = load("grey_x2.5.tif")
    assert out.shape == (50, 60, 1)
    rgb = load("rgb_x2.5.tif")
    assert 0 < rgb.min() and rgb.max() < 1  # clamping comes after the mean
    np.testing.assert_allclose(out[:, :, 0], rgb.mean(axis=2), rtol=0, atol=1e-5)


def test_alpha_is_upscaled_like_a_grey_image(upscale):
    rgba = picture(24, 20, 4)
    save("a.png", rgba)
    save("alpha.png", rgba[:, :, 3:])
    save("rgb.png", np.maximum(rgba, 1)[:, :, :3])
    assert upscale("a.png", "alpha.png", "-s", 2, "--tile", 16).status == 0
    out = load("a_x2.png")
    assert out.shape == (48, 40, 4)
    np.testing.assert_array_equal(out[:, :, 3], load("alpha_x2.png")[:, :, 0])


def test_opaque_alpha_stays_opaque_and_changes_no_colour(upscale):
    rgba = picture(20, 20, 4)
    rgba[:, :, 3] = 255
    save("a.png", rgba)
    save("b.png", rgba[:, :, :3])
    assert upscale("a.png", "b.png", "-s", 2).status == 0
    assert (load("a_x2.png")[:, :, 3] == 255).all()
    np.testing.assert_array_equal(load("a_x2.png")[:, :, :3], load("b_x2.png"))


def test_colour_under_transparency_does_not_show(upscale):
    rgba = picture(40, 40, 4)
    rgba[:, :, 3] = 255
    rgba[:, 20:, 3] = 0
    other = rgba.copy()
    rgba[:, 20:, :3] = 0
    other[:, 20:, :3] = 255
    save("black.png", rgba)
    save("white.png", other)
    assert upscale("black.png", "white.png", "-s", 2, "--tile", 16).status == 0
    black, white = load("black_x2.png").astype(int), load("white_x2.png").astype(int)
    assert np.abs(black - white)[:, :40].max() <= 1


def test_sixteen_bits_are_computed_in_sixteen(upscale):
    pixels = picture(24, 24, dtype=np.uint16)
    save("a.png", pixels)
    save("a.tif", (pixels / 65535).astype(np.float32))
    assert upscale("a.png", "a.tif", "-s", 2, "-o", "out").status == 0
    out = load("out/a.png")
    assert out.dtype == np.uint16 and len(np.unique(out)) > 300
    expected = np.floor(load("out/a.tif").astype(np.float64) * 65535 + 0.5)
    assert np.abs(out - expected).max() <= 1


def test_floats_beyond_one_keep_their_range(upscale):
    pixels = picture(20, 20, dtype=np.float32) * 3
    save("a.tif", pixels)
    found = upscale("a.tif", "-s", 2)
    assert found.status == 0 and "mapped" in found.stderr
    assert load("a_x2.tif").dtype == np.float32
    assert 1 < load("a_x2.tif").max() <= 3.0001


def test_rounding_and_truncation(upscale):
    save("a.png", picture(16, 16))
    save("f.tif", picture(16, 16).astype(np.float32) / 255)
    assert upscale("a.png", "f.tif", "-s", 2, "-o", "r").status == 0
    assert upscale("a.png", "-s", 2, "-o", "t.png", "--truncate").status == 0
    exact = load("r/f.tif").astype(np.float64) * 255
    safe = np.abs(exact + 0.5 - np.round(exact + 0.5)) > 1e-2
    np.testing.assert_array_equal(load("r/a.png")[safe], np.floor(exact + 0.5)[safe])
    safe = np.abs(exact - np.round(exact)) > 1e-2
    np.testing.assert_array_equal(load("t.png")[safe], np.floor(exact)[safe])


def test_cell_clamp_acts_beyond_x4_only(upscale):
    save("a.tif", picture(12, 12, dtype=np.float32))
    for scale in ("3", "6"):
        assert upscale("a.tif", "-s", scale, "-o", f"{scale}.tif").status == 0
        assert upscale("a.tif", "-s", scale, "-o", f"{scale}c.tif", "--cell-clamp").status == 0
    np.testing.assert_array_equal(load("3.tif"), load("3c.tif"))
    assert np.abs(load("6.tif") - load("6c.tif")).max() > 1e-4


def test_metadata_is_kept_and_printed_size_stays(upscale):
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("a.png", picture(10, 10), icc=icc, dpi=(100.0, 100.0), text={"Author": "somebody"})
    assert upscale("a.png", "-s", 2).status == 0
    kept = images.read(Path("a_x2.png")).metadata
    assert kept.icc == icc and kept.text["Author"] == "somebody"
    assert kept.dpi == pytest.approx((200, 200), rel=1e-3)
