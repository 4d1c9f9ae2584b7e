"""Our safetensors files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from restore_cli.errors import OutputError, WeightsError
from restore_cli.weights import files
from restore_cli.weights.convert import convert


@pytest.fixture
def weights(golden_file):
    return convert(golden_file("liif_tiny.pth"), source="https://example.org/liif.pth")[0]


def test_reading_gives_what_was_written(weights, tmp_path):
    path = tmp_path / "new folder" / "w.safetensors"
    files.write(path, weights)
    found = files.read(path)
    assert (found.arch, found.config, found.metadata) == (weights.arch, weights.config,
                                                          weights.metadata)
    assert found.metadata["source"] == "https://example.org/liif.pth"
    assert list(found.tensors) == list(weights.tensors)
    for key, tensor in weights.tensors.items():
        assert np.array_equal(found.tensors[key], tensor)
        assert found.tensors[key].dtype == np.float32


def test_the_safetensors_library_agrees(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    files.write(path, weights)
    theirs = load_file(path)
    assert set(theirs) == set(weights.tensors)
    assert all(np.array_equal(theirs[key], tensor) for key, tensor in weights.tensors.items())


def test_turned_and_sliced_arrays_are_stored_right(weights, tmp_path):
    key = "imnet.layers.2.weight"
    weights.tensors[key] = np.arange(4096, dtype=np.float32).reshape(64, 64).T
    files.write(tmp_path / "w.safetensors", weights)
    assert np.array_equal(files.read(tmp_path / "w.safetensors").tensors[key],
                          weights.tensors[key])


def test_equal_weights_give_equal_bytes(weights, tmp_path):
    for name in ("a", "b"):
        files.write(tmp_path / name, weights)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_precision(weights, tmp_path):
    path, half = tmp_path / "w.safetensors", tmp_path / "h.safetensors"
    files.write(path, weights)
    files.write(half, weights, dtype="float16")
    assert half.stat().st_size < 0.6 * path.stat().st_size
    found = files.read(half)
    for key, tensor in weights.tensors.items():
        assert np.array_equal(found.tensors[key], tensor.astype(np.float16).astype(np.float32))


def test_values_beyond_half_precision_are_refused(weights, tmp_path):
    weights.tensors["imnet.layers.0.bias"][0] = 1e6
    with pytest.raises(WeightsError, match="imnet.layers.0.bias holds numbers that float16"):
        files.write(tmp_path / "h.safetensors", weights, dtype="float16")
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_unless_told(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        files.write(path, weights, overwrite=False)
    assert path.read_bytes() == b"mine"
    files.write(path, weights)
    assert files.read(path).arch == "liif"


def test_a_failed_write_leaves_the_old_file(weights, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space"):
        files.write(path, weights)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["w.safetensors"]


def test_checkpoints_are_read_through(golden_file, weights):
    found = files.read(golden_file("liif_tiny.pth"))
    assert found.config == weights.config and list(found.tensors) == list(weights.tensors)


def test_damaged_files(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    files.write(path, weights)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[:8], b"", whole + b"x",
                    (1 << 62).to_bytes(8, "little") + whole[8:], b"\x10" + b"\0" * 7 + b"{" * 40):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError) as caught:
            files.read(path)
        assert caught.value.path == path
    with pytest.raises(WeightsError, match="cannot be read"):
        files.read(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("change,message", [
    (dict(arch=None), "which network"), (dict(config=None), "which network"),
    (dict(config="{"), "damaged metadata"), (dict(config="3"), "damaged metadata"),
    (dict(arch="vgg"), "unknown architecture"),
    (dict(config=json.dumps({"encoder_spec": {"name": "rdn", "args": {"no_upsampling": True}},
                             "imnet_spec": {"name": "mlp"}})), "does not fit"),
])
def test_metadata_that_does_not_fit(weights, tmp_path, change, message):
    metadata = {"arch": weights.arch, "config": json.dumps(weights.config), **change}
    path = tmp_path / "w.safetensors"
    save_file(weights.tensors, path, {k: v for k, v in metadata.items() if v is not None})
    with pytest.raises(WeightsError, match=message) as caught:
        files.read(path)
    assert caught.value.path == path


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mean": [1, 2], "std": [1, 1]}',
                                  '{"mean": [0, 0, 0], "std": [1, 1, 0]}',
                                  '{"mean": [0, 0, NaN], "std": [1, 1, 1]}'])
def test_normalisation_that_makes_no_sense(weights, text):
    weights.metadata["normalisation"] = text
    with pytest.raises(WeightsError, match="makes no sense"):
        assert weights.normalisation
