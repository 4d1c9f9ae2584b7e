"""PWC-Net (Sun et al., CVPR 2018), in the form and with the names of Self-Blind-VSR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.base import Lambda, Network, conv, expect
from restore_cli.nets.vsr import shapes
from restore_cli.nets.vsr.warp import correlation, warp

MAGNITUDE = 20.0  # the network's flow is in twentieths of a pixel of the finest level's image
# How far a pixel moves on each level, finest decoder first.
STEPS = (5.0, 2.5, 1.25, 0.625)


@dataclass(frozen=True)
class Pyramid:
    """What the flow network has to know of one frame (or of a batch of them).

    Attributes:
        levels: features from the finest level with a decoder to the coarsest, each
            (N, C, h, w).
        size: height and width of the frames.
    """

    levels: tuple[jt.Var, ...]
    size: tuple[int, int]


def leaky(x: jt.Var) -> jt.Var:
    """The activation of the flow network."""
    return nn.leaky_relu(x, 0.1)


def aligned(side: int) -> int:
    """The side the flow network works on."""
    return -(-side // shapes.ALIGN) * shapes.ALIGN


def resize(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Bilinear, as PyTorch's `interpolate` with `align_corners=False`, without antialiasing."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return nn.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class Extractor(nn.Module):
    """Six levels of features, each half as large as the one before."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        inputs = config["n_colors"]
        for name, width in zip(shapes.LEVELS, config["flow_channels"], strict=True):
            steps = []
            for stride in (2, 1, 1):
                steps += [nn.Conv(inputs, width, 3, stride=stride, padding=1), Lambda(leaky)]
                inputs = width
            setattr(self, f"module{name}", nn.Sequential(*steps))

    def execute(self, x) -> tuple[jt.Var, ...]:
        """(N, 3, H, W), sides multiples of 64, to the features of all levels, finest first."""
        made = []
        for name in shapes.LEVELS:
            x = getattr(self, f"module{name}")(x)
            made.append(x)
        return tuple(made)


class Decoder(nn.Module):
    """Correlation and a dense block: flow and features of one level."""

    def __init__(self, config: Mapping[str, Any], level: int):
        super().__init__()
        self._step = None
        if level + 1 < len(shapes.LEVELS):
            self._step = STEPS[level - shapes.FIRST]
            coarser = shapes.decoder_features(config, level + 1)
            self.moduleUpflow = nn.ConvTranspose(2, 2, 4, stride=2, padding=1)
            self.moduleUpfeat = nn.ConvTranspose(coarser, 2, 4, stride=2, padding=1)
        inputs = shapes.decoder_inputs(config, level)
        for name, width in zip(shapes.LEVELS, config["flow_dense"]):
            setattr(self, f"module{name}", nn.Sequential(conv(inputs, width), Lambda(leaky)))
            inputs += width
        self.moduleSix = nn.Sequential(conv(inputs, 2))

    def execute(self, first, second, coarser: tuple[jt.Var, jt.Var] | None):
        """Flow (N, 2, h, w) and features of this level, from those of the coarser one."""
        if coarser is None:
            x = leaky(correlation(first, second))
        else:
            flow, features = self.moduleUpflow(coarser[0]), self.moduleUpfeat(coarser[1])
            cost = leaky(correlation(first, warp(second, flow * self._step, border=False)))
            x = jt.concat([cost, first, flow, features], dim=1)
        for name in shapes.LEVELS[:-1]:
            x = jt.concat([getattr(self, f"module{name}")(x), x], dim=1)
        return self.moduleSix(x), x


class Refiner(nn.Module):
    """The context network: dilated convolutions that correct the finest flow."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        inputs, steps = shapes.decoder_features(config, shapes.FIRST), []
        for width, dilation in zip((*config["flow_refine"], 2), shapes.DILATIONS, strict=True):
            steps += [nn.Conv(inputs, width, 3, padding=dilation, dilation=dilation),
                      Lambda(leaky)]
            inputs = width
        self.moduleMain = nn.Sequential(*steps[:-1])

    def execute(self, features):
        return self.moduleMain(features)


class FlowNetwork(Network):
    """Optical flow between frames (N, 3, H, W) in [0, 1] of any size: extractor, decoders from
    coarse to fine, refiner."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.moduleExtractor = Extractor(config)
        for level, name in list(enumerate(shapes.LEVELS))[shapes.FIRST:]:
            setattr(self, f"module{name}", Decoder(config, level))
        self.moduleRefiner = Refiner(config)

    def execute(self, first, second):
        """Flow (N, 2, H, W): where in `second` a pixel of `first` is."""
        return self.between(self.pyramid(first), self.pyramid(second))

    def pyramid(self, frame) -> Pyramid:
        """What `between` needs of a frame (N, 3, H, W); the same for all its pairs."""
        expect("frame", frame, "(N, C, H, W)", None, None, None, None)
        size = tuple(frame.shape[2:])
        frame = resize(frame, (aligned(size[0]), aligned(size[1])))
        return Pyramid(self.moduleExtractor(frame)[shapes.FIRST:], size)

    def between(self, first: Pyramid, second: Pyramid) -> jt.Var:
        """Flow (N, 2, H, W) in pixels of the frames, from `first` to `second`."""
        return self.scaled(self.decode(first.levels, second.levels), first.size)

    def scaled(self, flow: jt.Var, size: tuple[int, int]) -> jt.Var:
        """Flow of the finest level as one in pixels of frames of this size."""
        height, width = size
        ratio = np.float32([width / aligned(width), height / aligned(height)])
        return resize(flow, size) * jt.array(MAGNITUDE * ratio.reshape(1, 2, 1, 1))

    def decode(self, first, second) -> jt.Var:
        """Levels of two frames, finest first, to the flow (N, 2, h, w) of the finest."""
        made = None
        for name, one, two in reversed(list(zip(shapes.LEVELS[shapes.FIRST:], first, second,
                                                strict=True))):
            made = getattr(self, f"module{name}")(one, two, made)
        return made[0] + self.moduleRefiner(made[1])


class Flow(nn.Module):
    """Holds the flow network under upstream's name for it."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.moduleNetwork = FlowNetwork(config)

    def execute(self, first, second):
        return self.moduleNetwork(first, second)


def build(name: str, config: Mapping[str, Any]) -> FlowNetwork:
    """The network of registry name `name` ("vsr-flow")."""
    return FlowNetwork(shapes.complete_flow(config))
