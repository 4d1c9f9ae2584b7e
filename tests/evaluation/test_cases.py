"""Finding test sets on disk, and making low-resolution images by the published rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import InputError
from restore_cli.evaluation import cases
from restore_cli.evaluation.cases import Case


def _save(path: Path, width: int = 24, height: int = 18, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _found(folder: Path, scales=None) -> list[tuple]:
    return [(case.name, case.scale, case.hr.name, case.lr.name if case.lr else None)
            for case in cases.find(folder, scales)]


def test_upstream_folders_with_and_without_low_resolution_files(tmp_path):
    for name in ("baby", "fox2"):
        _save(tmp_path / "HR" / f"{name}.png")
        _save(tmp_path / "LR_bicubic" / "X2" / f"{name}x2.png", 12, 9)
    assert _found(tmp_path) == [("baby", 2, "baby.png", "babyx2.png"),
                                ("fox2", 2, "fox2.png", "fox2x2.png")]
    assert _found(tmp_path, [2, 6])[2:] == [("baby", 6, "baby.png", None),
                                            ("fox2", 6, "fox2.png", None)]


def test_prefixed_div2k_folders(tmp_path):
    _save(tmp_path / "DIV2K_valid_HR" / "0801.png")
    _save(tmp_path / "DIV2K_valid_LR_bicubic" / "X3" / "0801x3.png", 8, 6)
    assert _found(tmp_path) == [("0801", 3, "0801.png", "0801x3.png")]


def test_a_missing_counterpart_is_named(tmp_path):
    _save(tmp_path / "HR" / "baby.png")
    _save(tmp_path / "LR_bicubic" / "X2" / "bird.png", 12, 9)
    with pytest.raises(InputError, match="babyx2.png"):
        cases.find(tmp_path)


def test_flat_pairs_in_scale_folders(tmp_path):
    for scale in (2, 3):
        name = f"x{scale}/img_001_SRF_{scale}"
        _save(tmp_path / f"{name}_HR.png", 6 * scale, 4 * scale)
        _save(tmp_path / f"{name}_LR.png", 6, 4)
    assert [(case.scale, case.lr is None) for case in cases.find(tmp_path)] == [(2, False),
                                                                               (3, False)]
    # No files for x4: made from the set with the smallest scale, which is cropped least.
    made, = cases.find(tmp_path, [4])
    assert made.lr is None and made.hr.parent.name == "x2"


def test_flat_pairs_tell_their_scale_by_size_when_the_name_does_not(tmp_path):
    _save(tmp_path / "a_HR.png", 24, 18)
    _save(tmp_path / "a_LR.png", 8, 6)
    assert _found(tmp_path) == [("a", 3, "a_HR.png", "a_LR.png")]


def test_pairs_that_cannot_be_read_are_reported_and_the_rest_found(tmp_path):
    for name in "ab":
        _save(tmp_path / f"{name}_HR.png", 24, 18)
        _save(tmp_path / f"{name}_LR.png", 12, 9)
    (tmp_path / "a_LR.png").write_bytes(b"not a picture")
    heard = []
    assert [case.name for case in cases.find(tmp_path, on_error=heard.append)] == ["b"]
    assert [error.path.name for error in heard] == ["a_LR.png"]


def test_plain_images_are_used_at_every_scale(tmp_path):
    _save(tmp_path / "b.png")
    _save(tmp_path / "a.png")
    assert _found(tmp_path) == [(name, scale, f"{name}.png", None)
                                for scale in (2, 3, 4) for name in "ab"]


@pytest.mark.parametrize("what", ["absent", "empty", "file"])
def test_nothing_there_is_an_input_error(tmp_path, what):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "file":
        folder.write_text("")
    with pytest.raises(InputError) as caught:
        cases.find(folder)
    assert caught.value.path == folder


@pytest.mark.parametrize(("width", "height", "scale", "low", "high"), [
    (131, 97, 6, (16, 21), (96, 126)),     # not square: sides must not be swapped
    (60, 90, 6, (15, 10), (90, 60)),
    (25, 20, 2.5, (8, 10), (20, 25)),
    (31, 20, 7.5, (2, 4), (15, 30)),
])
def test_low_resolution_is_made_by_the_published_rule(tmp_path, width, height, scale, low, high):
    path = _save(tmp_path / "a.png", width, height)
    small, large = cases.load(Case("set", "a", scale, path))
    assert small.shape == (*low, 3) and large.shape == (*high, 3)
    assert small.dtype == large.dtype == np.float32
    cropped = Image.open(path).crop((0, 0, high[1], high[0]))
    expected = np.asarray(cropped.resize(low[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(np.round(small * 255), expected)


def test_given_pairs_are_cut_to_whole_multiples(tmp_path):
    high = _save(tmp_path / "a_HR.png", 26, 19)
    low = _save(tmp_path / "a_LR.png", 8, 6)
    small, large = cases.load(Case("set", "a", 3, high, low))
    assert small.shape == (6, 8, 3) and large.shape == (18, 24, 3)


def test_pairs_of_another_scale_are_refused_with_both_sizes(tmp_path):
    high = _save(tmp_path / "a_HR.png", 24, 18)
    low = _save(tmp_path / "a_LR.png", 8, 6)
    with pytest.raises(InputError, match="24x18 is not 2 times 8x6 of a_LR.png"):
        cases.load(Case("set", "a", 2, high, low))


def test_images_smaller_than_the_scale_are_refused(tmp_path):
    with pytest.raises(InputError, match="too few for x30"):
        cases.load(Case("set", "a", 30, _save(tmp_path / "a.png", 40, 20)))


def test_grey_is_repeated_and_alpha_dropped(tmp_path):
    grey = _save(tmp_path / "grey.png", mode="L")
    _, rgb = cases.load(Case("set", "grey", 1, grey))
    assert rgb.shape == (18, 24, 3) and (rgb[..., 0] == rgb[..., 2]).all()
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    _, rgb = cases.load(Case("set", "rgba", 1, tmp_path / "rgba.png"))
    np.testing.assert_array_equal(np.round(rgb * 255), pixels[..., :3])


def test_set5_as_it_comes(shared_data):
    found = cases.find(shared_data / "images" / "set5")
    assert len(found) == 15 and all(case.lr is not None for case in found)
    assert sorted({case.scale for case in found}) == [2, 3, 4]
    assert found[0].data == "set5"
