"""`restore denoise` on stacks and volumes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from denoise_weights import noisy
from pictures import save


def planes(count: int, height: int = 40, width: int = 44, dtype=np.uint16) -> np.ndarray:
    return np.stack([noisy(height, width, 1, dtype, seed)[:, :, 0] for seed in range(count)])


def put(name: str, array: np.ndarray, axes: str = "ZYX", **more) -> None:
    tifffile.imwrite(name, array, photometric="minisblack", metadata={"axes": axes, **more})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32,
                                   np.float64])
def test_any_type_of_samples(denoise, dtype):
    values = noisy(40, 44, 3, np.float32).transpose(2, 0, 1)
    scale = 1 if np.dtype(dtype).kind == "f" else 100
    put("a.tif", (values * scale).astype(dtype))
    found = denoise("a.tif", network="grey")
    assert found.status == 0, found.stderr
    out = tifffile.imread("a_denoised.tif")
    assert out.shape == (3, 40, 44) and out.dtype == dtype
    assert (out != tifffile.imread("a.tif")).mean() > 0.5


def test_a_stack_trains_once_and_keeps_its_axes(denoise):
    tifffile.imwrite("a.tif", planes(4), imagej=True, metadata={"axes": "TYX", "fps": 3.0})
    found = denoise("a.tif", "--steps", 3, "--json")
    assert found.status == 0, found.stderr
    record = found.records[0]
    assert record["axes"] == "TYX" and record["shape"] == [4, 40, 44] and record["planes"] == 4
    assert record["training"]["steps"] == 3 and record["noise"]["sigma"][0] > 0
    with tifffile.TiffFile("a_denoised.tif") as file:
        assert file.series[0].axes == "TYX" and file.imagej_metadata["fps"] == 3.0
    assert found.stderr.count("trained 3 steps") == 1


def test_planes_of_a_stack_are_those_of_single_images(denoise, denoisers):
    """With weights of a fixed scale, a plane gets what the same image gets alone."""
    weights = denoisers("grey", {"kind": "fixed", "mean": [30000.0], "std": [9000.0]}, "-stack")
    stack = planes(3)
    put("a.tif", stack)
    assert denoise("a.tif", "-w", weights).status == 0
    out = tifffile.imread("a_denoised.tif")
    for number in range(3):
        save(f"{number}.tif", stack[number][:, :, None])
        assert denoise(f"{number}.tif", "-w", weights).status == 0
        np.testing.assert_array_equal(out[number], tifffile.imread(f"{number}_denoised.tif"))


def test_axes_named_by_the_user(denoise):
    put("a.tif", planes(6).reshape(2, 3, 40, 44), "TZYX")
    found = denoise("a.tif", "--axes", "tcyx", "--json", "--steps", 2)
    assert found.status == 0 and found.records[0]["axes"] == "TCYX"
    assert found.records[0]["planes"] == 2  # of three channels each
    found = denoise("a.tif", "-o", "b.tif", "--axes", "ZYX", "--steps", 2)
    assert found.status == 2, found.stderr
    assert "ZYX" in found.stderr
    assert not Path("b.tif").exists()
    save("c.png", noisy(20, 20))
    assert denoise("c.png", "--axes", "ZYX", "--steps", 2).status == 3


def test_channels_without_colour_are_denoised_one_by_one(denoise):
    """A channel's values do not depend on its neighbours', nor on their scale."""
    stack = planes(2).astype(np.float32)
    stack[1] *= 100
    put("two.tif", stack, "CYX")
    assert denoise("two.tif", network="grey").status == 0
    for number in range(2):
        put(f"{number}.tif", stack[number:number + 1])
        assert denoise(f"{number}.tif", "--axes", "ZYX", network="grey").status == 0
        np.testing.assert_allclose(
            tifffile.imread("two_denoised.tif")[number],
            np.squeeze(tifffile.imread(f"{number}_denoised.tif")), rtol=1e-5)


def test_colour_stacks_use_a_colour_network(denoise):
    stack = np.stack([noisy(40, 44, 3, seed=seed) for seed in range(2)])
    tifffile.imwrite("a.tif", stack, photometric="rgb")
    found = denoise("a.tif", network="colour")
    assert found.status == 0, found.stderr
    assert tifffile.imread("a_denoised.tif").shape == stack.shape


def test_a_stack_larger_than_what_is_kept_for_training(denoise, monkeypatch):
    """Some planes are trained on, all are denoised, and the result repeats."""
    from restore_cli.jobs.denoise_stack import StackWork

    real, kept = StackWork._sample, []

    def sample(self, stack, room):
        found = real(self, stack, 3 * 40 * 44 * 4)
        kept.append(len(found.pieces))
        return found

    monkeypatch.setattr(StackWork, "_sample", sample)
    put("a.tif", planes(9))
    for name in ("b.tif", "c.tif"):
        assert denoise("a.tif", "-o", name, "--steps", 3).status == 0
    assert kept == [3, 3]
    out = tifffile.imread("b.tif")
    assert out.shape == (9, 40, 44)
    np.testing.assert_array_equal(out, tifffile.imread("c.tif"))


def test_stack_through_pipes_and_as_npy(denoise):
    put("a.tif", planes(3))
    found = denoise("-", "-o", "-", network="grey", stdin=Path("a.tif").read_bytes())
    assert found.status == 0, found.stderr
    assert denoise("a.tif", network="grey").status == 0
    out = tifffile.imread("a_denoised.tif")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(found.stdout)), out)
    np.save("b.npy", planes(3))
    assert denoise("b.npy", network="grey").status == 0
    np.testing.assert_array_equal(np.load("b_denoised.npy"), out)


def test_invalid_pixels_of_a_stack(denoise):
    stack = planes(4, dtype=np.float32)
    stack[2, 5, 6] = np.nan
    put("a.tif", stack)
    found = denoise("a.tif", "--steps", 2)
    assert found.status == 3 and "page 3, row 6, column 7" in found.stderr
    assert os.listdir() == ["a.tif"]
    assert denoise("a.tif", "--steps", 2, "--mask-invalid").status == 0
    out = tifffile.imread("a_denoised.tif")
    assert np.isnan(out[2, 5, 6]) and np.isnan(out).sum() == 1


def test_pages_of_different_sizes(denoise):
    with tifffile.TiffWriter("a.tif") as file:
        file.write(planes(1)[0], metadata=None)
        file.write(planes(1, 30, 30)[0], metadata=None)
    found = denoise("a.tif", "--steps", 2)
    assert found.status == 3 and os.listdir() == ["a.tif"], found.stderr


def test_a_truncated_stack(denoise):
    put("a.tif", planes(5))
    data = Path("a.tif").read_bytes()
    Path("a.tif").write_bytes(data[:len(data) * 2 // 3])
    found = denoise("a.tif", "--steps", 2)
    assert found.status == 3 and os.listdir() == ["a.tif"], found.stderr


def test_a_stack_is_no_png(denoise):
    put("a.tif", planes(2))
    assert denoise("a.tif", "--format", "png", network="grey").status == 3
    assert denoise("a.tif", "-o", "b.png", network="grey").status in (2, 3)
    assert os.listdir() == ["a.tif"]


def test_a_constant_stack(denoise):
    tifffile.imwrite("a.tif", np.full((3, 20, 20), 7, np.uint16))
    found = denoise("a.tif", "--steps", 2, "--json")
    assert found.status == 0 and found.records[0]["network"] is None
    assert (tifffile.imread("a_denoised.tif") == 7).all()


def test_stacks_and_images_train_together(denoise):
    put("a.tif", planes(3))
    save("b.png", noisy(40, 40, dtype=np.uint16))
    found = denoise("a.tif", "b.png", "--steps", 2)
    assert found.status == 0, found.stderr
    assert "2 files: trained 2 steps" in found.stderr
    assert found.stderr.count("trained") == 1


# Volumes


def test_a_volume_trains_and_predicts_along_z(denoise):
    put("a.tif", planes(10, dtype=np.float32))
    found = denoise("a.tif", "--volume", "--steps", 2, "--json")
    assert found.status == 0, found.stderr
    assert tifffile.imread("a_denoised.tif").shape == (10, 40, 44)
    flat = denoise("a.tif", "-o", "b.tif", "--steps", 2)
    assert flat.status == 0
    assert np.abs(tifffile.imread("a_denoised.tif") - tifffile.imread("b.tif")).max() > 1e-3


def test_parts_of_a_volume_make_no_difference(denoise, monkeypatch):
    from restore_cli.jobs import denoise_plan

    stack = planes(21, 40, 36, np.float32)
    put("a.tif", np.stack((stack, stack[::-1])), "TZYX")
    assert denoise("a.tif", "-o", "whole.tif", "--volume", network="volume").status == 0
    whole = tifffile.imread("whole.tif")
    assert whole.std() > 0.005
    monkeypatch.setattr(denoise_plan, "choose", lambda *rest, **more: denoise_plan.Tiling(
        (4, 16, 16)))
    assert denoise("a.tif", "-o", "parts.tif", "--volume", network="volume").status == 0
    np.testing.assert_allclose(tifffile.imread("parts.tif"), whole, rtol=0, atol=1e-4)


def test_volumes_need_depth_and_weights_for_it(denoise):
    put("t.tif", planes(3), "TYX")
    save("a.png", noisy(20, 20))
    for name in ("t.tif", "a.png"):
        found = denoise(name, "--volume", "--steps", 1)
        assert found.status == 3 and "--volume" in found.stderr
    put("z.tif", planes(8))
    found = denoise("z.tif", "--volume", network="grey")
    assert found.status == 3 and "Leave --volume out" in found.stderr
    found = denoise("z.tif", network="volume")
    assert found.status == 3 and "Add --volume" in found.stderr
    assert denoise("z.tif", "--volume", "--quick").status == 4


def test_a_volume_that_does_not_fit_is_refused(denoise, monkeypatch):
    from restore_cli.jobs import denoise_plan

    put("z.tif", planes(40))
    monkeypatch.setattr(denoise_plan.Cost, "of", lambda self, window: 1 << 50)
    found = denoise("z.tif", "--volume", network="volume")
    assert found.status == 5 and "smallest part" in found.stderr
    assert os.listdir() == ["z.tif"]
