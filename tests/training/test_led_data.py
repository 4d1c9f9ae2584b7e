"""Clean scenes, noise on them, RAW files and lists of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError
from restore_cli.media import bayer, raw
from restore_cli.training.datasets import raw_files, raw_lists, raw_pairs, sources
from restore_cli.training.datasets.raw_files import Frame
from restore_cli.training.datasets.raw_pairs import Darkness, NoisySampler, Ratios
from restore_cli.training.datasets.raw_scenes import (
    CALIBRATED_SCALE,
    SCALES,
    FrameScenes,
    PictureScenes,
    Scene,
    camera_planes,
    mixed,
)
from restore_cli.training.degradations import raw_noise

DNG = Path(__file__).parents[1] / "data" / "led"
FIVE = tuple(raw_noise.virtual_cameras(5))


def _pictures(count=3, side=80):
    rng = np.random.default_rng(3)
    return sources.ArraySource([rng.integers(0, 256, (side, side + 4, 3), np.uint8)
                                for _ in range(count)])


def _frame(size=(20, 28), name="a_10s.dng", seed=0, iso=100.0, seconds=10.0, scale=1000.0):
    rng = np.random.default_rng(seed)
    return Frame(Path(name), rng.integers(60, 900, (4, *size), np.uint16),
                 np.array([60.0, 61, 62, 63]), np.array([60.0, 61, 62, 63]) + scale, "RGGB",
                 "Maker Model", iso, seconds)


@pytest.mark.parametrize("text, values, kind", [
    ("1-300", (1, 300), "log"), ("100,250,300", (100, 250, 300), "list"), ("60", (60,), "list")])
def test_ratios(text, values, kind):
    ratios = Ratios.parse(text)
    assert ratios.values == values and ratios.draw_as == kind
    rng = np.random.default_rng(0)
    drawn = np.array([ratios.draw(rng) for _ in range(2000)])
    assert ratios.bounds == (min(values), max(values))
    if kind == "log":
        assert 1 <= drawn.min() < 1.1 and 290 < drawn.max() <= 300
        assert np.log(drawn).mean() == pytest.approx(np.log(300) / 2, rel=0.05)
    else:
        assert set(drawn) == set(values)


def test_published_ratios_are_whole_numbers():
    ratios = Ratios.parse("100-102", integers=True)
    drawn = [ratios.draw(np.random.default_rng(i)) for i in range(60)]
    assert set(drawn) == {100.0, 101.0, 102.0}
    with pytest.raises(UsageError, match="whole"):
        Ratios.parse("1.5-3", integers=True)


@pytest.mark.parametrize("text", ["", "0-30", "300-1", "1-2-3", "-5", "nan", "1-inf", "many"])
def test_ratios_that_make_no_sense(text):
    with pytest.raises(UsageError, match="ratios"):
        Ratios.parse(text)


@pytest.mark.parametrize("pattern", bayer.PATTERNS.values(), ids=lambda one: one.name)
def test_planes_hold_the_colours_of_their_places(pattern):
    rng = np.random.default_rng(1)
    linear = rng.random((8, 12, 3), np.float32) * np.float32(0.2)  # below the white of all gains
    planes = camera_planes(linear, pattern, np.eye(3), np.array([2.0, 1.0, 4.0]))
    mosaic = bayer.unpack(planes, pattern, np.zeros((8, 12), np.float32))
    for y in range(2):
        for x in range(2):
            colour = "RGB".index(pattern.name[2 * y + x])
            np.testing.assert_allclose(mosaic[y::2, x::2],
                                       linear[y::2, x::2, colour] / (2, 1, 4)[colour], rtol=1e-6)


def test_white_stays_white_and_grey_gets_the_light():
    level = np.broadcast_to(np.array([1.0, 0.5], np.float32)[:, None, None, None], (2, 2, 2, 3))
    white, grey = (camera_planes(one, bayer.PATTERNS["RGGB"], np.eye(3), np.array([2.0, 1, 2]))
                   for one in level)
    np.testing.assert_allclose(white.ravel(), 1, rtol=1e-6)
    np.testing.assert_allclose(grey.ravel(), [0.25, 0.5, 0.25, 0.5], rtol=1e-6)


def test_scenes_from_pictures_are_a_function_of_seed_and_draw():
    scenes = PictureScenes(_pictures(), 16)
    first, again, other = (scenes.scene(0, draw, 16, np.random.default_rng(draw))
                           for draw in (4, 4, 5))
    np.testing.assert_array_equal(first.planes, again.planes)
    assert (first.planes != other.planes).any()
    found = [scenes.scene(0, i, 16, np.random.default_rng(i)) for i in range(60)]
    assert {one.scale[0] for one in found} == set(SCALES)
    assert all(one.planes.shape == (4, 16, 16) and one.planes.dtype == np.float32
               for one in found)
    brightness = [one.planes.mean() for one in found]
    assert min(brightness) > 0 and max(brightness) > 5 * min(brightness)
    calibrated = PictureScenes(_pictures(), 16, any_bits=False)
    assert {calibrated.scene(0, i, 16, np.random.default_rng(i)).scale[0]
            for i in range(20)} == {CALIBRATED_SCALE}
    with pytest.raises(UsageError, match="--patch"):
        PictureScenes(_pictures(), 41)


def test_grid_of_frames_is_the_published_one():
    """Whole squares from the corner, each once before any again, nothing turned."""
    frames = [_frame((20, 28), seed=i) for i in range(2)]
    scenes = FrameScenes(frames, 8, augment=False)
    assert len(scenes) == 2 * 2 * 3
    found = {scenes.scene(0, draw, 8, np.random.default_rng(draw)).planes.tobytes()
             for draw in range(12)}
    expected = {frame.crop(top, left, 8, 8).tobytes() for frame in frames
                for top in (0, 8) for left in (0, 8, 16)}
    assert found == expected


def test_turning_keeps_the_meaning_of_the_planes():
    """A turned mosaic, packed by the pattern its red pixels then have."""
    mosaic = np.arange(8 * 12).reshape(8, 12)
    planes = bayer.pack(mosaic, bayer.PATTERNS["RGGB"])
    for how, turned, pattern in (
            ((True, False, False), mosaic[::-1], "GBRG"),
            ((False, True, False), mosaic[:, ::-1], "GRBG"),
            ((True, True, False), mosaic[::-1, ::-1], "BGGR"),
            ((False, False, True), mosaic.T, "RGGB"),
            ((True, False, True), mosaic[::-1].T, "GRBG")):
        np.testing.assert_array_equal(raw_files.turned(planes, *how),
                                      bayer.pack(turned, bayer.PATTERNS[pattern]), err_msg=pattern)


def test_turned_frames_keep_the_levels_of_their_planes():
    frame = Frame(Path("a"), np.full((4, 9, 9), 600, np.uint16), np.zeros(4),
                  np.array([1000.0, 1200, 1600, 2400]), "RGGB", "", None, None)
    scenes = FrameScenes([frame], 8, augment=True)
    for draw in range(8):
        scene = scenes.scene(0, draw, 8, np.random.default_rng(draw))
        np.testing.assert_allclose(scene.planes[:, 0, 0] * scene.scale, 600, rtol=1e-5)


def test_supplies_are_mixed_by_weight():
    parts = [FrameScenes([_frame(scale=scale)], 8, True) for scale in (1000.0, 2000.0)]
    scenes = mixed([(parts[0], 3.0), (parts[1], 1.0)])
    scales = [scenes.scene(0, i, 8, np.random.default_rng(i)).scale[0] for i in range(200)]
    assert scales.count(2000.0) == pytest.approx(50, abs=20)
    assert mixed(parts and [(parts[0], 1.0)]) is parts[0]


def test_batches_belong_to_seed_and_step_and_branches_to_cameras():
    darkness = Darkness(FIVE, Ratios.parse("1-300"))

    def sampler(seed, **options):
        return NoisySampler(PictureScenes(_pictures(), 16), seed, darkness, batch=2, side=16,
                            **options)

    one, same, other = (sampler(seed, branches=5).batch(7) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.inputs, same.inputs)
    assert (one.inputs != other.inputs).any()
    assert one.inputs.max() <= 1 and one.inputs.min() < 0
    assert 0 <= one.targets.min() and one.targets.max() <= 1
    branches = [sampler(0, branches=5, mean_share=0.5).batch(step).branch for step in range(60)]
    assert set(branches) == {0, 1, 2, 3, 4, "mean"}
    assert branches.count("mean") == pytest.approx(30, abs=13)
    assert {sampler(0, branches=5).batch(step).branch for step in range(40)} == {0, 1, 2, 3, 4}
    assert sampler(0).batch(0).branch is None
    with pytest.raises(UsageError, match="alignments"):
        sampler(0, branches=3)


def test_a_camera_in_its_own_units_and_a_coarse_sensor():
    """With all noise but rounding left out, only the step of the values tells the bits."""
    planes = np.full((4, 64, 64), 0.5, np.float32)
    scene = Scene(planes, np.full(4, SCALES[0]))
    for any_camera, step in ((True, 1 / SCALES[0]), (False, 1 / SCALES[0])):
        darkness = Darkness(FIVE[:1], Ratios.parse("1"), "q", any_camera)
        noisy, truth = darkness.noisy(scene, FIVE[0], 1.0, np.random.default_rng(0))
        error = noisy - truth
        np.testing.assert_allclose([error.min(), error.max()], [-step / 2, step / 2], rtol=0.01)
    photons = [Darkness(FIVE[:1], Ratios.parse("1"), "p", any_camera).noisy(
        scene, FIVE[0], 1.0, np.random.default_rng(0))[0].std() for any_camera in (True, False)]
    assert photons[1] == pytest.approx(photons[0] * np.sqrt(CALIBRATED_SCALE / SCALES[0]),
                                       rel=0.05)


def test_validation_patches_do_not_change():
    darkness = Darkness(FIVE, Ratios.parse("1-300"))
    scenes = PictureScenes(_pictures(), 16)
    first, again = (raw_pairs.held_out(scenes, darkness, (1, 100), 3, 16) for _ in range(2))
    assert [one.ratio for one in first] == [1, 100]
    for one, same in zip(first, again):
        np.testing.assert_array_equal(one.noisy, same.noisy)
    assert first[0].psnr(first[0].noisy) > first[1].psnr(first[1].noisy) + 10
    half = np.full((2, 4, 8, 8), 0.5, np.float32)
    held = raw_pairs.Held(1.0, half, half)
    assert held.psnr(half + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert held.psnr(half + 9) == pytest.approx(20 * np.log10(2), abs=1e-4)  # clipped to 1


@pytest.mark.parametrize("name", ["dng_rggb", "dng_bggr_odd"])
def test_raw_files_are_kept_unpacked(tmp_path, name, monkeypatch):
    path = DNG / f"{name}.dng"
    first = raw_files.read(path, tmp_path / "kept")
    monkeypatch.setattr(raw, "read", lambda path: pytest.fail("decoded again"))
    second = raw_files.read(path, tmp_path / "kept")
    monkeypatch.undo()
    for frame in (first, second):
        assert frame.camera == "Synthetic TestCam" and frame.iso and frame.seconds
        height, width = frame.size
        np.testing.assert_allclose(frame.crop(0, 0, height, width), raw.read(path).planes(),
                                   atol=1e-6)
    (kept,) = (tmp_path / "kept").glob("*.npy")
    damaged = kept.read_bytes()[:100]
    kept.unlink()
    kept.write_bytes(damaged)  # is made again
    np.testing.assert_array_equal(raw_files.read(path, tmp_path / "kept").packed, first.packed)


def test_unusable_raw_files_are_left_out(tmp_path, capsys):
    (tmp_path / "bad.dng").write_bytes(b"II*\0" + bytes(40))
    (tmp_path / "good.dng").write_bytes((DNG / "dng_rggb.dng").read_bytes())
    (tmp_path / ".hidden.dng").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no RAW")
    paths = raw_files.files_in(tmp_path)
    assert [path.name for path in paths] == ["bad.dng", "good.dng"]
    frames = raw_files.read_all(paths, console=Console(stderr=None), least=24)
    assert [frame.path.name for frame in frames] == ["good.dng"]
    assert "bad.dng" in capsys.readouterr().err
    with pytest.raises(InputError, match="not one RAW file"):
        raw_files.read_all(paths, least=25)
    with pytest.raises(InputError, match="no RAW files"):
        raw_files.files_in(_made(tmp_path / "empty"))
    with pytest.raises(InputError, match="cannot be read"):
        raw_files.files_in(tmp_path / "missing")


def _made(folder):
    folder.mkdir()
    return folder


def test_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# pairs\n\n./short/a_0.1s.ARW ./long/a_10s.ARW ISO200 F8\n"
                    "'b c.dng' d.dng 120\n")
    first, second = raw_lists.parse(path)
    assert first == raw_lists.Line(tmp_path / "short/a_0.1s.ARW", tmp_path / "long/a_10s.ARW", None)
    assert second == raw_lists.Line(tmp_path / "b c.dng", tmp_path / "d.dng", 120.0)
    for bad in ("one.dng", "a b 0.5", "a b 3 4", "a b much", "a b nan", "'a b"):
        path.write_text(f"a.dng b.dng\n{bad}\n")
        with pytest.raises(InputError, match="line 2"):
            raw_lists.parse(path)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="no pairs"):
        raw_lists.parse(path)
    with pytest.raises(InputError, match="cannot be read"):
        raw_lists.parse(tmp_path / "missing.txt")


@pytest.mark.parametrize("noisy, clean, ratio", [
    (("a_0.1s.dng", 100, 0.1), ("b_10s.dng", 100, 10), 100),
    (("a_0.033s.dng", 100, 0.03), ("b_10s.dng", 100, 10), 300),  # capped as in SID
    (("a_0.1s.dng", 800, 0.1), ("b_10s.dng", 100, 10), 12.5),  # the names say but half
    (("a.dng", 3200, 0.01), ("b.dng", 100, 160), 500),  # not capped
    (("a_0.1s.dng", None, None), ("b_10s.dng", None, None), 100)])
def test_ratio_of_a_pair(noisy, clean, ratio):
    frames = [_frame(name=name, iso=iso, seconds=seconds) for name, iso, seconds in (noisy, clean)]
    assert raw_lists.ratio_of(*frames) == pytest.approx(ratio)


def test_pairs_without_a_ratio_are_refused():
    with pytest.raises(InputError, match="unknown"):
        raw_lists.ratio_of(_frame(name="a.dng", iso=None), _frame(name="b.dng"))
    with pytest.raises(InputError, match="noisy file first"):
        raw_lists.ratio_of(_frame(name="a.dng"), _frame(name="b.dng", seconds=1.0))


def test_patches_of_pairs():
    """Noisy values are cut at 1 only, clean ones at 0, too; both are turned alike."""
    noisy, clean = _frame(seed=1), _frame(seed=2)
    noisy.packed[:, :3] = 10
    clean.packed[:, :3] = 10
    pair = raw_lists.Pair(noisy, clean, 2.0)
    sampler = raw_lists.PairSampler([pair], 0, batch=2, side=16, branch=5)
    assert raw_lists.fitting_side([pair], 1024, 16) == 16
    with pytest.raises(InputError, match="at least 32"):
        raw_lists.fitting_side([pair], 1024, 32)
    found, again = sampler.batch(3), sampler.batch(3)
    np.testing.assert_array_equal(found.inputs, again.inputs)
    assert found.branch == 5 and found.inputs.shape == (2, 4, 16, 16)
    batches = [sampler.batch(step) for step in range(10)]
    assert min(one.inputs.min() for one in batches) < -0.05
    assert min(one.targets.min() for one in batches) == 0
    assert max(one.inputs.max() for one in batches) == 1
    same = raw_lists.PairSampler([raw_lists.Pair(clean, clean, 1.0)], 0, side=16)
    for step in range(8):
        batch = same.batch(step)
        np.testing.assert_array_equal(np.maximum(batch.inputs, 0), batch.targets)
    (held,) = raw_lists.held_out([pair, pair], 16)
    assert held.ratio == 2 and held.noisy.shape == (2, 4, 16, 16)
