"""`restore degrade vsr` from the command line: layout, kernels, refusals, bad files."""

from __future__ import annotations

import json
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image as Pillow
from processes import begin

from restore_cli.training.degradations import blur, blur_kernels

LOW = "LR_blurdown_x4"


def frames(folder, count=3, size=(20, 26), seed=0, dtype=np.uint8):
    """Writes frames 001.png ... and returns them."""
    folder.mkdir(parents=True)
    high = np.iinfo(dtype).max
    made = np.random.default_rng(seed).integers(0, high + 1, (count, *size, 3)).astype(dtype)
    for number, pixels in enumerate(made, 1):
        Pillow.fromarray(pixels).save(folder / f"{number:03d}.png")
    return made


def pixels(path):
    with Pillow.open(path) as image:
        return np.array(image)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_set_of_two_clips(restore, tmp_path):
    made = {name: frames(tmp_path / "set" / "HR" / name, seed=seed)
            for seed, name in enumerate(("walk", "city"))}
    out = tmp_path / "set"
    status, stdout, _ = restore("degrade", "vsr", out, "-o", out, "--json")
    assert status == 0
    kernel = np.load(out / "kernel" / "walk.npy")
    assert np.array_equal(kernel, blur_kernels.gaussian(1.2))
    for name, clip in made.items():
        for number, frame in enumerate(clip, 1):
            found = pixels(out / LOW / name / f"{number:03d}.png")
            assert np.array_equal(found, blur.low_resolution(frame, kernel))
    assert [name for name in tree(out) if not name.startswith("HR")] == [
        *(f"{LOW}/{name}/00{n}.png" for name in ("city", "walk") for n in (1, 2, 3)),
        *(f"kernel/{name}.{ending}" for name in ("city", "walk")
          for ending in ("mat", "npy", "png"))]
    records = [json.loads(line) for line in stdout.splitlines()]
    assert [record["clip"] for record in records if "clip" in record] == ["city", "walk"]
    assert records[0]["sigma"] == 1.2 and records[0]["frames"] == 3
    assert sum(record.get("size") == [7, 5] for record in records) == 6


def test_realistic_kernels_follow_seed_and_name_alone(restore, tmp_path):
    for name in ("a", "b"):
        frames(tmp_path / "in" / name, 1)

    def kernels(out, *options):
        assert restore("degrade", "vsr", *options, "-o", tmp_path / out, "--mode",
                       "realistic")[0] == 0
        return {path.stem: np.load(path)
                for path in sorted((tmp_path / out / "kernel").glob("*.npy"))}

    both = kernels("one", tmp_path / "in", "--seed", 7)
    single = kernels("two", tmp_path / "in" / "b", "--seed", 7)
    other = kernels("three", tmp_path / "in", "--seed", 8)
    assert list(both) == ["a", "b"] and list(single) == ["b"]
    assert np.array_equal(both["b"], single["b"])
    assert not np.array_equal(both["a"], both["b"])
    assert not np.array_equal(both["a"], other["a"])
    for kernel in both.values():
        assert kernel.shape == (13, 13) and kernel.min() >= 0 and kernel.sum() == pytest.approx(1)


def test_kernel_files_agree(restore, tmp_path):
    io = pytest.importorskip("scipy.io")
    frames(tmp_path / "clip", 1)
    assert restore("degrade", "vsr", tmp_path / "clip", "-o", tmp_path / "out", "--mode",
                   "realistic")[0] == 0
    kernel = np.load(tmp_path / "out" / "kernel" / "clip.npy")
    found = io.loadmat(tmp_path / "out" / "kernel" / "clip.mat")["kernel"]
    assert found.dtype == np.float64 and np.array_equal(found, kernel)
    shown = pixels(tmp_path / "out" / "kernel" / "clip.png")
    assert shown.shape[:2] == (13 * 24, 13 * 24)
    place = np.unravel_index(kernel.argmax(), kernel.shape)
    assert shown[place[0] * 24 + 12, place[1] * 24 + 12] == 255


def test_a_range_of_widths(restore, tmp_path):
    for name in "abcd":
        frames(tmp_path / "in" / name, 1)
    status, stdout, _ = restore("degrade", "vsr", tmp_path / "in", "-o", tmp_path / "out",
                                "--sigma", "0.4-2.0", "--json")
    records = [json.loads(line) for line in stdout.splitlines()]
    sigmas = [record["sigma"] for record in records if "clip" in record]
    assert status == 0 and len(set(sigmas)) == 4 and all(0.4 <= s <= 2 for s in sigmas)
    assert np.array_equal(np.load(tmp_path / "out" / "kernel" / "a.npy"),
                          blur_kernels.gaussian(sigmas[0]))


@pytest.mark.parametrize("options, words", [
    (["--sigma", "0"], "sigma 0"), (["--sigma", "wide"], "no width"),
    (["--sigma", "2-1"], "small to large"), (["--sigma", "-1"], "no width"),
    (["--sigma", "nan"], "small to large"), (["--sigma", "0.4-inf"], "inf"),
    (["--mode", "motion"], "gaussian or realistic"),
    (["--mode", "realistic", "--sigma", "1"], "belongs to"),
    (["--overwrite", "--skip-existing"], "contradict")])
def test_impossible_options(restore, tmp_path, options, words):
    frames(tmp_path / "clip", 1)
    status, _, stderr = restore("degrade", "vsr", tmp_path / "clip", "-o", tmp_path / "out",
                                *options)
    assert status == 2 and words in stderr and not (tmp_path / "out").exists()


def test_nothing_is_written_over(restore, tmp_path):
    frames(tmp_path / "clip", 2)
    line = ("degrade", "vsr", tmp_path / "clip", "-o", tmp_path / "out")
    assert restore(*line)[0] == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in tree(tmp_path / "out")}
    status, _, stderr = restore(*line, "--sigma", 2)
    assert status == 2 and "--overwrite" in stderr
    kernel_only = tmp_path / "out" / LOW / "clip"
    for path in kernel_only.iterdir():
        path.unlink()
    status, _, stderr = restore(*line, "--sigma", 2)
    assert status == 2 and "kernel" in stderr and not list(kernel_only.iterdir())
    status, _, stderr = restore(*line, "--sigma", 2, "--skip-existing")
    assert status == 2 and "another kernel" in stderr and not list(kernel_only.iterdir())
    assert restore(*line, "--skip-existing")[0] == 0
    after = {name: (tmp_path / "out" / name).read_bytes() for name in tree(tmp_path / "out")}
    assert after == before
    assert restore(*line, "--sigma", 2, "--overwrite")[0] == 0
    assert np.array_equal(np.load(tmp_path / "out" / "kernel" / "clip.npy"),
                          blur_kernels.gaussian(2))
    assert (tmp_path / "out" / LOW / "clip" / "001.png").read_bytes() != \
        before[f"{LOW}/clip/001.png"]


def test_frames_are_never_their_own_results(restore, tmp_path):
    made = frames(tmp_path / LOW / "clip", 2)
    status, _, stderr = restore("degrade", "vsr", tmp_path / LOW, "-o", tmp_path, "--overwrite")
    assert status == 2 and "input" in stderr
    assert np.array_equal(pixels(tmp_path / LOW / "clip" / "001.png"), made[0])


def test_bad_frames_do_not_stop_the_good_ones(restore, tmp_path):
    clip = tmp_path / "clip"
    frames(clip, 4)
    (clip / "002.png").write_bytes(b"no picture")
    data = (clip / "003.png").read_bytes()
    (clip / "003.png").write_bytes(data[:len(data) // 2])
    Pillow.new("RGB", (8, 8)).save(clip / "005.png")
    status, _, stderr = restore("degrade", "vsr", clip, tmp_path / "none", "-o", tmp_path / "out")
    assert status == 3
    assert tree(tmp_path / "out" / LOW) == ["clip/001.png", "clip/004.png"]
    for words in ("002.png", "003.png", "005.png: 8x8", "none: no such folder"):
        assert words in stderr
    assert not [name for name in tree(tmp_path) if ".restore-" in name]


@pytest.mark.parametrize("what, words", [
    ("missing", "no such folder"), ("film.mp4", "not a folder"), ("empty", "no frames")])
def test_inputs_that_are_no_clips(restore, tmp_path, what, words):
    (tmp_path / "film.mp4").write_bytes(b"x")
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    status, _, stderr = restore("degrade", "vsr", tmp_path / what, "-o", tmp_path / "out")
    assert status == 3 and words in stderr and not (tmp_path / "out").exists()


def test_two_clips_of_one_name(restore, tmp_path):
    frames(tmp_path / "x" / "clip", 1)
    frames(tmp_path / "y" / "Clip", 1)
    status, _, stderr = restore("degrade", "vsr", tmp_path / "x", tmp_path / "y", "-o",
                                tmp_path / "out")
    assert status == 2 and "same name" in stderr
    # Named twice, a folder is one clip.
    assert restore("degrade", "vsr", tmp_path / "x", tmp_path / "x" / "clip", "-o",
                   tmp_path / "out")[0] == 0


def test_depth_grey_and_transparency(restore, tmp_path):
    clip = tmp_path / "grey"
    clip.mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (12, 12)).astype(np.uint16)
    Pillow.fromarray(deep).save(clip / "1.png")
    other = tmp_path / "clear"
    other.mkdir()
    Pillow.new("RGBA", (12, 12), (10, 200, 30, 99)).save(other / "1.png")
    status, _, stderr = restore("degrade", "vsr", clip, other, "-o", tmp_path / "out")
    assert status == 0 and "transparency" in stderr
    kernel = blur_kernels.gaussian(1.2)
    assert np.array_equal(pixels(tmp_path / "out" / LOW / "grey" / "1.png"),
                          blur.low_resolution(deep, kernel))
    assert (pixels(tmp_path / "out" / LOW / "clear" / "1.png") == (10, 200, 30)).all()


def test_a_dry_run_writes_nothing(restore, tmp_path):
    frames(tmp_path / "clip", 2)
    status, stdout, _ = restore("degrade", "vsr", tmp_path / "clip", "-o", tmp_path / "out",
                                "--dry-run")
    assert status == 0 and "002.png" in stdout and not (tmp_path / "out").exists()


@pytest.mark.parametrize("sent, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_whole_frames_and_is_finished_later(restore, tmp_path, sent, status):
    clip, out = tmp_path / "clip", tmp_path / "out"
    made = frames(clip, 1, (240, 320))
    for number in range(2, 400):
        (clip / f"{number:03d}.png").symlink_to(clip / "001.png")
    process = begin("degrade", "vsr", str(clip), "-o", str(out), "--json", stdout=subprocess.PIPE)
    for _ in range(3):  # the kernel, and two frames
        assert process.stdout.readline()
    process.send_signal(sent)
    _, stderr = process.communicate()
    assert process.returncode == status, stderr
    found = tree(out / LOW)
    assert 2 <= len(found) < 399 and not [name for name in tree(out) if ".restore-" in name]
    for path in clip.glob("*.png"):
        if int(path.stem) > len(found) + 2:
            path.unlink()
    assert restore("degrade", "vsr", clip, "-o", out, "--skip-existing")[0] == 0
    expected = blur.low_resolution(made[0], blur_kernels.gaussian(1.2))
    results = [pixels(path) for path in (out / LOW / "clip").iterdir()]
    assert len(results) == len(found) + 2
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.parametrize("sigma, inside", [("1.5", 58.0), ("1.6", 51.0)])
def test_given_frames_of_known_blur(restore, shared_data, tmp_path, sigma, inside):
    """Two sets made by others from the same frames; their edges are mirrored and not repeated,
    and the second is cut off to whole numbers instead of rounded."""
    source = shared_data / "video" / "vid4_calendar_gt"
    given = shared_data / "video" / f"vid4_calendar_lr_sigma{sigma}"
    (tmp_path / "calendar").mkdir()
    for name in ("001.png", "007.png"):
        (tmp_path / "calendar" / name).symlink_to(source / name)

    def error(name, width):
        out = tmp_path / f"out{width}"
        path = out / LOW / "calendar" / name
        if not path.exists():
            assert restore("degrade", "vsr", tmp_path / "calendar", "-o", out, "--sigma",
                           width)[0] == 0
        return pixels(path).astype(float) - pixels(given / name)

    def decibels(difference):
        return 10 * np.log10(255 ** 2 / np.mean(difference ** 2))

    near = 0.1
    for name in ("001.png", "007.png"):
        best = error(name, sigma)
        assert decibels(best) > 50.5 and decibels(best[2:-2, 2:-2]) > inside
        for wrong in (float(sigma) - near, float(sigma) + near):
            assert decibels(error(name, f"{wrong:.1f}")) < decibels(best) - 2
    if sigma == "1.6":
        assert np.isin(error("001.png", sigma), (0, 1)).mean() > 0.99
