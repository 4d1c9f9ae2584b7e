"""The U-Net that LED trains (Jin et al., ICCV 2023, section 4; that of Chen et al., CVPR 2018).

Names and keys are upstream's. Packed planes in, packed planes out, same size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.base import Network, expect
from restore_cli.nets.led import pad, repnr, shapes
from restore_cli.nets.n2v.layers import max_pool
from restore_cli.nets.ops import led_unet

SLOPE = 0.2


def leaky(x: jt.Var) -> jt.Var:
    """The activation behind every 3x3 convolution."""
    return nn.leaky_relu(x, SLOPE)


def padded(x: jt.Var, align: int) -> tuple[jt.Var, tuple[slice, slice]]:
    """`pad.pad` for a Var (N, C, H, W); differentiable."""
    rows, columns = x.shape[2:]
    (top, _), (left, _) = pad.margins(rows, align), pad.margins(columns, align)
    crop = slice(top, top + rows), slice(left, left + columns)
    if rows % align:
        x = x[:, :, jt.array(pad.mirrored(rows, align).astype(np.int32))]
    if columns % align:
        x = x[:, :, :, jt.array(pad.mirrored(columns, align).astype(np.int32))]
    return x, crop


class UNet(Network):
    """(N, inchannels, H, W) to (N, outchannels, H, W), unclipped; any sides.

    Values are linear brightness, 1 at the white level; below 0 where noise goes below black.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        rep, wide = config["repnr"], shapes.widths(config["channels"])
        inputs = config["inchannels"]
        for level, width in enumerate(wide, 1):
            self._add(level, inputs, width, rep)
            inputs = width
        for level, width in enumerate(reversed(wide[:-1]), shapes.LEVELS + 2):
            setattr(self, f"upv{level}", nn.ConvTranspose(2 * width, width, 2, stride=2))
            self._add(level, 2 * width, width, rep)
        self.conv10_1 = nn.Conv(wide[0], config["outchannels"], 1)
        self._config = dict(config)

    def _add(self, level: int, inputs: int, width: int, rep: Any) -> None:
        setattr(self, f"conv{level}_1", repnr.conv(inputs, width, 3, rep))
        setattr(self, f"conv{level}_2", repnr.conv(width, width, 3, rep))

    def execute(self, x):
        expect("x", x, f"(N, {self._config['inchannels']}, H, W)", None,
               self._config["inchannels"], None, None)
        x, (rows, columns) = padded(x, shapes.ALIGN)
        if led_unet.usable(self._config):
            y = led_unet.led_unet(x, self._parameters(), self._config["channels"])
        else:
            y = self.conv10_1(self.features(x))
        return y[:, :, rows, columns]

    def _parameters(self) -> list[jt.Var]:
        """Weight and bias that each layer uses, in the order of the plain state dict."""
        return [part for layer in self.children() for part in repnr.parts(layer)]

    def features(self, x: jt.Var, control: jt.Var | None = None) -> jt.Var:
        """What the last convolution sees; `x` has sides that are multiples of 16."""
        skips = []
        for level in range(1, shapes.LEVELS + 2):
            x, skip = self._level(level, max_pool(x) if skips else x, control)
            skips.append(skip)
        skips.pop()
        for level in range(shapes.LEVELS + 2, 2 * shapes.LEVELS + 2):
            x = getattr(self, f"upv{level}")(x)
            x, _ = self._level(level, jt.concat([x, skips.pop()], dim=1), control)
        return x

    def _level(self, level: int, x: jt.Var, control: jt.Var | None) -> tuple[jt.Var, jt.Var]:
        """The level's output, and what goes over the skip connection."""
        x = leaky(getattr(self, f"conv{level}_1")(x))
        x = leaky(getattr(self, f"conv{level}_2")(x))
        return x, x


def build(name: str, config: Mapping[str, Any]) -> UNet:
    """The network of registry name `name` ("led-unet")."""
    return UNet(shapes.complete(name, config))
