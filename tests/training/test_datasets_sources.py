"""Image sources, mixtures, validation crops and prefetching."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.training.datasets import validation
from restore_cli.training.datasets.prefetch import Prefetcher
from restore_cli.training.datasets.sources import ArraySource, Mixture, mixture, shuffled


def _images(count: int, value: int = 0, side: int = 40) -> np.ndarray:
    images = np.zeros((count, side, side, 3), np.uint8)
    images[..., 0] = value
    images[..., 1] = np.arange(count)[:, None, None]
    return images


def test_every_image_once_before_any_comes_again():
    draws = [shuffled(1, k, 10) for k in range(30)]
    for epoch in range(3):
        assert sorted(draws[10 * epoch:10 * epoch + 10]) == list(range(10))
    assert draws[:10] != draws[10:20]
    assert draws == [shuffled(1, k, 10) for k in range(30)]
    assert draws != [shuffled(2, k, 10) for k in range(30)]


def test_mixture_draws_by_weight():
    source = mixture([(ArraySource(_images(90, 1)), 1), (ArraySource(_images(2, 2)), 3),
                      (ArraySource(_images(5, 3)), 0)])
    kinds = [source.image(source.pick(7, k))[0, 0, 0] for k in range(1000)]
    assert 200 < kinds.count(1) < 300 and kinds.count(1) + kinds.count(2) == 1000
    assert len(source) == 92
    assert source.image(91)[0, 0].tolist() == [2, 1, 0]


def test_mixture_of_one_is_the_source_itself():
    only = ArraySource(_images(2))
    assert mixture([(only, 0.4)]) is only


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1), (float("nan"), 1)])
def test_bad_weights(weights):
    with pytest.raises(UsageError):
        Mixture([(ArraySource(_images(1)), weight) for weight in weights])


def test_smallest_side():
    images = [np.zeros((30, 50, 3), np.uint8), np.zeros((60, 20, 3), np.uint8)]
    assert ArraySource(images).smallest == 20
    assert Mixture([(ArraySource(images[:1]), 1), (ArraySource(images[1:]), 1)]).smallest == 20
    with pytest.raises(InputError):
        ArraySource([])


def test_validation_pairs_are_fixed_and_centred():
    image = np.random.default_rng(0).integers(0, 256, (100, 130, 3), dtype=np.uint8)
    pairs = validation.fixed_pairs([image, image[:30]], (2, 3.5, 4), lr_size=25)
    assert [(pair.scale, pair.hr.shape[:2]) for pair in pairs] == [
        (2, (50, 50)), (3.5, (88, 88)), (4, (100, 100))]
    assert all(pair.lr.shape == (25, 25, 3) for pair in pairs)
    assert np.array_equal(pairs[2].hr, image[:, 15:115])
    with pytest.raises(InputError):
        validation.fixed_pairs([image], (8,), lr_size=25)


def test_validation_images_are_spread_over_the_source():
    source = ArraySource(_images(9))
    assert [image[0, 0, 1] for image in validation.spread(source, 3)] == [0, 4, 8]
    assert len(validation.spread(source, 20)) == 9


class _Slow:
    """Counts how many batches exist; batch 5 fails."""

    def __init__(self, fail: bool = False):
        self.made, self.fail = 0, fail

    def batch(self, step):
        time.sleep(0.002 * (step % 3))
        self.made += 1
        if self.fail and step == 5:
            raise InputError("broken")
        return step


@pytest.mark.parametrize("workers", [1, 3])
def test_prefetched_batches_come_in_order(workers):
    with Prefetcher(_Slow(), 7, workers) as batches:
        assert [next(batches) for _ in range(20)] == list(range(7, 27))


def test_prefetching_is_bounded_and_ends():
    sampler = _Slow()
    before = threading.active_count()
    with Prefetcher(sampler, 0, workers=2, ahead=3) as batches:
        next(batches)
        time.sleep(0.1)
        assert sampler.made <= 6
    assert threading.active_count() == before
    assert list(batches) == []


def test_a_failure_reaches_the_consumer():
    with Prefetcher(_Slow(fail=True), 4) as batches:
        assert next(batches) == 4
        with pytest.raises(InputError):
            next(batches)
    with pytest.raises(UsageError):
        Prefetcher(_Slow(), 0, 0)
