"""LIIF's published samplers against recorded samples, and how the samplers draw."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.training.datasets import liif, samplers
from restore_cli.training.datasets.sources import ArraySource


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def _check(case: dict, tag: str, sample: liif.LiifSample) -> None:
    coord, cell = liif.coordinates(sample.index, sample.hr_size)
    found = {"inp": _unit(sample.lr).transpose(2, 0, 1), "coord": coord, "cell": cell,
             "gt": _unit(sample.gt)}
    compared = 0
    for name, value in found.items():
        if f"{tag}/{name}" in case:
            assert np.array_equal(case[f"{tag}/{name}"], value), (tag, name)
            compared += 1
    assert compared


def test_whole_image_downsampled(golden):
    case = golden("16_wrappers")
    sample = liif.downsampled(case["img_u8"], case["meta"]["items"]["down"]["scale"])
    _check(case, "down", sample)


def test_crop_replays_the_recorded_draws(golden):
    case = golden("16_wrappers")
    draws = case["meta"]["items"]["crop"]
    sample = liif.downsampled(
        case["img_u8"], draws["scale"], lr_size=draws["inp_size"],
        corner=(draws["x0_row"], draws["y0_col"]),
        flips=(draws["hflip(row axis)"], draws["vflip(col axis)"], draws["dflip(transpose)"]),
        choice=case["crop/choice"])
    _check(case, "crop", sample)


def test_paired(golden):
    case = golden("16_wrappers")
    sample = liif.paired(case["paired_lr_u8"], case["img_u8"])
    _check(case, "paired", sample)
    assert sample.gt.shape == tuple(case["paired/gt_shape"])
    assert np.array_equal(_unit(sample.gt[:50]), case["paired/gt_head"])


def test_uniform_varied(golden):
    case = golden("16_wrappers")
    for i in range(4):
        item = case["meta"]["items"][f"uv{i}"]
        sample = liif.uniform_varied(case["uv_lr_u8"], case["uv_hr_u8"], i / 3, size_min=10,
                                     size_max=24)
        _check(case, f"uv{i}", sample)
        _, cell = liif.coordinates(sample.index, sample.hr_size)
        assert len(sample.gt) == item["n_pixels"] and np.all(cell == np.float32(item["cell"]))
    sample = liif.uniform_varied(case["uv_lr_u8"], case["uv_hr_u8"], 1 / 3, size_min=10,
                                 size_max=24, gt_resize=24)
    _check(case, "uv1_gtresize", sample)


def test_flips_turn_both_images_alike():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for flips in np.ndindex(2, 2, 2):
        sample = liif.downsampled(image, 2.0, lr_size=20, flips=tuple(map(bool, flips)))
        turned = sample.gt.reshape(40, 40, 3)
        plain = liif.downsampled(turned, 2.0, lr_size=20)
        assert np.abs(plain.lr.astype(int) - sample.lr).max() <= 1  # passes round in either order


def test_coordinates_are_those_of_the_index():
    index = np.array([[0, 0], [4, 9]], np.int32)
    coord, cell = liif.coordinates(index, (5, 10))
    assert np.allclose(coord, [[-0.8, -0.9], [0.8, 0.9]], atol=1e-7)
    assert np.allclose(cell, [[0.4, 0.2]] * 2)


def _source(count: int = 3, side: int = 64) -> ArraySource:
    rng = np.random.default_rng(1)
    return ArraySource(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def _downsampled(seed: int = 0, **options) -> samplers.DownsampledSampler:
    settings = {"batch": 4, "lr_size": 12, "queries": 50} | options
    return samplers.DownsampledSampler(_source(), seed, **settings)


def _equal(a: liif.LiifBatch, b: liif.LiifBatch) -> bool:
    return all(np.array_equal(value, vars(b)[name]) for name, value in vars(a).items())


def test_a_batch_depends_only_on_seed_and_step():
    first = _downsampled()
    batches = [first.batch(step) for step in range(3)]
    assert _equal(batches[2], _downsampled().batch(2))
    assert not _equal(batches[2], batches[1])
    assert not _equal(batches[2], _downsampled(seed=1).batch(2))


def test_batch_shapes_units_and_contents():
    batch = _downsampled(augment=False).batch(5)
    assert batch.lr.shape == (4, 3, 12, 12) and batch.lr.dtype == np.float32
    assert batch.index.shape == batch.coord.shape == batch.cell.shape == (4, 50, 2)
    assert batch.gt.shape == (4, 3, 50) and batch.gt.dtype == np.float32
    assert -1 <= batch.gt.min() < batch.gt.max() <= 1
    for b in range(4):
        height, width = batch.hr_size[b]
        assert height == width and 12 <= height <= 48
        assert (batch.index[b] < batch.hr_size[b]).all() and (batch.index[b] >= 0).all()
        assert len(np.unique(batch.index[b] @ [1000, 1])) == 50  # without replacement


def test_ground_truth_is_the_pixel_at_the_index():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = np.arange(64)[:, None]
    image[..., 1] = np.arange(64)
    sampler = samplers.DownsampledSampler(ArraySource(image[None]), 3, batch=1, lr_size=16,
                                          scales=(4, 4), queries=100, augment=False)
    sample = sampler.sample(0)
    assert np.array_equal(sample.gt[:, :2], sample.index)
    value = np.rint((sampler.batch(0).gt[0, :2].T * 0.5 + 0.5) * 255)
    assert np.array_equal(value, sample.index)


def test_scales_and_flips_cover_their_range():
    sampler = _downsampled()
    sides = [sampler.sample(draw).hr_size[0] for draw in range(300)]
    assert min(sides) <= 14 and max(sides) >= 46 and 27 < np.mean(sides) < 33
    plain, turned = _downsampled(augment=False), _downsampled()
    same = np.mean([np.array_equal(plain.sample(d).lr, turned.sample(d).lr) for d in range(200)])
    assert 0.05 < same < 0.22  # 1/8


def test_all_pixels_at_a_fixed_scale():
    batch = _downsampled(queries=None, scales=(2, 2)).batch(0)
    assert batch.gt.shape == (4, 3, 24 * 24)


@pytest.mark.parametrize("options", [{"scales": (4, 1)}, {"scales": (0.5, 2)}, {"queries": 200},
                                     {"queries": None}, {"lr_size": 20}, {"batch": 0}])
def test_contradicting_settings(options):
    with pytest.raises(UsageError):
        _downsampled(**options)


class _Pairs:
    def __init__(self, low: int, high: int):
        rng = np.random.default_rng(2)
        self._low = rng.integers(0, 256, (3, low, low, 3), dtype=np.uint8)
        self._high = rng.integers(0, 256, (3, high, high, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return 3

    def pair(self, index):
        return self._low[index], self._high[index]

    def pick(self, seed, draw):
        return draw % 3


def test_paired_sampler():
    sampler = samplers.PairedSampler(_Pairs(20, 40), 0, batch=5, lr_size=8, queries=30)
    batch = sampler.batch(1)
    assert batch.lr.shape == (5, 3, 8, 8) and (batch.hr_size == 16).all()
    assert _equal(batch, sampler.batch(1))
    with pytest.raises(InputError):
        samplers.PairedSampler(_Pairs(6, 12), 0, lr_size=8).batch(0)


def test_paired_crops_show_the_same_place():
    low = np.zeros((20, 24, 3), np.uint8)
    low[..., 0], low[..., 1] = np.arange(20)[:, None], np.arange(24)
    high = np.repeat(np.repeat(low, 3, 0), 3, 1)
    sample = liif.paired(low, high, lr_size=6, corner=(7, 11), flips=(True, False, True))
    shown = sample.gt.reshape(18, 18, 3)[::3, ::3]
    assert np.array_equal(shown, sample.lr)


def test_uniform_varied_sampler():
    sampler = samplers.UniformVariedSampler(_Pairs(10, 50), 0, size_min=10, size_max=30, batch=3,
                                            queries=60)
    batch = sampler.batch(0)
    assert batch.lr.shape == (3, 3, 10, 10)
    assert batch.hr_size[:, 0].tolist() == [10, 20, 30]
    assert batch.gt.shape == (3, 3, 60)


def test_unequal_samples_do_not_make_a_batch():
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(UsageError):
        liif.collate([liif.downsampled(image, 2.0), liif.downsampled(image, 4.0)])


def test_images_too_small():
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(UsageError):
        liif.downsampled(image, 2.0, lr_size=11)
    with pytest.raises(UsageError):
        liif.downsampled(image, 30.0)
    with pytest.raises(UsageError):
        liif.paired(image, image[:10])
