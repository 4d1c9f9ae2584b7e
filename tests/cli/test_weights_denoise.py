"""`restore weights` and denoisers: how their networks are fed, what they are good for."""

from __future__ import annotations

import json

import pytest

from restore_cli.jobs.bench import random_weights
from restore_cli.weights import files

FIELD = {"num_channels_init": 4, "in_channels": 3, "num_classes": 3}


@pytest.fixture
def made(tmp_path):
    """A weight file of a network."""

    def make(arch="n2v-field", config=FIELD):
        path = tmp_path / "w.safetensors"
        files.write(path, random_weights(arch, dict(config)))
        return path

    return make


@pytest.mark.parametrize(("how", "expected"), [
    ("image", {"kind": "image"}), ("unit", {"kind": "unit", "clip": False}),
    ("unit-8bit", {"kind": "unit", "clip": True, "quantise": True}),
    ("110.5:63", {"kind": "fixed", "mean": [110.5] * 3, "std": [63.0] * 3}),
    ("1,2,3:4,5,6", {"kind": "fixed", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]})])
def test_the_user_may_say_how_a_network_is_fed(restore, made, tmp_path, how, expected):
    target = tmp_path / "converted.safetensors"
    status, _, err = restore("weights", "convert", made(), "-o", target, "--normalisation", how)
    assert status == 0, err
    assert json.loads(files.read(target).metadata["normalisation"]) == expected


@pytest.mark.parametrize(("how", "message"), [
    ("sigma", "makes no sense"), ("1:0", "makes no sense"), ("1,2:3", "makes no sense"),
    ("nan:1", "makes no sense"), ("1,2:3,4", "2 numbers for a network of 3 channels")])
def test_normalisations_that_make_no_sense(restore, made, tmp_path, how, message):
    target = tmp_path / "converted.safetensors"
    status, _, err = restore("weights", "convert", made(), "-o", target, "--normalisation", how)
    assert status == 2 and message in err and not target.exists()


def test_only_denoisers_are_told_how_they_are_fed(restore, made, tmp_path):
    path = made("edsr", {"n_resblocks": 1, "n_feats": 4, "scale": 2, "no_upsampling": False})
    status, _, err = restore("weights", "convert", path, "-o", tmp_path / "c.safetensors",
                             "--normalisation", "unit")
    assert status == 2 and "denoising networks" in err


def test_the_list_warns_of_weights_for_comparison(restore):
    status, out, err = restore("weights", "list", "--task", "denoise")
    assert status == 0
    assert "n2v-unet-sigma25-jittor" in out and "n2n-gaussian-clean" in out
    note, = [line for line in err.splitlines() if "for comparison only" in line]
    assert "n2v-unet-sigma10" in note and "n2n" not in note
