"""`restore weights` and RAW denoisers: conversion to use, what the user tells, virtual cameras."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from denoise_raw_weights import dark

from restore_cli.media import raw
from restore_cli.weights import files

CHECKPOINTS = Path(__file__).parents[1] / "data" / "led" / "ckpt"
GENERATOR = CHECKPOINTS / "VirtualNoisyPairGenerator_ELD_ptrqc_5VirtualCameras_sample.pth"


def test_from_checkpoint_to_dng(denoise_raw, restore, tmp_path):
    source = Path("LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth")
    shutil.copy(CHECKPOINTS / "LED_Deploy_tiny_c1.pth", source)
    status, out, err = restore("weights", "convert", source)
    assert status == 0, err
    assert "led-unet" in out and "folded" in err
    dark("a.dng")
    results = set()
    for weights in (source, source.with_suffix(".safetensors")):
        found = denoise_raw("a.dng", "--ratio", 100, "--overwrite", network=weights)
        assert found.status == 0, found.stderr
        assert "for SONY ILCE-7SM2, ratios 100 to 300" in found.stderr
        assert "a best effort" in found.stderr  # another camera's file
        results.add(raw.read("a_denoised.dng").mosaic.tobytes())
    assert len(results) == 1


def test_the_user_may_say_what_the_name_does_not(restore, tmp_path):
    target = tmp_path / "w.safetensors"
    status, _, err = restore("weights", "convert", CHECKPOINTS / "ELD_Deploy_tiny_c1.pth", "-o",
                             target, "--camera", "Canon EOS R5", "--camera", "Canon EOS R6",
                             "--ratios", "2-50")
    assert status == 0, err
    facts = files.read(target).metadata
    assert json.loads(facts["cameras"]) == ["Canon EOS R5", "Canon EOS R6"]
    assert json.loads(facts["ratios"]) == [2, 50]


@pytest.mark.parametrize("ratios", ["0-300", "300-100", "many", "1-inf", "nan"])
def test_ratios_that_make_no_sense(restore, tmp_path, ratios):
    target = tmp_path / "w.safetensors"
    status, _, err = restore("weights", "convert", CHECKPOINTS / "ELD_Deploy_tiny_c1.pth", "-o",
                             target, "--ratios", ratios)
    assert status == 2 and "makes no sense" in err and not target.exists()


def test_cameras_are_for_raw_denoisers(restore, tmp_path):
    source = Path(__file__).parents[1] / "data" / "liif" / "liif_tiny.pth"
    status, _, err = restore("weights", "convert", source, "-o", tmp_path / "w.safetensors",
                             "--camera", "any")
    assert status == 2 and "denoise RAW files" in err


def test_virtual_cameras_become_a_file_for_training(restore, tmp_path):
    from restore_cli.jobs.train_led import cameras_of

    target = tmp_path / "cameras.json"
    status, out, err = restore("weights", "convert", GENERATOR, "-o", target)
    assert status == 0, err
    assert "5 cameras" in out and "gain K was taken to be 0.1 to 30" in err
    assert [camera.name for camera in cameras_of(str(target))] == [
        f"virtual-{i}" for i in range(5)]
    status, _, err = restore("weights", "convert", GENERATOR, "-o", target)
    assert status == 2 and "exists already" in err
    assert restore("weights", "convert", GENERATOR, "-o", target, "--overwrite")[0] == 0
    folder = tmp_path / "folder"
    folder.mkdir()
    assert restore("weights", "convert", GENERATOR, "-o", folder)[0] == 0
    assert (folder / GENERATOR.with_suffix(".json").name).read_text() == target.read_text()


@pytest.mark.parametrize(("arguments", "message"), [
    (["-o", "x.safetensors"], "must end in .json"), (["--camera", "any"], "have no meaning"),
    (["--normalisation", "unit"], "have no meaning")])
def test_what_cameras_are_not(restore, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = restore("weights", "convert", GENERATOR, *arguments)
    assert status == 2 and message in err and not list(tmp_path.iterdir())


def test_the_list_warns_of_terms_and_uses(restore):
    status, out, err = restore("weights", "list", "--task", "denoise-raw")
    assert status == 0
    line, = [line for line in out.splitlines() if line.startswith("led-nafnet-sid-sonya7s2 ")]
    assert "CC BY-NC 4.0" in line and " no " in line
    note, = [line for line in err.splitlines() if "--finetune" in line]
    assert "led-pretrain-mm22" in note and "sonya7s2" not in note
