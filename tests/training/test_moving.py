"""Moving scenes: what flow says must be what the frames show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import ShapeError, UsageError
from restore_cli.training.datasets import photos
from restore_cli.training.datasets.moving import MovingScenes
from restore_cli.training.datasets.moving_layers import Layer, MovingScene, Pose
from restore_cli.training.datasets.sources import ArraySource

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def smooth(height, width, seed=0):
    """A picture of slow waves: interpolation makes next to no error in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [sum(np.sin(x * rng.uniform(-0.3, 0.3) + y * rng.uniform(-0.3, 0.3) + phase)
                  for phase in range(3)) for _ in range(3)]
    return np.rint(np.stack(planes, -1) * 40 + 128).astype(np.uint8)


@pytest.fixture(scope="module")
def waves():
    return ArraySource([smooth(90, 120, seed) for seed in range(5)])


def sampled(frame, x, y):
    """A frame at points, bilinear; edges repeat."""
    height, width = frame.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = (x - left)[..., None], (y - top)[..., None]
    frame = frame.astype(float)
    return ((frame[top, left] * (1 - a) + frame[top, left + 1] * a) * (1 - b)
            + (frame[top + 1, left] * (1 - a) + frame[top + 1, left + 1] * a) * b)


def warped(scene, first, second):
    """Frame `second` brought back by the flow from `first`."""
    x, y = scene.flow(first, second)
    rows, columns = np.mgrid[0:scene.size[0], 0:scene.size[1]]
    return sampled(scene.frame(second), columns + x, rows + y)


def inner(mask):
    """The mask without its outermost two pixels, where edges are blended."""
    for _ in range(2):
        padded = np.pad(mask, 1, constant_values=True)
        mask = np.logical_and.reduce([padded[a:a + mask.shape[0], b:b + mask.shape[1]]
                                      for a in range(3) for b in range(3)])
    return mask


def same_thing(scene, first, second):
    """Visible pixels away from any outline, in both frames."""
    points = scene._points(1)
    front = scene._front(points, first)
    level = np.ones(scene.size, bool)
    for axis in (0, 1):
        change = np.diff(front, axis=axis) != 0
        level &= ~(np.insert(change, 0, False, axis) | np.insert(change, change.shape[axis], False,
                                                                 axis))
    moved = scene._moved(points, first, second)
    for x in (-1.5, 0, 1.5):
        for y in (-1.5, 0, 1.5):
            level &= scene._front(moved + (x, y), second) == front
    return inner(scene.visible(first, second) & level)


@pytest.mark.parametrize("index", range(12))
def test_flow_brings_one_frame_to_another(waves, index):
    scene = MovingScenes(waves, (64, 80), 5, speed=8).scene(1, index)
    for first, second in ((2, 0), (2, 1), (2, 4), (0, 4), (3, 2)):
        good = same_thing(scene, first, second)
        if good.sum() < 50:
            continue
        error = np.abs(warped(scene, first, second) - scene.frame(first))[good]
        # Bilinear sampling of waves of wavelength 15 and two roundings are all that is left.
        assert error.mean() < 2 and np.quantile(error, 0.99) < 8


def test_flow_is_more_than_decoration(waves):
    scene = MovingScenes(waves, (64, 80), 5, speed=8).scene(1, 3)
    good = same_thing(scene, 2, 4)
    still = np.abs(scene.frame(4).astype(float) - scene.frame(2))[good].mean()
    assert still > 5 * np.abs(warped(scene, 2, 4) - scene.frame(2))[good].mean()


def one(poses, mask=None, size=(40, 50), picture=None):
    back = Layer(smooth(60, 70), None, [Pose(25, 20)] * len(poses))
    thing = Layer(smooth(16, 16, 9) if picture is None else picture, mask, poses)
    return MovingScene([back, thing], size, len(poses))


def test_whole_pixels_move_exactly():
    mask = np.full((32, 32), 255, np.uint8)
    scene = one([Pose(20, 15), Pose(23, 13)], mask)
    before, after = scene.frame(0), scene.frame(1)
    assert np.array_equal(before[10:20, 15:25], after[8:18, 18:28])
    assert np.array_equal(before[:4], after[:4])  # the background stays
    flow = scene.flow(0, 1)
    assert flow.dtype == np.float32 and flow.shape == (2, 40, 50)
    assert np.allclose(flow[:, 15, 20], (3, -2)) and np.allclose(flow[:, 0, 0], 0)
    assert np.allclose(scene.flow(1, 0)[:, 13, 23], (-3, 2))


def test_turns_and_zooms_about_the_middle():
    scene = one([Pose(20, 15), Pose(20, 15, np.pi / 2), Pose(20, 15, 0, 2.0)],
                np.full((32, 32), 255, np.uint8))
    # A quarter clockwise: what was right of the middle is below it.
    assert np.allclose(scene.flow(0, 1)[:, 15, 24], (-4, 4), atol=1e-5)
    assert np.allclose(scene.flow(0, 2)[:, 17, 24], (4, 2), atol=1e-5)
    assert np.allclose(scene.flow(0, 1)[:, 15, 20], 0, atol=1e-5)


def test_what_is_hidden_is_said_to_be():
    mask = np.full((32, 32), 255, np.uint8)
    scene = one([Pose(15, 20), Pose(25, 20)], mask)
    seen = scene.visible(0, 1)
    assert seen[20, 15] and seen[2, 2]
    assert not seen[20, 28]  # background that the thing comes to lie on
    assert scene.visible(1, 0)[20, 28] and not scene.visible(1, 0)[20, 10]
    leaving = one([Pose(25, 20), Pose(48, 20)], mask)
    assert not leaving.visible(0, 1)[20, 31] and leaving.visible(0, 1)[20, 18]
    assert seen.dtype == bool and scene.visible(0, 0).all()


def test_flow_of_small_frames_keeps_their_phase(waves):
    scene = MovingScenes(waves, (64, 80), 5, speed=8).scene(1, 5)
    assert np.allclose(scene.flow(2, 0, 4), scene.flow(2, 0)[:, ::4, ::4] / 4)
    assert np.array_equal(scene.visible(2, 0, 4), scene.visible(2, 0)[::4, ::4])
    odd = MovingScenes(waves, (33, 34), 3).scene(0, 0)
    assert odd.flow(1, 0, 4).shape == (2, 9, 9) and odd.frames().shape == (3, 33, 34, 3)


def test_scenes_follow_seed_and_index_alone(waves):
    scenes = MovingScenes(waves, (48, 40), 7)
    one, again, other, seed = (scenes.scene(*key).frames() for key in ((0, 3), (0, 3), (0, 4),
                                                                      (1, 3)))
    assert one.dtype == np.uint8 and one.shape == (7, 48, 40, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other) and not np.array_equal(one, seed)
    # Frames do not depend on which was painted first.
    backwards = scenes.scene(0, 3)
    assert np.array_equal(np.stack([backwards.frame(n) for n in range(6, -1, -1)])[::-1], one)


def test_scenes_vary(waves):
    scenes = [MovingScenes(waves, (48, 48), 3).scene(0, index) for index in range(60)]
    counts = {len(scene.layers) for scene in scenes}
    assert counts == set(range(1, 8))
    length = [np.hypot(*scene.flow(1, 2)).mean() for scene in scenes]
    assert min(length) < 0.5 and max(length) > 8
    hidden = [1 - scene.visible(1, 2).mean() for scene in scenes]
    assert 0.02 < np.mean(hidden) < 0.6


def test_photographs_move_too():
    source = photos.load(PHOTOS, min_side=64)
    scene = MovingScenes(source, (96, 96), 5, speed=6).scene(3, 1)
    frames = scene.frames()
    assert frames.std() > 5
    good = same_thing(scene, 2, 3)
    still = np.abs(frames[3].astype(float) - frames[2])[good].mean()
    assert np.abs(warped(scene, 2, 3) - frames[2])[good].mean() < max(still, 1)


def test_impossible_scenes():
    for settings in ({"size": (16, 64)}, {"count": 1}, {"speed": -1}, {"things": -1}):
        with pytest.raises(UsageError):
            MovingScenes(ArraySource([smooth(40, 40)]), **settings)
    with pytest.raises(ShapeError):
        Layer(smooth(8, 8), np.zeros((8, 8), np.uint8), [Pose(0, 0)])


def test_the_network_s_warp_takes_this_flow(engine, waves):
    import jittor as jt

    from restore_cli.nets.vsr.warp import warp

    scene = MovingScenes(waves, (64, 80), 5, speed=8).scene(1, 3)
    frame = jt.array(scene.frame(4).transpose(2, 0, 1)[None].astype(np.float32))
    found = warp(frame, jt.array(scene.flow(2, 4)[None]), True).numpy()[0].transpose(1, 2, 0)
    good = same_thing(scene, 2, 4)
    assert np.allclose(found[good], warped(scene, 2, 4)[good], atol=0.05)


def test_most_scenes_are_sharp_to_the_pixel():
    """In white noise neighbours differ by 1.41 of its strength; enlarged, they would be alike."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8)
    scenes = MovingScenes(ArraySource(noise), (128, 128), 3, things=0)
    frames = [scenes.scene(1, index).frame(1).astype(float) for index in range(12)]
    assert np.mean([np.diff(frame, axis=1).std() / frame.std() for frame in frames]) > 1.2
