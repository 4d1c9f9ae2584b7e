"""The U-Net that is told the amplification of each pixel (UltraLED, NeurIPS 2025).

Names and keys are upstream's. Packed planes and ratio in, packed planes out, same size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from restore_cli.nets.base import expect
from restore_cli.nets.led import repnr, shapes
from restore_cli.nets.led.unet import UNet, leaky, padded

_GRID, _SPREAD = 128, 30.0


class Pair(nn.Module):
    """Two convolutions around an activation, added to something."""

    def __init__(self, width: int, rep: Mapping[str, Any] | None):
        super().__init__()
        self.conv1 = repnr.conv(width, width, 3, rep)
        self.conv2 = repnr.conv(width, width, 3, rep)

    def execute(self, x, added):
        return self.conv2(leaky(self.conv1(x))) + added


class ControlledUNet(UNet):
    """(N, inchannels, H, W) and a ratio to (N, outchannels, H, W), unclipped; any sides.

    The second call argument is the amplification that was applied to the planes: a number above
    0, or a map (N, 1, H, W) of them.
    """

    takes_ratio = True

    def __init__(self, config: Mapping[str, Any]):
        super().__init__(config)

    def execute(self, x, ratio):
        inputs = self._config["inchannels"]
        expect("x", x, f"(N, {inputs}, H, W)", None, inputs, None, None)
        n, _, height, width = x.shape
        if isinstance(ratio, jt.Var):
            expect("ratio", ratio, "a number, or (N, 1, H, W) of the planes", n, 1, height, width)
        x, (rows, columns) = padded(x, shapes.ALIGN)
        features = self.features(x, self.control(ratio, x.shape[2] // 4, x.shape[3] // 4))
        return self.conv10_1(features)[:, :, rows, columns]

    def control(self, ratio: jt.Var | float, height: int, width: int) -> jt.Var:
        """What is added to the features of level 3.

        Args:
            ratio: (N, 1, H, W), or one number for all.
            height, width: of the features.

        Returns:
            (N, 128, height, width), or (1, 128, 1, 1) for one number.
        """
        if not isinstance(ratio, jt.Var):
            code = self._controlled(jt.array(np.full((1, 1), ratio, np.float32)))
            return code.reshape(1, -1, 1, 1)
        grid = nn.interpolate(ratio, size=(_GRID, _GRID), mode="bilinear")
        code = self._controlled(grid.reshape(-1, 1)).reshape(ratio.shape[0], _GRID, _GRID, -1)
        # Upstream resizes the 300 bins; the layers behind them are linear, so this is the same.
        return nn.interpolate(code.transpose(0, 3, 1, 2), size=(height, width), mode="bilinear")

    def encoded(self, ratio: jt.Var) -> jt.Var:
        """(M, 1) ratios as (M, 300) bins: a bell around the ratio, divided by it."""
        bins = jt.array(np.arange(shapes.CONTROL_BINS, dtype=np.float32)).reshape(1, -1)
        apart = bins - ratio
        bell = jt.exp(apart * apart * (-0.5 / _SPREAD**2)) / (np.sqrt(2 * np.pi) * _SPREAD)
        return bell / ratio

    def _controlled(self, ratio: jt.Var) -> jt.Var:
        return self.conv0_2(self.conv0_1(self.encoded(ratio)))

    def _add(self, level, inputs, width, rep):
        if level == 1:  # upstream's order of keys
            self.conv0_1 = nn.Linear(shapes.CONTROL_BINS, shapes.CONTROL_WIDTHS[0])
            self.conv0_2 = nn.Linear(*shapes.CONTROL_WIDTHS)
        super()._add(level, inputs, width, rep)
        if f"conv{level}_2" in shapes.PAIRS:
            setattr(self, f"conv{level}_2", Pair(width, rep))

    def _level(self, level, x, control):
        if f"conv{level}_2" not in shapes.PAIRS:
            return super()._level(level, x, control)
        first = leaky(getattr(self, f"conv{level}_1")(x))
        added = first + control if level == 3 else first
        out = leaky(getattr(self, f"conv{level}_2")(first, added))
        return out, added if level == 3 else out


def build(name: str, config: Mapping[str, Any]) -> ControlledUNet:
    """The network of registry name `name` ("led-cunet")."""
    return ControlledUNet(shapes.complete(name, config))
