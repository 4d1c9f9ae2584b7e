"""`restore train liif` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ExitStatus
from restore_cli.training.logs import read_log
from restore_cli.weights import files

CONFIG = {
    "encoder_spec": {"name": "edsr-baseline",
                     "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 16}},
    "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16]}},
}
SMALL = ["--patch", "12", "--queries", "64", "--batch", "2", "--scale", "1,2", "--device", "cpu",
         "--checkpoint-every", "2", "--validate-every", "2"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (60, 70, 3), np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_trains_resumes_and_the_weights_upscale(restore, engine, tmp_path, photos, config):
    run = tmp_path / "run"
    common = ["train", "liif", "-o", run, "--data", photos, "--config", config, *SMALL]
    status, out, err = restore(*common, "--steps", 3, "--json")
    assert status == ExitStatus.OK, err
    assert "measured on training images" in err
    record = json.loads(out)
    assert record["step"] == 3 and np.isfinite(record["psnr_x2"])
    assert {p.name for p in run.iterdir()} >= {"last.safetensors", "weights.safetensors",
                                               "log.csv", "loss.png", "psnr.png"}

    status, _, err = restore(*common, "--steps", 5)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = restore(*common, "--steps", 5, "--resume")
    assert status == ExitStatus.OK and "continuing at step 3 of 5" in err

    target = tmp_path / "large.png"
    status, _, err = restore("upscale", photos / "0.png", "--scale", "1.5", "--weights",
                             run / "weights.safetensors", "-o", target, "--device", "cpu")
    assert status == ExitStatus.OK, err
    assert Image.open(target).size == (105, 90)


def test_generated_images_and_photographs(restore, engine, tmp_path, photos, config):
    status, out, err = restore("train", "liif", "-o", tmp_path / "run", "--data", "synthetic",
                               "--synthetic-count", 2, "--photos", photos, "--photo-share", 0.5,
                               "--config", config, *SMALL, "--steps", 2)
    assert status == ExitStatus.OK, err
    assert out.strip().endswith("weights.safetensors")


@pytest.fixture
def low(tmp_path, photos):
    """The photographs at half size."""
    folder = tmp_path / "low"
    folder.mkdir()
    for path in photos.iterdir():
        Image.open(path).resize((35, 30), Image.BICUBIC).save(folder / f"{path.stem}x2.png")
    return folder


def test_fixed_scale_and_paired_folders(restore, engine, tmp_path, photos, low):
    status, _, err = restore("train", "liif", "-o", tmp_path / "run", "--sampler", "paired",
                             "--data", photos, "--low", low, "--fixed-scale", 2, *SMALL,
                             "--steps", 2)
    assert status == ExitStatus.OK, err


@pytest.mark.parametrize("options, pixels", [
    (["--sizes", "6,6"], "42 pixels"),  # 60x70 with the shorter side at 6: 6x7
    (["--sizes", "20,20", "--gt-resize", "6"], "36 pixels"),  # 20x23, then 6x6.9 cut to 6x6
    (["--sizes", "6,6", "--gt-resize", "20"], None),
    (["--sizes", "20,40"], None),
])
def test_varied_sizes(restore, engine, tmp_path, photos, low, config, options, pixels):
    """Whether 64 queries fit tells which size the targets have."""
    run = tmp_path / "run"
    status, _, err = restore("train", "liif", "-o", run, "--sampler", "varied", "--data", photos,
                             "--low", low, "--config", config, *SMALL, "--steps", 1, *options)
    if pixels is None:
        assert status == ExitStatus.OK, err
    else:
        assert status == ExitStatus.USAGE and pixels in err
        assert not run.exists()


def test_warmup(restore, engine, tmp_path, photos, config):
    run = tmp_path / "run"
    status, _, err = restore("train", "liif", "-o", run, "--data", photos, "--config", config,
                             *SMALL, "--steps", 2, "--schedule", "cosine", "--warmup", 8,
                             "--lr", 0.004)
    assert status == ExitStatus.OK, err
    assert read_log(run / "log.csv")[-1]["lr"] == pytest.approx(0.001)


def test_init_starts_from_weights_and_belongs_to_the_run(restore, engine, tmp_path, photos,
                                                         config):
    first, second = tmp_path / "first", tmp_path / "second"
    command = ["train", "liif", "--data", photos, "--config", config, *SMALL, "--steps", 2]
    assert restore(*command, "-o", first)[0] == ExitStatus.OK
    start = ["--init", first / "weights.safetensors"]
    status, _, err = restore(*command, "-o", second, *start, "--seed", 1, "--lr", 1e-12)
    assert status == ExitStatus.OK, err
    ours, theirs = (files.read(run / "weights.safetensors").tensors for run in (second, first))
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, atol=1e-9, err_msg=key)

    again = [*command, "-o", second, "--seed", 1, "--lr", 1e-12, "--resume"]
    status, _, err = restore(*again)
    assert status == ExitStatus.USAGE and "other settings: init" in err
    status, _, err = restore(*again, "--init", second / "weights.safetensors")
    assert status == ExitStatus.USAGE and "other settings: init" in err
    status, _, err = restore(*again, *start)
    assert status == ExitStatus.OK, err


def test_weights_of_another_network_cannot_start_a_run(restore, engine, tmp_path, photos, config):
    run, other = tmp_path / "run", tmp_path / "other.safetensors"
    files.write(other, files.Weights("liif", CONFIG, {"x": np.zeros(3, np.float32)}, {}))
    status, _, err = restore("train", "liif", "-o", run, "--data", photos, "--config", config,
                             *SMALL, "--init", other)
    assert status == ExitStatus.WEIGHTS and "other.safetensors" in err
    assert not run.exists()


def test_the_configuration_belongs_to_the_run(restore, engine, tmp_path, photos, config):
    command = ["train", "liif", "-o", tmp_path / "run", "--data", photos, *SMALL, "--steps", 1]
    assert restore(*command, "--config", config)[0] == ExitStatus.OK
    other = tmp_path / "other.json"
    other.write_text(json.dumps(CONFIG, indent=2))  # the same, written otherwise
    status, _, err = restore(*command, "--config", other, "--resume")
    assert status == ExitStatus.OK, err
    other.write_text(json.dumps({**CONFIG, "cell_decode": False}))
    status, _, err = restore(*command, "--config", other, "--resume")
    assert status == ExitStatus.USAGE and "other settings: config" in err


def test_a_time_limit_ends_the_run_and_it_can_go_on(restore, engine, tmp_path, photos, config):
    command = ["train", "liif", "-o", tmp_path / "run", "--data", photos, "--config", config,
               *SMALL, "--steps", 3, "--json"]
    status, out, err = restore(*command, "--minutes", 1e-9)
    assert status == ExitStatus.OK, err
    assert json.loads(out)["step"] == 1
    status, out, err = restore(*command, "--minutes", 60, "--resume")
    assert status == ExitStatus.OK, err
    assert json.loads(out)["step"] == 3


@pytest.mark.parametrize("extra, words", [
    (["--scale", "4"], "two numbers"),
    (["--scale", "3,2"], "least"),
    (["--model", "edsr-base"], "unknown model"),
    (["--schedule", "linear"], "unknown schedule"),
    (["--sampler", "all"], "unknown sampler"),
    (["--sampler", "paired"], "one --low"),
    (["--photo-share", "1"], "between 0 and 1"),
    (["--photo-share", "-0.1"], "between 0 and 1"),
    (["--scale", "1,inf"], "least"),
    (["--lr", "0"], "--lr"),
    (["--lr", "nan"], "--lr"),
    (["--minutes", "0"], "--minutes"),
    (["--sizes", "0,4"], "--sizes"),
    (["--sizes", "5,4"], "--sizes"),
    (["--sizes", "5"], "two numbers"),
])
def test_contradictions_are_usage_errors(restore, tmp_path, photos, extra, words):
    run = tmp_path / "deep" / "run"
    status, _, err = restore("train", "liif", "-o", run, "--data", photos, *SMALL, "--photos",
                             photos, *extra)
    assert status == ExitStatus.USAGE
    assert words in err and err.count("\n") <= 2
    assert not run.parent.exists()


@pytest.mark.parametrize("option, value", [("--fixed-scale", 1), ("--gt-resize", 0)])
def test_numbers_below_the_least(restore, tmp_path, photos, option, value, capsys):
    status, _, _ = restore("train", "liif", "-o", tmp_path / "run", "--data", photos, *SMALL,
                           option, value)
    assert status == ExitStatus.USAGE
    assert f"'{option}'" in capsys.readouterr().err


def test_no_usable_image_is_told(restore, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for run in (tmp_path / "deep" / "run", empty):
        status, _, err = restore("train", "liif", "-o", run, "--data", empty, *SMALL)
        assert status == ExitStatus.SOME_FAILED
        assert "no images in this folder" in err
    assert not (tmp_path / "deep").exists()
    assert empty.exists()  # was there before
