"""Finding pairs of RAW files to evaluate on, reading and generating them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import InputError
from restore_cli.evaluation import raw_cases, raw_synthetic
from restore_cli.evaluation.raw_cases import FileCase
from restore_cli.training.degradations import raw_noise

_spec = importlib.util.spec_from_file_location(
    "raw_files_of_media", Path(__file__).parents[1] / "media" / "raw_files.py")
raw_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(raw_files)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _pairs(folder: Path, **options) -> list[tuple[str, str]]:
    return [(case.noisy.name, case.clean.name)
            for case in raw_cases.find(folder, label="set", **options)]


def test_sid_takes_the_first_shot_of_each_exposure_of_the_test_scenes(tmp_path):
    _touch(tmp_path, "long/00001_00_10s.ARW", "long/10003_00_10s.ARW", "long/10034_00_30s.ARW",
           "short/00001_00_0.1s.ARW", "short/10003_00_0.04s.ARW", "short/10003_01_0.04s.ARW",
           "short/10003_00_0.1s.ARW", "short/10003_02_0.1s.ARW", "short/10034_03_0.1s.ARW",
           "short/Thumbs.db", "short/._10034_03_0.1s.ARW")
    first = [("10003_00_0.04s.ARW", "10003_00_10s.ARW"), ("10003_00_0.1s.ARW", "10003_00_10s.ARW"),
             ("10034_03_0.1s.ARW", "10034_00_30s.ARW")]
    assert _pairs(tmp_path) == first
    assert _pairs(tmp_path, all_scenes=True) == [("00001_00_0.1s.ARW", "00001_00_10s.ARW"), *first]
    assert len(_pairs(tmp_path, all_shots=True)) == 5
    assert len(_pairs(tmp_path, all_shots=True, all_scenes=True)) == 6


def test_without_test_scenes_all_of_sid_counts(tmp_path):
    _touch(tmp_path, "long/00001_00_10s.dng", "short/00001_00_0.1s.dng", "short/00001_01_0.1s.dng")
    assert _pairs(tmp_path) == [("00001_00_0.1s.dng", "00001_00_10s.dng")]


def test_a_folder_of_data_sets_is_entered(tmp_path):
    _touch(tmp_path, "Sony/long/10003_00_10s.ARW", "Sony/short/10003_00_0.1s.ARW", "notes.txt",
           "SonyA7S2/scene-3/IMG_0001.ARW", "SonyA7S2/scene-3/IMG_0002.ARW", "other/a.ARW")
    found = raw_cases.find(tmp_path, label="all")
    assert [(case.data, case.origin, case.name) for case in found] == [
        ("all/Sony", "SID", "10003_00_0.1s"), ("all/SonyA7S2", "ELD", "scene-3/IMG_0002")]


def test_eld_pairs_each_dark_frame_with_the_nearest_clean_one(tmp_path):
    for scene in (1, 2, 3, 10):
        _touch(tmp_path, *(f"scene-{scene}/IMG_{n:04d}.nef" for n in range(1, 17)))
    found = raw_cases.find(tmp_path, label="ELD")
    assert len(found) == 24 and {case.name.split("/")[0] for case in found} == {
        "scene-3", "scene-10"}
    assert [case.noisy.parent.name for case in found] == ["scene-3"] * 12 + ["scene-10"] * 12
    # As in LED's own lists.
    assert {(int(case.noisy.stem[4:]), int(case.clean.stem[4:]), case.usual)
            for case in found} == {
        (2, 1, 1), (7, 6, 1), (12, 11, 1), (3, 1, 10), (8, 6, 10), (13, 11, 10),
        (4, 6, 100), (9, 11, 100), (14, 16, 100), (5, 6, 200), (10, 11, 200), (15, 16, 200)}
    assert len(raw_cases.find(tmp_path, label="ELD", all_scenes=True)) == 48


def test_eld_renamed_for_the_published_programs(tmp_path):
    """One folder, clean frames numbered as the dark ones, ISO times seconds in the names."""
    _touch(tmp_path, *(f"long/00003_{n:02d}_400s.ARW" for n in (1, 6, 11, 16)),
           *(f"short/00003_{n:02d}_{light}s.ARW"
             for n, light in ((2, "400.0"), (7, "400.0"), (4, "4.0"), (9, "4.0"), (15, "2.0"))))
    assert _pairs(tmp_path) == [
        (f"00003_{a:02d}_{light}s.ARW", f"00003_{b:02d}_400s.ARW") for a, light, b in (
            (2, "400.0", 1), (4, "4.0", 6), (7, "400.0", 6), (9, "4.0", 11), (15, "2.0", 16))]


def test_what_has_no_partner_is_told(tmp_path):
    _touch(tmp_path, "a/long/10003_00_10s.ARW", "a/short/10003_00_0.1s.ARW",
           "a/short/10004_00_0.1s.ARW", "a/short/strange.ARW", "b/scene-3/IMG_0002.ARW",
           "b/scene-4/readme.txt")
    told = []
    assert len(raw_cases.find(tmp_path / "a", label="a", on_error=told.append)) == 1
    assert [(Path(error.path).name, str(error)) for error in told] == [
        ("strange.ARW", f"{tmp_path}/a/short/strange.ARW: is not named like 00001_00_0.1s: scene, "
                        "number of the shot, seconds"),
        ("10004_00_0.1s.ARW", f"{tmp_path}/a/short/10004_00_0.1s.ARW: has no partner in "
                              f"{tmp_path}/a/long")]
    told.clear()
    assert raw_cases.find(tmp_path / "b", label="b", on_error=told.append) == []
    assert "no partner IMG_0001" in str(told[0]) and "scene-4" in str(told[1])
    with pytest.raises(InputError, match="no partner"):
        raw_cases.find(tmp_path / "b", label="b")


@pytest.mark.parametrize(("files", "expected"), [
    ([], "no such file or folder"),
    (["a.ARW"], "no pairs of RAW files.*SID"),
    (["short/10003_00_0.1s.ARW", "long/a.txt"], "no RAW files such as"),
    (["scene-1/IMG_0001.ARW", "scene-2/IMG_0001.ARW"], "for training.*--all-scenes"),
])
def test_folders_without_pairs(tmp_path, files, expected):
    _touch(tmp_path / "x", *files)
    if not files:
        assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match=expected):
        raw_cases.find(tmp_path / "x", label="x")


def test_a_list_names_its_pairs(tmp_path):
    (tmp_path / "pairs.txt").write_text(
        "# noisy clean ratio\n./short/10185_00_0.033s.ARW ./long/10185_00_10s.ARW ISO2000 F9\n"
        "'dark one.nef' bright.nef 60\n")
    first, second = raw_cases.find(tmp_path / "pairs.txt", label="mine")
    assert (first.name, first.ratio, first.noisy) == (
        "10185_00_0.033s", None, tmp_path / "short" / "10185_00_0.033s.ARW")
    assert (second.name, second.ratio, second.clean.name) == ("dark one", 60, "bright.nef")
    (tmp_path / "pairs.txt").write_text("alone.nef\n")
    with pytest.raises(InputError, match="line 1"):
        raw_cases.find(tmp_path / "pairs.txt", label="mine")


def _pair(folder: Path, noisy: str = "a_0.1s.dng", clean: str = "b_10s.dng", *, dark=None,
          bright=None, **options) -> FileCase:
    """Two files of one scene; the dark one has a hundredth of the light."""
    light = raw_files.scene(seed=1).astype(float) - 512
    raw_files.write_dng(folder / noisy, np.rint(light / 100 + 512).astype(np.uint16),
                        **{"seconds": 0.1, **(dark or {})})
    raw_files.write_dng(folder / clean, (light + 512).astype(np.uint16),
                        **{"seconds": 10, **(bright or {})})
    return FileCase("set", "pair", folder / noisy, folder / clean, **options)


def test_a_pair_is_read_as_the_networks_take_it(tmp_path):
    data = _pair(tmp_path).load()
    assert data.ratio == pytest.approx(100) and data.camera == "Maker Model 7"
    assert data.noisy.shape == data.truth.shape == (4, 24, 32)
    assert data.noisy.dtype == data.truth.dtype == np.float32
    np.testing.assert_allclose(data.noisy, data.truth, atol=50.1 / 15871)  # rounding, amplified


def test_only_the_truth_is_cut_below(tmp_path):
    mosaic = np.full((48, 64), 512, np.uint16)
    mosaic[::4], mosaic[1::4] = 412, 15000
    raw_files.write_dng(tmp_path / "a.dng", mosaic)
    raw_files.write_dng(tmp_path / "b.dng", mosaic)
    data = FileCase("set", "pair", tmp_path / "a.dng", tmp_path / "b.dng", 4.0).load()
    assert data.noisy.min() == pytest.approx(-400 / 15871) and data.noisy.max() == 1
    assert data.truth.min() == 0 and data.truth.max() == pytest.approx(14488 / 15871)


def test_where_the_ratio_comes_from(tmp_path):
    # The seconds in the names, at most 300.
    assert _pair(tmp_path, dark={"seconds": None}).load().ratio == pytest.approx(100)
    assert _pair(tmp_path, "a_0.01s.dng").load().ratio == 300
    # What the files say, not capped.
    assert _pair(tmp_path, "a.dng").load().ratio == pytest.approx(100)
    assert _pair(tmp_path, "a.dng", dark={"iso": 800}).load().ratio == pytest.approx(400)
    # A list outweighs both; the place in a data set is for files that say nothing.
    assert _pair(tmp_path, ratio=80.0).load().ratio == 80
    silent = {"dark": {"seconds": None}, "bright": {"seconds": None}}
    assert _pair(tmp_path, "a.dng", "b.dng", usual=200.0, **silent).load().ratio == 200
    with pytest.raises(InputError, match="exposures of the pair are unknown"):
        _pair(tmp_path, "a.dng", "b.dng", **silent).load()


def test_files_that_do_not_belong_together(tmp_path):
    case = _pair(tmp_path)
    raw_files.write_dng(case.clean, raw_files.scene(48, 60))
    with pytest.raises(InputError, match="has 64x48 pixels and its clean partner b_10s.dng 60x48"):
        case.load()
    raw_files.write_dng(case.clean, raw_files.scene(), pattern="BGGR")
    with pytest.raises(InputError, match="RGGB mosaic .* BGGR one"):
        case.load()
    case.clean.write_text("no picture")
    with pytest.raises(InputError, match="b_10s.dng"):
        case.load()


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    cameras = raw_noise.virtual_cameras(2)
    return raw_synthetic.cases(cameras, [20.0, 200.0], 3, 0, any_camera=True,
                               cache_folder=tmp_path_factory.mktemp("pictures"))


def test_generated_pairs_are_the_same_again(generated):
    assert [(case.amplified, case.index) for case in generated] == [
        (ratio, index) for ratio in (20.0, 200.0) for index in range(3)]
    assert generated[0].camera == generated[2].camera != generated[1].camera
    one, again, other = generated[0].load(), generated[0].load(), generated[1].load()
    np.testing.assert_array_equal(one.noisy, again.noisy)
    assert one.truth.shape == (4, raw_synthetic.SIDE, raw_synthetic.SIDE)
    assert not np.array_equal(one.truth, other.truth)


def test_the_darker_of_two_generated_images_is_the_noisier(generated):
    bright, dark = generated[0].load(), generated[3].load()
    np.testing.assert_array_equal(bright.truth, dark.truth)
    errors = [np.mean((data.noisy - data.truth) ** 2) for data in (bright, dark)]
    assert errors[1] > 5 * errors[0] and (bright.ratio, dark.ratio) == (20, 200)
