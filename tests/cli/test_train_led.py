"""`restore train led` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from denoise_raw_weights import dark, make, planes, raw_files

from restore_cli.errors import ExitStatus, UsageError
from restore_cli.jobs.train_led import LedTraining, camera_names, cameras_of, check
from restore_cli.nets.led import fold
from restore_cli.training.degradations import raw_noise
from restore_cli.weights import files

SMALL = ["--channels", 4, "--patch", 16, "--batch", 2, "--device", "cpu"]


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch, tmp_path):
    monkeypatch.setattr("restore_cli.jobs.train_led_data.VALIDATION_IMAGES", 1)
    monkeypatch.setattr("restore_cli.jobs.train_led_data.cache_folder", lambda: tmp_path / "kept")


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of small RAW files of one camera, and their list."""
    lines = []
    for number, ratio in enumerate((100, 250)):
        light = planes((48, 64), number)
        dark(tmp_path / f"dark{number}.dng", light, ratio, number, iso=1600, seconds=10 / ratio)
        dark(tmp_path / f"light{number}.dng", light, 1.0, number, iso=1600, seconds=10)
        lines.append(f"dark{number}.dng light{number}.dng")
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pretrains_on_generated_pictures_and_resumes(restore, engine, tmp_path):
    run = tmp_path / "run"
    common = ["train", "led", "-o", run, "--data", "synthetic", "--synthetic-count", 2, *SMALL,
              "--mean-share", 0.5, "--ratios", "1-300", "--licence", "Apache-2.0"]
    status, out, err = restore(*common, "--steps", 2, "--json")
    assert status == ExitStatus.OK, err
    assert "to validate on have" in err and "at ratio 250" in err
    record = json.loads(out)
    assert record["step"] == 2
    assert all(np.isfinite(record[f"psnr_{ratio}"]) for ratio in (30, 100, 250))
    weights = files.read(run / "weights.safetensors")
    assert weights.arch == "led-unet"
    assert weights.config == {"channels": 4, "repnr": {"branches": 5, "aux": False}}
    facts = weights.metadata
    assert (facts["task"], facts["stage"], facts["licence"]) == (
        "denoise-raw", "pretrain", "Apache-2.0")
    assert json.loads(facts["cameras"]) == ["any"] and json.loads(facts["ratios"]) == [1, 300]

    status, _, err = restore(*common, "--steps", 3)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = restore(*common, "--steps", 3, "--resume", "--noise", "pg")
    assert status == ExitStatus.USAGE and "noise" in err
    status, _, err = restore(*common, "--steps", 3, "--resume")
    assert status == ExitStatus.OK and "continuing at step 2 of 3" in err


def test_baseline_on_raw_files_with_a_calibrated_camera(restore, engine, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(2):
        raw_files.write_dng(folder / f"{number}.dng", raw_files.scene(seed=number))
    (folder / "broken.arw").write_bytes(b"II*\0" + bytes(60))
    status, out, err = restore(
        "train", "led", "-o", tmp_path / "run", "--data", folder, "--setting", "cvpr20",
        "--cameras", "SonyA7S2", "--noise", "pg", *SMALL, "--steps", 1, "--json")
    assert status == ExitStatus.OK, err
    assert "broken.arw" in err and "measured on training images" in err
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.config == {"channels": 4, "repnr": None}
    assert weights.metadata["stage"] == "plain"
    assert json.loads(weights.metadata["cameras"]) == ["SONY ILCE-7SM2"]
    assert json.loads(weights.metadata["ratios"]) == [100, 300]
    assert list((tmp_path / "kept").glob("*.npy"))


def test_real_pairs_train_a_plain_network(restore, engine, tmp_path, pairs):
    status, out, err = restore("train", "led", "-o", tmp_path / "run", "--pairs", pairs, *SMALL,
                               "--validation", pairs, "--steps", 1, "--json")
    assert status == ExitStatus.OK, err
    assert "dark1.dng and light1.dng: ratio 250" in err
    assert set(json.loads(out)) >= {"psnr_100", "psnr_250"}
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.metadata["stage"] == "plain"
    assert json.loads(weights.metadata["cameras"]) == ["Maker Model 7"]


@pytest.mark.parametrize("start", ["repnr", "unet"])
def test_fine_tune_in_two_phases_and_resumed(restore, engine, tmp_path, pairs, start):
    """Killed or not, the weights are the same; only what is meant to be trained has changed."""
    init = make(tmp_path, start)

    def tune(run, *more):
        return restore("train", "led", "--finetune", pairs, "--init", init, "-o", tmp_path / run,
                       "--aux-steps", 2, "--patch", 16, "--device", "cpu", "--align-lr", 1e-2,
                       "--aux-lr", 1e-2, "--json", *more)

    status, out, err = tune("whole", "--align-steps", 3)
    assert status == ExitStatus.OK, err
    assert "align: " in err and "aux: " in err and "on the pairs themselves" in err
    assert json.loads(out)["step"] == 5
    weights = files.read(tmp_path / "whole" / "weights.safetensors")
    assert weights.metadata["stage"] == "finetune"
    assert json.loads(weights.metadata["cameras"]) == ["Maker Model 7"]
    assert json.loads(weights.metadata["ratios"]) == [1, 300]
    source = files.read(init)
    config, before = fold.to_finetune(source.arch, source.config, source.tensors)
    assert weights.config == config
    last = f".{config['repnr']['branches']}"
    for key, value in weights.tensors.items():
        trained = key.endswith((last, ".aux_weight", ".aux_bias"))
        assert (value != before[key]).any() == trained, key

    status, _, err = tune("parts", "--align-steps", 3, "--minutes", 1e-9)
    assert status == ExitStatus.OK and "out of time at step 1 of 3" in err
    status, _, err = tune("parts", "--align-steps", 3)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = tune("parts", "--align-steps", 4, "--resume")
    assert status == ExitStatus.USAGE and "align_steps" in err
    status, _, err = tune("parts", "--align-steps", 3, "--resume")
    assert status == ExitStatus.OK and "align: continuing at step 1 of 3" in err
    resumed = files.read(tmp_path / "parts" / "weights.safetensors")
    for key, value in weights.tensors.items():
        np.testing.assert_array_equal(value, resumed.tensors[key], err_msg=key)


def test_one_phase_alone(restore, engine, tmp_path, pairs):
    words = ["train", "led", "--finetune", pairs, "--init", make(tmp_path, "repnr"), "-o",
             tmp_path / "run", "--align-steps", 0, "--aux-steps", 1, "--patch", 16, "--device",
             "cpu"]
    status, _, err = restore(*words)
    assert status == ExitStatus.OK and "align" not in err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "aux", "weights.safetensors"]
    status, _, err = restore(*words)
    assert status == ExitStatus.USAGE and "--resume" in err


@pytest.mark.parametrize("start", ["nafnet", "restormer"])
def test_fine_tune_of_other_networks(restore, engine, tmp_path, pairs, start):
    status, _, err = restore(
        "train", "led", "--finetune", pairs, "--init", make(tmp_path, start), "-o",
        tmp_path / "run", "--align-steps", 1, "--aux-steps", 1, "--patch", 16, "--device", "cpu")
    assert status == ExitStatus.OK, err
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.config["repnr"] == {"branches": 1, "aux": True}


def test_damaged_pairs_are_refused_by_name(restore, tmp_path, pairs):
    init = make(tmp_path, "repnr")

    def tune(text):
        pairs.write_text(text)
        return restore("train", "led", "--finetune", pairs, "--init", init, "-o",
                       tmp_path / "run", "--device", "cpu")

    raw_files.write_dng(tmp_path / "small.dng", raw_files.scene(32, 32))
    raw_files.write_dng(tmp_path / "bggr.dng", raw_files.scene(), pattern="BGGR")
    for text, word in (("dark0.dng small.dng", "32x32"), ("dark0.dng bggr.dng 9", "BGGR"),
                       ("dark0.dng gone.dng", "gone.dng"), ("light0.dng dark0.dng", "noisy file"),
                       ("dark0.dng", "line 1"), ("", "no pairs")):
        status, _, err = tune(text)
        assert status == ExitStatus.SOME_FAILED and word in err, (text, err)
        assert not (tmp_path / "run").exists()


def test_calibrated_camera_is_taken_by_cameras(restore, tmp_path):
    """Frames of a camera that is known give a file that `--cameras` takes."""
    camera = raw_noise.CALIBRATED["SonyA7S2"]
    for folder, light in (("flats", 0.4), ("darks", 0.0)):
        (tmp_path / folder).mkdir()
        for iso, gain in ((800, 1.0), (3200, 4.0)):
            for take in range(2):
                level = np.broadcast_to(np.linspace(light / 4, light, 160, dtype=np.float32),
                                        (4, 160, 160))
                noisy, _ = raw_noise.synthesise(
                    level, camera, 1.0, 15871.0, np.random.default_rng([iso, take]), "ptr",
                    gain=gain)
                mosaic = np.zeros((320, 320), np.uint16)
                values = np.clip(np.rint(noisy * 15871.0 + 512), 0, 16383)
                for plane, (row, column) in zip(values, ((0, 0), (0, 1), (1, 1), (1, 0))):
                    mosaic[row::2, column::2] = plane
                raw_files.write_dng(tmp_path / folder / f"{iso}-{take}.dng", mosaic, iso=iso)
    target = tmp_path / "camera.json"
    words = ["train", "led", "--calibrate", "--flats", tmp_path / "flats", "--darks",
             tmp_path / "darks", "-o", target]
    status, out, err = restore(*words, "--json")
    assert status == ExitStatus.OK, err
    record = json.loads(out)
    assert record["iso"] == [800, 3200]
    np.testing.assert_allclose(record["gain"], [1.0, 4.0], rtol=0.1)
    (found,) = cameras_of(str(target))
    assert camera_names([found]) == ["Maker Model 7"]
    status, _, err = restore(*words)
    assert status == ExitStatus.USAGE and "exists" in err
    check(LedTraining(tmp_path, ["synthetic"], cameras=str(target)))


def test_settings_fill_what_is_not_given(tmp_path):
    published = LedTraining(tmp_path, ["x"], setting="mm22", lr=1e-3)
    assert (published.batch, published.steps, published.lr, published.patch) == (
        8, 289_800, 1e-3, 512)
    darkness = check(published)
    assert published.repnr and not darkness.any_camera
    assert darkness.ratios.draw_as == "integer" and len(darkness.cameras) == 5
    assert check(LedTraining(tmp_path, ["x"])).any_camera
    assert not check(LedTraining(tmp_path, ["x"], cameras="NikonD850")).any_camera
    assert len(check(LedTraining(tmp_path, ["x"], cameras="virtual:3")).cameras) == 3


@pytest.mark.parametrize("options, word", [
    ({"setting": "cvpr2020"}, "cvpr20"), ({"cameras": "sony"}, "--cameras"),
    ({"cameras": "virtual:0"}, "--cameras"), ({"noise": "pgt"}, "not both"),
    ({"noise": "x"}, "'x'"), ({"ratios": "0-3"}, "--ratios"), ({"patch": 100}, "multiple of 16"),
    ({"model": "cunet"}, "--model"), ({"schedule": "published"}, "belongs to"),
    ({"data": ()}, "no training data"), ({"mean_share": 2}, "--mean-share"),
    ({"repnr": False, "mean_share": 0.5}, "--repnr"), ({"lr": 0}, "--lr"),
    ({"data": ("x",), "photo_share": 0.5}, "synthetic"), ({"photos": "x"}, "--photo-share"),
    ({"warmup": 5, "schedule": "constant"}, "--schedule cosine")])
def test_contradictions_are_told_before_data_are_read(tmp_path, options, word):
    with pytest.raises(UsageError, match=word):
        check(LedTraining(**{"out": tmp_path, "data": ("synthetic",), **options}))


@pytest.mark.parametrize("words, said", [
    (["--finetune", "p.txt", "--data", "synthetic"], "--data has no meaning with --finetune"),
    (["--finetune", "p.txt", "--steps", 5], "--steps has no meaning"),
    (["--finetune", "p.txt", "--init", "w", "--align-lr", 0], "--align-lr"),
    (["--finetune", "p.txt", "--init", "w", "--align-steps", 0, "--aux-steps", 0], "both 0"),
    (["--finetune", "p.txt", "--init", "w", "--schedule", "halving"], "--schedule"),
    (["--data", "synthetic", "--align-steps", 5], "belongs to --finetune"),
    (["--data", "synthetic", "--flats", "x"], "belongs to --calibrate"),
    (["--data", "x", "--synthetic-count", 5], "belongs to --data synthetic"),
    (["--pairs", "p.txt", "--cameras", "virtual"], "generated noise"),
    (["--pairs", "p.txt", "--data", "x"], "either --data or --pairs"),
    (["--pairs", "p.txt", "--repnr"], "plain network"),
    (["--calibrate", "--flats", "x"], "--darks"),
    (["--calibrate", "--lr", 1], "--lr has no meaning with --calibrate")])
def test_options_of_another_use_are_refused(restore, tmp_path, words, said):
    target = tmp_path / ("c.json" if "--calibrate" in words else "run")
    status, _, err = restore("train", "led", "-o", target, *words)
    assert status == ExitStatus.USAGE and said in err, err
    assert not target.exists()


def test_other_weights_are_refused(restore, tmp_path, pairs):
    from upscale_weights import make as other

    status, _, err = restore("train", "led", "-o", tmp_path / "run", "--finetune", pairs,
                             "--init", other(tmp_path, "liif"))
    assert status == ExitStatus.WEIGHTS and "RAW denoiser" in err


@pytest.mark.parametrize("init", [(), ("--init", "led-compact")])
def test_the_shipped_weights_are_fine_tuned_by_name_or_without(restore, engine, tmp_path, pairs,
                                                              init):
    status, _, err = restore("train", "led", "--finetune", pairs, *init, "-o", tmp_path / "run",
                             "--align-steps", 1, "--aux-steps", 0, "--patch", 16, "--device", "cpu")
    assert status == ExitStatus.OK, err
    weights = files.read(tmp_path / "run" / "weights.safetensors")
    assert weights.config["channels"] == 16 and weights.metadata["licence"] == "Apache-2.0"
