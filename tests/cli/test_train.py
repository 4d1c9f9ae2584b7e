"""`restore train liif` from the command line."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.errors import ExitStatus

CONFIG = {
    "encoder_spec": {"name": "edsr-baseline",
                     "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 16}},
    "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16]}},
}
SMALL = ["--patch", "12", "--queries", "64", "--batch", "2", "--scale", "1,2", "--device", "cpu",
         "--checkpoint-every", "2", "--validate-every", "2"]


def _run(*argv) -> tuple[int, str, str]:
    out, err = io.BytesIO(), io.StringIO()
    status = main([str(a) for a in argv], Console(io.BytesIO(), out, err, {}))
    return status, out.getvalue().decode(), err.getvalue()


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


def test_trains_resumes_and_the_weights_upscale(engine, tmp_path, photos, config):
    run = tmp_path / "run"
    common = ["train", "liif", "-o", run, "--data", photos, "--config", config, *SMALL]
    status, out, err = _run(*common, "--steps", 3, "--json")
    assert status == ExitStatus.OK, err
    assert "measured on training images" in err
    record = json.loads(out)
    assert record["step"] == 3 and np.isfinite(record["psnr_x2"])
    assert {p.name for p in run.iterdir()} >= {"last.safetensors", "weights.safetensors",
                                               "log.csv", "loss.png", "psnr.png"}

    status, _, err = _run(*common, "--steps", 5)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = _run(*common, "--steps", 5, "--resume")
    assert status == ExitStatus.OK and "continuing at step 3 of 5" in err

    target = tmp_path / "large.png"
    status, _, err = _run("upscale", photos / "0.png", "--scale", "1.5", "--weights",
                          run / "weights.safetensors", "-o", target, "--device", "cpu")
    assert status == ExitStatus.OK, err
    assert Image.open(target).size == (105, 90)


def test_generated_images_and_photographs(engine, tmp_path, photos, config):
    status, out, err = _run("train", "liif", "-o", tmp_path / "run", "--data", "synthetic",
                            "--synthetic-count", 2, "--photos", photos, "--photo-share", 0.5,
                            "--config", config, *SMALL, "--steps", 2)
    assert status == ExitStatus.OK, err
    assert out.strip().endswith("weights.safetensors")


def test_fixed_scale_and_paired_folders(engine, tmp_path, photos):
    low = tmp_path / "low"
    low.mkdir()
    for path in photos.iterdir():
        Image.open(path).resize((35, 30), Image.BICUBIC).save(low / f"{path.stem}x2.png")
    status, _, err = _run("train", "liif", "-o", tmp_path / "run", "--sampler", "paired", "--data",
                          photos, "--low", low, "--fixed-scale", 2, *SMALL, "--steps", 2)
    assert status == ExitStatus.OK, err


@pytest.mark.parametrize("extra, words", [
    (["--scale", "4"], "two numbers"),
    (["--scale", "3,2"], "least"),
    (["--model", "edsr-base"], "unknown model"),
    (["--schedule", "linear"], "unknown schedule"),
    (["--sampler", "all"], "unknown sampler"),
    (["--sampler", "paired"], "one --low"),
    (["--photo-share", "1"], "between 0 and 1"),
])
def test_contradictions_are_usage_errors(tmp_path, photos, extra, words):
    status, _, err = _run("train", "liif", "-o", tmp_path / "run", "--data", photos, *SMALL,
                          "--photos", photos, *extra)
    assert status == ExitStatus.USAGE
    assert words in err and err.count("\n") <= 2


def test_no_usable_image_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = _run("train", "liif", "-o", tmp_path / "run", "--data", tmp_path / "empty",
                          *SMALL)
    assert status == ExitStatus.SOME_FAILED
    assert "no images in this folder" in err
