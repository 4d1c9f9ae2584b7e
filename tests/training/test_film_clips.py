"""Clips for training: found in folders, unpacked from films once, cut into windows."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.media import images
from restore_cli.media.images import Image
from restore_cli.media.video import open_source, open_target
from restore_cli.training.datasets import film_clips
from restore_cli.training.datasets.film_clips import FolderClip, Windows


class Told(Console):
    def __init__(self):
        super().__init__()
        self.warnings = []

    def warn(self, message):
        self.warnings.append(str(message))


def write(folder, count, size=(24, 32), bits=8, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    kind = np.uint8 if bits == 8 else np.uint16
    for number in range(count):
        pixels = rng.integers(0, 2 ** bits, (*size, 3)).astype(kind)
        images.write(folder / f"{number:03d}.png", Image(pixels))
    return folder


def film(path, frames):
    """Lossless, of frames as given."""
    source = write(path.parent / f"{path.stem}_frames", 1, frames[0].shape[:2])
    with open_source(source, rate=Fraction(25)) as like:
        info = like.info
    with open_target(path, info, frames[0].shape[1::-1], codec="ffv1",
                     pixel_format="gbrp") as target:
        for number, frame in enumerate(frames):
            target.write(frame, number, 1)
    return path


def plain(seed, count):
    """A lively picture that stands still for some frames."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(12, 1)
    return [wide] * count


def test_a_set_a_folder_of_clips_and_one_clip(tmp_path):
    for name, count in (("b", 6), ("a", 5), ("short", 3)):
        write(tmp_path / "set" / "HR" / name, count)
    write(tmp_path / "set" / "LR_blurdown_x4" / "a", 5)
    console = Told()
    for place in (tmp_path / "set", tmp_path / "set" / "HR"):
        clips = film_clips.find(place, tmp_path / "kept", console=console)
        assert [os.path.basename(one.name) for one in clips] == ["a", "b"]
    assert len(console.warnings) == 2 and "has 3 frames" in console.warnings[0]
    one, = film_clips.find(tmp_path / "set" / "HR" / "b", tmp_path / "kept", 5)
    assert one.count == 5 and one.size == (24, 32)
    assert np.array_equal(one.frame(1), images.read(
        tmp_path / "set" / "HR" / "b" / "001.png").pixels)


def test_a_film_is_unpacked_once_and_cut_at_its_scenes(tmp_path, monkeypatch):
    frames = plain(0, 6) + plain(1, 7)
    path = film(tmp_path / "film.mkv", frames)
    clip, = film_clips.find(path, tmp_path / "kept")
    assert clip.count == 13 and tuple(clip.starts) == (0, 6) and clip.size == (64, 96)
    for number in (0, 5, 6, 12):
        assert np.array_equal(clip.frame(number), frames[number])
    assert len(Windows([clip])) == 2 + 3
    assert not list((tmp_path / "kept").glob("*.part"))

    def never(*_args, **_more):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("restore_cli.media.video.open_source", never)
        again, = film_clips.find(path, tmp_path / "kept")
        assert np.array_equal(again.frame(3), frames[3])
        os.utime(path, (1, 1))
        with pytest.raises(AssertionError, match="decoded again"):
            film_clips.find(path, tmp_path / "kept")
    assert film_clips.unpack(path, tmp_path / "kept", 8).count == 8


def test_unusable_films_are_left_out(tmp_path):
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "good.mkv", plain(0, 5))
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no film at all" * 20)
    (tmp_path / "films" / "notes.txt").write_text("text")
    console = Told()
    clips = film_clips.find(tmp_path / "films", tmp_path / "kept", console=console)
    assert [os.path.basename(one.name) for one in clips] == ["good.mkv"]
    assert any("bad.mp4" in one for one in console.warnings)
    assert not any("notes.txt" in one for one in console.warnings)
    with pytest.raises(InputError, match="bad.mp4"):
        film_clips.find(tmp_path / "films" / "bad.mp4", tmp_path / "kept")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no films and no frames"):
        film_clips.find(tmp_path / "empty", tmp_path / "kept")
    with pytest.raises(InputError, match="no such file"):
        film_clips.find(tmp_path / "nowhere", tmp_path / "kept")


def test_frames_of_a_clip_have_one_size(tmp_path):
    folder = write(tmp_path / "clip", 5)
    images.write(folder / "004.png", Image(np.zeros((24, 30, 3), np.uint8)), overwrite=True)
    clip = FolderClip(folder)
    assert clip.frame(3).shape == (24, 32, 3)
    with pytest.raises(InputError, match="is 30x24, the clip's first frame is 32x24"):
        clip.frame(4)


def test_grey_and_deep_frames(tmp_path):
    folder = write(tmp_path / "deep", 5, bits=16)
    assert FolderClip(folder).frame(0).dtype == np.uint16
    grey = tmp_path / "grey"
    grey.mkdir()
    images.write(grey / "0.png", Image(np.full((9, 9, 1), 7, np.uint8)))
    assert FolderClip(grey).frame(0).shape == (9, 9, 3)
