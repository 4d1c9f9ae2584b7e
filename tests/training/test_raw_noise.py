"""The deterministic part of the raw noise model against reference outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from restore_cli.errors import InputError, ShapeError, UsageError
from restore_cli.training.degradations import raw_noise, raw_noise_virtual
from restore_cli.training.degradations.raw_noise import CALIBRATED, Camera, Draws


def near(actual, expected, tolerance=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def check_case(case, camera, draws_of):
    """Each of the case's two images from its recorded draws."""
    for i in range(2):
        draws, parts = draws_of(i)
        clean, ratio, scale = case["img"][i], float(case["ratio"][i]), case["scale"][i].ravel()
        noisy, truth = raw_noise.apply(clean, draws, ratio, scale)
        assert noisy.dtype == truth.dtype == np.float32
        assert np.array_equal(truth, case["out_gt"][i])
        near(noisy, case["out_lq"][i])
        near(np.float32(draws.gain), case["mid_K"][i])
        near(np.float32(draws.read_sigma), case["mid_read_sigma"][i])
        for name, part in parts.items():
            near(np.broadcast_to(part, case[name][i].shape), case[name][i])


@pytest.mark.parametrize("name", ["noise_calibrated_ptrqc", "noise_virtual_cam3"])
def test_the_whole_model_is_the_reference_one(golden, name):
    case = golden(name, "led")
    virtual = "virtual" in name
    if virtual:
        arrays = {key[4:]: value for key, value in case.items() if key.startswith("cam_")}
        camera = raw_noise_virtual.from_arrays(arrays)[3]
    else:
        camera = CALIBRATED["SonyA7S2"]
    # A virtual camera has one lambda, so none is drawn and the later draws move up.
    sigma, uniform, row, rows, rounding = (
        [case[f"rng{i + 2 + (not virtual)}_{of}"]
         for i, of in enumerate(("randn", "rand_like", "randn", "randn", "rand_like"))])

    def draws_of(i):
        gain = camera.gain(float(case["rng0_rand"][i].item()))
        which = 0 if virtual else int(case["rng2_randint"][i])
        draws = Draws(
            gain, counts=case["rng1_poisson"][i],
            read=uniform[i], read_sigma=camera.tukey.level(gain, float(sigma[i])),
            tukey_lambda=camera.lambdas[which],
            rows=rows[i].ravel(), row_sigma=camera.row.level(gain, float(row[i])),
            rounding=rounding[i], offsets=camera.bias_at(gain))
        near(np.float32(draws.tukey_lambda), case["mid_tukey_lambda"][i])
        near(np.float32(draws.row_sigma), case["mid_row_sigma"][i])
        near(draws.offsets, case["mid_noise_color_bias"][i].ravel())
        return draws, {
            "mid_noise_read": raw_noise.tukey_noise(uniform[i], draws.tukey_lambda,
                                                    draws.read_sigma),
            "mid_noise_row": raw_noise.row_noise(draws.rows, draws.row_sigma)}

    check_case(case, camera, draws_of)


def test_photons_and_gaussian_read_noise_are_the_reference_ones(golden):
    case = golden("noise_calibrated_pg", "led")
    camera = CALIBRATED["NikonD850"]

    def draws_of(i):
        gain = camera.gain(float(case["rng0_rand"][i].item()))
        sigma = camera.gaussian.level(gain, float(case["rng2_randn"][i]))
        read = case["rng3_randn_like"][i]
        return Draws(gain, counts=case["rng1_poisson"][i], read=read, read_sigma=sigma), {
            "mid_noise_read": read * np.float32(sigma)}

    check_case(case, camera, draws_of)


def test_tukey_and_row_noise_are_the_reference_ones(golden):
    case = golden("noise_funcs", "led")
    config = json.loads(str(case["config_json"]))
    for i, shape in enumerate(config["lambdas"]):
        near(raw_noise.tukey_noise(case["u_tukey"], shape, config["tukey_scale"]),
             case[f"out_tukey_{i}"])
    for i, sigma in enumerate(config["row_scale"]):
        rows = raw_noise.row_noise(case["z_row"][i].ravel(), sigma)
        near(np.broadcast_to(rows, case["out_row"][i].shape), case["out_row"][i])


def test_ranges_are_split_as_in_the_reference(golden):
    case = golden("noise_funcs", "led")
    parts, span = json.loads(str(case["config_json"]))["split_range"]
    near(raw_noise_virtual.split(parts, span), case["split_range_5"])
    parts, span, overlap = json.loads(str(case["config_json"]))["split_overlap"]
    near(raw_noise_virtual.split_overlapping(parts, span, overlap), case["split_overlap_16"])


def test_virtual_cameras_cover_the_ranges_of_the_reference(golden):
    case = golden("noise_virtual_cam3", "led")
    arrays = raw_noise_virtual.to_arrays(raw_noise.virtual_cameras())
    for key, values in arrays.items():
        assert values.shape == case[f"cam_{key}"].shape
        if key != "color_biases":
            near(values, case[f"cam_{key}"])


def test_saved_virtual_cameras_come_back():
    cameras = raw_noise.virtual_cameras(3, seed=7)
    again = raw_noise_virtual.from_arrays(raw_noise_virtual.to_arrays(cameras))
    for before, after in zip(cameras, again):
        assert after.name == before.name and after.gaussian is None
        assert after.lambdas == pytest.approx(before.lambdas)
        assert after.tukey.bias == pytest.approx(before.tukey.bias, abs=1e-6)
        near(np.array(after.colour_bias), np.array(before.colour_bias))


def test_damaged_virtual_cameras_are_refused():
    arrays = raw_noise_virtual.to_arrays(raw_noise.virtual_cameras())
    with pytest.raises(InputError, match="row_slopes"):
        raw_noise_virtual.from_arrays({k: v for k, v in arrays.items() if k != "row_slopes"})
    with pytest.raises(InputError, match="fit together"):
        raw_noise_virtual.from_arrays({**arrays, "color_biases": arrays["color_biases"][:3]})


def test_number_and_seed_of_virtual_cameras():
    assert len(raw_noise.virtual_cameras(1)) == 1
    assert raw_noise.virtual_cameras(4) == raw_noise.virtual_cameras(4)
    assert raw_noise.virtual_cameras(4) != raw_noise.virtual_cameras(4, seed=1)
    middle = raw_noise.virtual_cameras(1)[0]
    assert middle.tukey.slope == pytest.approx(sum(raw_noise_virtual.TUKEY["slope"]) / 2)
    with pytest.raises(UsageError):
        raw_noise.virtual_cameras(0)


@pytest.mark.parametrize("camera", [*CALIBRATED.values(), *raw_noise.virtual_cameras(2)],
                         ids=lambda camera: camera.name)
def test_cameras_survive_their_file(camera, tmp_path):
    assert Camera.from_json(camera.to_json()) == camera
    path = tmp_path / "camera.json"
    path.write_text(camera.to_json(), encoding="utf-8")
    assert raw_noise.load_cameras(path) == [camera]


def test_a_file_may_hold_several_cameras():
    both = {name: camera.to_dict() for name, camera in CALIBRATED.items()}
    assert raw_noise.cameras_from_json(json.dumps(both)) == list(CALIBRATED.values())
    with pytest.raises(InputError, match="2 cameras"):
        Camera.from_json(json.dumps(both))


@pytest.mark.parametrize("change, said", [
    ({"Kmin": None}, "Kmin"),
    ({"Kmin": 0}, "range of K"),
    ({"Kmin": 9.0, "Kmax": 1.0}, "range of K"),
    ({"Row": {"slope": 1.0, "bias": 0.0}}, "sigma"),
    ({"Row": {"slope": 1.0, "bias": 0.0, "sigma": -1.0}}, "negative"),
    ({"Row": 3}, "Row"),
    ({"TukeyLambda": {"slope": 1, "bias": 0, "sigma": 0}}, "lambda"),
    ({"TukeyLambda": {"slope": 1, "bias": 0, "sigma": 0, "lambda": [-1.5]}}, "lambda"),
    ({"ColorBias": [[1.0, 2.0, 3.0]]}, "four planes"),
    ({"ColorBias": [[1.0, 2.0, 3.0, float("nan")]]}, "finite"),
    ({"ColorBias": "none"}, "ColorBias"),
])
def test_wrong_parameters_are_named(change, said):
    parameters = {**CALIBRATED["SonyA7S2"].to_dict(), **change}
    with pytest.raises(InputError, match=said) as caught:
        Camera.from_json(json.dumps({"mine": parameters}), path="mine.json")
    assert str(caught.value).startswith("mine.json: camera 'mine'")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "3", '{"a": 1}'])
def test_what_is_no_camera_file_is_refused(text, tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="camera.json"):
        raw_noise.load_cameras(path)


def test_unreadable_camera_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        raw_noise.load_cameras(tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        raw_noise.load_cameras(tmp_path / "binary.json")


def test_impossible_kinds_are_refused():
    camera = raw_noise_virtual.from_arrays(
        raw_noise_virtual.to_arrays(raw_noise.virtual_cameras()))[0]
    for kinds, said in (("px", "unknown kind"), ("pgt", "either"), ("pg", "no parameters")):
        with pytest.raises(UsageError, match=said):
            raw_noise.check_kinds(kinds, camera)
    assert raw_noise.check_kinds("PTR") == "ptr"


def test_wrong_shapes_are_refused():
    camera, rng = CALIBRATED["NikonD850"], np.random.default_rng(0)
    with pytest.raises(ShapeError):
        raw_noise.synthesise(np.zeros((3, 4, 4), np.float32), camera, 1, 1e4, rng)
    with pytest.raises(ShapeError):
        raw_noise.synthesise(np.zeros((4, 4, 4), np.float32), camera, 1, np.ones(3), rng)


def test_colour_bias_of_the_ends_of_the_range():
    camera = CALIBRATED["SonyA7S2"]
    assert camera.bias_at(camera.k_min) == pytest.approx(camera.colour_bias[0])
    assert camera.bias_at(camera.k_max) == pytest.approx(camera.colour_bias[-1])
    assert camera.bias_at(camera.k_max * 2) == pytest.approx(camera.colour_bias[-1])
    assert camera.bias_at(camera.k_min / 2) == pytest.approx(camera.colour_bias[0])
