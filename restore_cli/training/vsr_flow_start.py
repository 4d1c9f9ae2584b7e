"""Weights from which the flow network learns within minutes.

With random filters of the usual kind the features of a thing change with every pixel it moves, as
each level halves the resolution of what is mostly high frequencies: the correlation then tells
nothing, and nothing is learnt for thousands of steps. Smooth filters, slopes and curvatures make
features that move with the thing, so that the correlation has its maximum near the true motion
from the first step on, and only the reading of it is left to be learnt.
"""

from __future__ import annotations

import math

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.vsr import pwc, shapes

_SMOOTH, _SLOPE = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2
_CURVED = np.array([-1, 2, -1]) / 4
_QUIET = 0.1  # first flows and the features handed to finer levels are nearly nothing


def start(network: pwc.FlowNetwork, frames: np.ndarray, seed: int) -> None:
    """Gives a network weights to start from.

    Args:
        network: is changed.
        frames: float32 (N, 3, H, W) in [0, 1], of the kind it is to be trained on; each layer's
            features get a root mean square of 1 on them.
        seed: of the random numbers.
    """
    rng = np.random.default_rng([seed, 0xF105])
    with jt.no_grad():
        _extractor(network.moduleExtractor, frames, rng)
    for name in shapes.LEVELS[shapes.FIRST:]:
        decoder = getattr(network, f"module{name}")
        for part in shapes.LEVELS[:-1]:
            _usual(getattr(decoder, f"module{part}")[0], rng)
        _usual(decoder.moduleSix[0], rng, _QUIET)
        if name != shapes.LEVELS[-1]:
            _doubling(decoder.moduleUpflow)
            _usual(decoder.moduleUpfeat, rng, _QUIET)
    refining = list(network.moduleRefiner.moduleMain)[::2]
    for layer in refining:
        _usual(layer, rng, _QUIET if layer is refining[-1] else 1.0)


def _extractor(extractor: pwc.Extractor, frames: np.ndarray, rng: np.random.Generator) -> None:
    sides = tuple(pwc.aligned(side) for side in frames.shape[2:])
    x = pwc.resize(jt.array(frames), sides)
    for name in shapes.LEVELS:
        for layer in getattr(extractor, f"module{name}"):
            if isinstance(layer, nn.Conv):
                pixels = layer.weight.shape[1] == frames.shape[1]
                weight = _filters(tuple(layer.weight.shape[:2]), pixels, rng)
                layer.bias.assign(jt.zeros(layer.bias.shape))
                layer.weight.assign(jt.array(np.float32(weight)))
                size = np.sqrt(np.square(layer(x).numpy()).mean((0, 2, 3)))
                weight /= np.maximum(size, 1e-3)[:, None, None, None]
                layer.weight.assign(jt.array(np.float32(weight)))
            x = layer(x)


def _filters(channels: tuple[int, int], pixels: bool, rng: np.random.Generator) -> np.ndarray:
    """(out, in, 3, 3), each blind to what is the same in all channels everywhere."""
    parts = [(_SMOOTH, _SMOOTH, 1.0), (_SMOOTH, _SLOPE, 0.7), (_SLOPE, _SMOOTH, 0.7)]
    if pixels:
        parts += [(_SMOOTH, _CURVED, 0.5), (_CURVED, _SMOOTH, 0.5), (_SLOPE, _SLOPE, 0.5)]
    made = sum(share * rng.normal(size=(*channels, 1, 1)) * np.outer(down, across)
               for down, across, share in parts)
    return made - made.mean((1, 2, 3), keepdims=True)


def _usual(layer: nn.Module, rng: np.random.Generator, factor: float = 1.0) -> None:
    """He's weights (ICCV 2015, section 2.2), whose features keep their size, times `factor`."""
    shape = tuple(layer.weight.shape)
    if isinstance(layer, nn.ConvTranspose):  # (in, out, 4, 4); a quarter of it meets each pixel
        reach = shape[0] * shape[2] * shape[3] / 4
    else:
        reach = math.prod(shape[1:])
    weight = rng.normal(size=shape) * factor * math.sqrt(2 / reach)
    layer.weight.assign(jt.array(np.float32(weight)))
    layer.bias.assign(jt.zeros(layer.bias.shape))


def _doubling(layer: nn.ConvTranspose) -> None:
    """Bilinear enlargement of both components."""
    line = np.array([1, 3, 3, 1]) / 4
    weight = np.zeros(tuple(layer.weight.shape), np.float32)
    weight[0, 0] = weight[1, 1] = np.outer(line, line)
    layer.weight.assign(jt.array(weight))
    layer.bias.assign(jt.zeros(layer.bias.shape))
