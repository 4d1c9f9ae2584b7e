"""`restore denoise-raw` through the command line, in process, on RAW files made here."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from denoise_raw_weights import dark, planes, raw_files

from restore_cli.media import bayer, dng, dng_tags, images, raw


def planes_of(path: str | Path) -> np.ndarray:
    return raw.read(path).planes()


def test_a_clean_dng_lies_beside_the_file(denoise_raw):
    dark("a.dng", iso=3200, seconds=0.1)
    found = denoise_raw("a.dng")
    assert found.status == 0, found.stderr
    assert sorted(os.listdir()) == ["a.dng", "a_denoised.dng"]
    before, after = raw.read("a.dng"), raw.read("a_denoised.dng")
    assert after.mosaic.shape == before.mosaic.shape and after.pattern == before.pattern
    assert (after.iso, after.seconds, after.model) == (3200, 0.1, "Model 7")
    np.testing.assert_allclose(after.balance, before.balance, rtol=1e-3)
    assert "weights unet: for any camera, ratios 1 to 300" in found.stderr
    assert "a.dng -> a_denoised.dng  64x48  x" in found.stderr and "(automatic)" in found.stderr
    assert "unet, ratio" in dng.denoised_by(Path("a_denoised.dng"))


def test_what_the_network_makes_is_what_is_stored(denoise_raw, raw_weights):
    """Against the network run by hand on the file's own planes."""
    from restore_cli.jobs import denoise_raw_network

    for pattern in bayer.PATTERNS:
        dark(f"{pattern}.dng", pattern=pattern)
        assert denoise_raw(f"{pattern}.dng", "--ratio", 80).status == 0
        network = denoise_raw_network.load(raw_weights(), device="cpu")
        amplified = np.minimum(planes_of(f"{pattern}.dng") * 80, 1)
        expected = np.clip(network(amplified, 80), 0, 1)
        bright = np.lib.stride_tricks.sliding_window_view(
            np.pad(amplified, ((0, 0), (2, 2), (2, 2)), mode="edge"), (5, 5), (1, 2)).mean((3, 4))
        expected[bright > 0.94] = np.nan  # goes to white
        found = planes_of(f"{pattern}_denoised.dng")
        assert found.shape == expected.shape and np.isfinite(expected).mean() > 0.9
        assert np.nanmax(np.abs(found - expected)) < 1.1 / 15871


def test_strength_none_at_the_same_exposure_gives_the_original(denoise_raw):
    dark("a.dng")
    assert denoise_raw("a.dng", "--ratio", 100, "--keep-exposure", "--strength", 0).status == 0
    np.testing.assert_allclose(planes_of("a_denoised.dng"), planes_of("a.dng"), atol=0.6 / 15871)


def test_kept_exposure_is_as_dark_and_as_finely_stored(denoise_raw):
    dark("a.dng")
    assert denoise_raw("a.dng", "--ratio", 100, "-o", "bright.dng").status == 0
    assert denoise_raw("a.dng", "--ratio", 100, "-o", "same.dng", "--keep-exposure").status == 0
    same = raw.read("same.dng")
    assert (same.white == 4 * 16383).all() and (same.black == 4 * 512).all()
    light = planes() < 0.6  # away from highlights
    np.testing.assert_allclose(same.planes()[light] * 100, planes_of("bright.dng")[light],
                               atol=100 * 1.1 / 63484)


@pytest.mark.parametrize("format,extension", [("tiff", ".tif"), ("png", ".png"),
                                              ("jpeg", ".jpg")])
def test_developed_pictures(denoise_raw, format, extension):
    dark("a.dng", orientation=6, lens="50mm F1.8")
    assert denoise_raw("a.dng", "--format", format, "--ratio", 60).status == 0
    found = images.read(f"a_denoised{extension}")
    assert found.pixels.shape == (64, 48, 3)  # turned upright
    assert found.bits == (8 if format == "jpeg" else 16)
    assert found.metadata.icc and b"Model 7" in found.metadata.exif
    assert b"50mm F1.8" in found.metadata.exif
    assert found.metadata.upright()[1] == 1


def test_developed_and_mosaic_agree(denoise_raw):
    from restore_cli.media import develop

    dark("a.dng")
    assert denoise_raw("a.dng", "-o", "x.dng", "--ratio", 60).status == 0
    assert denoise_raw("a.dng", "-o", "x.tif", "--ratio", 60).status == 0
    mosaic = raw.read("x.dng")
    expected = develop.develop(mosaic).astype(float)
    found = images.read("x.tif").pixels.astype(float)
    assert np.abs(found - expected).mean() < 65535 * 0.002


def test_a_linear_dng_is_demosaicked_and_as_bright(denoise_raw):
    import rawpy

    dark("a.dng")
    assert denoise_raw("a.dng", "--format", "linear-dng", "--ratio", 60).status == 0
    assert denoise_raw("a.dng", "-o", "m.dng", "--ratio", 60).status == 0
    with rawpy.imread("a_denoised.dng") as opened:
        linear = opened.raw_image_visible[..., :3].astype(float)
        scale = opened.white_level
    assert linear.shape == (48, 64, 3)
    mosaic = planes_of("m.dng")
    means = mosaic[0].mean(), mosaic[1::2].mean(), mosaic[2].mean()
    np.testing.assert_allclose(linear.mean((0, 1)) / scale, means, rtol=0.03)


def test_compression_and_quality(denoise_raw):
    dark("a.dng", light=np.full((4, 120, 160), 0.4))
    for options in (["-o", "l.dng"], ["-o", "n.dng", "--compression", "none"],
                    ["-o", "low.jpg", "--quality", 20], ["-o", "high.jpg", "--quality", 98],
                    ["-o", "loose.png", "--png-level", 0], ["-o", "packed.png"]):
        assert denoise_raw("a.dng", *options).status == 0
    np.testing.assert_array_equal(raw.read("l.dng").mosaic, raw.read("n.dng").mosaic)
    assert os.path.getsize("l.dng") < os.path.getsize("n.dng")
    assert os.path.getsize("low.jpg") < os.path.getsize("high.jpg")
    np.testing.assert_array_equal(*(images.read(f"{name}.png").pixels
                                    for name in ("loose", "packed")))
    assert os.path.getsize("packed.png") < os.path.getsize("loose.png")


def test_stdin_to_stdout(denoise_raw):
    data = dark("a.dng").read_bytes()
    assert denoise_raw("a.dng").status == 0
    found = denoise_raw("-", "-o", "-", stdin=data)
    assert found.status == 0, found.stderr
    Path("piped.dng").write_bytes(found.stdout)
    piped, named = raw.read("piped.dng"), raw.read("a_denoised.dng")
    np.testing.assert_array_equal(piped.mosaic, named.mosaic)
    assert named.tags.text(dng_tags.ORIGINAL_NAME) == "a.dng"
    assert piped.tags.text(dng_tags.ORIGINAL_NAME) == ""
    found = denoise_raw("-", "-o", "-", "--format", "png", stdin=data)
    assert images.read(io.BytesIO(found.stdout)).bits == 16
    assert denoise_raw("-", "-o", "out.tif", stdin=data).status == 0
    assert images.read("out.tif").pixels.shape == (48, 64, 3)
    broken = denoise_raw("-", "-o", "-", stdin=b"not a picture")
    assert broken.status == 3 and broken.stdout == b""
    assert broken.stderr.count("error:") == 1 and "error: -: " in broken.stderr


def test_nothing_is_done_twice_unless_asked(denoise_raw):
    dark("a.dng")
    dark("b.dng")
    assert denoise_raw("a.dng").status == 0
    found = denoise_raw("a_denoised.dng", "b.dng")
    assert found.status == 3 and Path("b_denoised.dng").exists()
    assert "a_denoised.dng: has been denoised already" in found.stderr
    assert "--again" in found.stderr and not Path("a_denoised_denoised.dng").exists()
    assert denoise_raw("a_denoised.dng", "--again").status == 0


def test_a_folder_again_leaves_its_results_alone(denoise_raw):
    dark("in/a.dng")
    assert denoise_raw("in").status == 0
    found = denoise_raw("in", "--skip-existing")
    assert found.status == 0 and "error" not in found.stderr
    assert sorted(os.listdir("in")) == ["a.dng", "a_denoised.dng"]


def test_one_ratio_for_all(denoise_raw):
    dark("dark.dng", ratio=200)
    dark("bright.dng", ratio=25)
    Path("bad.dng").write_bytes(b"II*\0nothing")
    apart = denoise_raw("dark.dng", "bright.dng", "-o", "apart", "--json").records
    found = denoise_raw("dark.dng", "bright.dng", "bad.dng", "-o", "same", "--same-ratio",
                        "--json")
    assert found.status == 3
    records = [one for one in found.records if one["status"] == "done"]
    assert {one["ratio"] for one in records} == {min(one["ratio"] for one in apart)}
    assert {one["rule"] for one in records} == {"same for all"}
    assert "ratio for 2 files: " in found.stderr


def test_shards_share_the_ratio_of_all(denoise_raw):
    for index, ratio in enumerate((200, 100, 25)):
        dark(f"in/{index}.dng", ratio=ratio)
    assert denoise_raw("in", "-o", "whole", "--same-ratio").status == 0
    for part in (1, 2, 3):
        assert denoise_raw("in", "-o", "parts", "--same-ratio", "--shard", f"{part}/3").status == 0
    for index in range(3):
        assert (Path(f"whole/{index}.dng").read_bytes() == Path(f"parts/{index}.dng").read_bytes())


def test_ratios_from_exposures(denoise_raw):
    dark("a.dng", iso=1600, seconds=0.02)
    dark("long.dng", ratio=1, iso=100, seconds=20)
    record = denoise_raw("a.dng", "--target-exposure", 1600, "--json").records[0]
    assert (record["ratio"], record["rule"]) == (50, "target exposure")
    record = denoise_raw("a.dng", "--reference", "long.dng", "--overwrite", "--json").records[0]
    assert (record["ratio"], record["rule"]) == (62.5, "reference")
    dark("unknown.dng", iso=None, seconds=None)
    found = denoise_raw("unknown.dng", "a.dng", "--target-exposure", 1600, "--overwrite")
    assert found.status == 3
    assert "unknown.dng: does not say its ISO and exposure time" in found.stderr


def test_cameras_the_weights_know(denoise_raw, raw_weights):
    known = raw_weights("unet", ["Maker Model 7", "NIKON D850"], (100, 300), label="7")
    dark("a.dng", ratio=150)
    dark("b.dng", model="Model 8")
    dark("c.dng", model="Model 8", ratio=150)
    found = denoise_raw("a.dng", network=known)
    assert "weights unet7: for Maker Model 7, NIKON D850, ratios 100 to 300" in found.stderr
    assert "do not know" not in found.stderr
    found = denoise_raw("b.dng", "c.dng", network=known)
    assert found.stderr.count("do not know the Maker Model 8") == 1
    assert "restore train led --finetune pairs.txt" in found.stderr


def test_the_record_of_a_file(denoise_raw):
    dark("a.dng")
    record = denoise_raw("a.dng", "--ratio", 500, "--json", "--tile", 32).records[0]
    assert record["status"] == "done" and record["size"] == [64, 48]
    assert record["camera"] == "Maker Model 7" and record["format"] == "dng"
    assert record["ratio"] == 500 and record["weights"] == "unet" and record["tile"] == [32, 32]
    assert "outside the 1 to 300" in record["notes"][0]


def test_a_folder_of_mixed_files_with_broken_ones(denoise_raw):
    for index in range(4):
        dark(f"in/{index}.dng", seed=index)
    dark("in/deep/turned.dng", orientation=8)
    good = Path("in/1.dng").read_bytes()
    Path("in/cut.dng").write_bytes(good[:len(good) // 2])
    Path("in/text.arw").write_text("not a picture\n")
    Path("in/empty.nef").write_bytes(b"")
    raw_files.write_dng(Path("in/black.dng"), np.full((48, 64), 512, np.uint16))
    raw_files.write_dng(Path("in/linear.dng"), np.full((48, 64, 3), 900, np.uint16),
                        photometric=34892)
    found = denoise_raw("in", "-r", "-o", "out", "--json")
    assert found.status == 3
    assert sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.*")) == [
        "0.dng", "1.dng", "2.dng", "3.dng", os.path.join("deep", "turned.dng")]
    by_source = {Path(one["source"]).name: one for one in found.records}
    assert len(by_source) == 10
    for name in ("cut.dng", "text.arw", "empty.nef", "black.dng", "linear.dng"):
        assert by_source[name]["status"] == "failed" and by_source[name]["error"]
    assert "holds no light" in by_source["black.dng"]["error"]
    assert found.stderr.count("error:") == 5 and "5 done, 5 failed" in found.stderr


def test_names_from_stdin(denoise_raw):
    dark("a b.dng")
    dark("c.dng")
    assert denoise_raw("--files-from", "-", "-0", stdin=b"a b.dng\0c.dng\0").status == 0
    assert Path("a b_denoised.dng").exists() and Path("c_denoised.dng").exists()


def test_dry_run_does_nothing_and_tells(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "gone.ARW", "--dry-run", network=None)
    assert found.status == 0 and os.listdir() == ["a.dng"]
    assert found.stdout.decode().splitlines() == [
        "a.dng -> a_denoised.dng", "gone.ARW -> gone_denoised.dng (will fail: no such file)"]


def test_existing_outputs(denoise_raw):
    dark("a.dng")
    Path("a_denoised.dng").write_bytes(b"mine")
    assert denoise_raw("a.dng").status == 2
    assert denoise_raw("a.dng", "--skip-existing").status == 0
    assert Path("a_denoised.dng").read_bytes() == b"mine"
    assert denoise_raw("a.dng", "--overwrite").status == 0
    assert raw.read("a_denoised.dng").mosaic.shape == (48, 64)


def test_never_onto_the_input(denoise_raw):
    before = dark("a.dng").read_bytes()
    assert denoise_raw("a.dng", "-o", "a.dng", "--overwrite").status == 2
    assert Path("a.dng").read_bytes() == before


def test_quiet_says_nothing_on_success(denoise_raw):
    dark("a.dng")
    found = denoise_raw("a.dng", "--quiet")
    assert found.status == 0 and found.stderr == "" and found.stdout == b""


@pytest.mark.parametrize("shape", [(24, 30), (31, 45), (130, 98)])
def test_any_size(denoise_raw, shape):
    mosaic = raw_files.scene(*shape)
    raw_files.write_dng(Path("a.dng"), mosaic)
    found = denoise_raw("a.dng", "--ratio", 2)
    assert found.status == 0, found.stderr
    assert raw.read("a_denoised.dng").mosaic.shape == shape


def test_real_files_of_every_kind(denoise_raw, shared_data):
    names = ["native/kodak_dc50_grbg.kdc", "native/ml_colorchart_rggb14.dng",
             "wrapped/rose_bggr.dng", "wrapped/rose_grbg.dng", "wrapped/rose_rggb_hotpixels.dng",
             "pair/short/00001_00_0.1s.dng"]
    found = denoise_raw(*(shared_data / "raw" / name for name in names), "-o", "out", "--json")
    assert found.status == 0, found.stderr
    for name, record in zip(names, found.records, strict=True):
        before, after = raw.read(shared_data / "raw" / name), raw.read(record["output"])
        assert after.pattern == before.pattern and after.flip == before.flip
        assert after.mosaic.shape == before.mosaic.shape
        np.testing.assert_allclose(after.balance, before.balance, rtol=2e-3)
        assert 1 <= record["ratio"] <= 300
    assert 100 < found.records[-1]["ratio"] < 200


def test_the_reference_of_a_real_pair(denoise_raw, shared_data):
    pair = shared_data / "raw" / "pair"
    record = denoise_raw(pair / "short" / "00001_00_0.04s.dng", "-o", "x.dng", "--json",
                         "--reference", pair / "long" / "00001_00_10s.dng").records[0]
    assert record["ratio"] == pytest.approx(250, rel=1e-3)
