"""The compiled lossless JPEG against libjpeg-turbo, byte for byte."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from restore_cli.errors import DeviceError


@pytest.fixture(scope="module")
def encode(engine):
    from restore_cli.nets.ops import lossless_jpeg

    found = lossless_jpeg.encoder()
    assert found is not None
    return found


def expected(block: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(
        np.ascontiguousarray(block), lossless=True, predictor=1, bitspersample=16,
        colorspace="unknown", outcolorspace="unknown"))


def blocks(shape: tuple[int, ...]):
    rng = np.random.default_rng(0)
    yield np.zeros(shape)
    yield np.full(shape, 65535)
    yield rng.integers(0, 65536, shape)
    yield rng.integers(0, 2, shape) * 65535  # bytes of ones, which are stuffed
    yield rng.integers(0, 2, shape) * 32768  # half the range, in 16 bits and none more
    yield rng.normal(3000, 3, shape).clip(0)
    yield rng.normal(3000, 3000, shape).clip(0)
    yield 2.0 ** rng.exponential(1.2, shape).clip(0, 15.9)  # codes of very different lengths


@pytest.mark.parametrize("shape", [(1, 5, 2), (16, 16, 2), (48, 31, 3), (240, 120, 2)])
def test_bytes_are_those_of_the_jpeg_library(encode, shape):
    for block in blocks(shape):
        block = block.astype(np.uint16)
        made = encode(block)
        assert made == expected(block)
        np.testing.assert_array_equal(imagecodecs.ljpeg_decode(made).reshape(shape), block)


def test_codes_longer_than_16_bits_are_cut(encode):
    """Frequencies that double give codes as long as there are symbols, 17 bits."""
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.full(1 << (16 - size), 1 << size) for size in range(16)])
    steps = rng.permutation(sizes) * rng.choice((-1, 1), len(sizes))
    block = np.zeros((1, len(sizes) // 2 * 2), np.int64)
    block[0] = np.cumsum(steps)[:block.size]
    block = (block & 65535).astype(np.uint16).reshape(1, -1, 1)[:, :65535].repeat(2, axis=2)
    assert encode(block) == expected(block)


def test_a_view_is_coded_as_what_it_shows(encode):
    wide = np.random.default_rng(0).integers(0, 900, (40, 60, 2)).astype(np.uint16)
    assert encode(wide[::2, 5:50]) == expected(wide[::2, 5:50])


def test_without_a_compiler_there_is_none(engine, monkeypatch):
    from restore_cli.nets.ops import lossless_jpeg

    def refuse():
        raise DeviceError("no compiler")

    monkeypatch.setattr(lossless_jpeg._LIBRARY, "load", refuse)
    assert lossless_jpeg.encoder.__wrapped__() is None
