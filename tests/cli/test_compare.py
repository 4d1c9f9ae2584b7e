"""`restore compare` from the command line, and the arithmetic of its sheets."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import typer
from PIL import Image as Pillow

from restore_cli.cli import compare
from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError
from restore_cli.jobs import compare_sheet
from restore_cli.jobs.compare_view import Box, View, difference, most_different
from restore_cli.media.images import Image, read


@pytest.fixture
def restore():
    """Runs `restore compare`; returns (stdout bytes, stderr)."""

    def run(*argv):
        app = typer.Typer()
        compare.register(app)
        app.callback()(lambda: None)
        out, err = io.BytesIO(), io.StringIO()
        app(["compare", *map(str, argv)], obj=Console(io.BytesIO(), out, err, {}),
            standalone_mode=False)
        return out.getvalue(), err.getvalue()

    return run


def picture(height=60, width=90, seed=0):
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return base.repeat(10, 0).repeat(10, 1)


@pytest.fixture
def pair(tmp_path):
    """Two pictures of one size that differ in one square only."""
    first = picture()
    second = first.copy()
    second[40:50, 70:80] = 255 - second[40:50, 70:80]
    for name, pixels in (("a", first), ("b", second)):
        Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path / "a.png", tmp_path / "b.png"


def test_a_sheet_shows_both_pictures_and_where_they_differ(restore, pair, tmp_path):
    sheet = tmp_path / "sheet.png"
    out, _ = restore(*pair, "-o", sheet, "--crops", 1, "--zoom", 20, "--column", 200)
    page = read(sheet).pixels
    assert page.shape[1] > 400
    for color in read(pair[0]).pixels[45, 75], read(pair[1]).pixels[45, 75]:
        assert (page == color).all(axis=2).sum() > 100
    assert b"PSNR" in out and b"SSIM" in out and b"sheet.png" in out


def test_json_states_scores_and_places(restore, pair, tmp_path):
    record = json.loads(restore(*pair, "-o", tmp_path / "s.png", "--crops", 1, "--zoom", 30,
                                "--json")[0])
    x, y, width, height = record["crops"][0]
    # One square of ten pixels lies wholly inside the chosen part.
    assert x <= 70 and y <= 40 and x + width >= 80 and y + height >= 50
    assert record["images"][0]["psnr"] is None
    expected = np.mean((read(pair[0]).pixels / 255.0 - read(pair[1]).pixels / 255.0) ** 2)
    assert record["images"][1]["psnr"] == pytest.approx(-10 * np.log10(expected))


def test_given_crops_are_used_in_order(restore, pair, tmp_path):
    record = json.loads(restore(*pair, "-o", tmp_path / "s.png", "--crop", "0,0,30,20", "--crop",
                                "10,5,8,9", "--json")[0])
    assert record["crops"] == [[0, 0, 30, 20], [10, 5, 8, 9]]


def test_maps_take_the_asked_gain_or_are_left_out(restore, pair, tmp_path):
    record = json.loads(restore(*pair, "-o", tmp_path / "s.png", "--gain", 3, "--json")[0])
    assert record["gain"] == 3
    restore(*pair, "-o", tmp_path / "t.png", "--no-difference")
    assert read(tmp_path / "t.png").height < read(tmp_path / "s.png").height


def test_identical_pictures_say_so(restore, pair, tmp_path):
    out, _ = restore(pair[0], pair[0], "-o", tmp_path / "s.png")
    assert b"identical" in out
    record = json.loads(restore(pair[0], pair[0], "-o", tmp_path / "t.png", "--json")[0])
    assert record["images"][1]["identical"] is True and record["images"][1]["psnr"] is None


def test_a_small_original_stands_beside_its_enlargement(restore, tmp_path):
    small = Pillow.fromarray(picture(20, 30))
    small.save(tmp_path / "small.png")
    small.resize((120, 80), Pillow.Resampling.NEAREST).save(tmp_path / "large.png")
    record = json.loads(restore(tmp_path / "small.png", tmp_path / "large.png", "-o",
                                tmp_path / "s.png", "--resize", "nearest", "--json")[0])
    assert record["images"][1]["psnr"] is None
    nearest = [View(name, read(tmp_path / f"{name}.png"), (120, 80), "nearest")
               for name in ("small", "large")]
    assert difference(*nearest, (120, 80)).max() == 0
    smooth = [View(view.name, view.image, view.grid, "bicubic") for view in nearest]
    assert difference(*smooth, (120, 80)).max() > 0.05


def test_another_shape_is_shown_stretched_with_a_warning(restore, tmp_path):
    Pillow.fromarray(picture(60, 90)).save(tmp_path / "a.png")
    Pillow.fromarray(picture(60, 60)).save(tmp_path / "b.png")
    _, err = restore(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "s.png")
    assert "b.png" in err and "stretched" in err and "a.png: " not in err


def test_the_sheet_can_go_to_stdout(restore, pair):
    out, err = restore(*pair, "-o", "-")
    assert out.startswith(b"\x89PNG") and read(io.BytesIO(out)).width > 100
    assert "PSNR" in err


@pytest.mark.parametrize("options, word", [
    (["--crop", "0,0,10"], "four whole numbers"), (["--crop", "80,0,30,10"], "not inside"),
    (["--crop", "0,0,0,5"], "not inside"), (["--resize", "magic"], "nearest or bicubic"),
    (["-o", "sheet.xyz"], "no format"), (["-o", "-", "--json"], "cannot share stdout")])
def test_wrong_options_are_usage_errors(restore, pair, tmp_path, options, word):
    with pytest.raises(UsageError, match=word):
        restore(*pair, "-o", tmp_path / "s.png", *options)
    assert not (tmp_path / "s.png").exists()


def test_one_picture_is_not_a_comparison(restore, pair):
    with pytest.raises(UsageError, match="at least two"):
        restore(pair[0])


def test_nothing_is_written_over(restore, pair, tmp_path):
    before = pair[0].read_bytes()
    with pytest.raises(UsageError, match="is an input"):
        restore(*pair, "-o", pair[0], "--overwrite")
    assert pair[0].read_bytes() == before
    (tmp_path / "s.png").write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        restore(*pair, "-o", tmp_path / "s.png")
    restore(*pair, "-o", tmp_path / "s.png", "--overwrite")
    assert (tmp_path / "s.png").read_bytes() != b"old"


def test_an_unreadable_picture_is_named(restore, pair, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"words")
    with pytest.raises(InputError, match="bad.png"):
        restore(pair[0], tmp_path / "bad.png", "-o", tmp_path / "s.png")


def view(pixels, grid=None):
    return View("x", Image(pixels), grid or (pixels.shape[1], pixels.shape[0]))


def test_difference_maps_average_what_they_cover():
    first, second = np.zeros((6, 9, 3), np.uint8), np.zeros((6, 9, 3), np.uint8)
    second[0, 0, 1] = 255
    found = difference(view(second), view(first), (3, 2))
    assert found.shape == (2, 3) and found[0, 0] == pytest.approx(1 / 9)
    assert np.count_nonzero(found) == 1
    assert difference(view(second), view(first), (9, 6))[0, 0] == 1


def test_difference_maps_do_not_depend_on_bands(monkeypatch):
    from restore_cli.jobs import compare_view

    random = np.random.default_rng(0)
    first, second = random.integers(0, 65536, (2, 70, 40, 3)).astype(np.uint16)
    # Kept from black and white: Pillow clips between its passes, whose order may vary.
    small = random.integers(25000, 40000, (35, 20, 3)).astype(np.uint16)
    whole = [difference(view(other, (40, 70)), view(first), (20, 30))
             for other in (second, small)]
    monkeypatch.setattr(compare_view, "_ROWS", 5)
    for one, other in zip(whole, (second, small), strict=True):
        banded = difference(view(other, (40, 70)), view(first), (20, 30))
        assert np.allclose(banded, one, atol=1.01 / 255 if other is small else 1e-6)


def test_a_cut_equals_the_same_part_of_the_whole():
    pixels = picture(40, 50)[:33, :41]
    part = view(pixels, (123, 99))
    whole = np.asarray(part.shown.resize((123, 99), Pillow.Resampling.BICUBIC), int)
    piece = np.asarray(part.cut(Box(20, 30, 40, 25)), int)
    assert np.abs(piece - whole[30:55, 20:60]).max() <= 1


def test_chosen_parts_do_not_overlap_and_are_inside():
    score = np.zeros((50, 80), np.float32)
    score[0, 0] = score[49, 79] = 1
    score[25, 40] = 0.5
    boxes = most_different([score], (160, 100), (30, 20), 3)
    assert len(boxes) == 3
    for i, one in enumerate(boxes):
        assert 0 <= one.x <= 130 and 0 <= one.y <= 80
        for other in boxes[:i]:
            assert abs(one.x - other.x) >= 29 or abs(one.y - other.y) >= 19
    assert most_different([score * 0], (160, 100), (30, 20), 3) == [Box(65, 40, 30, 20)]


@pytest.mark.parametrize("strong, gain", [(0.0, 64), (0.9, 1), (0.3, 2), (0.01, 64), (0.1, 8)])
def test_brightening_is_a_power_of_two_without_clipping(strong, gain):
    assert compare_sheet.nice_gain([np.full((9, 9), strong, np.float32)]) == gain


def test_colours_of_maps_grow_lighter():
    tones = compare_sheet.heat(np.linspace(0, 1, 100)[None]).astype(int)[0]
    light = tones @ [299, 587, 114]
    assert (np.diff(light) >= 0).all() and light[0] == 0 and light[-1] == 255000


def test_transparency_and_depth_are_shown():
    pixels = np.zeros((16, 16, 4), np.uint16)
    pixels[:8, :, 3] = 65535
    shown = np.asarray(view(pixels).shown)
    assert shown[:8].max() == 0
    assert set(np.unique(shown[8:])) == {153, 204}


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_extreme_shapes_make_a_sheet(restore, tmp_path, size):
    for name, value in (("a", 0), ("b", 255)):
        Pillow.new("L", size, value).save(tmp_path / f"{name}.png")
    restore(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "s.png")
    assert read(tmp_path / "s.png").height > 10


def test_real_photographs(restore, shared_data, tmp_path):
    free = shared_data / "images" / "free"
    out, _ = restore(free / "coffee.png", free / "coffee.png", "-o", tmp_path / "s.png")
    assert b"identical" in out
