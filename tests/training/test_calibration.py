"""Calibration finds the parameters that frames were made with, and refuses unfit frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.media import bayer, raw
from restore_cli.training import calibration
from restore_cli.training.calibration import Frame, calibrate, fit_gain
from restore_cli.training.degradations import raw_noise
from restore_cli.training.degradations.raw_noise import CALIBRATED

SCALE, BLACK, SIDE = 15871.0, 512.0, 160
SONY = CALIBRATED["SonyA7S2"]
# Without scatter, and with one shape of the read noise, so that the truth is known.
STEADY = dataclasses.replace(SONY, lambdas=(-0.1,),
                             tukey=dataclasses.replace(SONY.tukey, sigma=0.0),
                             row=dataclasses.replace(SONY.row, sigma=0.0))
GAINS = np.geomspace(SONY.k_min, SONY.k_max, 5)
ISOS = (100, 400, 1600, 6400, 25600)
RAMP = np.broadcast_to(np.linspace(0.1, 0.5, SIDE), (4, SIDE, SIDE))


def frame(light, gain, iso, seed, *, camera=STEADY, kinds="ptrc", pattern=None, name=None):
    """A frame of 14-bit DN; `light` is a share of the range, `pattern` a sensor's gains."""
    clean = np.asarray(np.broadcast_to(light, (4, SIDE, SIDE)), np.float32)
    if pattern is not None:
        clean = clean * pattern
    noisy, _ = raw_noise.synthesise(clean, camera, 1.0, SCALE, np.random.default_rng(seed), kinds,
                                    gain=float(gain))
    values = np.clip(np.rint(noisy.astype(np.float64) * SCALE + BLACK), 0, 16383)
    return Frame(values.astype(np.uint16), iso, np.full(4, BLACK), np.full(4, BLACK + SCALE), name)


def flats(count=2, *, light=RAMP, **options):
    return [frame(light, gain, iso, (iso, j, 0), name=f"flat-{iso}-{j}", **options)
            for gain, iso in zip(GAINS, ISOS) for j in range(count)]


def darks(count=1, **options):
    return [frame(0.0, gain, iso, (iso, j, 1), name=f"dark-{iso}-{j}", **options)
            for gain, iso in zip(GAINS, ISOS) for j in range(count)]


@pytest.fixture(scope="module")
def found():
    return calibrate(flats(), darks(), name="Test camera")


def test_gain_of_each_iso(found):
    assert [level.iso for level in found.levels] == list(ISOS)
    for level, gain in zip(found.levels, GAINS):
        assert level.gain.gain == pytest.approx(gain, rel=0.02)
        assert level.gain.error < 0.01 * gain
        assert level.gain.r2 > 0.99
    assert found.camera.k_min == pytest.approx(GAINS[0], rel=0.02)
    assert found.camera.k_max == pytest.approx(GAINS[-1], rel=0.02)
    assert found.notes == ()


def test_noise_of_each_iso(found):
    for level, gain in zip(found.levels, GAINS):
        assert level.tukey_scale == pytest.approx(STEADY.tukey.level(gain), rel=0.04)
        assert level.tukey_lambda == pytest.approx(-0.1, abs=0.03)
        assert level.tukey_r2 > 0.985 > level.gaussian_r2
        # 320 rows tell a standard deviation to 4 %.
        assert level.row == pytest.approx(STEADY.row.level(gain), rel=0.15)
        rows = 5 * STEADY.row.level(gain) / np.sqrt(SIDE)
        assert level.bias == pytest.approx(STEADY.bias_at(gain), abs=rows + 0.05)


def test_lines_over_the_gain(found):
    for line, truth, much in ((found.camera.tukey, STEADY.tukey, 0.02),
                              (found.camera.row, STEADY.row, 0.08)):
        assert line.slope == pytest.approx(truth.slope, abs=much)
        assert line.bias == pytest.approx(truth.bias, abs=2 * much)
        assert line.sigma < 0.1
    # The Gaussian of the same noise: a wider line beside it.
    assert found.camera.gaussian.slope == pytest.approx(STEADY.tukey.slope, abs=0.05)
    assert found.camera.gaussian.bias > found.camera.tukey.bias + 0.4
    assert len(found.camera.lambdas) == 5


def test_colour_bias_is_that_of_the_nearest_iso(found):
    for level in found.levels:
        assert found.camera.bias_at(level.gain.gain) == pytest.approx(level.bias, abs=1e-5)


def test_the_camera_can_be_saved_and_trained_with(found):
    camera = raw_noise.Camera.from_json(found.camera.to_json())
    assert camera == found.camera and camera.name == "Test camera"
    rng = np.random.default_rng(0)
    for kinds in ("ptrqc", "pgrqc"):
        noisy, _ = raw_noise.synthesise(np.zeros((4, 8, 8), np.float32), camera, 100, SCALE, rng,
                                        kinds)
        assert np.isfinite(noisy).all()


def test_scatter_of_the_levels_is_found():
    wide = dataclasses.replace(STEADY, row=dataclasses.replace(STEADY.row, sigma=0.5))
    camera = calibrate(flats(), darks(6, camera=wide), name="x").camera
    # 30 frames tell a standard deviation to 13 %.
    assert camera.row.sigma == pytest.approx(0.5, rel=0.45)
    assert camera.row.slope == pytest.approx(SONY.row.slope, abs=0.3)
    assert camera.tukey.sigma < 0.05


def test_the_table_has_a_row_for_every_iso(found):
    lines = found.lines()
    assert len(lines) == 1 + len(ISOS)
    assert all(str(iso) in line for iso, line in zip(ISOS, lines[1:]))


@pytest.mark.parametrize("iso, gain", [(100, GAINS[0]), (6400, GAINS[3])])
def test_pairs_are_free_of_the_sensors_fixed_pattern(iso, gain):
    pattern = np.random.default_rng(1).normal(1, 0.02, (4, SIDE, SIDE)).astype(np.float32)
    pair = [frame(RAMP, gain, iso, j, pattern=pattern) for j in range(2)]
    dark = frame(0.0, gain, iso, 9)
    assert calibrate(pair, [dark], name="x").levels[0].gain.gain == pytest.approx(gain, rel=0.03)


def test_the_fixed_pattern_of_single_flats_is_estimated():
    gain = GAINS[2]
    pattern = np.random.default_rng(1).normal(1, 0.01, (4, SIDE, SIDE)).astype(np.float32)
    single = [frame(light * RAMP, gain, 1600, j, pattern=pattern, name=f"{j}")
              for j, light in enumerate((0.1, 0.4, 1.0, 1.7))]
    found = calibrate(single, [frame(0.0, gain, 1600, 9)], name="x")
    assert found.levels[0].gain.gain == pytest.approx(gain, rel=0.08)
    assert any("single flats" in note for note in found.notes)
    # Taken for photons, the pattern would change it by more.
    blocks = [calibration.measure_flat(each) for each in single]
    naive = fit_gain(np.concatenate([b.signal for b in blocks]),
                     np.concatenate([b.variance for b in blocks]), dark=found.levels[0].gaussian**2)
    assert naive.gain > 1.2 * gain


def test_dust_hot_pixels_and_shading_do_not_matter():
    gain, rng = GAINS[2], np.random.default_rng(3)
    scene = RAMP.copy()
    scene[:, 40:60, 100:120] *= 0.3  # a speck with hard edges
    pair = [frame(scene, gain, 1600, j) for j in range(2)]
    clean = frame(0.0, gain, 1600, 9)
    dirty = clean.planes.astype(np.float64)
    dirty += np.linspace(0, 12, SIDE)[:, None] + np.linspace(0, 6, SIDE)  # amplifier glow
    hot = rng.random(dirty.shape) < 1e-4
    dirty[hot] += 3000
    dark = dataclasses.replace(clean, planes=np.rint(dirty).astype(np.uint16))
    level = calibrate(pair, [dark], name="x").levels[0]
    plain = calibrate(pair, [clean], name="x").levels[0]
    assert level.gain.gain == pytest.approx(gain, rel=0.03)
    assert level.row == pytest.approx(plain.row, rel=0.1)
    assert level.tukey_scale == pytest.approx(plain.tukey_scale, rel=0.05)
    assert level.tukey_lambda == pytest.approx(plain.tukey_lambda, abs=0.03)


def test_saturated_parts_of_flats_are_left_out():
    gain = GAINS[3]
    bright = np.broadcast_to(np.linspace(0.2, 1.6, SIDE), (4, SIDE, SIDE))
    pair = [frame(bright, gain, 6400, j) for j in range(2)]
    found = calibrate(pair, [frame(0.0, gain, 6400, 9)], name="x")
    assert found.levels[0].gain.gain == pytest.approx(gain, rel=0.03)
    assert any("saturated" in note for note in found.notes)


def test_frames_may_come_from_generators_and_exposures_may_differ():
    gain = GAINS[2]
    lights = (0.05, 0.05, 0.3, 0.3, 0.8)  # two pairs, then a single one, which is not needed
    stream = (frame(light, gain, 1600, j) for j, light in enumerate(lights))
    found = calibrate(stream, iter([frame(0.0, gain, 1600, 9)]), name="x")
    assert found.levels[0].flats == 3
    assert found.levels[0].gain.gain == pytest.approx(gain, rel=0.03)


def test_one_iso_gives_constant_levels_and_says_so():
    gain = GAINS[2]
    found = calibrate([frame(RAMP, gain, 1600, j) for j in range(2)],
                      [frame(0.0, gain, 1600, 9 + j) for j in range(2)], name="x")
    camera = found.camera
    assert camera.k_min == camera.k_max
    assert camera.tukey.slope == camera.tukey.sigma == camera.row.slope == camera.row.sigma == 0
    assert camera.tukey.level(camera.k_min) == pytest.approx(STEADY.tukey.level(gain), rel=0.04)
    assert any("one ISO only" in note for note in found.notes)
    assert raw_noise.Camera.from_json(camera.to_json()) == camera


def test_isos_without_a_counterpart_are_noted():
    some_flats = [f for f in flats() if f.iso != 100]
    some_darks = [d for d in darks() if d.iso != 25600]
    found = calibrate(some_flats, some_darks, name="x")
    assert [level.iso for level in found.levels] == [400, 1600, 6400]
    assert found.camera.k_max == pytest.approx(GAINS[-1], rel=0.05)
    assert any("ISO 100 has no flat" in note for note in found.notes)
    assert any("ISO 25600 has no dark" in note for note in found.notes)


def test_a_bad_iso_does_not_stop_the_others():
    wrong = [f for f in flats() if f.iso != 400]
    wrong += [frame(0.0, GAINS[1], 400, j, kinds="t") for j in range(2)]
    found = calibrate(wrong, darks(), name="x")
    assert [level.iso for level in found.levels] == [100, 1600, 6400, 25600]
    assert any("ISO 400" in note and "left out" in note for note in found.notes)


def one(light, **options):
    return frame(light, GAINS[2], 1600, 5, name="it.arw", **options)


def test_flats_darker_than_darks_are_refused():
    dark = dataclasses.replace(one(0.015), name="dark.arw")
    with pytest.raises(InputError, match="darker than the dark"):
        calibrate([one(0.005), frame(0.005, GAINS[2], 1600, 6)], [dark], name="x")


def test_saturated_flats_are_refused():
    with pytest.raises(InputError, match="it.arw: is saturated everywhere"):
        calibrate([one(1.5)], [one(0.0)], name="x")


def test_bright_dark_frames_are_refused():
    with pytest.raises(InputError, match="it.arw: is not a dark frame"):
        calibrate([one(0.3)], [one(0.2)], name="x")


def test_darks_cut_off_at_black_are_refused():
    dark = one(0.0)
    cut = dataclasses.replace(dark, planes=np.maximum(dark.planes, 512) - 512, black=np.zeros(4),
                              white=np.full(4, SCALE))
    with pytest.raises(InputError, match="cut off at black"):
        calibrate([one(0.3)], [cut], name="x")


def test_noiseless_frames_are_refused():
    flat = dataclasses.replace(one(0.0), planes=np.full((4, SIDE, SIDE), 513, np.uint16))
    with pytest.raises(InputError, match="no noise"):
        calibrate([one(0.3)], [flat], name="x")


def test_one_flat_twice_is_refused():
    with pytest.raises(InputError, match="same picture"):
        calibrate([one(0.3), one(0.3)], [one(0.0)], name="x")


def test_flats_whose_noise_does_not_grow_are_refused():
    pair = [frame(0.3, GAINS[2], 1600, j, kinds="t") for j in range(2)]
    with pytest.raises(InputError, match="does not grow"):
        calibrate(pair, [frame(0.0, GAINS[2], 1600, 9)], name="x")


def test_filtered_frames_are_noted():
    dark = one(0.0)
    blurred = (dark.planes[:, :, 1:].astype(np.float64) + dark.planes[:, :, :-1]) / 2
    dark = dataclasses.replace(dark, planes=np.rint(blurred).astype(np.uint16))
    pair = [frame(RAMP, GAINS[2], 1600, j) for j in range(2)]
    assert any("filtered" in note for note in calibrate(pair, [dark], name="x").notes)


def test_missing_frames_are_refused():
    for given in (([], [one(0.0)]), ([one(0.3)], [])):
        with pytest.raises(UsageError, match="flat frames and dark frames"):
            calibrate(*given, name="x")


def test_frames_of_different_isos_only_are_refused():
    with pytest.raises(InputError, match="no ISO has both"):
        calibrate([one(0.3)], [dataclasses.replace(one(0.0), iso=200)], name="x")


def test_unfit_frames_are_refused():
    planes = one(0.0).planes
    levels = np.zeros(4), np.ones(4)
    with pytest.raises(ShapeError):
        Frame(planes[:3], 100, *levels)
    with pytest.raises(InputError, match="a.arw: is too small"):
        Frame(planes[:, :32], 100, *levels, "a.arw")
    for iso in (0, float("nan")):
        with pytest.raises(InputError, match="ISO"):
            Frame(planes, iso, *levels)


def test_gain_without_dark_frames():
    rng = np.random.default_rng(0)
    signal = np.linspace(100, 6000, 600)
    variance = (0.7 * signal + 30) * rng.chisquare(600, 600) / 600
    variance[::40] *= 4  # texture
    found = fit_gain(signal, variance)
    assert found.gain == pytest.approx(0.7, rel=0.02)
    assert abs(found.gain - 0.7) < 5 * found.error


def test_gain_of_frames_that_another_program_made(shared_data):
    # Two short exposures of a photograph, simulated elsewhere with K = 4 and 6 DN of read noise.
    files = [raw.read(shared_data / f"raw/pair/short/00001_0{i}_0.1s.dng") for i in range(2)]
    frames = [Frame(bayer.pack(file.mosaic, file.pattern), 12800, file.black, file.white)
              for file in files]
    flat = calibration.measure_flat(*frames)
    # Dark and full of texture: 384 blocks tell the gain to 1 %.
    found = fit_gain(flat.signal, flat.variance, dark=36.0)
    assert found.gain == pytest.approx(4.0, rel=0.05)
