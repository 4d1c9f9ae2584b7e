"""Scene cuts: made films with known cuts, light, motion, and real clips joined together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ShapeError, UsageError
from restore_cli.pipeline import scenes

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@pytest.fixture(scope="module")
def shots():
    """Four slow pans of 20 frames of 256x144 over photographs."""
    return [pan(photograph(name), 0.01, 20) for name in NAMES]


def photograph(name):
    with Image.open(PHOTOS / name) as image:
        return image.convert("RGB")


def pan(image, share, count):
    """Frames that move by `share` of their width each."""
    width = image.width * 0.4
    return [view(image, image.width * 0.2 + number * share * width, width)
            for number in range(count)]


def view(image, left, width):
    height = width * 9 / 16
    top = (image.height - height) / 2
    found = image.transform((256, 144), Image.AFFINE, (width / 256, 0, left, 0, height / 144, top),
                            Image.BICUBIC)
    return np.asarray(found)


def lit(frame, gain=1.0, offset=0.0):
    return np.clip(frame.astype(float) * gain + offset, 0, 255).astype(np.uint8)


def test_cuts_are_found_where_they_are(shots):
    rng = np.random.default_rng(0)
    film, cuts, last = [], [], None
    for _ in range(24):
        shot = int(rng.choice([number for number in range(4) if number != last]))
        length = int(rng.integers(3, 12))
        start = int(rng.integers(0, 20 - length))
        cuts.append(len(film))
        film += shots[shot][start:start + length]
        last = shot
    assert scenes.starts(film) == cuts


def test_single_frames_of_other_films_are_shots(shots):
    film = [shots[number % 4][number] for number in range(8)]
    assert scenes.starts(film) == list(range(8))


@pytest.mark.parametrize("name, change", {
    "flash": lambda n, frame: lit(frame, 1, 150) if n == 8 else frame,
    "white": lambda n, frame: lit(frame, 0, 255) if n in (8, 9) else frame,
    "black": lambda n, frame: lit(frame, 0) if 8 <= n < 14 else frame,
    "black first": lambda n, frame: lit(frame, 0) if n < 4 else frame,
    "fade out": lambda n, frame: lit(frame, max(0, 1 - n / 8)),
    "fade in": lambda n, frame: lit(frame, min(1, n / 8)),
    "fade to white": lambda n, frame: lit(frame, max(0, 1 - n / 12), 255 * min(1, n / 12)),
    "lamp": lambda n, frame: lit(frame, 1, 60 if n > 7 else 0),
    "flicker": lambda n, frame: lit(frame, 1 + 0.4 * (n % 2)),
    "grain": lambda n, frame: lit(
        frame + np.random.default_rng(n).normal(0, 15, frame.shape)),
    "something passes": lambda n, frame: np.full_like(frame, (90, 40, 160)) * (
        np.indices(frame.shape[:2]).sum(0) % 64 < 32)[..., None] if n in (8, 9) else frame,
}.items())
def test_light_and_what_passes_is_no_cut(shots, name, change):
    for shot in shots:
        film = [change(number, frame) for number, frame in enumerate(shot)]
        assert scenes.starts(film) == [0], name


def test_motion_is_no_cut(shots):
    for name in NAMES:
        image = photograph(name)
        assert scenes.starts(pan(image, 0.09, 12)) == [0]
        zoomed = [view(image, image.width * (0.5 - 0.4 / 1.15 ** n), image.width * 0.8 / 1.15 ** n)
                  for n in range(10)]
        assert scenes.starts(zoomed) == [0]


def test_cuts_through_black_and_with_other_light(shots):
    black = [np.zeros_like(shots[0][0])] * 3
    assert scenes.starts(shots[0][:5] + black + shots[1][:5]) == [0, 8]
    assert scenes.starts(shots[0][:5] + black + shots[0][5:]) == [0]
    dark = [lit(frame, 0.5) for frame in shots[2][:5]]
    assert scenes.starts(shots[1][:5] + dark) == [0, 5]


def test_another_size_begins_a_shot(shots):
    turned = [frame.transpose(1, 0, 2) for frame in shots[0][:3]]
    assert scenes.starts(shots[0][:4] + turned) == [0, 4]


def test_frames_come_out_as_they_came_in_and_not_early(shots):
    film = shots[0][:6] + shots[1][:6]
    read = []

    def source():
        for number in range(len(film)):
            read.append(number)
            yield number

    marks = []
    for number, begins in scenes.marked(source(), film.__getitem__):
        # Nothing is read ahead but where something new appears.
        assert len(read) <= number + 1 + (scenes.FLASH if number == 6 else 0) \
            or 6 <= number < 6 + scenes.FLASH
        marks.append((number, begins))
    assert marks == [(number, number in (0, 6)) for number in range(12)]
    assert list(scenes.marked([], film.__getitem__)) == []


def test_switched_off_it_looks_at_nothing():
    def never(frame):
        raise AssertionError(frame)

    found = list(scenes.marked("abc", never, None))
    assert found == [("a", True), ("b", False), ("c", False)]


def test_the_threshold_decides(shots):
    film = shots[0][:4] + shots[1][:4]
    assert scenes.starts(film, 2.0) == [0]
    assert len(scenes.starts(film, 1e-6)) > 2
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="threshold"):
            scenes.starts(film, bad)


@pytest.mark.parametrize("shape, small", [
    ((144, 256, 3), (32, 64, 3)), ((256, 144, 3), (64, 32, 3)), ((90, 90), (64, 64, 3)),
    ((8, 900, 3), (16, 64, 3)), ((3, 2, 3), (64, 40, 3))])
def test_thumbnails(shape, small):
    found = scenes.thumbnail(np.full(shape, 128, np.uint8))
    assert found.shape == small and found.dtype == np.float32
    assert np.allclose(found, [128 / 255, 0, 0], atol=1e-6)
    deep = scenes.thumbnail(np.full(shape, 128 << 8, np.uint16))
    assert np.allclose(found, deep)
    with pytest.raises(ShapeError):
        scenes.thumbnail(np.zeros((0, 4, 3), np.uint8))


def test_real_clips_joined(shared_data):
    av = pytest.importorskip("av")
    film, cuts = [], []
    for name, start, count in (("carphone_nonsquare_sar.mp4", 0, 25), ("hevc_10bit.mp4", 0, 12),
                               ("vp8_vorbis.webm", 0, 24), ("nasa_multi_stream.mp4", 190, 25),
                               ("rotated_0.mov", 0, 3), ("vfr_audio_first.mp4", 0, 20),
                               ("carphone_nonsquare_sar.mp4", 80, 20)):
        cuts.append(len(film))
        with av.open(str(shared_data / "video" / "clips" / name)) as file:
            for number, frame in enumerate(file.decode(video=0)):
                if start <= number < start + count:
                    film.append(frame.to_image().resize((256, 144), Image.BOX))
    for folder, count in (("vid4_calendar_gt", 12), ("vid4_walk_gt", 15)):
        cuts.append(len(film))
        for path in sorted((shared_data / "video" / folder).glob("*.png"))[:count]:
            film.append(Image.open(path).convert("RGB").resize((256, 144), Image.BOX))
    cuts.append(cuts[3] + 202 - 190)  # one that the clip itself has
    assert scenes.starts([np.asarray(image) for image in film]) == sorted(cuts)
