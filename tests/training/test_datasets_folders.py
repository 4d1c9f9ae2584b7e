"""Folders of training images, pairs, and the free photographs."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.training.datasets import folders, photos
from restore_cli.training.datasets.samplers import DownsampledSampler

_RNG = np.random.default_rng(0)


def _picture(path: Path, height: int = 40, width: int = 50, mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    pixels = _RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def spoken():
    """A console and what it said on stderr."""
    stream = io.StringIO()
    return Console(io.BytesIO(), io.BytesIO(), stream, {}), stream


def test_listing(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png"):
        _picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in folders.list_images(tmp_path)] == ["a.JPG", "b.png"]
    assert [path.name for path in folders.list_images(tmp_path, 1)] == ["a.JPG"]
    with pytest.raises(InputError):
        folders.list_images(tmp_path / "folder.png")
    with pytest.raises(InputError):
        folders.list_images(tmp_path / "nowhere")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_reading_as_8_bit_colour(tmp_path, mode):
    expected = _picture(tmp_path / "a.png", mode=mode)
    assert np.array_equal(folders.read_rgb8(tmp_path / "a.png"), expected)
    assert folders.image_size(tmp_path / "a.png") == (40, 50)


def test_reading_16_bit_rounds(tmp_path):
    values = np.array([[0, 128, 129, 257, 65535, 40000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    read = folders.read_rgb8(tmp_path / "a.png")
    assert np.array_equal(read[..., 0], np.rint(values / 257).astype(np.uint8))
    assert np.array_equal(read[..., 0], read[..., 2])


def test_unusable_files_are_named_once(tmp_path, spoken):
    console, stream = spoken
    good = _picture(tmp_path / "good.png")
    _picture(tmp_path / "small.png", 10, 50)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    source = folders.FolderSource(tmp_path, 20, console=console)
    said = stream.getvalue()
    assert len(source) == 1 and source.smallest == 40
    assert said.count("\n") == 1
    for name in ("3 files", "small.png", "text.png", "empty.png"):
        assert name in said
    assert np.array_equal(source.image(0), good)


def test_no_usable_image(tmp_path):
    _picture(tmp_path / "small.png", 10, 50)
    with pytest.raises(InputError) as caught:
        folders.FolderSource(tmp_path, 20)
    assert "small.png" in str(caught.value) and "20x20" in str(caught.value)


def test_a_file_that_turns_out_damaged_is_replaced_by_the_next(tmp_path, spoken):
    console, stream = spoken
    _picture(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:len(whole) // 2])
    good = _picture(tmp_path / "b.png")
    source = folders.FolderSource(tmp_path, console=console)
    assert len(source) == 2  # its header is fine
    for _ in range(3):
        assert np.array_equal(source.image(0), good)
    assert stream.getvalue().count("a.png") == 1
    (tmp_path / "b.png").unlink()
    folders_without_cache = folders.FolderSource(tmp_path, cache=folders.Cache(0))
    with pytest.raises(InputError):
        folders_without_cache.image(0)


def test_the_cache_keeps_to_its_limit(tmp_path):
    first, second = _picture(tmp_path / "a.png"), _picture(tmp_path / "b.png")
    cache = folders.Cache(first.nbytes + 1)
    source = folders.FolderSource(tmp_path, cache=cache)
    source.image(0), source.image(1)
    for path in tmp_path.iterdir():
        path.unlink()
    assert np.array_equal(source.image(0), first)  # from memory
    assert np.array_equal(source.image(1), first)  # not kept, gone: the other one
    assert not np.array_equal(first, second)


def test_training_from_a_folder(tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i}.png")
    sampler = DownsampledSampler(folders.FolderSource(tmp_path, 40), 0, batch=2, lr_size=10,
                                 queries=20)
    assert np.array_equal(sampler.batch(4).lr, sampler.batch(4).lr)


def test_pairs_belong_together_by_name(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    pictures = {}
    for name, base in (("0001x2.png", "0001"), ("0002_LR.png", "0002"), ("x4.png", "x4")):
        pictures[base] = _picture(low / name, 10, 12), _picture(high / f"{base}.png", 20, 24)
    assert [(a.name, b.name) for a, b in folders.pair_files(low, high)] == [
        ("0001x2.png", "0001.png"), ("0002_LR.png", "0002.png"), ("x4.png", "x4.png")]
    pairs = folders.PairedFolders(low, high)
    assert len(pairs) == 3 and len(folders.PairedFolders(low, high, limit=2)) == 2
    for index, base in enumerate(pictures):
        for read, expected in zip(pairs.pair(index), pictures[base], strict=True):
            assert np.array_equal(read, expected)


def test_a_pair_that_cannot_be_used_is_left_out_whole(tmp_path, spoken):
    console, stream = spoken
    low, high = tmp_path / "low", tmp_path / "high"
    for name, side in (("a", 5), ("b", 20)):
        _picture(low / f"{name}.png", 10, 10), _picture(high / f"{name}.png", side, side)
    pairs = folders.PairedFolders(low, high, console=console)
    assert pairs.pair(0)[1].shape == (20, 20, 3)
    assert "a.png" in stream.getvalue()


def test_files_without_a_counterpart(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    _picture(low / "a.png"), _picture(high / "a.png"), _picture(high / "b.png")
    with pytest.raises(InputError, match="b.png"):
        folders.PairedFolders(low, high)
    _picture(low / "bx2.png"), _picture(low / "b_x2.png")
    with pytest.raises(InputError, match="same base name"):
        folders.PairedFolders(low, high)


def test_free_photographs_and_no_other_files(tmp_path, monkeypatch):
    checkout = Path(__file__).parents[2]
    copy = tmp_path / "examples" / "photos"
    copy.mkdir(parents=True)
    for name in photos.FREE:
        shutil.copy(checkout / "examples" / "photos" / name, copy)
    _picture(copy / "chelsea_x7.5.png", 400, 400)
    monkeypatch.setattr(photos.restore_cli, "__file__", str(tmp_path / "lib" / "__init__.py"))
    source = photos.load()
    assert len(source) == 7 and source.smallest >= 300
    both = photos.load(reductions=(1.0, 0.7), min_side=250)
    assert len(both) == 13  # the cat is too low for the smaller copy
    assert both.smallest >= 250


def test_photographs_of_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.setattr(photos.restore_cli, "__file__", str(tmp_path / "lib" / "__init__.py"))
    with pytest.raises(InputError, match="--photos"):
        photos.load()
    _picture(tmp_path / "mine" / "a.png", 200, 200)
    assert len(photos.load(tmp_path / "mine")) == 1
