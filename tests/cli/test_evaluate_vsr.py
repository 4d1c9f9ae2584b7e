"""`restore evaluate vsr` from the command line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from restore_cli.errors import ExitStatus
from restore_cli.evaluation import video_baseline, video_metrics
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.nets.layout import layout
from restore_cli.training.degradations import blur, blur_kernels
from restore_cli.weights import files
from restore_cli.weights.files import Weights

TINY = {"n_feat": 8, "extra_RBS": 1, "recons_RBS": 1, "flow_channels": [4, 6, 8, 10, 12, 14],
        "flow_dense": [8, 8, 6, 4, 4], "flow_refine": [8, 8, 8, 6, 4, 4], "kernel_channels": 8,
        "kernel_reduction": 4, "kernel_hidden": 30}
COUNT = 6


def sharp(number):
    """A frame of waves, 62x84, that move."""
    y, x = np.mgrid[0:62, 0:84]
    planes = [np.sin((x - number) / 5 + c) * np.cos(y / (6 + c)) for c in range(3)]
    return np.rint(np.stack(planes, -1) * 90 + 128).astype(np.uint8)


@pytest.fixture
def dataset(tmp_path):
    """Two clips of six frames, blurred and made small; sides are no multiples of 4."""
    kernel = blur_kernels.gaussian(1.2)
    for clip in ("a", "b"):
        for number in range(COUNT):
            frame = sharp(number + 20 * (clip == "b"))
            for part, pixels in (("HR", frame),
                                 ("LR_blurdown_x4", blur.low_resolution(frame, kernel))):
                folder = tmp_path / "set" / part / clip
                folder.mkdir(parents=True, exist_ok=True)
                images.write(folder / f"{number:03d}.png", Image(pixels))
    return tmp_path / "set"


@pytest.fixture
def weights(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {key: (rng.standard_normal(shape) * 0.03).astype(np.float32)
               for key, shape in layout("vsr", TINY).shapes.items()}
    path = tmp_path / "tiny.safetensors"
    files.write(path, Weights("vsr", TINY, tensors, {"task": "vsr"}))
    return path


def pixels(folder, number):
    return images.read(folder / f"{number:03d}.png").pixels


def test_cubic_enlargement_is_scored_by_the_published_protocol(restore, tmp_path, dataset):
    table = tmp_path / "scores.csv"
    status, out, err = restore("evaluate", "vsr", "--data", dataset, "--identity", "--json",
                               "--csv", table)
    assert status == ExitStatus.OK, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [one["type"] for one in records] == ["clip", "clip", "mean"]
    assert [one["frames"] for one in records] == [2, 2, 4]
    expected = []
    for number in (2, 3):  # without the two at each end
        low = pixels(dataset / "LR_blurdown_x4" / "a", number)
        made = np.rint(np.clip(video_baseline.enlarge(low), 0, 255)).astype(np.uint8)
        expected.append(video_metrics.psnr(made[:62], pixels(dataset / "HR" / "a", number)))
    assert records[0]["bicubic_psnr"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert "psnr" not in records[0]
    lines = list(csv.DictReader(table.open()))
    assert [line["frame"] for line in lines] == ["2", "3", "mean"] * 2
    assert float(lines[0]["bicubic_psnr"]) == pytest.approx(expected[0], abs=1e-4)
    status, _, err = restore("evaluate", "vsr", "--data", dataset, "--identity", "--csv", table)
    assert status == ExitStatus.USAGE and "exists" in err


def test_a_network_is_scored_as_the_plain_one(restore, engine, tmp_path, dataset, weights):
    import jittor as jt

    from restore_cli.nets import registry

    pytest.importorskip("matplotlib")
    saved = tmp_path / "saved"
    status, out, err = restore(
        "evaluate", "vsr", "--data", dataset, "--weights", weights, "--save", saved, "--plots",
        tmp_path / "plots", "--device", "cpu", "--json")
    assert status == ExitStatus.OK, err
    records = [json.loads(line) for line in out.splitlines()]
    assert records[0]["compute_seconds"] > 0 and records[0]["encode_seconds"] > 0
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "psnr.png", "frames.png", "time.png"}
    network = registry.build("vsr", TINY)
    network.load_state_dict(files.read(weights).tensors)
    frames = np.stack([pixels(dataset / "LR_blurdown_x4" / "a", number) for number in range(5)])
    with jt.no_grad():
        made = network(jt.array(np.moveaxis(video_metrics.from_bytes(frames), -1, 1)[None]))
    made = video_metrics.to_bytes(np.moveaxis(made.numpy()[0], 0, -1))[:62]
    found = images.read(saved / "a" / "frame_00001.png").pixels
    assert found.shape == (62, 84, 3)
    assert (np.abs(found.astype(int) - made) > 0).mean() < 1e-3
    status, out, err = restore("evaluate", "vsr", "--data", dataset, "--restored", saved, "--json")
    assert status == ExitStatus.OK, err
    again = [json.loads(line) for line in out.splitlines()]
    assert [one["psnr"] for one in again] == [one["psnr"] for one in records]
    assert again[0]["model"] == "saved"


def test_a_single_clip_with_borders(restore, dataset):
    low, high = dataset / "LR_blurdown_x4" / "a", dataset / "HR" / "a"
    status, out, err = restore("evaluate", "vsr", "--low", low, "--high", high, "--restored", high,
                               "--border", "--json")
    assert status == ExitStatus.OK, err
    record = json.loads(out.splitlines()[0])
    assert record["frames"] == COUNT and record["psnr"] is None and record["ssim"] == 1
    status, out, err = restore("evaluate", "vsr", "--low", low, "--high", high, "--restored", high)
    assert status == ExitStatus.OK and "inf" in out


def test_what_cannot_be_scored_is_told(restore, tmp_path, dataset):
    (dataset / "HR" / "a" / "005.png").unlink()
    status, out, err = restore("evaluate", "vsr", "--data", dataset, "--identity")
    assert status == ExitStatus.SOME_FAILED and "fewer frames than its partner" in err
    assert "b" in out
    status, _, err = restore("evaluate", "vsr", "--data", dataset, "--identity", "--limit", 4)
    assert status == ExitStatus.SOME_FAILED and "fewer than 5 frames" in err
    status, _, err = restore("evaluate", "vsr", "--data", tmp_path, "--identity")
    assert status == ExitStatus.SOME_FAILED and "LR_blurdown_x4" in err
    low = dataset / "LR_blurdown_x4" / "b"
    status, _, err = restore("evaluate", "vsr", "--low", low, "--high", low, "--identity")
    assert status == ExitStatus.SOME_FAILED and "4 times as large" in err


@pytest.mark.parametrize("options,part", [
    ([], "nothing to score"), (["--low", "x"], "belong together"),
    (["--data", "x", "--low", "x", "--high", "y"], "either --data"),
    (["--data", "x", "--identity", "--restored", "y"], "--identity"),
    (["--data", "x", "--weights", "w", "--restored", "y"], "--restored"),
    (["--data", "x", "--identity", "--save", "y"], "--save"),
    (["--data", "x", "--data", "y", "--restored", "z"], "one set"),
    (["--data", "x", "--weights", "w", "--model", "y"], "--model")])
def test_contradictions_are_refused(restore, options, part):
    status, _, err = restore("evaluate", "vsr", *options)
    assert status == ExitStatus.USAGE and part in err
