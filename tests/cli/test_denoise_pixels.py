"""What `restore denoise` computes with given weights, for every kind of image and network."""

from __future__ import annotations

import numpy as np
import pytest
from denoise_weights import noisy
from pictures import load, save

NETWORKS = ["grey", "n2v2", "unet", "rednet", "rednet-plain"]


@pytest.mark.parametrize("network", NETWORKS)
def test_tiles_make_no_difference(denoise, network):
    """Tiled equals whole to 1e-4 of the range, on floats so that rounding hides nothing."""
    save("a.tif", noisy(171, 203, dtype=np.float32))
    assert denoise("a.tif", "-o", "whole.tif", network=network).status == 0
    whole = load("whole.tif")
    assert whole.std() > 0.005 and np.abs(whole - load("a.tif")).max() > 0.01
    for tile in (16, 45):
        found = denoise("a.tif", "-o", f"{tile}.tif", "--tile", tile, network=network)
        assert found.status == 0, found.stderr
        np.testing.assert_allclose(load(f"{tile}.tif"), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (2, 3), (33, 5)])
@pytest.mark.parametrize("network", ["grey", "unet"])
def test_tiny_and_thin_images(denoise, shape, network):
    save("a.tif", noisy(*shape, dtype=np.float32))
    assert denoise("a.tif", "-o", "b.tif", network=network).status == 0
    assert denoise("a.tif", "-o", "c.tif", "--tile", 16, network=network).status == 0
    assert load("b.tif").shape == (*shape, 1)
    np.testing.assert_allclose(load("b.tif"), load("c.tif"), rtol=0, atol=1e-4)


def test_padding_is_the_image_reflected(denoise, denoisers):
    """An image that needs padding gives what its padded self gives there."""
    weights = denoisers("grey", {"kind": "fixed", "mean": [0.5], "std": [0.2]}, "-fixed")
    pixels = noisy(41, 54, dtype=np.float32)
    save("a.tif", pixels)
    save("p.tif", np.pad(pixels, ((0, 3), (0, 2), (0, 0)), mode="reflect"))
    assert denoise("a.tif", "p.tif", "-w", weights).status == 0
    np.testing.assert_allclose(load("a_denoised.tif"), load("p_denoised.tif")[:41, :54],
                               rtol=0, atol=1e-5)


def test_tta_is_the_mean_over_the_eight_symmetries(denoise):
    pixels = noisy(32, 44, dtype=np.float32)
    total = np.zeros(pixels.shape)
    for turn in range(8):
        turned = pixels.swapaxes(0, 1) if turn & 4 else pixels
        turned = turned[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        save(f"{turn}.tif", np.ascontiguousarray(turned))
        assert denoise(f"{turn}.tif", network="grey").status == 0
        out = load(f"{turn}_denoised.tif")[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        total += out.swapaxes(0, 1) if turn & 4 else out
    save("a.tif", pixels)
    assert denoise("a.tif", "--tta", "--tile", 16, network="grey").status == 0
    out = load("a_denoised.tif")
    assert np.abs(load("0_denoised.tif") - out).max() > 1e-3
    np.testing.assert_allclose(out, total / 8, rtol=0, atol=1e-5)


def test_strength_mixes_the_input_back(denoise):
    pixels = noisy(30, 28, dtype=np.float32)
    save("a.tif", pixels)
    for strength in (0, 0.25, 1):
        assert denoise("a.tif", "-o", f"{strength}.tif", "--strength", strength,
                       network="grey").status == 0
    np.testing.assert_allclose(load("0.tif"), pixels, rtol=0, atol=1e-6)
    np.testing.assert_allclose(load("0.25.tif"), 0.75 * pixels + 0.25 * load("1.tif"), atol=1e-6)


@pytest.mark.parametrize("dtype,name", [(np.uint8, "a.png"), (np.uint16, "a.png"),
                                        (np.uint16, "a.tif"), (np.float32, "a.tif")])
@pytest.mark.parametrize("channels,network", [(1, "grey"), (3, "colour")])
def test_depth_kind_and_metadata_stay(denoise, dtype, name, channels, network):
    save(name, noisy(34, 29, channels, dtype), dpi=(300.0, 300.0), text={"Title": "cells"})
    assert denoise(name, "-o", "b" + name[1:], network=network).status == 0
    from restore_cli.media import images

    out = images.read("b" + name[1:])
    assert out.pixels.shape == (34, 29, channels) and out.pixels.dtype == dtype
    assert out.metadata.text["Title"] == "cells" and out.metadata.dpi[0] == pytest.approx(300)


def test_integers_are_rounded_not_cut(denoise):
    """The same values as floats, rounded half to even and clipped to the type's range."""
    pixels = noisy(40, 40)
    save("a.png", pixels)
    save("f.tif", pixels.astype(np.float32))
    assert denoise("a.png", network="grey").status == 0
    assert denoise("f.tif", network="grey").status == 0
    exact = load("f_denoised.tif")
    off = load("a_denoised.png") - np.clip(np.rint(exact), 0, 255)
    sure = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # the two may differ in the last bit
    assert sure.mean() > 0.9 and not off[sure].any()


def test_floats_are_not_clipped(denoise):
    pixels = noisy(40, 40, dtype=np.float32)
    save("low.tif", pixels * 3000 - 3000)
    save("high.tif", pixels * 3000 + 3000)
    assert denoise("low.tif", "high.tif", network="grey").status == 0
    assert load("low_denoised.tif").min() < -100 and load("high_denoised.tif").max() > 100


def test_normalised_per_image(denoise):
    """Other offset and gain, same picture."""
    pixels = noisy(40, 36, dtype=np.float32)
    save("a.tif", pixels)
    save("b.tif", pixels * 700 + 90)
    assert denoise("a.tif", "b.tif", network="grey").status == 0
    np.testing.assert_allclose(load("b_denoised.tif"), load("a_denoised.tif") * 700 + 90,
                               rtol=1e-4, atol=0.05)


def test_grey_saved_as_colour_is_one_plane(denoise):
    grey = noisy(36, 30)
    save("grey.png", grey)
    save("three.png", np.repeat(grey, 3, axis=2))
    assert denoise("grey.png", "three.png", network="grey").status == 0
    np.testing.assert_array_equal(load("three_denoised.png"),
                                  np.repeat(load("grey_denoised.png"), 3, axis=2))


def test_a_look_up_table_of_one_colour_is_one_plane(denoise):
    """Yellow: red and green alike, no blue."""
    grey = noisy(36, 30)
    save("grey.png", grey)
    save("yellow.png", np.concatenate((grey, grey, np.zeros_like(grey)), axis=2))
    assert denoise("grey.png", "yellow.png", network="grey").status == 0
    out = load("yellow_denoised.png")
    assert not out[:, :, 2].any()
    np.testing.assert_array_equal(out[:, :, :1], load("grey_denoised.png"))
    np.testing.assert_array_equal(out[:, :, 1:2], load("grey_denoised.png"))


def test_alpha_is_kept_aside(denoise):
    rgba = np.concatenate((noisy(40, 40, 3), np.full((40, 40, 1), 200, np.uint8)), axis=2)
    save("rgb.png", rgba[:, :, :3])
    save("rgba.png", rgba)
    assert denoise("rgb.png", "rgba.png", network="colour").status == 0
    out = load("rgba_denoised.png")
    np.testing.assert_array_equal(out[:, :, 3], rgba[:, :, 3])
    np.testing.assert_array_equal(out[:, :, :3], load("rgb_denoised.png"))


def test_what_stands_under_full_transparency_does_not_matter(denoise):
    rgba = np.concatenate((noisy(40, 40, 3), np.full((40, 40, 1), 255, np.uint8)), axis=2)
    rgba[10:15, 12:20, 3] = 0
    outs = []
    for name, colour in (("a", 0), ("b", 255)):
        rgba[10:15, 12:20, :3] = colour
        save(f"{name}.png", rgba)
        assert denoise(f"{name}.png", network="colour").status == 0
        outs.append(load(f"{name}_denoised.png"))
        assert (outs[-1][10:15, 12:20, :3] == colour).all()
    seen = rgba[:, :, 3] > 0
    np.testing.assert_array_equal(outs[0][seen], outs[1][seen])


def test_grey_weights_denoise_the_channels_of_a_colour_image(denoise):
    pixels = noisy(36, 30, 3, np.float32)
    save("rgb.tif", pixels)
    found = denoise("rgb.tif", network="grey")
    assert found.status == 0 and "each channel by itself" in found.stderr
    for c in range(3):
        save(f"{c}.tif", pixels[:, :, c:c + 1])
        assert denoise(f"{c}.tif", network="grey").status == 0
        np.testing.assert_allclose(load(f"{c}_denoised.tif")[:, :, 0],
                                   load("rgb_denoised.tif")[:, :, c], rtol=0, atol=1e-5)


def test_colour_weights_refuse_grey(denoise):
    save("a.png", noisy(20, 20))
    found = denoise("a.png", network="colour")
    assert found.status == 3 and "grey" in found.stderr


def test_a_constant_image_comes_back_unchanged(denoise):
    save("a.png", np.full((20, 30, 3), 77, np.uint8))
    found = denoise("a.png", "--json", network="colour")
    assert found.status == 0 and found.records[0]["network"] is None
    assert "unchanged" in found.stderr
    assert (load("a_denoised.png") == 77).all()


def test_a_constant_channel_stays(denoise):
    pixels = noisy(30, 30, 3)
    pixels[:, :, 1] = 9
    save("a.png", pixels)
    assert denoise("a.png", network="colour").status == 0
    out = load("a_denoised.png")
    assert (out[:, :, 1] == 9).all() and (out[:, :, 0] != pixels[:, :, 0]).any()


def test_published_weights_give_the_published_result(denoise, shared_data):
    """Real weights, on the scale they were trained for, against upstream's own output."""
    folder = shared_data.parent / "golden" / "n2v"
    weights = folder / "weights" / "best_N2V_Unet_[25].pth"
    if not weights.is_file():
        pytest.skip("the published weights are not here")
    with np.load(folder / "unet_real25_camera.npz") as case:
        given, expected = np.squeeze(case["noisy"]), np.squeeze(case["output"])
        rounded = np.squeeze(case["output_u8_round"])
    save("a.tif", given.astype(np.float32)[:, :, None])
    assert denoise("a.tif", "-w", weights, "--tile", 32).status == 0
    out = load("a_denoised.tif")[:, :, 0]
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    sure = np.abs(expected * 255 % 1 - 0.5) > 0.01
    np.testing.assert_array_equal(np.clip(np.rint(out * 255), 0, 255)[sure], rounded[sure])
