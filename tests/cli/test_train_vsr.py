"""`restore train vsr` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from restore_cli.errors import ExitStatus, UsageError, WeightsError
from restore_cli.jobs import train_vsr
from restore_cli.jobs.train_vsr import MODELS, VsrTraining, architecture, check
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.nets.layout import layout
from restore_cli.weights import files
from restore_cli.weights.files import Weights

TINY = {"n_feat": 8, "extra_RBS": 1, "recons_RBS": 1, "flow_channels": [4, 6, 8, 10, 12, 14],
        "flow_dense": [8, 8, 6, 4, 4], "flow_refine": [8, 8, 8, 6, 4, 4], "kernel_channels": 8,
        "kernel_reduction": 4, "kernel_hidden": 30}
COMPACT = MODELS["compact"]  # before the tests' small one stands in for it
RUN = ["--device", "cpu", "--threads", 1]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setitem(train_vsr.MODELS, "compact", TINY)
    monkeypatch.setattr("restore_cli.jobs.train_vsr_data.VALIDATION_WINDOWS", 1)
    monkeypatch.setattr("restore_cli.jobs.train_vsr_data.VALIDATION_SIDE", 16)
    monkeypatch.setattr("restore_cli.runtime.paths.cache_dir", lambda *_: tmp_path / "kept")


@pytest.fixture
def clip(tmp_path):
    """A folder of seven frames that move by two pixels each."""
    wide = np.random.default_rng(0).integers(0, 256, (36, 60, 3), np.uint8)
    wide = wide.repeat(2, 0).repeat(2, 1)
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(7):
        part = np.ascontiguousarray(wide[:72, 2 * number:2 * number + 80])
        images.write(folder / f"{number:03d}.png", Image(part))
    return folder


def test_the_three_stages_follow_each_other(restore, engine, tmp_path, clip):
    """Flow network alone, then the whole network with the truth, then without; then resumed."""
    made = ["--data", "synthetic", "--synthetic-count", 2]
    status, out, err = restore(
        "train", "vsr", "-o", tmp_path / "flow", "--stage", "flow", *made, "--patch", 64,
        "--batch", 1, "--steps", 1, *RUN, "--json")
    assert status == ExitStatus.OK, err
    assert "motion to validate on" in err and np.isfinite(json.loads(out)["epe"])
    flow = tmp_path / "flow" / "weights.safetensors"
    assert files.read(flow).arch == "vsr-flow"

    second = tmp_path / "supervised"
    status, out, err = restore(
        "train", "vsr", "-o", second, "--stage", "supervised", *made, "--init", flow,
        "--flow-lr", 0, "--patch", 8, "--batch", 1, "--steps", 1, *RUN, "--json",
        "--average", 0, "--licence", "Apache-2.0")
    assert status == ExitStatus.OK, err
    assert "cubic enlargement" in err and np.isfinite(json.loads(out)["psnr"])
    weights = files.read(second / "weights.safetensors")
    assert weights.arch == "vsr" and weights.metadata["task"] == "vsr"
    assert weights.metadata["stage"] == "supervised" and weights.metadata["blur"] == "gaussian"
    for key, value in files.read(flow).tensors.items():
        assert np.array_equal(weights.tensors[f"flow_net.moduleNetwork.{key}"], value), key

    third = ["train", "vsr", "-o", tmp_path / "self", "--data", clip, "--blur", "realistic",
             "--init", second / "weights.safetensors", "--patch", 16, "--batch", 1, *RUN]
    status, out, err = restore(*third, "--steps", 1, "--json")
    assert status == ExitStatus.OK, err
    assert "measured on training frames" in err and "3 windows of 1 clips" in err
    metadata = files.read(tmp_path / "self" / "weights.safetensors").metadata
    assert (metadata["stage"], metadata["blur"], metadata["licence"]) == (
        "self", "realistic", "Apache-2.0")
    status, _, err = restore(*third, "--steps", 2)
    assert status == ExitStatus.USAGE and "--resume" in err
    status, _, err = restore(*third, "--steps", 2, "--resume", "--batch", 2)
    assert status == ExitStatus.USAGE and "batch" in err
    status, _, err = restore(*third, "--steps", 2, "--resume")
    assert status == ExitStatus.OK and "continuing at step 1 of 2" in err


def test_fitting_to_a_film_of_ones_own(restore, engine, tmp_path, clip):
    from restore_cli.media.video import open_target, probe

    target = tmp_path / "film.mp4"
    info = probe_of(clip)
    with open_target(target, info, (80, 72), crf=10) as film:
        for number in range(7):
            film.write(images.read(clip / f"{number:03d}.png").pixels, number, 1)
    assert probe(target).width == 80
    rng = np.random.default_rng(0)
    tensors = {key: (rng.standard_normal(shape) * 0.02).astype(np.float32)
               for key, shape in layout("vsr", TINY).shapes.items()}
    init = tmp_path / "init.safetensors"
    files.write(init, Weights("vsr", TINY, tensors, {"task": "vsr", "licence": "X"}))
    status, out, err = restore("train", "vsr", "--on", target, "--init", init, "-o",
                               tmp_path / "run", "--steps", 1, "--batch", 1, *RUN, "--json")
    assert status == ExitStatus.OK, err
    assert "patches of 72 pixels" in err
    found = files.read(tmp_path / "run" / "weights.safetensors")
    assert found.metadata["blur"] == "own film" and found.metadata["licence"] == "X"
    assert any((found.tensors[key] != value).any() for key, value in tensors.items())
    assert list((tmp_path / "kept" / "films").glob("*.frames"))


def probe_of(folder):
    from restore_cli.media.video import open_source

    with open_source(folder) as source:
        return source.info


def test_the_compact_model_is_at_most_six_megabytes_in_half_precision():
    assert 2 * layout("vsr", COMPACT).parameters <= 6e6
    assert layout("vsr", MODELS["published"]).parameters == 18_900_215


@pytest.mark.parametrize("options,part", [
    ({}, "no training data"),
    ({"data": ["x"], "on": "y"}, "either --data or --on"),
    ({"data": ["x"], "noise": 2.0}, "--noise"),
    ({"data": ["x"], "kernel_weight": 1.0}, "--kernel-weight"),
    ({"data": ["synthetic"], "flow_weight": 1.0}, "--flow-weight"),
    ({"data": ["x"], "flow_weight": 1.0, "stage": "supervised"}, "--flow-weight"),
    ({"on": "y", "init": "w", "stage": "supervised"}, "nobody knows"),
    ({"data": ["x"], "stage": "flow"}, "motion that is known"),
    ({"data": ["synthetic"], "stage": "flow", "flow_lr": 1e-6}, "--flow-lr"),
    ({"data": ["synthetic"], "stage": "flow", "validation": "v"}, "--validation"),
    ({"data": ["x"], "stage": "selves"}, "--stage"),
    ({"data": ["x"], "blur": "box"}, "--blur"),
    ({"data": ["x"], "model": "large"}, "--model"),
    ({"data": ["x"], "photo_share": 0.5}, "synthetic"),
    ({"data": ["synthetic"], "photos": "p"}, "--photo-share"),
    ({"data": ["x"], "patch": 33}, "multiple of 4"),
    ({"data": ["x"], "flow_lr": -1.0}, "--flow-lr"),
    ({"data": ["x"], "lr": 0.0}, "--lr"),
    ({"data": ["x"], "schedule": "steps"}, "--schedule")])
def test_contradictions_are_refused_before_anything_is_read(tmp_path, options, part):
    with pytest.raises(UsageError, match=part):
        check(VsrTraining(out=tmp_path, **options))


def test_published_settings_are_the_default_of_that_model(tmp_path):
    options = VsrTraining(out=tmp_path, data=["x"], model="published")
    check(options)
    assert (options.patch, options.batch, options.lr, options.flow_lr) == (160, 8, 1e-4, 1e-6)
    assert options.schedule == "halving" and options.steps is None and options.average == 0


def test_the_network_is_that_of_the_weights_it_starts_from(tmp_path):
    options = VsrTraining(out=tmp_path, data=["x"], init="w")
    check(options)
    started = Weights("vsr", {"n_feat": 12}, {})
    assert architecture(options, started)[1]["n_feat"] == 12
    flow = Weights("vsr-flow", {"n_colors": 3, **{key: TINY[key] for key in (
        "flow_channels", "flow_dense", "flow_refine")}, "flow_dense": [5, 5, 5, 5, 5]}, {})
    made = architecture(options, flow)[1]
    assert made["flow_dense"] == [5] * 5 and made["n_feat"] == TINY["n_feat"]
    for bad in (Weights("liif", {}, {}), Weights("vsr", {"HR_in": True}, {}),
                Weights("vsr", {"scale": 2}, {})):
        with pytest.raises(WeightsError):
            architecture(options, bad)
    options.stage = "flow"
    with pytest.raises(WeightsError, match="whole network"):
        architecture(options, started)


def test_unusable_data(restore, tmp_path, clip):
    status, _, err = restore("train", "vsr", "-o", tmp_path / "run", "--data", tmp_path / "no")
    assert status == ExitStatus.SOME_FAILED and "no such file" in err
    assert not (tmp_path / "run").exists()
    status, _, err = restore("train", "vsr", "-o", tmp_path / "run", "--data", clip,
                             "--patch", 32)
    assert status == ExitStatus.SOME_FAILED and "smaller than the patches of 128" in err
    for number in range(3, 7):
        (clip / f"{number:03d}.png").unlink()
    status, _, err = restore("train", "vsr", "-o", tmp_path / "run", "--data", clip)
    assert status == ExitStatus.SOME_FAILED and "has 3 frames" in err
    status, _, err = restore("train", "vsr", "-o", tmp_path / "run", "--data", clip,
                             "--synthetic-count", 3)
    assert status == ExitStatus.USAGE and "--synthetic-count" in err
