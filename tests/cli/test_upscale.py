"""`restore upscale` through the command line, in process, on images made here."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from upscale_weights import make

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.media.metadata import Metadata


class Result:
    """What one command line did."""

    def __init__(self, status: int, console: Console):
        self.status = status
        self.stdout = console.stdout.getvalue()
        self.stderr = console.stderr.getvalue()

    @property
    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.stdout.decode().splitlines()]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return lambda name="liif": make(folder, name)


@pytest.fixture
def restore(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)

    def go(*arguments, stdin: bytes = b"", network: str | None = "liif") -> Result:
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        chosen = ["-w", str(weights(network))] if network else []
        words = ["upscale", *map(str, arguments), *chosen, "--device", "cpu"]
        return Result(main(words, console), console)

    return go


def picture(height: int, width: int, channels: int = 3, dtype=np.uint8, seed: int = 0):
    """Smooth random pixels that use the type's range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 7.0
    waves = [np.sin(a * y + b * x + c) for a, b, c in rng.uniform(0.3, 2, (channels, 3))]
    unit = np.stack(waves, axis=-1) * 0.5 + 0.5
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (unit * top).astype(dtype)


def save(name: str, pixels, **metadata) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Image(pixels, metadata=Metadata(**metadata)))
    return path


def load(name) -> np.ndarray:
    return images.read(Path(name)).pixels


def test_one_image(restore):
    save("a.png", picture(20, 30))
    found = restore("a.png", "--scale", "7.5")
    assert found.status == 0, found.stderr
    assert load("a_x7.5.png").shape == (150, 225, 3)
    assert found.stdout == b"" and "a.png -> a_x7.5.png  30x20 -> 225x150" in found.stderr


@pytest.mark.parametrize("options,shape", [
    (["--scale", "2"], (26, 34)), (["--scale", "1"], (13, 17)), (["--scale", "1.5"], (20, 26)),
    (["--scale", "2x3"], (39, 34)), (["--size", "40x50"], (50, 40)),
    (["--scale", "3.1"], (math.floor(13 * 3.1 + 0.5), math.floor(17 * 3.1 + 0.5)))])
def test_sizes_are_rounded_half_up(restore, options, shape):
    save("a.png", picture(13, 17))
    assert restore("a.png", "-o", "b.png", *options).status == 0
    assert load("b.png").shape[:2] == shape


@pytest.mark.parametrize("network", ["liif", "metasr", "fixed", "edsr", "nearest"])
@pytest.mark.parametrize("options", [["--scale", "2"], ["--size", "170x133"]])
def test_tiles_make_no_difference(restore, network, options):
    """Tiled equals whole to 1e-4 of the range, on floats so that rounding hides nothing."""
    save("a.tif", picture(61, 83, dtype=np.float32))
    assert restore("a.tif", "-o", "whole.tif", *options, network=network).status == 0
    for tile in (16, 23):
        out = f"tiled{tile}.tif"
        found = restore("a.tif", "-o", out, "--tile", tile, *options, network=network)
        assert found.status == 0, found.stderr
        whole, tiled = load("whole.tif"), load(out)
        assert whole.std() > 0.01  # the network does something
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_tiny_and_thin_images(restore, shape):
    save("a.tif", picture(*shape, dtype=np.float32))
    assert restore("a.tif", "-s", 3, "-o", "b.tif").status == 0
    assert restore("a.tif", "-s", 3, "-o", "c.tif", "--tile", 16).status == 0
    assert load("b.tif").shape[:2] == (3 * shape[0], 3 * shape[1])
    np.testing.assert_allclose(load("b.tif"), load("c.tif"), rtol=0, atol=1e-4)


def test_self_ensemble_is_the_mean_over_the_eight_symmetries(restore):
    pixels = picture(19, 26, dtype=np.float32)
    total = np.zeros((38, 52, 3))
    for turn in range(8):
        turned = pixels.swapaxes(0, 1) if turn & 4 else pixels
        turned = turned[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        save(f"{turn}.tif", np.ascontiguousarray(turned))
        assert restore(f"{turn}.tif", "-s", 2).status == 0
        out = load(f"{turn}_x2.tif")[::-1 if turn & 2 else 1, ::-1 if turn & 1 else 1]
        total += out.swapaxes(0, 1) if turn & 4 else out
    save("a.tif", pixels)
    assert restore("a.tif", "-s", 2, "--self-ensemble", "--tile", 16).status == 0
    single, out = load("0_x2.tif"), load("a_x2.tif")
    assert 0 < single.min() and single.max() < 1  # clamping would change the mean
    assert np.abs(single - out).max() > 1e-3
    np.testing.assert_allclose(out, total / 8, rtol=0, atol=1e-5)


def test_grey_stays_grey_and_is_the_mean_of_the_network_s_colours(restore):
    grey = picture(20, 24, 1, np.float32)
    save("grey.tif", grey)
    save("rgb.tif", np.repeat(grey, 3, axis=2))
    assert restore("grey.tif", "rgb.tif", "-s", "2.5").status == 0
    out = load("grey_x2.5.tif")
    assert out.shape == (50, 60, 1)
    rgb = load("rgb_x2.5.tif")
    assert 0 < rgb.min() and rgb.max() < 1  # clamping comes after the mean
    np.testing.assert_allclose(out[:, :, 0], rgb.mean(axis=2), rtol=0, atol=1e-5)


def test_alpha_is_upscaled_like_a_grey_image(restore):
    rgba = picture(24, 20, 4)
    save("a.png", rgba)
    save("alpha.png", rgba[:, :, 3:])
    save("rgb.png", np.maximum(rgba, 1)[:, :, :3])
    assert restore("a.png", "alpha.png", "-s", 2, "--tile", 16).status == 0
    out = load("a_x2.png")
    assert out.shape == (48, 40, 4)
    np.testing.assert_array_equal(out[:, :, 3], load("alpha_x2.png")[:, :, 0])


def test_opaque_alpha_stays_opaque_and_changes_no_colour(restore):
    rgba = picture(20, 20, 4)
    rgba[:, :, 3] = 255
    save("a.png", rgba)
    save("b.png", rgba[:, :, :3])
    assert restore("a.png", "b.png", "-s", 2).status == 0
    assert (load("a_x2.png")[:, :, 3] == 255).all()
    np.testing.assert_array_equal(load("a_x2.png")[:, :, :3], load("b_x2.png"))


def test_colour_under_transparency_does_not_show(restore):
    rgba = picture(40, 40, 4)
    rgba[:, :, 3] = 255
    rgba[:, 20:, 3] = 0
    other = rgba.copy()
    rgba[:, 20:, :3] = 0
    other[:, 20:, :3] = 255
    save("black.png", rgba)
    save("white.png", other)
    assert restore("black.png", "white.png", "-s", 2, "--tile", 16).status == 0
    black, white = load("black_x2.png").astype(int), load("white_x2.png").astype(int)
    assert np.abs(black - white)[:, :40].max() <= 1


def test_sixteen_bits_are_computed_in_sixteen(restore):
    pixels = picture(24, 24, dtype=np.uint16)
    save("a.png", pixels)
    save("a.tif", (pixels / 65535).astype(np.float32))
    assert restore("a.png", "a.tif", "-s", 2, "-o", "out").status == 0
    out = load("out/a.png")
    assert out.dtype == np.uint16 and len(np.unique(out)) > 300
    expected = np.floor(load("out/a.tif").astype(np.float64) * 65535 + 0.5)
    assert np.abs(out - expected).max() <= 1


def test_floats_beyond_one_keep_their_range(restore):
    pixels = picture(20, 20, dtype=np.float32) * 3
    save("a.tif", pixels)
    found = restore("a.tif", "-s", 2)
    assert found.status == 0 and "mapped" in found.stderr
    assert load("a_x2.tif").dtype == np.float32
    assert 1 < load("a_x2.tif").max() <= 3.0001


def test_rounding_and_truncation(restore):
    save("a.png", picture(16, 16))
    save("f.tif", picture(16, 16).astype(np.float32) / 255)
    assert restore("a.png", "f.tif", "-s", 2, "-o", "r").status == 0
    assert restore("a.png", "-s", 2, "-o", "t.png", "--truncate").status == 0
    exact = load("r/f.tif").astype(np.float64) * 255
    safe = np.abs(exact + 0.5 - np.round(exact + 0.5)) > 1e-2
    np.testing.assert_array_equal(load("r/a.png")[safe], np.floor(exact + 0.5)[safe])
    safe = np.abs(exact - np.round(exact)) > 1e-2
    np.testing.assert_array_equal(load("t.png")[safe], np.floor(exact)[safe])


def test_cell_clamp_acts_beyond_x4_only(restore):
    save("a.tif", picture(12, 12, dtype=np.float32))
    for scale in ("3", "6"):
        assert restore("a.tif", "-s", scale, "-o", f"{scale}.tif").status == 0
        assert restore("a.tif", "-s", scale, "-o", f"{scale}c.tif", "--cell-clamp").status == 0
    np.testing.assert_array_equal(load("3.tif"), load("3c.tif"))
    assert np.abs(load("6.tif") - load("6c.tif")).max() > 1e-4


def test_metadata_is_kept_and_printed_size_stays(restore):
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("a.png", picture(10, 10), icc=icc, dpi=(100.0, 100.0), text={"Author": "somebody"})
    assert restore("a.png", "-s", 2).status == 0
    kept = images.read(Path("a_x2.png")).metadata
    assert kept.icc == icc and kept.text["Author"] == "somebody"
    assert kept.dpi == pytest.approx((200, 200), rel=1e-3)


def test_stdin_to_stdout(restore):
    save("a.png", picture(10, 12))
    data = Path("a.png").read_bytes()
    found = restore("-", "-s", 2, "-o", "-", stdin=data)
    assert found.status == 0
    assert restore("a.png", "-s", 2).status == 0
    np.testing.assert_array_equal(images.read(io.BytesIO(found.stdout)).pixels, load("a_x2.png"))
    assert restore("-", "-s", 2, stdin=data).stdout == found.stdout  # - means - for the output


def test_stdout_keeps_the_format_or_takes_the_asked_one(restore):
    save("a.jpg", picture(10, 12))
    found = restore("a.jpg", "-s", 2, "-o", "-")
    assert images.read(io.BytesIO(found.stdout)).format == "JPEG"
    found = restore("a.jpg", "-s", 2, "-o", "-", "--format", "png")
    assert images.read(io.BytesIO(found.stdout)).format == "PNG"


@pytest.mark.parametrize("format,extension", [("png", ".png"), ("jpeg", ".jpg"), ("tiff", ".tif"),
                                              ("webp", ".webp"), ("JXL", ".jxl")])
def test_formats(restore, format, extension):
    save("a.bmp", picture(10, 12))
    assert restore("a.bmp", "-s", 2, "--format", format).status == 0
    assert load(f"a_x2{extension}").shape == (20, 24, 3)


def test_a_folder_of_mixed_files_with_broken_ones(restore):
    for i in range(6):
        save(f"in/{i}.png", picture(8 + i, 9, seed=i))
    save("in/deep/grey.jpg", picture(9, 9, 1))
    save("in/deep/wide.tif", picture(6, 20, dtype=np.uint16))
    good = Path("in/1.png").read_bytes()
    Path("in/cut.png").write_bytes(good[:len(good) // 2])
    Path("in/text.png").write_text("not a picture\n")
    Path("in/empty.jpg").write_bytes(b"")
    found = restore("in", "-r", "-o", "out", "-s", 2, "--json")
    assert found.status == 3
    assert sorted(str(p.relative_to("out")) for p in Path("out").rglob("*") if p.is_file()) == [
        "0.png", "1.png", "2.png", "3.png", "4.png", "5.png",
        os.path.join("deep", "grey.jpg"), os.path.join("deep", "wide.tif")]
    by_source = {Path(r["source"]).name: r for r in found.records}
    assert len(by_source) == 11
    for name in ("cut.png", "text.png", "empty.jpg"):
        assert by_source[name]["status"] == "failed" and by_source[name]["error"]
    assert by_source["wide.tif"]["size"] == [40, 12]
    assert by_source["wide.tif"]["input_size"] == [20, 6]
    assert found.stderr.count("error:") == 3 and "8 done, 3 failed" in found.stderr


def test_existing_outputs(restore):
    save("a.png", picture(8, 8))
    save("b.png", picture(8, 8))
    save("a_x2.png", picture(2, 2))
    before = Path("a_x2.png").read_bytes()
    assert restore("a.png", "b.png", "-s", 2).status == 2
    assert Path("a_x2.png").read_bytes() == before and not Path("b_x2.png").exists()
    found = restore("a.png", "b.png", "-s", 2, "--skip-existing")
    assert found.status == 0 and "1 done, 1 skipped" in found.stderr
    assert Path("a_x2.png").read_bytes() == before
    assert restore("a.png", "b.png", "-s", 2, "--skip-existing").status == 0
    assert restore("a.png", "-s", 2, "--overwrite").status == 0
    assert load("a_x2.png").shape == (16, 16, 3)


def test_never_onto_the_input(restore):
    save("a.png", picture(8, 8))
    before = Path("a.png").read_bytes()
    assert restore("a.png", "-s", 2, "-o", "a.png", "--overwrite").status == 2
    assert Path("a.png").read_bytes() == before


def test_shards_together_are_the_whole(restore):
    for i in range(5):
        save(f"in/{i}.png", picture(6, 6, seed=i))
    assert restore("in", "-s", 2, "-o", "whole").status == 0
    for part in (1, 2, 3):
        assert restore("in", "-s", 2, "-o", "parts", "--shard", f"{part}/3").status == 0
    for i in range(5):
        assert Path(f"whole/{i}.png").read_bytes() == Path(f"parts/{i}.png").read_bytes()


def test_names_from_stdin(restore):
    save("a b.png", picture(6, 6))
    save("c.png", picture(6, 6))
    assert restore("--files-from", "-", "-0", "-s", 2, stdin=b"a b.png\0c.png\0").status == 0
    assert Path("a b_x2.png").exists() and Path("c_x2.png").exists()


def test_dry_run_does_nothing_and_tells(restore):
    save("a.png", picture(6, 6))
    found = restore("a.png", "gone.png", "-s", 2, "--dry-run", network=None)
    assert found.status == 0
    assert found.stdout.decode().splitlines() == [
        "a.png -> a_x2.png", "gone.png -> gone_x2.png (will fail: no such file)"]
    assert os.listdir() == ["a.png"]
    assert restore("a.png", "-s", 2, "--dry-run", "--json", network=None).records == [
        {"source": "a.png", "output": "a_x2.png", "status": "planned"}]


@pytest.mark.parametrize("arguments", [
    ["--scale", "0"], ["--scale", "-2"], ["--scale", "nan"], ["--scale", "inf"],
    ["--scale", "1000"], ["--scale", "0.5"], ["--scale", "two"], ["--scale", "2x"],
    ["--scale", "1x2x3"], ["--size", "10"], ["--size", "0x10"], ["--size", "axb"],
    ["--size", "4x4"], [], ["--scale", "2", "--size", "20x20"], ["-s", "2", "--memory", "lots"],
    ["-s", "2", "--format", "docx"], ["-s", "2", "-o", "b.jpg", "--format", "png"],
    ["-s", "2", "-o", "b.docx"], ["-s", "2", "-0"], ["-s", "2", "--shard", "3/2"],
    ["-s", "2", "--overwrite", "--skip-existing"], ["-s", "2", "--model", "x"],
    ["-s", "2", "-o", "-", "--json"]])
def test_contradictions_and_nonsense_are_usage_errors(restore, arguments):
    save("a.png", picture(6, 6))
    found = restore("a.png", *arguments)
    assert found.status == 2, found.stderr
    assert os.listdir() == ["a.png"]
    assert found.stderr.count("error:") == 1 and found.stdout == b""


def test_no_input_at_all(restore):
    assert restore("-s", 2).status == 2
    Path("empty").mkdir()
    assert restore("empty", "-s", 2).status == 2


def test_shrinking_gets_a_hint(restore):
    save("a.png", picture(6, 6))
    assert "only enlarges" in restore("a.png", "--scale", "0.5").stderr


def test_an_absurd_output_is_refused_before_the_work(restore, monkeypatch):
    save("a.png", picture(600, 600))
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "1000000")
    found = restore("a.png", "--scale", "50")
    assert found.status == 2 and "30000x30000" in found.stderr
    assert os.listdir() == ["a.png"]


def test_a_strip_too_wide_for_its_format_fails_before_the_work(restore):
    save("a.jpg", picture(1, 40000))
    found = restore("a.jpg", "--scale", "2")
    assert found.status == 3 and "80000x2" in found.stderr and "png" in found.stderr
    assert os.listdir() == ["a.jpg"]


def test_a_65535_wide_strip(restore):
    save("a.png", picture(1, 65535))
    found = restore("a.png", "--scale", "1.5x2")
    assert found.status == 0, found.stderr
    assert load("a_x1.5x2.png").shape == (2, 98303, 3)


def test_a_bomb_is_refused(restore, monkeypatch):
    monkeypatch.setenv("RESTORE_MAX_PIXELS", "5000")
    save("a.png", picture(100, 100))
    save("b.png", picture(10, 10))
    found = restore("a.png", "b.png", "-s", 2)
    assert found.status == 3 and "1 done, 1 failed" in found.stderr


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="needs a user whom permissions stop")
def test_an_unwritable_folder(restore):
    save("a.png", picture(6, 6))
    Path("locked").mkdir(mode=0o500)
    assert restore("a.png", "-s", 2, "-o", "locked/b.png").status == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_behind(restore, monkeypatch):
    save("a.png", picture(30, 30))
    save("b.png", picture(31, 30))
    real = images.write

    def write(target, image, **options):
        if Path(target).name == "a_x2.png":
            with open("/dev/full", "wb") as full:
                return real(full, image, format="PNG")
        return real(target, image, **options)

    monkeypatch.setattr(images, "write", write)
    found = restore("a.png", "b.png", "-s", 2)
    assert found.status == 3 and "space" in found.stderr.lower()
    assert sorted(os.listdir()) == ["a.png", "b.png", "b_x2.png"]


def test_suffix_quality_and_effort(restore):
    save("a.png", picture(40, 60))
    for options in (["--png-level", 0, "--suffix", "_0"], ["--png-level", 9, "--suffix", "_9"],
                    ["--format", "jpeg", "--quality", 20, "--suffix", "_low"],
                    ["--format", "jpeg", "--quality", 98, "--suffix", "_high"]):
        assert restore("a.png", "-s", 2, "--threads", 1, *options).status == 0
    np.testing.assert_array_equal(load("a_0.png"), load("a_9.png"))
    assert os.path.getsize("a_9.png") < os.path.getsize("a_0.png")
    assert os.path.getsize("a_low.jpg") < os.path.getsize("a_high.jpg")


def test_an_unknown_model_is_told_with_the_nearest_known_one(restore):
    save("a.png", picture(6, 6))
    found = restore("a.png", "-s", 2, "--model", "edsr-baseline-lif", network=None)
    assert found.status == 4
    assert "Did you mean edsr-baseline-liif" in found.stderr


def test_missing_and_damaged_weights(restore, weights):
    save("a.png", picture(6, 6))
    assert restore("a.png", "-s", 2, "-w", "gone.safetensors", network=None).status == 4
    data = weights().read_bytes()
    Path("cut.safetensors").write_bytes(data[:len(data) // 2])
    found = restore("a.png", "-s", 2, "-w", "cut.safetensors", network=None)
    assert found.status == 4 and "cut.safetensors" in found.stderr
    assert not Path("a_x2.png").exists()


def test_a_network_with_global_statistics_runs_whole_or_not_at_all(restore):
    save("a.tif", picture(30, 40, dtype=np.float32))
    assert restore("a.tif", "-s", 2, network="rcan").status == 0
    assert restore("a.tif", "-s", 2, "-o", "b.tif", "--tile", 16, network="rcan").status == 2
    save("large.png", np.zeros((3000, 3000, 3), np.uint8))
    found = restore("large.png", "-s", 1, "--memory", "1G", network="rcan")
    assert found.status == 5 and "whole image" in found.stderr


def test_a_tile_that_does_not_fit_is_refused_not_changed(restore):
    save("a.png", np.zeros((2500, 2500, 3), np.uint8))
    found = restore("a.png", "-s", 1, "--memory", "900M", "--tile", 2400)
    assert found.status == 5 and "2400" in found.stderr
    assert os.listdir() == ["a.png"]


def test_memory_below_the_program_itself(restore):
    save("a.png", picture(6, 6))
    assert restore("a.png", "-s", 2, "--memory", "20M").status == 5


def test_running_out_of_memory_halves_the_tile(restore, monkeypatch):
    from restore_cli.jobs.upscale_image import Upscaler

    save("a.png", picture(100, 90))
    assert restore("a.png", "-s", 2, "-o", "whole.png").status == 0
    real, tried = Upscaler.run, []

    def run(self, pixels, out, blocks, *rest):
        tried.append(len(blocks))
        if 1 < len(tried) < 4:  # the first call is the warm-up
            raise MemoryError
        return real(self, pixels, out, blocks, *rest)

    monkeypatch.setattr(Upscaler, "run", run)
    found = restore("a.png", "-s", 2)
    assert found.status == 0 and "again with tiles" in found.stderr
    assert tried[-1] > tried[1]
    assert np.abs(load("whole.png").astype(int) - load("a_x2.png")).max() <= 1


def test_an_output_larger_than_the_memory_goes_through_the_disk(restore, monkeypatch):
    from restore_cli.jobs import upscale

    save("a.png", picture(50, 60))
    assert restore("a.png", "-s", 3, "-o", "whole.png").status == 0
    monkeypatch.setattr(upscale.buffers, "encoding", lambda *_: 1 << 60)
    found = restore("a.png", "-s", 3)
    assert found.status == 0, found.stderr
    np.testing.assert_array_equal(load("a_x3.png"), load("whole.png"))
    assert sorted(os.listdir()) == ["a.png", "a_x3.png", "whole.png"]
    found = restore("a.png", "-s", 3, "--format", "webp")
    assert found.status == 5 and "PNG or TIFF" in found.stderr


def test_quiet_says_nothing_on_success(restore):
    save("a.png", picture(6, 6))
    found = restore("a.png", "-s", 2, "--quiet")
    assert found.status == 0 and found.stderr == "" and found.stdout == b""
